//! What agents have spent, and the drafts that wait for a budget.

use agentry_core::cause::Cause;
use agentry_core::rows::{AgentId, HeldDraft, OutboxId, Spent};
use agentry_protocol::Amount;
use rusqlite::{OptionalExtension, params};

use crate::cause;
use crate::column::{amount, natural};
use crate::number::integer;
use crate::{Reader, StoreError};

/// How many drafts of one cause are read when few causes have waiting ones.
const OF_A_CAUSE: usize = 128;

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

/// The senders that have caused most of an agent's spending on a day, and how much; at most
/// `limit`.
///
/// # Errors
/// Any error of SQLite.
pub fn spenders(
    db: &Reader,
    agent: AgentId,
    day: u64,
    limit: u32,
) -> Result<Vec<(Cause, Amount)>, StoreError> {
    db.all(
        "SELECT spent, standing, sender FROM spending
         WHERE agent = ?1 AND day = ?2 AND sender <> '' AND spent > 0
         ORDER BY spent DESC, sender LIMIT ?3",
        params![agent.0, integer(day), limit],
        |row| Ok((cause::read(row, 1)?, amount(row, 0)?)),
    )
}

/// The agents with drafts that wait for a budget.
///
/// # Errors
/// Any error of SQLite.
pub fn holding(db: &Reader) -> Result<Vec<AgentId>, StoreError> {
    // One seek per agent, however many wait.
    db.all(
        "SELECT id FROM agent WHERE EXISTS (
             SELECT 1 FROM outbox
             WHERE outbox.agent = agent.id AND outbox.state = 'queued' AND outbox.held = 1)",
        [],
        |row| row.get(0).map(AgentId),
    )
}

/// The drafts of an agent that wait for a budget: some of the oldest of every cause, with the
/// causes taking turns. Costs a few seeks per cause, however many wait.
///
/// # Errors
/// Any error of SQLite.
pub fn held(db: &Reader, agent: AgentId) -> Result<Vec<HeldDraft>, StoreError> {
    let waiting = "agent = ?1 AND state = 'queued' AND held = 1";
    let mut next = db.prepare(&format!(
        "SELECT standing, sender FROM outbox
         WHERE {waiting} AND (standing, sender) > (?2, ?3)
         ORDER BY standing, sender LIMIT 1"
    ))?;
    let mut oldest = db.prepare(&format!(
        "SELECT id, amount, fee, standing, sender FROM outbox
         WHERE {waiting} AND standing = ?2 AND sender = ?3 ORDER BY id LIMIT ?4"
    ))?;
    let mut causes: Vec<(String, String)> = Vec::new();
    loop {
        let (standing, sender) = causes
            .last()
            .map_or(("", ""), |(standing, sender)| (standing, sender));
        let found = next
            .query_row(params![agent.0, standing, sender], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        match found {
            Some(cause) => causes.push(cause),
            None => break,
        }
    }
    let each = (OF_A_CAUSE / causes.len().max(1)).max(1);
    let mut held: Vec<(usize, HeldDraft)> = Vec::new();
    for (standing, sender) in causes {
        let rows = oldest.query_map(
            params![agent.0, standing, sender, integer(each as u64)],
            |row| {
                Ok(HeldDraft {
                    id: OutboxId(row.get(0)?),
                    agent,
                    amount: amount(row, 1)?,
                    fee: amount(row, 2)?,
                    cause: cause::read(row, 3)?,
                })
            },
        )?;
        for (place, row) in rows.enumerate() {
            held.push((place, row?));
        }
    }
    // The causes take turns: first the oldest draft of each, then the second oldest of each.
    held.sort_by_key(|(place, _)| *place);
    Ok(held.into_iter().map(|(_, draft)| draft).collect())
}

/// Whether a queued draft has expired at `now`.
///
/// # Errors
/// Any error of SQLite.
pub fn has_lapsed(db: &Reader, now: u64) -> Result<bool, StoreError> {
    db.exists(
        "SELECT 1 FROM outbox WHERE state = 'queued' AND expires_at < ?1 LIMIT 1",
        params![integer(now)],
    )
}
