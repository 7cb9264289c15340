//! What operators are told of: found in what each commit changes, and kept until every webhook has it.

use agentry_protocol::Timestamp;

use super::row::{Notice, Outgoing, Task, Webhook};
use super::{Facts, State, next};
use crate::commit::Commit;
use crate::rows::{AgentId, EventState, InboxState, NoticeKind, OutboxState, TaskState};

/// The most notices that are kept: of more, the oldest are deleted, so that a webhook that does not
/// answer costs a bounded amount.
pub const KEPT: i64 = 10_000;

impl State {
    /// Whether anybody is told of anything.
    fn has_webhooks(&self) -> bool {
        self.webhooks.entries(..).next().is_some()
    }

    /// Adds the notices of a commit that was carried out. What an operator does itself is not told.
    pub(super) fn notice(&mut self, commit: &Commit, before: &Facts) {
        if !self.has_webhooks() {
            return;
        }
        let at = commit.runtime_time().or(self.facts.time);
        let at = at.unwrap_or(Timestamp::EPOCH);
        if let (None, Some(reason)) = (&before.halted, self.facts.halted.clone()) {
            self.add_notice(NoticeKind::Halted, None, String::new(), Some(&reason), at);
        }
        let is_operators = matches!(commit, Commit::Decide { .. } | Commit::Drop { .. });
        for (before, row) in self.inbox.changed() {
            let was_dead = before.is_some_and(|row| row.state == InboxState::Dead);
            if row.state == InboxState::Dead && !was_dead {
                let subject = format!("inbox/{}", row.id);
                let reason = row.reason.as_deref();
                self.add_notice(NoticeKind::DeadLetter, Some(row.agent), subject, reason, at);
            }
        }
        for (before, row) in self.events.changed() {
            let was_dead = before.is_some_and(|row| row.state == EventState::Dead);
            if row.state == EventState::Dead && !was_dead {
                let subject = format!("event/{}", row.id);
                let reason = row.reason.as_deref();
                self.add_notice(NoticeKind::DeadLetter, Some(row.agent), subject, reason, at);
            }
        }
        for (before, row) in self.outbox.changed() {
            let (agent, subject) = (Some(row.agent), format!("outbox/{}", row.id));
            let reason = row.reason.as_deref();
            let failed = |row: &Outgoing| row.state == OutboxState::Failed;
            let waits = |row: &Outgoing| row.unapproved && row.state == OutboxState::Queued;
            let held = |row: &Outgoing| row.held && row.state == OutboxState::Queued;
            let is_new = |so: fn(&Outgoing) -> bool| so(&row) && !before.as_deref().is_some_and(so);
            if is_new(failed) && !is_operators {
                self.add_notice(NoticeKind::TransactionFailed, agent, subject, reason, at);
            } else if is_new(waits) {
                self.add_notice(NoticeKind::ApprovalWaiting, agent, subject, reason, at);
            } else if is_new(held) {
                self.budget_low(row.agent, at.day(), reason, at);
            }
        }
        for (before, row) in self.tasks.changed() {
            let (agent, subject) = (Some(row.agent), format!("task/{}", row.id));
            let reason = row.error.as_deref();
            let failed = |row: &Task| row.state == TaskState::Failed;
            let waits = |row: &Task| row.unapproved && row.state == TaskState::Submitted;
            let is_new = |so: fn(&Task) -> bool| so(&row) && !before.as_deref().is_some_and(so);
            if is_new(failed) && !is_operators {
                self.add_notice(NoticeKind::TaskFailed, agent, subject, reason, at);
            } else if is_new(waits) {
                self.add_notice(NoticeKind::ApprovalWaiting, agent, subject, reason, at);
            }
        }
    }

    /// Tells that an agent has spent most of a day's budget; once for each agent and day.
    pub(super) fn budget_low(
        &mut self,
        agent: AgentId,
        day: u64,
        reason: Option<&str>,
        at: Timestamp,
    ) {
        let known = self.agents.get(&agent);
        if known.is_none_or(|row| row.low_budget_day >= Some(day)) || !self.has_webhooks() {
            return;
        }
        self.agents
            .change(&agent, |row| row.low_budget_day = Some(day));
        self.add_notice(
            NoticeKind::BudgetLow,
            Some(agent),
            String::new(),
            reason,
            at,
        );
    }

    fn add_notice(
        &mut self,
        kind: NoticeKind,
        agent: Option<AgentId>,
        subject: String,
        reason: Option<&str>,
        at: Timestamp,
    ) {
        let id = next(&mut self.facts.ids.notice);
        self.notices.put(Notice {
            id,
            kind,
            agent,
            subject,
            reason: reason.map(str::to_owned),
            at,
        });
        self.notices.remove(&(id - KEPT));
    }

    /// The webhooks that are set up, in the order of their names.
    pub fn webhook_names(&self) -> Vec<String> {
        self.webhooks.entries(..).map(|(name, _)| name).collect()
    }

    /// These webhooks are set up, and no others. A new one is told of what happens from now on.
    pub(super) fn set_webhooks(&mut self, names: &[String]) {
        let known = self.webhook_names();
        for name in known.iter().filter(|name| !names.contains(name)) {
            self.webhooks.remove(name);
        }
        for name in names.iter().filter(|name| !known.contains(name)) {
            self.webhooks.put(Webhook {
                name: name.clone(),
                through: self.facts.ids.notice,
            });
        }
        self.forget_delivered();
    }

    /// The next notices of a webhook, in order.
    pub fn undelivered(&self, webhook: &str, limit: usize) -> Vec<Notice> {
        let Some(webhook) = self.webhooks.get(&webhook.to_owned()) else {
            return Vec::new();
        };
        let first = webhook.through.saturating_add(1);
        let next = self.notices.range(first..).take(limit);
        next.map(|notice| Notice::clone(&notice)).collect()
    }

    /// Everything up to this notice was delivered to a webhook.
    pub(super) fn delivered_to(&mut self, name: &String, through: i64) {
        self.webhooks
            .change(name, |row| row.through = row.through.max(through));
        self.forget_delivered();
    }

    /// Deletes the notices that every webhook has.
    fn forget_delivered(&mut self) {
        let names = self.webhook_names();
        let through = names.iter().filter_map(|name| self.webhooks.get(name));
        let through = through.map(|row| row.through).min().unwrap_or(i64::MAX);
        let old: Vec<i64> = self.notices.range(..=through).map(|row| row.id).collect();
        for id in old {
            self.notices.remove(&id);
        }
    }
}
