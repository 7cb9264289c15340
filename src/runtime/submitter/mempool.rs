//! The source of the node's pending transactions: its RPC, or its `mempool.db`.
//!
//! The database has every hash, however many are pending, and reading it costs the node nothing. It
//! proves something only if it belongs to the posting node: an operator who configures another
//! node's database must not have transactions posted twice. So the database counts only once it has
//! shown a transaction that the node had just accepted; the store remembers that it has.

use std::cell::Cell;
use std::collections::HashSet;

use agentry_chain::{MempoolDb, NodeClient};
use agentry_core::Commit;
use agentry_protocol::TransactionHash;

use crate::runtime::Shared;

/// The posting node's mempool.
#[derive(Debug)]
pub(super) struct Mempool {
    shared: Shared,
    node: NodeClient,
    /// The configured `mempool.db`.
    db: Option<MempoolDb>,
    /// Whether the file has shown a posted transaction.
    counts: Cell<bool>,
    is_tried: Cell<bool>,
}

impl Mempool {
    /// `shown` names the file and the node that have been found to belong together.
    pub(super) fn new(
        shared: Shared,
        node: NodeClient,
        db: Option<MempoolDb>,
        shown: Option<&str>,
    ) -> Self {
        let counts = db
            .as_ref()
            .is_some_and(|db| shown == Some(name(db, &node).as_str()));
        Self {
            shared,
            node,
            db,
            counts: Cell::new(counts),
            is_tried: Cell::new(false),
        }
    }

    /// Which of these are pending; the answer includes others if the node lists all. If this cannot
    /// be known, the error says why.
    pub(super) async fn pending(
        &self,
        hashes: Vec<TransactionHash>,
    ) -> Result<HashSet<TransactionHash>, String> {
        if let Some(db) = self.db.clone().filter(|_| self.counts.get()) {
            match self.read(db, hashes).await {
                Ok(found) => return Ok(found),
                Err(error) => tracing::debug!(error, "cannot read the node's mempool.db"),
            }
        }
        let found = self.node.mempool_hashes().await;
        found.map_err(|error| error.to_string())
    }

    async fn read(
        &self,
        db: MempoolDb,
        hashes: Vec<TransactionHash>,
    ) -> Result<HashSet<TransactionHash>, String> {
        let read = move || db.pending(&hashes).map_err(|error| error.to_string());
        let found = self.shared.workers.spawn_blocking(read).await;
        found.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// The node has just accepted this transaction: the database shows it, if it is that node's.
    pub(super) async fn try_db(&self, hash: TransactionHash) {
        let Some(db) = self.db.clone().filter(|_| !self.counts.get()) else {
            return;
        };
        if self.is_tried.replace(true) {
            return;
        }
        let found = self.read(db.clone(), vec![hash]).await;
        self.is_tried.set(false);
        if found.is_ok_and(|found| found.contains(&hash)) {
            tracing::info!(
                mempool.db = %db.path().display(),
                "the node's mempool.db shows posted transactions; it is read in place of the RPC's mempool"
            );
            let key = name(&db, &self.node);
            if let Err(error) = self.shared.store.commit(Commit::MempoolShown { key }).await {
                tracing::error!(%error, "cannot store that mempool.db belongs to the node");
            }
            self.counts.set(true);
        }
    }
}

fn name(db: &MempoolDb, node: &NodeClient) -> String {
    format!("{}\n{}", db.path().display(), node.url())
}
