//! Events of agents other than messages.

use agentry_protocol::Timestamp;
use rusqlite::params_from_iter;
use serde::Serialize;

use super::{Columns, Filter, conditions};
use crate::column::{natural, optional_natural, optional_time, time};
use crate::{Reader, StoreError};

/// A timer, a delivery update, the outcome of a watched message, a task update, or the renewal of a
/// card.
#[derive(Clone, Debug, Serialize)]
pub struct EventItem {
    /// `event/` and the row.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// `waiting` or `dead`. A handled event is deleted.
    pub state: String,
    /// `timer`, `delivery`, `settled`, `task` or `renewal`.
    pub kind: String,
    /// The behaviour that it is for; empty for the runtime itself.
    pub behaviour: String,
    /// The timer's name, the label of the sent message, or the task's key.
    pub name: String,
    /// Data that depends on the kind, JSON.
    pub data: String,
    /// The message that it is about: `inbox/` and its row.
    pub message: Option<String>,
    /// When it is due; `null` means at once.
    pub due_at: Option<Timestamp>,
    /// How many attempts have failed.
    pub attempts: u64,
    /// The reason of the last failure.
    pub reason: Option<String>,
    /// When it was created.
    pub made_at: Timestamp,
}

const COLUMNS: Columns = Columns {
    id: "q.id",
    other: None,
    behaviour: Some("q.behaviour = ?"),
    state: Some("q.state"),
    at: "q.made_at",
};

/// The newest events, oldest first.
///
/// # Errors
/// Any error of SQLite.
pub fn events(db: &Reader, filter: &Filter) -> Result<Vec<EventItem>, StoreError> {
    let (conditions, values) = conditions(filter, &COLUMNS);
    let mut items: Vec<EventItem> = db.all(
        &format!(
            "SELECT q.id, agent.name, q.state, q.kind, q.behaviour, q.name, q.data, q.inbox,
                    q.due_at, q.attempts, q.reason, q.made_at
             FROM event q JOIN agent ON agent.id = q.agent
             WHERE {conditions} ORDER BY q.id DESC LIMIT ?"
        ),
        params_from_iter(values),
        |row| {
            Ok(EventItem {
                id: format!("event/{}", row.get::<_, i64>(0)?),
                agent: row.get(1)?,
                state: row.get(2)?,
                kind: row.get(3)?,
                behaviour: row.get(4)?,
                name: row.get(5)?,
                data: row.get(6)?,
                message: optional_natural(row, 7)?.map(|row| format!("inbox/{row}")),
                due_at: optional_time(row, 8)?.filter(|at| *at > Timestamp::EPOCH),
                attempts: natural(row, 9)?,
                reason: row.get(10)?,
                made_at: time(row, 11)?,
            })
        },
    )?;
    items.reverse();
    Ok(items)
}
