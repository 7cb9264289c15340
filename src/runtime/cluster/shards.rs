//! What this host does with each shard.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU16;
use std::time::Duration;

use agentry_cluster::{Claim, ClusterError, Database};
use agentry_core::cluster::{Action, Duty, Epoch, Incarnation, ShardId};
use agentry_store::{Condition, LogError, Position, Store, StoreError, place};
use backon::{ConstantBuilder, Retryable};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::connect;
use super::copy;
use super::relay::{self, Relays};
use super::runner::{Claimed, Ending, Runner};
use crate::runtime::host::HostError;
use crate::runtime::host::prepare::Part;
use crate::runtime::host::process::Process;
use crate::runtime::jobs::queue::Queue;
use crate::runtime::kill::{self, Point};
use crate::runtime::presence::Entered;

/// How long a shard that is handed over may take to finish what is in hand. Its agents are silent
/// meanwhile; what is not finished, the next owner does.
const FINISH: Duration = Duration::from_millis(200);

/// How long a shard rests that could not be run, before it is tried again.
const REST: Duration = Duration::from_secs(5);

/// How often, and for how long, the tables of a shard are tried to be removed while they are open.
const UNTIL_CLOSED: ConstantBuilder = ConstantBuilder::new()
    .with_delay(Duration::from_millis(100))
    .with_max_times(100);

/// What has become of something that was begun for a shard.
pub(super) enum Event {
    /// The tables of a shard were opened, to follow its log.
    Followed {
        shard: ShardId,
        result: Result<Store, StoreError>,
    },
    /// A shard was claimed, or another host was faster.
    Claimed {
        shard: ShardId,
        result: Result<Option<Claim>, ClusterError>,
    },
    /// The agents of a shard act.
    Started { shard: ShardId, epoch: Epoch },
    /// A shard does not run any more.
    Ended {
        shard: ShardId,
        epoch: Epoch,
        result: Result<(), HostError>,
    },
    /// A shard was released, or was no longer ours.
    Released {
        shard: ShardId,
        epoch: Epoch,
        result: Result<bool, ClusterError>,
    },
    /// A shard's row says that it is halted, or is not known to say so.
    Marked {
        shard: ShardId,
        result: Result<(), ClusterError>,
    },
    /// The tables of a shard were removed, or could not be.
    Discarded {
        shard: ShardId,
        result: Result<(), StoreError>,
    },
}

/// What this host does with one shard.
enum Slot {
    /// Its tables are being opened.
    Opening,
    /// Its log is followed.
    Follows(Entered),
    /// It is being claimed.
    Claiming(Entered),
    /// It runs here, or is being started.
    Leads {
        epoch: Epoch,
        runner: Runner,
        /// Its agents act.
        acts: bool,
    },
    /// It finishes what is in hand.
    Ending { epoch: Epoch, runner: Runner },
    /// It does not run any more, and is being released.
    Releasing { epoch: Epoch },
    /// An operator has to decide, for this reason.
    Halted { reason: String, is_marked: bool },
    /// The tables are being removed: the operator has decided, or they are damaged.
    Discarding,
}

/// The shards of this host.
pub(super) struct Shards {
    process: Process,
    database: Database,
    me: Incarnation,
    /// This host's name.
    name: String,
    /// The number of shards of the cluster.
    count: NonZeroU16,
    slots: BTreeMap<ShardId, Slot>,
    /// The shards that could not be run, and until when they rest.
    resting: HashMap<ShardId, Instant>,
    relays: Relays,
    /// Where tasks are put that workers run.
    jobs: Queue,
    events: mpsc::UnboundedSender<Event>,
}

impl Shards {
    /// No shards yet, of a cluster with so many. What is begun for one ends as an [`Event`].
    pub(super) fn new(
        process: Process,
        database: Database,
        me: Incarnation,
        count: NonZeroU16,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let relays = Relays::new(database.clone(), &process.api);
        let store = process.config.store.path.clone();
        let path_of = move |shard| copy::path(&store, shard);
        process
            .workers
            .spawn(relay::take(database.clone(), me, path_of));
        let on_workers = &process.config.tasks.on_workers;
        let name = process.config.cluster.as_ref();
        let name = name.map(connect::name).unwrap_or_default();
        Self {
            jobs: Queue::new(&database, on_workers, &process.workers),
            process,
            name,
            database,
            me,
            count,
            slots: BTreeMap::new(),
            resting: HashMap::new(),
            relays,
            events,
        }
    }

    /// What this host does, for its decision.
    pub(super) fn duties(&self) -> BTreeMap<ShardId, Duty> {
        let duties = self.slots.iter().map(|(shard, slot)| {
            let duty = match slot {
                Slot::Opening | Slot::Follows(_) | Slot::Claiming(_) => Duty::Follows,
                Slot::Leads { epoch, .. } => Duty::Leads(*epoch),
                Slot::Ending { epoch, .. } | Slot::Releasing { epoch } => Duty::HandsOver(*epoch),
                Slot::Halted { is_marked, .. } => Duty::Halted {
                    is_marked: *is_marked,
                },
                Slot::Discarding => Duty::Halted { is_marked: true },
            };
            (*shard, duty)
        });
        duties.collect()
    }

    /// The shards that are followed, and how far.
    pub(super) fn following(&self) -> BTreeMap<ShardId, u64> {
        let followed = self.slots.iter().filter_map(|(shard, slot)| match slot {
            // One that is being claimed counts: otherwise another host would take its turn.
            Slot::Follows(store) | Slot::Claiming(store) => {
                Some((*shard, store.position().borrow().0))
            }
            _ => None,
        });
        followed.collect()
    }

    /// How many shards run here, or are not released yet.
    pub(super) fn owned(&self) -> usize {
        let is_owned = |slot: &&Slot| {
            matches!(
                slot,
                Slot::Claiming(_)
                    | Slot::Leads { .. }
                    | Slot::Ending { .. }
                    | Slot::Releasing { .. }
            )
        };
        self.slots.values().filter(is_owned).count()
    }

    /// Has the tables made again that cannot be relied on, and those opened again that do not follow
    /// their log any more.
    pub(super) fn look_after_followed(&mut self) {
        let followed = self.slots.iter().filter_map(|(shard, slot)| match slot {
            Slot::Follows(store) => Some((*shard, store.condition().borrow().clone())),
            _ => None,
        });
        for (shard, condition) in followed.collect::<Vec<_>>() {
            match condition {
                Condition::Broken(what) | Condition::Spoiled(what) => {
                    let slot = self.slots.remove(&shard);
                    self.discard_damaged(shard, slot, None, &what);
                }
                // Following it again shows why.
                Condition::Halted(_) | Condition::Fenced => {
                    if let Some(slot) = self.slots.remove(&shard) {
                        self.close(slot);
                    }
                }
                Condition::Well | Condition::Refusing(_) => {}
            }
        }
    }

    /// Follows the shards that are asked for and are not here.
    pub(super) fn follow_asked(&mut self) {
        for shard in self.process.api.presence().asked() {
            self.follow(shard);
        }
    }

    /// Serves the control sockets of those of these shards that do not run here.
    pub(super) fn relay(&mut self, shards: impl Iterator<Item = ShardId>) {
        for shard in shards {
            if !matches!(
                self.slots.get(&shard),
                Some(Slot::Leads { .. } | Slot::Ending { .. })
            ) {
                let path = copy::path(&self.process.config.store.path, shard);
                self.relays.serve(shard, &path);
            }
        }
    }

    /// Does what was decided, or begins it.
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Stop(shard) => self.stop(shard),
            Action::HandOver { shard, epoch } => self.hand_over(shard, epoch),
            Action::Claim { shard, seen } => self.claim(shard, seen),
            Action::Follow(shard) => self.follow(shard),
            Action::Mark(shard) => self.mark(shard),
            Action::Halt(shard) => self.halted_elsewhere(shard),
            Action::Discard(shard) => self.discard(shard),
            Action::Unfollow(shard) => {
                let is_followed = matches!(self.slots.get(&shard), Some(Slot::Follows(_)));
                if is_followed
                    && !self.process.api.presence().asked().contains(&shard)
                    && let Some(slot) = self.slots.remove(&shard)
                {
                    self.close(slot);
                }
            }
        }
    }

    /// Ends every shard, within a time limit: this process ends.
    pub(super) fn end(&mut self, limit: Duration) {
        self.relays.end_all();
        for (shard, slot) in std::mem::take(&mut self.slots) {
            match slot {
                Slot::Leads { epoch, runner, .. } | Slot::Ending { epoch, runner } => {
                    runner.end(Ending::Finish(limit));
                    self.slots.insert(shard, Slot::Ending { epoch, runner });
                }
                Slot::Follows(store) | Slot::Claiming(store) => self.close(store),
                Slot::Opening | Slot::Releasing { .. } | Slot::Halted { .. } | Slot::Discarding => {
                }
            }
        }
    }

    /// Closes a store elsewhere: that takes as long as a call to the database that is under way, and
    /// this thread has to beat.
    fn close(&self, store: impl Send + 'static) {
        self.process.workers.spawn_blocking(move || drop(store));
    }

    /// Notes what has become of something that was begun.
    pub(super) fn heed(&mut self, event: Event) {
        match event {
            Event::Followed { shard, result } => self.followed(shard, result),
            Event::Claimed { shard, result } => self.claimed(shard, result),
            Event::Started { shard, epoch } => {
                if let Some(Slot::Leads {
                    epoch: of, acts, ..
                }) = self.slots.get_mut(&shard)
                    && *of == epoch
                {
                    *acts = true;
                }
                tracing::info!(
                    shard.id = shard.0,
                    epoch = epoch.0,
                    "the agents of a shard act on this host"
                );
            }
            Event::Ended {
                shard,
                epoch,
                result,
            } => self.ended(shard, epoch, result),
            Event::Released {
                shard,
                epoch,
                result,
            } => {
                match result {
                    Ok(true) => tracing::info!(shard.id = shard.0, "a shard was released"),
                    Ok(false) => tracing::warn!(
                        shard.id = shard.0,
                        "a shard had another owner before it was released"
                    ),
                    // The next beat shows it, and decides again.
                    Err(error) => {
                        tracing::warn!(shard.id = shard.0, %error, "a shard cannot be released yet");
                    }
                }
                if matches!(self.slots.get(&shard), Some(Slot::Releasing { epoch: of }) if *of == epoch)
                {
                    self.slots.remove(&shard);
                }
            }
            Event::Marked { shard, result } => match (self.slots.get_mut(&shard), result) {
                (Some(Slot::Halted { is_marked, .. }), Ok(())) => *is_marked = true,
                (_, Ok(())) => {}
                // The next beat decides again.
                (_, Err(error)) => {
                    tracing::warn!(shard.id = shard.0, %error, "other hosts do not know yet that a shard is halted");
                }
            },
            Event::Discarded { shard, result } => {
                if matches!(self.slots.get(&shard), Some(Slot::Discarding)) {
                    self.slots.remove(&shard);
                }
                if let Err(error) = result {
                    tracing::error!(shard.id = shard.0, %error, "what this host had of a shard cannot be removed");
                    self.rest(shard);
                }
            }
        }
    }

    fn is_resting(&self, shard: ShardId) -> bool {
        let until = self.resting.get(&shard);
        until.is_some_and(|until| Instant::now() < *until)
    }

    fn rest(&mut self, shard: ShardId) {
        self.resting.insert(shard, Instant::now() + REST);
    }

    fn follow(&mut self, shard: ShardId) {
        if self.slots.contains_key(&shard) || self.is_resting(shard) {
            return;
        }
        self.slots.insert(shard, Slot::Opening);
        let path = copy::path(&self.process.config.store.path, shard);
        let (database, events) = (self.database.clone(), self.events.clone());
        self.process.workers.spawn(async move {
            let result = copy::follow(&database, shard, path).await;
            let _ = events.send(Event::Followed { shard, result });
        });
    }

    fn followed(&mut self, shard: ShardId, result: Result<Store, StoreError>) {
        if !matches!(self.slots.get(&shard), Some(Slot::Opening)) {
            if let Ok(store) = result {
                self.close(store);
            }
            return;
        }
        self.slots.remove(&shard);
        match result {
            Ok(store) => {
                let entered = self.process.api.presence().enter(shard, store);
                self.slots.insert(shard, Slot::Follows(entered));
            }
            // What ran here before has not closed its store yet.
            Err(StoreError::Locked { .. }) => {}
            Err(error) => self.failed(shard, &error),
        }
    }

    /// The shard cannot be run here now. If its log is not the one that its tables come from, an
    /// operator has to decide.
    fn failed(&mut self, shard: ShardId, error: &StoreError) {
        if matches!(error, StoreError::Log(LogError::Diverged { .. })) {
            self.halt(shard, error);
        } else if error.is_damage() {
            self.discard_damaged(shard, None, None, &error.to_string());
        } else {
            tracing::error!(shard.id = shard.0, %error, retry.s = REST.as_secs(), "a shard cannot be followed; trying again");
            self.rest(shard);
        }
    }

    fn halt(&mut self, shard: ShardId, error: &StoreError) {
        tracing::error!(shard.id = shard.0, %error, "a shard is halted until an operator decides: see docs/cluster.md");
        let halted = Slot::Halted {
            reason: error.to_string(),
            is_marked: false,
        };
        self.slots.insert(shard, halted);
        self.mark(shard);
    }

    /// Has other hosts leave a halted shard alone.
    fn mark(&self, shard: ShardId) {
        let Some(Slot::Halted { reason, .. }) = self.slots.get(&shard) else {
            return;
        };
        let reason = format!("{}: {reason}", self.name);
        let (database, events) = (self.database.clone(), self.events.clone());
        self.process.workers.spawn(async move {
            let result = database.halt_shard(shard, &reason).await;
            let _ = events.send(Event::Marked { shard, result });
        });
    }

    /// Another host has found that a shard is halted.
    fn halted_elsewhere(&mut self, shard: ShardId) {
        match self.slots.remove(&shard) {
            None => {}
            Some(slot @ Slot::Follows(_)) => self.close(slot),
            // The next beat decides again.
            Some(slot) => {
                self.slots.insert(shard, slot);
                return;
            }
        }
        tracing::error!(
            shard.id = shard.0,
            "a shard is halted until an operator decides: `agentry cluster status` says why"
        );
        let halted = Slot::Halted {
            reason: String::new(),
            is_marked: true,
        };
        self.slots.insert(shard, halted);
    }

    /// The tables cannot be relied on. All that was acknowledged is in the log, and a host with good
    /// tables may run what is ours under an epoch.
    fn discard_damaged(
        &mut self,
        shard: ShardId,
        slot: Option<Slot>,
        ours: Option<Epoch>,
        what: &str,
    ) {
        tracing::error!(
            shard.id = shard.0,
            what,
            "this host's copy of a shard is damaged: it is removed, and made again from the log; check this machine's disk and memory"
        );
        self.rest(shard);
        self.remove(shard, slot, ours);
    }

    /// The operator goes on with the log as it is: these tables are not of it.
    fn discard(&mut self, shard: ShardId) {
        if !matches!(self.slots.get(&shard), Some(Slot::Halted { .. })) {
            return;
        }
        tracing::warn!(
            shard.id = shard.0,
            "an operator has resumed a halted shard: what this host had of it is removed"
        );
        self.remove(shard, None, None);
    }

    /// Releases a shard if it is ours under an epoch, and removes its tables, which this slot may have
    /// open.
    fn remove(&mut self, shard: ShardId, slot: Option<Slot>, ours: Option<Epoch>) {
        self.slots.insert(shard, Slot::Discarding);
        let path = copy::path(&self.process.config.store.path, shard);
        let (database, events) = (self.database.clone(), self.events.clone());
        self.process.workers.spawn(async move {
            // If it cannot be released, it is claimed again with new tables.
            if let Some(epoch) = ours
                && let Err(error) = database.release(shard, epoch).await
            {
                tracing::warn!(shard.id = shard.0, %error, "a shard cannot be released");
            }
            let _ = tokio::task::spawn_blocking(move || drop(slot)).await;
            let remove = || async {
                let path = path.clone();
                let removed = tokio::task::spawn_blocking(move || place::discard(&path)).await;
                removed.map_err(|_| StoreError::Closed)?
            };
            // A client may still be reading.
            let is_read = |error: &StoreError| matches!(error, StoreError::Locked { .. });
            let result = remove
                .retry(UNTIL_CLOSED)
                .sleep(tokio::time::sleep)
                .when(is_read)
                .await;
            let _ = events.send(Event::Discarded { shard, result });
        });
    }

    fn claim(&mut self, shard: ShardId, seen: Epoch) {
        if self.is_resting(shard) {
            return;
        }
        match self.slots.remove(&shard) {
            Some(Slot::Follows(store)) => {
                self.slots.insert(shard, Slot::Claiming(store));
                let (database, me, events) = (self.database.clone(), self.me, self.events.clone());
                self.process.workers.spawn(async move {
                    let result = database.claim(shard, seen, me, connect::format()).await;
                    let _ = events.send(Event::Claimed { shard, result });
                });
            }
            // Its tables are opened first; the next beat decides again.
            None => self.follow(shard),
            Some(slot) => {
                self.slots.insert(shard, slot);
            }
        }
    }

    fn claimed(&mut self, shard: ShardId, result: Result<Option<Claim>, ClusterError>) {
        let Some(Slot::Claiming(store)) = self.slots.remove(&shard) else {
            return;
        };
        let claim = match result {
            Ok(Some(claim)) => claim,
            Ok(None) => {
                tracing::debug!(
                    shard.id = shard.0,
                    "another host was faster to claim a shard"
                );
                self.slots.insert(shard, Slot::Follows(store));
                return;
            }
            Err(error) => {
                tracing::warn!(shard.id = shard.0, %error, "a shard cannot be claimed");
                self.slots.insert(shard, Slot::Follows(store));
                return;
            }
        };
        kill::pass(Point::AfterClaim);
        tracing::info!(
            shard.id = shard.0,
            epoch = claim.epoch.0,
            "this host has claimed a shard"
        );
        let claimed = Claimed {
            shard,
            epoch: claim.epoch,
            head: Position(claim.head),
            store,
            database: self.database.clone(),
        };
        let of = self.count;
        // The shard serves its own.
        self.relays.end(shard);
        let process = Process {
            part: Some(Part { shard, of }),
            jobs: Some(self.jobs.of(shard, claim.epoch)),
            ..self.process.clone()
        };
        let runner = Runner::start(process, claimed, self.events.clone());
        match runner {
            Ok(runner) => {
                let epoch = claim.epoch;
                let acts = false;
                let leads = Slot::Leads {
                    epoch,
                    runner,
                    acts,
                };
                self.slots.insert(shard, leads);
            }
            Err(error) => {
                tracing::error!(shard.id = shard.0, %error, "a shard cannot be started; trying again");
                self.rest(shard);
            }
        }
    }

    fn stop(&mut self, shard: ShardId) {
        match self.slots.remove(&shard) {
            Some(Slot::Leads { epoch, runner, .. }) => {
                tracing::warn!(
                    shard.id = shard.0,
                    epoch = epoch.0,
                    "another host has taken a shard over"
                );
                runner.end(Ending::Lost);
                self.slots.insert(shard, Slot::Ending { epoch, runner });
            }
            // It was being handed over.
            Some(Slot::Ending { epoch, runner }) => {
                runner.end(Ending::Lost);
                self.slots.insert(shard, Slot::Ending { epoch, runner });
            }
            Some(slot) => {
                self.slots.insert(shard, slot);
            }
            None => {}
        }
    }

    fn hand_over(&mut self, shard: ShardId, of: Epoch) {
        match self.slots.remove(&shard) {
            Some(Slot::Leads { epoch, runner, .. }) if epoch == of => {
                tracing::info!(shard.id = shard.0, "handing a shard over to another host");
                runner.end(Ending::Finish(FINISH));
                self.slots.insert(shard, Slot::Ending { epoch, runner });
            }
            // It does not run, and is still ours.
            None => self.release(shard, of),
            Some(slot @ Slot::Follows(_)) => {
                self.close(slot);
                self.release(shard, of);
            }
            Some(slot) => {
                self.slots.insert(shard, slot);
            }
        }
    }

    fn release(&mut self, shard: ShardId, epoch: Epoch) {
        self.slots.insert(shard, Slot::Releasing { epoch });
        let (database, events) = (self.database.clone(), self.events.clone());
        self.process.workers.spawn(async move {
            kill::pass(Point::BeforeRelease);
            let result = database.release(shard, epoch).await;
            kill::pass(Point::AfterRelease);
            let _ = events.send(Event::Released {
                shard,
                epoch,
                result,
            });
        });
    }

    fn ended(&mut self, shard: ShardId, epoch: Epoch, result: Result<(), HostError>) {
        let (was_to_end, acted) = match self.slots.remove(&shard) {
            Some(Slot::Leads {
                epoch: of, acts, ..
            }) if of == epoch => (false, acts),
            Some(Slot::Ending { epoch: of, .. }) if of == epoch => (true, false),
            Some(slot) => {
                self.slots.insert(shard, slot);
                return;
            }
            None => return,
        };
        // Its socket is gone with it.
        self.relay(std::iter::once(shard));
        match result {
            Ok(()) if was_to_end => self.release(shard, epoch),
            Ok(()) => {}
            Err(HostError::Store(StoreError::Fenced)) => {
                tracing::warn!(
                    shard.id = shard.0,
                    epoch = epoch.0,
                    "another host has taken a shard over"
                );
            }
            // The log lacks, or contradicts, what this host has acted on. Its tables may be older, and
            // not show that.
            Err(HostError::Store(error @ StoreError::Halted(_))) if acted => {
                self.halt(shard, &error);
            }
            Err(HostError::Store(error)) if error.is_damage() => {
                self.discard_damaged(shard, None, Some(epoch), &error.to_string());
            }
            Err(HostError::Store(error)) => self.failed(shard, &error),
            Err(error) => {
                tracing::error!(shard.id = shard.0, %error, retry.s = REST.as_secs(), "a shard has ended; starting it again");
                self.rest(shard);
            }
        }
    }
}
