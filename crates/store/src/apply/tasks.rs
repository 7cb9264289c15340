//! Applies changes to the tasks of behaviours.

use agentry_core::TaskStart;
use agentry_core::cause::Cause;
use agentry_core::commit::{Receipt, TaskEnd};
use agentry_core::rows::{AgentId, EventKind, InboxId, TaskId};
use agentry_core::state::usage::Kind;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use super::usage;
use super::{claims, events, time};
use crate::StoreError;
use crate::cause;
use crate::column::natural;

/// Adds a task of a behaviour, which does not start before the time `from`. The same key is the
/// same task.
pub(super) fn submit(
    db: &Connection,
    (agent, behaviour): (AgentId, &str),
    task: &TaskStart,
    inbox: Option<InboxId>,
    cause: &Cause,
    (at, from): (u64, u64),
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    // Before the insertion, which would use up an id.
    let is_known = db
        .prepare_cached("SELECT 1 FROM task WHERE agent = ?1 AND behaviour = ?2 AND key = ?3")?
        .exists(params![agent.0, behaviour, task.key])?;
    if is_known {
        return Ok(());
    }
    let id = db
        .prepare_cached(
            "INSERT INTO task (agent, behaviour, key, kind, input, inbox, submitter,
                                         state, deadline, due_at, made_at, standing, sender)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, (SELECT sender FROM inbox WHERE id = ?6),
                     'submitted', ?7, ?8, ?9, ?10, ?11)
             RETURNING id",
        )?
        .query_row(
            params![
                agent.0,
                behaviour,
                task.key,
                task.kind,
                task.input.to_string(),
                inbox.map(|inbox| inbox.0),
                task.deadline_ms.map(time),
                time(at.max(from)),
                time(at),
                cause::standing(cause),
                cause::sender(cause)
            ],
            |row| row.get(0).map(TaskId),
        )?;
    receipt.tasks = true;
    let done = match inbox {
        Some(inbox) => claims::job_end(db, agent, inbox, &task.key)?,
        None => None,
    };
    // The chain shows that it has ended: the work is not done again.
    if let Some((job_end, duration_ms)) = done {
        end(db, id, 0, &job_end, duration_ms, at, receipt)?;
    }
    Ok(())
}

/// An attempt starts.
pub(super) fn begin(
    db: &Connection,
    task: TaskId,
    attempts: u32,
    at: u64,
) -> Result<usize, StoreError> {
    Ok(db
        .prepare_cached(
            "UPDATE task SET state = 'working', attempts = attempts + 1, started_at = ?3,
                             progress = NULL, note = NULL
             WHERE id = ?1 AND attempts = ?2 AND state IN ('submitted', 'working')",
        )?
        .execute(params![task.0, attempts, time(at)])?)
}

/// An attempt failed and will be retried.
pub(super) fn retry(
    db: &Connection,
    task: TaskId,
    attempts: u32,
    (code, message): &(String, String),
    due_at: u64,
) -> Result<usize, StoreError> {
    Ok(db
        .prepare_cached(
            "UPDATE task SET state = 'submitted', error_code = ?3, error = ?4, due_at = ?5
             WHERE id = ?1 AND attempts = ?2 AND state = 'working'",
        )?
        .execute(params![task.0, attempts, code, message, time(due_at)])?)
}

/// An attempt ended with the process: the task waits again as before the attempt.
pub(super) fn interrupt(db: &Connection, task: TaskId, attempts: u32) -> Result<usize, StoreError> {
    Ok(db
        .prepare_cached(
            "UPDATE task SET state = 'submitted', interrupted = interrupted + 1,
                             error_code = 'interrupted', error = 'the runtime ended while it ran'
             WHERE id = ?1 AND attempts = ?2 AND state = 'working'",
        )?
        .execute(params![task.0, attempts])?)
}

/// The owner of a task, and what its updates need.
struct Owner {
    agent: AgentId,
    behaviour: String,
    key: String,
    inbox: Option<InboxId>,
    /// Who caused it.
    cause: Cause,
    /// When its first attempt is due; 0 if it has started.
    begins_at: u64,
}

/// The columns of [`owner`].
const OWNER: &str = "agent, behaviour, key, inbox, standing, sender, iif(attempts = 0, due_at, 0)";

fn owner(row: &rusqlite::Row<'_>) -> rusqlite::Result<Owner> {
    Ok(Owner {
        agent: AgentId(row.get(0)?),
        behaviour: row.get(1)?,
        key: row.get(2)?,
        inbox: row.get::<_, Option<i64>>(3)?.map(InboxId),
        cause: cause::read(row, 4)?,
        begins_at: natural(row, 6)?,
    })
}

/// Sends a behaviour an update on its task. What the task row holds is not repeated.
fn tell(
    db: &Connection,
    task: TaskId,
    owner: &Owner,
    news: &Value,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let data = json!({ "task": task, "news": news });
    let new = events::New {
        agent: owner.agent,
        behaviour: &owner.behaviour,
        kind: EventKind::Task,
        name: &owner.key,
        data: &data,
        inbox: owner.inbox,
        // A task that ends before its start is reported no sooner than it could have started.
        due_at: at.max(owner.begins_at),
        cause: &owner.cause,
    };
    events::add(db, new, at)?;
    receipt.due.push(owner.agent);
    Ok(())
}

/// Whether this update already waits for its behaviour.
fn was_told(
    db: &Connection,
    task: TaskId,
    owner: &Owner,
    news: &Value,
    at: u64,
) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT 1 FROM event WHERE agent = ?1 AND behaviour = ?2 AND name = ?3
               AND kind = 'task' AND data = ?4 AND made_at = ?5",
        )?
        .exists(params![
            owner.agent.0,
            owner.behaviour,
            owner.key,
            json!({ "task": task, "news": news }).to_string(),
            time(at)
        ])?)
}

/// Deletes a progress update that its behaviour has not received yet: a later update replaces it.
fn supersede(db: &Connection, owner: &Owner) -> Result<(), StoreError> {
    db.prepare_cached(
        "DELETE FROM event WHERE agent = ?1 AND behaviour = ?2 AND name = ?3 AND kind = 'task'
           AND json_extract(data, '$.news.news') = 'progress'",
    )?
    .execute(params![owner.agent.0, owner.behaviour, owner.key])?;
    Ok(())
}

/// A task reports its progress.
pub(super) fn progress(
    db: &Connection,
    (task, attempts): (TaskId, u32),
    (progress, note): (f64, Option<&str>),
    to_be_told: bool,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let owner = db
        .prepare_cached(&format!(
            "UPDATE task SET progress = ?3, note = ?4
             WHERE id = ?1 AND attempts = ?2 AND state = 'working' RETURNING {OWNER}"
        ))?
        .query_row(params![task.0, attempts, progress, note], owner)
        .optional()?;
    let Some(owner) = owner else {
        receipt.stale = true;
        return Ok(());
    };
    let news = json!({ "news": "progress", "progress": progress, "note": note });
    if to_be_told && !was_told(db, task, &owner, &news, at)? {
        supersede(db, &owner)?;
        tell(db, task, &owner, &news, at, receipt)?;
    }
    Ok(())
}

/// Makes room for what is kept of an ended task. If there is no room for its result, returns the
/// failure with which the task ends instead.
fn room_for(
    db: &Connection,
    task: TaskId,
    attempts: u32,
    end: &TaskEnd,
) -> Result<Option<TaskEnd>, StoreError> {
    let found = db
        .prepare_cached(&format!(
            "SELECT {OWNER}, octet_length(input) FROM task
             WHERE id = ?1 AND attempts = ?2 AND state IN ('submitted', 'working')"
        ))?
        .query_row(params![task.0, attempts], |row| {
            Ok((owner(row)?, natural(row, 7)?))
        })
        .optional()?;
    let Some((owner, input)) = found else {
        return Ok(None);
    };
    let result = match end {
        TaskEnd::Completed(output) => output.text.len() as u64,
        TaskEnd::Failed { message, .. } => message.len() as u64,
        TaskEnd::Canceled => 0,
    };
    let bytes = input.saturating_add(result);
    let full = usage::make_room(db, owner.agent, Kind::Ended, &owner.cause, bytes)?;
    Ok(full
        .filter(|_| matches!(end, TaskEnd::Completed(_)))
        .map(|reason| TaskEnd::no_room(&reason)))
}

/// Ends a task, and tells its behaviour.
pub(super) fn end(
    db: &Connection,
    task: TaskId,
    attempts: u32,
    end: &TaskEnd,
    duration_ms: u64,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let no_room = room_for(db, task, attempts, end)?;
    let end = no_room.as_ref().unwrap_or(end);
    let mut news = json!({ "duration_ms": duration_ms });
    let (state, output, code, error) = match end {
        // The code says why a result is incomplete.
        TaskEnd::Completed(output) => ("completed", Some(output), output.incomplete.as_ref(), None),
        TaskEnd::Failed {
            code,
            message,
            public,
        } => {
            news["message"] = public.as_str().into();
            ("failed", None, Some(code), Some(message))
        }
        TaskEnd::Canceled => ("canceled", None, None, None),
    };
    news["news"] = state.into();
    let owner = db
        .prepare_cached(&format!(
            "UPDATE task SET state = ?3, result = ?4, media_type = ?5, error_code = ?6,
                             error = ?7, ended_at = ?8
             WHERE id = ?1 AND attempts = ?2 AND state IN ('submitted', 'working')
             RETURNING {OWNER}"
        ))?
        .query_row(
            params![
                task.0,
                attempts,
                state,
                output.map(|output| &output.text),
                output.and_then(|output| output.media_type.as_ref()),
                code,
                error,
                time(at)
            ],
            owner,
        )
        .optional()?;
    let Some(owner) = owner else {
        receipt.stale = true;
        return Ok(());
    };
    ended(db, task, &owner, &news, at, receipt)
}

fn ended(
    db: &Connection,
    task: TaskId,
    owner: &Owner,
    news: &Value,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    supersede(db, owner)?;
    tell(db, task, owner, news, at, receipt)?;
    if let Some(inbox) = owner.inbox {
        events::release(db, inbox, at)?;
    }
    receipt.changed += 1;
    Ok(())
}

/// A behaviour cancels a task. An ended task stays unchanged.
pub(super) fn cancel(
    db: &Connection,
    agent: AgentId,
    behaviour: &str,
    key: &str,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let found = db
        .prepare_cached(&format!(
            "UPDATE task SET state = 'canceled', ended_at = ?4, error_code = NULL, error = NULL
             WHERE agent = ?1 AND behaviour = ?2 AND key = ?3 AND state IN ('submitted', 'working')
             RETURNING {OWNER}, id"
        ))?
        .query_row(params![agent.0, behaviour, key, time(at)], |row| {
            Ok((owner(row)?, TaskId(row.get(7)?)))
        })
        .optional()?;
    if let Some((owner, task)) = found {
        receipt.canceled.push(task);
        ended(
            db,
            task,
            &owner,
            &json!({ "news": "canceled" }),
            at,
            receipt,
        )?;
    }
    Ok(())
}
