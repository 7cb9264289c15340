//! The cluster: which hosts there are, and which of them runs which shard.

use std::collections::BTreeMap;

use agentry_cluster::{ClusterError, Database};
use agentry_core::cluster::{Incarnation, ShardId, View};
use serde::Serialize;

/// What a cluster looks like now.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterStatus {
    /// The cluster's id.
    pub id: Incarnation,
    /// The number of its shards.
    pub shard_count: u16,
    /// Its hosts, by name.
    pub hosts: Vec<HostStatus>,
    /// Its shards.
    pub shards: Vec<ShardStatus>,
}

/// A host of a cluster.
#[derive(Clone, Debug, Serialize)]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// The process.
    pub incarnation: Incarnation,
    /// Where it serves HTTP.
    pub address: String,
    /// Its version of agentry.
    pub version: String,
    /// For how long it has not beaten, in milliseconds.
    pub silent_ms: u64,
    /// Whether it beats; one that does not is dead, or cannot reach the database.
    pub alive: bool,
    /// Whether it hands its shards over and takes none.
    pub draining: bool,
    /// A hash of those settings that must be the same on all hosts.
    pub config_hash: String,
    /// The shards that it owns.
    pub owns: Vec<ShardId>,
    /// The shards that it follows, ready to take them over.
    pub follows: Vec<ShardId>,
}

/// A shard of a cluster.
#[derive(Clone, Debug, Serialize)]
pub struct ShardStatus {
    /// The shard.
    pub id: ShardId,
    /// The name of the host that owns it, if one does.
    pub owner: Option<String>,
    /// How often it was claimed.
    pub epoch: u64,
    /// The place of the last record of its log.
    pub head: u64,
    /// The hosts that follow it, and how many records each lacks.
    pub followers: BTreeMap<String, u64>,
}

/// What the cluster looks like now.
///
/// # Errors
/// The database cannot be read, or there is no cluster in it.
pub async fn status(database: &Database) -> Result<ClusterStatus, ClusterError> {
    let layout = database.layout().await?;
    let (view, silent) = database.look().await?;
    let lease = u64::try_from(agentry_core::cluster::LEASE.as_millis()).unwrap_or(u64::MAX);
    let hosts = view.hosts.iter().map(|host| {
        let silent_ms = silent.get(&host.incarnation).copied();
        let silent_ms = silent_ms.map_or(u64::MAX, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        });
        HostStatus {
            name: host.name.clone(),
            incarnation: host.incarnation,
            address: host.address.clone(),
            version: host.version.clone(),
            silent_ms,
            alive: silent_ms < lease,
            draining: host.draining,
            config_hash: host.config_hash.clone(),
            owns: owned_by(&view, host.incarnation),
            follows: host.following.keys().copied().collect(),
        }
    });
    let shards = view.shards.iter().map(|shard| {
        let owner = shard.owner.map(|owner| match view.host(owner) {
            Some(host) => host.name.clone(),
            None => owner.to_string(),
        });
        let followers = view.hosts.iter().filter_map(|host| {
            let at = host.following.get(&shard.id)?;
            Some((host.name.clone(), shard.head.saturating_sub(*at)))
        });
        ShardStatus {
            id: shard.id,
            owner,
            epoch: shard.epoch.0,
            head: shard.head,
            followers: followers.collect(),
        }
    });
    Ok(ClusterStatus {
        id: layout.id,
        shard_count: layout.shards.get(),
        hosts: hosts.collect(),
        shards: shards.collect(),
    })
}

fn owned_by(view: &View, host: Incarnation) -> Vec<ShardId> {
    let owned = view.shards.iter().filter(|shard| shard.owner == Some(host));
    owned.map(|shard| shard.id).collect()
}
