//! From the shards of a cluster into a new store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agentry_chain::Cursor;
use agentry_cluster::{Database, Fenced, Moving, random_id};
use agentry_core::cluster::{Incarnation, ShardId};
use agentry_store::check::{Depth, check};
use agentry_store::{
    Moved, Part, StoreError, arrived, merge, moved, open_for_a_look, place, read, rewind,
};
use serde::Serialize;

use super::{CHECKED, MoveError, check_chain, check_quiet};
use crate::config::Config;
use crate::runtime::clock::Clock;
use crate::runtime::cluster::copy;
use crate::runtime::cluster::temporary::Temporary;

/// How long the reading of one shard's log may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What was moved out of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The cluster.
    pub id: Incarnation,
    /// The store.
    pub store: PathBuf,
    /// How many agents there are, those of former times included.
    pub agents: u64,
}

/// A shard, as it was read.
struct Read {
    file: Temporary,
    shard: ShardId,
    cursor: Option<Cursor>,
    has_agents: bool,
    genesis: Option<String>,
}

/// Moves the agents of a cluster whose hosts are stopped into a new store at the configured path.
///
/// # Errors
/// [`MoveError`]. Unless it is [unknown](agentry_cluster::ClusterError::is_unknown) what the database has done last, the
/// cluster is still what counts; the same call begins again, or finishes.
pub async fn export(config: &Config, database: &Database) -> Result<Exported, MoveError> {
    let layout = database.layout().await?;
    let path = &config.store.path;
    if path.exists() {
        match moved(path)? {
            Some(Moved::Arriving { cluster, attempt }) if cluster == layout.id => {
                if layout.moving == Some(Moving::Exported(attempt)) {
                    return finish(path, layout.id);
                }
                // An attempt that did not come to its end: the cluster may have acted since.
                remove(path)?;
            }
            _ => return Err(MoveError::Exists { path: path.clone() }),
        }
    }
    layout.check_open()?;
    check_quiet(database).await?;
    let fenced = database.fence().await?;
    let attempt = random_id()?;
    let made = Temporary::beside(path, ".export");
    collect(
        config,
        database,
        &fenced,
        &made.0,
        Moved::Arriving {
            cluster: layout.id,
            attempt,
        },
    )
    .await?;
    // From here on there is a store, which no runtime opens.
    place::publish(&made.0, path)?;
    if let Err(error) = database.end_export(attempt, &fenced).await {
        let closed = Some(Moving::Exported(attempt));
        let now = database.layout().await.map(|layout| layout.moving);
        if now.as_ref().ok() != Some(&closed) {
            // If that is unknown, the store stays until the next attempt.
            if now.is_ok() {
                remove(path)?;
            }
            return Err(error.into());
        }
    }
    finish(path, layout.id)
}

/// The cluster is closed: the store is the one that counts.
fn finish(path: &Path, id: Incarnation) -> Result<Exported, MoveError> {
    arrived(path)?;
    let agents = read::agents(&open_for_a_look(path)?)?.len() as u64;
    Ok(Exported {
        id,
        store: path.to_owned(),
        agents,
    })
}

/// Removes a store that no runtime has opened.
fn remove(path: &Path) -> Result<(), MoveError> {
    std::fs::remove_file(path).map_err(|source| {
        let path = path.to_owned();
        StoreError::Io { path, source }.into()
    })
}

/// Reads all shards, and merges them.
async fn collect(
    config: &Config,
    database: &Database,
    fenced: &[Fenced],
    made: &Path,
    mark: Moved,
) -> Result<(), MoveError> {
    let mut all = Vec::new();
    // A shard without records was never run.
    for one in fenced.iter().filter(|one| one.head > 0) {
        all.push(read_shard(config, database, one).await?);
        tracing::info!(
            shard.id = one.shard.0,
            records = one.head,
            "a shard was read"
        );
    }
    let now = Clock::default().now();
    let made = made.to_owned();
    let merged = tokio::task::spawn_blocking(move || {
        // One that has no agents and has read nothing has nothing to say.
        let lacking = |read: &Read| read.cursor.is_none();
        if let Some(unread) = all.iter().find(|read| lacking(read) && read.has_agents) {
            let shard = unread.shard;
            return Err(MoveError::Unread { shard });
        }
        let all: Vec<_> = all.into_iter().filter(|read| !lacking(read)).collect();
        let genesis = all.first().and_then(|read| read.genesis.clone());
        if all.iter().any(|read| read.genesis != genesis) {
            return Err(MoveError::Chains);
        }
        let cursors: Vec<_> = all.iter().filter_map(|read| read.cursor.clone()).collect();
        let together = Cursor::together(&cursors).map_err(|why| MoveError::Apart { why })?;
        let (base, cursor) = together.unzip();
        let height = cursor.as_ref().and_then(Cursor::height);
        let cursor = cursor.map(serde_json::to_value);
        let cursor = cursor.transpose().map_err(|error| MoveError::Position {
            shard: ShardId(0),
            why: error.to_string(),
        })?;
        for read in &all {
            let further = read.cursor.as_ref().and_then(Cursor::height) > height;
            if let (true, Some(cursor)) = (further, &cursor) {
                rewind(&read.file.0, height, cursor, now)?;
            }
        }
        let parts: Vec<_> = all
            .iter()
            .map(|read| Part {
                shard: read.shard,
                path: read.file.0.clone(),
            })
            .collect();
        merge(&parts, base.unwrap_or(0), cursor.as_ref(), &made, &mark)?;
        let reader = open_for_a_look(&made)?;
        check(&reader, &made, Depth::All, CHECKED)?;
        Ok(())
    });
    merged.await.map_err(|_| StoreError::Closed)?
}

/// The tables of a shard at the end of its log, in a file that no process has open.
async fn read_shard(config: &Config, database: &Database, one: &Fenced) -> Result<Read, MoveError> {
    let (shard, head) = (one.shard, one.head);
    let suffix = format!(".export-{:02}", shard.0);
    let file = Temporary::beside(&config.store.path, &suffix);
    let store = copy::follow(database, shard, file.0.clone()).await?;
    let mut position = store.position();
    let level = position.wait_for(|position| position.0 >= head);
    match tokio::time::timeout(PATIENCE, level).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return Err(StoreError::Closed.into()),
        Err(_) => {
            let limit = PATIENCE;
            return Err(MoveError::Late { shard, head, limit });
        }
    }
    drop(position);
    // Reading it has the tables written.
    store.read(|_| Ok(())).await?;
    let closed = tokio::task::spawn_blocking(move || drop(store)).await;
    closed.map_err(|_| StoreError::Closed)?;
    let reader = open_for_a_look(&file.0)?;
    let chain = config.chain.id.as_str();
    let identity = check_chain(&reader, || format!("shard {shard}"), chain)?;
    let cursor = identity.cursor.as_deref().map(serde_json::from_str);
    let cursor: Option<Cursor> = cursor.transpose().map_err(|error| {
        let why = error.to_string();
        MoveError::Position { shard, why }
    })?;
    Ok(Read {
        cursor,
        has_agents: !read::agents(&reader)?.is_empty(),
        genesis: identity.genesis,
        shard,
        file,
    })
}
