//! What must hold of logs, states, and POSTs.

use agentry_core::State;
use agentry_core::cluster::{Incarnation, ShardId};
use agentry_protocol::TransactionHash;

use super::machine::Machine;
use crate::host::{Broken, Checked, broken};
use crate::world::World;

impl World {
    /// Whether the present host owns its shard, so that a POST of it is in time. A machine that was
    /// frozen may post something late; any other one may not.
    pub(crate) fn posts_in_time(&self) -> Result<bool, Broken> {
        if self.cluster.is_single() || self.is_owner(self.current) {
            return Ok(true);
        }
        let (machine, shard) = self.cluster.place(self.current);
        if !self.cluster.machines[machine].is_excused {
            broken!("machine {machine} posts, and shard {shard} is another's");
        }
        Ok(false)
    }

    /// What the present host posts is in its shard's log, and durable. Only what a frozen machine was
    /// about to post may come after another host's claim.
    pub(crate) fn check_stored(&self, hash: TransactionHash) -> Checked {
        if self.cluster.is_single() {
            return Ok(());
        }
        let (_, shard) = self.cluster.place(self.current);
        let log = &self.hosts[self.current].log;
        let Some(place) = log.iter().rposition(|record| record.names(hash)) else {
            broken!("transaction {hash} is posted, and in no record");
        };
        let mut durable = self.cluster.durable().shard(shard).log.iter();
        if durable
            .nth(place)
            .is_none_or(|(_, record)| *record != log[place])
        {
            broken!("transaction {hash} is posted, and not in the log of shard {shard}");
        }
        Ok(())
    }

    /// Nobody claims what another process may still act for. One whose clock stands still does not count:
    /// it cannot know.
    pub(super) fn check_claim(
        &self,
        shard: ShardId,
        before: Option<Incarnation>,
        by: Incarnation,
    ) -> Checked {
        let mut others = self.cluster.machines.iter();
        let owner = others.find(|one| Some(one.id) == before && one.id != by);
        let stands_still = |one: &Machine| {
            one.is_excused || one.frozen.as_ref().is_some_and(|frozen| frozen.stops_clock)
        };
        if owner.is_some_and(|one| one.may_act(self.time) && !stands_still(one)) {
            broken!("shard {shard} is claimed, and its owner may still act");
        }
        Ok(())
    }

    /// What was acknowledged is in the logs, and nothing of an owner after another one's claim.
    pub(super) fn check_logs(&self) -> Checked {
        for ((shard, place), record) in &self.cluster.acknowledged {
            let log = &self.cluster.database.shard(*shard).log;
            if log.get(*place).is_none_or(|(_, stored)| stored != record) {
                broken!("record {place} of shard {shard} was acknowledged, and is not in the log");
            }
        }
        for (shard, epoch, head) in &self.cluster.claims {
            let mut later = self.cluster.database.shard(*shard).log.iter().skip(*head);
            if later.any(|(of, _)| of < epoch) {
                broken!("shard {shard} has a record of an older epoch after the claim {epoch}");
            }
        }
        Ok(())
    }

    /// A new owner has the state of any other host that has read, or written, the same log.
    pub(super) fn check_successor(&self, host: usize) -> Checked {
        let (_, shard) = self.cluster.place(host);
        let own = &self.hosts[host];
        for (number, other) in self.hosts.iter().enumerate() {
            let is_of_shard = self.cluster.place(number).1 == shard;
            if number == host || !is_of_shard || other.log != own.log {
                continue;
            }
            if !are_same(&own.state, &other.state) {
                broken!("two hosts have read the same log of shard {shard}, and have two states");
            }
        }
        Ok(())
    }

    /// Everyone who reads the logs to the end has the owners' states.
    pub(super) fn check_states(&mut self) -> Checked {
        for owner in self.live.clone() {
            let (_, shard) = self.cluster.place(owner);
            for host in 0..self.hosts.len() {
                if self.cluster.place(host).1 == shard && host != owner {
                    self.catch_up(host, usize::MAX, usize::MAX)?;
                }
            }
            if self.hosts[owner].log.len() != self.cluster.database.shard(shard).log.len() {
                broken!("the owner of shard {shard} has not appended everything");
            }
            self.check_successor(owner)?;
        }
        Ok(())
    }
}

/// Whether two states have the same rows.
fn are_same(one: &State, other: &State) -> bool {
    macro_rules! rows {
        ($($table:ident),+ $(,)?) => {
            $(one.$table().iter().eq(other.$table().iter()))&&+
        };
    }
    one.facts() == other.facts()
        && rows!(
            agents, memory, inbox, forged, events, outbox, receipts, tasks, cards, spending,
            sightings, gaps, tokens, notices, webhooks, pushes,
        )
}
