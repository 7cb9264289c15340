//! Attempts at tasks that workers run: a queue.
//!
//! | module | content |
//! |---|---|
//! | this one | what a job is |
//! | `owner` | what the owner of a shard does: puts, cancels, looks, and deletes |
//! | `worker` | what a worker does: takes, beats, and ends |
//! | `workers` | which workers there are, and how many jobs wait, for people |
//!
//! A job is one attempt at one task. A worker takes it, and beats while it works; a job whose worker
//! beats no more is interrupted, and its end is refused if the worker ends it after all. So there is
//! at most one result for each attempt. The owner decides what follows: it makes a new attempt, under
//! the next number, or deletes the job once its own log has the result.

mod owner;
mod worker;
mod workers;

use agentry_core::TaskId;
use agentry_core::cluster::ShardId;
use tokio_postgres::Row;

use crate::ClusterError;
use crate::database::{column, number};

pub use owner::{Job, NewJob, Put};
pub use worker::{Ended, Outcome, Standing, Taken};
pub use workers::{JobCount, KEEP_WORKERS, Room, WORKER_LOST, WorkerRow, WorkerSeen};

/// The largest input or result, in bytes: what a task may result in
/// ([`MAX_OUTPUT_BYTES`](agentry_core::task::MAX_OUTPUT_BYTES)), and as much for how it is written.
pub const MAX_PAYLOAD: usize = 2 * agentry_core::task::MAX_OUTPUT_BYTES;

/// The longest text about progress, in bytes. It is written with every beat.
pub const MAX_PROGRESS: usize = 4 << 10;

const WHAT: &str = "the table of jobs";

/// An attempt at a task of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    /// The shard.
    pub shard: ShardId,
    /// The task, by its number in the shard's state.
    pub task: TaskId,
    /// The number of the attempt, from 1 on.
    pub attempt: u32,
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// No worker has taken it.
    Waiting,
    /// A worker runs it.
    Taken,
    /// It ended with a result.
    Done,
    /// It ended with an error, which is its result.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// Its worker beats no more, or gave it back.
    Interrupted,
}

impl JobState {
    /// Whether nothing follows.
    pub const fn is_ended(self) -> bool {
        !matches!(self, Self::Waiting | Self::Taken)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Taken => "taken",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    fn read(name: &str) -> Result<Self, ClusterError> {
        use JobState::{Cancelled, Done, Failed, Interrupted, Taken, Waiting};
        let all = [Waiting, Taken, Done, Failed, Cancelled, Interrupted];
        let found = all.into_iter().find(|state| state.name() == name);
        found.ok_or_else(|| ClusterError::damaged(WHAT, &format!("its state is {name:?}")))
    }
}

impl JobKey {
    /// The columns of the key.
    fn columns(self) -> Result<(i32, i64, i32), ClusterError> {
        let attempt = number("the number of an attempt", self.attempt)?;
        Ok((i32::from(self.shard.0), self.task.0, attempt))
    }

    /// The key in the first three columns of a row.
    fn of(row: &Row) -> Result<Self, ClusterError> {
        Ok(Self {
            shard: ShardId(number(WHAT, column::<i32>(Some(row), 0, WHAT)?)?),
            task: TaskId(column(Some(row), 1, WHAT)?),
            attempt: number(WHAT, column::<i32>(Some(row), 2, WHAT)?)?,
        })
    }
}

/// The columns of many keys.
type Columns = (Vec<i32>, Vec<i64>, Vec<i32>);

fn all_columns<'a>(keys: impl Iterator<Item = &'a JobKey>) -> Result<Columns, ClusterError> {
    let mut columns = Columns::default();
    for key in keys {
        let (shard, task, attempt) = key.columns()?;
        columns.0.push(shard);
        columns.1.push(task);
        columns.2.push(attempt);
    }
    Ok(columns)
}

/// Refuses what is too large to be stored.
fn check_size(what: &'static str, bytes: usize, most: usize) -> Result<(), ClusterError> {
    if bytes > most {
        let (bytes, most) = (bytes as u64, most as u64);
        return Err(ClusterError::TooLarge { what, bytes, most });
    }
    Ok(())
}
