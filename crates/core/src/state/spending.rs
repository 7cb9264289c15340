//! What agents spend from a day's budgets, and the drafts that wait for one.

use std::collections::{BTreeMap, BTreeSet};

use agentry_protocol::Amount;

use super::State;
use super::row::{Spending, Task};
use crate::cause::Cause;
use crate::rows::{AgentId, Charge, OutboxId, OutboxState, TaskId};
use crate::{TokenCharge, Tokens};

/// The tokens of models that an agent's tasks have used on a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayTokens {
    /// All of them, with those that running tasks have reserved.
    pub counted: u64,
    /// Those that running tasks have reserved.
    pub reserved: u64,
}

/// For how many days an agent's spending is kept: the latest days on which it spent. After a wrong
/// clock is set back, the spending of the days that come again is still there.
const DAYS_KEPT: usize = 32;

impl State {
    /// Charges a signed transaction to the budget of a day. Returns the charge; none if there is
    /// no such transaction.
    pub(super) fn charge(&mut self, id: OutboxId, day: u64) -> Option<Charge> {
        let row = self.outbox.get(&id)?;
        let charge = Charge {
            agent: row.agent,
            day,
            cost: row.cost(),
            cause: row.cause.clone(),
        };
        self.outbox.change(&id, |row| row.budget_day = Some(day));
        let key = (charge.agent, day, charge.cause.clone());
        self.change_spending(key, |row| row.spent = row.spent.saturating_add(charge.cost));
        Some(charge)
    }

    fn change_spending(
        &mut self,
        (agent, day, cause): (AgentId, u64, Cause),
        change: impl FnOnce(&mut Spending),
    ) {
        let before = self.spending.get(&(agent, day, cause.clone()));
        let mut row = before.map_or_else(
            || Spending {
                agent,
                day,
                cause,
                spent: Amount::ZERO,
                tokens: 0,
            },
            |before| Spending::clone(&before),
        );
        change(&mut row);
        self.spending.put(row);
    }

    /// An attempt at a task begins: what it reserves counts as used.
    pub(super) fn reserve_tokens(&mut self, id: TaskId, reserved: TokenCharge) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        self.tasks.change(&id, |row| row.reserved = Some(reserved));
        self.count_tokens(&task, reserved.day, |tokens| {
            tokens.saturating_add(reserved.tokens)
        });
    }

    /// An attempt at a task has ended: what it has used replaces what it had reserved. If that is not
    /// known, what it had reserved stays counted.
    pub(super) fn settle_tokens(&mut self, id: TaskId, used: Option<Tokens>) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let Some(reserved) = task.reserved else {
            return;
        };
        self.tasks.change(&id, |row| {
            row.reserved = None;
            row.tokens = row.tokens.plus(used.unwrap_or_default());
        });
        if let Some(used) = used {
            self.count_tokens(&task, reserved.day, |tokens| {
                let others = tokens.saturating_sub(reserved.tokens);
                others.saturating_add(used.sum())
            });
        }
    }

    fn count_tokens(&mut self, task: &Task, day: u64, change: impl FnOnce(u64) -> u64) {
        let key = (task.agent, day, task.cause.clone());
        let before = self.spending.get(&key).map_or(0, |row| row.tokens);
        let after = change(before).min(Tokens::MOST);
        // Most tasks use no model.
        if after != before {
            self.change_spending(key, |row| row.tokens = after);
        }
    }

    /// The tokens of models that an agent's tasks have used on a day.
    pub fn day_tokens(&self, agent: AgentId, day: u64) -> DayTokens {
        let first = |day| (agent, day, "", String::new());
        let rows = self
            .spending
            .range(first(day)..first(day.saturating_add(1)));
        let counted = rows.fold(0_u64, |sum, row| sum.saturating_add(row.tokens));
        let working = self.working_tasks().into_iter();
        let reserved = working
            .filter(|task| task.agent == agent)
            .filter_map(|task| task.reserved)
            .filter(|reserved| reserved.day == day)
            .fold(0_u64, |sum, reserved| sum.saturating_add(reserved.tokens));
        DayTokens { counted, reserved }
    }

    /// Refunds a transaction that is not sent to the day that paid for it.
    pub(super) fn refund(&mut self, id: OutboxId) {
        let Some(row) = self.outbox.get(&id) else {
            return;
        };
        let Some(day) = row.budget_day else {
            return;
        };
        let (key, cost) = ((row.agent, day, row.cause.clone()), row.cost());
        // A pruned day gets no refund.
        self.spending
            .change(&key, |row| row.spent = row.spent.saturating_sub(cost));
        self.outbox.change(&id, |row| row.budget_day = None);
    }

    /// Charges a transaction that failed, and so was refunded, but was mined nevertheless.
    pub(super) fn charge_again(&mut self, id: OutboxId, day: u64) -> Option<Charge> {
        let is_paid = self.outbox.get(&id)?.budget_day.is_some();
        if is_paid { None } else { self.charge(id, day) }
    }

    /// Holds drafts for which the budget is too small, with the reason. Returns how many are held.
    pub(super) fn hold(&mut self, held: &[(OutboxId, String)]) -> usize {
        let mut changed = 0;
        for (id, reason) in held {
            self.outbox.change(id, |row| {
                if row.state == OutboxState::Queued {
                    row.held = true;
                    row.reason = Some(reason.clone());
                    changed += 1;
                }
            });
        }
        changed
    }

    /// Releases held drafts for which the budget suffices now. Returns how many are released.
    pub(super) fn release(&mut self, ids: &[OutboxId]) -> usize {
        let mut changed = 0;
        for id in ids {
            self.outbox.change(id, |row| {
                if row.state == OutboxState::Queued && row.held {
                    row.held = false;
                    row.reason = None;
                    changed += 1;
                }
            });
        }
        changed
    }

    /// Prunes old days. Returns how many rows were deleted.
    pub(super) fn prune_spending(&mut self) -> usize {
        let mut days: BTreeMap<AgentId, BTreeSet<u64>> = BTreeMap::new();
        for row in self.spending.range(..) {
            days.entry(row.agent).or_default().insert(row.day);
        }
        let first_kept = |agent: &AgentId| {
            let days = days.get(agent)?;
            days.iter().rev().nth(DAYS_KEPT - 1).copied()
        };
        let old: Vec<_> = self
            .spending
            .range(..)
            .filter(|row| Some(row.day) < first_kept(&row.agent))
            .map(|row| (row.agent, row.day, row.cause.clone()))
            .collect();
        for key in &old {
            self.spending.remove(key);
        }
        old.len()
    }
}
