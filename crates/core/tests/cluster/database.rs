//! What hosts share: the rows of hosts and shards, and each shard's log.

use std::collections::BTreeMap;

use agentry_core::cluster::{Epoch, HostSeen, Incarnation, ShardId, ShardSeen, View};

/// What an append has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// The record is the last one.
    Now,
    /// Another record has its place: this one, perhaps, which an earlier try has appended.
    Before,
    /// Another host has claimed the shard.
    Fenced,
}

/// A shard's row, and its log.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(crate) owner: Option<Incarnation>,
    pub(crate) epoch: Epoch,
    pub(crate) format: u32,
    /// The records, each with the epoch that appended it.
    pub(crate) log: Vec<(Epoch, String)>,
}

/// The database. Everything in it is durable, and one statement after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Database {
    pub(crate) hosts: BTreeMap<Incarnation, HostSeen>,
    pub(crate) shards: Vec<Shard>,
}

impl Database {
    pub(crate) fn new(shards: u16) -> Self {
        let shard = Shard {
            owner: None,
            epoch: Epoch(0),
            format: 0,
            log: Vec::new(),
        };
        Self {
            hosts: BTreeMap::new(),
            shards: vec![shard; usize::from(shards)],
        }
    }

    pub(crate) fn shard(&self, id: ShardId) -> &Shard {
        &self.shards[usize::from(id.0)]
    }

    fn shard_mut(&mut self, id: ShardId) -> &mut Shard {
        &mut self.shards[usize::from(id.0)]
    }

    /// Writes a host's row, and reads all.
    pub(crate) fn beat(&mut self, row: HostSeen) -> View {
        self.hosts.insert(row.incarnation, row);
        self.view()
    }

    pub(crate) fn view(&self) -> View {
        let shards = (0..).zip(&self.shards).map(|(id, shard)| ShardSeen {
            id: ShardId(id),
            owner: shard.owner,
            epoch: shard.epoch,
            head: shard.log.len() as u64,
            format: shard.format,
        });
        View {
            hosts: self.hosts.values().cloned().collect(),
            shards: shards.collect(),
        }
    }

    /// Claims a shard if its epoch is still this one. Returns the new one.
    pub(crate) fn claim(&mut self, id: ShardId, seen: Epoch, me: Incarnation) -> Option<Epoch> {
        let format = self.hosts.get(&me).map_or(0, |row| row.format);
        let shard = self.shard_mut(id);
        if shard.epoch != seen {
            return None;
        }
        shard.owner = Some(me);
        shard.epoch = seen.next();
        shard.format = shard.format.max(format);
        Some(shard.epoch)
    }

    /// Releases a shard that is still owned under this epoch.
    pub(crate) fn release(&mut self, id: ShardId, epoch: Epoch) {
        let shard = self.shard_mut(id);
        if shard.epoch == epoch {
            shard.owner = None;
        }
    }

    /// Appends a record after so many others, under an epoch.
    pub(crate) fn append(
        &mut self,
        id: ShardId,
        epoch: Epoch,
        after: usize,
        record: &str,
    ) -> Appended {
        let shard = self.shard_mut(id);
        if shard.epoch != epoch {
            return Appended::Fenced;
        }
        if shard.log.len() != after {
            return Appended::Before;
        }
        shard.log.push((epoch, record.to_owned()));
        Appended::Now
    }
}
