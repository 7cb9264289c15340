//! What the submitter knows and has to do.
//!
//! The loops of the submitter share it. None of them borrows it across an `.await`, so each change
//! is made as a whole.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_chain::{Account, NodeClient};
use agentry_core::absence::Mark;
use agentry_core::nonce::NonceManager;
use agentry_core::rows::{Charge, OpenTransaction, Prepared};
use agentry_core::{AgentId, OutboxId};
use agentry_protocol::{Amount, BlockHeight, Nonce, Timestamp, TransactionHash};

use super::messages::ChainNews;
use super::money::Money;
use super::node::{BlockInterval, Breaker};
use super::overdue::Delay;
use super::{CONCURRENT_POSTS, MAX_OPEN};
use crate::runtime::Shared;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct State {
    shared: Shared,
    pub(super) nonces: Box<dyn NonceManager>,
    /// Why posting is stopped, if it is.
    pub(super) halted: Option<String>,
    pub(super) breaker: Breaker,
    pub(super) read_through: Option<BlockHeight>,
    interval: BlockInterval,
    /// Transactions that are signed and not mined.
    pub(super) open: HashMap<OutboxId, Open>,
    /// Signed bytes that wait for their POST.
    jobs: VecDeque<Job>,
    posting: usize,
    /// The number of POSTs that have ended, so that a round knows which ended before it began.
    pub(super) posts_ended: u64,
    /// There may be queued drafts. This is so at startup: nothing was checked yet.
    pub(super) is_queued: bool,
    /// Something was queued since the pass through the queued drafts began.
    queued_again: bool,
    /// Wallets whose transactions cannot be signed, and until when they are left alone.
    pub(super) unsignable: HashMap<AgentId, Instant>,
    /// Wallets that cannot pay for what is signed already: no more of their drafts are signed, so
    /// that they take no room from others.
    pub(super) unfunded: HashSet<AgentId>,
    pub(super) money: Money,
    pub(super) answers: Answers,
    /// The node that is posted to, for the pauses that it asks for.
    node: NodeClient,
    /// The counters of accounts as the node has named them when it refused a nonce, until the wallet's
    /// next transaction is mined. Nodes of August 2026 answer with old accounts, but never refuse by them.
    told_counters: HashMap<AgentId, Nonce>,
}

/// The messages that transactions answer, until the node has accepted these: how long that takes is
/// measured. Of the transactions of an earlier process it is not known, nor of those that wait behind
/// so many others that there is no room here.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<OutboxId, Timestamp>);

impl Answers {
    /// A transaction answers a message that was seen then. The oldest gives way.
    pub(super) fn asked(&mut self, id: OutboxId, seen_at: Timestamp) {
        self.0.insert(id, seen_at);
        if self.0.len() > MAX_OPEN {
            self.0.pop_first();
        }
    }

    /// When the message was seen that this transaction answers. It is asked once.
    fn take(&mut self, id: OutboxId) -> Option<Timestamp> {
        self.0.remove(&id)
    }
}

/// A transaction that is signed and not mined.
#[derive(Debug)]
pub(super) struct Open {
    /// Its row. It is certainly in no block up to and including the row's `since`.
    pub(super) row: OpenTransaction,
    pub(super) phase: Phase,
    /// How far the proof has come that it is absent.
    pub(super) mark: Mark,
    /// Whether the metrics count it as accepted.
    is_counted: bool,
    /// Since which block the chain's counter is past its nonce (`sequential`).
    pub(super) stale_since: Option<BlockHeight>,
    /// An upper bound on the last block that the source had read when the node accepted the
    /// transaction.
    pub(super) accepted_through: Option<BlockHeight>,
    /// Whether the blocks that may contain it could not be examined.
    pub(super) is_doubtful: bool,
    /// How often it was dropped and posted again, and before which block it is not posted again.
    pub(super) reposts: u32,
    pub(super) rest_until: BlockHeight,
    /// Why it is overdue, as its row says.
    pub(super) delay: Option<Delay>,
    pub(super) span: tracing::Span,
}

impl Open {
    fn new(row: OpenTransaction, phase: Phase, span: tracing::Span) -> Self {
        Self {
            row,
            phase,
            mark: Mark::default(),
            is_counted: false,
            stale_since: None,
            accepted_through: None,
            is_doubtful: false,
            reposts: 0,
            rest_until: BlockHeight(0),
            delay: None,
            span,
        }
    }

    /// Whether it was dropped so often that it is not posted again for now.
    pub(super) fn is_resting(&self, through: BlockHeight) -> bool {
        self.rest_until > through
    }

    /// Whether the node has it, or may have it.
    pub(super) fn is_with_node(&self) -> bool {
        matches!(self.phase, Phase::Posted(_) | Phase::Doubted)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its bytes wait to be posted, or are being posted.
    Posting,
    /// The node has it, or may have it; the number of ended POSTs at that time.
    Posted(u64),
    /// Neither the mempool nor the source showed it; the blocks themselves are being examined.
    Doubted,
    /// The node certainly does not have it; it waits for its wallet to be funded.
    Unfunded,
}

/// Signed bytes on their way to the node.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: OutboxId,
    pub(super) body: Arc<str>,
    pub(super) span: tracing::Span,
}

impl State {
    pub(super) fn new(
        shared: Shared,
        nonces: Box<dyn NonceManager>,
        money: Money,
        node: NodeClient,
    ) -> Self {
        Self {
            shared,
            nonces,
            halted: None,
            breaker: Breaker::default(),
            read_through: None,
            interval: BlockInterval::default(),
            open: HashMap::new(),
            jobs: VecDeque::new(),
            posting: 0,
            posts_ended: 0,
            is_queued: true,
            queued_again: false,
            unsignable: HashMap::new(),
            unfunded: HashSet::new(),
            money,
            answers: Answers::default(),
            node,
            told_counters: HashMap::new(),
        }
    }

    /// Follows a transaction that the node may have.
    pub(super) fn follow(&mut self, row: OpenTransaction) {
        let span = outgoing(row.hash);
        self.insert(Open {
            // The posting time of a transaction that was recovered from the chain is unknown.
            accepted_through: Some(row.since).filter(|since| since.0 > 0),
            // It was counted when the node accepted it, by this process or an earlier one.
            is_counted: true,
            ..Open::new(row, Phase::Posted(self.posts_ended), span)
        });
    }

    /// Follows a transaction whose signed bytes are stored, and has them posted.
    pub(super) fn dispatch(
        &mut self,
        id: OutboxId,
        prepared: Prepared,
        charge: Charge,
        span: Option<&tracing::Span>,
    ) {
        let span = span.cloned().unwrap_or_else(|| outgoing(prepared.hash));
        let row = OpenTransaction {
            id,
            agent: charge.agent,
            hash: prepared.hash,
            nonce: prepared.nonce,
            cost: charge.cost,
            // Blocks may have been withdrawn since it was signed.
            since: prepared.since.min(self.since()),
            charge: Some(charge),
        };
        self.insert(Open::new(row, Phase::Posting, span));
        self.post(id, prepared.body.into());
    }

    fn insert(&mut self, open: Open) {
        self.open.insert(open.row.id, open);
        self.shared.metrics.outbox_open(self.open.len());
    }

    pub(super) fn remove(&mut self, id: OutboxId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.shared.metrics.outbox_open(self.open.len());
        Some(open)
    }

    /// Has the signed bytes of a transaction posted.
    pub(super) fn post(&mut self, id: OutboxId, body: Arc<str>) {
        if let Some(open) = self.open.get(&id) {
            self.jobs.push_back(Job {
                id,
                body,
                span: open.span.clone(),
            });
        }
    }

    /// The next POST, if one may begin. It is under way until it [has ended](Self::post_ended).
    pub(super) fn next_post(&mut self) -> Option<Job> {
        while self.may_post() && self.posting < CONCURRENT_POSTS && self.node.next_post().is_zero()
        {
            let job = self.jobs.pop_front()?;
            // It may have been mined meanwhile: another program posted the same bytes.
            if self.open.contains_key(&job.id) {
                self.posting += 1;
                return Some(job);
            }
        }
        None
    }

    /// How long what waits to be posted has to wait because the node takes no more POSTs now.
    pub(super) fn post_pause(&self) -> Option<Duration> {
        let pause = self.node.next_post();
        (!self.jobs.is_empty() && !pause.is_zero()).then_some(pause)
    }

    pub(super) fn post_ended(&mut self) {
        self.posting -= 1;
        self.posts_ended += 1;
    }

    /// The node has not taken these bytes: they are the next to be posted.
    pub(super) fn post_first(&mut self, job: Job) {
        self.jobs.push_front(job);
    }

    /// The node has a transaction; if not `surely`, it may have it.
    pub(super) fn accepted(&mut self, id: OutboxId, surely: bool) {
        self.wait_for_look(id);
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        // The row no longer shows a reason.
        open.delay = None;
        if surely && !std::mem::replace(&mut open.is_counted, true) {
            self.count_accepted(id);
        }
    }

    /// The node has a transaction, which was not known before.
    fn count_accepted(&mut self, id: OutboxId) {
        let seen_at = self.answers.take(id);
        self.shared
            .metrics
            .accepted(self.shared.clock.now(), seen_at);
    }

    /// Follows a transaction as one that the node may have: its proof of absence starts over.
    pub(super) fn wait_for_look(&mut self, id: OutboxId) {
        if let Some(open) = self.open.get_mut(&id) {
            open.phase = Phase::Posted(self.posts_ended);
            open.mark = Mark::default();
        }
    }

    /// A transaction waits until its wallet can pay for it.
    pub(super) fn wait_for_funds(&mut self, id: OutboxId) {
        if let Some(open) = self.open.get_mut(&id) {
            open.phase = Phase::Unfunded;
            self.unfunded.insert(open.row.agent);
        }
    }

    /// A transaction is in a block.
    pub(super) fn mined(&mut self, id: OutboxId) {
        if let Some(open) = self.remove(id) {
            open.span.in_scope(|| {
                tracing::info!(transaction.hash = %open.row.hash, "the transaction was mined");
            });
            self.told_counters.remove(&open.row.agent);
            if !open.is_counted {
                // The answer to its POST was lost, or came after the block.
                self.count_accepted(id);
            }
            self.shared.metrics.mined();
        }
        if self.nonces.follows_counter() {
            self.queued();
        }
    }

    /// Takes note of new blocks. Returns whether the source has read further.
    pub(super) fn news(&mut self, news: ChainNews) -> bool {
        if let Some(reason) = news.halted {
            self.halt(reason);
        }
        if news.withdrawn {
            for open in self.open.values_mut() {
                // Every proof of absence starts over: posted transactions may be in the blocks that
                // replaced the withdrawn ones.
                open.mark = Mark::default();
                open.row.since = BlockHeight(0);
                if open.phase == Phase::Doubted {
                    open.phase = Phase::Posted(self.posts_ended);
                }
            }
        }
        self.recognised(news.recharged, news.reopened);
        for (agent, nonce) in news.nonces {
            self.nonces.spent(agent, nonce);
        }
        for (id, _) in news.mined {
            self.mined(id);
        }
        let moved = news
            .read_through
            .filter(|_| news.read_through != self.read_through);
        if let Some(height) = moved {
            self.read_through = Some(height);
            self.interval.observe(height);
        }
        moved.is_some()
    }

    /// The chain already shows what was to be sent: it is charged, and the transactions that are in
    /// no block yet are followed.
    pub(super) fn recognised(&mut self, paid: Vec<Charge>, pending: Vec<OpenTransaction>) {
        for charge in paid {
            self.money.ledger.paid(&charge);
        }
        for transaction in pending {
            self.follow(transaction);
        }
    }

    pub(super) fn halt(&mut self, reason: String) {
        tracing::error!(
            reason,
            "posting is stopped; investigate the cause, then run `agentry queue resume`"
        );
        self.shared.metrics.halted(true);
        self.halted = Some(reason);
    }

    /// The node has named an account's counter when it refused a nonce.
    pub(super) fn told_counter(&mut self, agent: AgentId, counter: Nonce) {
        self.told_counters.insert(agent, counter);
    }

    /// The counter of a wallet's account.
    pub(super) fn counter(&self, agent: AgentId, account: &Account) -> Nonce {
        let told = self.told_counters.get(&agent);
        told.copied().unwrap_or(account.nonce)
    }

    /// Whether the node has named a counter below this nonce.
    pub(super) fn is_told_below(&self, agent: AgentId, nonce: Nonce) -> bool {
        let told = self.told_counters.get(&agent);
        told.is_some_and(|told| *told < nonce)
    }

    /// The last block that was read: a transaction signed now is in no block up to this one.
    pub(super) fn since(&self) -> BlockHeight {
        self.read_through.unwrap_or(BlockHeight(0))
    }

    /// Whether the node may be asked to do something.
    pub(super) fn may_post(&self) -> bool {
        self.halted.is_none() && !self.breaker.is_open()
    }

    /// Whether drafts can get nonces now, given how many signed transactions may wait for their
    /// POST. Until the chain is read up to the head seen at startup, the drafts may already be on
    /// it, and so may their nonces.
    pub(super) fn has_room(&self, jobs: usize) -> bool {
        self.may_post()
            && self.shared.catch_up.is_done()
            && self.jobs.len() < jobs
            && self.open.len() < MAX_OPEN
    }

    /// Whether no POST is under way or about to begin.
    pub(super) fn is_drained(&self) -> bool {
        let may_begin = self.may_post() && self.post_pause().is_none();
        self.posting == 0 && (self.jobs.is_empty() || !may_begin)
    }

    /// Something was queued, or a draft can be prepared now that could not before.
    pub(super) fn queued(&mut self) {
        self.is_queued = true;
        self.queued_again = true;
    }

    /// The end of the queue was reached. Drafts that were queued behind the pass are found from the
    /// start again.
    pub(super) fn queue_ended(&mut self) {
        self.is_queued = std::mem::take(&mut self.queued_again);
    }

    /// Some time has passed.
    pub(super) fn tick(&mut self, now: Timestamp) {
        self.money.tick(now, &self.shared.metrics);
        let (now, before) = (Instant::now(), self.unsignable.len());
        self.unsignable.retain(|_, until| *until > now);
        if self.unsignable.len() < before {
            self.queued();
        }
    }

    /// The wallets of which no more drafts are signed for now.
    pub(super) fn passed_over(&self) -> HashSet<AgentId> {
        let unsignable = self.unsignable.keys();
        unsignable.chain(&self.unfunded).copied().collect()
    }

    /// The wallets that have a transaction in flight.
    pub(super) fn outstanding(&self) -> HashSet<AgentId> {
        self.open.values().map(|open| open.row.agent).collect()
    }

    /// The cost of a wallet's transactions that the node has, or may have.
    pub(super) fn pending_cost(&self, agent: AgentId) -> Amount {
        self.open
            .values()
            .filter(|open| open.row.agent == agent && open.is_with_node())
            .map(|open| open.row.cost)
            .sum()
    }

    /// How long the node may take to answer.
    pub(super) fn post_limit(&self) -> Duration {
        self.interval.post_limit()
    }
}

/// The span of a transaction that does not follow from something that has one.
fn outgoing(hash: TransactionHash) -> tracing::Span {
    tracing::info_span!("outgoing", transaction.hash = %hash)
}
