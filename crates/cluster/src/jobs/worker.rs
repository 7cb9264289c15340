//! What a worker does with jobs.

use tokio_postgres::types::ToSql;

use super::{JobKey, JobState, MAX_PAYLOAD, MAX_PROGRESS, WHAT, all_columns, check_size};
use crate::ClusterError;
use crate::database::{Database, column};
use crate::link::Call;
use crate::quiet::Quiet;

/// A job that a worker has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The attempt.
    pub key: JobKey,
    /// The type of the task.
    pub kind: String,
    /// What the owner gave for it.
    pub input: Vec<u8>,
}

/// What a worker is to do with a job that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Go on.
    Ours,
    /// Stop, and end it as cancelled.
    Cancelled,
    /// Stop: it is not ours any more, and no end of it is taken.
    Lost,
}

/// How a worker ends a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// With a result, of at most [`MAX_PAYLOAD`](super::MAX_PAYLOAD) bytes.
    Done(&'a [u8]),
    /// With an error, in the same limit.
    Failed(&'a [u8]),
    /// Because it was cancelled.
    Cancelled,
    /// The worker stops: the attempt is over, and the owner makes another one.
    Interrupted,
}

/// What became of the end of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is stored, by this call or an earlier one.
    Stored,
    /// The job was not this worker's any more: it was interrupted, or its owner has deleted it.
    Refused,
}

/// Oldest first. A row that another worker is about to take is passed over.
const TAKE: &str = "with next as materialized (select shard, task, attempt from agentry.job \
         where state = 'waiting' and kind = any($2) order by number limit 1 \
         for update skip locked) \
     update agentry.job j set state = 'taken', worker = $1, beat = clock_timestamp() from next \
     where j.shard = next.shard and j.task = next.task and j.attempt = next.attempt \
     returning j.shard, j.task, j.attempt, j.kind, j.input";

const BEAT: &str = "update agentry.job j set beat = clock_timestamp(), \
         progress = coalesce(k.progress, j.progress) \
     from unnest($2::int[], $3::bigint[], $4::int[], $5::text[]) \
         as k (shard, task, attempt, progress) \
     where j.shard = k.shard and j.task = k.task and j.attempt = k.attempt \
     and j.worker = $1 and j.state = 'taken' \
     returning j.shard, j.task, j.attempt, j.cancel";

const END: &str = "with e as (update agentry.job set state = $5, result = $6 \
         where shard = $2 and task = $3 and attempt = $4 and worker = $1 and state = 'taken' \
         returning shard), \
     n as (select pg_notify('agentry_end', shard::text) from e) \
     select count(*) from n";

/// Whether it was ended before, though the answer was lost. It is a write without a change: once it is
/// acknowledged, the end is on the standby, too.
const WAS_ENDED: &str = "update agentry.job set state = state \
     where shard = $2 and task = $3 and attempt = $4 and worker = $1 and state = $5 \
     and result is not distinct from $6 returning 1";

impl Database {
    /// Takes the oldest job of some kinds, if there is one. `worker` is the worker's name; no other
    /// one that is alive may have it. The worker decides by the kinds that it asks for how many of
    /// each it runs.
    ///
    /// # Errors
    /// After an unknown outcome the job may be taken; without beats it is interrupted.
    pub async fn take_job(
        &self,
        worker: &str,
        kinds: &[&str],
    ) -> Result<Option<Taken>, ClusterError> {
        let call = Call::write("taking a job", self.limits().bulk);
        let rows = self
            .bulk()
            .await
            .query(call, (TAKE, &[&worker, &kinds]))
            .await?;
        let one = |row| {
            Ok(Taken {
                key: JobKey::of(row)?,
                kind: column(Some(row), 3, WHAT)?,
                input: column(Some(row), 4, WHAT)?,
            })
        };
        rows.first().map(one).transpose()
    }

    /// Says that a worker still runs some jobs, and what is new of their progress (at most
    /// [`MAX_PROGRESS`](super::MAX_PROGRESS) bytes). Returns what is to be done with each of them, in
    /// the same order.
    ///
    /// # Errors
    /// The beat may not have been seen. Until one is, the jobs may be interrupted.
    pub async fn beat_jobs(
        &self,
        worker: &str,
        running: &[(JobKey, Option<&str>)],
    ) -> Result<Vec<Standing>, ClusterError> {
        let progress: Vec<_> = running.iter().map(|(_, progress)| *progress).collect();
        for text in progress.iter().flatten() {
            check_size("the progress of a job", text.len(), MAX_PROGRESS)?;
        }
        let (shards, tasks, attempts) = all_columns(running.iter().map(|(key, _)| key))?;
        let call = Call::write("beating for jobs", self.limits().call);
        let parameters: [&(dyn ToSql + Sync); 5] =
            [&worker, &shards, &tasks, &attempts, &Quiet(&progress)];
        let rows = self.bulk().await.query(call, (BEAT, &parameters)).await?;
        let mut ours = std::collections::HashMap::new();
        for row in &rows {
            ours.insert(JobKey::of(row)?, column::<bool>(Some(row), 3, WHAT)?);
        }
        let standing = |(key, _): &(JobKey, _)| match ours.get(key) {
            Some(false) => Standing::Ours,
            Some(true) => Standing::Cancelled,
            None => Standing::Lost,
        };
        Ok(running.iter().map(standing).collect())
    }

    /// Ends a job that a worker runs. It may be called again after an error.
    ///
    /// # Errors
    /// The result is too large, or it is not known to be stored.
    pub async fn end_job(
        &self,
        worker: &str,
        key: JobKey,
        outcome: Outcome<'_>,
    ) -> Result<Ended, ClusterError> {
        let (state, result) = match outcome {
            Outcome::Done(result) => (JobState::Done, Some(result)),
            Outcome::Failed(error) => (JobState::Failed, Some(error)),
            Outcome::Cancelled => (JobState::Cancelled, None),
            Outcome::Interrupted => (JobState::Interrupted, None),
        };
        check_size(
            "the result of a job",
            result.map_or(0, <[u8]>::len),
            MAX_PAYLOAD,
        )?;
        let (shard, task, attempt) = key.columns()?;
        let (state, result) = (state.name(), Quiet(result));
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&worker, &shard, &task, &attempt, &state, &result];
        let call = Call::write("ending a job", self.limits().bulk);
        let mut link = self.bulk().await;
        let rows = link.query(call, (END, &parameters)).await?;
        if column::<i64>(rows.first(), 0, WHAT)? > 0 {
            return Ok(Ended::Stored);
        }
        let rows = link.query(call, (WAS_ENDED, &parameters)).await?;
        Ok(if rows.is_empty() {
            Ended::Refused
        } else {
            Ended::Stored
        })
    }
}
