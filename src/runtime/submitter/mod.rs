//! Submitter: nonces, the outbox, and the node to which transactions are posted.
//!
//! The submitter gives a draft its nonce, has it signed, and has the *signed bytes* stored before
//! the first POST. It follows each transaction until it is in a block, posts the same bytes again
//! only when they are [absent](agentry_core::absence), and opens a circuit breaker while the node is
//! down. Under `timestamp` a reply is never signed twice; under `sequential` it is signed again only
//! when a block `final_depth` deep shows that its nonce was spent by another transaction.
//!
//! | module | holds |
//! |---|---|
//! | [`blocks`] | the last check before a transaction is posted again |
//! | [`breaker`] | the circuit breaker for a node that is down |
//! | [`budget`] | what each wallet may spend in a day |
//! | `post` | one POST and what its answer means |
//! | `refusal` | classifying the text of a node's refusal |
//! | `probe` | whether the node answers again, and serves the right chain |
//! | `round` | one round of queries to the node about unmined transactions |
//! | `mempool` | the source of the node's pending transactions |
//! | `overdue` | reporting transactions that are accepted and not mined |
//! | `sign_queue` | signing queued drafts |
//! | `allot` | immediate nonces and signatures, where nothing has to wait |
//! | `messages` | the messages that the submitter receives |
//! | `money` | charging drafts to budgets, and holding those that exceed their budget |
//!
//! The submitter's memory is bounded: it holds signed bytes only of transactions that are about to
//! be posted ([`MAX_JOBS`]), and a small record of each transaction that is signed and not mined
//! ([`MAX_OPEN`]). Drafts beyond these limits wait in the store as *queued*, without a nonce. So do
//! drafts that exceed a day's budget; they take no room from others.

mod allot;
pub mod blocks;
pub mod breaker;
pub mod budget;
mod mempool;
mod messages;
mod money;
mod overdue;
mod post;
mod probe;
mod refusal;
mod round;
mod sign_queue;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use agentry_chain::{MempoolDb, NodeClient};
use agentry_protocol::{
    Address, BlockHash, BlockHeight, ChainId, MessageDigest, Number, Transaction, TransactionHash,
};

use self::blocks::Known;
use self::breaker::Breaker;
use self::budget::Ledger;
use self::overdue::{Delay, Overdue};
use super::Shared;
use super::registry::AgentRegistry;
use super::router::WakeAgents;
use super::signer::Sign;
use crate::config::NoncePolicy;
use agentry_core::absence::Marks;
use agentry_core::nonce::Timestamps;
use agentry_core::rows::{Charge, Draft, OpenTransaction, Prepared, day_of};
use agentry_core::{AgentId, OutboxId};
use agentry_store::{StoreError, read};

pub use messages::{Allot, ChainNews, Connect, Drain, LookAtQueue, Resume, Stored};

/// The most signed transactions that wait in memory for their POST.
pub const MAX_JOBS: usize = 1024;

/// The most transactions that are followed at a time: twice the capacity of a node's mempool.
pub const MAX_OPEN: usize = 20_000;

/// The most concurrent POSTs. The node handles them one after the other; more would only wait
/// there, where they cannot be taken back.
const CONCURRENT_POSTS: usize = 32;

/// The bounds on a POST's time limit, after which its outcome counts as unknown. The limit is one
/// block interval, clamped to these bounds. A late answer costs nothing, since a transaction that
/// the node may have accepted is followed; a node that hangs costs this long.
const POST_LIMITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// The submitter's settings.
#[derive(Debug)]
pub struct SubmitterSettings {
    /// The chain that transactions are signed for.
    pub chain_id: ChainId,
    /// The node to which transactions are posted.
    pub node: NodeClient,
    /// The configured `mempool.db`, if it may be this node's.
    pub mempool: Option<MempoolDb>,
    /// Hash of the chain's block 0, which identifies the node's chain.
    pub genesis: BlockHash,
    /// Whether the node has shown that it serves this chain.
    pub node_is_known: bool,
    /// How nonces are chosen.
    pub policy: NoncePolicy,
    /// How deep a block must be before its nonces count as spent (`sequential`).
    pub final_depth: u64,
}

/// The actor; see the module documentation.
#[derive(Debug)]
pub struct Submitter {
    shared: Shared,
    registry: AgentRegistry,
    /// Wallets that are no longer hosted: their signed transactions are still brought onto the
    /// chain.
    removed: HashMap<AgentId, Address>,
    settings: SubmitterSettings,
    signer: Recipient<Sign>,
    nonces: Timestamps,
    halted: Option<String>,
    breaker: Breaker,
    /// The block 0 that the node shows, if it is another chain's.
    other_chain: Option<BlockHash>,
    read_through: Option<BlockHeight>,
    interval: BlockInterval,
    /// Transactions that are signed and not mined.
    open: HashMap<OutboxId, Open>,
    /// The number of open transactions of each wallet.
    open_of: HashMap<AgentId, u32>,
    marks: Marks,
    /// What the next look into the blocks need not ask for.
    known_blocks: Known,
    mempool: mempool::Mempool,
    overdue: Overdue,
    /// Signed bytes that wait for their POST.
    jobs: VecDeque<Job>,
    posting: usize,
    /// The number of POSTs that have ended, so that a round knows which ended before it began.
    posts_ended: u64,
    round_running: bool,
    /// The node's mempool is not queried again before then.
    look_rests_until: Option<Instant>,
    /// How long the node takes to answer what costs it nothing.
    round_trip: Duration,
    looking_for_funds: bool,
    /// The wallet that was last checked for sufficient money.
    funds_asked_of: Option<AgentId>,
    sign_queue: sign_queue::SignQueue,
    /// Wallets whose transactions cannot be signed, and until when they are left alone.
    unsignable: HashMap<AgentId, Instant>,
    /// Wallets that cannot pay for what is signed already: no more of their drafts are signed, so
    /// that they take no room from others.
    unfunded: HashSet<AgentId>,
    /// The spending of each wallet.
    ledger: Ledger,
    /// Charges for transactions that are signed and not known to be stored.
    reserved: HashMap<MessageDigest, Charge>,
    /// The wallets with drafts that wait for a budget.
    holding: HashSet<AgentId>,
    /// The day at the last check of the clock.
    day: u64,
    wake: Option<Recipient<WakeAgents>>,
    drained: Vec<tokio::sync::oneshot::Sender<()>>,
}

/// A transaction that is signed and not mined.
#[derive(Debug)]
struct Open {
    agent: AgentId,
    hash: TransactionHash,
    nonce: i64,
    cost: u64,
    /// The amount that a budget has paid for it.
    charge: Option<Charge>,
    phase: Phase,
    /// Whether the metrics count it as accepted.
    is_counted: bool,
    /// The transaction is certainly in no block up to and including this one.
    since: BlockHeight,
    /// Since which block the chain's counter is past its nonce (`sequential`).
    stale_since: Option<BlockHeight>,
    /// An upper bound on the last block that the source had read when the node accepted the
    /// transaction.
    accepted_through: Option<BlockHeight>,
    /// Whether the blocks that may contain it could not be examined.
    is_doubtful: bool,
    /// How often it was dropped and posted again, and before which block it is not posted again.
    reposts: u32,
    rest_until: BlockHeight,
    /// Why it is overdue, as its row says.
    delay: Option<Delay>,
    span: tracing::Span,
}

impl Open {
    /// A newly followed transaction.
    fn new(
        (agent, hash, nonce): (AgentId, TransactionHash, i64),
        (cost, charge): (u64, Option<Charge>),
        phase: Phase,
        since: BlockHeight,
        span: tracing::Span,
    ) -> Self {
        Self {
            agent,
            hash,
            nonce,
            cost,
            charge,
            phase,
            is_counted: false,
            since,
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
    fn is_resting(&self, through: BlockHeight) -> bool {
        self.rest_until > through
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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
struct Job {
    id: OutboxId,
    body: Arc<str>,
}

impl Submitter {
    /// A submitter that continues where the store's last one stopped.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(
        shared: Shared,
        registry: AgentRegistry,
        settings: SubmitterSettings,
        signer: Recipient<Sign>,
    ) -> Result<Self, StoreError> {
        let now = shared.clock.local_ms();
        let since = budget::first_day(now);
        let (identity, agents, open, spending, holding, shown) = shared
            .store
            .read(move |db| {
                Ok((
                    read::identity(db)?,
                    read::agents(db)?,
                    read::open_transactions(db)?,
                    read::spending(db, since)?,
                    read::holding(db)?,
                    read::mempool_shown(db)?,
                ))
            })
            .await?;
        let nonces = Timestamps::new(
            agents
                .iter()
                .filter_map(|row| Some((row.id, row.last_nonce?))),
        );
        let db = settings.mempool.clone();
        let mempool = mempool::Mempool::new(db, &settings.node, shown.as_deref());
        let removed = agents
            .into_iter()
            .filter(|row| registry.get(row.id).is_none())
            .map(|row| (row.id, row.address))
            .collect();
        let mut submitter = Self {
            shared,
            registry,
            removed,
            settings,
            signer,
            nonces,
            halted: identity.halted,
            breaker: Breaker::default(),
            other_chain: None,
            read_through: None,
            interval: BlockInterval::default(),
            open: HashMap::new(),
            open_of: HashMap::new(),
            marks: Marks::default(),
            known_blocks: Known::default(),
            mempool,
            overdue: Overdue::default(),
            jobs: VecDeque::new(),
            posting: 0,
            posts_ended: 0,
            round_running: false,
            look_rests_until: None,
            round_trip: Duration::ZERO,
            looking_for_funds: false,
            funds_asked_of: None,
            sign_queue: sign_queue::SignQueue::default(),
            unsignable: HashMap::new(),
            unfunded: HashSet::new(),
            ledger: Ledger::new(since, spending),
            reserved: HashMap::new(),
            holding: holding.into_iter().collect(),
            day: day_of(now),
            wake: None,
            drained: Vec::new(),
        };
        if let Some(reason) = &submitter.halted {
            tracing::error!(
                reason,
                "posting is stopped; investigate the cause, then run `agentry queue resume`"
            );
            submitter.shared.metrics.halted(true);
        }
        if !submitter.settings.node_is_known {
            submitter.breaker.trip();
            submitter.shared.metrics.breaker(true);
        }
        // The previous process may have posted any of them: each is followed as if it had been
        // posted.
        for transaction in open {
            submitter.follow(&transaction);
        }
        Ok(submitter)
    }

    /// Follows a transaction that the node may have.
    fn follow(&mut self, transaction: &OpenTransaction) {
        let span = tracing::info_span!("outgoing", transaction.hash = %transaction.hash);
        let mut open = Open::new(
            (transaction.agent, transaction.hash, transaction.nonce),
            (transaction.cost, transaction.charge.clone()),
            Phase::Posted(self.posts_ended),
            transaction.since,
            span,
        );
        // The posting time of a transaction that was recovered from the chain is unknown.
        open.accepted_through = Some(transaction.since).filter(|since| since.0 > 0);
        // It was counted when the node accepted it, by this process or an earlier one.
        open.is_counted = true;
        self.insert(transaction.id, open);
    }

    fn insert(&mut self, id: OutboxId, open: Open) {
        let agent = open.agent;
        if self.open.insert(id, open).is_none() {
            *self.open_of.entry(agent).or_default() += 1;
        }
        self.shared.metrics.outbox_open(self.open.len());
    }

    fn remove(&mut self, id: OutboxId) -> Option<Open> {
        self.marks.remove(id);
        let open = self.open.remove(&id)?;
        if let Some(count) = self.open_of.get_mut(&open.agent) {
            *count -= 1;
            if *count == 0 {
                self.open_of.remove(&open.agent);
            }
        }
        self.shared.metrics.outbox_open(self.open.len());
        Some(open)
    }

    /// The last block that was read: a transaction signed now is in no block up to this one.
    fn since(&self) -> BlockHeight {
        self.read_through.unwrap_or(BlockHeight(0))
    }

    /// A transaction is in a block.
    fn mined(&mut self, id: OutboxId) {
        if let Some(open) = self.remove(id) {
            open.span.in_scope(
                || tracing::info!(transaction.hash = %open.hash, "the transaction was mined"),
            );
            if !open.is_counted {
                // The answer to its POST was lost, or came after the block.
                self.shared.metrics.accepted(self.shared.clock.now_ms());
            }
            self.shared.metrics.mined();
        }
        if self.settings.policy == NoncePolicy::Sequential {
            self.sign_queue.note();
        }
    }

    /// Whether drafts can get nonces now. Until the chain is read up to the head seen at startup,
    /// the drafts may already be on it, and so may their nonces.
    fn has_room(&self) -> bool {
        self.halted.is_none()
            && !self.breaker.is_open()
            && self.shared.catch_up.is_done()
            && self.jobs.len() < MAX_JOBS
            && self.open.len() < MAX_OPEN
    }

    /// What is signed for a draft.
    fn transaction(&self, agent: AgentId, draft: Draft, nonce: i64) -> Option<Transaction> {
        Some(Transaction {
            from: self.registry.get(agent)?.address.clone(),
            to: draft.recipient,
            amount: Number::from(draft.amount),
            fee: Number::from(draft.fee),
            nonce: Number::from(nonce),
            payload: draft.payload,
            chain_id: self.settings.chain_id.clone(),
        })
    }

    /// Posts signed bytes and follows their transactions.
    fn dispatch(
        &mut self,
        agent: AgentId,
        id: OutboxId,
        prepared: Prepared,
        paid: (u64, Option<Charge>),
        span: tracing::Span,
    ) {
        // Blocks may have been withdrawn since it was signed.
        let since = prepared.since.min(self.since());
        let which = (agent, prepared.hash, prepared.nonce);
        let open = Open::new(which, paid, Phase::Posting, since, span);
        self.insert(id, open);
        self.jobs.push_back(Job {
            id,
            body: prepared.body.into(),
        });
    }

    fn halt(&mut self, reason: String) {
        tracing::error!(
            reason,
            "posting is stopped; investigate the cause, then run `agentry queue resume`"
        );
        self.shared.metrics.halted(true);
        self.halted = Some(reason);
    }
}

impl Actor for Submitter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(256);
        self.start_signing(ctx);
        self.watch_the_clock(ctx);
        self.watch_the_node(ctx);
        let catch_up = self.shared.catch_up.clone();
        let caught_up = async move { catch_up.done().await };
        ctx.spawn(caught_up.into_actor(self).map(|(), submitter, ctx| {
            submitter.start_signing(ctx);
            submitter.start_round(ctx);
        }));
    }
}

impl Handler<ChainNews> for Submitter {
    type Result = ();

    fn handle(&mut self, news: ChainNews, ctx: &mut Self::Context) {
        if let Some(reason) = news.halted {
            self.halt(reason);
        }
        if news.withdrawn {
            self.marks.clear();
            self.known_blocks = Known::default();
            // Posted transactions may be in the blocks that replaced the withdrawn ones.
            for open in self.open.values_mut() {
                open.since = BlockHeight(0);
            }
        }
        for transaction in news.reopened {
            self.follow(&transaction);
        }
        for charge in news.recharged {
            self.ledger.paid(&charge);
        }
        for (agent, nonce) in news.nonces {
            self.nonces.spent(agent, nonce);
        }
        for (id, _) in news.mined {
            self.mined(id);
        }
        if let Some(height) = news.read_through {
            let moved = self.read_through != Some(height);
            self.read_through = Some(height);
            if moved {
                self.interval.observe(height);
                self.start_round(ctx);
                self.look_for_funds(ctx);
            }
        }
        self.start_signing(ctx);
    }
}

impl Handler<LookAtQueue> for Submitter {
    type Result = ();

    fn handle(&mut self, look: LookAtQueue, ctx: &mut Self::Context) {
        self.unsignable.clear();
        for transaction in look.reopened {
            if let Some(charge) = &transaction.charge {
                self.ledger.paid(charge);
            }
            self.follow(&transaction);
        }
        self.sign_queue.note();
        self.sign_queue.release();
        self.start_signing(ctx);
    }
}

impl Handler<Connect> for Submitter {
    type Result = ();

    fn handle(&mut self, connect: Connect, _: &mut Self::Context) {
        self.wake = Some(connect.wake);
    }
}

impl Handler<Resume> for Submitter {
    type Result = ();

    fn handle(&mut self, _: Resume, ctx: &mut Self::Context) {
        if let Some(reason) = self.halted.take() {
            tracing::info!(reason, "posting continues: an operator resumed it");
        }
        self.shared.metrics.halted(false);
        self.sign_queue.note();
        self.pump(ctx);
        self.start_signing(ctx);
    }
}

impl Handler<Drain> for Submitter {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, _: &mut Self::Context) -> Self::Result {
        let (done, drained) = tokio::sync::oneshot::channel();
        self.drained.push(done);
        self.answer_drained();
        Box::pin(async move {
            // A submitter that has ended is drained, too.
            let _ = drained.await;
        })
    }
}

impl Submitter {
    fn answer_drained(&mut self) {
        let waits = self.posting > 0 || (!self.jobs.is_empty() && !self.breaker.is_open());
        if !waits {
            for done in self.drained.drain(..) {
                let _ = done.send(());
            }
        }
    }

    fn outstanding(&self, agents: impl IntoIterator<Item = AgentId>) -> HashSet<AgentId> {
        agents
            .into_iter()
            .filter(|agent| self.open_of.contains_key(agent))
            .collect()
    }
}

/// The observed interval between blocks.
#[derive(Debug)]
struct BlockInterval {
    last: Option<(BlockHeight, Instant)>,
    interval: Duration,
}

impl Default for BlockInterval {
    fn default() -> Self {
        // The real node's block interval.
        Self {
            last: None,
            interval: Duration::from_secs(2),
        }
    }
}

impl BlockInterval {
    fn observe(&mut self, height: BlockHeight) {
        let now = Instant::now();
        if let Some((before, then)) = self.last {
            let blocks = u32::try_from(height.0.saturating_sub(before.0)).unwrap_or(u32::MAX);
            if blocks > 0 {
                let one = now.duration_since(then) / blocks;
                // A moving average: the last interval counts for half.
                self.interval = (self.interval + one) / 2;
            }
        }
        self.last = Some((height, now));
    }

    /// How long a POST may take before its outcome counts as unknown.
    fn post_limit(&self) -> Duration {
        self.interval.clamp(POST_LIMITS.0, POST_LIMITS.1)
    }
}
