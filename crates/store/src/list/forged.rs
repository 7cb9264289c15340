//! Messages that name a sender that did not sign them.

use agentry_protocol::Timestamp;
use rusqlite::params_from_iter;
use serde::Serialize;

use super::{Columns, Filter, conditions};
use crate::column::{hash, natural, time};
use crate::{Reader, StoreError};

/// A forged message. No behaviour has seen it, and none will.
#[derive(Clone, Debug, Serialize)]
pub struct ForgedItem {
    /// `forged/` and the row.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// The sender that it names.
    pub from: String,
    /// The recipient: the agent's address.
    pub to: String,
    /// Hash of the transaction.
    pub transaction: String,
    /// The block.
    pub height: u64,
    /// When it was first seen.
    pub seen_at: Timestamp,
    /// The transaction as the chain keeps it, JSON.
    pub stored: String,
}

const COLUMNS: Columns = Columns {
    id: "q.rowid",
    other: Some("q.sender"),
    behaviour: None,
    state: None,
    at: "q.seen_at",
};

/// The newest forged messages, oldest first.
///
/// # Errors
/// Any error of SQLite.
pub fn forged(db: &Reader, filter: &Filter) -> Result<Vec<ForgedItem>, StoreError> {
    let (conditions, values) = conditions(filter, &COLUMNS);
    let mut items: Vec<ForgedItem> = db.all(
        &format!(
            "SELECT q.rowid, agent.name, q.sender, agent.address, q.hash, q.height, q.seen_at,
                    q.stored
             FROM forged q JOIN agent ON agent.id = q.agent
             WHERE {conditions} ORDER BY q.rowid DESC LIMIT ?"
        ),
        params_from_iter(values),
        |row| {
            Ok(ForgedItem {
                id: format!("forged/{}", row.get::<_, i64>(0)?),
                agent: row.get(1)?,
                from: row.get(2)?,
                to: row.get(3)?,
                transaction: hash(row, 4)?,
                height: natural(row, 5)?,
                seen_at: time(row, 6)?,
                stored: row.get(7)?,
            })
        },
    )?;
    items.reverse();
    Ok(items)
}
