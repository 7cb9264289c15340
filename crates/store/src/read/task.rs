//! Tasks.

use agentry_core::AgentId;
use agentry_core::rows::TaskId;
use agentry_core::state::row::Task;
use rusqlite::params;

use crate::{Reader, StoreError};

/// A task, by its row.
///
/// # Errors
/// Any error of SQLite.
pub fn task(db: &Reader, id: TaskId) -> Result<Option<Task>, StoreError> {
    db.row("id = ?1", params![id.0])
}

/// The task of an agent's behaviour with this key.
///
/// # Errors
/// Any error of SQLite.
pub fn task_named(
    db: &Reader,
    agent: AgentId,
    behaviour: &str,
    key: &str,
) -> Result<Option<Task>, StoreError> {
    db.row(
        "agent = ?1 AND behaviour = ?2 AND key = ?3",
        params![agent.0, behaviour, key],
    )
}
