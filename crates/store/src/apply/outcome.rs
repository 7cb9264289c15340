//! Applies the result of a behaviour's run, or handles an event that no behaviour runs for.

use agentry_core::Settlement;
use agentry_core::commit::{Handled, Outcome, Receipt};
use agentry_core::rows::{AgentId, EventId, EventRef, InboxId};
use agentry_protocol::Address;
use rusqlite::{Connection, OptionalExtension, params};

use super::claims::{self, Anchor};
use super::{events, outgoing, tasks, time, usage};
use crate::{StoreError, read};

/// One behaviour has handled an event, or no behaviour accepts it.
pub(super) fn settle(
    db: &Connection,
    outcome: &Outcome,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let (agent, inbox) = match outcome.event {
        EventRef::Inbox(id) => (current_message(db, id, outcome.attempts)?, Some(id)),
        EventRef::Event(id) => match current_event(db, id, outcome.attempts)? {
            Some((agent, inbox)) => (Some(agent), inbox),
            None => (None, None),
        },
    };
    let Some(agent) = agent else {
        receipt.stale = true;
        return Ok(());
    };
    let anchor = claims::anchor(db, outcome.event)?;
    match (outcome.event, &outcome.behaviour) {
        (EventRef::Inbox(id), Some(behaviour)) => {
            let recorded = db
                .prepare_cached(
                    "INSERT OR IGNORE INTO progress (inbox, behaviour) VALUES (?1, ?2)",
                )?
                .execute(params![id.0, behaviour])?;
            if recorded == 0 {
                receipt.stale = true;
                return Ok(());
            }
        }
        (EventRef::Event(id), _) => done_with(db, id, outcome.again_at)?,
        (EventRef::Inbox(_), None) => {}
    }
    if let Some(behaviour) = &outcome.behaviour {
        remember(db, agent, behaviour, outcome)?;
        for (name, setting) in &outcome.timers {
            let timer = (name.as_str(), setting.as_ref());
            let from = (&outcome.cause, anchor.and_then(Anchor::block));
            events::set_timer(db, (agent, behaviour), timer, from, outcome.at)?;
        }
        if !outcome.timers.is_empty() {
            receipt.due.push(agent);
        }
        for task in &outcome.tasks {
            let cause = &outcome.cause;
            let owner = (agent, behaviour.as_str());
            let times = (outcome.at, outcome.tasks_from);
            tasks::submit(db, owner, task, inbox, cause, times, receipt)?;
        }
        for key in &outcome.cancels {
            tasks::cancel(db, agent, behaviour, key, outcome.at, receipt)?;
        }
    }
    let from = (agent, inbox);
    let sends = outgoing::send_all(db, from, anchor, &outcome.sends, outcome.at, receipt)?;
    receipt.sends.extend(sends);
    usage::check(db, agent, outcome)?;
    if let EventRef::Inbox(id) = outcome.event {
        if let Some(reason) = &outcome.rejected {
            db.prepare_cached("UPDATE inbox SET rejected = coalesce(rejected, ?2) WHERE id = ?1")?
                .execute(params![id.0, reason])?;
        }
        if let Some(handled) = &outcome.handled {
            handle(db, (agent, id), handled, outcome.at, receipt)?;
        }
    }
    receipt.changed = 1;
    Ok(())
}

/// The agent of a message, or `None` if an outcome of this attempt is stale.
fn current_message(
    db: &Connection,
    id: InboxId,
    attempts: u32,
) -> Result<Option<AgentId>, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT agent FROM inbox WHERE id = ?1 AND attempts = ?2 AND state = 'waiting'",
        )?
        .query_row(params![id.0, attempts], |row| row.get(0).map(AgentId))
        .optional()?)
}

/// The agent of an event, and the message that it is about; `None` if an outcome of this attempt is
/// stale.
fn current_event(
    db: &Connection,
    id: EventId,
    attempts: u32,
) -> Result<Option<(AgentId, Option<InboxId>)>, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT agent, inbox FROM event WHERE id = ?1 AND attempts = ?2 AND state = 'waiting'",
        )?
        .query_row(params![id.0, attempts], |row| {
            let inbox: Option<i64> = row.get(1)?;
            Ok((AgentId(row.get(0)?), inbox.map(InboxId)))
        })
        .optional()?)
}

/// Deletes an event that was handled, or makes it due again at `again_at`.
fn done_with(db: &Connection, id: EventId, again_at: Option<u64>) -> Result<(), StoreError> {
    match again_at {
        None => db
            .prepare_cached("DELETE FROM event WHERE id = ?1")?
            .execute(params![id.0])?,
        // Counted as an attempt, so that no outcome of this run counts for the next one.
        Some(due_at) => db
            .prepare_cached(
                "UPDATE event SET due_at = ?2, attempts = attempts + 1, reason = NULL WHERE id = ?1",
            )?
            .execute(params![id.0, time(due_at)])?,
    };
    Ok(())
}

fn remember(
    db: &Connection,
    agent: AgentId,
    behaviour: &str,
    outcome: &Outcome,
) -> Result<(), StoreError> {
    for (key, value) in &outcome.state {
        match value {
            Some(value) => db
                .prepare_cached(
                    "INSERT OR REPLACE INTO state (agent, behaviour, key, value)
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![agent.0, behaviour, key, value.to_string()])?,
            None => db
                .prepare_cached(
                    "DELETE FROM state WHERE agent = ?1 AND behaviour = ?2 AND key = ?3",
                )?
                .execute(params![agent.0, behaviour, key])?,
        };
    }
    Ok(())
}

/// Every behaviour has handled a message.
fn handle(
    db: &Connection,
    (agent, id): (AgentId, InboxId),
    handled: &Handled,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let rejected: Option<String> = db
        .prepare_cached(
            "UPDATE inbox SET state = 'handled', reason = coalesce(rejected, ?3), settled_at = ?2
             WHERE id = ?1 RETURNING rejected",
        )?
        .query_row(params![id.0, time(at), handled.unacted], |row| row.get(0))?;
    db.prepare_cached("DELETE FROM progress WHERE inbox = ?1")?
        .execute(params![id.0])?;
    let settlement = rejected
        .or_else(|| handled.unacted.clone())
        .map_or(Settlement::Done, |reason| Settlement::Rejected { reason });
    events::settle(db, (agent, id), &handled.watchers, &settlement, at, receipt)
}

/// A run failed: the event is retried or becomes a dead letter.
#[expect(
    clippy::too_many_arguments,
    reason = "they are the fields of one commit"
)]
pub(super) fn fail(
    db: &Connection,
    event: EventRef,
    attempts: u32,
    (reason, public): (&str, &str),
    retry_at: Option<u64>,
    watchers: &[String],
    at: u64,
    receipt: &mut Receipt,
) -> Result<usize, StoreError> {
    let (state, due_at) = match retry_at {
        Some(due_at) => ("waiting", due_at),
        None => ("dead", 0),
    };
    let id = match event {
        EventRef::Event(id) => {
            return Ok(db
                .prepare_cached(
                    "UPDATE event SET attempts = attempts + 1, reason = ?3, state = ?4, due_at = ?5
                     WHERE id = ?1 AND attempts = ?2 AND state = 'waiting'",
                )?
                .execute(params![id.0, attempts, reason, state, time(due_at)])?);
        }
        EventRef::Inbox(id) => id,
    };
    let settled_at = retry_at.is_none().then(|| time(at));
    let agent = db
        .prepare_cached(
            "UPDATE inbox SET attempts = attempts + 1, reason = ?3, state = ?4, due_at = ?5,
                              settled_at = ?6
             WHERE id = ?1 AND attempts = ?2 AND state = 'waiting' RETURNING agent",
        )?
        .query_row(
            params![id.0, attempts, reason, state, time(due_at), settled_at],
            |row| row.get(0).map(AgentId),
        )
        .optional()?;
    let Some(agent) = agent else {
        return Ok(0);
    };
    if retry_at.is_none() {
        let settlement = Settlement::Failed {
            reason: public.to_owned(),
        };
        events::settle(db, (agent, id), watchers, &settlement, at, receipt)?;
    }
    Ok(1)
}

/// A message expired before its turn came.
pub(super) fn expire(
    db: &Connection,
    id: InboxId,
    watchers: &[String],
    at: u64,
    receipt: &mut Receipt,
) -> Result<usize, StoreError> {
    let agent = db
        .prepare_cached(
            "UPDATE inbox SET state = 'expired', settled_at = ?2,
                              reason = 'it expired before its turn came'
             WHERE id = ?1 AND state = 'waiting' RETURNING agent",
        )?
        .query_row(params![id.0, time(at)], |row| row.get(0).map(AgentId))
        .optional()?;
    let Some(agent) = agent else {
        return Ok(0);
    };
    db.prepare_cached("DELETE FROM progress WHERE inbox = ?1")?
        .execute(params![id.0])?;
    events::settle(db, (agent, id), watchers, &Settlement::Expired, at, receipt)?;
    Ok(1)
}

/// An event is postponed. This does not count as an attempt.
pub(super) fn postpone(
    db: &Connection,
    event: EventRef,
    until: u64,
    reason: &str,
) -> Result<usize, StoreError> {
    let (table, id) = match event {
        EventRef::Inbox(id) => ("inbox", id.0),
        EventRef::Event(id) => ("event", id.0),
    };
    let sql =
        format!("UPDATE {table} SET due_at = ?2, reason = ?3 WHERE id = ?1 AND state = 'waiting'");
    Ok(db
        .prepare_cached(&sql)?
        .execute(params![id, time(until), reason])?)
}

/// How many messages beyond the rate-limit timeout are moved to the dead-letter queue in one
/// commit.
const TIMEOUT_PAGE: i64 = 256;

/// Moves messages beyond the rate-limit timeout to the dead-letter queue: the first of them now,
/// the others with the next commits.
pub(super) fn rate_limit_timeout(
    db: &Connection,
    agent: AgentId,
    sender: Option<&Address>,
    before: u64,
    reason: &str,
    at: u64,
) -> Result<usize, StoreError> {
    let sql = format!(
        "UPDATE inbox SET state = 'dead', reason = ?5, settled_at = ?6
         WHERE id IN ({})",
        read::beyond_timeout(sender.is_some())
    );
    Ok(db.prepare_cached(&sql)?.execute(params![
        agent.0,
        time(before),
        TIMEOUT_PAGE,
        sender.map(Address::as_str),
        reason,
        time(at)
    ])?)
}
