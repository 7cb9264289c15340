//! What answers and receipts refer to.

use agentry_protocol::{Address, TransactionHash};
use agentry_sdk::SentMessage;
use rusqlite::{Connection, OptionalExtension, params};

use super::{DRAFT_COLUMNS, draft, text};
use crate::store::number::integer;
use crate::store::rows::{AgentId, OutboxId, Overdue};

/// A message of a hosted wallet's that may be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its first transaction.
    pub outbox: OutboxId,
    /// Who was asked.
    pub recipient: Address,
    /// The behaviour that asked, if one did.
    pub behaviour: Option<String>,
    /// The label that it gave the message.
    pub label: Option<String>,
}

/// The message of an agent's that a transaction carried.
///
/// # Errors
/// What SQLite says.
pub fn question(
    db: &Connection,
    agent: AgentId,
    transaction: TransactionHash,
) -> rusqlite::Result<Option<Question>> {
    db.prepare_cached(
        "SELECT coalesce(o.resend_of, o.id), o.recipient, r.behaviour, r.label
         FROM outbox o LEFT JOIN receipt r ON r.outbox = coalesce(o.resend_of, o.id)
         WHERE o.hash = ?1 AND o.agent = ?2",
    )?
    .query_row(params![transaction.to_string(), agent.0], |row| {
        Ok(Question {
            outbox: OutboxId(row.get(0)?),
            recipient: text(row, 1, Address::from_chain)?,
            behaviour: row.get(2)?,
            label: row.get(3)?,
        })
    })
    .optional()
}

/// What a behaviour is told of a message that it sent, whose first transaction this is.
///
/// # Errors
/// What SQLite says.
pub fn sent_message(
    db: &Connection,
    outbox: OutboxId,
    label: &str,
) -> rusqlite::Result<Option<SentMessage>> {
    db.prepare_cached(
        "SELECT recipient, message_id,
                (SELECT hash FROM outbox o WHERE (o.id = ?1 OR o.resend_of = ?1)
                 AND hash IS NOT NULL ORDER BY id DESC LIMIT 1)
         FROM outbox WHERE id = ?1",
    )?
    .query_row(params![outbox.0], |row| {
        let id: Option<String> = row.get(1)?;
        let hash: Option<String> = row.get(2)?;
        Ok(SentMessage {
            label: label.to_owned(),
            to: text(row, 0, Address::from_chain)?,
            id: id.and_then(|id| id.parse().ok()),
            transaction: hash.and_then(|hash| hash.parse().ok()),
        })
    })
    .optional()
}

/// The messages of an agent that were not acknowledged in time.
///
/// # Errors
/// What SQLite says.
pub fn overdue(
    db: &Connection,
    agent: AgentId,
    now: u64,
    limit: usize,
) -> rusqlite::Result<Vec<Overdue>> {
    db.prepare_cached(&format!(
        "SELECT r.outbox, r.resends_left, {DRAFT_COLUMNS}
         FROM receipt r JOIN outbox ON outbox.id = r.outbox
         WHERE r.agent = ?1 AND r.due_at <= ?2 ORDER BY r.due_at LIMIT ?3"
    ))?
    .query_map(
        params![agent.0, integer(now), integer(limit as u64)],
        |row| {
            Ok(Overdue {
                outbox: OutboxId(row.get(0)?),
                resends_left: row.get(1)?,
                draft: draft(row, 2)?,
            })
        },
    )?
    .collect()
}
