//! Whether this host's node answers it.
//!
//! A host whose node is unreachable can neither read nor post, though its beats go on: its agents are
//! silent. After a while it says so with its beats, and hosts whose nodes answer take its shards over. If
//! none has such a node, nothing moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentry_chain::{NodeClient, NodeError};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::config::Config;
use crate::runtime::host::chain::Nodes;

/// How often a node is asked for its head.
const ASK: Duration = Duration::from_secs(1);

/// How long it may take to answer. A node that makes a block answers in some hundred milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the nodes of this host whether they answer, until it is dropped.
#[derive(Debug)]
pub(super) struct NodeWatch {
    is_lost: Arc<AtomicBool>,
    _task: JoinSet<()>,
}

impl NodeWatch {
    /// Begins to ask. A node counts as lost when it has not answered for so long.
    pub(super) fn new(nodes: &Nodes, config: &Config, after: Duration) -> Self {
        let mut asked = vec![nodes.submit.clone()];
        // With a database, the node that it belongs to is not needed for reading.
        if config.chain.db.is_none() && config.chain.rpc != config.chain.submit {
            asked.push(nodes.read.clone());
        }
        let is_lost = Arc::new(AtomicBool::new(false));
        let mut task = JoinSet::new();
        task.spawn(watch(asked, after, Arc::clone(&is_lost)));
        Self {
            is_lost,
            _task: task,
        }
    }

    /// Whether a node has not answered for too long.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }
}

async fn watch(nodes: Vec<NodeClient>, after: Duration, is_lost: Arc<AtomicBool>) {
    let mut answered = Instant::now();
    loop {
        match ask(&nodes).await {
            Ok(()) => {
                answered = Instant::now();
                if is_lost.swap(false, Ordering::Relaxed) {
                    tracing::info!("the node answers again: this host takes its shards back");
                }
            }
            Err(reason) if answered.elapsed() >= after => {
                if !is_lost.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        reason,
                        ?after,
                        "the node does not answer this host: other hosts take over what it runs, if theirs do"
                    );
                }
            }
            Err(reason) => tracing::debug!(reason, "the node does not answer"),
        }
        tokio::time::sleep(ASK).await;
    }
}

async fn ask(nodes: &[NodeClient]) -> Result<(), String> {
    for node in nodes {
        let head = timeout(PATIENCE, node.head()).await;
        let head = head.map_err(|_| format!("{}: no answer within {PATIENCE:?}", node.url()))?;
        head.map_err(|error: NodeError| error.to_string())?;
    }
    Ok(())
}
