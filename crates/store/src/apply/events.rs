//! The events other than messages: timers, delivery updates, outcomes of watched messages, task
//! updates and card renewals.

use agentry_core::Settlement;
use agentry_core::cause::Cause;
use agentry_core::commit::{Receipt, TimerSetting};
use agentry_core::rows::{AgentId, EventId, EventKind, EventRef, InboxId, TaskState};
use agentry_protocol::BlockHeight;
use rusqlite::{Connection, params};
use serde_json::Value;

use super::{height, time};
use crate::StoreError;
use crate::cause;
use crate::column::word;

/// An event to add.
#[derive(Clone, Copy)]
pub(super) struct New<'a> {
    pub(super) agent: AgentId,
    pub(super) behaviour: &'a str,
    pub(super) kind: EventKind,
    pub(super) name: &'a str,
    pub(super) data: &'a Value,
    pub(super) inbox: Option<InboxId>,
    pub(super) due_at: u64,
    /// Who caused it.
    pub(super) cause: &'a Cause,
}

/// Adds an event.
pub(super) fn add(db: &Connection, new: New<'_>, at: u64) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO event (agent, behaviour, kind, name, data, inbox, due_at, made_at, standing,
                            sender)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        new.agent.0,
        new.behaviour,
        new.kind.as_str(),
        new.name,
        new.data.to_string(),
        new.inbox.map(|inbox| inbox.0),
        time(new.due_at),
        time(at),
        cause::standing(new.cause),
        cause::sender(new.cause)
    ])?;
    Ok(())
}

/// Sets a timer, replacing one of the same name, or deletes it. `anchor` is the block of the
/// message that set it, if a message did.
pub(super) fn set_timer(
    db: &Connection,
    (agent, behaviour): (AgentId, &str),
    (name, setting): (&str, Option<&TimerSetting>),
    (cause, anchor): (&Cause, Option<BlockHeight>),
    at: u64,
) -> Result<(), StoreError> {
    // A new row has a new id: an outcome of the old timer does not count for the new one.
    db.prepare_cached(
        "DELETE FROM event WHERE agent = ?1 AND behaviour = ?2 AND name = ?3 AND kind = 'timer'",
    )?
    .execute(params![agent.0, behaviour, name])?;
    let Some(setting) = setting else {
        return Ok(());
    };
    let new = New {
        agent,
        behaviour,
        kind: EventKind::Timer,
        name,
        data: &setting.data,
        inbox: None,
        due_at: setting.due_at,
        cause,
    };
    add(db, new, at)?;
    if let Some(anchor) = anchor {
        db.prepare_cached(
            "UPDATE event SET anchor = ?4
             WHERE agent = ?1 AND behaviour = ?2 AND name = ?3 AND kind = 'timer'",
        )?
        .execute(params![agent.0, behaviour, name, height(anchor)])?;
    }
    Ok(())
}

/// Tells the behaviours that watch a message its outcome. The events are held while tasks that the
/// message started are open.
pub(super) fn settle(
    db: &Connection,
    (agent, inbox): (AgentId, InboxId),
    watchers: &[String],
    settlement: &Settlement,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    if watchers.is_empty() {
        return Ok(());
    }
    let data = serde_json::json!(settlement);
    for watcher in watchers {
        let new = New {
            agent,
            behaviour: watcher,
            kind: EventKind::Settled,
            name: "",
            data: &data,
            inbox: Some(inbox),
            due_at: at,
            // The message itself names its sender.
            cause: &Cause::Own,
        };
        add(db, new, at)?;
    }
    if *settlement == Settlement::Done {
        hold(db, inbox, &data)?;
        release(db, inbox, at)?;
    }
    receipt.due.push(agent);
    Ok(())
}

/// Holds the outcome events of a message until its tasks have ended.
fn hold(db: &Connection, inbox: InboxId, settlement: &Value) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE event SET state = 'held'
         WHERE inbox = ?1 AND kind = 'settled' AND state = 'waiting' AND data = ?2
           AND EXISTS (SELECT 1 FROM task WHERE task.inbox = ?1)",
    )?
    .execute(params![inbox.0, settlement.to_string()])?;
    Ok(())
}

/// Releases the held outcome events of a message if all of its tasks have ended.
pub(super) fn release(db: &Connection, inbox: InboxId, at: u64) -> Result<(), StoreError> {
    let held = "inbox = ?1 AND kind = 'settled' AND state = 'held'";
    let waits = db
        .prepare_cached(&format!("SELECT 1 FROM event WHERE {held}"))?
        .exists(params![inbox.0])?;
    if !waits {
        return Ok(());
    }
    let mut open = false;
    let mut failed = None;
    let mut statement = db.prepare_cached(
        "SELECT state, coalesce(error_code, '') FROM task WHERE inbox = ?1 ORDER BY id",
    )?;
    let mut rows = statement.query(params![inbox.0])?;
    while let Some(row) = rows.next()? {
        match word(row, 0, TaskState::parse)? {
            TaskState::Submitted | TaskState::Working => open = true,
            // `error` is for the operator only; the code is public.
            TaskState::Failed if failed.is_none() => {
                failed = Some(Settlement::of_failed_task(&row.get::<_, String>(1)?));
            }
            TaskState::Canceled if failed.is_none() => {
                failed = Some(Settlement::of_canceled_task());
            }
            TaskState::Failed | TaskState::Canceled | TaskState::Completed => {}
        }
    }
    if open {
        return Ok(());
    }
    let settlement = failed.unwrap_or(Settlement::Done);
    db.prepare_cached(&format!(
        "UPDATE event SET state = 'waiting', data = ?2, due_at = ?3 WHERE {held}"
    ))?
    .execute(params![
        inbox.0,
        serde_json::json!(settlement).to_string(),
        time(at)
    ])?;
    Ok(())
}

/// Announces an agent's card at `due_at`, and renews it from then on.
pub(super) fn register(
    db: &Connection,
    agent: AgentId,
    card: &Value,
    due_at: u64,
) -> Result<(), StoreError> {
    let is_known = db
        .prepare_cached(
            "SELECT 1 FROM event WHERE agent = ?1 AND kind = 'renewal' AND attempts = 0
               AND due_at = ?2 AND data = ?3",
        )?
        .exists(params![agent.0, time(due_at), card.to_string()])?;
    if is_known {
        return Ok(());
    }
    unregister(db, agent)?;
    let new = New {
        agent,
        behaviour: "",
        kind: EventKind::Renewal,
        name: "card",
        data: card,
        inbox: None,
        due_at,
        cause: &Cause::Own,
    };
    add(db, new, due_at)
}

/// Stops renewing an agent's card. Returns how many renewals were deleted. An announcement that is
/// not signed yet is deleted, too: otherwise it would be sent after the withdrawal.
pub(super) fn unregister(db: &Connection, agent: AgentId) -> Result<usize, StoreError> {
    let events: Vec<EventId> = db
        .prepare_cached("DELETE FROM event WHERE agent = ?1 AND kind = 'renewal' RETURNING id")?
        .query_map(params![agent.0], |row| row.get(0).map(EventId))?
        .collect::<Result<_, _>>()?;
    for event in &events {
        // `0` follows `/`, so this matches all origins that begin with the event's.
        db.prepare_cached(
            "DELETE FROM outbox WHERE origin > ?1 || '/' AND origin < ?1 || '0'
               AND state = 'queued'",
        )?
        .execute(params![EventRef::Event(*event).to_string()])?;
    }
    Ok(events.len())
}
