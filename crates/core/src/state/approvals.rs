//! What operators decide on: effects of behaviours that wait for approval.

use std::collections::BTreeSet;

use agentry_protocol::Timestamp;

use super::State;
use crate::commit::{Changes, HeldEffect, TaskEnd};
use crate::rows::{OutboxId, OutboxState, ReceiptState, TaskId, TaskState};

/// The code of a task that an operator has denied.
const DENIED: &str = "denied";

impl State {
    /// Carries out an operator's decision. Returns whether the effect has waited for it.
    pub(super) fn decide(
        &mut self,
        effect: HeldEffect,
        (granted, reason): (bool, Option<&str>),
        at: Timestamp,
        changes: &mut Changes,
    ) -> bool {
        let denied = match reason {
            Some(reason) => format!("an operator denied it: {reason}"),
            None => "an operator denied it".to_owned(),
        };
        let denied = (!granted).then_some(denied.as_str());
        match effect {
            HeldEffect::Outbox(id) => self.decide_message(id, denied, at, changes),
            HeldEffect::Task(id) => self.decide_task(id, denied, at, changes),
        }
    }

    fn decide_message(
        &mut self,
        id: OutboxId,
        denied: Option<&str>,
        at: Timestamp,
        changes: &mut Changes,
    ) -> bool {
        let waits = self
            .outbox
            .get(&id)
            .filter(|row| row.unapproved && row.state == OutboxState::Queued);
        let Some(row) = waits else { return false };
        let Some(denied) = denied else {
            self.outbox.change(&id, |row| row.unapproved = false);
            return true;
        };
        self.outbox.change(&id, |row| {
            row.state = OutboxState::Failed;
            row.reason = Some(denied.to_owned());
            row.settled_at = Some(at);
        });
        self.acknowledge(id, ReceiptState::Unsent, Some(denied), at, changes);
        self.bound_settled(&BTreeSet::from([(row.agent, row.cause.clone())]));
        true
    }

    fn decide_task(
        &mut self,
        id: TaskId,
        denied: Option<&str>,
        at: Timestamp,
        changes: &mut Changes,
    ) -> bool {
        let waits = self
            .tasks
            .get(&id)
            .filter(|row| row.unapproved && row.state == TaskState::Submitted);
        let Some(row) = waits else { return false };
        self.tasks.change(&id, |row| row.unapproved = false);
        match denied {
            None => changes.tasks = true,
            Some(denied) => {
                let end = TaskEnd::Failed {
                    code: DENIED.to_owned(),
                    message: denied.to_owned(),
                    public: denied.to_owned(),
                };
                self.end_task((id, row.attempts), (&end, None), 0, at, changes);
            }
        }
        true
    }
}
