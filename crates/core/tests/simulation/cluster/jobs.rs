//! Attempts at tasks that workers elsewhere run. A worker knows nothing of owners and epochs: what it
//! reports, whoever owns the shard then stores.

use std::collections::BTreeSet;

use agentry_core::TaskId;
use agentry_core::cluster::ShardId;

use super::Cluster;
use super::log::AppendOutcome;
use crate::host::{Checked, broken};
use crate::world::World;

/// An attempt that a worker was given. It may be reported at any time, and more than once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    shard: ShardId,
    attempt: (TaskId, u32),
    is_reported: bool,
}

impl Cluster {
    /// The attempts that workers run: a new owner adopts them.
    pub(super) fn attempts_of(&self, shard: ShardId) -> BTreeSet<(TaskId, u32)> {
        let jobs = self.jobs.iter();
        let open = jobs.filter(|job| job.shard == shard && !job.is_reported);
        open.map(|job| job.attempt).collect()
    }
}

impl World {
    /// A leading host has a worker run one of the attempts that it has begun.
    pub(super) fn give(&mut self, which: u8) -> Checked {
        let Some(host) = self.choose_leader(which) else {
            return Ok(());
        };
        let (machine, shard) = self.cluster.place(host);
        // It writes that to the database, and only if it still owns the shard.
        if self.cluster.machines[machine].is_cut || !self.is_owner(host) {
            return Ok(());
        }
        self.turn_to(host);
        let clocks = self.clocks();
        self.hosts[host].work(which, false, clocks)?;
        self.append(usize::MAX, AppendOutcome::Answered)?;
        if let Some(attempt) = self.hosts[host].give_away(which) {
            self.cluster.jobs.push(Job {
                shard,
                attempt,
                is_reported: false,
            });
        }
        Ok(())
    }

    /// A worker reports an attempt to a host that takes itself for the owner.
    pub(super) fn report(&mut self, which: u8, fails: bool) -> Checked {
        let count = self.cluster.jobs.len().max(1);
        let Some(job) = self.cluster.jobs.get_mut(usize::from(which) % count) else {
            return Ok(());
        };
        job.is_reported = true;
        let job = *job;
        let leading = (0..self.hosts.len()).find(|host| {
            let (machine, shard) = self.cluster.place(*host);
            let machine = &self.cluster.machines[machine];
            shard == job.shard && machine.frozen.is_none() && machine.leads(shard).is_some()
        });
        let Some(host) = leading else {
            return Ok(());
        };
        self.turn_to(host);
        let clocks = self.clocks();
        let ends_another = self.hosts[host].attempt_reported(job.attempt, fails, clocks)?;
        // What one that owns the shard no more makes of it is never stored.
        if ends_another && self.is_owner(host) {
            broken!("the attempt {:?} at a task ends twice", job.attempt);
        }
        Ok(())
    }
}
