//! Tasks: single ones, lanes, deadlines and running attempts.

use agentry_core::cause::Cause;
use agentry_core::rows::{AgentId, TaskId};
use agentry_core::state::row::Task;
use rusqlite::{OptionalExtension, params};

use crate::cause;
use crate::column::{natural, optional_natural};
use crate::number::integer;
use crate::{Reader, StoreError};

/// A task, by its row.
///
/// # Errors
/// Any error of SQLite.
pub fn task(db: &Reader, id: TaskId) -> Result<Option<Task>, StoreError> {
    db.row("id = ?1", params![id.0])
}

/// A lane of tasks that takes turns with other lanes: the tasks of one type, of one behaviour of
/// one agent, with the same cause. All lanes of a type share a limit on how many tasks run at the
/// same time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    /// The agent that runs them.
    pub agent: AgentId,
    /// The behaviour that started them.
    pub behaviour: String,
    /// Their type.
    pub kind: String,
    /// Who caused them.
    pub cause: Cause,
}

impl Lane {
    /// Whether another lane is of the same type.
    pub fn is_of_type(&self, other: &Self) -> bool {
        (self.agent, &self.behaviour, &self.kind) == (other.agent, &other.behaviour, &other.kind)
    }
}

/// The tasks that wait in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingTasks {
    /// The lane.
    pub lane: Lane,
    /// The tasks that may start, first come first.
    pub due: Vec<TaskId>,
    /// When the next of them may start, if no more are due than were requested.
    pub next_at: Option<u64>,
}

/// The tasks that wait in every lane at `now`; at most `limit` of each that may start. Costs a few
/// seeks per lane, however many tasks wait.
///
/// # Errors
/// Any error of SQLite.
pub fn waiting_tasks(db: &Reader, now: u64, limit: usize) -> Result<Vec<WaitingTasks>, StoreError> {
    let mut after = db.prepare(
        "SELECT agent, behaviour, kind, standing, sender FROM task
         WHERE state = 'submitted'
           AND (agent, behaviour, kind, standing, sender) > (?1, ?2, ?3, ?4, ?5)
         ORDER BY agent, behaviour, kind, standing, sender LIMIT 1",
    )?;
    let mut first = db.prepare(
        "SELECT id, due_at FROM task
         WHERE state = 'submitted' AND agent = ?1 AND behaviour = ?2 AND kind = ?3
           AND standing = ?4 AND sender = ?5
         ORDER BY due_at, id LIMIT ?6",
    )?;
    let mut waiting = Vec::new();
    let mut last: Option<Lane> = None;
    loop {
        let behind = last.as_ref().map_or((i64::MIN, "", "", "", ""), |lane| {
            let (standing, sender) = lane.cause.words();
            (lane.agent.0, &lane.behaviour, &lane.kind, standing, sender)
        });
        let lane = after
            .query_row(
                params![behind.0, behind.1, behind.2, behind.3, behind.4],
                |row| {
                    Ok(Lane {
                        agent: AgentId(row.get(0)?),
                        behaviour: row.get(1)?,
                        kind: row.get(2)?,
                        cause: cause::read(row, 3)?,
                    })
                },
            )
            .optional()?;
        let Some(lane) = lane else {
            return Ok(waiting);
        };
        let mut due = Vec::new();
        let mut next_at = None;
        let mut rows = first.query(params![
            lane.agent.0,
            lane.behaviour,
            lane.kind,
            lane.cause.words().0,
            lane.cause.words().1,
            integer(limit as u64)
        ])?;
        while let Some(row) = rows.next()? {
            let due_at = natural(row, 1)?;
            if due_at > now {
                next_at = Some(due_at);
                break;
            }
            due.push(TaskId(row.get(0)?));
        }
        last = Some(lane.clone());
        waiting.push(WaitingTasks { lane, due, next_at });
    }
}

/// The deadlines of the waiting tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// The tasks whose deadline has passed, and how many attempts at each were started.
    pub missed: Vec<(TaskId, u32)>,
    /// The next deadline.
    pub next: Option<u64>,
}

/// The deadlines of the waiting tasks at `now`; at most `limit` that have passed.
///
/// # Errors
/// Any error of SQLite.
pub fn waiting_deadlines(db: &Reader, now: u64, limit: usize) -> Result<Deadlines, StoreError> {
    let waiting = "state = 'submitted' AND deadline IS NOT NULL";
    let missed = db.all(
        &format!(
            "SELECT id, attempts FROM task WHERE {waiting} AND deadline <= ?1
             ORDER BY deadline LIMIT ?2"
        ),
        params![integer(now), integer(limit as u64)],
        |row| Ok((TaskId(row.get(0)?), row.get(1)?)),
    )?;
    let next = db.one(
        &format!("SELECT min(deadline) FROM task WHERE {waiting} AND deadline > ?1"),
        params![integer(now)],
        |row| optional_natural(row, 0),
    )?;
    Ok(Deadlines { missed, next })
}

/// A task with a running attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkingTask {
    /// The task.
    pub id: TaskId,
    /// How many attempts were started.
    pub attempts: u32,
    /// How many of them ended with the process.
    pub interrupted: u32,
}

/// The tasks with a running attempt, including those that were running when the process ended.
///
/// # Errors
/// Any error of SQLite.
pub fn working_tasks(db: &Reader) -> Result<Vec<WorkingTask>, StoreError> {
    // The index on open tasks holds no others.
    db.all(
        "SELECT id, attempts, interrupted FROM task
         WHERE state IN ('submitted', 'working') AND state = 'working' ORDER BY due_at, id",
        [],
        |row| {
            Ok(WorkingTask {
                id: TaskId(row.get(0)?),
                attempts: row.get(1)?,
                interrupted: row.get(2)?,
            })
        },
    )
}
