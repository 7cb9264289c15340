//! What belongs to the story of one message: what it caused, what carried it again, what answers it.

use agentry_protocol::{Timestamp, TransactionHash};
use rusqlite::params;

use crate::column::optional_time;
use crate::{Reader, StoreError};

/// The most rows of each kind that a story has.
pub const MOST: u32 = 50;

/// What a received message has caused, and who has handled it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caused {
    /// The behaviours that have handled it, while others have not.
    pub handled_by: Vec<String>,
    /// The rows of the outbox.
    pub outbox: Vec<i64>,
    /// The rows of tasks.
    pub tasks: Vec<i64>,
    /// The rows of events that are about it.
    pub events: Vec<i64>,
}

/// What the message of a row of the inbox has caused.
///
/// # Errors
/// Any error of SQLite.
pub fn caused(db: &Reader, inbox: i64) -> Result<Caused, StoreError> {
    let rows = |sql: &str| -> Result<Vec<i64>, StoreError> {
        db.all(&format!("{sql} LIMIT {MOST}"), [inbox], |row| row.get(0))
    };
    Ok(Caused {
        handled_by: db.all(
            "SELECT behaviour FROM progress WHERE inbox = ?1 ORDER BY behaviour",
            [inbox],
            |row| row.get(0),
        )?,
        outbox: rows("SELECT id FROM outbox WHERE inbox = ?1 AND resend_of IS NULL ORDER BY id")?,
        tasks: rows("SELECT id FROM task WHERE inbox = ?1 ORDER BY id")?,
        events: rows("SELECT id FROM event WHERE inbox = ?1 ORDER BY id")?,
    })
}

/// Where a row of the outbox comes from, and its times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// The row of the inbox that caused it.
    pub inbox: Option<i64>,
    /// The row whose message it carries again.
    pub resend_of: Option<i64>,
    /// When it was posted last.
    pub posted_at: Option<Timestamp>,
    /// When it was final, or had failed.
    pub settled_at: Option<Timestamp>,
}

/// Where a row of the outbox comes from; `None` if there is no such row.
///
/// # Errors
/// Any error of SQLite.
pub fn roots(db: &Reader, outbox: i64) -> Result<Option<Roots>, StoreError> {
    db.first(
        "SELECT inbox, resend_of, posted_at, settled_at FROM outbox WHERE id = ?1",
        [outbox],
        |row| {
            Ok(Roots {
                inbox: row.get(0)?,
                resend_of: row.get(1)?,
                posted_at: optional_time(row, 2)?,
                settled_at: optional_time(row, 3)?,
            })
        },
    )
}

/// The rows of the outbox that carry a message again.
///
/// # Errors
/// Any error of SQLite.
pub fn resends(db: &Reader, outbox: i64) -> Result<Vec<i64>, StoreError> {
    db.all(
        &format!("SELECT id FROM outbox WHERE resend_of = ?1 ORDER BY id LIMIT {MOST}"),
        [outbox],
        |row| row.get(0),
    )
}

/// The rows of an agent's inbox that name this transaction as what they answer.
///
/// # Errors
/// Any error of SQLite.
pub fn answers(db: &Reader, agent: &str, asked: &str) -> Result<Vec<i64>, StoreError> {
    let Ok(asked) = asked.parse::<TransactionHash>() else {
        return Ok(Vec::new());
    };
    db.all(
        &format!(
            "SELECT id FROM inbox WHERE re = ?1
             AND +agent = (SELECT agent.id FROM agent WHERE agent.address = ?2)
             ORDER BY id LIMIT {MOST}"
        ),
        params![asked.as_bytes(), agent],
        |row| row.get(0),
    )
}
