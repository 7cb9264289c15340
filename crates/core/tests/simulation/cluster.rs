//! Schedules with several hosts: two or three machines share one or two shards.
//!
//! The machines beat, claim, follow, and hand over as [`Member`](agentry_core::cluster::Member)
//! decides. They freeze and thaw, crash, lag behind in following, and are cut off from the database;
//! appends get lost, are late, or lose their answers. What an owner does is what a single host does:
//! its records go to the shard's log in the database.
//!
//! | module | contents |
//! |---|---|
//! | this one | what happens, and the end |
//! | [`machine`] | machines: their beats, and what they do because of them |
//! | [`log`] | appending to a shard's log, and following it |
//! | [`jobs`] | attempts at tasks that workers elsewhere run |
//! | [`check`] | what must hold of logs, states, and POSTs |

mod check;
mod jobs;
pub(crate) mod log;
mod machine;

use std::collections::BTreeMap;

use agentry_core::cluster::{Epoch, ShardId};
use agentry_core::nonce::NoncePolicy;
use proptest::prelude::*;

use crate::database::Database;
use crate::host::{Answer, Broken, Checked, Host, How};
use crate::peers::HOSTED;
use crate::world::{self, Action, World};

use jobs::Job;
use log::{Delayed, Fate};
use machine::{Frozen, Machine, Reply};

/// The machines and what they share.
#[derive(Default)]
pub(crate) struct Cluster {
    database: Database,
    machines: Vec<Machine>,
    /// Each machine has a runtime for each shard: number `machine * shards + shard` of the world's hosts.
    shards: usize,
    /// Appends that are still on their way.
    delayed: Vec<Delayed>,
    /// The records of which a host knows that they are durable, by their place.
    acknowledged: BTreeMap<(ShardId, usize), String>,
    /// The claims, each with the log's length then.
    claims: Vec<(ShardId, Epoch, usize)>,
    /// The attempts at tasks that workers were given.
    jobs: Vec<Job>,
    /// How many processes have started.
    started: u8,
}

impl Cluster {
    /// Whether there is one host only, with a log of its own.
    pub(crate) fn is_single(&self) -> bool {
        self.machines.is_empty()
    }

    /// The machine and the shard of a host.
    fn place(&self, host: usize) -> (usize, ShardId) {
        let shard = u16::try_from(host % self.shards).unwrap();
        (host / self.shards, ShardId(shard))
    }

    fn host(&self, machine: usize, shard: ShardId) -> usize {
        machine * self.shards + usize::from(shard.0)
    }

    fn shard_ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..u16::try_from(self.shards).unwrap()).map(ShardId)
    }
}

/// How large a cluster is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) machines: usize,
    pub(crate) shards: usize,
}

/// One step of a schedule. Numbers choose among what is possible at that time.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Something that can happen to a single host happens to one that leads a shard.
    One {
        which: u8,
        action: Action,
    },
    /// What is pending is mined; a leading host reads it, handles so many events, and signs what it can.
    /// Perhaps it appends that and posts something, too.
    Round {
        which: u8,
        count: u8,
        posts: bool,
    },
    /// A leading host appends some of what it has decided.
    Append {
        which: u8,
        count: u8,
        fate: Fate,
    },
    /// An append that was late arrives.
    Arrive(u8),
    /// A follower reads some records.
    Follow {
        which: u8,
        count: u8,
    },
    /// All machines beat so many times, one after the other.
    Beats(u8),
    /// A machine beats.
    Beat {
        machine: u8,
        reply: Reply,
    },
    /// A machine freezes. Its monotonic clock may stop, and it may be about to post something.
    Freeze {
        machine: u8,
        stops_clock: bool,
        posts: Option<u8>,
    },
    /// The frozen machines go on.
    Thaw,
    /// A process ends, and another one starts there. The tables have this share of the log, in 255ths.
    Kill {
        machine: u8,
        tables: u8,
    },
    /// A machine and the database cannot reach each other.
    Cut(u8),
    Heal,
    /// A leading host gives a task to a worker elsewhere, or takes that for lost.
    Give(u8),
    GiveUp(u8),
    /// A worker reports the end of an attempt, perhaps again.
    Report {
        which: u8,
        fails: bool,
    },
    /// A machine is about to leave.
    Drain(u8),
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let some = any::<u8>;
    prop_oneof![
        120 => (some(), world::action()).prop_map(|(which, action)| Event::One { which, action }),
        14 => (some(), some(), any::<bool>()).prop_map(|(to, kind, has_id)| {
            let action = Action::Say { peer: to / 2, to, kind, has_id };
            Event::One { which: 0, action }
        }),
        14 => (some(), 0_u8..4, any::<bool>()).prop_map(|(which, count, posts)| {
            Event::Round { which, count, posts }
        }),
        18 => (some(), some(), log::fate()).prop_map(|(which, count, fate)| {
            Event::Append { which, count: count % 8, fate }
        }),
        2 => some().prop_map(Event::Arrive),
        5 => (some(), some()).prop_map(|(which, count)| Event::Follow { which, count: count % 16 }),
        14 => (0_u8..16).prop_map(Event::Beats),
        8 => (some(), machine::reply()).prop_map(|(machine, reply)| Event::Beat { machine, reply }),
        8 => (some(), any::<bool>(), proptest::option::weighted(0.7, some())).prop_map(
            |(machine, stops_clock, posts)| Event::Freeze { machine, stops_clock, posts }
        ),
        5 => Just(Event::Thaw),
        2 => (some(), some()).prop_map(|(machine, tables)| Event::Kill { machine, tables }),
        2 => some().prop_map(Event::Cut),
        3 => Just(Event::Heal),
        3 => some().prop_map(Event::Give),
        1 => some().prop_map(Event::GiveUp),
        3 => (some(), any::<bool>()).prop_map(|(which, fails)| Event::Report { which, fails }),
        1 => some().prop_map(Event::Drain),
    ]
}

/// Runs a schedule, lets everything come to an end, and checks what must hold.
pub(crate) fn run(nonces: NoncePolicy, size: Size, schedule: &[Event]) -> Checked {
    let mut world = World::of_cluster(nonces, size)?;
    for event in schedule {
        world.happens(event)?;
        world.check()?;
    }
    world.recover()?;
    world.settle()?;
    world.check_end()?;
    world.check_logs()?;
    world.check_states()
}

/// How many beats it takes at most until every shard has an owner again, and the best one.
const RECOVERY: usize = 40;

impl World {
    fn of_cluster(nonces: NoncePolicy, size: Size) -> Result<Self, Broken> {
        let mut world = Self::new(nonces);
        let share = HOSTED / size.shards;
        for machine in 0..size.machines {
            for shard in 0..size.shards {
                let wallets = shard * share..(shard + 1) * share;
                let number = world.hosts.len() as u64 + 1;
                world.hosts.push(Host::new(wallets, number, &world.chain));
            }
            world.cluster.start_machine(machine);
        }
        world.cluster.shards = size.shards;
        world.cluster.database = Database::new(u16::try_from(size.shards).unwrap());
        world.beats(2)?;
        Ok(world)
    }

    fn happens(&mut self, event: &Event) -> Checked {
        match *event {
            Event::One { which, ref action } => self.happens_to_one(which, action)?,
            Event::Round {
                which,
                count,
                posts,
            } => {
                if let Some(host) = self.choose_leader(which) {
                    self.turn_to(host);
                    self.round(usize::from(count))?;
                    if posts {
                        self.append(usize::MAX, Fate::Answered)?;
                        self.post(which, Answer::Accepted)?;
                    }
                }
            }
            Event::Append { which, count, fate } => {
                if let Some(host) = self.choose_leader(which) {
                    self.turn_to(host);
                    self.append(usize::from(count), fate)?;
                }
            }
            Event::Arrive(which) => self.arrive(which),
            Event::Follow { which, count } => self.follow(which, usize::from(count))?,
            Event::Beats(count) => self.beats(usize::from(count))?,
            Event::Beat { machine, reply } => {
                let machine = self.choose_machine(machine);
                self.time = self.time.plus_ms(100);
                self.beat(machine, reply)?;
            }
            Event::Freeze {
                machine,
                stops_clock,
                posts,
            } => {
                let machine = self.choose_busy(machine);
                self.freeze(machine, stops_clock, posts)?;
            }
            Event::Thaw => self.thaw_all()?,
            Event::Kill { machine, tables } => {
                let machine = self.choose_busy(machine);
                self.kill(machine, tables)?;
            }
            Event::Cut(machine) => {
                let machine = self.choose_busy(machine);
                self.cluster.machines[machine].is_cut = true;
            }
            Event::Heal => {
                for machine in &mut self.cluster.machines {
                    machine.is_cut = false;
                }
            }
            Event::Give(which) => self.give(which)?,
            Event::GiveUp(which) => {
                if let Some(host) = self.choose_leader(which) {
                    self.turn_to(host);
                    let clocks = self.clocks();
                    self.hosts[host].give_up(which, clocks)?;
                }
            }
            Event::Report { which, fails } => self.report(which, fails)?,
            Event::Drain(machine) => {
                let machine = self.choose_busy(machine);
                self.cluster.machines[machine].member.drain();
            }
        }
        self.share_what_is_known();
        Ok(())
    }

    fn happens_to_one(&mut self, which: u8, action: &Action) -> Checked {
        match action {
            // These have forms of their own here.
            Action::Sync | Action::Crash(_) | Action::Restore(_) | Action::Flip { .. } => Ok(()),
            Action::SetClock(_) => {
                let machine = self.choose_machine(which);
                self.ahead = self.cluster.machines[machine].ahead;
                self.step(action)?;
                self.cluster.machines[machine].ahead = self.ahead;
                Ok(())
            }
            action if action.is_of_host() => {
                let Some(host) = self.choose_leader(which) else {
                    return Ok(());
                };
                self.turn_to(host);
                self.step(action)
            }
            action => self.step(action),
        }
    }

    fn round(&mut self, count: usize) -> Checked {
        let clocks = self.clocks();
        self.chain.mine(self.time, usize::MAX);
        let host = &mut self.hosts[self.current];
        host.read(&self.chain, usize::MAX, clocks)?;
        let how = How {
            signs: true,
            is_late: false,
        };
        for _ in 0..count {
            host.handle(0, how, clocks)?;
        }
        host.sign(usize::MAX, &self.chain, clocks)?;
        Ok(())
    }

    fn choose_machine(&self, which: u8) -> usize {
        usize::from(which) % self.cluster.machines.len()
    }

    /// One of the hosts that take themselves for the owner of their shard, and can do something. Every
    /// other time it is one that owns it no more, if there is any.
    fn choose_leader(&self, which: u8) -> Option<usize> {
        let hosts = 0..self.hosts.len();
        let leading = hosts.filter(|host| {
            let (machine, shard) = self.cluster.place(*host);
            let machine = &self.cluster.machines[machine];
            machine.frozen.is_none() && machine.leads(shard).is_some()
        });
        let (owners, others): (Vec<_>, Vec<_>) = leading.partition(|host| self.is_owner(*host));
        let is_other = !others.is_empty() && which.is_multiple_of(2);
        let leading = if is_other { others } else { owners };
        leading
            .get(usize::from(which / 2) % leading.len().max(1))
            .copied()
    }

    /// A machine. Every other time it is one that runs something, if there is any.
    fn choose_busy(&self, which: u8) -> usize {
        match self.choose_leader(which / 2) {
            Some(host) if which.is_multiple_of(2) => self.cluster.place(host).0,
            _ => self.choose_machine(which / 2),
        }
    }

    /// The next step concerns this host.
    pub(crate) fn turn_to(&mut self, host: usize) {
        self.current = host;
        if self.cluster.is_single() {
            return;
        }
        let (machine, shard) = self.cluster.place(host);
        let machine = &self.cluster.machines[machine];
        self.ahead = machine.ahead;
        self.hosts[host].may_post = machine.may_post(shard, self.time);
    }

    fn freeze(&mut self, machine: usize, stops_clock: bool, posts: Option<u8>) -> Checked {
        if self.cluster.machines[machine].frozen.is_some() {
            return Ok(());
        }
        let mut post = None;
        for shard in self.cluster.shard_ids() {
            let host = self.cluster.host(machine, shard);
            if let (Some(which), Some(_)) = (posts, self.cluster.machines[machine].leads(shard)) {
                self.turn_to(host);
                self.round(2)?;
                self.append(usize::MAX, Fate::Answered)?;
                let next = self.hosts[host].next_post(which);
                post = next.map(|id| (host, id)).or(post);
            }
        }
        self.cluster.machines[machine].frozen = Some(Frozen {
            since: self.time,
            stops_clock,
            post,
        });
        Ok(())
    }

    fn thaw_all(&mut self) -> Checked {
        (0..self.cluster.machines.len()).try_for_each(|machine| self.thaw(machine))
    }

    /// A machine goes on. A POST that it was about to send leaves, however late it is.
    fn thaw(&mut self, machine: usize) -> Checked {
        let Some(frozen) = self.cluster.machines[machine].frozen.take() else {
            return Ok(());
        };
        let time = self.time;
        self.cluster.machines[machine].goes_on(&frozen, time);
        if let Some((host, id)) = frozen.post {
            self.turn_to(host);
            self.cluster.machines[machine].is_excused = true;
            let clocks = self.clocks();
            self.reach_node(id)?;
            self.hosts[host].posted(id, Answer::Accepted, clocks)?;
            self.cluster.machines[machine].is_excused = frozen.stops_clock;
        }
        Ok(())
    }

    /// Nothing fails any more.
    fn recover(&mut self) -> Checked {
        while !self.cluster.delayed.is_empty() {
            self.arrive(0);
        }
        for machine in &mut self.cluster.machines {
            machine.is_cut = false;
        }
        self.thaw_all()?;
        self.beats(RECOVERY)
    }

    /// The machines go on while things come to an end.
    pub(crate) fn go_on(&mut self) -> Checked {
        self.beats(3)?;
        self.share_what_is_known();
        if !self.cluster.is_single() {
            self.live = self.leaders();
        }
        Ok(())
    }

    /// Whether each shard has an owner that runs it.
    pub(crate) fn has_owners(&self) -> bool {
        self.cluster.is_single() || self.live.len() == self.cluster.shards
    }

    /// Who overdraws a budget is not told by the log.
    fn share_what_is_known(&mut self) {
        let is_overdrawn = self.hosts.iter().any(|host| host.overdrawn);
        for host in &mut self.hosts {
            host.overdrawn = is_overdrawn;
        }
    }
}
