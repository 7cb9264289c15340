//! This machine's copy of a shard's tables.
//!
//! A host keeps copies of the shards that it runs or follows. A command that reads a shard brings the
//! copy up to date first, unless a host on this machine does.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentry_cluster::{ClusterError, Database, PgLog};
use agentry_core::cluster::ShardId;
use agentry_protocol::Address;
use agentry_store::{LogError, Store, StoreError, is_locked, place, with_suffix};

use super::temporary::Temporary;
use super::{connect, killable};
use crate::config::{ClusterConfig, Config};
use crate::runtime::control::{Client, ControlError};

/// How long a command waits until its copy has what the log had.
const PATIENCE: Duration = Duration::from_secs(120);

/// The file of a shard's tables, beside the configured store.
pub fn path(store: &Path, shard: ShardId) -> PathBuf {
    with_suffix(store, &format!(".shard-{:02}", shard.0))
}

/// A configuration whose store is this machine's copy of a shard.
pub fn of_shard(config: &Config, shard: ShardId) -> Config {
    let mut of_shard = config.clone();
    of_shard.store.path = path(&config.store.path, shard);
    of_shard
}

/// One of these shards that a process on this machine keeps up to date, if there is one.
pub fn kept(config: &Config, mut shards: impl Iterator<Item = ShardId>) -> Option<ShardId> {
    shards.find(|shard| is_locked(&path(&config.store.path, *shard)).unwrap_or(false))
}

/// Follows a shard's log with the tables at a path.
///
/// # Errors
/// The log or the tables cannot be used.
pub(crate) async fn follow(
    database: &Database,
    shard: ShardId,
    path: PathBuf,
) -> Result<Store, StoreError> {
    match open(database, shard, path.clone()).await {
        Err(StoreError::Log(error @ LogError::Trimmed { .. })) => {
            if !restore(database, shard, &path).await? {
                return Err(StoreError::Log(error));
            }
            open(database, shard, path).await
        }
        opened => opened,
    }
}

async fn open(database: &Database, shard: ShardId, path: PathBuf) -> Result<Store, StoreError> {
    let settings = database.settings().clone();
    let open = tokio::task::spawn_blocking(move || {
        Store::follow(&path, move |waits| {
            PgLog::open(&settings, shard, waits).map(killable::over)
        })
    });
    open.await.map_err(|_| StoreError::Closed)?
}

/// Puts the newest snapshot of a shard in the place of its tables. Returns whether there is one.
async fn restore(database: &Database, shard: ShardId, path: &Path) -> Result<bool, StoreError> {
    let unavailable =
        |error: ClusterError| StoreError::Log(LogError::Unavailable(error.to_string()));
    let Some(newest) = database.newest_snapshot(shard).await.map_err(unavailable)? else {
        return Ok(false);
    };
    let file = Temporary::beside(path, ".snapshot");
    let got = database.get_snapshot(shard, &newest, &file.0).await;
    if !got.map_err(unavailable)? {
        return Ok(false);
    }
    let path = path.to_owned();
    let installed = tokio::task::spawn_blocking(move || {
        let mark = place::install(&file.0, &path)?;
        tracing::info!(
            shard.id = shard.0,
            record = mark.at.0,
            "begins from a snapshot of the shard"
        );
        Ok(true)
    });
    installed.await.map_err(|_| StoreError::Closed)?
}

/// Why a command cannot read a shard.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The cluster's database cannot be used.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The host on this machine cannot bring its copy up to date.
    #[error(transparent)]
    Host(#[from] ControlError),
    /// The copy cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such shard.
    #[error("the cluster has the shards 0 to {last}, and no shard {asked}")]
    NoShard {
        /// The one that was asked for.
        asked: u16,
        /// The last one.
        last: u16,
    },
    /// The copy did not get what the log has.
    #[error("the copy of shard {0} was not up to date after {PATIENCE:?}; try again")]
    Late(ShardId),
}

/// Which shard a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// That of the agent at an address.
    Of(Address),
    /// This one.
    Shard(u16),
    /// Any: what it asks for is the same in all of them.
    Any,
    /// All of them.
    All,
}

/// The shard with this number, of so many.
///
/// # Errors
/// [`CopyError::NoShard`].
pub fn shard(asked: u16, of: NonZeroU16) -> Result<ShardId, CopyError> {
    let last = of.get() - 1;
    match asked <= last {
        true => Ok(ShardId(asked)),
        false => Err(CopyError::NoShard { asked, last }),
    }
}

/// Copies that a command keeps up to date, until this is dropped.
#[derive(Debug, Default)]
pub struct Copies(Vec<Store>);

/// The configuration of each wanted shard, whose store is this machine's copy, up to date.
///
/// # Errors
/// [`CopyError`].
pub async fn wanted(
    config: &Config,
    cluster: &ClusterConfig,
    wanted: &Wanted,
) -> Result<(Vec<Config>, Copies), CopyError> {
    let database = connect::database(cluster).await?;
    let layout = database.layout().await?;
    layout.check_open()?;
    let all = || (0..layout.shards.get()).map(ShardId);
    let shards: Vec<ShardId> = match wanted {
        Wanted::Of(address) => vec![agentry_core::cluster::shard_of(address, layout.shards)],
        Wanted::Shard(asked) => vec![shard(*asked, layout.shards)?],
        Wanted::Any => vec![kept(config, all()).unwrap_or(ShardId(0))],
        Wanted::All => all().collect(),
    };
    let (mut configs, mut copies) = (Vec::with_capacity(shards.len()), Copies::default());
    for shard in shards {
        let of_shard = of_shard(config, shard);
        let store = refresh(&database, shard, &of_shard.store.path).await?;
        copies.0.extend(store);
        configs.push(of_shard);
    }
    Ok((configs, copies))
}

/// Brings the copy of a shard up to date, unless a host has it open, which does so.
async fn refresh(
    database: &Database,
    shard: ShardId,
    path: &Path,
) -> Result<Option<Store>, CopyError> {
    let head = database.view().await?;
    let head = head.shard(shard).map_or(0, |shard| shard.head);
    let store = match follow(database, shard, path.to_owned()).await {
        Err(StoreError::Locked { .. }) => {
            Client::new(path).refresh().await?;
            return Ok(None);
        }
        followed => followed?,
    };
    let mut position = store.position();
    let level = position.wait_for(|position| position.0 >= head);
    match tokio::time::timeout(PATIENCE, level).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return Err(StoreError::Closed.into()),
        Err(_) => return Err(CopyError::Late(shard)),
    }
    // Reading it has the tables written.
    store.read(|_| Ok(())).await?;
    Ok(Some(store))
}
