//! Submitter: nonces, the outbox, and the node to which transactions are posted.
//!
//! The submitter gives a draft its nonce, has it signed, and has the *signed bytes* stored before
//! the first POST. It follows each transaction until it is in a block, posts the same bytes again
//! only when they are [absent](agentry_core::absence), and opens a circuit breaker while the node is
//! down. Under `timestamp` a reply is never signed twice; under `sequential` it is signed again only
//! when a block `final_depth` deep shows that its nonce was spent by another transaction.
//!
//! What the submitter knows is its `State`. The handlers of its messages change it and return.
//! Five loops do the work; each waits until it is woken, and reads from top to bottom:
//!
//! | loop | module | what it does |
//! |---|---|---|
//! | `sign_queued` | `sign` | gives queued drafts nonces and has them signed, when there is room and a budget |
//! | `post_waiting` | `post` | posts signed bytes, and acts on the node's answers |
//! | `look_for_lost` | `round` | at each block, asks the node about transactions that are not mined |
//! | `look_for_funds` | `funds` | at each block, asks whether wallets can pay that could not |
//! | `watch_node` | `node` | asks the node for its chain, and probes it while the breaker is open |
//!
//! | module | holds |
//! |---|---|
//! | `state` | the transactions that are followed, and those that wait for their POST |
//! | `money` | charging drafts to budgets |
//! | [`budget`] | what each wallet may spend in a day |
//! | `submit` | agents' commits, and immediate signatures where nothing has to wait |
//! | `mempool` | the source of the node's pending transactions |
//! | `blocks` | the last check before a transaction is posted again |
//! | `overdue` | reporting transactions that are accepted and not mined |
//! | `messages` | the messages that the submitter receives |
//!
//! The submitter's memory is bounded: it holds signed bytes only of transactions that are about to
//! be posted ([`MAX_JOBS`]), and a small record of each transaction that is signed and not mined
//! ([`MAX_OPEN`]). Drafts beyond these limits wait in the store as *queued*, without a nonce. So do
//! drafts that exceed a day's budget; they take no room from others.

mod blocks;
pub mod budget;
mod funds;
mod mempool;
mod messages;
mod money;
mod node;
mod overdue;
mod post;
mod round;
mod sign;
mod state;
mod submit;
#[cfg(test)]
mod tests;

use std::cell::{OnceCell, RefCell, RefMut};
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use agentry_chain::{MempoolDb, NodeClient};
use agentry_core::Changes;
use agentry_core::nonce::NoncePolicy;
use agentry_core::rows::AgentRow;
use agentry_protocol::{BlockHash, Chain};
use agentry_store::{StoreError, read};
use tokio::sync::Notify;

use self::mempool::Mempool;
use self::money::Money;
use self::sign::PAGE;
use self::state::State;
use super::Shared;
use super::registry::AgentRegistry;
use super::router::WakeAgents;
use super::signer::Sign;

pub use messages::{ChainNews, Drain, LookAtQueue, Resume};
pub use submit::{Link, Outbox, Queueing, Sequence, Submit};

/// The most signed transactions that wait in memory for their POST.
pub const MAX_JOBS: usize = 1024;

/// The most transactions that are followed at a time: twice the capacity of a node's mempool.
pub const MAX_OPEN: usize = 20_000;

/// The most concurrent POSTs. The node handles them one after the other; more would only wait
/// there, where they cannot be taken back.
const CONCURRENT_POSTS: usize = 32;

/// The submitter's settings.
#[derive(Debug)]
pub struct SubmitterSettings {
    /// The chain that transactions are signed for.
    pub chain: Chain,
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
pub struct Submitter(Rc<Work>);

/// What the handlers and the loops share.
#[derive(Debug)]
struct Work {
    shared: Shared,
    registry: AgentRegistry,
    settings: SubmitterSettings,
    signer: Recipient<Sign>,
    mempool: Mempool,
    state: RefCell<State>,
    /// Wakes agents when the state of a sent transaction changes.
    wake: OnceCell<Recipient<WakeAgents>>,
    /// Queued drafts may be signed now.
    may_sign: Notify,
    /// A POST may begin now.
    may_post: Notify,
    /// A block came, or the node answers again.
    round_is_due: Notify,
    /// A block came.
    funds_are_due: Notify,
    /// The breaker has opened.
    node_failed: Notify,
    /// A POST has ended, or none may begin.
    posts_changed: Notify,
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
        let now = shared.clock.local();
        let since = budget::first_day(now);
        let store = &shared.store;
        let spending = store.read(move |db| Ok((read::agents(db)?, read::spending(db, since)?)));
        let (agents, spending) = spending.await?;
        let known = store.query(|state| (state.facts().clone(), state.agents_held()));
        let (facts, holding) = known.await?;
        let last_nonce = |row: &AgentRow| Some((row.id, row.last_nonce?));
        let nonces = settings
            .policy
            .manager(agents.iter().filter_map(last_nonce));
        let money = Money::new(registry.clone(), spending, holding, now);
        let mut state = State::new(shared.clone(), nonces, money, settings.node.clone());
        if let Some(reason) = facts.halted {
            state.halt(reason);
        }
        if !settings.node_is_known {
            state.breaker.trip(Some(Duration::ZERO));
            shared.metrics.breaker(true);
        }
        // The previous process may have posted any of them: each is followed as if it had been
        // posted.
        let mut last = None;
        loop {
            let page = move |state: &agentry_core::State| state.open_transactions(last, PAGE);
            let open = store.query(page).await?;
            let Some(one) = open.last() else {
                break;
            };
            last = Some((one.agent, one.id));
            open.into_iter().for_each(|one| state.follow(one));
        }
        let (node, db) = (settings.node.clone(), settings.mempool.clone());
        Ok(Self(Rc::new(Work {
            mempool: Mempool::new(shared.clone(), node, db, facts.mempool.as_deref()),
            shared,
            registry,
            settings,
            signer,
            state: RefCell::new(state),
            wake: OnceCell::new(),
            may_sign: Notify::new(),
            may_post: Notify::new(),
            round_is_due: Notify::new(),
            funds_are_due: Notify::new(),
            node_failed: Notify::new(),
            posts_changed: Notify::new(),
        })))
    }

    /// Has this router wake agents when the state of a sent transaction changes.
    #[must_use]
    pub fn waking(self, wake: Recipient<WakeAgents>) -> Self {
        // It is set once: before the submitter starts.
        let _ = self.0.wake.set(wake);
        self
    }
}

impl Work {
    /// The state, until the end of the statement or block: it must not be held across an `.await`.
    fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// Wakes the loops, after what kept them from posting or signing.
    fn go_on(&self) {
        self.may_sign.notify_one();
        self.may_post.notify_one();
        self.round_is_due.notify_one();
    }

    /// Returns when no POST is under way or about to begin.
    async fn drained(&self) {
        loop {
            let changed = self.posts_changed.notified();
            if self.state().is_drained() {
                return;
            }
            changed.await;
        }
    }
}

impl Actor for Submitter {
    type Context = Context<Self>;

    /// Starts the loops. They end with the arbiter.
    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(256);
        let work = || Rc::clone(&self.0);
        actix_rt::spawn(work().sign_queued());
        actix_rt::spawn(work().post_waiting());
        actix_rt::spawn(work().look_for_lost());
        actix_rt::spawn(work().look_for_funds());
        actix_rt::spawn(work().watch_node());
        let work = work();
        actix_rt::spawn(async move {
            work.shared.catch_up.done().await;
            work.go_on();
        });
    }
}

impl Handler<ChainNews> for Submitter {
    type Result = ();

    fn handle(&mut self, news: ChainNews, _: &mut Self::Context) {
        let work = &self.0;
        if work.state().news(news) {
            work.round_is_due.notify_one();
            work.funds_are_due.notify_one();
        }
        work.may_sign.notify_one();
    }
}

impl Handler<Submit> for Submitter {
    type Result = ResponseFuture<Result<Changes, StoreError>>;

    fn handle(&mut self, submit: Submit, _: &mut Self::Context) -> Self::Result {
        let work = Rc::clone(&self.0);
        Box::pin(async move { work.submit(submit).await })
    }
}

impl Handler<LookAtQueue> for Submitter {
    type Result = ();

    fn handle(&mut self, look: LookAtQueue, _: &mut Self::Context) {
        let mut state = self.0.state();
        state.unsignable.clear();
        let charges = look.reopened.iter().filter_map(|one| one.charge.clone());
        state.recognised(charges.collect(), look.reopened);
        state.queued();
        state.money.release();
        self.0.may_sign.notify_one();
    }
}

impl Handler<Resume> for Submitter {
    type Result = ();

    fn handle(&mut self, _: Resume, _: &mut Self::Context) {
        let mut state = self.0.state();
        if let Some(reason) = state.halted.take() {
            tracing::info!(reason, "posting continues: an operator resumed it");
        }
        self.0.shared.metrics.halted(false);
        state.queued();
        self.0.go_on();
    }
}

impl Handler<Drain> for Submitter {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, _: &mut Self::Context) -> Self::Result {
        let work = Rc::clone(&self.0);
        Box::pin(async move { work.drained().await })
    }
}
