//! Tasks.

use agentry_protocol::Address;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::text;
use crate::store::number::natural;
use crate::store::rows::{AgentId, TaskId, TaskRow, TaskState};

const COLUMNS: &str = "id, agent, behaviour, key, kind, input, submitter, state, attempts, due_at,
     deadline, result, media_type, error_code, error";

fn task_row(row: &Row<'_>) -> rusqlite::Result<TaskRow> {
    let submitter: Option<String> = row.get(6)?;
    Ok(TaskRow {
        id: TaskId(row.get(0)?),
        agent: AgentId(row.get(1)?),
        behaviour: row.get(2)?,
        key: row.get(3)?,
        kind: row.get(4)?,
        input: text(row, 5, serde_json::from_str)?,
        submitter: submitter.and_then(|address| Address::from_chain(&address).ok()),
        state: TaskState::parse(row.get_ref(7)?.as_str()?).unwrap_or(TaskState::Failed),
        attempts: row.get(8)?,
        due_at: natural(row.get(9)?),
        deadline: row.get::<_, Option<i64>>(10)?.map(natural),
        result: row.get(11)?,
        media_type: row.get(12)?,
        error_code: row.get(13)?,
        error: row.get(14)?,
    })
}

/// A task.
///
/// # Errors
/// What SQLite says.
pub fn task(db: &Connection, id: TaskId) -> rusqlite::Result<Option<TaskRow>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM task WHERE id = ?1"))?
        .query_row(params![id.0], task_row)
        .optional()
}

/// The tasks that have not ended, those that may begin first in front; at most `limit`.
///
/// # Errors
/// What SQLite says.
pub fn open_tasks(db: &Connection, limit: u32) -> rusqlite::Result<Vec<TaskRow>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM task WHERE state IN ('submitted', 'working')
         ORDER BY due_at, id LIMIT ?1"
    ))?
    .query_map(params![limit], task_row)?
    .collect()
}
