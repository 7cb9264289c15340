//! From the store of a single machine into an empty cluster.

use agentry_cluster::{Database, Moving, random_id};
use agentry_core::cluster::{Incarnation, ShardId};
use agentry_protocol::ContentHash;
use agentry_store::{Moved, Store, StoreError, moved, open_for_a_look};
use serde::Serialize;

use super::{CHECKED, MoveError, check_chain, check_quiet};
use crate::config::Config;
use crate::runtime::cluster::copy;
use crate::runtime::cluster::temporary::Temporary;

/// What was moved into a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The cluster.
    pub id: Incarnation,
    /// The number of its shards.
    pub shards: u16,
    /// How many agents there are, those of former times included.
    pub agents: u64,
}

/// Moves the agents of the configured store into a cluster that was created and never used.
///
/// # Errors
/// [`MoveError`]. Unless it is [unknown](agentry_cluster::ClusterError::is_unknown) what the database
/// has done last, the store is still the one that counts; the same call goes on from where it ended.
pub async fn import(config: &Config, database: &Database) -> Result<Imported, MoveError> {
    let layout = database.layout().await?;
    let path = &config.store.path;
    let chain = config.chain.id.as_str();
    let agents = {
        let reader = open_for_a_look(path)?;
        check_chain(&reader, || path.display().to_string(), chain)?;
        agentry_store::read::agents(&reader)?.len() as u64
    };
    let imported = Imported {
        id: layout.id,
        shards: layout.shards.get(),
        agents,
    };
    match moved(path)? {
        None => {}
        Some(Moved::Away { cluster, .. }) if cluster != layout.id => {
            let path = path.clone();
            return Err(MoveError::OtherCluster { path, cluster });
        }
        // Everything is there.
        Some(Moved::Away { attempt, .. }) => {
            return match layout.moving {
                None => Ok(imported),
                Some(Moving::Importing(of)) if of == attempt => {
                    open(database, attempt).await?;
                    Ok(imported)
                }
                Some(Moving::Importing(_)) => Err(agentry_cluster::ClusterError::InUse.into()),
                Some(Moving::Exported(_)) => {
                    Err(agentry_cluster::ClusterError::Exported { id: layout.id }.into())
                }
            };
        }
        Some(Moved::Arriving { cluster, .. }) => {
            let path = path.clone();
            return Err(StoreError::Arriving { path, cluster }.into());
        }
    }
    match layout.moving {
        Some(Moving::Exported(_)) => layout.check_open()?,
        Some(Moving::Importing(_)) => {}
        None => {
            let view = database.view().await?;
            let used = view.shards.iter().find(|shard| shard.head > 0);
            if let Some(used) = used {
                return Err(MoveError::NotEmpty { shard: used.id });
            }
        }
    }
    check_quiet(database).await?;
    let all = || (0..layout.shards.get()).map(ShardId);
    let copies = all().map(|shard| copy::path(path, shard));
    if let Some(copy) = copies.into_iter().find(|copy| copy.exists()) {
        let store = path.clone();
        return Err(MoveError::Copies { copy, store });
    }
    let opened = path.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open_checked(&opened, CHECKED));
    let (store, _) = opened.await.map_err(|_| StoreError::Closed)??;
    let attempt = random_id()?;
    let epochs = database.begin_import(attempt).await?;
    for (shard, epoch) in epochs {
        let file = Temporary::beside(path, ".import");
        let sum = ContentHash::of(format!("agentry import {attempt} of {shard}").as_bytes());
        let mark = store.divide(shard, layout.shards, sum, &file.0).await?;
        database.fill(shard, epoch, mark.at.0, &file.0).await?;
        tracing::info!(shard.id = shard.0, "a shard has its tables");
    }
    // Another attempt may have taken the cluster over.
    if database.layout().await?.moving != Some(Moving::Importing(attempt)) {
        return Err(agentry_cluster::ClusterError::InUse.into());
    }
    let cluster = layout.id;
    store.set_moved(Moved::Away { cluster, attempt }).await?;
    open(database, attempt).await?;
    // Closing writes the tables and their checksums.
    let _ = tokio::task::spawn_blocking(move || drop(store)).await;
    Ok(imported)
}

/// Opens the cluster. After a lost answer it may be open.
async fn open(database: &Database, attempt: Incarnation) -> Result<(), MoveError> {
    let Err(error) = database.end_import(attempt).await else {
        return Ok(());
    };
    match database.layout().await {
        Ok(layout) if layout.moving.is_none() => Ok(()),
        _ => Err(error.into()),
    }
}
