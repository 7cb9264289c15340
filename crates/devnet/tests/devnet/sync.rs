//! Copying blocks between nodes.

use agentry_devnet::{SyncError, SyncProgress, sync};
use agentry_protocol::BlockHeight;

use crate::common::{Node, Wallet, chain};

async fn source(blocks: u64) -> Node {
    let node = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 1_000_000).unwrap();
    for nonce in 0..blocks {
        node.submit(&alice.pay(&bob, nonce, 10, nonce)).await;
        node.devnet().mine().unwrap();
    }
    node
}

#[tokio::test]
async fn missing_blocks_are_imported() {
    let from = source(120).await;
    let to = Node::manual();
    let mut seen: Vec<SyncProgress> = Vec::new();
    let report = sync(&from.client(), &to.client(), &chain(), |progress| {
        seen.push(progress);
    })
    .await
    .unwrap();
    assert_eq!(report.from, Some(BlockHeight(1)));
    assert_eq!(report.through, Some(BlockHeight(120)));
    assert_eq!((report.imported, report.transactions), (120, 120));
    assert_eq!(seen.len(), 120);
    assert_eq!(
        seen.last()
            .map(|last| (last.height, last.target, last.imported)),
        Some((BlockHeight(120), BlockHeight(120), 120))
    );
    assert_eq!(to.blocks(), from.blocks());
    assert_eq!(to.rows(), from.rows());

    let again = sync(&from.client(), &to.client(), &chain(), |_| {
        panic!("nothing is missing")
    })
    .await
    .unwrap();
    assert_eq!((again.imported, again.from), (0, None));
    // A node that is ahead is missing no block.
    to.devnet().mine().unwrap();
    let ahead = sync(&from.client(), &to.client(), &chain(), |_| {})
        .await
        .unwrap();
    assert_eq!(ahead.imported, 0);
}

#[tokio::test]
async fn another_chain_is_reported_and_is_not_a_fork() {
    let from = source(3).await;
    let other = Node::start(agentry_devnet::DevnetConfig {
        chain_id: "ait-testnet".parse().unwrap(),
        ..crate::common::manual()
    });
    other.devnet().mine().unwrap();
    let error = sync(&from.client(), &other.client(), &chain(), |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, SyncError::OtherChain { .. }), "{error}");
    assert!(error.to_string().contains("different chains"), "{error}");
    assert!(!error.is_transient());
    assert_eq!(other.height().await, 1);
}

#[tokio::test]
async fn a_fork_stops_it() {
    let from = source(3).await;
    let to = Node::manual();
    to.devnet().mine().unwrap();
    let error = sync(&from.client(), &to.client(), &chain(), |_| {})
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            SyncError::Fork {
                height: BlockHeight(1),
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.is_transient());
    assert!(error.to_string().contains(&from.devnet().url()), "{error}");
    assert_eq!(to.height().await, 1);
}

#[tokio::test]
async fn an_unreachable_node_is_reported() {
    let from = source(1).await;
    let mut to = Node::manual();
    let client = to.client();
    to.stop();
    let error = sync(&from.client(), &client, &chain(), |_| {})
        .await
        .unwrap_err();
    assert!(
        error.is_transient() && error.to_string().contains(client.url()),
        "{error}"
    );
}
