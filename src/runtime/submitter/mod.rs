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
//! | `post` | one POST and what its answer means |
//! | `round` | one look at the node for what is not mined |
//! | `refill` | drafts that were queued |
//!
//! What it holds in memory is bounded: signed bytes only of what is about to be posted
//! ([`MAX_JOBS`]), a few words for each transaction that is signed and not mined ([`MAX_OPEN`]).
//! What goes beyond waits in the store as *queued*, without a nonce.

pub mod absence;
pub mod blocks;
pub mod breaker;
pub mod nonce;
mod post;
mod refill;
mod round;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use agentry_chain::NodeClient;
use agentry_protocol::{Address, BlockHeight, ChainId, Number, Transaction, TransactionHash};

use self::absence::Marks;
use self::breaker::Breaker;
use self::nonce::Timestamps;
use super::Shared;
use super::roster::Roster;
use super::signer::Sign;
use crate::config::NoncePolicy;
use crate::store::commit::{PostResult, Sent};
use crate::store::rows::{Draft, OpenTransaction, Prepared};
use crate::store::{AgentId, Commit, OutboxId, StoreError, read};

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

/// News from the chain.
#[derive(Debug, Default)]
pub struct ChainNews {
    /// Through which block the source has read, and the store knows.
    pub read_through: Option<BlockHeight>,
    /// The hosted wallets' transactions that stand in a block since.
    pub mined: Vec<(OutboxId, TransactionHash)>,
    /// Those that must be followed (again).
    pub reopened: Vec<OpenTransaction>,
    /// Whether blocks were withdrawn.
    pub withdrawn: bool,
    /// Why posting must stop, if it must.
    pub halted: Option<String>,
}

impl Message for ChainNews {
    type Result = ();
}

/// Nonces and signatures for these drafts, if they can be had at once.
#[derive(Debug)]
pub struct Allot {
    /// Whose.
    pub agent: AgentId,
    /// The drafts.
    pub drafts: Vec<Draft>,
}

impl Message for Allot {
    /// In the drafts' order; `None` for one that has to be queued.
    type Result = Vec<Option<Prepared>>;
}

/// What was allotted is stored, or is not: the commit that held it was void.
#[derive(Debug)]
pub struct Stored {
    /// Whose.
    pub agent: AgentId,
    /// The rows, in the drafts' order; empty, if nothing was stored.
    pub rows: Vec<Sent>,
    /// The signed bytes, in the same order; `None` for those that are queued.
    pub bodies: Vec<Option<Prepared>>,
    /// What each costs, amount and fee, in AIT.
    pub costs: Vec<u64>,
    /// The span of the message that they answer.
    pub span: tracing::Span,
}

impl Message for Stored {
    type Result = ();
}

/// An operator lets posting go on.
#[derive(Debug)]
pub struct Resume;

impl Message for Resume {
    type Result = ();
}

/// Something was queued, or failed transactions are to be tried again.
#[derive(Debug, Default)]
pub struct LookAtQueue {
    /// Those that are signed already.
    pub reopened: Vec<OpenTransaction>,
}

impl Message for LookAtQueue {
    type Result = ();
}

/// Finish what is in hand. Answered when no POST is under way or waiting.
#[derive(Debug)]
pub struct Drain;

impl Message for Drain {
    type Result = ();
}

/// How the submitter is set up.
#[derive(Debug)]
pub struct SubmitterSettings {
    /// The chain that transactions are signed for.
    pub chain_id: ChainId,
    /// The node that is posted to.
    pub node: NodeClient,
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
    read_through: Option<BlockHeight>,
    interval: BlockInterval,
    /// What is signed and not mined.
    open: HashMap<OutboxId, Open>,
    /// How many of them each wallet has.
    open_of: HashMap<AgentId, u32>,
    marks: Marks,
    /// What waits for its POST.
    jobs: VecDeque<Job>,
    posting: usize,
    /// Counts POSTs that ended, so that a round knows which ended before it began.
    posts_ended: u64,
    round_running: bool,
    refill: refill::Refill,
    /// Wallets whose transactions cannot be signed, until when they are let be.
    unsignable: HashMap<AgentId, Instant>,
    /// Wallets that cannot pay for what is signed already: nothing more of theirs is signed, so
    /// that they take no room from others.
    unfunded: HashSet<AgentId>,
    drained: Vec<tokio::sync::oneshot::Sender<()>>,
}

/// A transaction that is signed and not mined.
#[derive(Debug)]
struct Open {
    agent: AgentId,
    hash: TransactionHash,
    nonce: i64,
    cost: u64,
    phase: Phase,
    /// The block below which, and in which, it certainly does not stand.
    since: BlockHeight,
    /// Since which block the chain's counter is past its nonce (`sequential`).
    stale_since: Option<BlockHeight>,
    span: tracing::Span,
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
        let (identity, agents, open) = shared
            .store
            .read(|db| {
                Ok((
                    read::identity(db)?,
                    read::agents(db)?,
                    read::open_transactions(db)?,
                ))
            })
            .await?;
        let nonces = Timestamps::new(
            agents
                .iter()
                .filter_map(|row| Some((row.id, row.last_nonce?))),
        );
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
            read_through: None,
            interval: BlockInterval::default(),
            open: HashMap::new(),
            open_of: HashMap::new(),
            marks: Marks::default(),
            jobs: VecDeque::new(),
            posting: 0,
            posts_ended: 0,
            round_running: false,
            refill: refill::Refill::default(),
            unsignable: HashMap::new(),
            unfunded: HashSet::new(),
            drained: Vec::new(),
        };
        if let Some(reason) = &submitter.halted {
            tracing::error!(
                reason,
                "posting is stopped; look into it, then `agentry queue resume`"
            );
            submitter.shared.metrics.halted(true);
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
        self.insert(
            transaction.id,
            Open {
                agent: transaction.agent,
                hash: transaction.hash,
                nonce: transaction.nonce,
                cost: transaction.cost,
                phase: Phase::Posted(self.posts_ended),
                since: transaction.since,
                stale_since: None,
                span,
            },
        );
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

    /// Whether drafts can get nonces now.
    fn has_room(&self) -> bool {
        self.halted.is_none()
            && !self.breaker.is_open()
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
        cost: u64,
        span: tracing::Span,
    ) {
        self.insert(
            id,
            Open {
                agent,
                hash: prepared.hash,
                nonce: prepared.nonce,
                cost,
                phase: Phase::Posting,
                // Blocks may have been withdrawn since it was signed.
                since: prepared.since.min(self.since()),
                stale_since: None,
                span,
            },
        );
        self.jobs.push_back(Job {
            id,
            body: prepared.body.into(),
        });
    }

    fn store_post(&self, id: OutboxId, result: PostResult) -> impl Future<Output = ()> + use<> {
        let (store, at) = (self.shared.store.clone(), self.shared.clock.now_ms());
        async move {
            if let Err(error) = store.commit(Commit::Post { id, result, at }).await {
                // The row stays as it was, which says less than is known and nothing wrong.
                tracing::error!(%error, outbox.row = %id, "storing what came of a POST");
            }
        }
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
    }
}

impl Handler<Allot> for Submitter {
    type Result = ResponseActFuture<Self, Vec<Option<Prepared>>>;

    fn handle(&mut self, allot: Allot, _: &mut Self::Context) -> Self::Result {
        let count = allot.drafts.len();
        let queue_all = vec![None; count];
        // What was queued before goes first; under `sequential` the chain has to be asked.
        let at_once = self.settings.policy == NoncePolicy::Timestamp
            && self.has_room()
            && !self.refill.is_pending()
            && !self.unsignable.contains_key(&allot.agent)
            && !self.unfunded.contains(&allot.agent);
        if !at_once {
            return Box::pin(actix::fut::ready(queue_all));
        }
        let agent = allot.agent;
        let now = self.shared.clock.now_ms();
        let mut transactions = Vec::with_capacity(count);
        for draft in allot.drafts {
            let nonce = self.nonces.next(agent, now);
            match self.transaction(agent, draft, nonce) {
                Some(transaction) => transactions.push((nonce, transaction)),
                None => return Box::pin(actix::fut::ready(queue_all)),
            }
        }
        Box::pin(
            refill::sign(self.signer.clone(), agent, transactions, self.since())
                .into_actor(self)
                .map(move |signed, submitter, ctx| match signed {
                    Ok(prepared) => prepared.into_iter().map(Some).collect(),
                    Err(error) => {
                        submitter.cannot_sign(agent, &error, ctx);
                        queue_all
                    }
                }),
        )
    }
}

impl Handler<Stored> for Submitter {
    type Result = ();

    fn handle(&mut self, stored: Stored, ctx: &mut Self::Context) {
        let drafts = stored.bodies.into_iter().zip(stored.costs);
        for (row, (prepared, cost)) in stored.rows.into_iter().zip(drafts) {
            match prepared {
                Some(prepared) if row.fresh => {
                    self.dispatch(stored.agent, row.id, prepared, cost, stored.span.clone());
                }
                Some(_) => {}
                None => self.refill.note(),
            }
        }
        self.pump(ctx);
        self.start_refill(ctx);
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
            self.follow(&transaction);
        }
        self.refill.note();
        self.start_refill(ctx);
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
