//! Waiting rows of the queues, to explain why they wait.

use agentry_core::rows::AgentId;
use agentry_core::state::row::Outgoing;
use agentry_protocol::Timestamp;
use rusqlite::params;

use super::super::column::{natural, optional_natural, time};
use crate::tables::Stored;
use crate::{Reader, StoreError};

/// A message that has not been handled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingMessage {
    /// The agent that it was sent to.
    pub agent: AgentId,
    /// The agent's name, when it was last hosted.
    pub agent_name: String,
    /// Its sender's address.
    pub sender: String,
    /// Whether its sender is verified.
    pub verified: bool,
    /// Whether a reorganisation has withdrawn it.
    pub withdrawn: bool,
    /// The block that holds it.
    pub height: Option<u64>,
    /// How many attempts have failed.
    pub attempts: u64,
    /// Whether a behaviour has handled it.
    pub begun: bool,
    /// When it is due; the epoch means at once.
    pub due_at: Timestamp,
}

/// A message, if it waits.
///
/// # Errors
/// Any error of SQLite.
pub fn waiting_message(db: &Reader, row: i64) -> Result<Option<WaitingMessage>, StoreError> {
    db.first(
        "SELECT q.agent, agent.name, q.sender, q.authenticity = 'verified', q.state = 'withdrawn',
                q.height, q.attempts, q.due_at,
                EXISTS (SELECT 1 FROM progress WHERE progress.inbox = q.id)
         FROM inbox q JOIN agent ON agent.id = q.agent
         WHERE q.id = ?1 AND q.state IN ('waiting', 'withdrawn')",
        params![row],
        |row| {
            Ok(WaitingMessage {
                agent: AgentId(row.get(0)?),
                agent_name: row.get(1)?,
                sender: row.get(2)?,
                verified: row.get(3)?,
                withdrawn: row.get(4)?,
                height: optional_natural(row, 5)?,
                attempts: natural(row, 6)?,
                due_at: time(row, 7)?,
                begun: row.get(8)?,
            })
        },
    )
}

/// The state of a transaction that is not in a block, and why it waits, as far as the store knows.
///
/// # Errors
/// Any error of SQLite.
pub fn waiting_transaction(
    db: &Reader,
    row: i64,
) -> Result<Option<(String, Option<String>)>, StoreError> {
    db.first(
        &format!(
            "SELECT state, reason FROM outbox WHERE id = ?1 AND {}",
            Outgoing::OPEN
        ),
        params![row],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}
