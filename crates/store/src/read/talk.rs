//! The messages that answers and receipts refer to.

use agentry_core::SentMessage;
use agentry_core::rows::{AgentId, InboxId, OutboxId, Overdue};
use agentry_protocol::{Address, TransactionHash};
use rusqlite::params;

use super::{DRAFT_COLUMNS, draft};
use crate::column::{optional_text, text};
use crate::number::integer;
use crate::{Reader, StoreError};

/// A message of a hosted wallet that may be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The first transaction that carried it.
    pub outbox: OutboxId,
    /// The recipient of the message.
    pub recipient: Address,
    /// The behaviour that sent it, if one did.
    pub behaviour: Option<String>,
    /// The label that it gave the message.
    pub label: Option<String>,
}

/// The agent's message that a transaction carried.
///
/// # Errors
/// Any error of SQLite.
pub fn question(
    db: &Reader,
    agent: AgentId,
    transaction: TransactionHash,
) -> Result<Option<Question>, StoreError> {
    db.first(
        "SELECT coalesce(o.resend_of, o.id), o.recipient, r.behaviour, r.label
         FROM outbox o LEFT JOIN receipt r ON r.outbox = coalesce(o.resend_of, o.id)
         WHERE o.hash = ?1 AND o.agent = ?2",
        params![transaction.to_string(), agent.0],
        |row| {
            Ok(Question {
                outbox: OutboxId(row.get(0)?),
                recipient: text(row, 1, Address::from_chain)?,
                behaviour: row.get(2)?,
                label: row.get(3)?,
            })
        },
    )
}

/// Whether a hosted wallet's message that a transaction carried is on the chain and may still be
/// rebuilt: the store has lost it, and behaviours see again what came before the answer.
///
/// # Errors
/// Any error of SQLite.
pub fn is_being_rebuilt(
    db: &Reader,
    agent: AgentId,
    transaction: TransactionHash,
    answer: InboxId,
    now: u64,
) -> Result<bool, StoreError> {
    let lost = db.exists(
        "SELECT 1 FROM sighting
             WHERE agent = ?1 AND hash = ?2 AND mark IS NOT NULL AND seen_at > ?3",
        params![
            agent.0,
            transaction.to_string(),
            integer(now.saturating_sub(REBUILT_WITHIN_MS))
        ],
    )?;
    if !lost {
        return Ok(false);
    }
    db.exists(
        "SELECT 1 FROM inbox WHERE agent = ?1 AND state = 'waiting' AND id < ?2
         UNION ALL SELECT 1 FROM event WHERE agent = ?1 AND state = 'waiting' AND due_at <= ?3
         LIMIT 1",
        params![agent.0, answer.0, integer(now)],
    )
}

/// How long an answer waits for its question to be rebuilt after the chain was read: earlier
/// messages may wait because of their sender's rate limit.
const REBUILT_WITHIN_MS: u64 = 10 * 60 * 1000;

/// What a behaviour is told about a message that it sent, given by the message's first transaction.
///
/// # Errors
/// Any error of SQLite.
pub fn sent_message(
    db: &Reader,
    outbox: OutboxId,
    label: &str,
) -> Result<Option<SentMessage>, StoreError> {
    db.first(
        "SELECT recipient, message_id,
                (SELECT hash FROM outbox o WHERE (o.id = ?1 OR o.resend_of = ?1)
                 AND hash IS NOT NULL ORDER BY id DESC LIMIT 1)
         FROM outbox WHERE id = ?1",
        params![outbox.0],
        |row| {
            Ok(SentMessage {
                label: label.to_owned(),
                to: text(row, 0, Address::from_chain)?,
                id: optional_text(row, 1, str::parse)?,
                transaction: optional_text(row, 2, str::parse)?,
            })
        },
    )
}

/// The messages of an agent that were not acknowledged in time. A message whose answer has arrived
/// and waits for its turn is left out, because the answer may acknowledge it.
///
/// # Errors
/// Any error of SQLite.
pub fn overdue(
    db: &Reader,
    agent: AgentId,
    now: u64,
    limit: usize,
) -> Result<Vec<Overdue>, StoreError> {
    db.all(
        &format!(
            "SELECT r.outbox, r.resends_left, {DRAFT_COLUMNS}
         FROM receipt r JOIN outbox ON outbox.id = r.outbox
         WHERE r.agent = ?1 AND r.due_at <= ?2
           AND NOT EXISTS (
               SELECT 1 FROM outbox sent JOIN inbox ON inbox.re = sent.hash
               WHERE (sent.id = r.outbox OR sent.resend_of = r.outbox)
                 AND inbox.agent = r.agent AND inbox.sender = outbox.recipient
                 AND inbox.authenticity = 'verified' AND inbox.state = 'waiting')
         ORDER BY r.due_at LIMIT ?3"
        ),
        params![agent.0, integer(now), integer(limit as u64)],
        |row| {
            Ok(Overdue {
                outbox: OutboxId(row.get(0)?),
                resends_left: row.get(1)?,
                draft: draft(row, 2)?,
            })
        },
    )
}
