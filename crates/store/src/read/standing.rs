//! The load of an agent.

use agentry_core::rows::AgentId;
use agentry_core::state::row::{Outgoing, Task};
use agentry_protocol::command::{QueueCounts, TaskCounts};
use rusqlite::params;

use crate::column::natural;
use crate::tables::Stored;
use crate::{Reader, StoreError};

/// The most rows of a kind that are counted, so that the status of an agent with a million waiting
/// messages costs little. A larger number is reported as this one.
pub const COUNTED_AT_MOST: u32 = 100_000;

/// How many messages, transactions and tasks of an agent are open.
///
/// # Errors
/// Any error of SQLite.
pub fn standing(db: &Reader, agent: AgentId) -> Result<(QueueCounts, TaskCounts), StoreError> {
    let count = |from: &str| -> Result<u64, StoreError> {
        db.one(
            &format!("SELECT count(*) FROM (SELECT 1 FROM {from} LIMIT {COUNTED_AT_MOST})"),
            params![agent.0],
            |row| natural(row, 0),
        )
    };
    let queue = QueueCounts {
        inbox: count("inbox WHERE agent = ?1 AND state = 'waiting'")?,
        outbox: count(&format!("outbox WHERE agent = ?1 AND {}", Outgoing::OPEN))?,
        dead: count("inbox WHERE agent = ?1 AND state = 'dead'")?
            .saturating_add(count("event WHERE agent = ?1 AND state = 'dead'")?),
    };
    // The index holds the open tasks of all agents, which are few.
    let of_tasks = |state: &str| {
        count(&format!(
            "task WHERE +agent = ?1 AND state = '{state}' AND {}",
            Task::OPEN
        ))
    };
    let tasks = TaskCounts {
        submitted: of_tasks("submitted")?,
        working: of_tasks("working")?,
    };
    Ok((queue, tasks))
}
