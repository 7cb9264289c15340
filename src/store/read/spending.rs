//! What agents have spent.

use rusqlite::{Connection, OptionalExtension, params};

use crate::store::number::{integer, natural};
use crate::store::rows::{AgentId, Spent};

/// What agents have spent, with the day: days since the epoch, UTC.
pub type Spending = Vec<(AgentId, u64, Spent)>;

/// What each agent has spent on the days from `since` (days since the epoch, UTC) on.
///
/// # Errors
/// What SQLite says.
pub fn spending(db: &Connection, since: u64) -> rusqlite::Result<Spending> {
    db.prepare_cached("SELECT agent, day, spent, unverified FROM spending WHERE day >= ?1")?
        .query_map(params![integer(since)], |row| {
            let spent = Spent {
                all: natural(row.get(2)?),
                unverified: natural(row.get(3)?),
            };
            Ok((AgentId(row.get(0)?), natural(row.get(1)?), spent))
        })?
        .collect()
}

/// What an agent has spent on a day.
///
/// # Errors
/// What SQLite says.
pub fn spent(db: &Connection, agent: AgentId, day: u64) -> rusqlite::Result<Spent> {
    Ok(db
        .prepare_cached("SELECT spent, unverified FROM spending WHERE agent = ?1 AND day = ?2")?
        .query_row(params![agent.0, integer(day)], |row| {
            Ok(Spent {
                all: natural(row.get(0)?),
                unverified: natural(row.get(1)?),
            })
        })
        .optional()?
        .unwrap_or_default())
}

/// The agents of which drafts wait for a budget.
///
/// # Errors
/// What SQLite says.
pub fn holding(db: &Connection) -> rusqlite::Result<Vec<AgentId>> {
    // A seek an agent, however many wait.
    db.prepare_cached(
        "SELECT id FROM agent WHERE EXISTS (
             SELECT 1 FROM outbox
             WHERE outbox.agent = agent.id AND outbox.state = 'queued' AND outbox.held = 1)",
    )?
    .query_map([], |row| row.get(0).map(AgentId))?
    .collect()
}

/// Whether the time of a queued draft is over at `now`.
///
/// # Errors
/// What SQLite says.
pub fn has_lapsed(db: &Connection, now: u64) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM outbox WHERE state = 'queued' AND expires_at < ?1 LIMIT 1")?
        .exists(params![integer(now)])
}
