//! Keeps the logs short: now and then the owner of a shard puts a copy of its tables into the database,
//! and deletes the records that are older than the copy before.

use std::time::Duration;

use agentry_cluster::{ClusterError, Database};
use agentry_core::cluster::{Epoch, ShardId};
use agentry_store::{Store, StoreError};

use super::temporary::Temporary;

/// How often an owner looks whether the log has grown enough.
const LOOK: Duration = Duration::from_secs(10);

/// Why a snapshot was not made.
#[derive(Debug, thiserror::Error)]
enum SnapshotError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a snapshot whenever the log of a shard has so many records more than the last one, until this
/// is dropped.
pub(super) async fn keep(
    database: Database,
    shard: ShardId,
    epoch: Epoch,
    store: Store,
    every: u64,
) {
    let mut last = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let at = store.position().borrow().0;
        if last.is_some_and(|last| at < last + every) {
            continue;
        }
        match look(&database, (shard, epoch), &store, every).await {
            Ok(newest) => last = Some(newest),
            // The next look tries again.
            Err(error) => {
                tracing::warn!(shard.id = shard.0, %error, "no snapshot of a shard was made");
            }
        }
    }
}

/// Makes a snapshot if one is due. Returns the place of the newest.
async fn look(
    database: &Database,
    (shard, epoch): (ShardId, Epoch),
    store: &Store,
    every: u64,
) -> Result<u64, SnapshotError> {
    let newest = database.newest_snapshot(shard).await?;
    let newest = newest.map_or(0, |newest| newest.at);
    if store.position().borrow().0 < newest + every {
        return Ok(newest);
    }
    let file = Temporary::beside(store.path(), ".snapshot");
    let mark = store.snapshot(&file.0).await?;
    if !database
        .put_snapshot(shard, epoch, mark.at.0, &file.0)
        .await?
    {
        // Another host owns the shard now.
        return Ok(newest);
    }
    let trimmed = database.trim(shard, epoch).await?;
    tracing::info!(
        shard.id = shard.0,
        record = mark.at.0,
        trimmed,
        "put a snapshot of a shard into the database"
    );
    Ok(mark.at.0)
}
