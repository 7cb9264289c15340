//! The actors, and what each of them promises.
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
//! | Submitter | [`submitter`] | nonces, the outbox, the node that is posted to |
//!
//! A message between actors is either a *request* that is answered (`send().await`, so a full
//! mailbox makes the asker wait) or a *hint* (`try_send`), which may be lost without harm because
//! the store remembers what it was about. Nothing that must not be lost travels in a mailbox
//! alone.
//!
//! The actors live on actix arbiters, which never block: SQLite, Ed25519 and key derivation run on
//! threads of their own, behaviours on a tokio runtime with several threads. Beside them:
//!
//! | module | holds |
//! |---|---|
//! | [`host`] | puts the actors together, and takes them apart when the process is asked to stop |
//! | [`catch_up`] | reading up to the head of the start before anybody acts |
//! | `judge` | what a transaction is to the hosted wallets, and who signed it |
//! | [`directory`] | the cards and keys of other agents, from the chain |
//! | [`standing`] | how well senders are known |
//! | [`world`] | what behaviours can look up |
//! | `reading` | what a transaction says as a message |
//! | [`compose`] | making a transaction's payload of what is to be said: header, sealing |
//! | [`reload`] | changing the configuration while the runtime runs |
//! | [`send`] | sending because an operator asks for it |
//! | [`rates`] | how many messages of each sender are acted on |
//! | [`tasks`] | the pool in which tasks are done |
//! | [`conduct`] | running behaviours: code that is not ours |
//! | [`control`] | the socket through which commands reach a running runtime |
//! | [`http`] | `/health`, `/ready`, `/metrics` |
//! | [`metrics`] | what is counted |
//! | `lag` | whether the chain is behind what was read of it |
//! | [`limits`] | what the system must allow |
//! | [`kill`] | the named points at which tests kill the process |

pub mod agent;
pub mod catch_up;
pub mod clock;
pub mod compose;
pub mod conduct;
pub mod control;
pub mod directory;
pub mod host;
pub mod http;
pub(crate) mod judge;
pub mod kill;
mod lag;
pub mod limits;
pub mod metrics;
pub mod rates;
pub(crate) mod reading;
pub mod reload;
pub mod roster;
pub mod router;
pub mod send;
pub mod signer;
pub mod standing;
pub mod submitter;
pub mod tasks;
pub mod watcher;
pub mod world;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use agentry_protocol::{BlockHeight, MessageDigest};
use tokio::sync::watch;

use crate::store::Store;
use clock::Clock;
use metrics::Metrics;

/// What every actor needs.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What must survive a crash.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where behaviours and blocking work run.
    pub workers: tokio::runtime::Handle,
    /// Whether the process was asked to stop: what is in hand is finished, nothing is begun.
    pub stopping: watch::Receiver<bool>,
    /// The highest block whose messages may be acted on.
    pub confirmed: Confirmed,
    /// The spans of messages that have arrived and were not pulled yet.
    pub spans: Spans,
    /// The agents that have a message in hand.
    pub in_hand: host::InHand,
    /// The cards and keys of other agents.
    pub directory: directory::Directory,
    /// What behaviours can look up.
    pub world: Arc<dyn agentry_sdk::World>,
    /// Where tasks are done.
    pub pool: tasks::Pool,
    /// How many messages of each sender are acted on.
    pub rates: rates::Rates,
    /// Whether the chain is read up to where it stood at the start: before that nobody acts.
    pub catch_up: catch_up::CatchUp,
}

impl Shared {
    /// Whether the process was asked to stop.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}

/// The highest block whose messages may be acted on: `confirmations` below the head.
#[derive(Clone, Debug, Default)]
pub struct Confirmed(Arc<AtomicU64>);

impl Confirmed {
    /// It, as it stands now.
    pub fn get(&self) -> BlockHeight {
        BlockHeight(self.0.load(Ordering::Acquire))
    }

    /// Moves it; a reorganisation can move it back.
    pub fn set(&self, height: BlockHeight) {
        self.0.store(height.0, Ordering::Release);
    }
}

/// The most spans that are kept between a message's arrival and its agent. The oldest make room:
/// their agents open spans of their own, and the log loses a link, nothing else.
const MAX_SPANS: usize = 10_000;

/// The spans of messages on their way from the router to their agents, so that one span holds
/// all that is logged of a message.
#[derive(Clone, Debug, Default)]
pub struct Spans(Arc<Mutex<WaitingSpans>>);

#[derive(Debug, Default)]
struct WaitingSpans {
    by_digest: HashMap<MessageDigest, tracing::Span>,
    /// In the order of arrival; those that were taken stand here, too, until their turn.
    order: VecDeque<MessageDigest>,
}

impl Spans {
    /// Keeps a span until its message is pulled.
    pub fn keep(&self, digest: MessageDigest, span: tracing::Span) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.by_digest.insert(digest, span).is_none() {
            waiting.order.push_back(digest);
        }
        while waiting.order.len() > MAX_SPANS {
            if let Some(oldest) = waiting.order.pop_front() {
                waiting.by_digest.remove(&oldest);
            }
        }
    }

    /// Takes the span of a message.
    pub fn take(&self, digest: MessageDigest) -> Option<tracing::Span> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.by_digest.remove(&digest)
    }
}
