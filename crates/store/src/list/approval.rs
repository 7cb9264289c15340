//! Effects of behaviours that wait for an operator's approval.

use agentry_protocol::{Amount, Timestamp};
use rusqlite::{Row, params};
use serde::Serialize;

use crate::column::{amount, optional_time, payload, time};
use crate::number::integer;
use crate::{Reader, StoreError};

/// An effect that waits.
#[derive(Clone, Debug, Serialize)]
pub struct ApprovalItem {
    /// `outbox/` or `task/`, and the row.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// The agent's address.
    pub from: String,
    /// The behaviour.
    pub behaviour: String,
    /// Who caused it: a verified sender; `None` if it was the agent itself, or an unverified sender.
    pub brought_about_by: Option<String>,
    /// When it was requested.
    pub created_at: Timestamp,
    /// When it is given up if nobody has decided: the message expires, or the task's deadline passes.
    pub expires_at: Option<Timestamp>,
    /// What waits.
    #[serde(flatten)]
    pub effect: HeldItem,
}

/// What waits for approval.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "effect", rename_all = "lowercase")]
pub enum HeldItem {
    /// A message.
    Message {
        /// The recipient.
        to: String,
        /// The amount that it transfers, in AIT.
        amount: Amount,
        /// The fee that it pays, in AIT.
        fee: Amount,
        /// The message, JSON.
        payload: String,
    },
    /// A task.
    Task {
        /// Its type.
        #[serde(rename = "type")]
        kind: String,
        /// Its input, JSON.
        input: String,
        /// Who requested it.
        submitter: Option<String>,
    },
}

/// The effects that wait, oldest first: at most `limit`, of the agent with this name or address, or of
/// all.
///
/// # Errors
/// Any error of SQLite.
pub fn approvals(
    db: &Reader,
    agent: Option<&str>,
    limit: u64,
) -> Result<Vec<ApprovalItem>, StoreError> {
    let limit = integer(limit);
    let mut items: Vec<ApprovalItem> = db.all(
        &format!("{MESSAGES} AND (?1 IS NULL OR ?1 IN (agent.name, agent.address)) ORDER BY q.id LIMIT ?2"),
        params![agent, limit],
        message,
    )?;
    let tasks: Vec<ApprovalItem> = db.all(
        &format!(
            "{TASKS} AND (?1 IS NULL OR ?1 IN (agent.name, agent.address)) ORDER BY q.id LIMIT ?2"
        ),
        params![agent, limit],
        task,
    )?;
    items.extend(tasks);
    items.sort_by_key(|item| item.created_at);
    items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(items)
}

/// The message of this row of the outbox, if it waits.
///
/// # Errors
/// Any error of SQLite.
pub fn held_message(db: &Reader, row: i64) -> Result<Option<ApprovalItem>, StoreError> {
    db.first(&format!("{MESSAGES} AND q.id = ?1"), [row], message)
}

/// The task of this row, if it waits.
///
/// # Errors
/// Any error of SQLite.
pub fn held_task(db: &Reader, row: i64) -> Result<Option<ApprovalItem>, StoreError> {
    db.first(&format!("{TASKS} AND q.id = ?1"), [row], task)
}

/// How many effects wait.
///
/// # Errors
/// Any error of SQLite.
pub fn waiting_approvals(db: &Reader) -> Result<u64, StoreError> {
    let count = "SELECT (SELECT count(*) FROM outbox WHERE state = 'queued' AND unapproved = 1)
                      + (SELECT count(*) FROM task WHERE state = 'submitted' AND unapproved = 1)";
    db.one(count, [], |row| crate::column::natural(row, 0))
}

const MESSAGES: &str = "SELECT q.id, agent.name, agent.address, q.origin, nullif(q.sender, ''),
        q.created_at, q.expires_at, q.recipient, q.amount, q.fee, q.payload, q.body
     FROM outbox q JOIN agent ON agent.id = q.agent
     WHERE q.state = 'queued' AND q.unapproved = 1";

const TASKS: &str = "SELECT q.id, agent.name, agent.address, q.behaviour, nullif(q.sender, ''),
        q.made_at, q.deadline, q.kind, q.input, q.submitter
     FROM task q JOIN agent ON agent.id = q.agent
     WHERE q.state = 'submitted' AND q.unapproved = 1";

fn message(row: &Row<'_>) -> rusqlite::Result<ApprovalItem> {
    let origin: String = row.get(3)?;
    // The behaviour stands before the number of the effect.
    let behaviour = origin.rsplit('/').nth(1).unwrap_or_default();
    Ok(ApprovalItem {
        id: format!("outbox/{}", row.get::<_, i64>(0)?),
        agent: row.get(1)?,
        from: row.get(2)?,
        behaviour: behaviour.to_owned(),
        brought_about_by: row.get(4)?,
        created_at: time(row, 5)?,
        expires_at: optional_time(row, 6)?,
        effect: HeldItem::Message {
            to: row.get(7)?,
            amount: amount(row, 8)?,
            fee: amount(row, 9)?,
            payload: payload(row, 10)?.to_compact(),
        },
    })
}

fn task(row: &Row<'_>) -> rusqlite::Result<ApprovalItem> {
    Ok(ApprovalItem {
        id: format!("task/{}", row.get::<_, i64>(0)?),
        agent: row.get(1)?,
        from: row.get(2)?,
        behaviour: row.get(3)?,
        brought_about_by: row.get(4)?,
        created_at: time(row, 5)?,
        expires_at: optional_time(row, 6)?,
        effect: HeldItem::Task {
            kind: row.get(7)?,
            input: row.get(8)?,
            submitter: row.get(9)?,
        },
    })
}
