//! The actors, and what each of them guarantees.
//!
//! ```text
//! node ─ chain.db / RPC ─▶ ChainWatcher ─▶ InboxRouter ─▶ Agent (one per wallet) ─▶ Behaviour
//!                                                               │ effects
//! node ◀── POST ── Submitter ◀── Store (one atomic Commit) ◀── Signer
//!   └── seen mined ─▶ ChainWatcher ─▶ InboxRouter ─▶ Submitter: settled
//! ```
//!
//! | actor | module | owns |
//! |---|---|---|
//! | ChainWatcher | [`watcher`] | the position on the chain |
//! | InboxRouter | [`router`] | the table of hosted addresses; authenticity; who is awake |
//! | Agent | [`agent`] | one wallet's conversation |
//! | Signer | [`signer`] | private keys |
//! | Submitter | [`submitter`] | nonces, the outbox, the connection to the node |
//!
//! A message between actors is a *request*, which is answered: `send().await`, so a full mailbox
//! makes the sender wait. A *wake-up* is a notification without data. It is cleared before the look
//! that it asks for, so none is missed. Nothing that must not be lost travels in a mailbox alone.
//!
//! The actors run on actix arbiters, which never block: SQLite, Ed25519 and key derivation run on
//! their own threads, behaviours on a multi-threaded tokio runtime. The other modules:
//!
//! | module | holds |
//! |---|---|
//! | [`host`] | starts the actors, and stops them when the process is asked to stop |
//! | [`catch_up`] | reading the chain up to the head seen at startup before any agent acts |
//! | `classify` | what a transaction means for the hosted wallets, and who signed it |
//! | [`directory`] | the cards and keys of other agents, from the chain |
//! | [`standing`] | the standing of senders: how well each is known |
//! | [`environment`] | the runtime queries that behaviours can make |
//! | `reading` | interpreting a transaction as a message |
//! | [`compose`] | building the payload of an outgoing message: header, sealing |
//! | [`reload`] | changing the configuration while the runtime is running |
//! | [`presence`] | the shards that are on this host, for those who serve others |
//! | [`rates`] | rate limits: how many messages of each sender are handled |
//! | [`series`] | what was measured in the last hours, for the console |
//! | [`tasks`] | the pool that runs tasks |
//! | [`jobs`] | tasks that workers run, on machines of their own |
//! | [`traces`] | what agents do because of a message, exported over OTLP |
//! | `backoff` | the pauses between the attempts at something that fails |
//! | [`runner`] | the behaviour runner: it isolates the runtime from behaviour code |
//! | [`cluster`] | several hosts that share the agents |
//! | [`coordinator`] | hosted agents in AITBC's agent coordinator |
//! | [`control`] | the socket through which commands reach a running runtime |
//! | [`http`] | `/health`, `/ready`, `/metrics` |
//! | [`metrics`] | the counters and gauges |
//! | `lag` | detecting a node that is behind the blocks already read |
//! | [`lease`] | until when what was made durable may leave this host |
//! | [`webhooks`] | telling operators of what needs them |
//! | [`worker`] | `agentry worker`: runs the tasks of agents that are hosted elsewhere |
//! | [`limits`] | the operating-system limits that the runtime needs |
//! | [`kill`] | named points at which tests kill the process |

pub mod agent;
pub(crate) mod backoff;
pub mod catch_up;
pub(crate) mod classify;
pub mod clock;
pub mod cluster;
pub mod compose;
pub mod control;
pub mod coordinator;
pub mod directory;
pub mod environment;
pub mod host;
pub mod http;
pub mod jobs;
pub mod kill;
mod lag;
pub mod lease;
pub mod limits;
pub mod metrics;
pub mod pending;
pub mod plans;
pub mod presence;
pub mod rates;
pub(crate) mod reading;
pub mod registry;
pub mod reload;
pub mod router;
pub mod runner;
pub mod series;
pub mod signer;
pub mod standing;
pub mod submitter;
pub mod tasks;
pub mod traces;
pub mod watcher;
pub mod webhooks;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentry_protocol::BlockHeight;
use tokio::sync::watch;

use agentry_store::Store;
use clock::Clock;
use metrics::Metrics;

/// The handles that every actor needs.
#[derive(Clone, Debug)]
pub struct Shared {
    /// State that must survive a crash.
    pub store: Store,
    /// The source of time.
    pub clock: Clock,
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
    /// The tokio runtime on which behaviours and blocking work run.
    pub workers: tokio::runtime::Handle,
    /// Whether the process was asked to stop: work in progress is finished, no new work starts.
    pub stopping: watch::Receiver<bool>,
    /// The highest block whose messages may be handled.
    pub confirmed: Confirmed,
    /// The number of agents that are handling a message.
    pub in_hand: host::InHand,
    /// The cards and keys of other agents.
    pub directory: directory::Directory,
    /// The runtime queries that behaviours can make.
    pub environment: Arc<dyn agentry_sdk::Environment>,
    /// The pool that runs tasks.
    pub pool: tasks::Pool,
    /// The tasks that workers run; none if this host is alone.
    pub jobs: Option<jobs::Jobs>,
    /// Rate limits: how many messages of each sender are handled.
    pub rates: rates::Rates,
    /// Whether the chain is read up to the head seen at startup; no agent acts before that.
    pub catch_up: catch_up::CatchUp,
    /// The messages of which a signature was seen before they were mined, or as they were.
    pub seen_pending: pending::SeenPending,
    /// The traces that are recorded, if any are.
    pub traces: traces::Traces,
    /// Until when transactions may be posted.
    pub lease: lease::Lease,
}

impl Shared {
    /// Whether the process was asked to stop.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}

/// The highest block whose messages may be handled: `confirmations` below the head.
#[derive(Clone, Debug, Default)]
pub struct Confirmed(Arc<AtomicU64>);

impl Confirmed {
    /// The current value.
    pub fn get(&self) -> BlockHeight {
        BlockHeight(self.0.load(Ordering::Acquire))
    }

    /// Sets the height. A reorganisation can lower it.
    pub fn set(&self, height: BlockHeight) {
        self.0.store(height.0, Ordering::Release);
    }
}
