//! Operations: what can be asked of a runtime, as typed requests, results and errors.
//!
//! The command line and the control socket are adapters: they parse, call an operation, and print
//! or serialise its result. An operation is carried out in one of three places:
//!
//! - in the runtime, by a method of [`Operations`]; another process calls it through a [`Client`];
//! - by this process, if no runtime is running: it takes the store's lock, or signs with a key that
//!   it may unlock;
//! - by reading the store or the chain, with what only the running runtime knows added.
//!
//! | module | operations |
//! |---|---|
//! | [`send`] | sending a message |
//! | [`delivery`] | following a message to its end |
//! | [`console`] | a code with which one can sign in to the console |
//! | [`conversations`] | the messages that an agent sent and received |
//! | [`history`] | what an agent did, in the order of time |
//! | [`directory`] | looking up cards |
//! | [`cards`] | announcing a hosted agent in the directory, and withdrawing its card |
//! | [`tasks`] | jobs that are requested from others, and tasks that are executed here |
//! | [`queues`] | rows of the queues, why they wait, what was spent |
//! | [`approvals`] | effects of behaviours that wait for an operator |
//! | [`tokens`] | who may call the runtime from outside |
//! | [`change`] | what operators change: retrying and dropping rows, resuming posting, decisions, tokens |
//! | [`cluster`] | the hosts of a cluster, and which of them runs which shard |
//! | [`coordinator`] | hosted agents in AITBC's agent coordinator, and what is in their inboxes there |
//! | [`sealed`] | opening sealed messages |
//! | [`who`], [`names`] | from a name to an address, and from an address to a name |
//!
//! Reloading the configuration ([`Operations::reload`]) and asking whether the runtime is ready
//! ([`Operations::condition`]) are carried out by the runtime's own modules. The other modules:
//!
//! | module | holds |
//! |---|---|
//! | [`error`] | why a running runtime did not carry out an operation |
//! | [`content`] | the content of a message |
//! | [`search`] | searching the chain |
//!
//! [`Client`]: crate::runtime::control::Client

pub mod approvals;
pub mod cards;
pub mod change;
pub mod cluster;
pub mod console;
pub mod content;
pub mod conversations;
pub mod coordinator;
pub mod delivery;
pub mod directory;
pub mod error;
pub mod history;
pub mod names;
pub mod queues;
pub mod sealed;
pub mod search;
pub mod send;
pub mod tasks;
pub mod tokens;
pub mod who;

use std::sync::Arc;

use actix::prelude::*;

use crate::doors::console::sessions::Sessions;
use crate::runtime::Shared;
use crate::runtime::coordinator::Coordinator;
use crate::runtime::metrics::Condition;
use crate::runtime::registry::{AgentRegistry, Hosted};
use crate::runtime::reload::{Applied, Refused, Reloader};
use crate::runtime::router::WakeAgents;
use crate::runtime::signer::OpenSealed;
use crate::runtime::submitter::{LookAtQueue, Resume};
use agentry_core::AgentId;

pub use error::OperationError;

/// The operations of a runtime, carried out in its own process.
#[derive(Clone, Debug)]
pub struct Operations {
    /// The store, the clock, the directory.
    pub shared: Shared,
    /// The hosted wallets.
    pub registry: AgentRegistry,
    /// The parts of the runtime that operations need.
    pub links: OperationLinks,
}

/// The parts of the runtime that operations need.
#[derive(Clone, Debug)]
pub struct OperationLinks {
    /// Wakes agents.
    pub wake: Recipient<WakeAgents>,
    /// Resumes posting.
    pub resume: Recipient<Resume>,
    /// Learns that something was queued.
    pub look: Recipient<LookAtQueue>,
    /// Opens sealed messages.
    pub open: Recipient<OpenSealed>,
    /// Reloads the configuration.
    pub reload: Reloader,
    /// The parts that sending needs.
    pub send: send::SendLinks,
    /// Who is signed in to the console.
    pub console: Sessions,
    /// The agents in AITBC's agent coordinator, if they are announced there.
    pub coordinator: Option<Coordinator>,
}

impl Operations {
    /// Reloads the configuration and applies the changes. The behaviours of the agents and fleets
    /// in `restart` are restarted, whether they have changed or not.
    ///
    /// # Errors
    /// [`OperationError::NotApplied`].
    pub async fn reload(&self, restart: Vec<String>) -> Result<Applied, OperationError> {
        let reloaded = self.links.reload.reload(restart).await;
        reloaded.map_err(|Refused(reasons)| OperationError::NotApplied(reasons))
    }

    /// Has the store's tables written, so that whoever opens them for reading finds everything that was
    /// acknowledged before.
    ///
    /// # Errors
    /// [`OperationError::Later`].
    pub async fn refresh(&self) -> Result<(), OperationError> {
        let refreshed = self.shared.store.catch_up().await;
        refreshed.map_err(|error| OperationError::Later(error.to_string()))
    }

    /// Whether the runtime is ready, as `/ready` reports it.
    pub fn condition(&self) -> Condition {
        self.shared.metrics.condition()
    }

    /// The hosted wallet with this address, name or name of its agent.
    fn hosted(&self, who: &str) -> Result<Arc<Hosted>, OperationError> {
        let hosted = self.registry.meant(who);
        hosted.ok_or_else(|| OperationError::NotHosted(who.to_owned()))
    }

    /// Wakes agents. A router that has ended reads the store when it restarts.
    async fn wake(&self, agents: Vec<AgentId>) {
        let _ = self.links.wake.send(WakeAgents(agents)).await;
    }
}
