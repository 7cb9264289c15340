//! The work that is due for an agent.

mod lanes;
#[cfg(test)]
mod tests;

use crate::cause;
use agentry_core::Authenticity;
use agentry_protocol::{BlockHeight, Limits, MessageDigest, StoredTransaction, TransactionHash};
use rusqlite::{Row, params};

pub use self::lanes::Turn;
use super::{talk, task};
use crate::column::{natural, optional_natural, text, word};
use crate::number::integer;
use crate::{Reader, StoreError};
use agentry_core::rows::{
    AgentId, DueEvent, DueMessage, EventId, EventKind, InboxId, Overdue, TaskId,
};

/// The work that is due for an agent, and when there will be more.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// Messages: urgent ones first, then by sender in turn.
    pub messages: Vec<DueMessage>,
    /// Timers, delivery updates, outcomes of watched messages, task updates: oldest first.
    pub events: Vec<DueEvent>,
    /// Sent messages that were not acknowledged in time.
    pub overdue: Vec<Overdue>,
    /// When to read again (milliseconds since the epoch), if something waits for its time.
    pub next_at: Option<u64>,
    /// Nothing is due from the senders that were examined, and there are others: the next pull
    /// continues with them.
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

/// The work that is due for an agent at `now`: messages in blocks up to `through`, events, and
/// overdue messages; at most `limit` of each.
///
/// The senders take turns, and `turn` advances. For each sender, first attempts come in the chain's
/// order, then retries. The cost is a few seeks per sender, however many messages wait.
///
/// # Errors
/// Any error of SQLite.
pub fn due(
    db: &Reader,
    agent: AgentId,
    now: u64,
    through: BlockHeight,
    turn: &mut Turn,
    limit: usize,
) -> Result<Due, StoreError> {
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

/// Whether messages of a sender, or of all unverified senders, have waited for their first attempt
/// since before this time. Costs one seek, however many wait.
///
/// # Errors
/// Any error of SQLite.
pub fn is_beyond_timeout(
    db: &Reader,
    agent: AgentId,
    sender: Option<&str>,
    before: u64,
) -> Result<bool, StoreError> {
    let before = integer(before);
    match sender {
        Some(sender) => db.exists(
            &format!("SELECT 1 FROM ({}) LIMIT 1", beyond_timeout(true)),
            params![agent.0, before, 1, sender],
        ),
        None => db.exists(
            &format!("SELECT 1 FROM ({}) LIMIT 1", beyond_timeout(false)),
            params![agent.0, before, 1],
        ),
    }
}

/// The query of the messages that have waited for their first attempt since before `?2`, only
/// because of the rate limit. It examines the first `?3` messages to the agent `?1`, from the
/// sender `?4` or from all unverified senders.
pub(crate) const fn beyond_timeout(of_sender: bool) -> &'static str {
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

fn message(db: &Reader, row: &Row<'_>) -> Result<DueMessage, StoreError> {
    let id = InboxId(row.get(0)?);
    let done = db.all(
        "SELECT behaviour FROM progress WHERE inbox = ?1",
        params![id.0],
        |row| row.get(0),
    )?;
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

/// Reads whether the sender of a message that reaches behaviours is verified.
pub(crate) fn authenticity(word: &str) -> Option<Authenticity> {
    [Authenticity::Verified, Authenticity::Unverified]
        .into_iter()
        .find(|known| known.as_str() == word)
}

/// A message, in any state.
///
/// # Errors
/// Any error of SQLite.
pub fn message_at(db: &Reader, id: InboxId) -> Result<Option<DueMessage>, StoreError> {
    let mut statement = db.prepare(&format!(
        "SELECT {MESSAGE_COLUMNS} FROM inbox WHERE id = ?1"
    ))?;
    let mut rows = statement.query(params![id.0])?;
    rows.next()?.map(|row| message(db, row)).transpose()
}

/// The agent that a message was sent to.
///
/// # Errors
/// Any error of SQLite.
pub fn agent_of(db: &Reader, id: InboxId) -> Result<Option<AgentId>, StoreError> {
    db.first(
        "SELECT agent FROM inbox WHERE id = ?1",
        params![id.0],
        |row| row.get(0).map(AgentId),
    )
}

fn events(
    db: &Reader,
    agent: AgentId,
    now: u64,
    limit: usize,
    next_at: &mut Option<u64>,
) -> Result<Vec<DueEvent>, StoreError> {
    let mut statement = db.prepare(
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
            cause: cause::read(row, 8)?,
            due_at,
            attempts: row.get(7)?,
        });
    }
    Ok(events)
}

fn next_receipt(db: &Reader, agent: AgentId, now: u64) -> Result<Option<u64>, StoreError> {
    db.one(
        "SELECT min(due_at) FROM receipt WHERE agent = ?1 AND due_at > ?2",
        params![agent.0, integer(now)],
        |row| optional_natural(row, 0),
    )
}
