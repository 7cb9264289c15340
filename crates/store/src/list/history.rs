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

    /// The rows that tell of it, and the column with its time.
    const fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::Arrived => ("inbox WHERE", "seen_at"),
            Self::Requested => ("outbox WHERE", "created_at"),
            Self::TaskAccepted => ("task WHERE", "made_at"),
            Self::Settled => ("inbox WHERE settled_at IS NOT NULL AND", "settled_at"),
            Self::Posted => ("outbox WHERE accepted_at IS NOT NULL AND", "accepted_at"),
            Self::Mined => ("outbox WHERE mined_at IS NOT NULL AND", "mined_at"),
            Self::Failed => (
                "outbox WHERE state = 'failed' AND settled_at IS NOT NULL AND",
                "settled_at",
            ),
            Self::Delivery => ("receipt WHERE state <> 'open' AND", "changed_at"),
            Self::TaskEnded => ("task WHERE ended_at IS NOT NULL AND", "ended_at"),
        }
    }

    /// The column that numbers these rows.
    const fn number(self) -> &'static str {
        match self {
            Self::Delivery => "outbox",
            _ => "id",
        }
    }
}

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

/// The places of a hosted wallet's newest entries, newest first. The cost grows with the rows of the
/// wallet.
///
/// # Errors
/// Any error of SQLite.
pub fn places(
    db: &Reader,
    address: &str,
    selection: &HistorySelection,
) -> Result<Vec<HistoryPlace>, StoreError> {
    let parts = HistoryKind::ALL.map(|kind| {
        let (rows, at) = kind.source();
        let number = kind.number();
        format!(
            "SELECT {at} AS at, {rank} AS rank, {number} AS number FROM {rows}
             agent = (SELECT id FROM agent WHERE address = ?1) AND {at} >= ?2 AND {at} <= ?3",
            rank = rank(kind),
        )
    });
    let sql = format!(
        "SELECT at, rank, number FROM ({})
         WHERE ?4 IS NULL OR (at, rank, number) < (?3, ?4, ?5)
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
            before.map(|place| rank(place.kind)),
            before.map(|place| place.row),
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
