//! The number of rows by state, and what was spent.

use std::collections::BTreeMap;

use agentry_core::Standing;
use agentry_core::rows::{AgentId, Spent};
use agentry_core::state::row::Outgoing;
use agentry_protocol::{Amount, Timestamp};
use rusqlite::{Row, params};
use serde::Serialize;

use crate::cause;
use crate::column::{amount, natural, time};
use crate::number::integer;
use crate::read;
use crate::tables::Stored;
use crate::{Reader, StoreError};

/// The number of rows, by state.
pub type States = BTreeMap<String, u64>;

/// The queues of one agent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AgentStats {
    /// Its name, when it was last hosted.
    pub agent: String,
    /// Its address.
    pub address: String,
    /// Messages, by state.
    pub inbox: States,
    /// Events other than messages, by state.
    pub events: States,
    /// Transactions, by state.
    pub outbox: States,
    /// Tasks, by state.
    pub tasks: States,
    /// Dead letters: dead messages and events, and failed transactions.
    pub dead_letters: u64,
    /// Forged messages.
    pub forged: u64,
    /// When the message that has waited longest was first seen.
    #[serde(rename = "oldest_waiting_at")]
    pub oldest_waiting: Option<Timestamp>,
    /// When the transaction that has waited longest for its nonce was requested.
    #[serde(rename = "oldest_queued_at")]
    pub oldest_queued: Option<Timestamp>,
    /// How many transactions are held by a day's budget.
    pub waiting_for_budget: u64,
    /// What it has spent today, in AIT.
    pub spent: Spent,
    /// The tokens of models that its tasks have used today, with those that are reserved.
    pub tokens: u64,
    /// The few verified senders that caused most of that.
    pub senders: Vec<SenderStats>,
}

/// The spending that one sender caused today.
#[derive(Clone, Debug, Serialize)]
pub struct SenderStats {
    /// Its address.
    pub sender: String,
    /// How well it is known.
    pub standing: Standing,
    /// What the agent has spent because of it, in AIT.
    pub spent: Amount,
    /// The tokens that its tasks have used.
    pub tokens: u64,
}

/// How many senders are listed with their sums.
const SENDERS: u32 = 5;

/// The queues of all agents, ordered by the agents' names, or of one agent if its name or address
/// is given. `day` is today: days since the epoch, UTC.
///
/// Reads every row of the queues.
///
/// # Errors
/// Any error of SQLite.
pub fn stats(db: &Reader, agent: Option<&str>, day: u64) -> Result<Vec<AgentStats>, StoreError> {
    let mut by_row: BTreeMap<i64, AgentStats> = db.all(
        "SELECT id, name, address FROM agent WHERE ?1 IS NULL OR ?1 IN (name, address)",
        params![agent],
        |row| {
            let stats = AgentStats {
                agent: row.get(1)?,
                address: row.get(2)?,
                ..AgentStats::default()
            };
            Ok((row.get(0)?, stats))
        },
    )?;
    for table in ["inbox", "event", "outbox", "task"] {
        let mut statement = db.prepare(&format!(
            "SELECT agent, state, count(*) FROM {table} GROUP BY agent, state"
        ))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let Some(stats) = by_row.get_mut(&row.get(0)?) else {
                continue;
            };
            let states = match table {
                "inbox" => &mut stats.inbox,
                "event" => &mut stats.events,
                "outbox" => &mut stats.outbox,
                _ => &mut stats.tasks,
            };
            states.insert(row.get(1)?, natural(row, 2)?);
        }
    }
    single(
        db,
        "SELECT agent, count(*) FROM forged GROUP BY agent",
        &mut by_row,
        |stats, forged| stats.forged = forged,
    )?;
    single(
        db,
        "SELECT agent, min(seen_at) FROM inbox WHERE state = 'waiting' GROUP BY agent",
        &mut by_row,
        |stats, at| stats.oldest_waiting = Some(Timestamp::new(at)),
    )?;
    // SQLite uses the index only with its own condition.
    let queued = format!("{} AND state = 'queued'", Outgoing::OPEN);
    single(
        db,
        &format!("SELECT agent, min(created_at) FROM outbox WHERE {queued} GROUP BY agent"),
        &mut by_row,
        |stats, at| stats.oldest_queued = Some(Timestamp::new(at)),
    )?;
    single(
        db,
        &format!("SELECT agent, count(*) FROM outbox WHERE {queued} AND held = 1 GROUP BY agent"),
        &mut by_row,
        |stats, held| stats.waiting_for_budget = held,
    )?;
    let mut statement =
        db.prepare("SELECT agent, spent, standing, sender, tokens FROM spending WHERE day = ?1")?;
    let mut rows = statement.query(params![integer(day)])?;
    while let Some(row) = rows.next()? {
        if let Some(stats) = by_row.get_mut(&row.get(0)?) {
            stats.spent.add(&cause::read(row, 2)?, amount(row, 1)?);
            stats.tokens = stats.tokens.saturating_add(natural(row, 4)?);
        }
    }
    for (agent, stats) in &mut by_row {
        let spenders = read::spenders(db, AgentId(*agent), day, SENDERS)?;
        let sums = spenders.into_iter().filter_map(|(cause, spent, tokens)| {
            Some(SenderStats {
                sender: cause.sender()?.to_string(),
                standing: cause.standing()?,
                spent,
                tokens,
            })
        });
        stats.senders = sums.collect();
    }
    let mut all: Vec<AgentStats> = by_row.into_values().collect();
    for stats in &mut all {
        let dead = [
            stats.inbox.get("dead"),
            stats.events.get("dead"),
            stats.outbox.get("failed"),
        ];
        stats.dead_letters = dead.into_iter().flatten().sum();
    }
    all.sort_by(|one, other| one.agent.cmp(&other.agent));
    Ok(all)
}

/// Sets one number for each agent.
fn single(
    db: &Reader,
    sql: &str,
    by_row: &mut BTreeMap<i64, AgentStats>,
    set: impl Fn(&mut AgentStats, u64),
) -> Result<(), StoreError> {
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(stats) = by_row.get_mut(&row.get(0)?) {
            set(stats, natural(row, 1)?);
        }
    }
    Ok(())
}

/// A row that has been in its state for long, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oldest {
    /// The row, in the form `inbox/12`.
    pub id: String,
    /// Its agent's name.
    pub agent: String,
    /// The time since when.
    pub since: Timestamp,
    /// Why, as far as the store knows it.
    pub reason: Option<String>,
    /// How many rows have been in that state for at least the given time.
    pub count: u64,
}

impl Oldest {
    /// Reads the row, the name, the time and the reason in the first columns.
    pub(super) fn read(row: &Row<'_>, count: u64) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            agent: row.get(1)?,
            since: time(row, 2)?,
            reason: row.get(3)?,
            count,
        })
    }
}

/// The message that has waited longest, if it has waited since before a time.
///
/// # Errors
/// Any error of SQLite.
pub fn oldest_waiting(db: &Reader, before: Timestamp) -> Result<Option<Oldest>, StoreError> {
    db.first(
        "SELECT 'inbox/' || q.id, agent.name, q.seen_at, q.reason, count(*) OVER ()
         FROM inbox q JOIN agent ON agent.id = q.agent
         WHERE q.state = 'waiting' AND q.seen_at < ?1 ORDER BY q.seen_at, q.id LIMIT 1",
        params![integer(before.get())],
        |row| Oldest::read(row, natural(row, 4)?),
    )
}
