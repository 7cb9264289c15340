//! The answers of a node, in both dialects: whatever it answers to whichever call does no harm, and a
//! transaction that was read reads back as itself.
#![no_main]

use std::sync::{Arc, LazyLock};

use agentry_chain::{LocalNode, NodeClient, NodeOptions, Seen};
use agentry_protocol::{Address, BlockHeight, Dialect, Limits, StoredTransaction, TransactionHash};
use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

struct Bytes(Vec<u8>);

impl LocalNode for Bytes {
    fn answer(&self, _: &str, _: Option<&str>) -> (StatusCode, Vec<u8>) {
        (StatusCode::OK, self.0.clone())
    }
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
});

async fn read(dialect: Dialect, bytes: &[u8]) {
    let chain = "ait-test".parse().expect("a chain id");
    let options = NodeOptions {
        unlimited: true,
        ..NodeOptions::of(dialect, &chain)
    };
    let node = NodeClient::local("a hostile node", Arc::new(Bytes(bytes.to_vec())), options);
    if let Ok(blocks) = node.blocks_range(BlockHeight(0), BlockHeight(99)).await {
        let rows = blocks.into_iter().filter_map(|block| block.transactions);
        for found in rows.flatten() {
            let Ok(stored) = found.stored else { continue };
            assert!(found.hash.is_some());
            assert_eq!(stored.dialect, dialect);
            let text = stored.stored_text();
            let again =
                StoredTransaction::parse(text.as_bytes(), Limits::NONE).expect("its own text");
            assert_eq!(again.digest(), stored.digest());
        }
    }
    let mut seen = Seen::new(1);
    if let Ok(mempool) = node.mempool(100).await {
        for pending in &mempool.transactions {
            assert_eq!(seen.see(pending), seen.has(&pending.digest()));
        }
    }
    let address = Address::from_chain("ait1a").expect("an address");
    drop(node.block(BlockHeight(10)).await);
    drop(node.account(&address).await);
    drop(node.transaction(&TransactionHash::of(b"")).await);
    drop(node.mempool_hashes().await);
    drop(node.head().await);
    drop(node.health().await);
    drop(node.dialect().await);
    drop(node.submit("{}").await);
    drop(node.import_block("{}").await);
}

fuzz_target!(|bytes: &[u8]| {
    for dialect in Dialect::ALL {
        RUNTIME.block_on(read(dialect, bytes));
    }
});
