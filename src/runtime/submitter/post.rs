//! POSTs, and what their answers mean.
//!
//! What a node's words say is classified by `agentry-chain` ([`Refusal`]). Where they say nothing, whether
//! a wallet can pay is read from its account.

use std::rc::Rc;
use std::time::{Duration, Instant};

use agentry_chain::{Refusal, SubmitError};
use agentry_core::commit::PostResult;
use agentry_core::rows::Charge;
use agentry_core::{AgentId, Commit, OutboxId};
use tokio::time::timeout;
use tracing::Instrument;

use super::Work;
use super::funds::can_pay;
use super::state::Job;
use crate::runtime::kill::{self, Point};
use crate::runtime::router::WakeAgents;

fn no_answer(limit: Duration) -> SubmitError {
    SubmitError::Unknown {
        reason: format!("no answer within {} ms", limit.as_millis()),
    }
}

impl Work {
    /// Posts waiting transactions, up to the limit of concurrent POSTs.
    pub(super) async fn post_waiting(self: Rc<Self>) {
        loop {
            loop {
                let limit = self.post_limit();
                self.shared.lease.covering(limit).await;
                let Some(job) = self.state().next_post() else {
                    break;
                };
                let span = job.span.clone();
                actix_rt::spawn(Rc::clone(&self).post(job).instrument(span));
            }
            self.posts_changed.notify_waiters();
            let pause = self.state().post_pause();
            let may_post = self.may_post.notified();
            match pause {
                // What wakes it is remembered.
                Some(pause) => drop(timeout(pause, may_post).await),
                None => may_post.await,
            }
        }
    }

    /// How long a POST may take.
    fn post_limit(&self) -> Duration {
        self.shared.lease.limit(self.state().post_limit())
    }

    /// Posts a transaction, and acts on the answer.
    async fn post(self: Rc<Self>, job: Job) {
        let (id, limit) = (job.id, self.post_limit());
        kill::pass(Point::BeforePost);
        if !self.shared.lease.covers(limit) {
            let mut state = self.state();
            state.post_ended();
            state.post_first(job);
            return self.may_post.notify_one();
        }
        let started = Instant::now();
        let permit = self.shared.lease.permit(limit);
        let posting = self.settings.node.submit_while(&job.body, permit);
        let answer = timeout(limit, posting).await;
        kill::pass(Point::AfterPost);
        let answer = answer.unwrap_or_else(|_| Err(no_answer(limit)));
        self.shared
            .metrics
            .posted(answer.is_ok(), started.elapsed());
        self.state().post_ended();
        self.heed(&answer);
        self.may_post.notify_one();
        self.may_sign.notify_one();
        let Some(hash) = self.state().open.get(&id).map(|open| open.row.hash) else {
            return;
        };
        match answer {
            // It never left, or the node rejected it unread.
            Err(error @ (SubmitError::NotSent { .. } | SubmitError::Busy { .. })) => {
                tracing::debug!(%error, "not posted; the transaction waits for the node");
                self.state().post_first(job);
            }
            Err(error @ SubmitError::Unknown { .. }) => {
                tracing::warn!(%error, "it is unknown whether the node accepted the transaction; following it");
                self.state().accepted(id, false);
                self.save(id, PostResult::Accepted, None).await;
            }
            Err(SubmitError::Rejected {
                detail, refusal, ..
            }) if refusal != Refusal::Known => {
                self.refused(id, refusal, detail).await;
            }
            Ok(_) | Err(SubmitError::Rejected { .. }) => {
                if let Ok(node_hash) = answer
                    && node_hash != hash
                {
                    tracing::warn!(node.hash = %node_hash, transaction.hash = %hash,
                        "the node computes a different hash; the transaction is identified by its signing text");
                }
                tracing::info!(transaction.hash = %hash, "the node accepted the transaction");
                self.state().accepted(id, true);
                self.save(id, PostResult::Accepted, None).await;
                self.mempool.try_db(hash).await;
            }
        }
    }

    /// The node refuses a transaction: the account shows whether that can change.
    async fn refused(&self, id: OutboxId, refusal: Refusal, reason: String) {
        let Some(agent) = self.state().open.get(&id).map(|open| open.row.agent) else {
            return;
        };
        if let Refusal::Nonce {
            expected: Some(counter),
        } = refusal
        {
            self.state().told_counter(agent, counter);
        }
        let Some(account) = self.ask_account(agent).await else {
            return self.state().wait_for_look(id);
        };
        let (result, refund) = {
            let mut state = self.state();
            let pending = state.pending_cost(agent);
            let counter = state.counter(agent, &account);
            let Some(row) = state.open.get(&id).map(|open| &open.row) else {
                return;
            };
            // The node judged the nonce before the account was queried: a block may have come in
            // between.
            let of_nonce = matches!(refusal, Refusal::Nonce { .. }) || counter != row.nonce;
            // An account may be old; a refusal is not.
            let is_poor = matches!(refusal, Refusal::Money | Refusal::UnknownAccount);
            // What no retry changes.
            let is_final = matches!(
                refusal,
                Refusal::Signature | Refusal::Chain | Refusal::Malformed | Refusal::Size
            );
            if is_poor || !can_pay(&account, row.cost.saturating_add(pending)) {
                tracing::warn!(
                    reason,
                    "the wallet cannot pay; the transaction waits until it is funded"
                );
                state.wait_for_funds(id);
                (PostResult::Waiting { reason }, None)
            } else if state.nonces.follows_counter() && of_nonce && !is_final {
                tracing::info!(
                    reason,
                    account.nonce = counter.get(),
                    "the node refuses the nonce; the chain will show whether the transaction was mined"
                );
                state.wait_for_look(id);
                (PostResult::Waiting { reason }, None)
            } else {
                tracing::error!(
                    reason,
                    "the node refused the transaction, so it failed (agentry queue show outbox/{id})"
                );
                self.shared.metrics.failed();
                let charge = state.remove(id).and_then(|open| open.row.charge);
                (PostResult::Failed { reason }, charge)
            }
        };
        self.save(id, result, refund).await;
    }

    /// Stores the result of a POST, and wakes whoever it concerns. The charge of a transaction that
    /// failed permanently is refunded.
    pub(super) async fn save(&self, id: OutboxId, result: PostResult, refund: Option<Charge>) {
        let at = self.shared.clock.now();
        match self
            .shared
            .store
            .commit(Commit::Post { id, result, at })
            .await
        {
            Ok(changes) => {
                // As the store does: if nothing was changed, it was mined meanwhile.
                if let Some(charge) = refund.filter(|_| changes.is_applied()) {
                    self.state().money.refund(&charge);
                    self.may_sign.notify_one();
                }
                self.wake(changes.due).await;
            }
            // The row stays as it was: it is incomplete, but not wrong.
            Err(error) => {
                tracing::error!(%error, outbox.row = %id, "cannot store the result of a POST");
            }
        }
    }

    /// Wakes agents that have work because of a change.
    pub(super) async fn wake(&self, due: Vec<AgentId>) {
        if let Some(wake) = self.wake.get().filter(|_| !due.is_empty())
            && wake.send(WakeAgents(due)).await.is_err()
        {
            tracing::debug!("the router has ended; it reads the store when it restarts");
        }
    }
}
