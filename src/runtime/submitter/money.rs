//! Charging drafts to budgets, and holding those that exceed their budget.

use std::time::Duration;

use actix::prelude::*;
use agentry_core::commit::PostResult;
use agentry_core::rows::{Charge, Draft, HeldDraft, OpenTransaction, Prepared, day_of};
use agentry_core::{AgentId, Commit, OutboxId, Receipt};
use agentry_store::{StoreError, read};

use super::Submitter;
use super::budget::{Admission, Budget, Cost, Short};
use crate::runtime::router::WakeAgents;

/// How often the clock is checked: the most by which the start of a day is noticed late.
const TICK: Duration = Duration::from_secs(1);

/// Expired drafts are looked for at every n-th check.
const EXPIRE_EVERY: u32 = 10;

impl Submitter {
    fn budget(&self, agent: AgentId) -> Option<Budget> {
        let hosted = self.registry.get(agent)?;
        Some(Budget {
            all: hosted.config.common.daily_budget,
        })
    }

    /// Charges a draft to its wallet's budget. The log reports once a day which part of it is
    /// exhausted.
    pub(super) fn pay(&mut self, agent: AgentId, draft: &Draft, now_ms: u64) -> Admission {
        let Some(budget) = self.budget(agent) else {
            return Admission::Unknown;
        };
        let cost = cost_of(draft);
        let admission = self.ledger.pay(agent, budget, &draft.cause, cost, now_ms);
        if let Admission::Short(short) = admission
            && self.ledger.tell(agent, short.limit, now_ms)
        {
            let hosted = self.registry.get(agent);
            let name = hosted.as_ref().map(|hosted| hosted.config.name.as_str());
            tracing::warn!(
                agent.name = name,
                reason = budget.reason(short, &draft.cause, cost, day_of(now_ms)),
                "a part of the day's budget is exhausted; the agent's messages charged to it wait"
            );
        }
        admission
    }

    /// Why a draft that exceeds its budget waits.
    pub(super) fn reason(
        &self,
        agent: AgentId,
        draft: &Draft,
        short: Short,
        now_ms: u64,
    ) -> String {
        let budget = self.budget(agent).unwrap_or(Budget { all: 0 });
        budget.reason(short, &draft.cause, cost_of(draft), day_of(now_ms))
    }

    /// Refunds a charge whose transaction is not sent. Drafts that wait for that budget may be
    /// released.
    pub(super) fn refund(&mut self, charge: &Charge) {
        self.ledger.refund(charge);
        if self.holding.contains(&charge.agent) {
            self.sign_queue.release_later();
        }
    }

    /// Remembers the charges of signed bytes until it is known whether they are stored. `charges`
    /// has one for each of `prepared`, and none for each draft that has to wait.
    pub(super) fn reserve(
        &mut self,
        charges: Vec<Option<Charge>>,
        prepared: Vec<Prepared>,
    ) -> Vec<Option<Prepared>> {
        let mut prepared = prepared.into_iter();
        charges
            .into_iter()
            .map(|charge| {
                let charge = charge?;
                let Some(one) = prepared.next() else {
                    self.refund(&charge);
                    return None;
                };
                self.reserved.insert(one.digest, charge);
                Some(one)
            })
            .collect()
    }

    /// Releases drafts that waited for a budget which suffices by now.
    pub(super) fn release(&mut self, ctx: &mut Context<Self>) {
        let today = day_of(self.shared.clock.local_ms());
        let agents: Vec<AgentId> = self
            .holding
            .iter()
            .copied()
            .filter(|agent| {
                let spent = self.ledger.spent(*agent, today).all;
                self.budget(*agent).is_some_and(|budget| spent < budget.all)
            })
            .collect();
        if agents.is_empty() {
            return self.released(0, ctx);
        }
        let store = self.shared.store.clone();
        let read = async move {
            store
                .read(move |db| {
                    let mut held = Vec::new();
                    for agent in agents {
                        held.extend(read::held(db, agent)?);
                    }
                    Ok(held)
                })
                .await
        };
        ctx.spawn(
            read.into_actor(self)
                .map(|held, submitter, ctx| match held {
                    Ok(held) => submitter.release_these(held, ctx),
                    Err(error) => submitter.signing_failed(&error, ctx),
                }),
        );
    }

    /// Releases those of these drafts that can be paid for now.
    fn release_these(&mut self, held: Vec<HeldDraft>, ctx: &mut Context<Self>) {
        let now = self.shared.clock.local_ms();
        let mut ids = Vec::new();
        let mut charges = Vec::new();
        // They are charged when they are signed. This only tries out the charges.
        for draft in held {
            let Some(budget) = self.budget(draft.agent) else {
                continue;
            };
            let cost = Cost {
                amount: draft.amount,
                fee: draft.fee,
            };
            let admission = self
                .ledger
                .pay(draft.agent, budget, &draft.cause, cost, now);
            if let Admission::Paid(charge) = admission {
                charges.push(charge);
                ids.push(draft.id);
            }
        }
        for charge in charges {
            self.ledger.refund(&charge);
        }
        if ids.is_empty() {
            return self.released(0, ctx);
        }
        let store = self.shared.store.clone();
        let run = async move {
            let receipt = store.commit(Commit::Release { ids }).await?;
            let holding = store.read(read::holding).await?;
            Ok::<_, StoreError>((receipt.changed, holding))
        };
        ctx.spawn(run.into_actor(self).map(|done, submitter, ctx| match done {
            Ok((changed, holding)) => {
                submitter.holding = holding.into_iter().collect();
                submitter.released(changed, ctx);
            }
            Err(error) => submitter.signing_failed(&error, ctx),
        }));
    }

    /// Checks the clock from time to time: each day has its own budget.
    pub(super) fn watch_the_clock(&self, ctx: &mut Context<Self>) {
        let mut looks: u32 = 0;
        ctx.run_interval(TICK, move |submitter, ctx| {
            let now = submitter.shared.clock.local_ms();
            let today = day_of(now);
            if today != submitter.day {
                submitter.day = today;
                submitter.sign_queue.release();
                // The handler that was to report whether they are stored has ended.
                submitter
                    .reserved
                    .retain(|_, charge| charge.day.saturating_add(1) >= today);
            }
            submitter.sign_queue.tick();
            // Charges that are not stored yet are known only here.
            if submitter.reserved.is_empty() && !submitter.sign_queue.is_running() {
                submitter.ledger.tidy(now);
            }
            let metrics = &submitter.shared.metrics;
            metrics.budget_spent(&submitter.ledger.total(today));
            metrics.agents_out_of_budget(submitter.holding.len());
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(EXPIRE_EVERY) {
                submitter.expire_queued(ctx);
                submitter.sign_queue.slow_tick();
            }
            submitter.start_signing(ctx);
        });
    }

    /// Expires queued drafts that are past their expiry, if there are any.
    pub(super) fn expire_queued(&self, ctx: &mut Context<Self>) {
        let (store, at) = (self.shared.store.clone(), self.shared.clock.confirmed_ms());
        let run = async move {
            if store.read(move |db| read::has_lapsed(db, at)).await? {
                store.commit(Commit::ExpireQueued { at }).await.map(Some)
            } else {
                Ok(None)
            }
        };
        ctx.spawn(run.into_actor(self).map(|done, submitter, ctx| match done {
            Ok(Some(receipt)) => {
                tracing::info!(
                    transactions = receipt.changed,
                    "queued messages expired before they could be sent"
                );
                submitter
                    .shared
                    .metrics
                    .transactions_expired(receipt.changed);
                submitter.wake(receipt, ctx);
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "cannot expire queued messages"),
        }));
    }

    /// Stores the result of a POST, and notifies whoever it concerns.
    pub(super) fn save(&self, id: OutboxId, result: PostResult, ctx: &mut Context<Self>) {
        self.store_post(id, result, None, ctx);
    }

    /// A transaction failed permanently: its charge is refunded.
    pub(super) fn fail(
        &self,
        id: OutboxId,
        charge: Option<Charge>,
        reason: String,
        ctx: &mut Context<Self>,
    ) {
        self.store_post(id, PostResult::Failed { reason }, charge, ctx);
    }

    fn store_post(
        &self,
        id: OutboxId,
        result: PostResult,
        refund: Option<Charge>,
        ctx: &mut Context<Self>,
    ) {
        let (store, at) = (self.shared.store.clone(), self.shared.clock.now_ms());
        let commit = async move { store.commit(Commit::Post { id, result, at }).await };
        ctx.spawn(commit.into_actor(self).map(move |done, submitter, ctx| {
            match done {
                Ok(receipt) => {
                    // As the store does: if nothing was changed, it was mined meanwhile.
                    if let Some(charge) = refund.filter(|_| receipt.changed > 0) {
                        submitter.refund(&charge);
                        submitter.start_signing(ctx);
                    }
                    submitter.wake(receipt, ctx);
                }
                // The row stays as it was: it is incomplete, but not wrong.
                Err(error) => {
                    tracing::error!(%error, outbox.row = %id, "cannot store the result of a POST");
                }
            }
        }));
    }

    /// The chain already shows what was to be sent: it is charged, and the transactions that are in
    /// no block yet are followed.
    pub(super) fn recognised(&mut self, paid: &[Charge], pending: &[OpenTransaction]) {
        for charge in paid {
            self.ledger.paid(charge);
        }
        for transaction in pending {
            self.follow(transaction);
        }
    }

    /// Wakes the agents that have work because of a change.
    pub(super) fn wake(&self, receipt: Receipt, ctx: &mut Context<Self>) {
        let Some(wake) = self.wake.as_ref().filter(|_| !receipt.due.is_empty()) else {
            return;
        };
        let send = wake.send(WakeAgents(receipt.due));
        // A router that has ended reads the store when it restarts.
        ctx.spawn(
            async move { send.await.is_ok() }
                .into_actor(self)
                .map(|_, _, _| ()),
        );
    }
}

/// The cost of a draft.
const fn cost_of(draft: &Draft) -> Cost {
    Cost {
        amount: draft.amount,
        fee: draft.fee,
    }
}
