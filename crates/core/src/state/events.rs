//! The events other than messages: timers, delivery updates, outcomes of watched messages, task
//! updates and card renewals. Starts and ticks are planned in [`plans`](super::plans).

use std::ops::Bound;
use std::sync::Arc;

use agentry_protocol::{BlockHeight, Timestamp, Trail};
use serde_json::{Value, json};

use super::row::{Event, Message, event, outbox};
use super::{Refusal, State, next};
use crate::Settlement;
use crate::cause::Cause;
use crate::commit::{Changes, TimerSetting};
use crate::origin::Origin;
use crate::rows::{
    AgentId, EventId, EventKind, EventRef, EventState, InboxId, OutboxState, TaskState,
};

/// An event to add.
pub(super) struct New<'a> {
    pub(super) origin: Origin,
    pub(super) agent: AgentId,
    pub(super) behaviour: &'a str,
    pub(super) kind: EventKind,
    pub(super) name: &'a str,
    pub(super) data: &'a Value,
    pub(super) inbox: Option<InboxId>,
    pub(super) due_at: Timestamp,
    /// Who caused it.
    pub(super) cause: &'a Cause,
    /// The block of the message that set the timer.
    pub(super) anchor: Option<BlockHeight>,
    /// What the messages that follow from it carry on.
    pub(super) trail: Trail,
}

impl State {
    /// The origin of a message, and the message.
    fn origin_of_message(&self, id: InboxId) -> Option<(Origin, Arc<Message>)> {
        let message = self.inbox.get(&id)?;
        Some((Origin::of_message(message.digest), message))
    }

    /// The origin of what a behaviour runs for; `None` if it is not there.
    pub fn origin(&self, event: EventRef) -> Option<Origin> {
        match event {
            EventRef::Inbox(id) => self.origin_of_message(id).map(|(origin, _)| origin),
            EventRef::Event(id) => self.events.get(&id).map(|event| event.origin.clone()),
        }
    }

    /// Adds an event.
    pub(super) fn add_event(&mut self, new: New<'_>, at: Timestamp) {
        let id = EventId(next(&mut self.facts.ids.event));
        self.events.put(Event {
            id,
            origin: new.origin,
            agent: new.agent,
            behaviour: new.behaviour.to_owned(),
            kind: new.kind,
            name: new.name.to_owned(),
            data: new.data.clone(),
            inbox: new.inbox,
            state: EventState::Waiting,
            due_at: new.due_at,
            attempts: 0,
            reason: None,
            made_at: at,
            cause: new.cause.clone(),
            anchor: new.anchor,
            trail: new.trail,
        });
    }

    /// Sets a timer, replacing one of the same name, or deletes it. `origin` is that of the event
    /// that set it, and `anchor` the block of the message that did, if a message did.
    pub(super) fn set_timer(
        &mut self,
        (agent, behaviour): (AgentId, &str),
        (name, setting): (&str, Option<&TimerSetting>),
        (origin, cause, anchor, trail): (&Origin, &Cause, Option<BlockHeight>, Trail),
        at: Timestamp,
    ) {
        // A new row has a new id: an outcome of the old timer does not count for the new one.
        let old = event::Index::Timer(agent, behaviour.to_owned(), name.to_owned());
        if let Some(old) = self.events.find(&old).map(|old| old.id) {
            self.events.remove(&old);
        }
        if let Some(setting) = setting {
            let new = New {
                origin: origin.timer(behaviour, name),
                agent,
                behaviour,
                kind: EventKind::Timer,
                name,
                data: &setting.data,
                inbox: None,
                due_at: setting.due_at,
                cause,
                anchor,
                trail,
            };
            self.add_event(new, at);
        }
    }

    /// Tells the behaviours that watch a message its outcome. The events are held while tasks that
    /// the message started are open.
    pub(super) fn tell_watchers(
        &mut self,
        (agent, inbox): (AgentId, InboxId),
        watchers: &[String],
        settlement: &Settlement,
        at: Timestamp,
        changes: &mut Changes,
    ) {
        if watchers.is_empty() {
            return;
        }
        let Some((origin, message)) = self.origin_of_message(inbox) else {
            return;
        };
        let data = json!(settlement);
        for watcher in watchers {
            let new = New {
                origin: origin.outcome(watcher, message.attempts),
                agent,
                behaviour: watcher,
                kind: EventKind::Settled,
                name: "",
                data: &data,
                inbox: Some(inbox),
                due_at: at,
                // The message itself names its sender, and what it follows from.
                cause: &Cause::Own,
                anchor: None,
                trail: Trail::NONE,
            };
            self.add_event(new, at);
        }
        if *settlement == Settlement::Done {
            self.hold_outcomes(inbox, &data);
            self.release_outcomes(inbox, at);
        }
        changes.due.push(agent);
    }

    /// The outcome events of a message in a state.
    fn outcomes(&self, inbox: InboxId, state: EventState) -> Vec<EventId> {
        let about = |id| event::Index::Inbox(inbox, EventId(id));
        self.events
            .range(about(i64::MIN)..=about(i64::MAX))
            .filter(|event| event.kind == EventKind::Settled && event.state == state)
            .map(|event| event.id)
            .collect()
    }

    /// Holds the outcome events of a message until its tasks have ended.
    fn hold_outcomes(&mut self, inbox: InboxId, settlement: &Value) {
        if self.tasks_of(inbox).next().is_none() {
            return;
        }
        for id in self.outcomes(inbox, EventState::Waiting) {
            self.events.change(&id, |event| {
                if event.data == *settlement {
                    event.state = EventState::Held;
                }
            });
        }
    }

    /// Releases the held outcome events of a message if all of its tasks have ended.
    pub(super) fn release_outcomes(&mut self, inbox: InboxId, at: Timestamp) {
        let held = self.outcomes(inbox, EventState::Held);
        if held.is_empty() {
            return;
        }
        let Some(settlement) = self.outcome_of_tasks(inbox) else {
            return;
        };
        let settlement = json!(settlement);
        for id in held {
            self.events.change(&id, |event| {
                event.state = EventState::Waiting;
                event.data = settlement.clone();
                event.due_at = at;
            });
        }
    }

    /// The outcome of a message that was acted on, by the tasks that it started; `None` while one of
    /// them is open.
    pub fn outcome_of_tasks(&self, inbox: InboxId) -> Option<Settlement> {
        let mut failed = None;
        for task in self.tasks_of(inbox) {
            match task.state {
                TaskState::Submitted | TaskState::Working | TaskState::InputRequired => {
                    return None;
                }
                // `error` is for the operator only; the code is public.
                TaskState::Failed if failed.is_none() => {
                    let code = task.error_code.as_deref().unwrap_or_default();
                    failed = Some(Settlement::of_failed_task(code));
                }
                TaskState::Canceled if failed.is_none() => {
                    failed = Some(Settlement::of_canceled_task());
                }
                TaskState::Failed | TaskState::Canceled | TaskState::Completed => {}
            }
        }
        Some(failed.unwrap_or(Settlement::Done))
    }

    /// Announces an agent's card at `due_at`, and renews it from then on.
    pub(super) fn register(
        &mut self,
        agent: AgentId,
        card: &Value,
        due_at: Timestamp,
    ) -> Result<(), Refusal> {
        let Some(owner) = self.agents.get(&agent) else {
            return Err(Refusal::UnknownAgent(agent));
        };
        let renewal = self.events.find(&event::Index::Renewal(agent));
        if renewal.is_some_and(|known| {
            known.attempts == 0 && known.due_at == due_at && known.data == *card
        }) {
            return Ok(());
        }
        self.unregister(agent);
        let new = New {
            origin: Origin::of_renewal(&owner.address, card, due_at),
            agent,
            behaviour: "",
            kind: EventKind::Renewal,
            name: "card",
            data: card,
            inbox: None,
            due_at,
            cause: &Cause::Own,
            anchor: None,
            trail: Trail::NONE,
        };
        self.add_event(new, due_at);
        Ok(())
    }

    /// Stops renewing an agent's card. An announcement that is not signed yet is deleted, too:
    /// otherwise it would be sent after the withdrawal.
    pub(super) fn unregister(&mut self, agent: AgentId) {
        let renewal = self.events.find(&event::Index::Renewal(agent));
        let Some(renewal) = renewal else {
            return;
        };
        self.events.remove(&renewal.id);
        // `0` follows `/`, so these are all origins that begin with the event's.
        let origin = &renewal.origin;
        let origins = (
            Bound::Excluded(outbox::Index::Origin(format!("{origin}/"))),
            Bound::Excluded(outbox::Index::Origin(format!("{origin}0"))),
        );
        let queued: Vec<_> = self
            .outbox
            .range(origins)
            .filter(|row| row.state == OutboxState::Queued)
            .map(|row| row.id)
            .collect();
        for id in queued {
            self.delete_transaction(id);
        }
    }
}
