//! Why a transaction was sent.

use agentry_protocol::TransactionHash;
use rusqlite::params;

use crate::{Reader, StoreError};
use agentry_core::rows::AgentId;

/// What requested an agent's transaction, or the first one if it is a resend; see
/// [`Draft::origin`](agentry_core::rows::Draft::origin).
///
/// # Errors
/// Any error of SQLite.
pub fn origin_of(
    db: &Reader,
    agent: AgentId,
    transaction: TransactionHash,
) -> Result<Option<String>, StoreError> {
    db.first(
        "SELECT coalesce((SELECT first.origin FROM outbox first WHERE first.id = o.resend_of),
                         o.origin)
         FROM outbox o WHERE o.hash = ?1 AND o.agent = ?2",
        params![transaction.as_bytes(), agent.0],
        |row| row.get(0),
    )
}

/// Whether a transaction was requested with this [origin](agentry_core::rows::Draft::origin).
///
/// # Errors
/// Any error of SQLite.
pub fn is_requested(db: &Reader, origin: &str) -> Result<bool, StoreError> {
    let found = db.first("SELECT 1 FROM outbox WHERE origin = ?1", [origin], |_| {
        Ok(())
    });
    found.map(|found| found.is_some())
}

/// The first [origin](agentry_core::rows::Draft::origin) of a transaction that begins with a text.
///
/// # Errors
/// Any error of SQLite.
pub fn origin_beginning(db: &Reader, with: &str) -> Result<Option<String>, StoreError> {
    let found = db.first(
        "SELECT origin FROM outbox WHERE origin >= ?1 ORDER BY origin LIMIT 1",
        [with],
        |row| row.get::<_, String>(0),
    )?;
    Ok(found.filter(|origin| origin.starts_with(with)))
}
