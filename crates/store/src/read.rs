//! The queries of the runtime.
//!
//! | part | content |
//! |---|---|
//! | `cards` | the directory |
//! | `dead` | dead letters to verify again |
//! | `message` | single messages |
//! | `origin` | why a transaction was sent |
//! | `queued` | drafts that wait for a nonce |
//! | `spending` | what agents have spent, and what waits for a budget |
//! | `standing` | the load of an agent |
//! | `task` | tasks |
//! | `waits` | waiting rows |

mod cards;
mod dead;
mod message;
mod origin;
mod queued;
mod spending;
mod standing;
mod task;
mod waits;

use std::collections::BTreeMap;

use agentry_core::rows::{AgentId, AgentRow, Charge, Draft, OpenTransaction, OutboxId};
use agentry_core::state::row::{Outgoing, Tracking};
use agentry_core::state::sent::Question;
use agentry_protocol::{Address, BlockHeight, Json, Limits, Nonce, TransactionHash};
use rusqlite::{Row, params};
use serde::Serialize;

use super::column::{amount, natural, optional_natural, optional_text, text};
use super::number::integer;
use super::{Reader, StoreError, cause, meta};

pub(super) use cards::announce;
pub use cards::{
    AnnouncedCard, Renewal, Surveyed, announcement, card, cards, cards_named, renewal, surveyed,
};
pub use dead::dead_letters;
pub(super) use message::authenticity;
pub use message::{due_message, message_at};
pub use origin::origin_of;
pub use queued::{QueueTurn, queued};
pub use spending::{Spending, has_lapsed, held, holding, spenders, spending, spent};
pub use standing::{COUNTED_AT_MOST, standing};
pub use task::task;
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

/// The runtime's own time at the last stored change, in milliseconds since the epoch.
///
/// # Errors
/// Any error of SQLite.
pub fn noted_time(db: &Reader) -> Result<Option<u64>, StoreError> {
    Ok(meta::read(&db.0, meta::TIME, str::parse)?)
}

/// The key of the last mempool.db and node: that mempool.db has shown a transaction posted to that
/// node.
pub fn mempool_shown(db: &Reader) -> Result<Option<String>, StoreError> {
    db.first(
        "SELECT value FROM meta WHERE key = ?1",
        params![meta::MEMPOOL],
        |row| row.get(0),
    )
}

/// The transactions that a node has accepted and that are in no block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmined {
    /// How many there are.
    pub count: u64,
    /// When the oldest was accepted, in milliseconds since the epoch.
    pub oldest_at: Option<u64>,
    /// Why the oldest is in no block, if that is known.
    pub reason: Option<String>,
}

/// The transactions that are in no block and were accepted before this time (milliseconds since the
/// epoch), or for which the runtime has stored the reason.
pub fn unmined(db: &Reader, before: u64) -> Result<Unmined, StoreError> {
    // SQLite takes the other columns from the row with the minimum.
    db.one(
        "SELECT count(*), min(accepted_at), reason FROM outbox
         WHERE state IN ('prepared', 'accepted') AND state = 'accepted'
           AND (accepted_at < ?1 OR reason IS NOT NULL)",
        params![integer(before)],
        |row| {
            Ok(Unmined {
                count: natural(row, 0)?,
                oldest_at: optional_natural(row, 1)?,
                reason: row.get(2)?,
            })
        },
    )
}

/// All wallets that were ever hosted.
pub fn agents(db: &Reader) -> Result<Vec<AgentRow>, StoreError> {
    db.all(
        "SELECT id, address, name, last_nonce FROM agent ORDER BY id",
        [],
        |row| {
            Ok(AgentRow {
                id: AgentId(row.get(0)?),
                address: text(row, 1, Address::from_chain)?,
                name: row.get(2)?,
                last_nonce: optional_natural(row, 3)?.map(Nonce::new),
            })
        },
    )
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
    let values = params![transaction.to_string(), agent.0];
    let Some(sent) = db.row::<Outgoing>("hash = ?1 AND agent = ?2", values)? else {
        return Ok(None);
    };
    let receipt = db.row::<Tracking>("outbox = ?1", params![sent.first().0])?;
    Ok(Some(Question::of(&sent, receipt.as_ref())))
}

const OPEN_COLUMNS: &str =
    "id, agent, hash, nonce, amount, fee, since, budget_day, standing, sender";

fn open_row(row: &Row<'_>) -> rusqlite::Result<OpenTransaction> {
    let agent = AgentId(row.get(1)?);
    let cost = amount(row, 4)?.saturating_add(amount(row, 5)?);
    let charge = match optional_natural(row, 7)? {
        None => None,
        Some(day) => Some(Charge {
            agent,
            day,
            cost,
            cause: cause::read(row, 8)?,
        }),
    };
    Ok(OpenTransaction {
        id: OutboxId(row.get(0)?),
        agent,
        hash: text(row, 2, str::parse)?,
        nonce: Nonce::new(natural(row, 3)?),
        cost,
        since: BlockHeight(optional_natural(row, 6)?.unwrap_or(0)),
        charge,
    })
}

/// The last row of the outbox; 0 if there is none.
pub fn last_outbox(db: &Reader) -> Result<OutboxId, StoreError> {
    db.one("SELECT coalesce(max(id), 0) FROM outbox", [], |row| {
        row.get(0).map(OutboxId)
    })
}

/// All transactions that are signed and not in a block.
pub fn open_transactions(db: &Reader) -> Result<Vec<OpenTransaction>, StoreError> {
    db.all(
        &format!(
            "SELECT {OPEN_COLUMNS} FROM outbox WHERE state IN ('prepared', 'accepted') ORDER BY +id"
        ),
        [],
        open_row,
    )
}

/// A transaction, if it is signed and not in a block.
pub fn open_transaction(db: &Reader, id: OutboxId) -> Result<Option<OpenTransaction>, StoreError> {
    db.first(
        &format!(
            "SELECT {OPEN_COLUMNS} FROM outbox WHERE id = ?1 AND state IN ('prepared', 'accepted')"
        ),
        params![id.0],
        open_row,
    )
}

/// The signed bytes of a transaction that may be posted: one that is in no block.
pub fn body(db: &Reader, id: OutboxId) -> Result<Option<String>, StoreError> {
    db.first(
        "SELECT body FROM outbox WHERE id = ?1 AND state IN ('prepared', 'accepted')",
        params![id.0],
        |row| row.get(0),
    )
    .map(Option::flatten)
}

const DRAFT_COLUMNS: &str =
    "origin, recipient, amount, fee, payload, message_id, expires_at, standing, sender";

/// The draft in [`DRAFT_COLUMNS`], of which the first is column `at`. Its receipt request is not
/// read.
fn draft(row: &Row<'_>, at: usize) -> rusqlite::Result<Draft> {
    Ok(Draft {
        origin: row.get(at)?,
        recipient: text(row, at + 1, Address::from_chain)?,
        amount: amount(row, at + 2)?,
        fee: amount(row, at + 3)?,
        payload: text(row, at + 4, |json| {
            Json::parse(json.as_bytes(), Limits::default())
        })?,
        message_id: optional_text(row, at + 5, str::parse)?,
        expires_at: optional_natural(row, at + 6)?,
        cause: cause::read(row, at + 7)?,
        receipt: None,
    })
}

/// The highest mined nonce of a wallet, of those from `counter` on that a node which is behind may
/// not have counted yet. A nonce far above it does not come from a counter: it was assigned under
/// the policy `timestamp`.
pub fn last_mined_nonce(
    db: &Reader,
    agent: AgentId,
    counter: Nonce,
) -> Result<Option<Nonce>, StoreError> {
    db.one(
        "SELECT max(nonce) FROM (
             SELECT max(nonce) AS nonce FROM outbox
             WHERE agent = ?1 AND state IN ('mined', 'final') AND nonce >= ?2 AND nonce < ?2 + ?3
             UNION ALL
             SELECT max(nonce) FROM sighting
             WHERE agent = ?1 AND height IS NOT NULL AND nonce >= ?2 AND nonce < ?2 + ?3)",
        params![agent.0, integer(counter.get()), COUNTER_LAG],
        |row| Ok(optional_natural(row, 0)?.map(Nonce::new)),
    )
}

/// The most mined transactions of a wallet that a node may not have counted yet: as many as are
/// followed.
const COUNTER_LAG: i64 = 20_000;

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
    })
}

#[cfg(test)]
mod tests;
