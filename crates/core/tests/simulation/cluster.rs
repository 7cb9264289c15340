//! Schedules with several hosts: two or three machines share one or two shards.
//!
//! The machines beat, claim, follow, and hand over as [`Member`](agentry_core::cluster::Member)
//! decides. They freeze and thaw, crash, lag behind in following, and are cut off from the database;
//! appends get lost, are late, or lose their answers; and a failover of the database loses what its
//! standby lacks. What an owner does is what a single host does:
//! its records go to the shard's log in the database.
//!
//! | module | contents |
//! |---|---|
//! | this one | how it happens, and the end |
//! | [`event`] | what happens |
//! | [`freeze`] | machines that stand still and go on |
//! | [`machine`] | machines: their beats, and what they do because of them |
//! | [`log`] | appending to a shard's log, and following it |
//! | [`jobs`] | attempts at tasks that workers elsewhere run |
//! | [`standby`] | what is visible in the database, and lost in a failover |
//! | [`check`] | what must hold of logs, states, and POSTs |

mod check;
mod event;
mod freeze;
mod jobs;
pub(crate) mod log;
mod machine;
mod standby;

use std::collections::BTreeMap;

use agentry_core::cluster::{Epoch, ShardId};
use agentry_core::nonce::NoncePolicy;

use crate::database::Database;
use crate::defect::Defect;
use crate::host::{Answer, Broken, Checked, Host, How};
use crate::peers::HOSTED;
use crate::record::Record;
use crate::world::{Action, World};

use jobs::Job;
use log::{AppendOutcome, Delayed};
use machine::Machine;
use standby::Standby;

pub(crate) use event::{Event, schedules};
pub(crate) use machine::Reply;

/// The machines and what they share.
#[derive(Default)]
pub(crate) struct Cluster {
    database: Database<Record>,
    /// What a failover would leave, if that is not everything.
    standby: Option<Standby>,
    /// The database that the last failover has left behind. It still answers those that read from it.
    left_behind: Option<Database<Record>>,
    failovers: u32,
    machines: Vec<Machine>,
    /// Each machine has a runtime for each shard: number `machine * shards + shard` of the world's hosts.
    shards: usize,
    /// Appends that are still on their way.
    delayed: Vec<Delayed>,
    /// The records of which a host knows that they are durable, by their place.
    acknowledged: BTreeMap<(ShardId, usize), Record>,
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

/// Runs a schedule, lets everything come to an end, and checks what must hold.
pub(crate) fn run(
    nonces: NoncePolicy,
    size: Size,
    schedule: &[Event],
    defect: Option<Defect>,
) -> Checked {
    let mut world = World::of_cluster(nonces, size, defect)?;
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
    fn of_cluster(nonces: NoncePolicy, size: Size, defect: Option<Defect>) -> Result<Self, Broken> {
        let mut world = Self::new(nonces);
        world.defect = defect;
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
                        self.append(usize::MAX, AppendOutcome::Answered)?;
                        self.post(which, Answer::Accepted)?;
                    }
                }
            }
            Event::Append {
                which,
                count,
                outcome,
            } => {
                if let Some(host) = self.choose_leader(which) {
                    self.turn_to(host);
                    self.append(usize::from(count), outcome)?;
                }
            }
            Event::Arrive(which) => self.arrive(which),
            Event::Follow { which, count } => self.follow(which, usize::from(count))?,
            Event::Beats(count) => self.beats(usize::from(count))?,
            Event::Beat {
                machine,
                reply,
                meanwhile,
            } => {
                let machine = self.choose_machine(machine);
                self.time = self.time.plus_ms(100);
                self.beat(machine, reply, meanwhile)?;
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
            Event::Oversleep {
                machine,
                stops_clock,
                beats,
            } => {
                let machine = self.choose_busy(machine);
                self.oversleep(machine, stops_clock, usize::from(beats))?;
            }
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
            Event::LoseNode(machine) => {
                let machine = self.choose_busy(machine);
                self.cluster.machines[machine].is_without_node = true;
            }
            Event::FindNodes => {
                for machine in &mut self.cluster.machines {
                    machine.is_without_node = false;
                }
            }
            Event::Contradict { machine, shard } => {
                let machine = self.choose_busy(machine);
                let count = u16::try_from(self.cluster.shards).unwrap();
                self.contradict(machine, ShardId(u16::from(shard) % count))?;
            }
            Event::Decide => self.decide(),
            Event::FallBehind => self.cluster.fall_behind(),
            Event::CatchUp => self.cluster.catch_up_standby(),
            Event::FailOver => self.fail_over()?,
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
                let needs_node = matches!(
                    action,
                    Action::Read(_) | Action::Sign(_) | Action::Post { .. } | Action::Look { .. }
                );
                match needs_node && self.is_without_node() {
                    true => Ok(()),
                    false => self.step(action),
                }
            }
            action => self.step(action),
        }
    }

    fn round(&mut self, count: usize) -> Checked {
        let clocks = self.clocks();
        self.chain.mine(self.time, usize::MAX);
        if self.is_without_node() {
            return Ok(());
        }
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

    /// Whether the present host's node does not answer.
    fn is_without_node(&self) -> bool {
        let (machine, _) = self.cluster.place(self.current);
        self.cluster.machines[machine].is_without_node
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
        self.hosts[host].may_post = machine.leads(shard).is_some()
            && !machine.is_without_node
            && (machine.may_post(self.time) || self.defect == Some(Defect::UncheckedLease));
    }

    /// An operator goes on with the logs as they are.
    fn decide(&mut self) {
        for shard in &mut self.cluster.database.shards {
            shard.halted = None;
        }
    }

    /// Nothing fails any more.
    fn recover(&mut self) -> Checked {
        self.cluster.catch_up_standby();
        while !self.cluster.delayed.is_empty() {
            self.arrive(0);
        }
        for machine in &mut self.cluster.machines {
            (machine.is_cut, machine.is_without_node) = (false, false);
        }
        self.thaw_all()?;
        // What was found halted is marked first.
        self.beats(2)?;
        self.decide();
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
