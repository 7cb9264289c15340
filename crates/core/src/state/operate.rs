//! Changes to the queues by operators and by the passing of time: retry, drop, prune.

use std::sync::Arc;

use agentry_protocol::header::MAX_ID_AGE_MS;
use agentry_protocol::{MessageId, Timestamp};

use super::row::inbox::ForgedIndex;
use super::row::{Event, Forged, Message, Outgoing, event, inbox, outbox, task};
use super::{State, next};
use crate::commit::{Changes, QueueKind, QueueTarget, Reverified, Selection};
use crate::rows::{
    AgentId, EventId, EventKind, EventState, InboxId, InboxState, OutboxId, OutboxState,
    ReceiptState, TaskId,
};
use crate::{Authenticity, Standing};

/// The reason of a row that an operator dropped.
const DROPPED: &str = "dropped by the operator";

/// The conditions of a target that are not on a named row.
fn selection(target: &QueueTarget) -> Option<Selection> {
    match target {
        QueueTarget::Inbox(_) | QueueTarget::Outbox(_) | QueueTarget::Event(_) => None,
        QueueTarget::All => Some(Selection::default()),
        QueueTarget::Matching(selection) => Some(selection.clone()),
    }
}

/// Whether a row that failed for this reason is selected.
fn failed_for(selection: &Selection, reason: Option<&str>) -> bool {
    let wanted = selection.reason.as_deref();
    wanted.is_none_or(|wanted| reason == Some(wanted))
}

impl State {
    /// Whether a selection includes rows of a queue and an agent.
    fn is_selected(&self, selection: &Selection, queue: QueueKind, agent: AgentId) -> bool {
        if selection.queue.is_some_and(|only| only != queue) {
            return false;
        }
        let Some(named) = &selection.agent else {
            return true;
        };
        let agent = self.agents.get(&agent);
        agent.is_some_and(|agent| agent.name == *named || agent.address.as_str() == named)
    }

    /// A condition on a property that a queue's rows do not have matches none of them.
    fn selects_message(&self, selection: &Selection, row: &Message) -> bool {
        self.is_selected(selection, QueueKind::Inbox, row.agent)
            && selection.recipient.is_none()
            && selection.behaviour.is_none()
            && selection
                .sender
                .as_ref()
                .is_none_or(|sender| row.sender.as_str() == sender)
            && selection.since.is_none_or(|since| row.seen_at >= since)
            && failed_for(selection, row.reason.as_deref())
    }

    fn selects_event(&self, selection: &Selection, row: &Event) -> bool {
        self.is_selected(selection, QueueKind::Events, row.agent)
            && selection.sender.is_none()
            && selection.recipient.is_none()
            && selection
                .behaviour
                .as_ref()
                .is_none_or(|behaviour| row.behaviour == *behaviour)
            && selection.since.is_none_or(|since| row.made_at >= since)
            && failed_for(selection, row.reason.as_deref())
    }

    fn selects_transaction(&self, selection: &Selection, row: &Outgoing) -> bool {
        self.is_selected(selection, QueueKind::Outbox, row.agent)
            && selection.sender.is_none()
            && selection
                .recipient
                .as_ref()
                .is_none_or(|recipient| row.recipient.as_str() == recipient)
            && selection.behaviour.as_ref().is_none_or(|behaviour| {
                // The origin of what a behaviour sends holds its name between the event and a
                // number.
                row.origin.contains(&format!("/{behaviour}/"))
            })
            && selection.since.is_none_or(|since| row.created_at >= since)
            && failed_for(selection, row.reason.as_deref())
    }

    /// The messages that a target means: a named one, or the selected dead letters.
    fn target_messages(&self, target: &QueueTarget) -> Vec<InboxId> {
        if let QueueTarget::Inbox(id) = target {
            return vec![*id];
        }
        let Some(selection) = selection(target) else {
            return Vec::new();
        };
        let from = inbox::Index::Dead(AgentId(i64::MIN), InboxId(i64::MIN));
        let to = inbox::Index::Dead(AgentId(i64::MAX), InboxId(i64::MAX));
        let dead = self.inbox.range(from..=to);
        let dead = dead.filter(|row| self.selects_message(&selection, row));
        dead.map(|row| row.id).collect()
    }

    /// The events that a target means: a named one, or the selected dead letters.
    fn target_events(&self, target: &QueueTarget) -> Vec<EventId> {
        if let QueueTarget::Event(id) = target {
            return vec![*id];
        }
        let Some(selection) = selection(target) else {
            return Vec::new();
        };
        let from = event::Index::Dead(AgentId(i64::MIN), EventId(i64::MIN));
        let to = event::Index::Dead(AgentId(i64::MAX), EventId(i64::MAX));
        let dead = self.events.range(from..=to);
        let dead = dead.filter(|row| self.selects_event(&selection, row));
        dead.map(|row| row.id).collect()
    }

    /// The transactions that a target means: a named one, or the selected failed ones.
    fn target_transactions(&self, target: &QueueTarget) -> Vec<OutboxId> {
        if let QueueTarget::Outbox(id) = target {
            return vec![*id];
        }
        let Some(selection) = selection(target) else {
            return Vec::new();
        };
        let from = outbox::Index::Failed(AgentId(i64::MIN), OutboxId(i64::MIN));
        let to = outbox::Index::Failed(AgentId(i64::MAX), OutboxId(i64::MAX));
        let failed = self.outbox.range(from..=to);
        let failed = failed.filter(|row| self.selects_transaction(&selection, row));
        failed.map(|row| row.id).collect()
    }

    pub(super) fn retry(&mut self, target: &QueueTarget, at: Timestamp, changes: &mut Changes) {
        // The attempts are not reset, so that no outcome of an older attempt counts for a new one.
        for id in self.target_messages(target) {
            let due = &mut changes.due;
            self.inbox.change(&id, |row| {
                if row.state == InboxState::Dead && !row.stored.is_empty() {
                    row.due_at = Timestamp::EPOCH;
                    row.settled_at = None;
                    row.attempts += 1;
                    row.state = match row.height {
                        None => InboxState::Withdrawn,
                        Some(_) => InboxState::Waiting,
                    };
                    due.push(row.agent);
                }
            });
        }
        for id in self.target_events(target) {
            let due = &mut changes.due;
            self.events.change(&id, |row| {
                if row.state == EventState::Dead {
                    row.state = EventState::Waiting;
                    row.due_at = Timestamp::EPOCH;
                    row.attempts += 1;
                    due.push(row.agent);
                }
            });
        }
        changes.rows += changes.due.len();
        changes.due.sort_unstable();
        changes.due.dedup();
        for id in self.target_transactions(target) {
            let mut is_signed = None;
            self.outbox.change(&id, |row| {
                if row.state == OutboxState::Failed {
                    row.settled_at = None;
                    row.state = match row.signed {
                        None => OutboxState::Queued,
                        Some(_) => OutboxState::Accepted,
                    };
                    is_signed = Some(row.signed.is_some());
                }
            });
            let Some(is_signed) = is_signed else {
                continue;
            };
            changes.rows += 1;
            self.reopen_receipt(id);
            if is_signed {
                // The operator decides to send it: today's budget pays, whatever is left of it.
                self.charge(id, at.day());
                changes.reopened.extend(self.open_transaction(id));
            }
        }
    }

    /// Applies the results of verifying dead letters again. One that turns out to be forged moves
    /// to the forged messages. One whose new identity is already known stays unchanged. Returns how
    /// many messages changed.
    pub(super) fn reverify(&mut self, verified: &[Reverified], at: Timestamp) -> usize {
        let mut changed = 0;
        for one in verified {
            let dead = self
                .inbox
                .get(&one.id)
                .filter(|row| row.state == InboxState::Dead);
            let Some(dead) = dead else {
                continue;
            };
            if one.authenticity == Authenticity::Forged {
                if let Some(row) = self.delete_message(one.id)
                    && self.forged.get(&(row.agent, row.hash)).is_none()
                {
                    self.forged.put(Forged {
                        agent: row.agent,
                        hash: row.hash,
                        sender: row.sender.clone(),
                        height: row.height.unwrap_or_default(),
                        stored: Arc::clone(&row.stored),
                        seen_at: at,
                        order: next(&mut self.facts.ids.forged),
                    });
                }
                changed += 1;
                continue;
            }
            let identity = one.identity.clone();
            let identity = inbox::Index::Identity(dead.agent, dead.sender.clone(), identity);
            if self
                .inbox
                .find(&identity)
                .is_some_and(|known| known.id != one.id)
            {
                continue;
            }
            self.inbox.change(&one.id, |row| {
                row.authenticity = one.authenticity;
                row.identity.clone_from(&one.identity);
                row.urgent = one.urgent;
                row.standing = Standing::unknown(one.authenticity);
            });
            changed += 1;
        }
        changed
    }

    pub(super) fn discard(&mut self, target: &QueueTarget, at: Timestamp, changes: &mut Changes) {
        // A row that is named may still be waiting; a selection means dead letters and failed rows
        // only.
        let named = selection(target).is_none();
        for id in self.target_messages(target) {
            self.inbox.change(&id, |row| {
                let is_open = matches!(row.state, InboxState::Waiting | InboxState::Withdrawn);
                if row.state == InboxState::Dead || (named && is_open) {
                    row.state = InboxState::Handled;
                    row.reason = Some(DROPPED.to_owned());
                    row.settled_at = Some(at);
                    changes.rows += 1;
                }
            });
        }
        for id in self.target_events(target) {
            let Some(row) = self.events.get(&id) else {
                continue;
            };
            let is_waiting = named && row.state == EventState::Waiting;
            match row.kind {
                // `agent withdraw` is what ends a renewal, and agents.toml what ends a schedule.
                EventKind::Renewal => continue,
                EventKind::Tick if is_waiting => continue,
                _ if row.state != EventState::Dead && !is_waiting => continue,
                EventKind::Start => {
                    self.events.change(&id, |row| row.state = EventState::Held);
                }
                EventKind::Timer
                | EventKind::Delivery
                | EventKind::Settled
                | EventKind::Task
                | EventKind::Tick => {
                    self.events.remove(&id);
                }
            }
            changes.rows += 1;
        }
        for id in self.target_transactions(target) {
            let Some(row) = self.outbox.get(&id) else {
                continue;
            };
            // The node may have what was signed: only what was not signed can be dropped.
            if named && row.state == OutboxState::Queued {
                self.outbox.change(&id, |row| {
                    row.state = OutboxState::Failed;
                    row.reason = Some(DROPPED.to_owned());
                    row.settled_at = Some(at);
                    row.held = false;
                });
                changes.rows += 1;
                self.acknowledge(id, ReceiptState::Unsent, Some(DROPPED), at, changes);
            } else if row.state == OutboxState::Failed && row.reason.as_deref() != Some(DROPPED) {
                self.delete_transaction(id);
                changes.rows += 1;
            }
        }
    }

    /// Prunes what was settled before `before`, and ids that are certainly refused at `at`.
    pub(super) fn prune(&mut self, before: Timestamp, at: Timestamp, changes: &mut Changes) {
        // An id is kept for as long as it would be accepted, whatever the retention. Ids begin with
        // the time at which they were made, so they sort by time, also as texts.
        let ids_from = MessageId::new(at.minus_ms(MAX_ID_AGE_MS), [0; 10]);
        let ids_from = self.facts.ids_from.max(Some(ids_from));
        self.facts.ids_from = ids_from;
        let ids_from = ids_from.map_or_else(String::new, |id| id.to_string());
        let from = inbox::Index::Settled(Timestamp::EPOCH, InboxId(i64::MIN));
        let to = inbox::Index::Settled(before, InboxId(i64::MIN));
        let messages: Vec<_> = self
            .inbox
            .range(from..to)
            .filter(|row| row.identity == row.digest.to_string() || row.identity < ids_from)
            .filter(|row| !self.is_needed(row.id) && !self.has_open_replies(row.id))
            .map(|row| row.id)
            .collect();
        changes.rows += messages.len();
        for id in messages {
            self.delete_message(id);
        }
        // A result is kept until its behaviour was told, even if that behaviour is not configured
        // now.
        let from = task::Index::Ended(Timestamp::EPOCH, TaskId(i64::MIN));
        let to = task::Index::Ended(before, TaskId(i64::MIN));
        let tasks: Vec<_> = self
            .tasks
            .range(from..to)
            .filter(|row| self.updates(row).next().is_none())
            .map(|row| row.id)
            .collect();
        changes.rows += tasks.len();
        for id in tasks {
            self.tasks.remove(&id);
        }
        changes.rows += self.prune_spending();
        let from = outbox::Index::Settled(Timestamp::EPOCH, OutboxId(i64::MIN));
        let to = outbox::Index::Settled(before, OutboxId(i64::MIN));
        let outgoing: Vec<_> = self.outbox.range(from..to).map(|row| row.id).collect();
        changes.rows += outgoing.len();
        for id in outgoing {
            self.delete_transaction(id);
        }
        let forged: Vec<_> = self
            .forged
            .range(
                ForgedIndex::Seen(Timestamp::EPOCH, i64::MIN)..ForgedIndex::Seen(before, i64::MIN),
            )
            .map(|row| (row.agent, row.hash))
            .collect();
        changes.rows += forged.len();
        for key in forged {
            self.forged.remove(&key);
        }
        changes.rows += self.prune_sightings(before);
        self.prune_cards(at, changes);
    }

    /// Whether a transaction that follows from this message is not settled.
    fn has_open_replies(&self, inbox: InboxId) -> bool {
        let of = |id| outbox::Index::Inbox(inbox, OutboxId(id));
        self.outbox
            .range(of(i64::MIN)..=of(i64::MAX))
            .any(|row| !matches!(row.state, OutboxState::Final | OutboxState::Failed))
    }
}
