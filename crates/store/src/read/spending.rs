//! What agents have spent.

use agentry_core::cause::Cause;
use agentry_core::rows::{AgentId, Spent};
use agentry_protocol::Amount;
use rusqlite::params;

use crate::cause;
use crate::column::{amount, natural};
use crate::number::integer;
use crate::{Reader, StoreError};

/// What an agent has spent on a day (days since the epoch, UTC), by cause.
pub type Spending = Vec<(AgentId, u64, Cause, Amount)>;

/// What each agent has spent on the days from `since` (days since the epoch, UTC) on.
///
/// # Errors
/// Any error of SQLite.
pub fn spending(db: &Reader, since: u64) -> Result<Spending, StoreError> {
    db.all(
        "SELECT agent, day, spent, standing, sender FROM spending WHERE day >= ?1",
        params![integer(since)],
        |row| {
            Ok((
                AgentId(row.get(0)?),
                natural(row, 1)?,
                cause::read(row, 3)?,
                amount(row, 2)?,
            ))
        },
    )
}

/// What an agent has spent on a day.
///
/// # Errors
/// Any error of SQLite.
pub fn spent(db: &Reader, agent: AgentId, day: u64) -> Result<Spent, StoreError> {
    let mut spent = Spent::default();
    let mut statement =
        db.prepare("SELECT spent, standing, sender FROM spending WHERE agent = ?1 AND day = ?2")?;
    let mut rows = statement.query(params![agent.0, integer(day)])?;
    while let Some(row) = rows.next()? {
        spent.add(&cause::read(row, 1)?, amount(row, 0)?);
    }
    Ok(spent)
}

/// The tokens of models that an agent's tasks have used on a day, with those that are reserved.
///
/// # Errors
/// Any error of SQLite.
pub fn day_tokens(db: &Reader, agent: AgentId, day: u64) -> Result<u64, StoreError> {
    let tokens: Vec<u64> = db.all(
        "SELECT tokens FROM spending WHERE agent = ?1 AND day = ?2",
        params![agent.0, integer(day)],
        |row| natural(row, 0),
    )?;
    Ok(tokens.into_iter().fold(0, u64::saturating_add))
}

/// The senders that have caused most of an agent's spending on a day, how much, and how many tokens;
/// at most `limit`.
///
/// # Errors
/// Any error of SQLite.
pub fn spenders(
    db: &Reader,
    agent: AgentId,
    day: u64,
    limit: u32,
) -> Result<Vec<(Cause, Amount, u64)>, StoreError> {
    db.all(
        "SELECT spent, standing, sender, tokens FROM spending
         WHERE agent = ?1 AND day = ?2 AND sender <> '' AND (spent > 0 OR tokens > 0)
         ORDER BY spent DESC, tokens DESC, sender LIMIT ?3",
        params![agent.0, integer(day), limit],
        |row| Ok((cause::read(row, 1)?, amount(row, 0)?, natural(row, 3)?)),
    )
}
