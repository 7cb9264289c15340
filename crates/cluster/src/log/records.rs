//! The statements on the records of a shard.

use std::time::Duration;

use agentry_core::cluster::{Epoch, ShardId};
use agentry_store::{Mark, Position};
use tokio_postgres::types::ToSql;

use crate::database::{column, integer, number};
use crate::hosts::uninitialised;
use crate::link::{Call, Link};
use crate::quiet::Quiet;
use crate::{ClusterError, Settings};

/// A record is appended only after the last one, and only under the last epoch. This is one statement
/// and never a part of a transaction, so that a host that is frozen holds no lock for longer than the
/// server takes.
const APPEND: &str = "with s as (update agentry.shard set head = head + 1 \
         where id = $1 and epoch = $2 and head = $3::bigint - 1 returning head) \
     insert into agentry.log (shard, seq, epoch, body) select $1, s.head, $2, $4::text from s \
     returning seq";

/// Writes to the shard's row without changing it. Reads the row's epoch, and the begin of a record.
const BARRIER: &str = "with s as (update agentry.shard set head = head \
         where id = $1 and epoch = $2 returning head) \
     select (select head from s), (select epoch from agentry.shard where id = $1), \
         (select left(body, 100) from agentry.log where shard = $1 and seq = $3)";

/// About as many bytes as are asked for, but one record at least. The sizes are known without the
/// bodies, and so is how many records are looked at.
const READ: &str = "select s.head, l.seq, l.body from agentry.shard s left join lateral ( \
         select seq, body from ( \
             select seq, body, \
                 sum(octet_length(body)) over (order by seq) - octet_length(body) as before \
             from agentry.log where shard = $1 and seq > $2 order by seq limit 512) t \
         where before < $3) l on true \
     where s.id = $1 order by l.seq";

/// Writes, and changes nothing: see [`Records::prove`].
const PROOF: &str = "select pg_logical_emit_message(true, 'agentry', '')";

const MARK: &str = "select s.head, left(l.body, 100) from agentry.shard s \
     left join agentry.log l on l.shard = s.id and l.seq = $2 where s.id = $1";

/// The most bytes that are read at once, but for a single record.
const MOST_BYTES: usize = 16 << 20;

/// How fast a record is sent at least, in bytes a second: a slow link between two data centres.
const SPEED: usize = 4 << 20;

const WHAT: &str = "the log's table";

/// What a barrier has shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Barrier {
    /// The epoch is the last one. Everything up to the head is durable.
    Ours {
        /// The place of the last record.
        head: Position,
        /// The mark of the record that was asked for, if it is there.
        mark: Option<Mark>,
    },
    /// Another epoch is the last one on this server.
    Theirs {
        /// That epoch.
        epoch: Epoch,
    },
}

/// The records of a shard.
#[derive(Debug)]
pub(super) struct Records {
    shard: ShardId,
    limit: Duration,
    link: Link,
}

impl Records {
    pub(super) fn new(settings: &Settings, shard: ShardId) -> Self {
        Self {
            shard,
            limit: settings.limits().call,
            link: Link::new(settings, &format!("log {shard}")),
        }
    }

    /// How many connections were made.
    pub(super) const fn connections(&self) -> u64 {
        self.link.connections()
    }

    /// Uses another server next, if there is one.
    pub(super) fn avoid(&mut self) {
        self.link.avoid();
    }

    /// Appends a record. `false` if the epoch is not the last one, or the place not the next one.
    ///
    /// # Errors
    /// After an unknown outcome the record may be there, now or later.
    pub(super) async fn append(
        &mut self,
        epoch: Epoch,
        at: Position,
        text: &str,
    ) -> Result<bool, ClusterError> {
        let (epoch, seq) = (integer("an epoch", epoch.0)?, integer("a place", at.0)?);
        let limit = self.limit + Duration::from_secs((text.len() / SPEED) as u64);
        let parameters: [&(dyn ToSql + Sync); 4] = [&self.id(), &epoch, &seq, &Quiet(text)];
        let call = Call::write("appending to the log", limit);
        let rows = self.link.query(call, (APPEND, &parameters)).await?;
        Ok(!rows.is_empty())
    }

    /// Has the server know the statement of appends, so that the first one takes one round trip.
    ///
    /// # Errors
    /// It does not know it.
    pub(super) async fn prepare(&mut self) -> Result<(), ClusterError> {
        let call = Call::read("preparing to append", self.limit);
        self.link.prepare(call, APPEND).await
    }

    /// Proves that what was read with it is durable, by a write.
    ///
    /// # Errors
    /// It is not known whether it is durable.
    pub(super) async fn barrier(
        &mut self,
        epoch: Epoch,
        at: Position,
    ) -> Result<Barrier, ClusterError> {
        let (epoch, seq) = (integer("an epoch", epoch.0)?, integer("a place", at.0)?);
        let call = Call::write("finding out what is in the log", self.limit);
        let parameters: [&(dyn ToSql + Sync); 3] = [&self.id(), &epoch, &seq];
        let rows = self.link.query(call, (BARRIER, &parameters)).await;
        let rows = rows.map_err(uninitialised)?;
        if let Some(head) = column::<Option<i64>>(rows.first(), 0, WHAT)? {
            return Ok(Barrier::Ours {
                head: Position(number(WHAT, head)?),
                mark: mark(at, column(rows.first(), 2, WHAT)?)?,
            });
        }
        let epoch: Option<i64> = column(rows.first(), 1, WHAT)?;
        let epoch = epoch.ok_or_else(|| self.unknown())?;
        Ok(Barrier::Theirs {
            epoch: Epoch(number(WHAT, epoch)?),
        })
    }

    /// The place of the last record, and the texts of those after a place.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) async fn read(
        &mut self,
        after: Position,
        bytes: usize,
    ) -> Result<(Position, Vec<(Position, String)>), ClusterError> {
        let bytes = bytes.clamp(1, MOST_BYTES) as i64;
        let after = integer("a place", after.0.min(i64::MAX as u64))?;
        let call = Call::read("reading the log", self.limit * 2);
        let rows = self
            .link
            .query(call, (READ, &[&self.id(), &after, &bytes]))
            .await;
        let rows = rows.map_err(uninitialised)?;
        let first = rows.first().ok_or_else(|| self.unknown())?;
        let head = Position(number(WHAT, column::<i64>(Some(first), 0, WHAT)?)?);
        let mut texts = Vec::with_capacity(rows.len());
        for row in &rows {
            if let Some(seq) = column::<Option<i64>>(Some(row), 1, WHAT)? {
                texts.push((Position(number(WHAT, seq)?), column(Some(row), 2, WHAT)?));
            }
        }
        Ok((head, texts))
    }

    /// Proves that everything that was read over this connection is durable, by a write that has to reach
    /// the standby after it.
    ///
    /// # Errors
    /// It is not known whether it is durable.
    pub(super) async fn prove(&mut self) -> Result<(), ClusterError> {
        let call = Call::write("finding out whether the log is on the standby", self.limit);
        self.link.query(call, (PROOF, &[])).await.map(|_| ())
    }

    /// The place of the last record, and the mark of the one at a place.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn mark(
        &mut self,
        at: Position,
    ) -> Result<(Position, Option<Mark>), ClusterError> {
        let seq = integer("a place", at.0)?;
        let call = Call::read("comparing with the log", self.limit);
        let rows = self.link.query(call, (MARK, &[&self.id(), &seq])).await;
        let rows = rows.map_err(uninitialised)?;
        let row = rows.first().ok_or_else(|| self.unknown())?;
        let head = number(WHAT, column::<i64>(Some(row), 0, WHAT)?)?;
        Ok((Position(head), mark(at, column(Some(row), 1, WHAT)?)?))
    }

    fn id(&self) -> i32 {
        i32::from(self.shard.0)
    }

    fn unknown(&self) -> ClusterError {
        ClusterError::damaged(
            "the table of shards",
            &format!("there is no shard {}", self.shard),
        )
    }
}

/// The mark of a record, from the begin of its text.
fn mark(at: Position, begin: Option<&str>) -> Result<Option<Mark>, ClusterError> {
    let mark = begin.map(|begin| Mark::of(at, begin)).transpose();
    mark.map_err(|error| ClusterError::damaged(WHAT, &error))
}
