//! Appending to a shard's log, and following it.

use agentry_core::cluster::{Duty, Epoch, ShardId};
use proptest::prelude::*;

use crate::database::Appended;
use crate::host::{Broken, Checked, broken};
use crate::world::World;

/// What becomes of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    /// It arrives, and its answer does not.
    AnswerLost,
    /// It does not arrive.
    Lost,
    /// It arrives later.
    Late,
}

pub(super) fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        9 => Just(Fate::Answered),
        1 => Just(Fate::AnswerLost),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Late),
    ]
}

/// An append on its way.
#[derive(Debug)]
pub(super) struct Delayed {
    shard: ShardId,
    epoch: Epoch,
    after: usize,
    record: String,
}

impl World {
    /// The present host appends so many of the records that it has, one after the other. Nobody knows
    /// at first whether the last one went in, unless that is answered.
    pub(crate) fn append(&mut self, count: usize, fate: Fate) -> Checked {
        let (machine, shard) = self.cluster.place(self.current);
        let one = &self.cluster.machines[machine];
        let Some(epoch) = one.appends(shard).filter(|_| !one.is_cut) else {
            return Ok(());
        };
        if self.hosts[self.current].is_unsure && !self.learn(shard, epoch)? {
            return self.stop(machine, shard);
        }
        let host = &self.hosts[self.current];
        let end = host.log.len().min(host.durable.saturating_add(count));
        for after in host.durable..end {
            let record = self.hosts[self.current].log[after].clone();
            let fate = if after + 1 == end {
                fate
            } else {
                Fate::Answered
            };
            self.hosts[self.current].is_unsure = fate != Fate::Answered;
            if fate == Fate::Late {
                self.cluster.delayed.push(Delayed {
                    shard,
                    epoch,
                    after,
                    record,
                });
                return Ok(());
            }
            if fate == Fate::Lost {
                return Ok(());
            }
            match self.cluster.database.append(shard, epoch, after, &record) {
                Appended::Fenced if fate == Fate::Answered => return self.stop(machine, shard),
                Appended::Now | Appended::Before if fate == Fate::Answered => {
                    self.acknowledge_record(shard, after)?;
                }
                Appended::Now | Appended::Before | Appended::Fenced => {}
            }
        }
        Ok(())
    }

    /// Finds out what became of an append, by a write under its epoch. Returns whether the host still
    /// has the shard.
    fn learn(&mut self, shard: ShardId, epoch: Epoch) -> Result<bool, Broken> {
        let row = self.cluster.database.shard(shard);
        if row.epoch != epoch {
            return Ok(false);
        }
        for place in self.hosts[self.current].durable..row.log.len() {
            self.acknowledge_record(shard, place)?;
        }
        self.hosts[self.current].is_unsure = false;
        Ok(true)
    }

    /// The host knows that its record at a place is durable.
    fn acknowledge_record(&mut self, shard: ShardId, place: usize) -> Checked {
        let host = &mut self.hosts[self.current];
        let Some(record) = host.log.get(place) else {
            broken!("the log has a record at {place} that its owner has not appended");
        };
        let before = self
            .cluster
            .acknowledged
            .insert((shard, place), record.clone());
        if before.is_some_and(|before| before != *record) {
            broken!("two records were acknowledged at {place}");
        }
        host.durable = place + 1;
        Ok(())
    }

    /// An append that was late arrives. Nobody waits for its answer.
    pub(super) fn arrive(&mut self, which: u8) {
        let delayed = &mut self.cluster.delayed;
        if delayed.is_empty() {
            return;
        }
        let late = delayed.remove(usize::from(which) % delayed.len());
        self.cluster
            .database
            .append(late.shard, late.epoch, late.after, &late.record);
    }

    /// One of the followers reads some records.
    pub(super) fn follow(&mut self, which: u8, count: usize) -> Checked {
        let followers = (0..self.hosts.len()).filter(|host| {
            let (machine, shard) = self.cluster.place(*host);
            let machine = &self.cluster.machines[machine];
            machine.frozen.is_none()
                && !machine.is_cut
                && machine.duties.get(&shard) == Some(&Duty::Follows)
        });
        let followers: Vec<_> = followers.collect();
        match followers.get(usize::from(which) % followers.len().max(1)) {
            Some(host) => self.catch_up(*host, count),
            None => Ok(()),
        }
    }

    /// A host that does not run its shard reads so many records of the log.
    pub(super) fn catch_up(&mut self, host: usize, count: usize) -> Checked {
        let (_, shard) = self.cluster.place(host);
        let log = &self.cluster.database.shard(shard).log;
        let host = &mut self.hosts[host];
        let mut same = host.log.iter().zip(log);
        if host.log.len() > log.len() || !same.all(|(own, (_, record))| own == record) {
            broken!("the tables have what the log of shard {shard} has not");
        }
        let records = log.iter().skip(host.log.len()).take(count);
        let records: Vec<_> = records.map(|(_, record)| record.clone()).collect();
        host.follow(records)
    }
}
