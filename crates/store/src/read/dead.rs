//! Dead letters to verify again.

use agentry_core::commit::{QueueKind, QueueTarget};
use agentry_core::rows::{DueMessage, InboxId};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::message_at;
use crate::number::integer;
use crate::target::condition;

/// The dead letters after the row `after` that the target selects; at most `limit`.
///
/// # Errors
/// Any error of SQLite.
pub fn dead_letters(
    db: &Connection,
    target: &QueueTarget,
    after: InboxId,
    limit: u32,
) -> rusqlite::Result<Vec<DueMessage>> {
    let Some(mut meant) = condition(target, QueueKind::Inbox) else {
        return Ok(Vec::new());
    };
    meant
        .values
        .extend([after.0, integer(limit.into())].map(Value::Integer));
    let rows: Vec<InboxId> = db
        .prepare(&format!(
            "SELECT id FROM inbox WHERE state = 'dead' AND stored <> '' AND {} AND id > ? ORDER BY id LIMIT ?",
            meant.sql
        ))?
        .query_map(params_from_iter(meant.values), |row| {
            row.get(0).map(InboxId)
        })?
        .collect::<rusqlite::Result<_>>()?;
    rows.into_iter()
        .filter_map(|row| message_at(db, row).transpose())
        .collect()
}
