//! Tasks.

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
