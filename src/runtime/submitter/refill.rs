//! Drafts that were queued get their nonces when there is room.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use actix::prelude::*;
use agentry_chain::NodeClient;
use agentry_protocol::{Address, BlockHeight, SignedTransaction, Transaction};

use super::{MAX_JOBS, Submitter, nonce};
use crate::config::NoncePolicy;
use crate::runtime::signer::{Sign, SignError};
use crate::store::rows::{Prepared, QueuedDraft};
use crate::store::{AgentId, Commit, OutboxId, Store, StoreError, read};

/// How many drafts are prepared in one commit.
const PAGE: usize = 128;

/// How long a wallet that cannot be unlocked is let be.
const UNSIGNABLE_PAUSE: Duration = Duration::from_secs(30);

/// The pause after the store or the node refused.
const PAUSE: Duration = Duration::from_millis(500);

/// Where the going through of queued drafts stands.
#[derive(Debug)]
pub(super) struct Refill {
    /// Something may be queued. So it is at the start: nobody has looked yet.
    pending: bool,
    running: bool,
    /// The last row that was looked at; those behind it come next.
    after: OutboxId,
    /// Something was queued since this going through began.
    noted: bool,
}

impl Default for Refill {
    fn default() -> Self {
        Self {
            pending: true,
            running: false,
            after: OutboxId(0),
            noted: false,
        }
    }
}

impl Refill {
    /// Something was queued, or can be prepared now that could not.
    pub(super) fn note(&mut self) {
        self.pending = true;
        self.noted = true;
    }

    /// Whether drafts may wait that go first.
    pub(super) const fn is_pending(&self) -> bool {
        self.pending
    }
}

impl Submitter {
    /// Prepares a page of queued drafts, if there may be some and there is room.
    pub(super) fn start_refill(&mut self, ctx: &mut Context<Self>) {
        let stopping = self.shared.is_stopping();
        let roomy = self.has_room() && self.jobs.len() < MAX_JOBS / 2;
        if !self.refill.pending || self.refill.running || !roomy || stopping {
            return;
        }
        self.refill.running = true;
        let (store, after) = (self.shared.store.clone(), self.refill.after);
        let one_each = self.settings.policy == NoncePolicy::Sequential;
        let now = Instant::now();
        self.unsignable.retain(|_, until| *until > now);
        let passed_over: Vec<AgentId> = self
            .unsignable
            .keys()
            .chain(&self.unfunded)
            .copied()
            .collect();
        let query = async move {
            store
                .read(move |db| read::queued(db, after, one_each, &passed_over, PAGE))
                .await
        };
        ctx.spawn(
            query
                .into_actor(self)
                .map(|page, submitter, ctx| match page {
                    Ok(page) => submitter.page(page, ctx),
                    Err(error) => submitter.refill_failed(&error, ctx),
                }),
        );
    }

    fn page(&mut self, page: Vec<QueuedDraft>, ctx: &mut Context<Self>) {
        let Some(last) = page.last().map(|draft| draft.id) else {
            // The end of the queue. What was queued behind our back is found from the start again.
            self.refill.running = false;
            self.refill.after = OutboxId(0);
            self.refill.pending = std::mem::take(&mut self.refill.noted);
            return self.start_refill(ctx);
        };
        self.refill.after = last;
        let mut by_agent: HashMap<AgentId, Vec<QueuedDraft>> = HashMap::new();
        for draft in page {
            by_agent.entry(draft.agent).or_default().push(draft);
        }
        match self.settings.policy {
            NoncePolicy::Timestamp => {
                let now = self.shared.clock.now_ms();
                let mut work = Vec::new();
                for (agent, drafts) in by_agent {
                    for draft in drafts {
                        let nonce = self.nonces.next(agent, now);
                        work.push((draft, nonce));
                    }
                }
                self.prepare(work, ctx);
            }
            NoncePolicy::Sequential => self.ask_counters(by_agent, ctx),
        }
    }

    /// Asks the chain for the counters of these wallets; each is given the nonce for one draft.
    fn ask_counters(
        &mut self,
        by_agent: HashMap<AgentId, Vec<QueuedDraft>>,
        ctx: &mut Context<Self>,
    ) {
        let busy = self.outstanding(by_agent.keys().copied());
        let mut asks = Vec::new();
        for (agent, drafts) in by_agent {
            let Some(hosted) = self.roster.get(agent) else {
                continue;
            };
            if let (false, Some(draft)) = (busy.contains(&agent), drafts.into_iter().next()) {
                asks.push((draft, hosted.address.clone()));
            }
        }
        let (node, store) = (self.settings.node.clone(), self.shared.store.clone());
        let ask = async move {
            let mut work = Vec::with_capacity(asks.len());
            for (draft, address) in asks {
                match counter(&node, &store, draft.agent, &address).await {
                    Some(nonce) => work.push((draft, nonce)),
                    None => return (work, false),
                }
            }
            (work, true)
        };
        ctx.spawn(ask.into_actor(self).map(|(work, all), submitter, ctx| {
            if !all {
                submitter.refill_later(PAUSE, ctx);
            }
            submitter.prepare(work, ctx);
        }));
    }

    /// Signs drafts, has the signed bytes stored, and posts them.
    fn prepare(&mut self, work: Vec<(QueuedDraft, i64)>, ctx: &mut Context<Self>) {
        let mut by_agent: HashMap<AgentId, Vec<(OutboxId, u64, i64, Transaction)>> = HashMap::new();
        for (queued, nonce) in work {
            let cost = queued.draft.cost();
            if let Some(transaction) = self.transaction(queued.agent, queued.draft, nonce) {
                by_agent.entry(queued.agent).or_default().push((
                    queued.id,
                    cost,
                    nonce,
                    transaction,
                ));
            }
        }
        let (signer, store) = (self.signer.clone(), self.shared.store.clone());
        let since = self.since();
        let at = self.shared.clock.now_ms();
        let run = async move {
            let mut signed = Vec::new();
            let mut failed = Vec::new();
            for (agent, drafts) in by_agent {
                let (rows, transactions): (Vec<_>, Vec<_>) = drafts
                    .into_iter()
                    .map(|(id, cost, nonce, transaction)| ((id, cost), (nonce, transaction)))
                    .unzip();
                match sign(signer.clone(), agent, transactions, since).await {
                    Ok(prepared) => signed.extend(
                        rows.into_iter()
                            .zip(prepared)
                            .map(|((id, cost), prepared)| (agent, id, cost, prepared)),
                    ),
                    Err(error) => failed.push((agent, error)),
                }
            }
            let commit = Commit::Prepare {
                prepared: signed
                    .iter()
                    .map(|(_, id, _, one)| (*id, one.clone()))
                    .collect(),
                at,
            };
            let stored = if signed.is_empty() {
                Ok(())
            } else {
                store.commit(commit).await.map(|_| ())
            };
            (signed, failed, stored)
        };
        ctx.spawn(
            run.into_actor(self)
                .map(|(signed, failed, stored), submitter, ctx| {
                    for (agent, error) in failed {
                        submitter.cannot_sign(agent, &error, ctx);
                    }
                    if let Err(error) = stored {
                        return submitter.refill_failed(&error, ctx);
                    }
                    for (agent, id, cost, prepared) in signed {
                        let span =
                            tracing::info_span!("outgoing", transaction.hash = %prepared.hash);
                        submitter.dispatch(agent, id, prepared, cost, span);
                    }
                    submitter.refill.running = false;
                    submitter.pump(ctx);
                    submitter.start_refill(ctx);
                }),
        );
    }

    fn refill_failed(&mut self, error: &StoreError, ctx: &mut Context<Self>) {
        tracing::error!(%error, "preparing queued transactions");
        ctx.run_later(PAUSE, |submitter, ctx| {
            submitter.refill.running = false;
            submitter.refill.note();
            submitter.start_refill(ctx);
        });
    }

    /// Goes through the queue again after a pause: something in it could not be prepared.
    fn refill_later(&self, pause: Duration, ctx: &mut Context<Self>) {
        ctx.run_later(pause, |submitter, ctx| {
            submitter.refill.note();
            submitter.start_refill(ctx);
        });
    }

    /// A wallet cannot sign: what it is to send stays queued, and it is asked again later.
    pub(super) fn cannot_sign(
        &mut self,
        agent: AgentId,
        error: &SignError,
        ctx: &mut Context<Self>,
    ) {
        let name = self
            .roster
            .get(agent)
            .map(|hosted| hosted.config.name.clone());
        tracing::error!(agent.name = name, %error, "a wallet cannot sign; what it is to send waits");
        self.unsignable
            .insert(agent, Instant::now() + UNSIGNABLE_PAUSE);
        self.refill_later(UNSIGNABLE_PAUSE, ctx);
    }
}

/// The next nonce of a wallet under `sequential`; none, if the chain cannot be asked.
async fn counter(
    node: &NodeClient,
    store: &Store,
    agent: AgentId,
    address: &Address,
) -> Option<i64> {
    let account = match node.account(address).await {
        Ok(account) => account,
        Err(error) => {
            tracing::debug!(%error, "asking for an account's counter");
            return None;
        }
    };
    match store
        .read(move |db| read::last_mined_nonce(db, agent))
        .await
    {
        Ok(last_mined) => Some(nonce::sequential(account.nonce, last_mined)),
        Err(error) => {
            tracing::error!(%error, "reading the last mined nonce");
            None
        }
    }
}

/// Has transactions of one wallet signed, when the chain had been read through `since`.
pub(super) async fn sign(
    signer: Recipient<Sign>,
    agent: AgentId,
    transactions: Vec<(i64, Transaction)>,
    since: BlockHeight,
) -> Result<Vec<Prepared>, SignError> {
    let (nonces, transactions): (Vec<i64>, Vec<Transaction>) = transactions.into_iter().unzip();
    let signed = match signer
        .send(Sign {
            agent,
            transactions,
        })
        .await
    {
        Ok(signed) => signed?,
        Err(MailboxError::Closed | MailboxError::Timeout) => {
            return Err(SignError::NotHosted(agent));
        }
    };
    Ok(nonces
        .into_iter()
        .zip(&signed)
        .map(|(nonce, signed)| prepared(nonce, signed, since))
        .collect())
}

fn prepared(nonce: i64, signed: &SignedTransaction, since: BlockHeight) -> Prepared {
    Prepared {
        nonce,
        hash: signed.hash(),
        digest: signed.digest(),
        body: signed.body(),
        since,
    }
}
