//! Machines that stand still and go on, perhaps when others have claimed what they own.

use agentry_core::cluster::ShardId;

use super::log::AppendOutcome;
use super::machine::Frozen;
use crate::host::{Answer, Checked};
use crate::world::World;

impl World {
    /// A machine stands still.
    pub(super) fn freeze(
        &mut self,
        machine: usize,
        stops_clock: bool,
        posts: Option<u8>,
    ) -> Checked {
        if self.cluster.machines[machine].frozen.is_some() {
            return Ok(());
        }
        let mut post = None;
        for shard in self.cluster.shard_ids() {
            let host = self.cluster.host(machine, shard);
            if let (Some(which), Some(_)) = (posts, self.cluster.machines[machine].leads(shard)) {
                self.turn_to(host);
                self.round(2)?;
                self.append(usize::MAX, AppendOutcome::Answered)?;
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

    /// A machine stands still with bytes to post, while the others beat so many times. Then it posts some
    /// of them, signs others, and posts these.
    pub(super) fn oversleep(&mut self, machine: usize, stops_clock: bool, beats: usize) -> Checked {
        let hosts = |world: &Self| {
            let leads = |shard: &ShardId| world.cluster.machines[machine].leads(*shard).is_some();
            let shards = world.cluster.shard_ids().filter(leads);
            shards
                .map(|shard| world.cluster.host(machine, shard))
                .collect::<Vec<_>>()
        };
        if self.cluster.machines[machine].frozen.is_some() {
            return Ok(());
        }
        for host in hosts(self) {
            self.turn_to(host);
            self.round(2)?;
            self.append(usize::MAX, AppendOutcome::Answered)?;
        }
        self.freeze(machine, stops_clock, None)?;
        self.beats(beats)?;
        self.thaw(machine)?;
        for host in hosts(self) {
            self.turn_to(host);
            self.post(0, Answer::Accepted)?;
            self.round(1)?;
            self.append(usize::MAX, AppendOutcome::Answered)?;
            self.turn_to(host);
            self.post(u8::MAX, Answer::Accepted)?;
        }
        Ok(())
    }

    pub(super) fn thaw_all(&mut self) -> Checked {
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
            let was_excused = self.cluster.machines[machine].is_excused;
            self.cluster.machines[machine].is_excused = true;
            let clocks = self.clocks();
            self.reach_node(id)?;
            self.hosts[host].posted(id, Answer::Accepted, clocks)?;
            self.cluster.machines[machine].is_excused = was_excused;
        }
        Ok(())
    }
}
