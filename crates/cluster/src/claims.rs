//! Who owns a shard, and whether anybody may.

use agentry_core::cluster::{Epoch, Incarnation, ShardId};
use tokio_postgres::types::ToSql;

use crate::ClusterError;
use crate::database::{Database, column, integer, number};
use crate::link::Call;

/// A claim that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Under which epoch the claimant appends.
    pub epoch: Epoch,
    /// The place of the last record of the log. Every record up to there is durable, and no older
    /// epoch adds another one.
    pub head: u64,
}

/// Raises the format to the claimant's; a claimant that does not know it is refused. So is everybody while
/// the shard is halted, or the cluster's agents are being moved.
const CLAIM: &str = "update agentry.shard set owner = $1, epoch = epoch + 1, \
     format = greatest(format, $4) where id = $2 and epoch = $3 and format <= $4 and halted is null \
     and exists (select from agentry.cluster where moving is null) \
     returning epoch, head";

/// Tells the other hosts at once: its agents are silent until one of them claims it.
const RELEASE: &str = "with released as (update agentry.shard set owner = null \
         where id = $1 and epoch = $2 returning 1) \
     select pg_notify('agentry_released', '') from released";

/// The first reason stays.
const HALT: &str =
    "update agentry.shard set halted = coalesce(halted, $2) where id = $1 returning 1";

const RESUME: &str =
    "update agentry.shard set halted = null where id = $1 and halted is not null returning 1";

/// The longest reason that is kept, in characters.
const LONGEST_REASON: usize = 500;

impl Database {
    /// Claims a shard, if its epoch is still `seen`. `format` is the highest format of records that we
    /// read and write. `None` if another host was faster, if the shard is halted, or if its log has a
    /// later format.
    ///
    /// # Errors
    /// After an unknown outcome the shard may be ours: the next beat shows it.
    pub async fn claim(
        &self,
        shard: ShardId,
        seen: Epoch,
        me: Incarnation,
        format: u32,
    ) -> Result<Option<Claim>, ClusterError> {
        const WHAT: &str = "the answer to a claim";
        let (id, seen) = (i32::from(shard.0), integer("an epoch", seen.0)?);
        let format: i32 = number("the format of records", format)?;
        let parameters: [&(dyn ToSql + Sync); 4] = [&me.to_string(), &id, &seen, &format];
        let call = Call::write("claiming a shard", self.limits().call);
        let rows = self
            .claims()
            .await
            .query(call, (CLAIM, &parameters))
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some(Claim {
            epoch: Epoch(number(WHAT, column::<i64>(Some(row), 0, WHAT)?)?),
            head: number(WHAT, column::<i64>(Some(row), 1, WHAT)?)?,
        }))
    }

    /// Releases a shard, if it still has the epoch of our claim. Returns whether it had.
    ///
    /// # Errors
    /// After an unknown outcome the next beat shows whether it was released.
    pub async fn release(&self, shard: ShardId, epoch: Epoch) -> Result<bool, ClusterError> {
        let (id, epoch) = (i32::from(shard.0), integer("an epoch", epoch.0)?);
        let call = Call::write("releasing a shard", self.limits().call);
        let rows = self
            .claims()
            .await
            .query(call, (RELEASE, &[&id, &epoch]))
            .await?;
        Ok(!rows.is_empty())
    }

    /// Notes that nobody may run a shard until an operator has [decided](Self::resume_shard): a host has
    /// records that the shard's log lacks, so the database has lost what it acknowledged.
    ///
    /// # Errors
    /// It is not known to be written.
    pub async fn halt_shard(&self, shard: ShardId, reason: &str) -> Result<(), ClusterError> {
        let reason: String = reason.chars().take(LONGEST_REASON).collect();
        let call = Call::write("halting a shard", self.limits().call);
        let parameters: [&(dyn ToSql + Sync); 2] = [&i32::from(shard.0), &reason];
        let rows = self.claims().await.query(call, (HALT, &parameters)).await;
        rows.map(|_| ())
    }

    /// Lets hosts run a halted shard again, with the log as it is. Those that have other records discard
    /// them. Returns whether it was halted.
    ///
    /// # Errors
    /// It is not known to be written.
    pub async fn resume_shard(&self, shard: ShardId) -> Result<bool, ClusterError> {
        let call = Call::write("resuming a shard", self.limits().call);
        let parameters: [&(dyn ToSql + Sync); 1] = [&i32::from(shard.0)];
        let rows = self
            .claims()
            .await
            .query(call, (RESUME, &parameters))
            .await?;
        Ok(!rows.is_empty())
    }
}
