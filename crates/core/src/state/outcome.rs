//! The result of a behaviour's run, and what happens to an event that no behaviour runs for.

use agentry_protocol::{Address, Timestamp};
use serde_json::Value;

use super::claims::Anchor;
use super::row::Memory;
use super::{Refusal, State};
use crate::Settlement;
use crate::commit::{Changes, CommitResult, Handled, Outcome};
use crate::rows::{AgentId, EventId, EventKind, EventRef, EventState, InboxId, InboxState};

/// How many messages beyond the rate-limit timeout are moved to the dead-letter queue in one
/// commit.
const TIMEOUT_PAGE: usize = 256;

impl State {
    /// One behaviour has handled an event, or no behaviour accepts it.
    pub(super) fn settle(
        &mut self,
        outcome: &Outcome,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        let current = self.current(outcome.event, outcome.attempts);
        let (Some((agent, inbox)), Some(origin)) = (current, self.origin(outcome.event)) else {
            changes.result = CommitResult::Stale;
            return Ok(());
        };
        let anchor = self.anchor(outcome.event);
        match (outcome.event, &outcome.behaviour) {
            (EventRef::Inbox(id), Some(behaviour)) => {
                let mut is_new = false;
                self.inbox
                    .change(&id, |row| is_new = row.done.insert(behaviour.clone()));
                if !is_new {
                    changes.result = CommitResult::Stale;
                    return Ok(());
                }
            }
            (EventRef::Event(id), _) => self.event_done(id, outcome.again_at, outcome.at),
            (EventRef::Inbox(_), None) => {}
        }
        if let Some(behaviour) = &outcome.behaviour {
            self.remember(agent, behaviour, &outcome.state);
            for (name, setting) in &outcome.timers {
                let timer = (name.as_str(), setting.as_ref());
                let block = anchor.and_then(Anchor::block);
                let from = (&origin, &outcome.cause, block, outcome.trail);
                self.set_timer((agent, behaviour), timer, from, outcome.at);
            }
            if !outcome.timers.is_empty() {
                changes.due.push(agent);
            }
            for task in &outcome.tasks {
                let times = (outcome.at, outcome.tasks_from);
                let owner = (agent, behaviour.as_str());
                let from = (&origin, inbox, &outcome.cause, outcome.trail);
                let task = (task, outcome.tasks_unapproved);
                self.submit_task(owner, task, from, times, changes);
            }
            for (key, number, answer) in &outcome.answers {
                self.answer_task(
                    (agent, behaviour, key),
                    *number,
                    answer,
                    outcome.at,
                    changes,
                );
            }
            for key in &outcome.cancels {
                self.cancel_task(agent, behaviour, key, outcome.at, changes);
            }
        }
        let from = (agent, inbox);
        let sends = self.send_all(from, anchor, &outcome.sends, outcome.at, changes)?;
        changes.sends.extend(sends);
        self.check_shares(agent, outcome)?;
        if let EventRef::Inbox(id) = outcome.event {
            if let Some(reason) = &outcome.rejected {
                self.inbox.change(&id, |row| {
                    row.rejected.get_or_insert_with(|| reason.clone());
                });
            }
            if let Some(handled) = &outcome.handled {
                self.handled((agent, id), handled, outcome.at, changes);
            }
        }
        Ok(())
    }

    /// The agent of an event, and the message that it is or that it is about; `None` if an outcome
    /// of this attempt is stale.
    fn current(&self, event: EventRef, attempts: u32) -> Option<(AgentId, Option<InboxId>)> {
        match event {
            EventRef::Inbox(id) => {
                let row = self.inbox.get(&id)?;
                let is_current = row.state == InboxState::Waiting && row.attempts == attempts;
                is_current.then_some((row.agent, Some(id)))
            }
            EventRef::Event(id) => {
                let row = self.events.get(&id)?;
                let is_current = row.state == EventState::Waiting && row.attempts == attempts;
                is_current.then_some((row.agent, row.inbox))
            }
        }
    }

    /// Deletes an event that was handled, or makes it due again at `again_at`.
    fn event_done(&mut self, id: EventId, again_at: Option<Timestamp>, at: Timestamp) {
        let kind = self.events.get(&id).map(|row| row.kind);
        match (kind, again_at) {
            (Some(EventKind::Start), _) => {
                self.events.change(&id, |row| row.state = EventState::Held);
            }
            (Some(EventKind::Tick), _) => {
                self.plan_next(id, again_at, at);
                self.events.remove(&id);
            }
            (_, None) => {
                self.events.remove(&id);
            }
            // Counted as an attempt, so that no outcome of this run counts for the next one.
            (_, Some(due_at)) => {
                self.events.change(&id, |row| {
                    row.due_at = due_at;
                    row.attempts += 1;
                    row.reason = None;
                });
            }
        }
    }

    fn remember(&mut self, agent: AgentId, behaviour: &str, state: &[(String, Option<Value>)]) {
        for (key, value) in state {
            match value {
                Some(value) => self.memory.put(Memory {
                    agent,
                    behaviour: behaviour.to_owned(),
                    key: key.clone(),
                    value: value.clone(),
                }),
                None => {
                    let key = (agent, behaviour.to_owned(), key.clone());
                    self.memory.remove(&key);
                }
            }
        }
    }

    /// Every behaviour has handled a message.
    fn handled(
        &mut self,
        (agent, id): (AgentId, InboxId),
        handled: &Handled,
        at: Timestamp,
        changes: &mut Changes,
    ) {
        let mut reason = None;
        self.inbox.change(&id, |row| {
            reason = row.rejected.clone().or_else(|| handled.unacted.clone());
            row.state = InboxState::Handled;
            row.reason.clone_from(&reason);
            row.settled_at = Some(at);
            row.done.clear();
        });
        let settlement = reason.map_or(Settlement::Done, |reason| Settlement::Rejected { reason });
        self.tell_watchers((agent, id), &handled.watchers, &settlement, at, changes);
    }

    /// A run failed: the event is retried or becomes a dead letter.
    #[expect(
        clippy::too_many_arguments,
        reason = "they are the fields of one commit"
    )]
    pub(super) fn fail(
        &mut self,
        event: EventRef,
        attempts: u32,
        (reason, public): (&str, &str),
        (retry_at, again_at): (Option<Timestamp>, Option<Timestamp>),
        watchers: &[String],
        at: Timestamp,
        changes: &mut Changes,
    ) {
        let Some((agent, _)) = self.current(event, attempts) else {
            changes.result = CommitResult::Stale;
            return;
        };
        let reason = Some(reason.to_owned());
        let due_at = retry_at.unwrap_or(Timestamp::EPOCH);
        match event {
            EventRef::Event(id) => {
                if retry_at.is_none() {
                    self.plan_next(id, again_at, at);
                }
                self.events.change(&id, |row| {
                    row.attempts += 1;
                    row.reason = reason;
                    row.due_at = due_at;
                    if retry_at.is_none() {
                        row.state = EventState::Dead;
                    }
                });
            }
            EventRef::Inbox(id) => {
                self.inbox.change(&id, |row| {
                    row.attempts += 1;
                    row.reason = reason;
                    row.due_at = due_at;
                    if retry_at.is_none() {
                        row.state = InboxState::Dead;
                        row.settled_at = Some(at);
                    }
                });
                if retry_at.is_none() {
                    let settlement = Settlement::Failed {
                        reason: public.to_owned(),
                    };
                    self.tell_watchers((agent, id), watchers, &settlement, at, changes);
                }
            }
        }
    }

    /// A message expired before its turn came.
    pub(super) fn expire(
        &mut self,
        id: InboxId,
        watchers: &[String],
        at: Timestamp,
        changes: &mut Changes,
    ) {
        let waiting = self
            .inbox
            .get(&id)
            .filter(|row| row.state == InboxState::Waiting);
        let Some(agent) = waiting.map(|row| row.agent) else {
            changes.result = CommitResult::Stale;
            return;
        };
        self.inbox.change(&id, |row| {
            row.state = InboxState::Expired;
            row.settled_at = Some(at);
            row.reason = Some("it expired before its turn came".to_owned());
            row.done.clear();
        });
        self.tell_watchers((agent, id), watchers, &Settlement::Expired, at, changes);
    }

    /// An event is postponed. This does not count as an attempt.
    pub(super) fn postpone(&mut self, event: EventRef, until: Timestamp, reason: &str) {
        match event {
            EventRef::Inbox(id) => {
                self.inbox.change(&id, |row| {
                    if row.state == InboxState::Waiting {
                        row.due_at = until;
                        row.reason = Some(reason.to_owned());
                    }
                });
            }
            EventRef::Event(id) => {
                self.events.change(&id, |row| {
                    if row.state == EventState::Waiting {
                        row.due_at = until;
                        row.reason = Some(reason.to_owned());
                    }
                });
            }
        }
    }

    /// Moves messages beyond the rate-limit timeout to the dead-letter queue: the first of them
    /// now, the others with the next commits. Returns how many were moved.
    pub(super) fn rate_limit_timeout(
        &mut self,
        agent: AgentId,
        sender: Option<&Address>,
        before: Timestamp,
        reason: &str,
        at: Timestamp,
    ) -> usize {
        let late = self.late(agent, sender, before, TIMEOUT_PAGE);
        for id in &late {
            self.inbox.change(id, |row| {
                row.state = InboxState::Dead;
                row.reason = Some(reason.to_owned());
                row.settled_at = Some(at);
            });
        }
        late.len()
    }
}
