//! Moving agents from a single machine into a cluster, and back.
//!
//! | module | holds |
//! |---|---|
//! | [`import`] | from the store of a single machine into an empty cluster |
//! | [`export`] | from the shards of a cluster into a new store |
//!
//! At most one side acts at any time, whatever is interrupted: see [`agentry_cluster::Moving`] and
//! [`agentry_store::Moved`]. A move that was interrupted is finished, or begun again, by the same command.

pub mod export;
pub mod import;

use std::path::PathBuf;
use std::time::Duration;

use agentry_chain::Apart;
use agentry_cluster::{ClusterError, Database};
use agentry_core::cluster::{Incarnation, ShardId};
use agentry_store::{Reader, StoreError, read};

/// A host that has beaten within this time is taken for one that runs: several leases.
const QUIET: Duration = Duration::from_secs(10);

/// How long a store is checked for damage.
const CHECKED: Duration = Duration::from_secs(600);

/// Why agents cannot be moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The cluster's database cannot be used, or the cluster is not as it has to be.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Hosts run.
    #[error(
        "hosts of the cluster run, or have run within the last {} s: {}. Stop all of them, and try again",
        QUIET.as_secs(),
        names.join(", ")
    )]
    Running {
        /// Their names.
        names: Vec<String>,
    },
    /// The cluster has agents of its own.
    #[error(
        "the cluster is not empty: shard {shard} has records. Agents are moved into a new cluster only: create one in another database, or drop the schema `agentry` if nothing in it is needed"
    )]
    NotEmpty {
        /// A shard that is not empty.
        shard: ShardId,
    },
    /// A shard is halted.
    #[error(
        "shard {shard} is halted: {why}. See docs/cluster.md, A restored database; then `agentry cluster resume --shard {shard}`, and start the cluster once"
    )]
    Halted {
        /// The shard.
        shard: ShardId,
        /// Why.
        why: String,
    },
    /// The store or a shard belongs to another chain.
    #[error(
        "{what} belongs to the chain {stored}, but {configured} is configured: set `chain.id`, or name the right agents.toml with -c"
    )]
    OtherChain {
        /// The store or the shard.
        what: String,
        /// Its chain.
        stored: String,
        /// The configured one.
        configured: String,
    },
    /// There are copies of shards, perhaps of another cluster.
    #[error(
        "{} is a copy of a shard of a cluster that was here before: delete the copies ({}.shard-*) on every host, so that none is taken for one of the new cluster", copy.display(), store.display()
    )]
    Copies {
        /// One of them.
        copy: PathBuf,
        /// The path before their names.
        store: PathBuf,
    },
    /// The store was moved into another cluster.
    #[error(
        "the agents of {} were moved into the cluster {cluster}, and the database of [cluster] holds another one: name the right database", path.display()
    )]
    OtherCluster {
        /// The store.
        path: PathBuf,
        /// Where its agents are.
        cluster: Incarnation,
    },
    /// The file into which agents are moved exists.
    #[error(
        "{} exists, and agents are moved into a new store only: move the file away, or name another one with --set store.path=…", path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A shard has agents, and has read nothing of the chain.
    #[error(
        "shard {shard} has agents and has not read the chain yet: start the cluster until all hosts are ready, then stop it and try again"
    )]
    Unread {
        /// The shard.
        shard: ShardId,
    },
    /// The shards have not read the same blocks.
    #[error(
        "the shards cannot go on together, because {why}: start the cluster until all hosts are ready, then stop it and try again"
    )]
    Apart {
        /// Why.
        why: Apart,
    },
    /// The shards are of different chains.
    #[error("the shards have different blocks 0, so they are of different chains")]
    Chains,
    /// The log of a shard was not read to its end.
    #[error("shard {shard} was not read up to record {head} within {limit:?}: try again")]
    Late {
        /// The shard.
        shard: ShardId,
        /// The last record.
        head: u64,
        /// The limit.
        limit: Duration,
    },
    /// What was stored about the chain cannot be read.
    #[error("the position of shard {shard} on the chain cannot be read: {why}")]
    Position {
        /// The shard.
        shard: ShardId,
        /// Why.
        why: String,
    },
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// Refuses to move agents while hosts run, or a shard is halted.
async fn check_quiet(database: &Database) -> Result<(), MoveError> {
    let look = database.look().await?;
    let hosts = look.view.hosts.iter();
    let running = hosts.filter(|host| {
        let facts = look.hosts.get(&host.incarnation);
        facts.is_none_or(|facts| facts.silent < QUIET)
    });
    let names: Vec<_> = running.map(|host| host.name.clone()).collect();
    if !names.is_empty() {
        return Err(MoveError::Running { names });
    }
    let mut shards = look.view.shards.into_iter();
    let halted = shards.find_map(|shard| Some((shard.id, shard.halted?)));
    match halted {
        None => Ok(()),
        Some((shard, why)) => Err(MoveError::Halted { shard, why }),
    }
}

/// Refuses a store of another chain. Returns what it knows of its chain.
fn check_chain(
    reader: &Reader,
    what: impl Fn() -> String,
    configured: &str,
) -> Result<read::Identity, MoveError> {
    let identity = read::identity(reader)?;
    match &identity.chain_id {
        Some(stored) if stored != configured => Err(MoveError::OtherChain {
            what: what(),
            stored: stored.clone(),
            configured: configured.to_owned(),
        }),
        _ => Ok(identity),
    }
}
