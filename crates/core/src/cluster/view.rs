//! What a beat shows of the cluster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Epoch, Incarnation, LEVEL, ShardId};

/// What a host sees of the cluster at one of its beats: the hosts and the shards, read together after
/// the host's own beat was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Every host that has a row, dead ones too.
    pub hosts: Vec<HostSeen>,
    /// Every shard.
    pub shards: Vec<ShardSeen>,
}

/// A host, as its last beat left its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSeen {
    /// The process.
    pub incarnation: Incarnation,
    /// The host's name in its configuration, by which it is placed.
    pub name: String,
    /// Another number at each beat.
    pub beat: u64,
    /// Where its operations are reached.
    pub address: String,
    /// Its version of agentry.
    pub version: String,
    /// A hash of those settings that must be the same on all hosts.
    pub config_hash: String,
    /// The highest format of records that it reads, and in which it writes
    /// ([`record::FORMAT`](crate::record::FORMAT)).
    pub format: u32,
    /// Whether it leaves: it hands its shards over, and takes none.
    pub draining: bool,
    /// Whether its node has not answered it for a while: others should run its shards, if they can.
    pub without_node: bool,
    /// The shards that it follows, and the place of the last record that it has of each.
    pub following: BTreeMap<ShardId, u64>,
}

/// A shard, as its row is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardSeen {
    /// The shard.
    pub id: ShardId,
    /// The process that claimed it last, unless it has released it.
    pub owner: Option<Incarnation>,
    /// How often it was claimed.
    pub epoch: Epoch,
    /// The place of the last record of its log. 0 if there is none.
    pub head: u64,
    /// The highest format in which any of its owners writes: a claim raises it to the claimant's.
    pub format: u32,
    /// Why nobody may run it until an operator has decided: a host has records that its log lacks.
    pub halted: Option<String>,
}

impl HostSeen {
    /// Whether it follows a shard, and has nearly everything of its log.
    pub fn is_level(&self, shard: &ShardSeen) -> bool {
        let at = self.following.get(&shard.id);
        at.is_some_and(|at| shard.head.saturating_sub(*at) <= LEVEL)
    }
}

impl View {
    /// The row of a process.
    pub fn host(&self, incarnation: Incarnation) -> Option<&HostSeen> {
        let mut hosts = self.hosts.iter();
        hosts.find(|host| host.incarnation == incarnation)
    }

    /// The row of a shard.
    pub fn shard(&self, id: ShardId) -> Option<&ShardSeen> {
        self.shards.iter().find(|shard| shard.id == id)
    }

    /// The highest format in which a shard's log is, or may soon be, written.
    pub fn format(&self, shard: &ShardSeen) -> u32 {
        let owner = shard.owner.and_then(|owner| self.host(owner));
        owner.map_or(shard.format, |owner| owner.format.max(shard.format))
    }
}
