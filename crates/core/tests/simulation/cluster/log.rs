//! Appending to a shard's log, and following it.

use agentry_core::cluster::{Duty, Epoch, ShardId};
use proptest::prelude::*;

use crate::database::Appended;
use crate::defect::Defect;
use crate::host::{Broken, Checked, broken};
use crate::record::Record;
use crate::world::World;

/// What becomes of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppendOutcome {
    Answered,
    /// It arrives, and its answer does not.
    AnswerLost,
    /// It does not arrive.
    Lost,
    /// It arrives later.
    Late,
}

pub(super) fn append_outcome() -> impl Strategy<Value = AppendOutcome> {
    prop_oneof![
        9 => Just(AppendOutcome::Answered),
        1 => Just(AppendOutcome::AnswerLost),
        1 => Just(AppendOutcome::Lost),
        1 => Just(AppendOutcome::Late),
    ]
}

/// What an owner has learned of an append without an answer.
enum Learned {
    All,
    Nothing,
    /// Another host has claimed the shard.
    IsLost,
}

/// An append on its way.
#[derive(Debug)]
pub(super) struct Delayed {
    shard: ShardId,
    epoch: Epoch,
    after: usize,
    record: Record,
}

impl World {
    /// The present host appends so many of the records that it has, one after the other. Nobody knows
    /// at first whether the last one went in, unless that is answered.
    pub(crate) fn append(&mut self, count: usize, outcome: AppendOutcome) -> Checked {
        let (machine, shard) = self.cluster.place(self.current);
        let one = &self.cluster.machines[machine];
        let Some(epoch) = one.appends(shard).filter(|_| !one.is_cut) else {
            return Ok(());
        };
        if self.hosts[self.current].is_unsure {
            match self.learn(shard, epoch)? {
                Learned::All => {}
                Learned::Nothing => return Ok(()),
                Learned::IsLost => return self.refused(machine, shard),
            }
        }
        let host = &self.hosts[self.current];
        let end = host.log.len().min(host.durable.saturating_add(count));
        for after in host.durable..end {
            let record = self.hosts[self.current].log[after].clone();
            let outcome = match outcome {
                _ if after + 1 < end && self.cluster.acknowledges() => AppendOutcome::Answered,
                // It is visible, and its wait for the standby was cancelled.
                AppendOutcome::Answered if !self.cluster.acknowledges() => {
                    AppendOutcome::AnswerLost
                }
                outcome => outcome,
            };
            self.hosts[self.current].is_unsure = true;
            match outcome {
                AppendOutcome::Lost => return Ok(()),
                AppendOutcome::Late => {
                    self.cluster.delayed.push(Delayed {
                        shard,
                        epoch,
                        after,
                        record,
                    });
                    return Ok(());
                }
                AppendOutcome::Answered | AppendOutcome::AnswerLost => {}
            }
            let appended = self.append_to_log(shard, epoch, after, record);
            if outcome == AppendOutcome::AnswerLost {
                return Ok(());
            }
            match appended {
                Appended::Now => {
                    self.acknowledge_record(shard, after)?;
                    self.hosts[self.current].is_unsure = false;
                }
                // What has its place may be what an earlier try has appended.
                Appended::Before => return Ok(()),
                Appended::Fenced => return self.refused(machine, shard),
            }
        }
        Ok(())
    }

    fn append_to_log(
        &mut self,
        shard: ShardId,
        epoch: Epoch,
        after: usize,
        record: Record,
    ) -> Appended {
        let row = &mut self.cluster.database.shards[usize::from(shard.0)];
        if self.defect == Some(Defect::UncheckedEpoch) && row.log.len() == after {
            row.log.push((epoch, record));
            return Appended::Now;
        }
        self.cluster.database.append(shard, epoch, after, record)
    }

    /// The present host was refused an append: another one has claimed the shard.
    fn refused(&mut self, machine: usize, shard: ShardId) -> Checked {
        if self.defect == Some(Defect::IgnoredRefusal) {
            let host = &mut self.hosts[self.current];
            (host.durable, host.is_unsure) = (host.log.len(), false);
            return Ok(());
        }
        self.stop(machine, shard)
    }

    /// Finds out what became of an append, by a write under its epoch: what is read after that is
    /// durable.
    fn learn(&mut self, shard: ShardId, epoch: Epoch) -> Result<Learned, Broken> {
        if self.defect == Some(Defect::UnknownTakenForLost) {
            let clocks = self.clocks();
            let host = &mut self.hosts[self.current];
            host.restart(host.durable, &self.chain, clocks)?;
            return Ok(Learned::All);
        }
        let row = self.cluster.database.shard(shard);
        if row.epoch != epoch && self.defect != Some(Defect::UncheckedEpoch) {
            return Ok(Learned::IsLost);
        }
        let is_durable =
            self.cluster.acknowledges() || self.defect == Some(Defect::ReadTakenForDurable);
        if !is_durable {
            return Ok(Learned::Nothing);
        }
        for place in self.hosts[self.current].durable..row.log.len() {
            self.acknowledge_record(shard, place)?;
        }
        self.hosts[self.current].is_unsure = false;
        Ok(Learned::All)
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
        self.append_to_log(late.shard, late.epoch, late.after, late.record);
    }

    /// One of the followers reads some records.
    pub(super) fn follow(&mut self, which: u8, count: usize) -> Checked {
        let followers = (0..self.hosts.len()).filter(|host| self.follows(*host));
        let followers: Vec<_> = followers.collect();
        match followers.get(usize::from(which) % followers.len().max(1)) {
            Some(host) => self.follow_on(*host, count),
            None => Ok(()),
        }
    }

    fn follows(&self, host: usize) -> bool {
        let (machine, shard) = self.cluster.place(host);
        let machine = &self.cluster.machines[machine];
        machine.frozen.is_none()
            && !machine.is_cut
            && machine.duties.get(&shard) == Some(&Duty::Follows)
    }

    /// A host reads so many records, if it follows its shard.
    pub(super) fn follow_on(&mut self, host: usize, count: usize) -> Checked {
        if !self.follows(host) {
            return Ok(());
        }
        let known = self.known(host);
        if self.defect == Some(Defect::ReadLeftBehind) {
            return self.catch_up_left_behind(host, known, count);
        }
        match self.reads_where_it_beats(self.cluster.place(host).0) {
            true => self.catch_up(host, known, count),
            // What is durable is so in the other database.
            false => Ok(()),
        }
    }

    /// A host reads from the database that was left behind, if there is one that has more.
    fn catch_up_left_behind(&mut self, host: usize, end: usize, count: usize) -> Checked {
        let (_, shard) = self.cluster.place(host);
        let Some(left) = &self.cluster.left_behind else {
            return self.catch_up(host, end, count);
        };
        let log = left.shard(shard).log.iter().take(end);
        let host = &mut self.hosts[host];
        let records = log.skip(host.log.len()).take(count);
        let records: Vec<_> = records.map(|(_, record)| record.clone()).collect();
        host.follow(records)
    }

    /// Up to which place a follower reads: what is there is durable.
    fn known(&self, host: usize) -> usize {
        let (machine, shard) = self.cluster.place(host);
        let machine = &self.cluster.machines[machine];
        match self.defect {
            Some(Defect::FollowedVisible) => machine.shown_head(shard),
            _ => machine.durable_head(shard),
        }
    }

    /// A host that does not run its shard reads so many records of the log, up to a place.
    pub(super) fn catch_up(&mut self, host: usize, end: usize, count: usize) -> Checked {
        let (_, shard) = self.cluster.place(host);
        let log = &self.cluster.database.shard(shard).log;
        let host = &mut self.hosts[host];
        let mut same = host.log.iter().zip(log);
        if host.log.len() > log.len() || !same.all(|(own, (_, record))| own == record) {
            broken!("the tables have what the log of shard {shard} has not");
        }
        let records = log.iter().take(end).skip(host.log.len()).take(count);
        let records: Vec<_> = records.map(|(_, record)| record.clone()).collect();
        host.follow(records)
    }
}
