//! What a hosted wallet's agent did, and what happened to it, in the order of time.

use agentry_protocol::Timestamp;
use rusqlite::params;

use super::talk::{self, ListedMessage};
use crate::column::{optional_natural, time};
use crate::number::integer;
use crate::{Reader, StoreError};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HistoryKind {
    /// A message arrived.
    Arrived,
    /// A message of the agent was requested: an answer or another one.
    Requested,
    /// A task was accepted.
    TaskAccepted,
    /// A message was handled, has expired, or became a dead letter.
    Settled,
    /// The node accepted a transaction.
    Posted,
    /// A transaction was seen in a block.
    Mined,
    /// A transaction failed.
    Failed,
    /// The delivery of a message became known, such as by an acknowledgment.
    Delivery,
    /// A task ended.
    TaskEnded,
}

impl HistoryKind {
    /// All of them, in the order in which things of the same time are listed.
    pub const ALL: [Self; 9] = [
        Self::Arrived,
        Self::Requested,
        Self::TaskAccepted,
        Self::Settled,
        Self::Posted,
        Self::Mined,
        Self::Failed,
        Self::Delivery,
        Self::TaskEnded,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::Requested => "requested",
            Self::TaskAccepted => "task-accepted",
            Self::Settled => "settled",
            Self::Posted => "posted",
            Self::Mined => "mined",
            Self::Failed => "failed",
            Self::Delivery => "delivery",
            Self::TaskEnded => "task-ended",
        }
    }

    /// The kind with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// What is selected of the rows that can tell of it (`i` and `o` of [`ROWS`]): the table, its number,
    /// the time, and a condition.
    const fn source(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Arrived => ("inbox", "id", "seen_at", "id IN i"),
            Self::Requested => ("outbox", "id", "created_at", "id IN o"),
            Self::TaskAccepted => ("task", "id", "made_at", "agent = (SELECT id FROM a)"),
            Self::Settled => ("inbox", "id", "settled_at", "id IN i"),
            Self::Posted => ("outbox", "id", "accepted_at", "id IN o"),
            Self::Mined => ("outbox", "id", "mined_at", "id IN o"),
            Self::Failed => ("outbox", "id", "settled_at", "id IN o AND state = 'failed'"),
            Self::Delivery => (
                "receipt",
                "outbox",
                "changed_at",
                "agent = (SELECT id FROM a) AND state <> 'open'",
            ),
            Self::TaskEnded => ("task", "id", "ended_at", "agent = (SELECT id FROM a)"),
        }
    }
}

/// The agent (`a`), and the rows of its inbox (`i`) and outbox (`o`) that can tell of its newest entries:
///
/// - the newest ones, found by their numbers, which rise with time;
/// - those that were settled last: nothing happens to a row after that, and transactions become final
///   in the order in which they were mined;
/// - of a page that is not the newest, those that were settled next;
/// - those that are not settled.
///
/// So the newest entries of an agent with a million messages are found within a few seconds, and those
/// of others sooner.
const ROWS: &str = "WITH a (id) AS MATERIALIZED (SELECT id FROM agent WHERE address = ?1),
    i (id) AS MATERIALIZED (
        SELECT * FROM (SELECT id FROM inbox WHERE +agent = (SELECT id FROM a) AND seen_at <= ?3
            ORDER BY id DESC LIMIT ?6)
        UNION SELECT * FROM (SELECT id FROM inbox WHERE agent = (SELECT id FROM a)
            AND settled_at <= ?3 AND stored <> '' ORDER BY settled_at DESC, id DESC LIMIT ?6)),
    o (id) AS MATERIALIZED (
        SELECT * FROM (SELECT id FROM outbox WHERE +agent = (SELECT id FROM a) AND created_at <= ?3
            ORDER BY id DESC LIMIT ?6)
        UNION SELECT * FROM (SELECT id FROM outbox WHERE agent = (SELECT id FROM a)
            AND settled_at <= ?3 ORDER BY settled_at DESC, id DESC LIMIT ?6)
        UNION SELECT * FROM (SELECT id FROM outbox WHERE agent = (SELECT id FROM a)
            AND settled_at > ?3 ORDER BY settled_at, id LIMIT ?6)
        UNION SELECT id FROM outbox WHERE agent = (SELECT id FROM a) AND state = 'prepared'
        UNION SELECT id FROM outbox WHERE agent = (SELECT id FROM a) AND state = 'accepted'
        UNION SELECT id FROM outbox WHERE agent = (SELECT id FROM a) AND state = 'mined')";

/// The place of an entry in the history. No two entries have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryPlace {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: HistoryKind,
    /// The row that tells of it.
    pub row: i64,
}

/// The entries to list.
#[derive(Clone, Copy, Debug)]
pub struct HistorySelection {
    /// Only those that are not older than this.
    pub since: Timestamp,
    /// Only those before this one.
    pub before: Option<HistoryPlace>,
    /// At most this many, the newest.
    pub limit: usize,
}

/// What is known of a row that the history tells of.
#[derive(Clone, Debug)]
pub enum HistorySubject {
    /// A message to the agent.
    Received {
        /// The message.
        message: Box<ListedMessage>,
        /// How many attempts at it have failed.
        failed_attempts: u64,
    },
    /// A message of the agent.
    Sent {
        /// The message.
        message: Box<ListedMessage>,
        /// The message that it follows from.
        follows: Option<i64>,
    },
    /// A task that the agent runs.
    Task(HistoryTask),
}

/// A task, as the history tells of it.
#[derive(Clone, Debug)]
pub struct HistoryTask {
    /// Its type.
    pub kind: String,
    /// Its state.
    pub state: String,
    /// Who requested it.
    pub submitter: Option<String>,
    /// The message that requested it.
    pub follows: Option<i64>,
    /// How many attempts were started.
    pub attempts: u64,
    /// Why it failed.
    pub error: Option<String>,
}

/// The places of a hosted wallet's newest entries, newest first.
///
/// # Errors
/// Any error of SQLite.
pub fn places(
    db: &Reader,
    address: &str,
    selection: &HistorySelection,
) -> Result<Vec<HistoryPlace>, StoreError> {
    let parts = HistoryKind::ALL.map(|kind| {
        let (table, number, at, which) = kind.source();
        let rank = rank(kind);
        format!(
            "SELECT {at} AS at, {rank} AS rank, {number} AS number FROM {table} WHERE {which} AND {at} >= ?2"
        )
    });
    let sql = format!(
        "{ROWS} SELECT at, rank, number FROM ({})
         WHERE (at, rank, number) < (?3, ?4, ?5)
         ORDER BY at DESC, rank DESC, number DESC LIMIT ?6",
        parts.join(" UNION ALL ")
    );
    let before = selection.before;
    let last = before.map_or(i64::MAX, |place| integer(place.at.get()));
    db.all(
        &sql,
        params![
            address,
            integer(selection.since.get()),
            last,
            before.map_or(i64::MAX, |place| rank(place.kind)),
            before.map_or(i64::MAX, |place| place.row),
            integer(selection.limit as u64),
        ],
        |row| {
            let rank: i64 = row.get(1)?;
            let kind = HistoryKind::ALL.into_iter().zip(0..);
            let kind = kind.filter(|(_, of)| *of == rank).map(|(kind, _)| kind);
            Ok(HistoryPlace {
                at: time(row, 0)?,
                // The query names no other.
                kind: kind.last().unwrap_or(HistoryKind::Arrived),
                row: row.get(2)?,
            })
        },
    )
}

/// The place of a kind among those of the same time.
fn rank(kind: HistoryKind) -> i64 {
    let before = HistoryKind::ALL.into_iter().filter(|one| *one < kind);
    integer(before.count() as u64)
}

/// What is known of the row of an entry; `None` if it was deleted meanwhile.
///
/// # Errors
/// Any error of SQLite.
pub fn subject(db: &Reader, place: &HistoryPlace) -> Result<Option<HistorySubject>, StoreError> {
    use HistoryKind as Kind;

    let row = place.row;
    Ok(match place.kind {
        Kind::Arrived | Kind::Settled => {
            let Some(message) = talk::received_at(db, row)? else {
                return Ok(None);
            };
            let attempts = "SELECT attempts FROM inbox WHERE id = ?1";
            let failed = db.first(attempts, params![row], |row| optional_natural(row, 0))?;
            Some(HistorySubject::Received {
                message: Box::new(message),
                failed_attempts: failed.flatten().unwrap_or(0),
            })
        }
        Kind::Requested | Kind::Posted | Kind::Mined | Kind::Failed | Kind::Delivery => {
            let Some(message) = talk::sent_at(db, row)? else {
                return Ok(None);
            };
            let inbox = "SELECT inbox FROM outbox WHERE id = ?1";
            let follows = db.first(inbox, params![row], |row| row.get(0))?;
            Some(HistorySubject::Sent {
                message: Box::new(message),
                follows: follows.flatten(),
            })
        }
        Kind::TaskAccepted | Kind::TaskEnded => db
            .first(
                "SELECT kind, state, submitter, inbox, attempts, coalesce(error, error_code)
                 FROM task WHERE id = ?1",
                params![row],
                |row| {
                    Ok(HistoryTask {
                        kind: row.get(0)?,
                        state: row.get(1)?,
                        submitter: row.get(2)?,
                        follows: row.get(3)?,
                        attempts: optional_natural(row, 4)?.unwrap_or(0),
                        error: row.get(5)?,
                    })
                },
            )?
            .map(HistorySubject::Task),
    })
}
