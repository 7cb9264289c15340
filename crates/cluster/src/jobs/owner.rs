//! What the owner of a shard does with its jobs.

use std::time::Duration;

use agentry_core::cluster::{Epoch, ShardId};
use tokio_postgres::types::ToSql;

use super::{JobKey, JobState, MAX_PAYLOAD, WHAT, all_columns, check_size};
use crate::ClusterError;
use crate::database::{Database, column, integer};
use crate::link::Call;
use crate::quiet::Quiet;

/// A job that an owner puts.
#[derive(Clone, Copy, Debug)]
pub struct NewJob<'a> {
    /// The attempt.
    pub key: JobKey,
    /// The type of the task, by which workers choose.
    pub kind: &'a str,
    /// What the worker needs: at most [`MAX_PAYLOAD`](super::MAX_PAYLOAD) bytes.
    pub input: &'a [u8],
}

/// What became of putting a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there now, or was there already.
    There,
    /// The epoch is not the last one: another host owns the shard.
    Fenced,
}

/// A job as its owner sees it. Its result is read by itself: [`Database::job_result`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The attempt.
    pub key: JobKey,
    /// The type of the task.
    pub kind: String,
    /// Its state.
    pub state: JobState,
    /// The worker that runs it, or did.
    pub worker: Option<String>,
    /// What the worker said last of its progress.
    pub progress: Option<String>,
    /// Whether it is to end without a result.
    pub is_cancelled: bool,
}

const PUT: &str = "with s as (select id from agentry.shard where id = $1 and epoch = $2), \
     i as (insert into agentry.job (shard, task, attempt, kind, input) \
         select id, $3, $4, $5, $6 from s on conflict do nothing returning kind), \
     n as (select pg_notify('agentry_job', kind) from i) \
     select (select count(*) from s), (select count(*) from n)";

const LIST: &str = "select shard, task, attempt, kind, state, worker, progress, cancel \
     from agentry.job where shard = any($1) order by shard, task, attempt";

/// A job that waits ends at once. One that runs is ended by its worker, or is interrupted.
const CANCEL: &str = "update agentry.job set cancel = true, \
         state = case when state = 'waiting' then 'cancelled' else state end \
     where shard = $1 and task = $2 and attempt = $3 and state in ('waiting', 'taken') \
     returning state";

/// A worker that was stopped by the same failure as the database must have time to beat again, so a
/// beat counts from the server's start at least.
const INTERRUPT: &str = "with i as (update agentry.job set state = 'interrupted' \
         where state = 'taken' and greatest(beat, pg_postmaster_start_time()) \
             < clock_timestamp() - make_interval(secs => $1) returning shard, task, attempt), \
     n as (select pg_notify('agentry_end', shard::text) from i) \
     select shard, task, attempt, (select count(*) from n) from i";

impl Database {
    /// Puts a job, if it is not there, under the epoch of our claim of its shard.
    ///
    /// # Errors
    /// It is too large, or it is not known to be there.
    pub async fn put_job(&self, epoch: Epoch, job: &NewJob<'_>) -> Result<Put, ClusterError> {
        check_size("the input of a job", job.input.len(), MAX_PAYLOAD)?;
        let (shard, task, attempt) = job.key.columns()?;
        let epoch = integer("an epoch", epoch.0)?;
        let parameters: [&(dyn ToSql + Sync); 6] = [
            &shard,
            &epoch,
            &task,
            &attempt,
            &job.kind,
            &Quiet(job.input),
        ];
        let call = Call::write("putting a job", self.limits().bulk);
        let rows = self.bulk().await.query(call, (PUT, &parameters)).await?;
        Ok(match column::<i64>(rows.first(), 0, WHAT)? {
            0 => Put::Fenced,
            _ => Put::There,
        })
    }

    /// All jobs of some shards, without inputs and results.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn jobs(&self, shards: &[ShardId]) -> Result<Vec<Job>, ClusterError> {
        let shards: Vec<_> = shards.iter().map(|shard| i32::from(shard.0)).collect();
        let call = Call::read("reading the list of jobs", self.limits().bulk);
        let rows = self.bulk().await.query(call, (LIST, &[&shards])).await?;
        let one = |row| {
            Ok(Job {
                key: JobKey::of(row)?,
                kind: column(Some(row), 3, WHAT)?,
                state: JobState::read(column(Some(row), 4, WHAT)?)?,
                worker: column(Some(row), 5, WHAT)?,
                progress: column(Some(row), 6, WHAT)?,
                is_cancelled: column(Some(row), 7, WHAT)?,
            })
        };
        rows.iter().map(one).collect()
    }

    /// The result of a job that ended with one, or with an error.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn job_result(&self, key: JobKey) -> Result<Option<Vec<u8>>, ClusterError> {
        let (shard, task, attempt) = key.columns()?;
        let sql = "select result from agentry.job where shard = $1 and task = $2 and attempt = $3";
        let call = Call::read("reading the result of a job", self.limits().bulk);
        let rows = self
            .bulk()
            .await
            .query(call, (sql, &[&shard, &task, &attempt]))
            .await?;
        match rows.first() {
            Some(row) => column(Some(row), 0, WHAT),
            None => Ok(None),
        }
    }

    /// Cancels a job. Returns its state after that, or `None` if it has ended or is not there. While
    /// it is taken, its worker learns of it at its next beat.
    ///
    /// # Errors
    /// It is not written.
    pub async fn cancel_job(&self, key: JobKey) -> Result<Option<JobState>, ClusterError> {
        let (shard, task, attempt) = key.columns()?;
        let call = Call::write("cancelling a job", self.limits().call);
        let parameters: [&(dyn ToSql + Sync); 3] = [&shard, &task, &attempt];
        let rows = self.bulk().await.query(call, (CANCEL, &parameters)).await?;
        let state = rows
            .first()
            .map(|row| column::<&str>(Some(row), 0, WHAT))
            .transpose()?;
        state.map(JobState::read).transpose()
    }

    /// Interrupts the jobs whose workers have not beaten for longer than `limit`, by the database's
    /// clock. Every host may do this now and then. Nothing is interrupted until this host has had the
    /// database for as long as `limit` without a break: workers may have been cut off for the same
    /// reason, and beat again.
    ///
    /// # Errors
    /// It is not written.
    pub async fn interrupt_lost_jobs(&self, limit: Duration) -> Result<Vec<JobKey>, ClusterError> {
        let mut link = self.bulk().await;
        if self.calm(&link) < limit {
            // Notices a lost connection, so that the time begins again.
            let call = Call::read("reaching the database", self.limits().call);
            return link
                .query(call, ("select 1", &[]))
                .await
                .map(|_| Vec::new());
        }
        let call = Call::write("interrupting the jobs of lost workers", self.limits().call);
        let rows = link
            .query(call, (INTERRUPT, &[&limit.as_secs_f64()]))
            .await?;
        rows.iter().map(JobKey::of).collect()
    }

    /// Deletes jobs that have ended, once the owner's log has what became of them. Others are left
    /// alone. Returns how many were deleted.
    ///
    /// # Errors
    /// They are not known to be deleted.
    pub async fn delete_jobs(&self, keys: &[JobKey]) -> Result<u64, ClusterError> {
        let (shards, tasks, attempts) = all_columns(keys.iter())?;
        let sql = "delete from agentry.job j using unnest($1::int[], $2::bigint[], $3::int[]) \
                 as k (shard, task, attempt) \
             where j.shard = k.shard and j.task = k.task and j.attempt = k.attempt \
             and j.state not in ('waiting', 'taken') returning 1";
        let call = Call::write("deleting jobs", self.limits().call);
        let parameters: [&(dyn ToSql + Sync); 3] = [&shards, &tasks, &attempts];
        let rows = self.bulk().await.query(call, (sql, &parameters)).await?;
        Ok(rows.len() as u64)
    }
}
