//! The faults of the network and the server, which affect any RPC call.

use std::collections::HashSet;
use std::time::Duration;

use agentry_chain::{NodeClient, NodeOptions, SubmitError};
use agentry_devnet::{DevnetConfig, Fault, Faults};

use crate::common::{Node, Wallet, manual, until};

fn with(fault: &str) -> (Node, Wallet, Wallet) {
    let faults = Faults::from_iter([fault.parse::<Fault>().unwrap()]);
    let node = Node::start(DevnetConfig {
        faults,
        seed: Some(1),
        ..manual()
    });
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 1_000).unwrap();
    (node, alice, bob)
}

#[tokio::test]
async fn error_500_processes_nothing() {
    let (node, alice, bob) = with("error-500");
    assert_eq!(node.get("/rpc/head").await.0, 500);
    assert_eq!(
        node.post("/rpc/transaction", alice.pay(&bob, 1, 10, 1).body())
            .await
            .0,
        500
    );
    // Calls under /dev and other paths are not affected.
    assert_eq!(node.get("/health").await.0, 200);
    assert_eq!(
        node.post("/dev/faults", "{\"clear\":[\"error-500\"]}")
            .await
            .0,
        200
    );
    assert_eq!(node.pending().await.len(), 0);
}

#[tokio::test]
async fn error_429_says_when_to_come_again() {
    let (node, alice, bob) = with("error-429");
    let answer = node
        .try_post("/rpc/transaction", alice.pay(&bob, 1, 10, 1).body())
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 429);
    assert_eq!(answer.headers()["retry-after"], "1");
    let error = node
        .client()
        .submit(&alice.pay(&bob, 1, 10, 1).body())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            SubmitError::Busy {
                retry_after: Some(_)
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_probability_strikes_sometimes() {
    let (node, ..) = with("error-500=0.5");
    let mut statuses = HashSet::new();
    for _ in 0..100 {
        statuses.insert(node.get("/rpc/head").await.0);
    }
    assert_eq!(statuses, HashSet::from([200, 500]));
}

#[tokio::test]
async fn hang_never_answers_and_does_not_delay_the_stop() {
    let (mut node, alice, bob) = with("hang");
    let options = NodeOptions {
        timeout: Duration::from_millis(200),
        ..NodeOptions::default()
    };
    let client = NodeClient::new(&node.devnet().url(), options).unwrap();
    let error = client
        .submit(&alice.pay(&bob, 1, 10, 1).body())
        .await
        .unwrap_err();
    assert!(matches!(error, SubmitError::Unknown { .. }), "{error}");
    let error = client.head().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    // One more hangs while the node stops.
    let patient = node.client();
    let waiting = tokio::spawn(async move { patient.head().await });
    until("the call to hang", async || {
        let (_, metrics) = node.get_text("/metrics").await;
        metrics.contains("\nrpc_requests_total 3\n")
    })
    .await;
    node.stop();
    waiting.await.unwrap().unwrap_err();
    node.config.faults = Faults::none();
    node.restart();
    assert_eq!(node.pending().await.len(), 0);
}

#[tokio::test]
async fn lose_answer_processes_the_post() {
    let (node, alice, bob) = with("lose-answer");
    let signed = alice.pay(&bob, 1, 10, 1);
    node.try_post("/rpc/transaction", signed.body())
        .await
        .unwrap_err();
    // Reading is not affected.
    assert_eq!(node.pending().await.len(), 1);
    let other = alice.pay(&bob, 2, 10, 2);
    let error = node.client().submit(&other.body()).await.unwrap_err();
    assert!(matches!(error, SubmitError::Unknown { .. }), "{error}");
    assert_eq!(node.devnet().mine().unwrap().tx_count, 2);
}
