//! POSTs, and what their answers mean.
//!
//! A node explains a refusal only in prose. The text is interpreted here and nowhere else, and only
//! where there is no other source: whether a wallet can pay is read from its account. Text that the
//! node quotes from the transaction must not be taken for the node's own words.

use std::rc::Rc;
use std::time::{Duration, Instant};

use agentry_chain::SubmitError;
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
            let pause = self.state().window_opens_in();
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
            Err(SubmitError::Rejected { detail, .. })
                if Refusal::read(&detail) != Refusal::Known =>
            {
                self.refused(id, detail).await;
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
    async fn refused(&self, id: OutboxId, reason: String) {
        let Some(agent) = self.state().open.get(&id).map(|open| open.row.agent) else {
            return;
        };
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
            let of_nonce = Refusal::read(&reason) == Refusal::Nonce || counter != row.nonce;
            if !can_pay(&account, row.cost.saturating_add(pending)) {
                tracing::warn!(
                    reason,
                    "the wallet cannot pay; the transaction waits until it is funded"
                );
                state.wait_for_funds(id);
                (PostResult::Waiting { reason }, None)
            } else if state.nonces.follows_counter() && of_nonce {
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

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// The node has the transaction already, or the chain has it.
    Known,
    /// The transaction's nonce is not the account's next one.
    Nonce,
    /// Any other reason.
    Other,
}

/// The prefix of a node's reason.
const PREFIX: &str = "failed to submit transaction:";

/// How nodes of every dialect report bytes that they already have.
const KNOWN: [&str; 4] = [
    "duplicate",
    "already pending",
    "already mined",
    "already in",
];

/// How nodes report a nonce that is not the next one. A nonce that is no number, or negative, is
/// reported in other words, and a retry does not help.
const NONCE: [&str; 8] = [
    "invalid nonce",
    "the nonce is ",
    "nonce too ",
    "nonce mismatch",
    "bad nonce",
    "wrong nonce",
    "stale nonce",
    "unexpected nonce",
];

impl Refusal {
    /// Classifies a node's answer.
    fn read(detail: &str) -> Self {
        let words = detail.to_ascii_lowercase();
        let words = words.trim_start();
        let reason = words.strip_prefix(PREFIX).unwrap_or(words).trim_start();
        // Quoted text comes after the words that name the problem.
        let reason = reason.split(['\'', '"']).next().unwrap_or_default();
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| reason.contains(phrase));
        if says(&KNOWN) {
            Self::Known
        } else if says(&NONCE) {
            Self::Nonce
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_known_nodes_are_classified() {
        for (detail, refusal) in [
            // The embedded node.
            (
                "Failed to submit transaction: duplicate: transaction 0xab is already mined",
                Refusal::Known,
            ),
            (
                "Failed to submit transaction: duplicate: the same signed content is already pending as 0xcd",
                Refusal::Known,
            ),
            (
                "Failed to submit transaction: the nonce is 3, and the account's next is 4",
                Refusal::Nonce,
            ),
            (
                "Failed to submit transaction: the sender ait1aa has 5 AIT, of which 0 are taken by 0 pending transactions; this one needs 10",
                Refusal::Other,
            ),
            // AITBC, April 2026.
            (
                "Failed to submit transaction: Fee 1 below minimum 10",
                Refusal::Other,
            ),
            ("Failed to submit transaction: 'amount'", Refusal::Other),
            // AITBC, August 2026.
            (
                "Failed to submit transaction: invalid nonce for sender 'ait1aa' on chain 'ait-mainnet': expected 4, got 3",
                Refusal::Nonce,
            ),
            (
                "Failed to submit transaction: transaction.nonce must be non-negative",
                Refusal::Other,
            ),
            (
                "Failed to submit transaction: 403: Invalid transaction signature",
                Refusal::Other,
            ),
            (
                "Failed to submit transaction: unsupported chain_id 'invalid nonce'. Supported chains: ['already in']",
                Refusal::Other,
            ),
            (
                "Failed to submit transaction: sender account not found on chain 'duplicate'",
                Refusal::Other,
            ),
            (
                "Failed to submit transaction: insufficient balance for sender 'a' on chain 'bad nonce': has 5, needs 10",
                Refusal::Other,
            ),
            (
                "[{\"type\":\"int_type\",\"loc\":[\"body\",\"nonce\"],\"msg\":\"Input should be a valid integer\"}]",
                Refusal::Other,
            ),
            // Others.
            ("Transaction already in mempool", Refusal::Known),
            ("nonce too low: next nonce 5, tx nonce 4", Refusal::Nonce),
            ("", Refusal::Other),
        ] {
            assert_eq!(Refusal::read(detail), refusal, "{detail}");
        }
    }
}
