//! What an agent has to do.

mod lanes;
#[cfg(test)]
mod tests;

use agentry_protocol::{BlockHeight, Limits, MessageDigest, StoredTransaction, TransactionHash};
use agentry_sdk::Authenticity;
use rusqlite::{Connection, OptionalExtension, Row, params};

pub use self::lanes::Turn;
use super::{talk, task};
use crate::store::cause::Cause;
use crate::store::column::{natural, optional_natural, text, word};
use crate::store::number::integer;
use crate::store::rows::{
    AgentId, DueEvent, DueMessage, EventId, EventKind, InboxId, Overdue, TaskId,
};

/// What an agent has to do, and when there will be more.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// Messages: urgent ones first, then the senders in turn.
    pub messages: Vec<DueMessage>,
    /// Timers, fates, settlements, news of tasks: oldest first.
    pub events: Vec<DueEvent>,
    /// Sent messages that were not acknowledged in time.
    pub overdue: Vec<Overdue>,
    /// When to look again (milliseconds since the epoch), if something waits for its time.
    pub next_at: Option<u64>,
    /// Nothing is due of the senders that were looked at, and there are others: the next pull goes on
    /// with them.
    pub is_cut: bool,
}

impl Due {
    /// Whether there is nothing to do now.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.events.is_empty() && self.overdue.is_empty()
    }

    fn later(&mut self, due_at: u64) {
        self.next_at = Some(self.next_at.map_or(due_at, |next| next.min(due_at)));
    }
}

/// What an agent has to do at `now`: messages in blocks up to `through`, events, and what is
/// overdue; of each at most `limit`.
///
/// The senders take turns, and `turn` is moved on. Of each sender come first attempts in the
/// chain's order, then retries. The cost is a few seeks a sender, however many messages wait.
///
/// # Errors
/// What SQLite says.
pub fn due(
    db: &Connection,
    agent: AgentId,
    now: u64,
    through: BlockHeight,
    turn: &mut Turn,
    limit: usize,
) -> rusqlite::Result<Due> {
    let mut due = Due::default();
    lanes::messages(db, agent, (now, through), turn, limit, &mut due)?;
    due.events = events(db, agent, now, limit, &mut due.next_at)?;
    due.overdue = talk::overdue(db, agent, now, limit)?;
    if let Some(at) = next_receipt(db, agent, now)? {
        due.later(at);
    }
    due.is_cut = due.is_empty() && turn.is_cut();
    if !due.is_cut {
        turn.start_over();
    }
    Ok(due)
}

/// Whether messages of a sender, or of all who are not verified, have waited for their first attempt
/// since before this time. A seek, however many wait.
///
/// # Errors
/// What SQLite says.
pub fn overwaited(
    db: &Connection,
    agent: AgentId,
    sender: Option<&str>,
    before: u64,
) -> rusqlite::Result<bool> {
    let before = integer(before);
    match sender {
        Some(sender) => db
            .prepare_cached(&format!("SELECT 1 FROM ({}) LIMIT 1", overwaiting(true)))?
            .exists(params![agent.0, before, 1, sender]),
        None => db
            .prepare_cached(&format!("SELECT 1 FROM ({}) LIMIT 1", overwaiting(false)))?
            .exists(params![agent.0, before, 1]),
    }
}

/// The query of the messages that have waited for their first attempt since before `?2`, for no other
/// reason than the rate, of those that came first: at most `?3` are looked at. Of the agent `?1`, and
/// of the sender `?4` or of all who are not verified.
pub(in crate::store) const fn overwaiting(of_sender: bool) -> &'static str {
    if of_sender {
        "SELECT id FROM (
             SELECT id, seen_at FROM inbox
             WHERE agent = ?1 AND authenticity = 'verified' AND sender = ?4 AND state = 'waiting'
               AND due_at = 0 AND attempts = 0
             ORDER BY seq LIMIT ?3)
         WHERE seen_at < ?2"
    } else {
        "SELECT id FROM inbox
         WHERE agent = ?1 AND authenticity = 'unverified' AND state = 'waiting' AND attempts = 0
           AND seen_at < ?2 AND due_at = 0
         ORDER BY seen_at LIMIT ?3"
    }
}

const MESSAGE_COLUMNS: &str =
    "id, hash, digest, stored, coalesce(height, 0), authenticity, attempts, rejected IS NOT NULL";
const MESSAGE_COLUMN_COUNT: usize = 8;

fn message(db: &Connection, row: &Row<'_>) -> rusqlite::Result<DueMessage> {
    let id = InboxId(row.get(0)?);
    let done = db
        .prepare_cached("SELECT behaviour FROM progress WHERE inbox = ?1")?
        .query_map(params![id.0], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(DueMessage {
        id,
        hash: text(row, 1, str::parse::<TransactionHash>)?,
        digest: text(row, 2, str::parse::<MessageDigest>)?,
        stored: text(row, 3, |stored| {
            StoredTransaction::parse(stored.as_bytes(), Limits::default())
        })?,
        height: BlockHeight(natural(row, 4)?),
        authenticity: word(row, 5, authenticity)?,
        attempts: row.get(6)?,
        done,
        rejected: row.get(7)?,
    })
}

/// What is known of the sender of a message that reaches behaviours.
pub(in crate::store) fn authenticity(word: &str) -> Option<Authenticity> {
    [Authenticity::Verified, Authenticity::Unverified]
        .into_iter()
        .find(|known| known.as_str() == word)
}

/// A message, in whatever state.
///
/// # Errors
/// What SQLite says.
pub fn message_at(db: &Connection, id: InboxId) -> rusqlite::Result<Option<DueMessage>> {
    db.prepare_cached(&format!(
        "SELECT {MESSAGE_COLUMNS} FROM inbox WHERE id = ?1"
    ))?
    .query_row(params![id.0], |row| message(db, row))
    .optional()
}

/// Whose a message is.
///
/// # Errors
/// What SQLite says.
pub fn agent_of(db: &Connection, id: InboxId) -> rusqlite::Result<Option<AgentId>> {
    db.prepare_cached("SELECT agent FROM inbox WHERE id = ?1")?
        .query_row(params![id.0], |row| row.get(0).map(AgentId))
        .optional()
}

fn events(
    db: &Connection,
    agent: AgentId,
    now: u64,
    limit: usize,
    next_at: &mut Option<u64>,
) -> rusqlite::Result<Vec<DueEvent>> {
    let mut statement = db.prepare_cached(
        "SELECT id, behaviour, kind, name, data, inbox, due_at, attempts, standing, sender
         FROM event
         WHERE agent = ?1 AND state = 'waiting' ORDER BY due_at, id LIMIT ?2",
    )?;
    let mut rows = statement.query(params![agent.0, integer(limit as u64)])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let due_at = natural(row, 6)?;
        if due_at > now {
            *next_at = Some(next_at.map_or(due_at, |next: u64| next.min(due_at)));
            break;
        }
        let data: serde_json::Value = text(row, 4, |json| serde_json::from_str(json))?;
        let inbox: Option<i64> = row.get(5)?;
        let task = match data.get("task").and_then(serde_json::Value::as_i64) {
            Some(id) => task::task(db, TaskId(id))?,
            None => None,
        };
        events.push(DueEvent {
            id: EventId(row.get(0)?),
            behaviour: row.get(1)?,
            kind: word(row, 2, EventKind::parse)?,
            name: row.get(3)?,
            data,
            message: match inbox {
                Some(id) => message_at(db, InboxId(id))?,
                None => None,
            },
            task,
            cause: Cause::read(row, 8)?,
            due_at,
            attempts: row.get(7)?,
        });
    }
    Ok(events)
}

fn next_receipt(db: &Connection, agent: AgentId, now: u64) -> rusqlite::Result<Option<u64>> {
    db.prepare_cached("SELECT min(due_at) FROM receipt WHERE agent = ?1 AND due_at > ?2")?
        .query_row(params![agent.0, integer(now)], |row| {
            optional_natural(row, 0)
        })
}
