//! Moving the agents of a single machine into a cluster, and back.
//!
//! Whoever moves them makes marks on both sides, in an order in which at most one side may act at any
//! time, however often the move is interrupted. Into a cluster: the cluster is marked as being filled
//! (no host claims a shard), the shards get their tables, the store is marked as moved, and the cluster
//! is opened. Out of it: the new store is marked as not complete, the cluster is closed for good in the
//! same transaction that finds every shard as it was read, and the store's mark goes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use agentry_core::cluster::{Epoch, Incarnation, ShardId};
use tokio_postgres::types::ToSql;

use crate::ClusterError;
use crate::database::{Database, column, integer, number};
use crate::hosts::uninitialised;
use crate::link::Call;
use crate::schema::Layout;

/// Why no host runs in a cluster, although it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moving {
    /// It is being filled from a store, by this attempt.
    Importing(Incarnation),
    /// Its agents were moved to a single machine, by this attempt.
    Exported(Incarnation),
}

impl fmt::Display for Moving {
    /// As it is stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Importing(attempt) => write!(f, "importing {attempt}"),
            Self::Exported(attempt) => write!(f, "exported {attempt}"),
        }
    }
}

impl FromStr for Moving {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "it is no mark of a move";
        let (word, attempt) = text.split_once(' ').ok_or(WRONG)?;
        let attempt = attempt.parse().map_err(|_| WRONG)?;
        match word {
            "importing" => Ok(Self::Importing(attempt)),
            "exported" => Ok(Self::Exported(attempt)),
            _ => Err(WRONG),
        }
    }
}

/// A shard that no host owns, and that none has owned since it got this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// The shard.
    pub shard: ShardId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The place of the last record of its log. All records are durable.
    pub head: u64,
}

/// What a script raises if the cluster is not as it has to be.
const CHANGED: &str = "AG001";

/// Begins to fill a cluster. A host that passes this point has not claimed a shard yet, and its claim
/// names an epoch that is not the last one any more.
const BEGIN_IMPORT: &str = "do $$ declare changed integer; begin \
         lock table agentry.cluster in share row exclusive mode; \
         update agentry.shard set epoch = epoch + 1, head = 0 where owner is null and (head = 0 \
             or exists (select from agentry.cluster where moving like 'importing %')); \
         get diagnostics changed = row_count; \
         if changed <> (select shards from agentry.cluster) \
             or exists (select from agentry.cluster where moving like 'exported %') \
             then raise exception 'it is in use' using errcode = 'AG001'; end if; \
         delete from agentry.snapshot; delete from agentry.job; delete from agentry.call; \
         update agentry.cluster set moving = '{moving}'; \
     end $$";

const END_IMPORT: &str = "do $$ begin \
         lock table agentry.cluster in share row exclusive mode; \
         if (select count(*) from agentry.shard where head = 1 and owner is null) \
             <> (select shards from agentry.cluster) \
             then raise exception 'a shard lacks its tables' using errcode = 'AG001'; end if; \
         update agentry.cluster set moving = null where moving = '{moving}'; \
         if not found then raise exception 'it is filled by another' using errcode = 'AG001'; \
             end if; \
     end $$";

/// Closes a cluster if every shard is as it was read, and raises every epoch: a claim that is under way
/// fails.
const END_EXPORT: &str = "do $$ declare changed integer; begin \
         lock table agentry.cluster in share row exclusive mode; \
         update agentry.shard s set epoch = s.epoch + 1, owner = null \
             from (values {shards}) as v (id, epoch, head) \
             where s.id = v.id and s.epoch = v.epoch and s.head = v.head and s.owner is null; \
         get diagnostics changed = row_count; \
         if changed <> (select shards from agentry.cluster) \
             or exists (select from agentry.cluster where moving is not null) \
             then raise exception 'it has changed' using errcode = 'AG001'; end if; \
         delete from agentry.job; delete from agentry.call; \
         update agentry.cluster set moving = '{moving}'; \
     end $$";

const FENCE: &str = "update agentry.shard set epoch = epoch + 1, owner = null \
     where exists (select from agentry.cluster where moving is null) returning id, epoch, head";

const PLACE: &str = "update agentry.shard set head = $3 \
     where id = $1 and epoch = $2 and head in (0, $3) and owner is null returning 1";

impl Layout {
    /// Whether hosts may run in the cluster.
    ///
    /// # Errors
    /// [`ClusterError::Importing`] and [`ClusterError::Exported`].
    pub const fn check_open(&self) -> Result<(), ClusterError> {
        match self.moving {
            None => Ok(()),
            Some(Moving::Importing(_)) => Err(ClusterError::Importing),
            Some(Moving::Exported(_)) => Err(ClusterError::Exported { id: self.id }),
        }
    }
}

impl Database {
    /// Begins to fill a cluster that no host has used, or one whose filling was interrupted. No host claims
    /// a shard from now on, until [`end_import`](Self::end_import). Returns the epochs under which the
    /// shards are filled: an attempt that begins later has others, and this one stores nothing any more.
    ///
    /// # Errors
    /// [`ClusterError::InUse`], and it is not known to have begun; it may be begun again.
    pub async fn begin_import(
        &self,
        attempt: Incarnation,
    ) -> Result<BTreeMap<ShardId, Epoch>, ClusterError> {
        let moving = Moving::Importing(attempt);
        let script = BEGIN_IMPORT.replace("{moving}", &moving.to_string());
        let call = Call::write("beginning to fill the cluster", self.limits().bulk);
        self.run(call, &script).await?;
        let shards = self.view().await?.shards;
        // If the mark is still ours after they were read, the epochs are, too.
        if self.layout().await?.moving != Some(moving) {
            return Err(ClusterError::InUse);
        }
        Ok(shards.iter().map(|shard| (shard.id, shard.epoch)).collect())
    }

    /// Stores the tables of a shard in the cluster that is being filled, as if they had the record at
    /// `at`.
    ///
    /// # Errors
    /// [`ClusterError::InUse`] if another attempt has begun; they are not known to be stored.
    pub async fn fill(
        &self,
        shard: ShardId,
        epoch: Epoch,
        at: u64,
        tables: &Path,
    ) -> Result<(), ClusterError> {
        if !self.put_snapshot(shard, epoch, at, tables).await? {
            return Err(ClusterError::InUse);
        }
        let (id, epoch) = (i32::from(shard.0), integer("an epoch", epoch.0)?);
        let at = integer("a place", at)?;
        let parameters: [&(dyn ToSql + Sync); 3] = [&id, &epoch, &at];
        let call = Call::write("placing a shard", self.limits().call);
        let rows = self.bulk().await.query(call, (PLACE, &parameters)).await?;
        match rows.is_empty() {
            false => Ok(()),
            true => Err(ClusterError::InUse),
        }
    }

    /// Opens the cluster that this attempt has filled: hosts may run from now on.
    ///
    /// # Errors
    /// [`ClusterError::InUse`] if another one fills it, and it is not known to be open; this may be
    /// called again.
    pub async fn end_import(&self, attempt: Incarnation) -> Result<(), ClusterError> {
        let moving = Moving::Importing(attempt).to_string();
        let script = END_IMPORT.replace("{moving}", &moving);
        let call = Call::write("opening the cluster", self.limits().bulk);
        self.run(call, &script).await
    }

    /// Takes every shard from its owner, and makes what is in the logs durable. Only for a cluster of
    /// which no host runs: one that does loses its shards, and claims them again.
    ///
    /// # Errors
    /// They are not known to be without owners.
    pub async fn fence(&self) -> Result<Vec<Fenced>, ClusterError> {
        const WHAT: &str = "a shard's row";
        let call = Call::write("taking the shards from their owners", self.limits().call);
        let rows = self.claims().await.query(call, (FENCE, &[])).await;
        let fenced = rows.map_err(uninitialised)?;
        let fenced = fenced.iter().map(|row| {
            let row = Some(row);
            Ok(Fenced {
                shard: ShardId(number(WHAT, column::<i32>(row, 0, WHAT)?)?),
                epoch: Epoch(number(WHAT, column::<i64>(row, 1, WHAT)?)?),
                head: number(WHAT, column::<i64>(row, 2, WHAT)?)?,
            })
        });
        let mut fenced: Vec<_> = fenced.collect::<Result<_, ClusterError>>()?;
        fenced.sort_unstable_by_key(|one| one.shard);
        Ok(fenced)
    }

    /// Closes the cluster for good, if every shard is still as [`fence`](Self::fence) left it. No host
    /// runs in it any more.
    ///
    /// # Errors
    /// [`ClusterError::InUse`] if it has changed, and it is not known to be closed.
    pub async fn end_export(
        &self,
        attempt: Incarnation,
        fenced: &[Fenced],
    ) -> Result<(), ClusterError> {
        let shards: Vec<_> = fenced
            .iter()
            .map(|one| {
                format!(
                    "({}, {}::bigint, {}::bigint)",
                    one.shard, one.epoch, one.head
                )
            })
            .collect();
        let script = END_EXPORT
            .replace("{shards}", &shards.join(", "))
            .replace("{moving}", &Moving::Exported(attempt).to_string());
        let call = Call::write("closing the cluster", self.limits().bulk);
        self.run(call, &script).await
    }

    async fn run(&self, call: Call, script: &str) -> Result<(), ClusterError> {
        let done = self.bulk().await.script(call, script).await;
        done.map_err(|error| match error.code() {
            Some(CHANGED) => ClusterError::InUse,
            _ => uninitialised(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let attempt = Incarnation([0xab; 16]);
        for moving in [Moving::Importing(attempt), Moving::Exported(attempt)] {
            assert_eq!(moving.to_string().parse(), Ok(moving));
        }
        for wrong in ["", "importing", "importing 1", "gone 00"] {
            assert!(wrong.parse::<Moving>().is_err(), "{wrong}");
        }
    }
}
