//! Which workers there are, and how many jobs wait: for people. Jobs do not depend on it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::types::ToSql;

use super::WHAT as JOBS;
use crate::ClusterError;
use crate::database::{Database, column, number};
use crate::hosts::uninitialised;
use crate::link::Call;

/// A worker that has not beaten for this long is taken for lost, as its jobs are.
pub const WORKER_LOST: Duration = Duration::from_secs(5);

/// After this time without a beat the row of a worker is removed.
pub const KEEP_WORKERS: Duration = Duration::from_secs(24 * 60 * 60);

const WHAT: &str = "a worker's row";

/// What a worker says of itself with each beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRow {
    /// Its name, which no other worker has.
    pub id: String,
    /// Its version of agentry.
    pub version: String,
    /// The types of task that it runs, by name.
    pub kinds: BTreeMap<String, Room>,
}

/// How many tasks of a type a worker runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// At most, at the same time.
    pub most: u32,
    /// Now.
    pub running: u32,
}

/// A worker, and for how long it has not beaten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSeen {
    /// What it said last of itself.
    pub row: WorkerRow,
    /// For how long it has not beaten, by the database's clock.
    pub silent: Duration,
}

/// The jobs of a type that have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCount {
    /// No worker has taken them.
    pub waiting: u64,
    /// Workers run them.
    pub taken: u64,
}

const BEAT: &str = "insert into agentry.worker (id, version, kinds, most, running, seen) \
     values ($1, $2, $3, $4, $5, clock_timestamp()) \
     on conflict (id) do update set version = excluded.version, kinds = excluded.kinds, \
     most = excluded.most, running = excluded.running, seen = excluded.seen";

const LIST: &str = "select id, version, kinds, most, running, \
         greatest(0, extract(epoch from clock_timestamp() - seen))::float8 \
     from agentry.worker order by id";

const COUNT: &str = "select kind, count(*) filter (where state = 'waiting'), \
         count(*) filter (where state = 'taken') \
     from agentry.job where state in ('waiting', 'taken') group by kind order by kind";

impl Database {
    /// Says that a worker is there.
    ///
    /// # Errors
    /// It is not known to be written. Jobs do not depend on it.
    pub async fn beat_worker(&self, row: &WorkerRow) -> Result<(), ClusterError> {
        let kinds: Vec<&str> = row.kinds.keys().map(String::as_str).collect();
        let column = |of: fn(&Room) -> u32| {
            let all = row.kinds.values().map(|room| number(WHAT, of(room)));
            all.collect::<Result<Vec<i32>, ClusterError>>()
        };
        let (most, running) = (column(|room| room.most)?, column(|room| room.running)?);
        let parameters: [&(dyn ToSql + Sync); 5] = [&row.id, &row.version, &kinds, &most, &running];
        let call = Call::write("beating as a worker", self.limits().call);
        let rows = self.bulk().await.query(call, (BEAT, &parameters)).await;
        rows.map(|_| ())
    }

    /// Removes the row of a worker that ends, and those of workers that have not beaten for longer than
    /// `after`.
    ///
    /// # Errors
    /// They are not known to be removed.
    pub async fn remove_worker(&self, id: &str, after: Duration) -> Result<(), ClusterError> {
        let call = Call::write("removing workers", self.limits().call);
        let sql = "delete from agentry.worker \
             where id = $1 or seen < clock_timestamp() - make_interval(secs => $2)";
        let parameters: [&(dyn ToSql + Sync); 2] = [&id, &after.as_secs_f64()];
        let rows = self.bulk().await.query(call, (sql, &parameters)).await;
        rows.map(|_| ())
    }

    /// All workers that have a row, by name, and by type the jobs that have not ended.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn workers(
        &self,
    ) -> Result<(Vec<WorkerSeen>, BTreeMap<String, JobCount>), ClusterError> {
        let call = Call::read("reading the list of workers", self.limits().call);
        let statements = [(LIST, &[][..]), (COUNT, &[])];
        let answers = self.bulk().await.pipeline(call, &statements).await;
        let answers = answers.map_err(uninitialised)?;
        let worker = |row| {
            let kinds: Vec<String> = column(Some(row), 2, WHAT)?;
            let (most, running): (Vec<i32>, Vec<i32>) =
                (column(Some(row), 3, WHAT)?, column(Some(row), 4, WHAT)?);
            let rooms = most.into_iter().zip(running).map(|(most, running)| {
                Ok(Room {
                    most: number(WHAT, most)?,
                    running: number(WHAT, running)?,
                })
            });
            let rooms: Vec<_> = rooms.collect::<Result<_, ClusterError>>()?;
            let silent: f64 = column(Some(row), 5, WHAT)?;
            Ok(WorkerSeen {
                row: WorkerRow {
                    id: column(Some(row), 0, WHAT)?,
                    version: column(Some(row), 1, WHAT)?,
                    kinds: kinds.into_iter().zip(rooms).collect(),
                },
                silent: Duration::try_from_secs_f64(silent).unwrap_or_default(),
            })
        };
        let count = |row| {
            let count = JobCount {
                waiting: number(JOBS, column::<i64>(Some(row), 1, JOBS)?)?,
                taken: number(JOBS, column::<i64>(Some(row), 2, JOBS)?)?,
            };
            Ok((column(Some(row), 0, JOBS)?, count))
        };
        let of = |at: usize| answers.get(at).into_iter().flatten();
        Ok((
            of(0).map(worker).collect::<Result<_, ClusterError>>()?,
            of(1).map(count).collect::<Result<_, ClusterError>>()?,
        ))
    }
}
