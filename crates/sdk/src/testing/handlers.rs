//! Runs the handlers of hosted agents, one event after another.

use std::sync::Arc;

use super::Simulation;
use super::agent::Hosted;
use super::queue::{Item, Waiting};
use super::sent::Run;
use crate::{AnyBehaviour, Context, Event, Message, Settlement, State};

/// The number of runs of a behaviour after which an event is a dead letter: the runtime's default.
pub const ATTEMPTS: u32 = 5;
/// The pause after the first failed attempt. Each further pause is twice as long.
const MIN_BACKOFF_MS: u64 = 500;
/// The longest pause.
const MAX_BACKOFF_MS: u64 = 300_000;

/// The pause after this many failed attempts.
pub(super) fn backoff_ms(failed: u32) -> u64 {
    let factor = 1_u64.checked_shl(failed.saturating_sub(1).min(32));
    MIN_BACKOFF_MS
        .saturating_mul(factor.unwrap_or(u64::MAX))
        .min(MAX_BACKOFF_MS)
}

/// Whether a message meets a behaviour's demands for authenticity and sealing.
fn may_see(behaviour: &dyn AnyBehaviour, message: &Message) -> bool {
    message.authenticity >= behaviour.demands() && (message.sealed || !behaviour.demands_seal())
}

impl Simulation {
    /// Does one step of a hosted agent that is due now. Returns whether there was one.
    pub(super) async fn step(&mut self, host: usize) -> bool {
        self.ripen(host);
        self.limit_tasks(host);
        self.chase(host);
        let now = self.now_ms;
        let Some(hosted) = self.hosts.get(host) else {
            return false;
        };
        let due = hosted
            .store
            .queue
            .iter()
            .position(|item| item.not_before <= now && !self.is_withdrawn(hosted, item));
        let Some(item) = due else {
            return self.work(host).await;
        };
        match self
            .hosts
            .get_mut(host)
            .map(|hosted| hosted.store.queue.remove(item))
        {
            Some(item) => self.handle(host, item, due.unwrap_or(0)).await,
            None => false,
        }
    }

    /// Whether a message that no behaviour has seen yet is no longer on the chain, and so waits.
    fn is_withdrawn(&self, hosted: &Hosted, item: &Item) -> bool {
        let Waiting::Message(row) = item.what else {
            return false;
        };
        hosted.store.inbox.get(row).is_some_and(|row| {
            let fresh = row.next == 0 && item.attempt == 1;
            fresh && !row.carriers.iter().any(|hash| self.ledger.holds(*hash))
        })
    }

    async fn handle(&mut self, host: usize, item: Item, position: usize) -> bool {
        match item.what {
            Waiting::Message(row) => self.handle_message(host, row, item, position).await,
            Waiting::Own {
                behaviour,
                ref event,
                about,
            } => {
                let event = Event::clone(event);
                match self.run(host, behaviour, &event, about, &item).await {
                    Outcome::Committed => {}
                    Outcome::Again => self.put_back(host, item, position),
                    Outcome::Failed { retry: true, .. } => self.retry(host, item, position),
                    Outcome::Failed { reason, .. } => {
                        self.dead_letters.push((event, reason));
                    }
                }
                true
            }
        }
    }

    /// Shows a message to the next behaviour that accepts it.
    async fn handle_message(
        &mut self,
        host: usize,
        row: usize,
        mut item: Item,
        position: usize,
    ) -> bool {
        let now = self.now_ms;
        let Some(hosted) = self.hosts.get_mut(host) else {
            return false;
        };
        let Some(received) = hosted.store.inbox.get_mut(row) else {
            return false;
        };
        let message = Arc::clone(&received.message);
        let expired = message
            .header
            .as_ref()
            .is_some_and(|header| header.is_expired(now));
        if expired {
            received.handled = true;
            self.settle_as(host, row, &Settlement::Expired);
            return true;
        }
        let next = hosted
            .instances
            .iter()
            .enumerate()
            .skip(received.next)
            .find(|(_, one)| may_see(&*one.behaviour, &message) && one.behaviour.accepts(&message));
        let Some((behaviour, instance)) = next else {
            received.handled = true;
            self.conclude(host, row);
            return true;
        };
        let watches = instance.behaviour.watches(&message);
        let event = Event::Message(Arc::clone(&message));
        match self.run(host, behaviour, &event, Some(row), &item).await {
            Outcome::Committed => {
                if let Some(row) = self.received(host, row) {
                    row.next = behaviour + 1;
                    row.acted |= !watches;
                }
                item.attempt = 1;
                self.put_back(host, item, position);
            }
            Outcome::Again => self.put_back(host, item, position),
            Outcome::Failed { retry: true, .. } => self.retry(host, item, position),
            Outcome::Failed { reason, public, .. } => {
                if let Some(row) = self.received(host, row) {
                    row.handled = true;
                }
                self.dead_letters.push((event, reason));
                self.settle_as(host, row, &Settlement::Failed { reason: public });
            }
        }
        true
    }

    /// Runs a handler once, and commits its effects if it succeeds.
    async fn run(
        &mut self,
        host: usize,
        behaviour: usize,
        event: &Event,
        about: Option<usize>,
        item: &Item,
    ) -> Outcome {
        let Some(hosted) = self.hosts.get(host) else {
            return Outcome::Committed;
        };
        let Some(instance) = hosted.instances.get(behaviour).cloned() else {
            return Outcome::Committed;
        };
        let state = hosted.store.states.get(behaviour).cloned();
        let context = Context {
            agent: hosted.agent.name.clone(),
            address: hosted.party.address.clone(),
            behaviour: instance.name.clone(),
            attempt: item.attempt,
            now_ms: self.now_ms,
            state: State::new(state.unwrap_or_default()),
            environment: Arc::new(self.environment.clone()),
        };
        let attempts = hosted.agent.attempts;
        let outcome = instance.behaviour.on_event(event, &context).await;
        let dies = self.dies_before_commit(host);
        let record = |outcome, committed, impossible| Run {
            agent: context.agent.clone(),
            behaviour: context.behaviour.clone(),
            event: event.clone(),
            attempt: item.attempt,
            outcome,
            committed,
            impossible,
        };
        if dies {
            let outcome = outcome.map_err(|error| error.to_string());
            self.runs.push(record(outcome, false, false));
            return Outcome::Again;
        }
        let asked = outcome.is_ok();
        let committed = match outcome {
            Ok(effects) => self
                .commit(host, behaviour, about, &item.key, effects.clone())
                .map(|()| effects),
            Err(error) => Err(error),
        };
        match committed {
            Ok(effects) => {
                self.runs.push(record(Ok(effects), true, false));
                self.may_die_after_commit();
                Outcome::Committed
            }
            Err(error) => {
                let impossible = asked && !error.is_transient();
                self.runs
                    .push(record(Err(error.to_string()), false, impossible));
                Outcome::Failed {
                    retry: error.is_transient() && item.attempt < attempts,
                    reason: format!("{}: {error}", instance.name),
                    public: error.public().to_owned(),
                }
            }
        }
    }

    fn put_back(&mut self, host: usize, item: Item, position: usize) {
        if let Some(hosted) = self.hosts.get_mut(host) {
            let queue = &mut hosted.store.queue;
            queue.insert(position.min(queue.len()), item);
        }
    }

    fn retry(&mut self, host: usize, mut item: Item, position: usize) {
        item.not_before = self.now_ms.saturating_add(backoff_ms(item.attempt));
        item.attempt += 1;
        self.put_back(host, item, position);
    }

    /// Settles a message that all behaviours have handled, unless one of its tasks has not ended.
    pub(super) fn conclude(&mut self, host: usize, row: usize) {
        let Some(received) = self.received(host, row) else {
            return;
        };
        let settlement = if let Some(reason) = received.rejected.clone() {
            Some(Settlement::Rejected { reason })
        } else if received.acted {
            let tasks = received.tasks.clone();
            self.settlement_by_tasks(host, &tasks)
        } else {
            Some(Settlement::Rejected {
                reason: "no behaviour takes it".to_owned(),
            })
        };
        if let Some(settlement) = settlement {
            self.settle_as(host, row, &settlement);
        }
    }

    fn settle_as(&mut self, host: usize, row: usize, settlement: &Settlement) {
        let now = self.now_ms;
        let Some(hosted) = self.hosts.get_mut(host) else {
            return;
        };
        let store = &mut hosted.store;
        let Some(received) = store.inbox.get_mut(row) else {
            return;
        };
        if received.settlement.is_some() {
            return;
        }
        received.settlement = Some(settlement.clone());
        let message = Arc::clone(&received.message);
        let key = format!("settled/{}/{}", message.from, received.identity);
        for (position, one) in hosted.instances.iter().enumerate() {
            if may_see(&*one.behaviour, &message) && one.behaviour.watches(&message) {
                let event = Event::Settled(Arc::clone(&message), settlement.clone());
                let item = Item::own(&key, position, event, Some(row), now);
                store.queue.push(item);
            }
        }
    }

    fn received(&mut self, host: usize, row: usize) -> Option<&mut super::queue::Received> {
        self.hosts.get_mut(host)?.store.inbox.get_mut(row)
    }
}

enum Outcome {
    /// Its effects are committed.
    Committed,
    /// The process ended before the commit.
    Again,
    /// It failed.
    Failed {
        retry: bool,
        /// The reason for the operator, kept with the dead letter.
        reason: String,
        /// The reason for the sender.
        public: String,
    },
}
