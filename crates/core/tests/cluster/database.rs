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
pub(crate) struct Shard<R> {
    pub(crate) owner: Option<Incarnation>,
    pub(crate) epoch: Epoch,
    pub(crate) format: u32,
    pub(crate) halted: Option<String>,
    /// The records, each with the epoch that appended it.
    pub(crate) log: Vec<(Epoch, R)>,
}

/// The database: one statement after the other.
#[derive(Clone, Debug)]
pub(crate) struct Database<R = String> {
    pub(crate) hosts: BTreeMap<Incarnation, HostSeen>,
    pub(crate) shards: Vec<Shard<R>>,
}

impl<R: Clone> Default for Database<R> {
    fn default() -> Self {
        Self::new(0)
    }
}

impl<R: Clone> Database<R> {
    pub(crate) fn new(shards: u16) -> Self {
        let shard = Shard {
            owner: None,
            epoch: Epoch(0),
            format: 0,
            halted: None,
            log: Vec::new(),
        };
        Self {
            hosts: BTreeMap::new(),
            shards: vec![shard; usize::from(shards)],
        }
    }

    pub(crate) fn shard(&self, id: ShardId) -> &Shard<R> {
        &self.shards[usize::from(id.0)]
    }

    fn shard_mut(&mut self, id: ShardId) -> &mut Shard<R> {
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
            halted: shard.halted.clone(),
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

    /// Notes that a shard is halted.
    pub(crate) fn halt(&mut self, id: ShardId) {
        self.shard_mut(id).halted = Some("its log lacks records".to_owned());
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
        record: impl Into<R>,
    ) -> Appended {
        let shard = self.shard_mut(id);
        if shard.epoch != epoch {
            return Appended::Fenced;
        }
        if shard.log.len() != after {
            return Appended::Before;
        }
        shard.log.push((epoch, record.into()));
        Appended::Now
    }
}
