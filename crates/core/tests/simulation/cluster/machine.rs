//! Machines: their beats, and what they do because of them.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_core::OutboxId;
use agentry_core::cluster::{
    Action, BEAT, Duty, Epoch, HostSeen, Incarnation, Member, ShardId, View,
};
use agentry_core::record::FORMAT;
use agentry_protocol::Timestamp;
use proptest::prelude::*;

use super::Cluster;
use super::log::AppendOutcome;
use crate::defect::Defect;
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
    /// Whether its node does not answer.
    pub(super) is_without_node: bool,
    /// What the last beat has shown. The database may lose that.
    shown: Option<View>,
    /// The heads that beats before it have shown: it was acknowledged after they were read.
    durable: BTreeMap<ShardId, u64>,
    /// After how many failovers it has connected to read logs.
    pub(super) reads_from: u32,
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
            is_without_node: false,
            shown: None,
            durable: BTreeMap::new(),
            reads_from: 0,
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
            Duty::HandsOver(_) | Duty::Follows | Duty::Halted { .. } => None,
        }
    }

    /// The epoch under which it appends to a shard.
    pub(super) fn appends(&self, shard: ShardId) -> Option<Epoch> {
        match self.duties.get(&shard)? {
            Duty::Leads(epoch) | Duty::HandsOver(epoch) => Some(*epoch),
            Duty::Follows | Duty::Halted { .. } => None,
        }
    }

    /// Whether it may act on what it owns, as far as it can know.
    pub(super) fn may_act(&self, time: Timestamp) -> bool {
        self.member.may_act(self.clock(time), Duration::ZERO)
    }

    /// A beat was acknowledged, and has shown this.
    fn sees(&mut self, view: View) {
        let shown = self.shown.replace(view);
        for shard in shown.into_iter().flat_map(|view| view.shards) {
            let durable = self.durable.entry(shard.id).or_default();
            *durable = shard.head.max(*durable);
        }
    }

    /// A beat to this database says nothing of what another one has shown.
    pub(super) fn loses_connection(&mut self) {
        self.shown = None;
    }

    /// Up to which place the log is known to be durable.
    pub(super) fn durable_head(&self, shard: ShardId) -> usize {
        self.durable.get(&shard).map_or(0, |head| *head as usize)
    }

    /// Up to which place the log was seen.
    pub(super) fn shown_head(&self, shard: ShardId) -> usize {
        let shown = self.shown.as_ref().and_then(|view| view.shard(shard));
        shown.map_or(0, |shard| shard.head as usize)
    }

    /// The claims of shards whose owners have not beaten between two of this machine's beats.
    fn early_claims(&self, view: &View) -> Vec<Action> {
        let beat = |view: &View, owner| view.host(owner).map(|row| row.beat);
        let Some(shown) = &self.shown else {
            return Vec::new();
        };
        let shards = view.shards.iter().filter(|shard| {
            let follows = matches!(self.duties.get(&shard.id), None | Some(Duty::Follows));
            let stands_still = |owner| beat(shown, owner) == beat(view, owner);
            follows
                && shard
                    .owner
                    .is_some_and(|owner| owner != self.id && stands_still(owner))
        });
        let claims = shards.map(|shard| Action::Claim {
            shard: shard.id,
            seen: shard.epoch,
        });
        claims.collect()
    }

    /// Whether the lease outlasts a POST.
    pub(super) fn may_post(&self, time: Timestamp) -> bool {
        self.member.may_act(self.clock(time), POST)
    }
}

impl Cluster {
    /// A process starts on a machine, which may be new.
    pub(super) fn start_machine(&mut self, machine: usize) {
        self.started += 1;
        let mut new = Machine::new(self.started);
        new.reads_from = self.failovers;
        if let Some(old) = self.machines.get_mut(machine) {
            (new.lag, new.ahead) = (old.lag, old.ahead);
            (new.is_cut, new.is_without_node) = (old.is_cut, old.is_without_node);
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
                self.beat(machine, Reply::Arrives, None)?;
            }
        }
        Ok(())
    }

    /// A machine beats, unless it cannot, and does what follows. After its beat is durable and before it
    /// reads what that shows, the standby may fall behind, and an owner append something; then it reads
    /// the logs that it follows.
    pub(super) fn beat(&mut self, machine: usize, reply: Reply, owner: Option<u8>) -> Checked {
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
            without_node: one.is_without_node,
            following: following.collect(),
        };
        let mut view = self.cluster.database.beat(row);
        if reply == Reply::Lost || !self.cluster.acknowledges() {
            return Ok(());
        }
        if let Some(owner) = owner.and_then(|which| self.choose_leader(which)) {
            self.cluster.fall_behind();
            self.turn_to(owner);
            self.round(1)?;
            self.append(usize::MAX, AppendOutcome::Answered)?;
            view = self.cluster.database.view();
        }
        let one = &mut self.cluster.machines[machine];
        let now = one.clock(time);
        one.is_excused = false;
        let arrived = now + Duration::from_millis(1);
        let mut actions = one.member.saw(now, arrived, &view, &one.duties);
        if self.defect == Some(Defect::EarlyClaim) {
            actions.extend(one.early_claims(&view));
        }
        one.sees(view);
        for action in actions {
            self.act(machine, action, reply)?;
        }
        if owner.is_some() {
            for shard in self.cluster.shard_ids() {
                self.follow_on(self.cluster.host(machine, shard), usize::MAX)?;
            }
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
                if reply != Reply::NoClaims && self.cluster.acknowledges() {
                    self.lead(machine, shard, epoch)?;
                }
            }
            Action::Follow(shard) => {
                one.duties.insert(shard, Duty::Follows);
            }
            Action::Unfollow(shard) => {
                one.duties.remove(&shard);
            }
            Action::Mark(shard) => {
                self.cluster.database.halt(shard);
                if self.cluster.acknowledges() {
                    self.halt(machine, shard, true);
                }
            }
            Action::Halt(shard) => self.halt(machine, shard, true),
            Action::Discard(shard) => {
                one.duties.remove(&shard);
                let host = self.cluster.host(machine, shard);
                self.hosts[host].end(0)?;
            }
        }
        Ok(())
    }

    fn halt(&mut self, machine: usize, shard: ShardId, is_marked: bool) {
        let duties = &mut self.cluster.machines[machine].duties;
        duties.insert(shard, Duty::Halted { is_marked });
    }

    /// A machine takes its tables of a shard for wrong, and does nothing with the shard until an operator
    /// has decided.
    pub(super) fn contradict(&mut self, machine: usize, shard: ShardId) -> Checked {
        let one = &self.cluster.machines[machine];
        if one.frozen.is_some() || matches!(one.duties.get(&shard), Some(Duty::Halted { .. })) {
            return Ok(());
        }
        if one.appends(shard).is_some() {
            self.stop(machine, shard)?;
        }
        self.halt(machine, shard, false);
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
        self.append(usize::MAX, AppendOutcome::Answered)?;
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
        if self.defect != Some(Defect::UnreadTail) {
            self.catch_up(host, usize::MAX, usize::MAX)?;
        }
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
