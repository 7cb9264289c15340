//! Messages to hosted wallets.

use agentry_protocol::{MessageDigest, Timestamp};
use rusqlite::params_from_iter;
use serde::Serialize;

use super::{Columns, Filter, conditions};
use crate::column::{bytes, hash, natural, optional_hash, optional_natural, optional_time, time};
use crate::{Reader, StoreError};

/// A row of the inbox.
#[derive(Clone, Debug, Serialize)]
pub struct InboxItem {
    /// `inbox/` and the row.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// `waiting`, `withdrawn`, `handled`, `expired` or `dead`.
    pub state: String,
    /// The sender that it names.
    pub from: String,
    /// The recipient: the agent's address.
    pub to: String,
    /// `verified` or `unverified`.
    pub authenticity: String,
    /// Hash of the transaction.
    pub transaction: String,
    /// The message's identity among all messages.
    pub digest: String,
    /// Its identity among the messages of its sender: its id, if the sender is verified and gave it
    /// one, or else the digest.
    pub identity: Option<String>,
    /// The conversation that it belongs to.
    pub thread: Option<String>,
    /// The transaction that it answers.
    pub re: Option<String>,
    /// Whether it takes priority over other messages.
    pub urgent: bool,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// The block; `null` while a reorganisation has withdrawn it.
    pub height: Option<u64>,
    /// How many attempts have failed.
    pub attempts: u64,
    /// The reason of the last failure.
    pub reason: Option<String>,
    /// Why a behaviour rejected it.
    pub rejected: Option<String>,
    /// When it was first seen.
    pub seen_at: Timestamp,
    /// When it is due; `null` means at once.
    pub due_at: Option<Timestamp>,
    /// When it was handled, expired or became a dead letter.
    pub settled_at: Option<Timestamp>,
    /// The transaction as the chain keeps it, JSON.
    pub stored: String,
}

const COLUMNS: Columns = Columns {
    id: "q.id",
    other: Some("q.sender"),
    behaviour: None,
    state: Some("q.state"),
    at: "q.seen_at",
};

/// The newest messages, oldest first.
///
/// # Errors
/// Any error of SQLite.
pub fn inbox(db: &Reader, filter: &Filter) -> Result<Vec<InboxItem>, StoreError> {
    let (conditions, values) = conditions(filter, &COLUMNS);
    let mut items: Vec<InboxItem> = db.all(
        &format!(
            "SELECT q.id, agent.name, q.state, q.sender, agent.address, q.authenticity, q.hash,
                    q.digest, q.height, q.attempts, q.reason, q.seen_at, q.due_at, q.settled_at,
                    q.stored, q.identity, q.thread, q.re, q.priority > 0, q.expires_at, q.rejected
             FROM inbox q JOIN agent ON agent.id = q.agent
             WHERE {conditions} ORDER BY q.id DESC LIMIT ?"
        ),
        params_from_iter(values),
        |row| {
            Ok(InboxItem {
                id: format!("inbox/{}", row.get::<_, i64>(0)?),
                agent: row.get(1)?,
                state: row.get(2)?,
                from: row.get(3)?,
                to: row.get(4)?,
                authenticity: row.get(5)?,
                transaction: hash(row, 6)?,
                digest: bytes(row, 7, MessageDigest::from_bytes)?.to_string(),
                height: optional_natural(row, 8)?,
                attempts: natural(row, 9)?,
                reason: row.get(10)?,
                seen_at: time(row, 11)?,
                due_at: optional_time(row, 12)?.filter(|at| *at > Timestamp::EPOCH),
                settled_at: optional_time(row, 13)?,
                stored: row.get(14)?,
                identity: row.get(15)?,
                thread: row.get(16)?,
                re: optional_hash(row, 17)?,
                urgent: row.get(18)?,
                expires_at: optional_time(row, 19)?,
                rejected: row.get(20)?,
            })
        },
    )?;
    items.reverse();
    Ok(items)
}
