//! Submitter: nonces, the outbox, and the node that is posted to.
//!
//! It gives a draft its nonce, has it signed, and has the *signed bytes* stored before the first
//! POST. It follows each transaction until it is in a block, posts the same bytes again only when
//! they are [absent](absence), and lets the node be while it is down. Under `timestamp` a reply is
//! never signed twice; under `sequential` only when a block `final_depth` deep shows that its
//! nonce was spent by something else.
//!
//! | module | holds |
//! |---|---|
//! | [`nonce`] | the two nonce policies |
//! | [`absence`], [`blocks`] | when a transaction may be posted again |
//! | [`breaker`] | when the node is let be |
//! | [`budget`] | what each wallet may spend in a day |
//! | `post` | one POST and what its answer means |
//! | `refusal` | what a node means by the words of a refusal |
//! | `probe` | whether the node answers again, and serves the right chain |
//! | `round` | one look at the node for what is not mined |
//! | `mempool` | where it is looked what the node has pending |
//! | `overdue` | telling of what is accepted and not mined |
//! | `refill` | drafts that were queued |
//! | `allot` | nonces and signatures at once, where nothing has to wait |
//! | `messages` | what it is told and asked |
//! | `money` | paying for drafts, and letting those wait that no budget suffices for |
//!
//! What it holds in memory is bounded: signed bytes only of what is about to be posted
//! ([`MAX_JOBS`]), a few words for each transaction that is signed and not mined ([`MAX_OPEN`]).
//! What goes beyond waits in the store as *queued*, without a nonce. So does what a day's budget
//! does not suffice for; it takes no room from others.

pub mod absence;
mod allot;
pub mod blocks;
pub mod breaker;
pub mod budget;
mod mempool;
mod messages;
mod money;
pub mod nonce;
mod overdue;
mod post;
mod probe;
mod refill;
mod refusal;
mod round;
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

use self::absence::Marks;
use self::breaker::Breaker;
use self::budget::Ledger;
use self::nonce::Timestamps;
use self::overdue::{Delay, Overdue};
use super::Shared;
use super::roster::Roster;
use super::router::WakeAgents;
use super::signer::Sign;
use crate::config::NoncePolicy;
use crate::store::rows::{Charge, Draft, OpenTransaction, Prepared, day_of};
use crate::store::{AgentId, OutboxId, StoreError, read};

pub use messages::{Allot, ChainNews, Connect, Drain, LookAtQueue, Resume, Stored};

/// The most signed transactions that wait in memory for their POST.
pub const MAX_JOBS: usize = 1024;

/// The most transactions that are followed at a time: twice what a node's mempool takes.
pub const MAX_OPEN: usize = 20_000;

/// The most POSTs at the same time. The node handles them one after the other; more would only
/// wait there, where they cannot be taken back.
const CONCURRENT_POSTS: usize = 32;

/// The bounds of how long a POST may take before its fate counts as unknown: one block interval,
/// within these. A late answer costs nothing, since what may have been taken is followed; a hung
/// node costs this long.
const POST_LIMITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// How the submitter is set up.
#[derive(Debug)]
pub struct SubmitterSettings {
    /// The chain that transactions are signed for.
    pub chain_id: ChainId,
    /// The node that is posted to.
    pub node: NodeClient,
    /// The node's `mempool.db`, where one is configured that may be its.
    pub mempool: Option<MempoolDb>,
    /// Hash of the chain's block 0, by which the node's chain is known.
    pub genesis: BlockHash,
    /// Whether the node has shown that it serves this chain.
    pub node_is_known: bool,
    /// How nonces are found.
    pub policy: NoncePolicy,
    /// How deep a block must be before its nonces count as spent (`sequential`).
    pub final_depth: u64,
}

/// The actor.
#[derive(Debug)]
pub struct Submitter {
    shared: Shared,
    roster: Roster,
    /// Wallets that are hosted no more: what they have signed is still brought onto the chain.
    departed: HashMap<AgentId, Address>,
    settings: SubmitterSettings,
    signer: Recipient<Sign>,
    nonces: Timestamps,
    halted: Option<String>,
    breaker: Breaker,
    /// The block 0 that the node shows, where that is another chain's.
    other_chain: Option<BlockHash>,
    read_through: Option<BlockHeight>,
    interval: BlockInterval,
    /// What is signed and not mined.
    open: HashMap<OutboxId, Open>,
    /// How many of them each wallet has.
    open_of: HashMap<AgentId, u32>,
    marks: Marks,
    mempool: mempool::Mempool,
    overdue: Overdue,
    /// What waits for its POST.
    jobs: VecDeque<Job>,
    posting: usize,
    /// Counts POSTs that ended, so that a round knows which ended before it began.
    posts_ended: u64,
    round_running: bool,
    /// Before then the node's mempool is not asked for again.
    look_rests_until: Option<Instant>,
    /// How long the node takes to answer what costs it nothing.
    round_trip: Duration,
    looking_for_funds: bool,
    /// The wallet that was last asked for whether it can pay by now.
    funds_asked_of: Option<AgentId>,
    refill: refill::Refill,
    /// Wallets whose transactions cannot be signed, until when they are let be.
    unsignable: HashMap<AgentId, Instant>,
    /// Wallets that cannot pay for what is signed already: nothing more of theirs is signed, so
    /// that they take no room from others.
    unfunded: HashSet<AgentId>,
    /// What each wallet has spent.
    ledger: Ledger,
    /// What is paid for, signed, and not known to be stored.
    reserved: HashMap<MessageDigest, Charge>,
    /// The wallets of which drafts wait for a budget.
    holding: HashSet<AgentId>,
    /// The day at the last look at the clock.
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
    /// What a budget has paid for it.
    charge: Option<Charge>,
    phase: Phase,
    /// The block below which, and in which, it certainly does not stand.
    since: BlockHeight,
    /// Since which block the chain's counter is past its nonce (`sequential`).
    stale_since: Option<BlockHeight>,
    /// Through which block the source had read when the node had it at the latest.
    accepted_through: Option<BlockHeight>,
    /// Whether the blocks in which it may stand could not be looked through.
    is_doubtful: bool,
    /// How often it was dropped and posted again, and before which block it is not once more.
    reposts: u32,
    rest_until: BlockHeight,
    /// Why it is overdue, as its row says.
    delay: Option<Delay>,
    span: tracing::Span,
}

impl Open {
    /// A transaction that is followed from now on.
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
    /// Its bytes wait to be posted, or are on their way.
    Posting,
    /// The node has it, or may have it; the count of ended POSTs then.
    Posted(u64),
    /// It was missed in the mempool and by the source; the blocks themselves are looked through.
    Doubted,
    /// It is certainly not with the node, and waits for its wallet to be funded.
    Unfunded,
}

/// Signed bytes on their way to the node.
#[derive(Debug)]
struct Job {
    id: OutboxId,
    body: Arc<str>,
}

impl Submitter {
    /// A submitter that goes on where the store's last one stopped.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(
        shared: Shared,
        roster: Roster,
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
        let departed = agents
            .into_iter()
            .filter(|row| roster.get(row.id).is_none())
            .map(|row| (row.id, row.address))
            .collect();
        let mut submitter = Self {
            shared,
            roster,
            departed,
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
            refill: refill::Refill::default(),
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
                "posting is stopped; look into it, then `agentry queue resume`"
            );
            submitter.shared.metrics.halted(true);
        }
        if !submitter.settings.node_is_known {
            submitter.breaker.trip();
            submitter.shared.metrics.breaker(true);
        }
        // The last process may have posted any of them: they are followed as if it had.
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
        // Of one that was claimed from the chain nobody knows since when.
        open.accepted_through = Some(transaction.since).filter(|since| since.0 > 0);
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
        self.marks.forget(id);
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

    /// The last block that was read: what is signed now stands in none up to there.
    fn since(&self) -> BlockHeight {
        self.read_through.unwrap_or(BlockHeight(0))
    }

    /// A transaction stands in a block.
    fn mined(&mut self, id: OutboxId) {
        if let Some(open) = self.remove(id) {
            open.span
                .in_scope(|| tracing::info!(transaction.hash = %open.hash, "mined"));
            self.shared.metrics.mined();
        }
        if self.settings.policy == NoncePolicy::Sequential {
            self.refill.note();
        }
    }

    /// Whether drafts can get nonces now. Before the chain is read up to its head at the start,
    /// they may be on it already, and so may their nonces.
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
            from: self.roster.get(agent)?.address.clone(),
            to: draft.recipient,
            amount: Number::from(draft.amount),
            fee: Number::from(draft.fee),
            nonce: Number::from(nonce),
            payload: draft.payload,
            chain_id: self.settings.chain_id.clone(),
        })
    }

    /// Has signed bytes posted, and follows them.
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
            "posting is stopped; look into it, then `agentry queue resume`"
        );
        self.shared.metrics.halted(true);
        self.halted = Some(reason);
    }
}

impl Actor for Submitter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(256);
        self.start_refill(ctx);
        self.watch_the_clock(ctx);
        self.watch_the_node(ctx);
        let catch_up = self.shared.catch_up.clone();
        let caught_up = async move { catch_up.done().await };
        ctx.spawn(caught_up.into_actor(self).map(|(), submitter, ctx| {
            submitter.start_refill(ctx);
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
            self.marks.forget_all();
            // What was posted may stand in the blocks that came instead.
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
        self.start_refill(ctx);
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
        self.refill.note();
        self.refill.release();
        self.start_refill(ctx);
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
            tracing::info!(reason, "posting goes on: an operator resumed it");
        }
        self.shared.metrics.halted(false);
        self.refill.note();
        self.pump(ctx);
        self.start_refill(ctx);
    }
}

impl Handler<Drain> for Submitter {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, _: &mut Self::Context) -> Self::Result {
        let (done, drained) = tokio::sync::oneshot::channel();
        self.drained.push(done);
        self.answer_drained();
        Box::pin(async move {
            // An ended submitter is drained, too.
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

/// How far apart blocks come, as seen here.
#[derive(Debug)]
struct BlockInterval {
    last: Option<(BlockHeight, Instant)>,
    interval: Duration,
}

impl Default for BlockInterval {
    fn default() -> Self {
        // The real node's.
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
                // A moving average: half of it is the last block's.
                self.interval = (self.interval + one) / 2;
            }
        }
        self.last = Some((height, now));
    }

    /// How long a POST may take before its fate counts as unknown.
    fn post_limit(&self) -> Duration {
        self.interval.clamp(POST_LIMITS.0, POST_LIMITS.1)
    }
}
