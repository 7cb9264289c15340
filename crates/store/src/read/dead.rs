//! Dead letters to verify again.

use agentry_core::commit::{QueueKind, QueueTarget};
use agentry_core::rows::{DueMessage, InboxId};
use rusqlite::params_from_iter;
use rusqlite::types::Value;

use super::message_at;
use crate::number::integer;
use crate::target::condition;
use crate::{Reader, StoreError};

/// The dead letters after the row `after` that the target selects; at most `limit`.
///
/// # Errors
/// Any error of SQLite.
pub fn dead_letters(
    db: &Reader,
    target: &QueueTarget,
    after: InboxId,
    limit: u32,
) -> Result<Vec<DueMessage>, StoreError> {
    let Some(mut meant) = condition(target, QueueKind::Inbox) else {
        return Ok(Vec::new());
    };
    meant
        .values
        .extend([after.0, integer(limit.into())].map(Value::Integer));
    let rows: Vec<InboxId> = db.all(&format!(
            "SELECT id FROM inbox WHERE state = 'dead' AND stored <> '' AND {} AND id > ? ORDER BY id LIMIT ?",
            meant.sql
        ), params_from_iter(meant.values), |row| {
            row.get(0).map(InboxId)
        })?;
    rows.into_iter()
        .filter_map(|row| message_at(db, row).transpose())
        .collect()
}
