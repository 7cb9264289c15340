//! What agents spend from a day's budget, and the drafts that wait for one.

use std::collections::{BTreeMap, BTreeSet};

use agentry_protocol::Amount;

use super::State;
use super::row::Spending;
use crate::rows::{AgentId, Charge, OutboxId, OutboxState};

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
        let spent = self
            .spending
            .get(&key)
            .map_or(Amount::ZERO, |row| row.spent);
        self.spending.put(Spending {
            agent: charge.agent,
            day,
            cause: charge.cause.clone(),
            spent: spent.saturating_add(charge.cost),
        });
        Some(charge)
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
