//! The source of the node's pending transactions: its RPC, or its `mempool.db`.
//!
//! The database has every hash, however many are pending, and reading it costs the node nothing. It
//! proves something only if it belongs to the posting node: an operator who configures another
//! node's database must not have transactions posted twice. So the database counts only once it has
//! shown a transaction that the node had just accepted; the store remembers that it has.

use std::collections::HashSet;

use actix::prelude::*;
use agentry_chain::{MempoolDb, NodeClient};
use agentry_core::Commit;
use agentry_protocol::TransactionHash;

use super::Submitter;

/// The state of the node's `mempool.db`.
#[derive(Debug, Default)]
pub(super) struct Mempool {
    /// The file, if one is configured.
    db: Option<MempoolDb>,
    /// Whether it has shown a posted transaction.
    counts: bool,
    looking: bool,
}

impl Mempool {
    /// `shown` names the file and the node that have been found to belong together.
    pub(super) fn new(db: Option<MempoolDb>, node: &NodeClient, shown: Option<&str>) -> Self {
        let counts = db
            .as_ref()
            .is_some_and(|db| shown == Some(name(db, node).as_str()));
        Self {
            db,
            counts,
            looking: false,
        }
    }

    /// Which of these are pending; the answer includes others if the node lists all. If this cannot
    /// be known, the error says why.
    pub(super) fn look(
        &self,
        node: &NodeClient,
        workers: &tokio::runtime::Handle,
        hashes: Vec<TransactionHash>,
    ) -> impl Future<Output = Result<HashSet<TransactionHash>, String>> + use<> {
        let (node, workers) = (node.clone(), workers.clone());
        let db = self.db.clone().filter(|_| self.counts);
        async move {
            if let Some(db) = db {
                match workers.spawn_blocking(move || db.pending(&hashes)).await {
                    Ok(Ok(found)) => return Ok(found),
                    Ok(Err(error)) => tracing::debug!(%error, "cannot read the node's mempool.db"),
                    Err(error) => tracing::debug!(%error, "cannot read the node's mempool.db"),
                }
            }
            let found = node.mempool_hashes().await;
            found.map_err(|error| error.to_string())
        }
    }
}

fn name(db: &MempoolDb, node: &NodeClient) -> String {
    format!("{}\n{}", db.path().display(), node.url())
}

impl Submitter {
    /// The node has just accepted this transaction: the database shows it, if it is that node's.
    pub(super) fn try_mempool_db(&mut self, hash: TransactionHash, ctx: &mut Context<Self>) {
        let mempool = &mut self.mempool;
        let Some(db) = mempool
            .db
            .clone()
            .filter(|_| !mempool.counts && !mempool.looking)
        else {
            return;
        };
        mempool.looking = true;
        let key = name(&db, &self.settings.node);
        let (store, workers) = (self.shared.store.clone(), self.shared.workers.clone());
        let look = async move {
            let path = db.path();
            let found = workers.spawn_blocking(move || db.pending(&[hash])).await;
            let shows = matches!(&found, Ok(Ok(found)) if found.contains(&hash));
            if shows {
                tracing::info!(
                    mempool.db = %path.display(),
                    "the node's mempool.db shows posted transactions; it is read in place of the RPC's mempool"
                );
                let commit = Commit::MempoolShown { key };
                if let Err(error) = store.commit(commit).await {
                    tracing::error!(%error, "cannot store that mempool.db belongs to the node");
                }
            }
            shows
        };
        ctx.spawn(look.into_actor(self).map(|shows, submitter, _| {
            submitter.mempool.looking = false;
            submitter.mempool.counts |= shows;
        }));
    }
}
