//! Runs the handlers of hosted agents, one event after another.

use std::sync::Arc;

use agentry_core::commit::{Handled, Outcome};
use agentry_core::rows::{EventKind, EventRef, InboxState, ReceiptState};
use agentry_core::state::due::{DueEvent, Turn};
use agentry_core::state::row;
use agentry_core::{Commit, OutboxId};
use agentry_protocol::command::Ack;
use agentry_protocol::{BlockHeight, KnownCommand, Timestamp};

use super::Simulation;
use super::agent::next_tick;
use super::runs::{Ran, Work};
use super::simulation::Subject;
use crate::durable::{stops, trail};
use crate::{AnyBehaviour, Event, Message, Settlement, Task};

/// Whether a message meets a behaviour's demands for authenticity and sealing.
fn may_see(behaviour: &dyn AnyBehaviour, message: &Message) -> bool {
    message.authenticity >= behaviour.demands() && (message.sealed || !behaviour.demands_seal())
}

impl Simulation {
    /// Does one step of a hosted agent that is due now. Returns whether there was one.
    pub(super) async fn step(&mut self, host: usize) -> bool {
        self.limit_tasks(host);
        let Some(agent) = self.hosts.get(host).map(|host| host.id) else {
            return false;
        };
        let (far, all) = (BlockHeight(u64::MAX), usize::MAX);
        let due = self
            .store
            .due(agent, self.now, far, &mut Turn::default(), all);
        // The chain's order, whoever the senders are: faults that delay an agent must not change it.
        let first = due.messages.iter().min_by_key(|message| message.seq);
        if let Some(event) = due.events.first() {
            self.handle_event(host, event).await;
        } else if let Some(overdue) = due.overdue.first() {
            self.chase(overdue.outbox);
        } else if let Some(message) = first {
            self.handle_message(host, message).await;
        } else {
            return self.work(host).await;
        }
        true
    }

    /// Shows a message to every behaviour that accepts it.
    async fn handle_message(&mut self, host: usize, row: &row::Message) {
        let at = self.now;
        let (Some(message), Some(hosted)) = (self.message(row), self.hosts.get(host)) else {
            return;
        };
        let max_hops = hosted.agent.max_hops;
        let shown = hosted
            .instances
            .iter()
            .filter(|one| may_see(&*one.behaviour, &message));
        let (mut accepting, mut watchers) = (Vec::new(), Vec::new());
        for one in shown {
            if one.behaviour.watches(&message) {
                watchers.push(one.name.clone());
            }
            if !row.done.contains(&one.name) && one.behaviour.accepts(&message) {
                accepting.push(one.name.clone());
            }
        }
        if message
            .header
            .as_ref()
            .is_some_and(|header| header.is_expired(at))
        {
            let message = row.id;
            self.must(&Commit::Expire {
                message,
                watchers,
                at,
            });
            return;
        }
        let command = message.command().unwrap_or_default();
        match (&message.answers, &command) {
            (None, Some(command)) if command.is_answer() => {
                let reason = "it does not answer a message to its sender".to_owned();
                self.drop_message(message.transaction, reason.clone());
                self.unacted(row, Vec::new(), Some(reason));
                return;
            }
            (Some(answered), Some(KnownCommand::Ack(ack))) => {
                let first = self.own(answered.transaction).map(|row| row.first());
                self.acknowledge(first, ack);
            }
            _ => {}
        }
        let acts = |name: &String| !watchers.contains(name);
        let acted = row.done.iter().any(acts) || accepting.iter().any(acts);
        let stopped = stops(message.trail(), max_hops);
        if stopped.is_some() {
            accepting.clear();
        }
        let unacted = stopped.or((!acted).then(|| "no behaviour takes it".to_owned()));
        if accepting.is_empty() {
            self.unacted(row, watchers, unacted);
            return;
        }
        let message = Arc::new(message);
        let mut left = accepting.iter().peekable();
        while let Some(behaviour) = left.next() {
            let handled = left.peek().is_none().then(|| Handled {
                watchers: watchers.clone(),
                unacted: unacted.clone(),
            });
            let work = Work {
                host,
                behaviour,
                reference: EventRef::Inbox(row.id),
                kind: None,
                attempts: row.attempts,
                trail: trail(None, Some(&message)),
                again_at: None,
                event: Event::Message(Arc::clone(&message)),
                message: Some(Arc::clone(&message)),
                cause: row.cause(),
                handled,
            };
            match self.run(&work).await {
                Ran::Committed => {}
                Ran::Again => return,
                Ran::Failed(error) => {
                    let failure = (Some(Subject::Message(row.id)), &error);
                    self.fail(work, failure, watchers);
                    return;
                }
            }
        }
    }

    /// No further behaviour handles a message; `reason` says why none does at all.
    fn unacted(&mut self, row: &row::Message, watchers: Vec<String>, reason: Option<String>) {
        let event = EventRef::Inbox(row.id);
        let handled = Handled {
            watchers,
            unacted: reason,
        };
        self.must(&Commit::Outcome(Outcome {
            handled: Some(handled),
            ..Outcome::nothing(event, row.attempts, self.now)
        }));
    }

    /// Records the recipient's acknowledgment of a message.
    fn acknowledge(&mut self, first: Option<OutboxId>, ack: &Ack) {
        if let Some(outbox) = first {
            self.must(&Commit::Acknowledge {
                outbox,
                state: ReceiptState::from(ack.status),
                detail: ack.detail.as_ref().map(|detail| detail.as_str().to_owned()),
                at: self.now,
            });
        }
    }

    /// Shows an event to the behaviour that it belongs to.
    async fn handle_event(&mut self, host: usize, due: &DueEvent) {
        let (row, about) = (&*due.row, &due.message);
        let message = about.as_ref().and_then(|about| self.message(about));
        let message = message.map(Arc::new);
        let agent = self.hosts.get(host).map(|host| host.agent.name.clone());
        let agent = agent.unwrap_or_default();
        let mut event = Event::of(due, message.as_ref(), &agent);
        if let (Some(Event::Task(report)), Some(task)) = (&mut event, &due.task) {
            report.task = self.shown_task(task, &agent);
        }
        let Some(event) = event else {
            let nothing = EventRef::Event(row.id);
            let nothing = Outcome::nothing(nothing, row.attempts, self.now);
            self.must(&Commit::Outcome(nothing));
            return;
        };
        let cause = match (about, row.kind) {
            (Some(about), EventKind::Settled) => about.cause(),
            _ => row.cause.clone(),
        };
        let work = Work {
            host,
            behaviour: &row.behaviour,
            reference: EventRef::Event(row.id),
            kind: Some(row.kind),
            attempts: row.attempts,
            trail: trail(Some(row), message.as_deref()),
            again_at: self.again_at(host, &row.behaviour, &event),
            event,
            message,
            cause,
            handled: None,
        };
        if let Ran::Failed(error) = self.run(&work).await {
            self.fail(work, (None, &error), Vec::new());
        }
    }

    /// The next time of the schedule that a tick is of.
    fn again_at(&self, host: usize, behaviour: &str, event: &Event) -> Option<Timestamp> {
        let Event::Tick(tick) = event else {
            return None;
        };
        let schedules = self
            .hosts
            .get(host)?
            .instance(behaviour)?
            .behaviour
            .schedules();
        let schedule = schedules.iter().find(|one| one.name == tick.name)?;
        Some(next_tick(schedule, tick.at))
    }

    /// The outcome of a message; none while it is not settled.
    pub(super) fn settlement_of(&self, row: &row::Message) -> Option<Settlement> {
        match row.state {
            InboxState::Waiting | InboxState::Withdrawn => None,
            InboxState::Expired => Some(Settlement::Expired),
            InboxState::Dead => {
                let reason = self.failures.get(&Subject::Message(row.id))?.clone();
                Some(Settlement::Failed { reason })
            }
            InboxState::Handled => match row.reason.clone() {
                Some(reason) => Some(Settlement::Rejected { reason }),
                None => self.store.outcome_of_tasks(row.id),
            },
        }
    }

    pub(super) fn shown_task(&self, row: &row::Task, agent: &str) -> Task {
        Task {
            // An interruption changes nothing.
            attempt: row.attempts.saturating_sub(row.interrupted),
            ..Task::of(row, agent)
        }
    }
}
