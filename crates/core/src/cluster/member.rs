//! What one host decides after each of its beats.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::beats::Beats;
use super::placement::weight;
use super::{Epoch, HostSeen, Incarnation, LEASE, ShardId, ShardSeen, TURN, View};

/// What this host does with a shard, now. A shard with which it does nothing has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It follows the shard's log, or prepares to.
    Follows,
    /// It has claimed the shard under this epoch, and runs it or prepares to.
    Leads(Epoch),
    /// It still owns the shard under this epoch, and is about to release it: events in hand are
    /// finished, and no others begin.
    HandsOver(Epoch),
    /// It does nothing with the shard until an operator has decided: the tables of a host and the shard's
    /// log contradict each other.
    Halted {
        /// Whether the shard's row is known to say so, so that no other host runs the shard either.
        is_marked: bool,
    },
}

/// What a host is to do. The same is decided again at each beat until the view shows that it is done,
/// so an action may fail, or be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The shard is no longer ours: stop it at once, commit nothing.
    Stop(ShardId),
    /// Finish the events in hand, stop the shard, and release it if it still has this epoch.
    HandOver {
        /// The shard.
        shard: ShardId,
        /// The epoch of our claim.
        epoch: Epoch,
    },
    /// Claim the shard, if its epoch is still this one; lead it under the epoch of the claim.
    Claim {
        /// The shard.
        shard: ShardId,
        /// Its epoch in the view.
        seen: Epoch,
    },
    /// Stop following the shard. Its tables may stay.
    Unfollow(ShardId),
    /// Follow the shard's log.
    Follow(ShardId),
    /// Write to the shard's row that it is halted.
    Mark(ShardId),
    /// The shard's row says that it is halted: do nothing with it.
    Halt(ShardId),
    /// The operator goes on with the log as it is: remove our tables of the shard, which may have more.
    Discard(ShardId),
}

/// What one host has observed of its cluster, and what it decides.
///
/// Times are of one monotonic clock of this host's own, which goes on while the machine sleeps.
///
/// Each host that may own a shard (it is alive, does not drain, and reads the format of the shard's log)
/// has a place among those of that shard by [`ranks`](super::ranks); those whose nodes do not answer are
/// behind the others. The first should own it, and the best two of the others follow its log: one of
/// them takes over if the owner dies.
#[derive(Clone, Debug)]
pub struct Member {
    me: Incarnation,
    format: u32,
    is_draining: bool,
    beats: Beats,
    /// When the last acknowledged beat was sent.
    beaten: Option<Duration>,
}

impl Member {
    /// A host that has not beaten yet. `format` is the highest format of records that it reads
    /// ([`record::FORMAT`](crate::record::FORMAT)).
    pub fn new(me: Incarnation, format: u32) -> Self {
        Self {
            me,
            format,
            is_draining: false,
            beats: Beats::default(),
            beaten: None,
        }
    }

    /// From now on this host hands its shards over, and takes none. It may end when it has none left.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Whether it hands its shards over.
    pub fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Whether what was appended may still leave this host at `now`, if that takes as long as `needs`:
    /// until then no other host claims what this one owns.
    pub fn may_act(&self, now: Duration, needs: Duration) -> bool {
        self.beaten.is_some_and(|sent| now + needs <= sent + LEASE)
    }

    /// A beat that was sent at the time `sent` was acknowledged at `now`, durably, and has shown this
    /// view. `duties` is what this host does now, with all claims and releases whose answers arrived
    /// before the beat was sent. Returns what is to be done.
    ///
    /// Others may have seen the beat as soon as it was sent, so our lease counts from then.
    pub fn saw(
        &mut self,
        sent: Duration,
        now: Duration,
        view: &View,
        duties: &BTreeMap<ShardId, Duty>,
    ) -> Vec<Action> {
        self.beaten = self.beaten.max(Some(sent));
        self.beats.see(now, view);
        let decision = Decision {
            member: self,
            sent,
            view,
            duties,
        };
        decision.actions()
    }
}

/// One decision: everything that it depends on.
struct Decision<'a> {
    member: &'a Member,
    sent: Duration,
    view: &'a View,
    duties: &'a BTreeMap<ShardId, Duty>,
}

impl<'a> Decision<'a> {
    /// At most one action for each shard.
    fn actions(&self) -> Vec<Action> {
        let duties = self.duties.iter();
        let ends = duties.filter_map(|(id, duty)| match duty {
            Duty::Halted { is_marked } => self.halted(*id, *is_marked),
            duty => self.stop(*id, *duty),
        });
        let mut actions: Vec<_> = ends.collect();
        actions.extend(self.hand_over());
        let shards = self.view.shards.iter();
        actions.extend(shards.filter_map(|shard| {
            let halt = self.halt(shard);
            let claim = || self.claim(shard);
            halt.or_else(claim).or_else(|| self.follow(shard))
        }));
        let gone = self.duties.iter();
        let gone =
            gone.filter(|(id, duty)| **duty == Duty::Follows && self.view.shard(**id).is_none());
        actions.extend(gone.map(|(id, _)| Action::Unfollow(*id)));
        actions
    }

    /// The hosts that may own a shard, best first.
    fn candidates(&self, shard: &ShardSeen) -> Vec<&'a HostSeen> {
        let needed = self.view.format(shard);
        let may_own = |host: &&HostSeen| {
            !self.is_draining(host)
                && host.format >= needed
                && (self.is_me(host) || !self.member.beats.is_dead(host.incarnation, self.sent))
        };
        let mut hosts: Vec<_> = self.view.hosts.iter().filter(may_own).collect();
        hosts.sort_by_cached_key(|host| {
            let weight = weight(shard.id, &host.name);
            (host.without_node, Reverse((weight, host.incarnation)))
        });
        hosts
    }

    fn is_me(&self, host: &HostSeen) -> bool {
        host.incarnation == self.member.me
    }

    fn is_ours(&self, shard: &ShardSeen) -> bool {
        shard.owner == Some(self.member.me)
    }

    fn is_draining(&self, host: &HostSeen) -> bool {
        host.draining || (self.is_me(host) && self.member.is_draining)
    }

    /// What was found to be halted here: others learn it, and the operator decides by removing the mark.
    fn halted(&self, id: ShardId, is_marked: bool) -> Option<Action> {
        let shard = self.view.shard(id)?;
        match is_marked {
            false => Some(Action::Mark(id)),
            true => shard.halted.is_none().then_some(Action::Discard(id)),
        }
    }

    /// What another host has found to be halted.
    fn halt(&self, shard: &ShardSeen) -> Option<Action> {
        let duty = self.duties.get(&shard.id);
        let is_new = shard.halted.is_some() && matches!(duty, None | Some(Duty::Follows));
        is_new.then_some(Action::Halt(shard.id))
    }

    /// What is run here and is not ours any more, or is halted. A view that is older than our claim says
    /// nothing of who owns it.
    fn stop(&self, id: ShardId, duty: Duty) -> Option<Action> {
        let (Duty::Leads(epoch) | Duty::HandsOver(epoch)) = duty else {
            return None;
        };
        let is_lost = self.view.shard(id).is_none_or(|shard| {
            shard.epoch > epoch
                || (shard.epoch == epoch && !self.is_ours(shard))
                || shard.halted.is_some()
        });
        is_lost.then_some(Action::Stop(id))
    }

    /// The shard that is to be handed over now: one after the other, so that few agents are silent at a
    /// time, and a newcomer has one shard to start.
    fn hand_over(&self) -> Option<Action> {
        let ours = || self.view.shards.iter().filter(|shard| self.is_ours(shard));
        let under_way =
            ours().find(|shard| self.duties.get(&shard.id) == Some(&Duty::HandsOver(shard.epoch)));
        let next = under_way.or_else(|| {
            ours().find(|shard| match self.duties.get(&shard.id) {
                Some(Duty::Leads(epoch)) => *epoch == shard.epoch && self.is_awaited(shard),
                Some(Duty::HandsOver(_) | Duty::Halted { .. }) => false,
                // We are not to run it any more.
                Some(Duty::Follows) | None => self.member.is_draining,
            })
        });
        next.map(|shard| Action::HandOver {
            shard: shard.id,
            epoch: shard.epoch,
        })
    }

    /// Whether a better host can take over a shard of ours at once.
    fn is_awaited(&self, shard: &ShardSeen) -> bool {
        let candidates = self.candidates(shard);
        let is_ready = |host: &HostSeen| {
            let is_alive = self.member.beats.is_alive(host.incarnation, self.sent);
            !self.is_me(host) && is_alive && host.is_level(shard)
        };
        if self.member.is_draining {
            return candidates.is_empty() || candidates.into_iter().any(is_ready);
        }
        let Some(best) = candidates.first().filter(|best| is_ready(best)) else {
            return false;
        };
        // It has to take what was released for it before.
        let mut free = self.view.shards.iter().filter(|one| one.owner.is_none());
        free.all(|one| {
            self.turns(one).first().map(|first| first.incarnation) != Some(best.incarnation)
        })
    }

    /// The hosts that may claim a shard without an owner, in turn. Those that are level are first: they
    /// run it at once, and the best one takes it over when it is level, too.
    fn turns(&self, shard: &ShardSeen) -> Vec<&'a HostSeen> {
        let mut hosts = self.candidates(shard);
        hosts.sort_by_key(|host| !host.is_level(shard));
        hosts
    }

    fn claim(&self, shard: &ShardSeen) -> Option<Action> {
        let claim = Action::Claim {
            shard: shard.id,
            seen: shard.epoch,
        };
        let is_ready = matches!(self.duties.get(&shard.id), None | Some(Duty::Follows));
        let may_run = !self.member.is_draining
            && shard.halted.is_none()
            && self.view.format(shard) <= self.member.format;
        if !is_ready || !may_run {
            return None;
        }
        // The answer to our claim was lost, or what we ran has ended.
        if self.is_ours(shard) {
            return Some(claim);
        }
        let turn = self.turns(shard).iter().position(|host| self.is_me(host))?;
        let free_since = self.member.beats.free_since(shard)?;
        let is_first = turn == 0 && shard.owner.is_none();
        let turn = TURN * u32::try_from(turn).unwrap_or(u32::MAX);
        (is_first || self.sent >= free_since + turn).then_some(claim)
    }

    /// The hosts that should follow a shard: of its best two, and of its best three with the owner.
    fn followers(&self, shard: &ShardSeen) -> Vec<&'a HostSeen> {
        let mut best = self.candidates(shard);
        best.truncate(2);
        best.retain(|host| shard.owner != Some(host.incarnation));
        best
    }

    /// Whether to begin or to end to follow a shard. A follower stays one until those that should follow
    /// instead are level.
    fn follow(&self, shard: &ShardSeen) -> Option<Action> {
        if self.is_ours(shard) {
            return None;
        }
        let followers = self.followers(shard);
        let should_follow = followers.iter().any(|host| self.is_me(host));
        match self.duties.get(&shard.id) {
            None => should_follow.then_some(Action::Follow(shard.id)),
            Some(Duty::Follows) => {
                let may_follow =
                    !self.member.is_draining && self.view.format(shard) <= self.member.format;
                let is_needed = should_follow || !followers.iter().all(|host| host.is_level(shard));
                (!may_follow || !is_needed).then_some(Action::Unfollow(shard.id))
            }
            Some(Duty::Leads(_) | Duty::HandsOver(_) | Duty::Halted { .. }) => None,
        }
    }
}
