//! Pushing blocks, over a real WebSocket: what the node client of `agentry-chain` is pushed is what the
//! chain has.

use std::time::Duration;

use agentry_chain::{NodeClient, NodeError, NodeOptions, PushedBlock, Subscription};
use agentry_devnet::{DevnetConfig, Fault};
use agentry_protocol::{
    Address, Dialect, Json, KeyType, Number, Seed, SignedTransaction, SigningKey, Transaction,
};
use serde_json::{Value, json};

use crate::common::{Node, manual};

/// How long a test waits for what takes a moment.
const BOUND: Duration = Duration::from_secs(60);

fn node(dialect: Dialect) -> Node {
    Node::start(DevnetConfig {
        dialect,
        ..manual()
    })
}

fn client(node: &Node) -> NodeClient {
    let chain = DevnetConfig::default().chain_id;
    let options = NodeOptions {
        unlimited: true,
        ..NodeOptions::of(Dialect::August2026, &chain)
    };
    NodeClient::new(&node.devnet().url(), options).unwrap()
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(BOUND, work).await;
    done.expect("it takes too long")
}

async fn subscribed(node: &Node) -> Subscription {
    let subscription = within(client(node).subscribe()).await.unwrap();
    subscription.expect("a node of August pushes")
}

async fn next(subscription: &mut Subscription) -> PushedBlock {
    within(subscription.next()).await.unwrap()
}

/// A signed message of a wallet that is funded here.
fn message(node: &Node) -> SignedTransaction {
    let seed = Seed::new([5; 32], KeyType::Secp256k1).unwrap();
    let key = SigningKey::from_seed(&seed);
    let from = Address::from_public_key(&key.public_key());
    node.devnet().fund(&from, 1_000).unwrap();
    Transaction {
        dialect: Dialect::August2026,
        to: from.clone(),
        from,
        amount: Number::from(0),
        fee: Number::from(0),
        nonce: Number::from(0),
        payload: Json::string("hello"),
        chain_id: DevnetConfig::default().chain_id,
    }
    .sign(&key)
}

#[tokio::test]
async fn a_block_is_pushed_with_its_transactions_and_their_signatures() {
    let node = node(Dialect::August2026);
    let (mut one, mut other) = (subscribed(&node).await, subscribed(&node).await);
    let signed = message(&node);
    let (status, answer) = node.post("/rpc/transaction", &signed.body()).await;
    assert_eq!(status, 200, "{answer}");
    let made = node.devnet().mine().unwrap();
    for subscription in [&mut one, &mut other] {
        let block = next(subscription).await;
        assert_eq!(
            (block.head.height, block.head.hash),
            (made.height, made.hash)
        );
        let [stored] = &block.transactions[..] else {
            panic!("{block:?}")
        };
        assert_eq!(stored.hash(), signed.hash());
        assert_eq!(stored.recovered(), signed.public_key());
    }
    drop(other);
    let empty = node.devnet().mine().unwrap();
    let block = next(&mut one).await;
    assert_eq!(block.head.hash, empty.hash);
    assert!(block.transactions.is_empty());
}

#[tokio::test]
async fn a_lease_is_asked_for_and_prolonged() {
    let node = node(Dialect::August2026);
    let post = async |path: &str, body: Value| node.post(path, &body.to_string()).await;
    let chain = DevnetConfig::default().chain_id;
    let (status, lease) = post("/rpc/subscribe", json!({"node_id": "one"})).await;
    assert_eq!(status, 200);
    assert_eq!(lease["chain_id"], chain.as_str());
    assert_eq!(lease["transport"], "websocket");
    assert_eq!(lease["lease_duration"], 3_600);
    assert!(lease["expiry"].is_f64());
    let (status, prolonged) = post("/rpc/heartbeat", json!({"node_id": "one"})).await;
    assert_eq!((status, &prolonged["lease_duration"]), (200, &json!(3_600)));
    for (path, body, status, words) in [
        ("/rpc/subscribe", json!({}), 400, "node_id is required"),
        (
            "/rpc/subscribe",
            json!({"node_id": ""}),
            400,
            "node_id is required",
        ),
        (
            "/rpc/subscribe",
            json!({"node_id": "x".repeat(257)}),
            400,
            "node_id",
        ),
        (
            "/rpc/subscribe",
            json!({"node_id": "a", "transport": "pigeon"}),
            400,
            "Invalid transport: pigeon",
        ),
        ("/rpc/heartbeat", json!({}), 400, "node_id is required"),
        (
            "/rpc/heartbeat",
            json!({"node_id": "other"}),
            404,
            "Subscriber not found or lease expired",
        ),
    ] {
        let (found, answer) = post(path, body).await;
        let detail = answer["detail"].as_str().unwrap();
        assert!(
            found == status && detail.contains(words),
            "{found} {answer}"
        );
    }
    let (status, _) = node.post("/rpc/subscribe", "{").await;
    assert_eq!(status, 422);
}

#[tokio::test]
async fn a_node_that_cannot_push_says_so() {
    let april = node(Dialect::April2026);
    let error = within(client(&april).subscribe()).await.unwrap_err();
    assert!(
        matches!(error, NodeError::Status { status: 404, .. }),
        "{error}"
    );

    let august = node(Dialect::August2026);
    let mut before = subscribed(&august).await;
    august.devnet().faults().set(Fault::NoPush);
    let error = within(client(&august).subscribe()).await.unwrap_err();
    assert!(
        matches!(error, NodeError::Status { status: 500, .. }),
        "{error}"
    );

    august.devnet().faults().clear("no-push");
    subscribed(&august).await;
    // The subscription ends with the node.
    drop(august);
    within(before.next()).await.unwrap_err();
}
