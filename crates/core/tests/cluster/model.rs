//! Some hosts and their database, in simulated time.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_core::cluster::{Action, Duty, Epoch, HostSeen, Incarnation, Member, ShardId};
use proptest::prelude::*;

use crate::database::{Appended, Database};

/// How a beat goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// How long the request and the answer take, in milliseconds.
    pub(crate) there: u8,
    pub(crate) back: u8,
    /// The answer is lost.
    pub(crate) is_lost: bool,
    /// The answers of claims are lost.
    pub(crate) loses_claims: bool,
    /// Shards that are handed over are not released yet.
    pub(crate) is_busy: bool,
}

pub(crate) fn weather() -> impl Strategy<Value = Weather> {
    (any::<u8>(), any::<u8>(), 0_u8..8, 0_u8..8, any::<bool>()).prop_map(
        |(there, back, lost, claims, is_busy)| Weather {
            there,
            back,
            is_lost: lost == 0,
            loses_claims: claims == 0,
            is_busy,
        },
    )
}

fn shard(action: &Action) -> ShardId {
    match *action {
        Action::Stop(shard) | Action::Unfollow(shard) | Action::Follow(shard) => shard,
        Action::Mark(shard) | Action::Halt(shard) | Action::Discard(shard) => shard,
        Action::HandOver { shard, .. } | Action::Claim { shard, .. } => shard,
    }
}

/// A process that is a host.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: Incarnation,
    pub(crate) name: String,
    pub(crate) member: Member,
    pub(crate) duties: BTreeMap<ShardId, Duty>,
    /// What it has of the logs that it follows.
    at: BTreeMap<ShardId, u64>,
    /// What its monotonic clock shows when the simulation begins.
    clock: Duration,
    beat: u64,
    format: u32,
    pub(crate) without_node: bool,
    /// What the last beat has decided.
    pub(crate) actions: Vec<Action>,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) now: Duration,
    pub(crate) database: Database,
    pub(crate) processes: Vec<Process>,
    started: u8,
}

impl Process {
    fn time(&self, now: Duration) -> Duration {
        self.clock + now
    }

    pub(crate) fn may_act(&self, now: Duration) -> bool {
        self.member.may_act(self.time(now), Duration::ZERO)
    }

    pub(crate) fn leads(&self, shard: ShardId) -> Option<Epoch> {
        match self.duties.get(&shard)? {
            Duty::Leads(epoch) | Duty::HandsOver(epoch) => Some(*epoch),
            Duty::Follows | Duty::Halted { .. } => None,
        }
    }
}

impl Model {
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            now: Duration::from_secs(10),
            database: Database::new(shards),
            processes: Vec::new(),
            started: 0,
        }
    }

    /// A host with this name starts. Returns its process.
    pub(crate) fn start(&mut self, name: &str, format: u32) -> usize {
        self.started += 1;
        let id = Incarnation([self.started; 16]);
        self.processes.push(Process {
            id,
            name: name.to_owned(),
            member: Member::new(id, format),
            duties: BTreeMap::new(),
            at: BTreeMap::new(),
            clock: Duration::from_secs(1_000 * u64::from(self.started)),
            beat: 0,
            format,
            without_node: false,
            actions: Vec::new(),
        });
        self.processes.len() - 1
    }

    /// A beat of a process, and what it does because of it. Returns the shards that it has claimed, and
    /// who owned them before.
    pub(crate) fn beat(
        &mut self,
        which: usize,
        weather: Weather,
    ) -> Vec<(ShardId, Option<Incarnation>)> {
        let process = &mut self.processes[which];
        process.beat += 1;
        for (id, duty) in &process.duties {
            if *duty == Duty::Follows {
                // It reads so many records in a beat.
                let head = self.database.shard(*id).log.len() as u64;
                let at = process.at.entry(*id).or_default();
                *at = head.min(*at + 1_000);
            }
        }
        process
            .at
            .retain(|id, _| process.duties.get(id) == Some(&Duty::Follows));
        let view = self.database.beat(HostSeen {
            incarnation: process.id,
            name: process.name.clone(),
            beat: process.beat,
            address: String::new(),
            version: String::new(),
            config_hash: String::new(),
            format: process.format,
            draining: process.member.is_draining(),
            without_node: process.without_node,
            following: process.at.clone(),
        });
        if weather.is_lost {
            return Vec::new();
        }
        let there = Duration::from_millis(weather.there.into());
        let back = Duration::from_millis(weather.back.into());
        let (sent, arrived) = (self.now.saturating_sub(there), self.now + back);
        let (sent, arrived) = (process.time(sent), process.time(arrived));
        process.actions = process.member.saw(sent, arrived, &view, &process.duties);
        let mut about: Vec<_> = process.actions.iter().map(shard).collect();
        about.sort();
        about.dedup();
        assert_eq!(
            about.len(),
            process.actions.len(),
            "one action for each shard"
        );
        let mut claimed = Vec::new();
        for action in process.actions.clone() {
            match action {
                Action::Stop(shard) | Action::Unfollow(shard) | Action::Discard(shard) => {
                    process.duties.remove(&shard);
                }
                Action::Mark(shard) | Action::Halt(shard) => {
                    self.database.halt(shard);
                    let halted = Duty::Halted { is_marked: true };
                    process.duties.insert(shard, halted);
                }
                Action::Follow(shard) => {
                    process.duties.insert(shard, Duty::Follows);
                }
                Action::HandOver { shard, epoch } if weather.is_busy => {
                    process.duties.insert(shard, Duty::HandsOver(epoch));
                }
                Action::HandOver { shard, epoch } => {
                    self.database.release(shard, epoch);
                    process.duties.remove(&shard);
                }
                Action::Claim { shard, seen } => {
                    let before = self.database.shard(shard).owner;
                    if let Some(epoch) = self.database.claim(shard, seen, process.id) {
                        claimed.push((shard, before));
                        if !weather.loses_claims {
                            process.duties.insert(shard, Duty::Leads(epoch));
                        }
                    }
                }
            }
        }
        claimed
    }

    /// A process appends so many records to what it leads. Only the owner's are taken.
    pub(crate) fn append(&mut self, which: usize, count: usize) {
        let process = &self.processes[which];
        for id in process.duties.keys() {
            let Some(epoch) = process.leads(*id) else {
                continue;
            };
            let is_owner = self.database.shard(*id).owner == Some(process.id);
            for _ in 0..count {
                let after = self.database.shard(*id).log.len();
                let appended = self.database.append(*id, epoch, after, "");
                assert_eq!(appended == Appended::Now, is_owner);
            }
        }
    }

    /// All processes beat, each at its time, for so long.
    pub(crate) fn run(&mut self, beats: usize) {
        for _ in 0..beats {
            let count = u32::try_from(self.processes.len()).unwrap();
            for which in 0..self.processes.len() {
                self.now += agentry_core::cluster::BEAT / count;
                self.beat(which, Weather::default());
            }
        }
    }

    /// The owners' names, by shard.
    pub(crate) fn owners(&self) -> Vec<Option<&str>> {
        let name = |owner| self.processes.iter().find(|one| one.id == owner);
        let shards = self.database.shards.iter();
        let owners = shards.map(|shard| Some(name(shard.owner?)?.name.as_str()));
        owners.collect()
    }
}
