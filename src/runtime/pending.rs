//! Messages whose signatures are seen before the chain has lost them.
//!
//! Where a chain keeps no signatures, a message without one of its own is verified only if the signature
//! of its transaction was seen: the node shows it in its mempool while it is pending, and pushes it with
//! the block that it is mined in. What is seen neither way, as while no runtime is running, stays
//! unverified.
//!
//! A pushed block also wakes those who read the chain, so that they need not wait for their next poll.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_chain::{NodeClient, NodeError, Seen, SharedHead, Subscription};
use agentry_protocol::authenticity::Finding;
use agentry_protocol::{StoredTransaction, Verification};
use tokio::time::MissedTickBehavior;

use super::backoff;
use super::presence::{Presence, Present};
use super::registry::AgentRegistry;

/// How often the mempool is looked at: a third of what a node allows, so that the others who ask for it,
/// such as a proof of absence, have the rest.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bounds of the pause before a node is asked again to push its blocks. One that lacks what it needs
/// for that is asked as often as the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));

/// The messages of which a signature was seen. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct SeenPending(Arc<Mutex<Seen>>);

impl SeenPending {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Verifies the sender of a transaction also by what was seen of it.
    pub(super) fn complete(&self, stored: &StoredTransaction, finding: Finding) -> Finding {
        match finding {
            Finding::Unsigned if self.lock().has(&stored.digest()) => {
                Finding::Signature(Verification::Valid)
            }
            finding => finding,
        }
    }

    /// Remembers those of these transactions that their senders have signed.
    fn see(&self, transactions: &[StoredTransaction]) {
        let mut seen = self.lock();
        for stored in transactions {
            if !seen.has(&stored.digest()) && seen.see(stored) {
                tracing::debug!(transaction.hash = %stored.hash(), "verified a message while its signature was shown");
            }
        }
    }
}

/// What looks for the signatures of messages to the wallets that this process hosts.
#[derive(Clone, Debug)]
pub(super) struct Lookout {
    /// The node that transactions are posted to.
    pub(super) node: NodeClient,
    /// Which wallets are hosted.
    pub(super) presence: Presence,
    pub(super) seen: SeenPending,
    /// Whom a pushed block wakes.
    pub(super) head: SharedHead,
}

impl Lookout {
    /// Looks into the node's mempool for as long as this is polled.
    pub(super) async fn look(self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let is_for_us = self.hosted();
            let pending = tokio::time::timeout(PATIENCE, self.node.pending_that(is_for_us)).await;
            match pending {
                Ok(Ok(pending)) => self.verify(pending).await,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "cannot look at the node's pending transactions");
                }
                Err(_) => {}
            }
        }
    }

    /// Has the node push its blocks for as long as this is polled; returns if it is of a kind that pushes
    /// none.
    pub(super) async fn follow(self) {
        let mut pauses = backoff::between(PAUSE);
        let mut is_told = false;
        loop {
            let error = match self.node.subscribe().await {
                Ok(None) => return,
                Ok(Some(subscription)) => {
                    tracing::info!(node.url = self.node.url(), "the node pushes its blocks");
                    is_told = false;
                    let (has_pushed, error) = self.take_in(subscription).await;
                    if has_pushed {
                        pauses = backoff::between(PAUSE);
                    }
                    error
                }
                Err(error) => error,
            };
            if is_told {
                tracing::debug!(%error, "the node does not push its blocks");
            } else {
                tracing::info!(node.url = self.node.url(), %error, "the node does not push its blocks: they are polled");
                is_told = true;
            }
            tokio::time::sleep(pauses.next().unwrap_or_default()).await;
        }
    }

    /// Uses the blocks of a subscription until it ends. Returns whether there was one, and why it ended.
    async fn take_in(&self, mut subscription: Subscription) -> (bool, NodeError) {
        // What was committed before the first push is not pushed.
        self.head.wake();
        let mut has_pushed = false;
        loop {
            let block = match subscription.next().await {
                Ok(block) => block,
                Err(error) => return (has_pushed, error),
            };
            has_pushed = true;
            let is_for_us = self.hosted();
            let mut transactions = block.transactions;
            transactions.retain(is_for_us);
            // First the signatures: whoever reads the block asks for them.
            self.verify(transactions).await;
            self.head.wake();
        }
    }

    /// Tells the transactions to wallets that are hosted now.
    fn hosted(&self) -> impl Fn(&StoredTransaction) -> bool + Send + Sync + use<> {
        let shards = self.presence.all();
        move |stored| {
            let is_at = |registry: &AgentRegistry| registry.at(stored.to.as_str()).is_some();
            let mut running = shards.values().filter_map(Present::running);
            running.any(|running| is_at(&running.registry))
        }
    }

    async fn verify(&self, transactions: Vec<StoredTransaction>) {
        if transactions.is_empty() {
            return;
        }
        let seen = self.seen.clone();
        // If the workers are gone, the process ends.
        let _ = tokio::task::spawn_blocking(move || seen.see(&transactions)).await;
    }
}
