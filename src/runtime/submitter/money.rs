//! Charging drafts to budgets.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_core::rows::{Charge, Draft};
use agentry_core::state::row::Outgoing;
use agentry_core::{AgentId, OutboxId};
use agentry_protocol::{Amount, Timestamp};
use agentry_store::read::Spending;

use super::budget::{Admission, Budget, Cost, Ledger, Short, first_day};
use crate::runtime::metrics::Metrics;
use crate::runtime::registry::AgentRegistry;

/// How long after a refund the drafts that wait for a budget are looked at: that is expensive where
/// many wait.
const REFUND_PAUSE: Duration = Duration::from_secs(1);

/// What the wallets have spent, and which of them wait for a budget.
#[derive(Debug)]
pub(super) struct Money {
    registry: AgentRegistry,
    pub(super) ledger: Ledger,
    /// The number of commits under way whose charges the store may not know yet.
    pub(super) unstored: usize,
    /// The wallets with drafts that wait for a budget.
    pub(super) holding: HashSet<AgentId>,
    /// From when on a budget may suffice for drafts that wait for one.
    release_at: Option<Instant>,
    /// The wallets that have spent most of a day's budget, with the day; each is told once.
    low: HashSet<(AgentId, u64)>,
    /// Those of them of which operators are still to be told.
    untold: Vec<LowBudget>,
    /// The day at the last check of the clock.
    day: u64,
}

/// A wallet has spent most of a day's budget.
#[derive(Debug)]
pub(super) struct LowBudget {
    pub(super) agent: AgentId,
    pub(super) day: u64,
    pub(super) reason: String,
}

/// A budget is low when less than this part of it is left: a tenth.
const LOW: u64 = 10;

impl Money {
    /// `spending` is that of the days from [`first_day`] on.
    pub(super) fn new(
        registry: AgentRegistry,
        spending: Spending,
        holding: HashSet<AgentId>,
        now: Timestamp,
    ) -> Self {
        Self {
            registry,
            ledger: Ledger::new(first_day(now), spending),
            unstored: 0,
            holding,
            release_at: Some(Instant::now()),
            low: HashSet::new(),
            untold: Vec::new(),
            day: now.day(),
        }
    }

    fn budget(&self, agent: AgentId) -> Option<Budget> {
        let hosted = self.registry.get(agent)?;
        Some(Budget {
            all: hosted.config.common.daily_budget,
        })
    }

    /// Charges a draft to its wallet's budget. The log reports once a day which part of it is
    /// exhausted.
    pub(super) fn pay(&mut self, agent: AgentId, draft: &Draft, now: Timestamp) -> Admission {
        let Some(budget) = self.budget(agent) else {
            return Admission::Unknown;
        };
        let cost = Cost::new(draft.amount, draft.fee);
        let admission = self.ledger.pay(agent, budget, &draft.cause, cost, now);
        if let Admission::Paid(charge) = &admission {
            self.look_at(agent, budget, charge.day);
        }
        if let Admission::Short(short) = admission
            && self.ledger.tell(agent, short.limit, now)
        {
            let hosted = self.registry.get(agent);
            let name = hosted.as_ref().map(|hosted| hosted.config.name.as_str());
            tracing::warn!(
                agent.name = name,
                reason = self.reason(agent, draft, short, now),
                "a part of the day's budget is exhausted; the agent's messages charged to it wait"
            );
        }
        admission
    }

    /// Notes a budget that is low.
    fn look_at(&mut self, agent: AgentId, budget: Budget, day: u64) {
        let (all, spent) = (budget.all, self.ledger.spent(agent, day).all);
        let left = all.saturating_sub(spent);
        if left.0 < all.0 / LOW && self.low.insert((agent, day)) {
            let reason = format!("{spent} of this day's budget of {all} are spent");
            self.untold.push(LowBudget { agent, day, reason });
        }
    }

    /// The low budgets of which operators are still to be told.
    pub(super) fn untold(&mut self) -> Vec<LowBudget> {
        std::mem::take(&mut self.untold)
    }

    /// Why a draft that exceeds its budget waits.
    pub(super) fn reason(
        &self,
        agent: AgentId,
        draft: &Draft,
        short: Short,
        now: Timestamp,
    ) -> String {
        let budget = self.budget(agent).unwrap_or(Budget { all: Amount::ZERO });
        let cost = Cost::new(draft.amount, draft.fee);
        budget.reason(short, &draft.cause, cost, now.day())
    }

    /// Refunds a charge whose transaction is not sent. Drafts that wait for that budget may be
    /// released.
    pub(super) fn refund(&mut self, charge: &Charge) {
        self.ledger.refund(charge);
        if self.holding.contains(&charge.agent) {
            self.release_at
                .get_or_insert_with(|| Instant::now() + REFUND_PAUSE);
        }
    }

    /// A budget may suffice for drafts that wait for one.
    pub(super) fn release(&mut self) {
        self.release_at = Some(Instant::now());
    }

    /// Whether a budget may suffice by now for drafts that wait for one.
    pub(super) fn may_release(&self) -> bool {
        !self.holding.is_empty() && self.release_at.is_some_and(|at| at <= Instant::now())
    }

    /// The wallets whose drafts may be released, now that they are looked at.
    pub(super) fn releasing(&mut self, now: Timestamp) -> Vec<AgentId> {
        self.release_at = None;
        let has_some = |agent: &AgentId| {
            let spent = self.ledger.spent(*agent, now.day()).all;
            self.budget(*agent).is_some_and(|budget| spent < budget.all)
        };
        self.holding.iter().copied().filter(has_some).collect()
    }

    /// Those of an agent's drafts that can be paid for now. They are charged when they are signed.
    pub(super) fn affordable(
        &mut self,
        agent: AgentId,
        held: &[Arc<Outgoing>],
        now: Timestamp,
    ) -> Vec<OutboxId> {
        let Some(budget) = self.budget(agent) else {
            return Vec::new();
        };
        let (mut ids, mut charges) = (Vec::new(), Vec::new());
        for draft in held {
            let cost = Cost::new(draft.amount, draft.fee);
            let admission = self.ledger.pay(agent, budget, &draft.cause, cost, now);
            if let Admission::Paid(charge) = admission {
                charges.push(charge);
                ids.push(draft.id);
            }
        }
        for charge in charges {
            self.ledger.refund(&charge);
        }
        ids
    }

    /// Some time has passed: each day has its own budget.
    pub(super) fn tick(&mut self, now: Timestamp, metrics: &Metrics) {
        let today = now.day();
        if today != self.day {
            self.day = today;
            self.low.retain(|(_, day)| *day >= today);
            self.release();
        }
        // Charges that are not stored yet are known only here.
        if self.unstored == 0 {
            self.ledger.tidy(now);
        }
        metrics.budget_spent(&self.ledger.total(today));
        metrics.agents_out_of_budget(self.holding.len());
    }
}
