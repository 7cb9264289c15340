//! Who owns a shard.

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

/// Raises the format to the claimant's; a claimant that does not know it is refused.
const CLAIM: &str = "update agentry.shard set owner = $1, epoch = epoch + 1, \
     format = greatest(format, $4) where id = $2 and epoch = $3 and format <= $4 \
     returning epoch, head";

const RELEASE: &str =
    "update agentry.shard set owner = null where id = $1 and epoch = $2 returning 1";

impl Database {
    /// Claims a shard, if its epoch is still `seen`. `format` is the highest format of records that we
    /// read and write. `None` if another host was faster, or if the shard's log has a later format.
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
}
