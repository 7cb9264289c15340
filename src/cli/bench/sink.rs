//! A node that accepts everything at once: it answers a POST with the transaction's hash, and keeps
//! only the count. It is asked without HTTP, so what remains is the runtime's own work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentry_chain::{LocalNode, NodeClient, NodeOptions};
use agentry_devnet::DevnetConfig;
use agentry_protocol::{Limits, SignedTransaction, genesis_hash};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// A sink.
#[derive(Debug, Default)]
pub(super) struct Sink {
    taken: AtomicU64,
}

impl Sink {
    /// A client of it.
    pub(super) fn client(self: &Arc<Self>) -> NodeClient {
        let node: Arc<dyn LocalNode> = Arc::<Self>::clone(self);
        NodeClient::local("the sink", node, NodeOptions::default())
    }

    /// How many transactions it accepted.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn take(&self, body: &str) -> (StatusCode, Vec<u8>) {
        match SignedTransaction::from_body(body.as_bytes(), Limits::default()) {
            Ok(signed) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                let hash = signed.hash().to_string();
                found(&json!({ "success": true, "transaction_hash": hash }))
            }
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string().into_bytes()),
        }
    }
}

impl LocalNode for Sink {
    fn answer(&self, path: &str, body: Option<&str>) -> (StatusCode, Vec<u8>) {
        match body {
            Some(body) => self.take(body),
            None if path.starts_with("/rpc/mempool") => {
                found(&json!({ "success": true, "transactions": [], "count": 0 }))
            }
            None => found(&block()),
        }
    }
}

fn found(answer: &Value) -> (StatusCode, Vec<u8>) {
    (StatusCode::OK, answer.to_string().into_bytes())
}

/// The answer to every other question: block 0 of the chain of the benchmarks, since the runtime
/// posts only to a node of the chain that it reads.
fn block() -> Value {
    let hash = genesis_hash(&DevnetConfig::default().chain_id).to_string();
    let block = json!({
        "height": 0, "hash": hash, "parent_hash": "0x00", "proposer": "genesis",
        "timestamp": "2025-01-01T00:00:00", "tx_count": 0, "transactions": [],
    });
    let mut answer = block.clone();
    answer["blocks"] = json!([block]);
    answer
}
