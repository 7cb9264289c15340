//! Signing queued drafts when there is room.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use actix::prelude::*;
use agentry_chain::NodeClient;
use agentry_core::rows::{Charge, Prepared, QueuedDraft};
use agentry_core::{AgentId, Commit, OutboxId, Receipt, nonce};
use agentry_protocol::{Address, BlockHeight, SignedTransaction, Transaction};
use agentry_store::read::Spending;
use agentry_store::{Store, StoreError, read};

use super::budget::Admission;
use super::{MAX_JOBS, Submitter};
use crate::config::NoncePolicy;
use crate::runtime::signer::{Sign, SignError};

/// How many drafts are prepared in one commit.
pub(super) const PAGE: usize = 128;

/// How long a wallet that cannot be unlocked is left alone.
const UNSIGNABLE_PAUSE: Duration = Duration::from_secs(30);

/// The pause after the store or the node refused.
const PAUSE: Duration = Duration::from_millis(500);

/// The progress of the pass through the queued drafts.
#[derive(Debug)]
pub(super) struct SignQueue {
    /// There may be queued drafts. This is the state at startup: nothing was checked yet.
    pending: bool,
    running: bool,
    /// How far the pass has come.
    turn: read::QueueTurn,
    /// Something was queued since this pass began.
    noted: bool,
    /// A budget may suffice for drafts that wait for one.
    release: bool,
    /// The same, but deferred: checking is expensive where many drafts wait.
    release_later: bool,
    /// Some of them were released in this pass; there may be more.
    more: bool,
    /// Some drafts were skipped that have expired by the local clock alone, which may be corrected.
    doubted: bool,
}

impl Default for SignQueue {
    fn default() -> Self {
        Self {
            pending: true,
            running: false,
            turn: read::QueueTurn::default(),
            noted: false,
            release: true,
            release_later: false,
            more: false,
            doubted: false,
        }
    }
}

impl SignQueue {
    /// Something was queued, or a draft can be prepared now that could not before.
    pub(super) fn note(&mut self) {
        self.pending = true;
        self.noted = true;
    }

    /// A budget may suffice for drafts that wait for one.
    pub(super) fn release(&mut self) {
        self.release = true;
    }

    /// A small amount was refunded.
    pub(super) fn release_later(&mut self) {
        self.release_later = true;
    }

    /// Some time has passed.
    pub(super) fn tick(&mut self) {
        self.release |= std::mem::take(&mut self.release_later);
    }

    /// More time has passed.
    pub(super) fn slow_tick(&mut self) {
        if std::mem::take(&mut self.doubted) {
            self.note();
        }
    }

    /// Whether queued drafts may wait that go first.
    pub(super) const fn is_pending(&self) -> bool {
        self.pending
    }

    /// Whether a page is being prepared.
    pub(super) const fn is_running(&self) -> bool {
        self.running
    }

    fn released(&mut self, changed: usize) {
        if changed > 0 {
            self.more = true;
            self.note();
        }
    }

    /// The end of the queue was reached.
    fn ended(&mut self) {
        self.running = false;
        self.turn.ended();
        self.pending = std::mem::take(&mut self.noted);
        self.release |= std::mem::take(&mut self.more);
    }
}

/// A page of queued drafts, and the data read with it.
#[derive(Debug)]
struct Page {
    drafts: Vec<QueuedDraft>,
    /// Whether some drafts have expired.
    expired: bool,
    /// The spending from this day on, if it was not known.
    spending: Option<(u64, Spending)>,
}

/// A draft that is charged and about to be signed.
#[derive(Debug)]
struct Work {
    id: OutboxId,
    charge: Charge,
    nonce: i64,
    transaction: Transaction,
}

impl Submitter {
    /// Prepares a page of queued drafts, if there may be some and there is room.
    pub(super) fn start_signing(&mut self, ctx: &mut Context<Self>) {
        let stopping = self.shared.is_stopping();
        let roomy = self.has_room() && self.jobs.len() < MAX_JOBS / 2;
        let release = self.sign_queue.release && !self.holding.is_empty();
        if !(self.sign_queue.pending || release) || self.sign_queue.running || !roomy || stopping {
            return;
        }
        self.sign_queue.running = true;
        let missing = self.ledger.missing(self.shared.clock.local_ms());
        let confirmed = self.shared.clock.confirmed_ms();
        if release && missing.is_none() {
            self.sign_queue.release = false;
            return self.release(ctx);
        }
        let (store, turn) = (self.shared.store.clone(), self.sign_queue.turn.clone());
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
                .read(move |db| {
                    let spending = missing.map(|since| read::spending(db, since));
                    Ok(Page {
                        drafts: read::queued(db, &turn, one_each, &passed_over, PAGE)?,
                        expired: read::has_lapsed(db, confirmed)?,
                        spending: missing.zip(spending.transpose()?),
                    })
                })
                .await
        };
        ctx.spawn(
            query
                .into_actor(self)
                .map(|page, submitter, ctx| match page {
                    Ok(page) => submitter.page(page, ctx),
                    Err(error) => submitter.signing_failed(&error, ctx),
                }),
        );
    }

    fn page(&mut self, page: Page, ctx: &mut Context<Self>) {
        let now = self.shared.clock.local_ms();
        if let Some((since, spending)) = page.spending {
            self.ledger.extend(since, spending);
        }
        if page.expired {
            self.expire_queued(ctx);
        }
        if page.drafts.is_empty() {
            // The end of the queue. Drafts that were queued behind the pass are found from the
            // start again.
            self.sign_queue.ended();
            return self.start_signing(ctx);
        }
        self.sign_queue.turn.read(&page.drafts);
        let mut held = Vec::new();
        let mut paid = Vec::new();
        for queued in page.drafts {
            // Drafts past their expiry are expired once that is certain.
            if queued.draft.expires_at.is_some_and(|at| at < now) {
                self.sign_queue.doubted = true;
                continue;
            }
            match self.pay(queued.agent, &queued.draft, now) {
                Admission::Paid(charge) => paid.push((queued, charge)),
                Admission::Short(short) => {
                    let reason = self.reason(queued.agent, &queued.draft, short, now);
                    self.holding.insert(queued.agent);
                    held.push((queued.id, reason));
                }
                // The clock was set back since: the spending is known at the next pass.
                Admission::Unknown if self.registry.get(queued.agent).is_some() => {
                    self.sign_queue.note();
                }
                Admission::Unknown => {}
            }
        }
        let held = Commit::Hold { held };
        match self.settings.policy {
            NoncePolicy::Timestamp => {
                let work = paid
                    .into_iter()
                    .map(|(queued, charge)| {
                        let nonce = self.nonces.next(queued.agent, now);
                        (queued, charge, nonce)
                    })
                    .collect();
                self.prepare(work, held, ctx);
            }
            NoncePolicy::Sequential => self.ask_counters(paid, held, ctx),
        }
    }

    /// Queries the chain for the counters of these wallets; each gets the nonce for one draft.
    fn ask_counters(
        &mut self,
        paid: Vec<(QueuedDraft, Charge)>,
        held: Commit,
        ctx: &mut Context<Self>,
    ) {
        let busy = self.outstanding(paid.iter().map(|(queued, _)| queued.agent));
        let mut asked = HashSet::new();
        let mut asks = Vec::new();
        for (queued, charge) in paid {
            let hosted = self.registry.get(queued.agent);
            match hosted.filter(|_| !busy.contains(&queued.agent) && asked.insert(queued.agent)) {
                Some(hosted) => asks.push((queued, charge, hosted.address.clone())),
                None => self.refund(&charge),
            }
        }
        let (node, store) = (self.settings.node.clone(), self.shared.store.clone());
        let ask = async move {
            let mut work = Vec::with_capacity(asks.len());
            let mut unasked = Vec::new();
            for (queued, charge, address) in asks {
                // If one query is not answered, the others are not sent.
                let nonce = if unasked.is_empty() {
                    counter(&node, &store, queued.agent, &address).await
                } else {
                    None
                };
                match nonce {
                    Some(nonce) => work.push((queued, charge, nonce)),
                    None => unasked.push(charge),
                }
            }
            (work, unasked)
        };
        ctx.spawn(ask.into_actor(self).map(|(work, unasked), submitter, ctx| {
            if !unasked.is_empty() {
                submitter.sign_later(PAUSE, ctx);
            }
            for charge in unasked {
                submitter.refund(&charge);
            }
            submitter.prepare(work, held, ctx);
        }));
    }

    /// Signs charged drafts, has the signed bytes stored, and posts them; drafts that are `held`
    /// are stored as held.
    fn prepare(
        &mut self,
        work: Vec<(QueuedDraft, Charge, i64)>,
        held: Commit,
        ctx: &mut Context<Self>,
    ) {
        let mut by_agent: HashMap<AgentId, Vec<Work>> = HashMap::new();
        for (queued, charge, nonce) in work {
            let Some(transaction) = self.transaction(queued.agent, queued.draft, nonce) else {
                self.refund(&charge);
                continue;
            };
            by_agent.entry(queued.agent).or_default().push(Work {
                id: queued.id,
                charge,
                nonce,
                transaction,
            });
        }
        let (signer, store) = (self.signer.clone(), self.shared.store.clone());
        let since = self.since();
        let at = self.shared.clock.now_ms();
        let run = async move {
            let mut signed = Vec::new();
            let mut failed = Vec::new();
            for (agent, work) in by_agent {
                let (rows, transactions): (Vec<_>, Vec<_>) = work
                    .into_iter()
                    .map(|one| ((one.id, one.charge), (one.nonce, one.transaction)))
                    .unzip();
                let day = rows.first().map_or(0, |(_, charge)| charge.day);
                match sign(signer.clone(), agent, transactions, (since, day)).await {
                    Ok(prepared) => signed.extend(
                        rows.into_iter()
                            .zip(prepared)
                            .map(|((id, charge), prepared)| (id, charge, prepared)),
                    ),
                    Err(error) => {
                        let charges: Vec<Charge> =
                            rows.into_iter().map(|(_, charge)| charge).collect();
                        failed.push((agent, charges, error));
                    }
                }
            }
            let prepare = Commit::Prepare {
                prepared: signed
                    .iter()
                    .map(|(id, _, one)| (*id, one.clone()))
                    .collect(),
                at,
            };
            let held = match &held {
                Commit::Hold { held } if held.is_empty() => Ok(()),
                _ => store.commit(held).await.map(|_| ()),
            };
            let stored = if signed.is_empty() {
                Ok(Receipt::default())
            } else {
                store.commit(prepare).await
            };
            (signed, failed, stored, held)
        };
        ctx.spawn(
            run.into_actor(self)
                .map(|(signed, failed, stored, held), submitter, ctx| {
                    for (agent, charges, error) in failed {
                        for charge in charges {
                            submitter.refund(&charge);
                        }
                        submitter.cannot_sign(agent, &error, ctx);
                    }
                    let receipt = match stored {
                        Ok(receipt) => receipt,
                        Err(error) => {
                            for (_, charge, _) in signed {
                                submitter.refund(&charge);
                            }
                            return submitter.signing_failed(&error, ctx);
                        }
                    };
                    submitter.recognised(&receipt.recharged, &receipt.reopened);
                    let rows = receipt.sends.clone();
                    submitter.wake(receipt, ctx);
                    for ((id, charge, prepared), row) in signed.into_iter().zip(rows) {
                        if !row.fresh {
                            // An operator dropped it meanwhile, or it expired.
                            submitter.refund(&charge);
                            continue;
                        }
                        if row.standing {
                            // It is charged, and the chain has it.
                            continue;
                        }
                        let span =
                            tracing::info_span!("outgoing", transaction.hash = %prepared.hash);
                        let (agent, cost) = (charge.agent, charge.cost);
                        let paid = (cost, Some(charge));
                        submitter.dispatch(agent, id, prepared, paid, span);
                    }
                    if let Err(error) = held {
                        return submitter.signing_failed(&error, ctx);
                    }
                    submitter.sign_queue.running = false;
                    submitter.pump(ctx);
                    submitter.start_signing(ctx);
                }),
        );
    }

    /// This many drafts that waited for a budget were released.
    pub(super) fn released(&mut self, changed: usize, ctx: &mut Context<Self>) {
        self.sign_queue.running = false;
        self.sign_queue.released(changed);
        self.start_signing(ctx);
    }

    pub(super) fn signing_failed(&mut self, error: &StoreError, ctx: &mut Context<Self>) {
        tracing::error!(%error, "cannot prepare queued transactions");
        ctx.run_later(PAUSE, |submitter, ctx| {
            submitter.sign_queue.running = false;
            submitter.sign_queue.note();
            // It may have included drafts that waited for a budget and could not be released.
            submitter.sign_queue.release();
            submitter.start_signing(ctx);
        });
    }

    /// Passes through the queue again after a pause: something in it could not be prepared.
    fn sign_later(&self, pause: Duration, ctx: &mut Context<Self>) {
        ctx.run_later(pause, |submitter, ctx| {
            submitter.sign_queue.note();
            submitter.start_signing(ctx);
        });
    }

    /// A wallet cannot sign: its drafts stay queued, and the wallet is tried again later.
    pub(super) fn cannot_sign(
        &mut self,
        agent: AgentId,
        error: &SignError,
        ctx: &mut Context<Self>,
    ) {
        let name = self
            .registry
            .get(agent)
            .map(|hosted| hosted.config.name.clone());
        tracing::error!(agent.name = name, %error, "a wallet cannot sign; its queued messages wait");
        self.unsignable
            .insert(agent, Instant::now() + UNSIGNABLE_PAUSE);
        self.sign_later(UNSIGNABLE_PAUSE, ctx);
    }
}

/// The next nonce of a wallet under `sequential`; none, if the chain cannot be queried.
async fn counter(
    node: &NodeClient,
    store: &Store,
    agent: AgentId,
    address: &Address,
) -> Option<i64> {
    let account = match node.account(address).await {
        Ok(account) => account,
        Err(error) => {
            tracing::debug!(%error, "cannot query an account's counter");
            return None;
        }
    };
    let counter = account.nonce;
    match store
        .read(move |db| read::last_mined_nonce(db, agent, counter))
        .await
    {
        Ok(last_mined) => Some(nonce::sequential(account.nonce, last_mined)),
        Err(error) => {
            tracing::error!(%error, "cannot read the last mined nonce");
            None
        }
    }
}

/// Signs transactions of one wallet, with the chain read through `since`, on a day whose budget
/// pays for them.
pub(super) async fn sign(
    signer: Recipient<Sign>,
    agent: AgentId,
    transactions: Vec<(i64, Transaction)>,
    (since, day): (BlockHeight, u64),
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
        .map(|(nonce, signed)| prepared(nonce, signed, since, day))
        .collect())
}

fn prepared(nonce: i64, signed: &SignedTransaction, since: BlockHeight, day: u64) -> Prepared {
    Prepared {
        nonce,
        hash: signed.hash(),
        digest: signed.digest(),
        body: signed.body(),
        since,
        day,
    }
}
