//! What is done to hosts, and how long it takes until others answer.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::Signal;

use super::{Fleet, logs};
use crate::until;

/// How many blocks are made while a host is frozen and others go on in its place: several answers, so
/// that its own next commits and nonces are used up.
const LONG: u64 = 40;

/// A host that was killed.
#[derive(Clone, Debug)]
pub struct Killed {
    /// The agents that it owned.
    pub agents: Vec<usize>,
    /// The height of the head before.
    head: u64,
    since: Instant,
}

impl Killed {
    /// Waits until another host has answered a ping to one of its agents that was mined after its death.
    /// Returns how long that took from then on.
    ///
    /// # Panics
    /// Nobody answers in [`PATIENCE`](crate::PATIENCE).
    pub fn await_answer(&self, fleet: &Fleet) -> Duration {
        fleet.await_answer(&self.agents, self.head);
        self.since.elapsed()
    }
}

/// What a host did that went on past its lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zombie {
    /// How many records of an older epoch follow a claim, in all logs.
    pub commits: usize,
    /// How many of its transactions the node accepted.
    pub posts: usize,
}

impl Fleet {
    /// `kill -9` of a host.
    ///
    /// # Panics
    /// The hosts do not have their shards in [`PATIENCE`](crate::PATIENCE), or the host does not run.
    pub fn kill_owner(&mut self, name: &str) -> Killed {
        self.await_places();
        let agents = self.agents_of(name);
        let head = self.world.chain.head();
        self.kill(name);
        Killed {
            agents,
            head,
            since: Instant::now(),
        }
    }

    /// Kills a host under load, and waits until another one answers one of its agents. Returns how long
    /// that took.
    ///
    /// # Panics
    /// The hosts do not have their shards, or nobody answers, in [`PATIENCE`](crate::PATIENCE).
    pub fn kill_and_await_answer(&mut self, name: &str) -> Duration {
        self.kill_owner(name).await_answer(self)
    }

    /// Promotes the standby in place of a primary that is killed under load. Returns how long it takes
    /// from the moment when the new primary takes writes until a new ping is answered.
    ///
    /// # Panics
    /// Nobody answers in [`PATIENCE`](crate::PATIENCE); the servers are shared.
    pub fn fail_over_and_await_answer(&mut self) -> Duration {
        self.fail_over();
        let (head, since) = (self.world.chain.head(), Instant::now());
        self.await_answer(&self.everybody(), head);
        since.elapsed()
    }

    /// Freezes a host, whose kernel timer is off, under load, until others have long taken over; then it
    /// goes on. It is alive at the end.
    ///
    /// # Panics
    /// Others do not take over, or it does not get its shards back, in
    /// [`PATIENCE`](crate::PATIENCE).
    pub fn freeze_past_lease(&mut self, name: &str) -> Zombie {
        let agents = self.agents_of(name);
        self.host(name).runtime().signal(Signal::STOP);
        let (head, epochs) = (self.world.chain.head(), self.epochs());
        self.await_answer(&agents, head);
        until("all its shards are taken over", || {
            self.places().iter().all(|place| place.owner != name)
        });
        until("the others have gone on", || {
            self.world.chain.head() >= head + LONG
        });
        let thawed = Timestamp::now();
        self.host(name).runtime().signal(Signal::CONT);
        assert_ne!(self.epochs(), epochs);
        self.await_places();
        Zombie {
            commits: self.outdated().lines().count(),
            posts: logs::posts_of_a_zombie(&self.host(name).runtime().log(), thawed),
        }
    }
}
