//! Machines: their beats, and what they do because of them.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_core::OutboxId;
use agentry_core::cluster::{Action, BEAT, Duty, Epoch, HostSeen, Incarnation, Member, ShardId};
use agentry_core::record::FORMAT;
use agentry_protocol::Timestamp;
use proptest::prelude::*;

use super::Cluster;
use super::log::Fate;
use crate::host::{Broken, Checked};
use crate::world::World;

/// How long a POST takes at most: one leaves only if the lease outlasts it.
const POST: Duration = Duration::from_millis(1_000);

/// What becomes of the answer to a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Arrives,
    Lost,
    /// It arrives, and those to the claims that follow do not.
    NoClaims,
}

pub(super) fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        4 => Just(Reply::Arrives),
        1 => Just(Reply::Lost),
        1 => Just(Reply::NoClaims),
    ]
}

/// A machine that stands still.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) since: Timestamp,
    pub(super) stops_clock: bool,
    /// What it is about to post, and the host there.
    pub(super) post: Option<(usize, OutboxId)>,
}

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) id: Incarnation,
    pub(super) member: Member,
    beats: u64,
    pub(super) duties: BTreeMap<ShardId, Duty>,
    /// How long its monotonic clock has stood still.
    lag: Duration,
    /// How far its other clock is ahead, in milliseconds.
    pub(super) ahead: i64,
    pub(super) frozen: Option<Frozen>,
    /// Whether it cannot know that its lease is over.
    pub(super) is_excused: bool,
    pub(super) is_cut: bool,
}

impl Machine {
    fn new(number: u8) -> Self {
        let id = Incarnation([number; 16]);
        Self {
            id,
            member: Member::new(id, FORMAT),
            beats: 0,
            duties: BTreeMap::new(),
            lag: Duration::ZERO,
            ahead: 0,
            frozen: None,
            is_excused: false,
            is_cut: false,
        }
    }

    /// What its monotonic clock shows.
    fn clock(&self, time: Timestamp) -> Duration {
        Duration::from_millis(time.get()).saturating_sub(self.lag)
    }

    pub(super) fn goes_on(&mut self, frozen: &Frozen, time: Timestamp) {
        if frozen.stops_clock {
            self.lag += Duration::from_millis(time.ms_since(frozen.since));
            self.is_excused = true;
        }
    }

    /// The epoch under which it runs a shard.
    pub(super) fn leads(&self, shard: ShardId) -> Option<Epoch> {
        match self.duties.get(&shard)? {
            Duty::Leads(epoch) => Some(*epoch),
            Duty::HandsOver(_) | Duty::Follows | Duty::Halted => None,
        }
    }

    /// The epoch under which it appends to a shard.
    pub(super) fn appends(&self, shard: ShardId) -> Option<Epoch> {
        match self.duties.get(&shard)? {
            Duty::Leads(epoch) | Duty::HandsOver(epoch) => Some(*epoch),
            Duty::Follows | Duty::Halted => None,
        }
    }

    /// Whether it may act on what it owns, as far as it can know.
    pub(super) fn may_act(&self, time: Timestamp) -> bool {
        self.member.may_act(self.clock(time), Duration::ZERO)
    }

    pub(super) fn may_post(&self, shard: ShardId, time: Timestamp) -> bool {
        self.leads(shard).is_some() && self.member.may_act(self.clock(time), POST)
    }
}

impl Cluster {
    /// A process starts on a machine, which may be new.
    pub(super) fn start_machine(&mut self, machine: usize) {
        self.started += 1;
        let mut new = Machine::new(self.started);
        if let Some(old) = self.machines.get_mut(machine) {
            (new.lag, new.ahead, new.is_cut) = (old.lag, old.ahead, old.is_cut);
            *old = new;
        } else {
            self.machines.push(new);
        }
    }
}

impl World {
    /// All machines beat so many times.
    pub(super) fn beats(&mut self, count: usize) -> Checked {
        let machines = self.cluster.machines.len();
        let pause = BEAT.as_millis() as u64 / machines.max(1) as u64;
        for _ in 0..count {
            for machine in 0..machines {
                self.time = self.time.plus_ms(pause);
                self.beat(machine, Reply::Arrives)?;
            }
        }
        Ok(())
    }

    /// A machine beats, unless it cannot, and does what follows.
    pub(super) fn beat(&mut self, machine: usize, reply: Reply) -> Checked {
        let time = self.time;
        let hosts = machine * self.cluster.shards;
        let one = &mut self.cluster.machines[machine];
        if one.is_cut || one.frozen.is_some() {
            return Ok(());
        }
        one.beats += 1;
        let following = one
            .duties
            .iter()
            .filter(|(_, duty)| **duty == Duty::Follows);
        let following = following.map(|(id, _)| {
            let host = &self.hosts[hosts + usize::from(id.0)];
            (*id, host.log.len() as u64)
        });
        let row = HostSeen {
            incarnation: one.id,
            name: format!("host{machine}"),
            beat: one.beats,
            address: String::new(),
            version: String::new(),
            config_hash: String::new(),
            format: FORMAT,
            draining: one.member.is_draining(),
            following: following.collect(),
        };
        let view = self.cluster.database.beat(row);
        if reply == Reply::Lost {
            return Ok(());
        }
        let now = one.clock(time);
        one.is_excused = false;
        let arrived = now + Duration::from_millis(1);
        let actions = one.member.saw(now, arrived, &view, &one.duties);
        for action in actions {
            self.act(machine, action, reply)?;
        }
        let one = &self.cluster.machines[machine];
        if one.member.is_draining() && one.duties.is_empty() {
            self.kill(machine, u8::MAX)?;
        }
        Ok(())
    }

    fn act(&mut self, machine: usize, action: Action, reply: Reply) -> Checked {
        let one = &mut self.cluster.machines[machine];
        match action {
            Action::Stop(shard) => self.stop(machine, shard)?,
            Action::HandOver { shard, epoch } => {
                if one.appends(shard).is_some() && !self.finish(machine, shard, epoch)? {
                    return Ok(());
                }
                self.cluster.machines[machine].duties.remove(&shard);
                self.cluster.database.release(shard, epoch);
            }
            Action::Claim { shard, seen } => {
                let id = one.id;
                let before = self.cluster.database.shard(shard).owner;
                let Some(epoch) = self.cluster.database.claim(shard, seen, id) else {
                    return Ok(());
                };
                self.check_claim(shard, before, id)?;
                let head = self.cluster.database.shard(shard).log.len();
                self.cluster.claims.push((shard, epoch, head));
                if reply != Reply::NoClaims {
                    self.lead(machine, shard, epoch)?;
                }
            }
            Action::Follow(shard) => {
                one.duties.insert(shard, Duty::Follows);
            }
            Action::Unfollow(shard) => {
                one.duties.remove(&shard);
            }
        }
        Ok(())
    }

    /// A host finishes what it has begun for a shard. Returns whether everything of it is durable.
    fn finish(&mut self, machine: usize, shard: ShardId, epoch: Epoch) -> Result<bool, Broken> {
        let duties = &mut self.cluster.machines[machine].duties;
        duties.insert(shard, Duty::HandsOver(epoch));
        let host = self.cluster.host(machine, shard);
        self.turn_to(host);
        let clocks = self.clocks();
        self.hosts[host].store_decided(clocks)?;
        self.append(usize::MAX, Fate::Answered)?;
        let host = &self.hosts[host];
        Ok(!host.is_unsure && host.durable == host.log.len())
    }

    /// A host ends to run a shard. What was not durable is lost.
    pub(super) fn stop(&mut self, machine: usize, shard: ShardId) -> Checked {
        self.cluster.machines[machine].duties.remove(&shard);
        let host = self.cluster.host(machine, shard);
        let host = &mut self.hosts[host];
        host.may_post = false;
        host.end(host.durable)
    }

    /// A process ends, and another one starts. The tables have a share of the log.
    pub(super) fn kill(&mut self, machine: usize, tables: u8) -> Checked {
        for shard in self.cluster.shard_ids() {
            let host = self.cluster.host(machine, shard);
            let host = &mut self.hosts[host];
            host.end(host.durable * usize::from(tables) / 255)?;
        }
        self.cluster.start_machine(machine);
        Ok(())
    }

    /// The host has claimed a shard: it reads the rest of the log, and runs the shard.
    fn lead(&mut self, machine: usize, shard: ShardId, epoch: Epoch) -> Checked {
        let host = self.cluster.host(machine, shard);
        self.catch_up(host, usize::MAX)?;
        self.check_successor(host)?;
        let duties = &mut self.cluster.machines[machine].duties;
        duties.insert(shard, Duty::Leads(epoch));
        self.turn_to(host);
        let clocks = self.clocks();
        self.hosts[host].away = self.cluster.attempts_of(shard);
        self.hosts[host].start(&self.chain, clocks)
    }

    /// The hosts that run a shard, and own it.
    pub(super) fn leaders(&self) -> Vec<usize> {
        let hosts = 0..self.hosts.len();
        let leading = hosts.filter(|host| self.is_owner(*host));
        leading.collect()
    }

    /// Whether a host runs its shard, and owns it.
    pub(super) fn is_owner(&self, host: usize) -> bool {
        let (machine, shard) = self.cluster.place(host);
        let machine = &self.cluster.machines[machine];
        let row = self.cluster.database.shard(shard);
        row.owner == Some(machine.id) && machine.appends(shard) == Some(row.epoch)
    }
}
