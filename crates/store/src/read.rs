//! The queries of the runtime.
//!
//! | part | content |
//! |---|---|
//! | `cards` | the directory |
//! | `dead` | dead letters to verify again |
//! | `message` | single messages |
//! | `origin` | why a transaction was sent |
//! | `spending` | what agents have spent |
//! | `standing` | the load of an agent |
//! | `task` | tasks |
//! | `token` | tokens of callers |
//! | `push` | where callers are told of tasks |
//! | `waits` | waiting rows |

mod cards;
mod dead;
mod message;
mod origin;
mod push;
mod spending;
mod standing;
mod task;
mod token;
mod waits;

use std::collections::BTreeMap;

use agentry_core::rows::{AgentId, AgentRow, OutboxId};
use agentry_core::state::row::{Outgoing, Tracking};
use agentry_core::state::sent::Question;
use agentry_protocol::{Address, BlockHeight, Nonce, Timestamp, TransactionHash};
use rusqlite::{Row, params};
use serde::Serialize;

use super::column::{natural, optional_natural, optional_time, text};
use super::number::integer;
use super::tables::Stored;
use super::{Reader, StoreError, meta};

pub(super) use cards::announce;
pub use cards::{
    AnnouncedCard, Renewal, Surveyed, announcement, card, cards, cards_named, each_card, renewal,
    surveyed,
};
pub use dead::dead_letters;
pub(super) use message::authenticity;
pub use message::{due_message, message_at};
pub use origin::{is_requested, origin_beginning, origin_of};
pub use push::pushes;
pub use spending::{Spending, day_tokens, spenders, spending, spent};
pub use standing::{COUNTED_AT_MOST, standing};
pub use task::{task, task_named};
pub use token::tokens;
pub use waits::{WaitingMessage, waiting_message, waiting_transaction};

/// What the store knows about the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The chain's id.
    pub chain_id: Option<String>,
    /// Hash of its block 0.
    pub genesis: Option<String>,
    /// The source's position, as the source gave it.
    pub cursor: Option<String>,
    /// Why posting is halted, if it is.
    pub halted: Option<String>,
}

/// Reads what the store knows about the chain.
pub fn identity(db: &Reader) -> Result<Identity, StoreError> {
    let get = |key: &str| meta::read(&db.0, key, meta::as_it_is);
    Ok(Identity {
        chain_id: get(meta::CHAIN_ID)?,
        genesis: get(meta::GENESIS)?,
        cursor: get(meta::CURSOR)?,
        halted: get(meta::HALTED)?,
    })
}

/// Whether the store is a host's copy of what a cluster keeps in its database, which lags behind it.
///
/// # Errors
/// Any error of SQLite.
pub fn is_copy(db: &Reader) -> Result<bool, StoreError> {
    Ok(meta::read(&db.0, meta::SUM, meta::as_it_is)?.is_some())
}

/// The runtime's own time at the last stored change.
///
/// # Errors
/// Any error of SQLite.
pub fn noted_time(db: &Reader) -> Result<Option<Timestamp>, StoreError> {
    Ok(meta::read(&db.0, meta::TIME, str::parse)?)
}

/// The transactions that a node has accepted and that are in no block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmined {
    /// How many there are.
    pub count: u64,
    /// When the oldest was accepted.
    pub oldest_at: Option<Timestamp>,
    /// Why the oldest is in no block, if that is known.
    pub reason: Option<String>,
}

/// The transactions that are in no block and were accepted before this time, or for which the
/// runtime has stored the reason.
pub fn unmined(db: &Reader, before: Timestamp) -> Result<Unmined, StoreError> {
    // SQLite takes the other columns from the row with the minimum.
    db.one(
        &format!(
            "SELECT count(*), min(accepted_at), reason FROM outbox
             WHERE {} AND state = 'accepted' AND (accepted_at < ?1 OR reason IS NOT NULL)",
            Outgoing::OPEN
        ),
        params![integer(before.get())],
        |row| {
            Ok(Unmined {
                count: natural(row, 0)?,
                oldest_at: optional_time(row, 1)?,
                reason: row.get(2)?,
            })
        },
    )
}

const AGENT: &str = "SELECT id, address, name, last_nonce FROM agent";

/// All wallets that were ever hosted.
pub fn agents(db: &Reader) -> Result<Vec<AgentRow>, StoreError> {
    db.all(&format!("{AGENT} ORDER BY id"), [], agent_row)
}

/// The wallets that were ever hosted, by address, from the one after `after` on; at most `limit`.
pub fn agents_after(db: &Reader, after: &str, limit: u64) -> Result<Vec<AgentRow>, StoreError> {
    db.all(
        &format!("{AGENT} WHERE address > ?1 ORDER BY address LIMIT ?2"),
        params![after, integer(limit)],
        agent_row,
    )
}

/// The wallet at this address, if it was ever hosted.
pub fn agent(db: &Reader, address: &Address) -> Result<Option<AgentRow>, StoreError> {
    let sql = format!("{AGENT} WHERE address = ?1");
    db.first(&sql, [address.as_str()], agent_row)
}

/// The address of the wallet in this row.
pub fn agent_at(db: &Reader, row: i64) -> Result<Option<String>, StoreError> {
    db.first("SELECT address FROM agent WHERE id = ?1", [row], |row| {
        row.get(0)
    })
}

fn agent_row(row: &Row<'_>) -> rusqlite::Result<AgentRow> {
    Ok(AgentRow {
        id: AgentId(row.get(0)?),
        address: text(row, 1, Address::from_chain)?,
        name: row.get(2)?,
        last_nonce: optional_natural(row, 3)?.map(Nonce::new),
    })
}

/// A hosted wallet's message that a transaction carried.
///
/// # Errors
/// Any error of SQLite.
pub fn question(
    db: &Reader,
    agent: AgentId,
    transaction: TransactionHash,
) -> Result<Option<Question>, StoreError> {
    let values = params![transaction.as_bytes(), agent.0];
    let Some(sent) = db.row::<Outgoing>("hash = ?1 AND agent = ?2", values)? else {
        return Ok(None);
    };
    let receipt = db.row::<Tracking>("outbox = ?1", params![sent.first().0])?;
    Ok(Some(Question::of(&sent, receipt.as_ref())))
}

/// The last row of the outbox; 0 if there is none.
pub fn last_outbox(db: &Reader) -> Result<OutboxId, StoreError> {
    db.one("SELECT coalesce(max(id), 0) FROM outbox", [], |row| {
        row.get(0).map(OutboxId)
    })
}

/// The blocks above a height that could not be read completely, by ascending height.
pub fn gaps(db: &Reader, above: BlockHeight) -> Result<Vec<BlockHeight>, StoreError> {
    db.all(
        "SELECT height FROM gap WHERE height > ?1 ORDER BY height",
        params![integer(above.0)],
        |row| Ok(BlockHeight(natural(row, 0)?)),
    )
}

/// The number of rows in each state of the queues, for `queue list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Messages, by state.
    pub inbox: BTreeMap<String, u64>,
    /// Events other than messages, by state.
    pub events: BTreeMap<String, u64>,
    /// Transactions, by state.
    pub outbox: BTreeMap<String, u64>,
    /// Forged messages.
    pub forged: u64,
    /// Heights that could not be read completely.
    pub gaps: u64,
    /// Transactions that are held by a day's budget.
    pub waiting_for_budget: u64,
    /// Transactions and tasks that wait for an operator's approval.
    pub waiting_for_approval: u64,
}

/// Counts the rows in each state of the queues. Reads every row, so it is not for a hot path.
pub fn counts(db: &Reader) -> Result<Counts, StoreError> {
    let by_state = |table: &str| -> Result<BTreeMap<String, u64>, StoreError> {
        db.all(
            &format!("SELECT state, count(*) FROM {table} GROUP BY state"),
            [],
            |row| Ok((row.get(0)?, natural(row, 1)?)),
        )
    };
    let all = |table: &str| -> Result<u64, StoreError> {
        db.one(&format!("SELECT count(*) FROM {table}"), [], |row| {
            natural(row, 0)
        })
    };
    Ok(Counts {
        inbox: by_state("inbox")?,
        events: by_state("event")?,
        outbox: by_state("outbox")?,
        forged: all("forged")?,
        gaps: all("gap")?,
        waiting_for_budget: all("outbox WHERE state = 'queued' AND held = 1")?,
        waiting_for_approval: super::list::waiting_approvals(db)?,
    })
}

#[cfg(test)]
mod tests;
