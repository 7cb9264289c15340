//! What an agent has to do.

use std::collections::HashSet;

use agentry_protocol::{BlockHeight, Limits, MessageDigest, StoredTransaction, TransactionHash};
use agentry_sdk::Authenticity;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{talk, task, text};
use crate::store::cause::Cause;
use crate::store::number::{integer, natural};
use crate::store::rows::{
    AgentId, DueEvent, DueMessage, EventId, EventKind, InboxId, Overdue, TaskId,
};

/// The most senders that are looked at in one pull, so that a pull costs little however many
/// senders have to wait.
const MAX_EXAMINED: usize = 256;

/// How long it is rested when so many senders had to wait, in milliseconds.
const PASS_PAUSE_MS: u64 = 50;

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

/// Whose turn it is with an agent.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// The sender who had the last turn, of the urgent messages.
    pub urgent: String,
    /// Of the proven senders.
    pub verified: String,
    /// Of the others.
    pub unverified: String,
    /// The proven senders who have to wait.
    pub paused: HashSet<String>,
    /// Whether all who are not proven have to wait.
    pub unverified_paused: bool,
}

/// The rows of one kind of messages, and how its index is walked.
struct Lane {
    condition: &'static str,
}

const URGENT: Lane = Lane {
    condition: "priority > 0",
};
const VERIFIED: Lane = Lane {
    condition: "authenticity = 'verified'",
};
const UNVERIFIED: Lane = Lane {
    condition: "authenticity = 'unverified'",
};

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
    let Turn {
        urgent,
        verified,
        unverified,
        paused,
        unverified_paused,
    } = turn;
    let mut pull = Pull {
        db,
        agent,
        now,
        through,
        paused,
    };
    // Half of the places at most: who sends urgent messages without end delays the others, and
    // does not stop them.
    pull.lane(&URGENT, urgent, limit.div_ceil(2), &mut due)?;
    pull.lane(&VERIFIED, verified, limit, &mut due)?;
    if !*unverified_paused {
        pull.lane(&UNVERIFIED, unverified, limit.div_ceil(2), &mut due)?;
    }
    due.events = events(db, agent, now, limit, &mut due.next_at)?;
    due.overdue = talk::overdue(db, agent, now, limit)?;
    if let Some(at) = next_receipt(db, agent, now)? {
        due.later(at);
    }
    Ok(due)
}

struct Pull<'a> {
    db: &'a Connection,
    agent: AgentId,
    now: u64,
    through: BlockHeight,
    paused: &'a HashSet<String>,
}

impl Pull<'_> {
    /// Adds the due messages of a lane; the turns go on behind `last`, which is moved.
    fn lane(
        &mut self,
        lane: &Lane,
        last: &mut String,
        limit: usize,
        due: &mut Due,
    ) -> rusqlite::Result<()> {
        let began = last.clone();
        let mut wrapped = began.is_empty();
        let mut senders = Vec::new();
        let mut examined = 0;
        let mut next = began.clone();
        loop {
            let sender = self.sender_after(lane, &next)?;
            match sender {
                Some(sender) if !wrapped || began.is_empty() || sender <= began => {
                    examined += 1;
                    next.clone_from(&sender);
                    if !self.paused.contains(&sender) {
                        senders.push(sender);
                    }
                }
                None if !wrapped => {
                    wrapped = true;
                    next.clear();
                    continue;
                }
                _ => break,
            }
            if senders.len() >= limit {
                break;
            }
            if examined >= MAX_EXAMINED {
                break;
            }
        }
        if senders.is_empty() {
            if examined >= MAX_EXAMINED {
                // All of these have to wait; those behind them are looked at in a moment.
                last.clone_from(&next);
                due.later(self.now.saturating_add(PASS_PAUSE_MS));
            }
            return Ok(());
        }
        let share = (limit / senders.len()).max(1);
        for sender in senders {
            last.clone_from(&sender);
            self.of_sender(lane, &sender, share, due)?;
        }
        Ok(())
    }

    fn sender_after(&self, lane: &Lane, after: &str) -> rusqlite::Result<Option<String>> {
        self.db
            .prepare_cached(&format!(
                "SELECT sender FROM inbox
                 WHERE agent = ?1 AND state = 'waiting' AND {} AND sender > ?2
                 ORDER BY sender LIMIT 1",
                lane.condition
            ))?
            .query_row(params![self.agent.0, after], |row| row.get(0))
            .optional()
    }

    fn of_sender(
        &self,
        lane: &Lane,
        sender: &str,
        share: usize,
        due: &mut Due,
    ) -> rusqlite::Result<()> {
        let mut statement = self.db.prepare_cached(&format!(
            "SELECT {MESSAGE_COLUMNS}, due_at FROM inbox
             WHERE agent = ?1 AND sender = ?2 AND state = 'waiting' AND {}
             ORDER BY due_at, seq LIMIT ?3",
            lane.condition
        ))?;
        let mut rows = statement.query(params![self.agent.0, sender, integer(share as u64)])?;
        while let Some(row) = rows.next()? {
            let due_at = natural(row.get(MESSAGE_COLUMN_COUNT)?);
            if due_at > self.now {
                due.later(due_at);
                break;
            }
            let message = message(self.db, row)?;
            if message.height > self.through {
                break;
            }
            if due.messages.iter().all(|other| other.id != message.id) {
                due.messages.push(message);
            }
        }
        Ok(())
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
        height: BlockHeight(natural(row.get(4)?)),
        authenticity: match row.get_ref(5)?.as_str()? {
            "verified" => Authenticity::Verified,
            _ => Authenticity::Unverified,
        },
        attempts: row.get(6)?,
        done,
        rejected: row.get(7)?,
    })
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
        let due_at = natural(row.get(6)?);
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
            kind: EventKind::parse(row.get_ref(2)?.as_str()?).unwrap_or(EventKind::Timer),
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
            Ok(row.get::<_, Option<i64>>(0)?.map(natural))
        })
}
