//! What agents have to do and what has gone wrong, of all agents at once.
//!
//! Every query reads indexes that hold only rows which are open or dead: the cost grows with those, and
//! not with what is done.

use std::collections::BTreeMap;

use agentry_core::state::row::{Outgoing, Task};
use agentry_protocol::{Amount, Timestamp};
use rusqlite::{Row, params};

use super::stats::Oldest;
use crate::column::{amount, natural};
use crate::number::integer;
use crate::tables::Stored;
use crate::{Reader, StoreError};

/// The load of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentLoad {
    /// Its row.
    pub row: i64,
    /// Its name, when it was last hosted.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Messages that wait.
    pub waiting: u64,
    /// The row of the message that has waited longest.
    pub oldest: Option<i64>,
    /// Transactions that are in no block.
    pub unmined: u64,
    /// Of those: held by a day's budget.
    pub held: u64,
    /// Messages and events that could not be handled.
    pub dead: u64,
    /// Transactions that could not be sent.
    pub failed: u64,
    /// Open tasks.
    pub tasks: u64,
    /// What it has spent on the day.
    pub spent: Amount,
    /// The tokens of models that its tasks have used on the day, with those that are reserved.
    pub tokens: u64,
}

/// The loads of all agents, by row. `day` is today: days since the epoch, UTC.
///
/// # Errors
/// Any error of SQLite.
pub fn loads(db: &Reader, day: u64) -> Result<Vec<AgentLoad>, StoreError> {
    let mut loads: BTreeMap<i64, AgentLoad> =
        db.all("SELECT id, name, address FROM agent", [], |row| {
            let load = AgentLoad {
                row: row.get(0)?,
                name: row.get(1)?,
                address: row.get(2)?,
                ..AgentLoad::default()
            };
            Ok((load.row, load))
        })?;
    let mut each = |sql: &str, set: fn(&mut AgentLoad, &Row<'_>) -> rusqlite::Result<()>| {
        let mut statement = db.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(load) = loads.get_mut(&row.get(0)?) {
                set(load, row)?;
            }
        }
        Ok::<_, StoreError>(())
    };
    each(
        "SELECT agent, count(*), min(id) FROM inbox INDEXED BY inbox_waiting
         WHERE state = 'waiting' GROUP BY agent",
        |load, row| {
            load.waiting = natural(row, 1)?;
            load.oldest = row.get(2)?;
            Ok(())
        },
    )?;
    each(
        "SELECT agent, count(*) FROM inbox INDEXED BY inbox_dead WHERE state = 'dead' GROUP BY agent",
        |load, row| {
            load.dead = natural(row, 1)?;
            Ok(())
        },
    )?;
    each(
        "SELECT agent, count(*) FROM event INDEXED BY event_dead WHERE state = 'dead' GROUP BY agent",
        |load, row| {
            load.dead = load.dead.saturating_add(natural(row, 1)?);
            Ok(())
        },
    )?;
    each(
        "SELECT agent, count(*) FROM outbox INDEXED BY outbox_failed WHERE state = 'failed'
         GROUP BY agent",
        |load, row| {
            load.failed = natural(row, 1)?;
            Ok(())
        },
    )?;
    each(
        &format!(
            "SELECT agent, count(*), sum(state = 'queued' AND held = 1) FROM outbox
             INDEXED BY outbox_open WHERE {} GROUP BY agent",
            Outgoing::OPEN
        ),
        |load, row| {
            load.unmined = natural(row, 1)?;
            load.held = natural(row, 2)?;
            Ok(())
        },
    )?;
    each(
        &format!(
            "SELECT agent, count(*) FROM task INDEXED BY task_open WHERE {} GROUP BY agent",
            Task::OPEN
        ),
        |load, row| {
            load.tasks = natural(row, 1)?;
            Ok(())
        },
    )?;
    // The key of the spending begins with the agent.
    each(
        &format!(
            "SELECT agent.id, sum(s.spent), sum(s.tokens) FROM agent CROSS JOIN spending s
             ON s.agent = agent.id AND s.day = {} GROUP BY agent.id",
            integer(day)
        ),
        |load, row| {
            load.spent = amount(row, 1)?;
            load.tokens = natural(row, 2)?;
            Ok(())
        },
    )?;
    Ok(loads.into_values().collect())
}

/// The message of a row of the inbox that waits, and since when; its count is 1.
///
/// # Errors
/// Any error of SQLite.
pub fn waiting_at(db: &Reader, row: i64) -> Result<Option<Oldest>, StoreError> {
    db.first(
        "SELECT 'inbox/' || q.id, agent.name, q.seen_at, q.reason FROM inbox q
         JOIN agent ON agent.id = q.agent WHERE q.id = ?1",
        [row],
        |row| Oldest::read(row, 1),
    )
}

/// When the oldest waiting message was first seen; `None` if none waits.
///
/// # Errors
/// Any error of SQLite.
pub fn oldest_waiting_at(db: &Reader) -> Result<Option<Timestamp>, StoreError> {
    let oldest: Option<i64> = db.one(
        "SELECT min(id) FROM (SELECT id FROM inbox INDEXED BY inbox_waiting WHERE state = 'waiting')",
        [],
        |row| row.get(0),
    )?;
    match oldest {
        Some(row) => Ok(waiting_at(db, row)?.map(|oldest| oldest.since)),
        None => Ok(None),
    }
}

/// Why rows of a queue are dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadReason {
    /// `inbox`, `outbox` or `events`.
    pub queue: &'static str,
    /// The reason of their last failure.
    pub reason: Option<String>,
    /// How many there are.
    pub count: u64,
}

/// How many rows of each queue are looked at for their reasons.
pub const LOOKED_AT: u32 = 20_000;

/// The reasons of dead letters and failed transactions, the most frequent first; at most `limit`. Of each
/// queue, [`LOOKED_AT`] rows are looked at.
///
/// # Errors
/// Any error of SQLite.
pub fn dead_reasons(db: &Reader, limit: u32) -> Result<Vec<DeadReason>, StoreError> {
    let mut all = Vec::new();
    for (queue, from) in [
        ("inbox", "inbox INDEXED BY inbox_dead WHERE state = 'dead'"),
        (
            "outbox",
            "outbox INDEXED BY outbox_failed WHERE state = 'failed'",
        ),
        ("events", "event INDEXED BY event_dead WHERE state = 'dead'"),
    ] {
        let found: Vec<DeadReason> = db.all(
            &format!(
                "SELECT reason, count(*) FROM (SELECT reason FROM {from} LIMIT {LOOKED_AT})
                 GROUP BY reason ORDER BY 2 DESC LIMIT ?1"
            ),
            params![limit],
            |row| {
                Ok(DeadReason {
                    queue,
                    reason: row.get(0)?,
                    count: natural(row, 1)?,
                })
            },
        )?;
        all.extend(found);
    }
    all.sort_by_key(|one| std::cmp::Reverse(one.count));
    all.truncate(limit as usize);
    Ok(all)
}

/// The spending of an agent, or of all, on each day from `since` on (days since the epoch, UTC): in AIT,
/// and in tokens of models.
///
/// # Errors
/// Any error of SQLite.
pub fn spending_by_day(
    db: &Reader,
    agent: Option<i64>,
    since: u64,
) -> Result<Vec<(u64, Amount, u64)>, StoreError> {
    let day = |row: &Row<'_>| Ok((natural(row, 0)?, amount(row, 1)?, natural(row, 2)?));
    match agent {
        Some(agent) => db.all(
            "SELECT day, sum(spent), sum(tokens) FROM spending WHERE agent = ?1 AND day >= ?2
             GROUP BY day ORDER BY day",
            params![agent, integer(since)],
            day,
        ),
        None => db.all(
            "SELECT day, sum(spent), sum(tokens) FROM spending WHERE day >= ?1
             GROUP BY day ORDER BY day",
            params![integer(since)],
            day,
        ),
    }
}
