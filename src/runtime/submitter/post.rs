//! One POST and the meaning of its answer.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use agentry_chain::SubmitError;
use agentry_core::OutboxId;
use agentry_core::commit::PostResult;
use agentry_protocol::TransactionHash;
use tracing::Instrument;

use super::refusal::Refusal;
use super::round::can_pay;
use super::{CONCURRENT_POSTS, Job, Phase, Submitter};
use crate::config::NoncePolicy;
use crate::runtime::kill::{self, Point};

/// What an answer means for the transaction.
#[derive(Debug)]
enum Verdict {
    /// The node has it.
    Accepted,
    /// The node may have it.
    MayBeAccepted,
    /// It never left, or the node rejected it unread: the same bytes may be posted again
    /// immediately.
    NotTaken,
    /// The node refuses the transaction with a reason; this is the kind of the reason.
    Refused { reason: String, about: Refusal },
}

fn no_answer(limit: Duration) -> SubmitError {
    SubmitError::Unknown {
        reason: format!("no answer within {} ms", limit.as_millis()),
    }
}

impl Submitter {
    /// Posts waiting transactions, up to the limit of concurrent POSTs.
    pub(super) fn pump(&mut self, ctx: &mut Context<Self>) {
        while self.posting < CONCURRENT_POSTS
            && self.halted.is_none()
            && !self.breaker.is_open()
            && let Some(job) = self.jobs.pop_front()
        {
            // It may have been mined meanwhile: another program posted the same bytes.
            let Some(open) = self.open.get(&job.id) else {
                continue;
            };
            let span = open.span.clone();
            self.posting += 1;
            let (node, limit) = (self.settings.node.clone(), self.interval.post_limit());
            let body = Arc::clone(&job.body);
            let post = async move {
                kill::pass(Point::BeforePost);
                let started = std::time::Instant::now();
                let answer = tokio::time::timeout(limit, node.submit(&body)).await;
                kill::pass(Point::AfterPost);
                (
                    answer.unwrap_or_else(|_| Err(no_answer(limit))),
                    started.elapsed(),
                )
            };
            ctx.spawn(post.instrument(span).into_actor(self).map(
                move |(answer, took), submitter, ctx| {
                    submitter.posting -= 1;
                    submitter.shared.metrics.posted(answer.is_ok(), took);
                    submitter.posted(job, answer, ctx);
                    submitter.pump(ctx);
                    submitter.start_signing(ctx);
                    submitter.answer_drained();
                },
            ));
        }
        self.answer_drained();
    }

    fn posted(
        &mut self,
        job: Job,
        answer: Result<TransactionHash, SubmitError>,
        ctx: &mut Context<Self>,
    ) {
        self.posts_ended += 1;
        let verdict = self.judge(&answer, ctx);
        let Some(open) = self.open.get_mut(&job.id) else {
            return;
        };
        let span = open.span.clone();
        let _entered = span.enter();
        let id = job.id;
        match verdict {
            Verdict::Accepted => {
                if let Ok(hash) = answer
                    && hash != open.hash
                {
                    tracing::warn!(node.hash = %hash, transaction.hash = %open.hash,
                        "the node computes a different hash; the transaction is identified by its signing text");
                }
                tracing::info!(transaction.hash = %open.hash, "the node accepted the transaction");
                open.phase = Phase::Posted(self.posts_ended);
                // The row no longer shows a reason.
                open.delay = None;
                let hash = open.hash;
                if !std::mem::replace(&mut open.is_counted, true) {
                    self.shared.metrics.accepted(self.shared.clock.now_ms());
                }
                self.save(id, PostResult::Accepted, ctx);
                self.try_mempool_db(hash, ctx);
            }
            Verdict::MayBeAccepted => {
                open.phase = Phase::Posted(self.posts_ended);
                open.delay = None;
                if let Err(error) = answer {
                    tracing::warn!(%error, "it is unknown whether the node accepted the transaction; following it");
                }
                self.save(id, PostResult::Accepted, ctx);
            }
            Verdict::NotTaken => {
                if let Err(error) = answer {
                    tracing::debug!(%error, "not posted; the transaction waits for the node");
                }
                self.jobs.push_front(job);
            }
            Verdict::Refused { reason, about } => self.refused(id, reason, about, ctx),
        }
    }

    /// The node refuses a transaction: the account shows whether that can change.
    fn refused(&self, id: OutboxId, reason: String, about: Refusal, ctx: &mut Context<Self>) {
        let Some(agent) = self.open.get(&id).map(|open| open.agent) else {
            return;
        };
        let Some(address) = self.address(agent) else {
            return;
        };
        let ask = self.ask_account(address);
        ctx.spawn(ask.into_actor(self).map(move |account, submitter, ctx| {
            let Some(account) = account else {
                return submitter.wait_for_look(id);
            };
            let pending = submitter.pending_cost(agent);
            let Some(open) = submitter.open.get_mut(&id) else {
                return;
            };
            let span = open.span.clone();
            let _entered = span.enter();
            // The node judged the nonce before the account was queried: a block may have come in
            // between.
            let of_nonce = about == Refusal::Nonce
                || i64::try_from(account.nonce).unwrap_or(i64::MAX) != open.nonce;
            if !can_pay(&account, open.cost.saturating_add(pending)) {
                tracing::warn!(
                    reason,
                    "the wallet cannot pay; the transaction waits until it is funded"
                );
                open.phase = Phase::Unfunded;
                submitter.unfunded.insert(agent);
                submitter.save(id, PostResult::Waiting { reason }, ctx);
            } else if submitter.settings.policy == NoncePolicy::Sequential && of_nonce {
                tracing::info!(
                    reason,
                    account.nonce,
                    "the node refuses the nonce; the chain will show whether the transaction was mined"
                );
                submitter.wait_for_look(id);
                submitter.save(id, PostResult::Waiting { reason }, ctx);
            } else {
                tracing::error!(
                    reason,
                    "the node refused the transaction, so it failed (agentry queue show outbox/{id})"
                );
                submitter.shared.metrics.failed();
                let charge = open.charge.clone();
                submitter.fail(id, charge, reason, ctx);
                submitter.remove(id);
            }
        }));
    }

    fn judge(
        &mut self,
        answer: &Result<TransactionHash, SubmitError>,
        ctx: &mut Context<Self>,
    ) -> Verdict {
        match answer {
            Ok(_) => {
                self.node_answered();
                Verdict::Accepted
            }
            Err(SubmitError::Rejected { detail, .. }) => {
                self.node_answered();
                match Refusal::read(detail) {
                    Refusal::Known => Verdict::Accepted,
                    about => Verdict::Refused {
                        reason: detail.clone(),
                        about,
                    },
                }
            }
            Err(SubmitError::NotSent { .. }) => {
                let opened = self.breaker.trip();
                self.probe_later(opened, None, ctx);
                Verdict::NotTaken
            }
            Err(SubmitError::Busy { retry_after, .. }) => {
                let opened = self.breaker.trip();
                self.probe_later(opened, *retry_after, ctx);
                Verdict::NotTaken
            }
            Err(SubmitError::Unknown { .. }) => {
                let opened = self.breaker.failed();
                self.probe_later(opened, None, ctx);
                Verdict::MayBeAccepted
            }
        }
    }
}
