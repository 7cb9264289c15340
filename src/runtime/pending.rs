//! Messages that are seen while they are pending.
//!
//! Where a chain keeps no signatures, a message without one of its own is verified only if the signature
//! of its transaction was seen before it was mined: the node shows it in its mempool. What is mined
//! before the next look, or while no runtime is running, stays unverified.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_chain::{NodeClient, Seen};
use agentry_protocol::authenticity::Finding;
use agentry_protocol::{StoredTransaction, Verification};
use tokio::time::MissedTickBehavior;

use super::Shared;
use super::registry::AgentRegistry;

/// How often the mempool is looked at: a third of what a node allows, so that the others who ask for it,
/// such as a proof of absence, have the rest.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(10);

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
}

/// Looks for messages to hosted wallets in the node's mempool, until the runtime stops.
pub(super) async fn look(shared: Shared, registry: AgentRegistry, node: NodeClient) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shared.is_stopping() {
        looks.tick().await;
        let is_for_us = |stored: &StoredTransaction| registry.at(stored.to.as_str()).is_some();
        let pending = tokio::time::timeout(PATIENCE, node.pending_that(is_for_us)).await;
        let pending = match pending {
            Ok(Ok(pending)) => pending,
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot look at the node's pending transactions");
                continue;
            }
            Err(_) => continue,
        };
        let seen = shared.seen_pending.clone();
        let verify = move || {
            let mut seen = seen.lock();
            for stored in &pending {
                if !seen.has(&stored.digest()) && seen.see(stored) {
                    tracing::debug!(transaction.hash = %stored.hash(), "verified a pending message");
                }
            }
        };
        // If the workers are gone, the process ends.
        let _ = shared.workers.spawn_blocking(verify).await;
    }
}
