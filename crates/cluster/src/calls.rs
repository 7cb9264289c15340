//! Requests that a host passes on to the owner of a shard, and their answers.
//!
//! Hosts need no network between them: a request is a row, which its owner takes, and answers. A row is
//! taken once; one whose owner ends before it has answered has no answer.

use std::time::Duration;

use agentry_core::cluster::{Incarnation, ShardId};

use crate::ClusterError;
use crate::database::{Database, column, number};
use crate::link::Call;
use crate::quiet::Quiet;

/// The largest request, and the largest answer, in bytes.
pub const MAX_CALL: usize = 8 << 20;

/// How many requests a host takes at a time.
const TAKEN: i64 = 16;

/// After this time nobody waits for an answer any more.
const KEEP: Duration = Duration::from_secs(300);

/// A request that this host has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenCall {
    /// Its number.
    pub number: i64,
    /// The shard that it is for.
    pub shard: ShardId,
    /// The request.
    pub request: String,
}

impl Database {
    /// Leaves a request for the owner of a shard. Returns its number.
    ///
    /// # Errors
    /// [`ClusterError::TooLarge`], and the database cannot be reached.
    pub async fn call(&self, shard: ShardId, request: &str) -> Result<i64, ClusterError> {
        check("a request to the owner of a shard", request)?;
        let call = Call::write("passing a request on", self.limits().call);
        let sql = "insert into agentry.call (shard, request) values ($1, $2) returning number";
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
            [&i32::from(shard.0), &Quiet(request)];
        let rows = self.calls().await.query(call, (sql, &parameters)).await?;
        column(rows.first(), 0, "the number of a request")
    }

    /// The answer to a request, once there is one.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn answer(&self, request: i64) -> Result<Option<String>, ClusterError> {
        let call = Call::read("reading the answer to a request", self.limits().call);
        let sql = "select answer from agentry.call where number = $1";
        let rows = self.calls().await.query(call, (sql, &[&request])).await?;
        match rows.first() {
            Some(row) => column(Some(row), 0, "the answer to a request"),
            None => Ok(None),
        }
    }

    /// Removes a request, answered or not.
    ///
    /// # Errors
    /// The database cannot be reached; the request is removed later.
    pub async fn end_call(&self, request: i64) -> Result<(), ClusterError> {
        let call = Call::write("removing a request", self.limits().call);
        let sql = "delete from agentry.call where number = $1";
        let rows = self.calls().await.query(call, (sql, &[&request])).await;
        rows.map(|_| ())
    }

    /// Takes requests for the shards that a process owns.
    ///
    /// # Errors
    /// None is taken, as far as is known.
    pub async fn take_calls(&self, me: Incarnation) -> Result<Vec<TakenCall>, ClusterError> {
        const WHAT: &str = "a request to the owner of a shard";
        let call = Call::write("taking requests", self.limits().call);
        let sql = "update agentry.call set taken = true where number in ( \
                 select number from agentry.call \
                 where not taken and shard in (select id from agentry.shard where owner = $1) \
                 order by number limit $2 for update skip locked) \
             returning number, shard, request";
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&me.to_string(), &TAKEN];
        let rows = self.calls().await.query(call, (sql, &parameters)).await?;
        let taken = rows.iter().map(|row| {
            Ok(TakenCall {
                number: column(Some(row), 0, WHAT)?,
                shard: ShardId(number(WHAT, column::<i32>(Some(row), 1, WHAT)?)?),
                request: column(Some(row), 2, WHAT)?,
            })
        });
        taken.collect()
    }

    /// Answers a request. One that nobody waits for any more is gone.
    ///
    /// # Errors
    /// [`ClusterError::TooLarge`], and the database cannot be reached.
    pub async fn answer_call(&self, request: i64, answer: &str) -> Result<(), ClusterError> {
        check("an answer to another host", answer)?;
        let call = Call::write("answering a request", self.limits().call);
        let sql = "update agentry.call set answer = $2 where number = $1";
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
            [&request, &Quiet(answer)];
        let rows = self.calls().await.query(call, (sql, &parameters)).await;
        rows.map(|_| ())
    }

    /// Removes the requests that nobody waits for any more.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn remove_old_calls(&self) -> Result<(), ClusterError> {
        let call = Call::write("removing old requests", self.limits().call);
        let sql = "delete from agentry.call \
             where made < clock_timestamp() - make_interval(secs => $1)";
        let rows = self
            .calls()
            .await
            .query(call, (sql, &[&KEEP.as_secs_f64()]))
            .await;
        rows.map(|_| ())
    }
}

fn check(what: &'static str, text: &str) -> Result<(), ClusterError> {
    if text.len() <= MAX_CALL {
        return Ok(());
    }
    Err(ClusterError::TooLarge {
        what,
        bytes: text.len() as u64,
        most: MAX_CALL as u64,
    })
}
