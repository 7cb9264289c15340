//! Who is alive, as one host observes it by its own time.
//!
//! A counter that changes proves that its host has beaten; clocks of different machines are never
//! compared. What was observed is worth nothing if the observer itself was cut off meanwhile: the
//! database may have stood still for all. So after a [gap](super::GAP) the observation begins again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Epoch, GAP, Incarnation, LEASE, ShardId, ShardSeen, View};

/// A value, and since when it is known to be the same.
#[derive(Clone, Copy, Debug)]
struct Unchanged<T> {
    value: T,
    since: Duration,
    /// Whether it has changed since the observation began.
    has_changed: bool,
}

impl<T: PartialEq> Unchanged<T> {
    fn new(value: T, now: Duration) -> Self {
        Self {
            value,
            since: now,
            has_changed: false,
        }
    }

    fn see(&mut self, value: T, now: Duration) {
        if self.value != value {
            *self = Self {
                value,
                since: now,
                has_changed: true,
            };
        }
    }
}

/// The beats of all hosts, and the claims of all shards, as one host observes them.
#[derive(Clone, Debug, Default)]
pub struct Beats {
    last: Option<Duration>,
    hosts: BTreeMap<Incarnation, Unchanged<u64>>,
    shards: BTreeMap<ShardId, Unchanged<(Option<Incarnation>, Epoch)>>,
}

impl Beats {
    /// A view that arrived at this time.
    pub fn see(&mut self, now: Duration, view: &View) {
        let is_after_gap = |last: Duration| now.saturating_sub(last) > GAP;
        if self.last.is_some_and(is_after_gap) {
            self.hosts.clear();
            self.shards.clear();
        }
        self.last = Some(now);
        self.hosts.retain(|id, _| view.host(*id).is_some());
        for host in &view.hosts {
            let seen = self.hosts.entry(host.incarnation);
            let seen = seen.or_insert_with(|| Unchanged::new(host.beat, now));
            seen.see(host.beat, now);
        }
        self.shards.retain(|id, _| view.shard(*id).is_some());
        for shard in &view.shards {
            let claim = (shard.owner, shard.epoch);
            let seen = self.shards.entry(shard.id);
            let seen = seen.or_insert_with(|| Unchanged::new(claim, now));
            seen.see(claim, now);
        }
    }

    /// Whether a host's beat stands still for so long that it is dead.
    ///
    /// `asked` is when the request was sent that the present view answers: what it shows was read
    /// after that, perhaps long before it arrived.
    pub fn is_dead(&self, host: Incarnation, asked: Duration) -> bool {
        let seen = self.hosts.get(&host);
        seen.is_none_or(|seen| asked.saturating_sub(seen.since) >= LEASE)
    }

    /// Whether a host's beat was seen to change, and is not dead. One whose row was only found may have
    /// been dead for days.
    pub fn is_alive(&self, host: Incarnation, asked: Duration) -> bool {
        let seen = self.hosts.get(&host);
        seen.is_some_and(|seen| seen.has_changed) && !self.is_dead(host, asked)
    }

    /// Since when a shard may be claimed: it has no owner, or its owner's lease is over.
    pub fn free_since(&self, shard: &ShardSeen) -> Option<Duration> {
        let claimed = self.shards.get(&shard.id)?.since;
        let Some(owner) = shard.owner else {
            return Some(claimed);
        };
        let beat = self.hosts.get(&owner).map(|seen| seen.since);
        Some(beat.map_or(claimed, |beat| beat.max(claimed)) + LEASE)
    }
}
