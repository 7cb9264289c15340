//! The cluster: which hosts there are, and which of them runs which shard.

pub mod moving;

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_cluster::{ClusterError, Database, Health, Look, WORKER_LOST};
use agentry_core::cluster::{Incarnation, LEASE, ShardId, View};
use serde::Serialize;

/// What a cluster looks like now.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterStatus {
    /// The cluster's id.
    pub id: Incarnation,
    /// The number of its shards.
    pub shard_count: u16,
    /// The server of its database.
    pub server: ServerStatus,
    /// Its hosts, by name.
    pub hosts: Vec<HostStatus>,
    /// Its shards.
    pub shards: Vec<ShardStatus>,
    /// Its workers, by name.
    pub workers: Vec<WorkerStatus>,
    /// By type, the tasks at workers.
    pub jobs: BTreeMap<String, JobsStatus>,
}

/// The server of a cluster's database.
#[derive(Clone, Debug, Serialize)]
pub struct ServerStatus {
    /// Its host and port.
    pub address: String,
    /// Its version.
    pub version: String,
    /// For which standbys commits wait, as the server has it configured. Empty: for none.
    pub synchronous_standby_names: String,
    /// Its standbys.
    pub standbys: Vec<StandbyStatus>,
}

/// A standby of the server.
#[derive(Clone, Debug, Serialize)]
pub struct StandbyStatus {
    /// Its name.
    pub name: String,
    /// Whether commits wait for it; `None` if our role may not see it.
    pub synchronous: Option<bool>,
    /// `streaming` if it is connected and has caught up; `None` if our role may not see it.
    pub state: Option<String>,
    /// The bytes that it has not stored yet, if that is known.
    pub lag_bytes: Option<u64>,
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
    /// The highest format of records that it reads and writes.
    pub format: u32,
    /// For how long it has not beaten, in milliseconds.
    pub silent_ms: u64,
    /// Whether it beats; one that does not is dead, or cannot reach the database.
    pub alive: bool,
    /// Whether it hands its shards over and takes none.
    pub draining: bool,
    /// Whether its node does not answer it: others take over what it runs, if their nodes answer.
    pub without_node: bool,
    /// A hash of those settings that must be the same on all hosts.
    pub config_hash: String,
    /// The node that it posts to, without a password.
    pub submit: String,
    /// By how many milliseconds its clock was ahead of the database's at its last beat, if it says what
    /// its clock shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_ahead_ms: Option<i64>,
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
    /// Why nobody runs it until an operator decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
    /// The hosts that follow it, and how many records each lacks.
    pub followers: BTreeMap<String, u64>,
}

/// A worker of a cluster.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerStatus {
    /// Its id: its name, and what tells it from others of this name.
    pub id: String,
    /// Its version of agentry.
    pub version: String,
    /// The types of task that it runs.
    pub kinds: BTreeMap<String, RoomStatus>,
    /// For how long it has not beaten, in milliseconds.
    pub silent_ms: u64,
    /// Whether it beats; one that does not is lost, and so are its tasks.
    pub alive: bool,
}

/// How many tasks of a type a worker runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RoomStatus {
    /// At most, at the same time.
    pub most: u32,
    /// Now.
    pub running: u32,
}

/// The tasks of a type that are at workers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct JobsStatus {
    /// No worker has taken them.
    pub waiting: u64,
    /// Workers run them.
    pub running: u64,
}

/// What the cluster looks like now.
///
/// # Errors
/// The database cannot be read, or there is no cluster in it.
pub async fn status(database: &Database) -> Result<ClusterStatus, ClusterError> {
    let health = database.check(None).await?;
    status_beside(database, health).await
}

/// As [`status`], of a database whose server was looked at.
///
/// # Errors
/// As [`status`].
pub async fn status_beside(
    database: &Database,
    health: Health,
) -> Result<ClusterStatus, ClusterError> {
    let layout = database.layout().await?;
    let Look { view, hosts: facts } = database.look().await?;
    let (workers, jobs) = database.workers().await?;
    let hosts = view.hosts.iter().map(|host| {
        let facts = facts.get(&host.incarnation);
        let silent_ms = facts.map_or(u64::MAX, |facts| whole_ms(facts.silent));
        HostStatus {
            name: host.name.clone(),
            incarnation: host.incarnation,
            address: host.address.clone(),
            version: host.version.clone(),
            format: host.format,
            silent_ms,
            alive: silent_ms < whole_ms(LEASE),
            draining: host.draining,
            without_node: host.without_node,
            config_hash: host.config_hash.clone(),
            submit: facts.map(|facts| facts.submit.clone()).unwrap_or_default(),
            clock_ahead_ms: facts.and_then(|facts| facts.clock_ahead_ms),
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
            halted: shard.halted.clone(),
            followers: followers.collect(),
        }
    });
    let workers = workers.into_iter().map(|worker| WorkerStatus {
        id: worker.row.id,
        version: worker.row.version,
        kinds: worker
            .row
            .kinds
            .into_iter()
            .map(|(kind, room)| {
                let (most, running) = (room.most, room.running);
                (kind, RoomStatus { most, running })
            })
            .collect(),
        silent_ms: whole_ms(worker.silent),
        alive: worker.silent < WORKER_LOST,
    });
    let jobs = jobs.into_iter().map(|(kind, count)| {
        let (waiting, running) = (count.waiting, count.taken);
        (kind, JobsStatus { waiting, running })
    });
    Ok(ClusterStatus {
        id: layout.id,
        shard_count: layout.shards.get(),
        server: server(health),
        hosts: hosts.collect(),
        shards: shards.collect(),
        workers: workers.collect(),
        jobs: jobs.collect(),
    })
}

fn server(health: Health) -> ServerStatus {
    let standbys = health.standbys.into_iter().map(|standby| StandbyStatus {
        synchronous: standby.sync.is_some().then(|| standby.is_synchronous()),
        name: standby.name,
        state: standby.state,
        lag_bytes: standby.lag_bytes,
    });
    ServerStatus {
        address: health.server,
        version: health.version,
        synchronous_standby_names: health.synchronous_standby_names,
        standbys: standbys.collect(),
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn owned_by(view: &View, host: Incarnation) -> Vec<ShardId> {
    let owned = view.shards.iter().filter(|shard| shard.owner == Some(host));
    owned.map(|shard| shard.id).collect()
}
