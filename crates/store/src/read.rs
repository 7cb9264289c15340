//! The queries of the runtime.
//!
//! | part | content |
//! |---|---|
//! | `cards` | the directory |
//! | `dead` | dead letters to verify again |
//! | `due` | the work that is due for an agent |
//! | `origin` | why a transaction was sent |
//! | `queued` | drafts that wait for a nonce |
//! | `spending` | what agents have spent, and what waits for a budget |
//! | `standing` | the load of an agent |
//! | `talk` | the messages that answers and receipts refer to |
//! | `task` | tasks |
//! | `waits` | waiting rows |

mod cards;
mod dead;
mod due;
mod origin;
mod queued;
mod spending;
mod standing;
mod talk;
mod task;
mod waits;

use std::collections::{BTreeMap, HashMap, HashSet};

use agentry_core::rows::{AgentId, AgentRow, Charge, Draft, OpenTransaction, OutboxId};
use agentry_protocol::{Address, BlockHeight, Json, Limits, TransactionHash};
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

use super::column::{natural, optional_natural, optional_text, text};
use super::number::integer;
use super::{Reader, StoreError, cause, meta};

pub(super) use cards::announce;
pub use cards::{
    AnnouncedCard, Renewal, Surveyed, announcement, card, cards, cards_named, renewal, surveyed,
};
pub use dead::dead_letters;
pub(super) use due::authenticity;
pub use due::{Due, Turn, agent_of, due, is_beyond_timeout, message_at};
pub use origin::origin_of;
pub use queued::{QueueTurn, queued};
pub use spending::{Spending, has_lapsed, held, holding, spenders, spending, spent};
pub use standing::{COUNTED_AT_MOST, standing};
pub use talk::{Question, is_being_rebuilt, overdue, question, sent_message};
pub use task::{
    Deadlines, Lane, WaitingTasks, WorkingTask, task, waiting_deadlines, waiting_tasks,
    working_tasks,
};
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
         WHERE state = 'accepted' AND (accepted_at < ?1 OR reason IS NOT NULL)",
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
                last_nonce: row.get(3)?,
            })
        },
    )
}

/// The agents for which something waits that is due now or later.
pub fn agents_with_waiting(db: &Reader) -> Result<Vec<AgentId>, StoreError> {
    // One or two seeks per agent, however long its queue is.
    db.all(
        "SELECT id FROM agent
         WHERE EXISTS (SELECT 1 FROM inbox WHERE inbox.agent = agent.id AND inbox.state = 'waiting')
            OR EXISTS (SELECT 1 FROM event WHERE event.agent = agent.id AND event.state = 'waiting')
            OR EXISTS (SELECT 1 FROM receipt
                       WHERE receipt.agent = agent.id AND receipt.due_at IS NOT NULL)",
        [],
        |row| row.get(0).map(AgentId),
    )
}

/// The agents for which messages wait, or something else is due at `now`. Costs a few seeks for
/// each agent for which anything waits, however much waits and however many other agents there are.
///
/// # Errors
/// Any error of SQLite.
pub fn agents_due(db: &Reader, now: u64) -> Result<Vec<AgentId>, StoreError> {
    let mut agents = Vec::new();
    for (from, has_time) in [
        // A pull finds out whether the due times and the rates of senders allow a message now.
        ("inbox WHERE state = 'waiting'", false),
        ("event WHERE state = 'waiting'", true),
        ("receipt WHERE due_at IS NOT NULL", true),
    ] {
        let mut next = db.prepare(&format!(
            "SELECT agent FROM {from} AND agent > ?1 ORDER BY agent LIMIT 1"
        ))?;
        let mut due = db.prepare(&format!(
            "SELECT 1 FROM {from} AND agent = ?1 AND due_at <= ?2 LIMIT 1"
        ))?;
        let mut last = i64::MIN;
        while let Some(agent) = next.query_row([last], |row| row.get(0)).optional()? {
            last = agent;
            if !has_time || due.exists(params![agent, integer(now)])? {
                agents.push(AgentId(agent));
            }
        }
    }
    agents.sort_unstable();
    agents.dedup();
    Ok(agents)
}

/// The agents for which messages in blocks at these heights wait.
pub fn agents_waiting_at(
    db: &Reader,
    after: Option<BlockHeight>,
    through: BlockHeight,
) -> Result<Vec<AgentId>, StoreError> {
    db.all(
        "SELECT DISTINCT agent FROM inbox
         WHERE height > ?1 AND height <= ?2 AND state = 'waiting'",
        params![after.map_or(-1, |h| integer(h.0)), integer(through.0)],
        |row| row.get(0).map(AgentId),
    )
}

/// The state of an agent's behaviours, by the behaviours' names in the agent.
pub fn memory(db: &Reader, agent: AgentId) -> Result<Memory, StoreError> {
    let mut memory = Memory::new();
    let mut statement = db.prepare("SELECT behaviour, key, value FROM state WHERE agent = ?1")?;
    let mut rows = statement.query(params![agent.0])?;
    while let Some(row) = rows.next()? {
        let value = text(row, 2, |value| serde_json::from_str(value))?;
        memory
            .entry(row.get(0)?)
            .or_default()
            .insert(row.get(1)?, value);
    }
    Ok(memory)
}

/// The state of an agent's behaviours: values by key, by behaviour.
pub type Memory = HashMap<String, BTreeMap<String, serde_json::Value>>;

const OPEN_COLUMNS: &str =
    "id, agent, hash, nonce, amount, fee, since, budget_day, standing, sender";

fn open_row(row: &Row<'_>) -> rusqlite::Result<OpenTransaction> {
    let agent = AgentId(row.get(1)?);
    let cost = natural(row, 4)?.saturating_add(natural(row, 5)?);
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
        nonce: row.get(3)?,
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
            "SELECT {OPEN_COLUMNS} FROM outbox WHERE state IN ('prepared', 'accepted') ORDER BY id"
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
        amount: natural(row, at + 2)?,
        fee: natural(row, at + 3)?,
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
    counter: u64,
) -> Result<Option<i64>, StoreError> {
    db.one(
        "SELECT max(nonce) FROM (
             SELECT nonce FROM outbox WHERE agent = ?1 AND state IN ('mined', 'final')
             UNION ALL SELECT nonce FROM sighting WHERE agent = ?1 AND height IS NOT NULL)
         WHERE nonce >= ?2 AND nonce < ?2 + ?3",
        params![agent.0, integer(counter), COUNTER_LAG],
        |row| row.get(0),
    )
}

/// The most mined transactions of a wallet that a node may not have counted yet: as many as are
/// followed.
const COUNTER_LAG: i64 = 20_000;

/// The hashes, of these, of transactions in the outbox.
pub fn known_hashes(
    db: &Reader,
    hashes: &[TransactionHash],
) -> Result<HashSet<TransactionHash>, StoreError> {
    let mut statement = db.prepare("SELECT 1 FROM outbox WHERE hash = ?1")?;
    let mut known = HashSet::new();
    for hash in hashes {
        if statement.exists(params![hash.to_string()])? {
            known.insert(*hash);
        }
    }
    Ok(known)
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
