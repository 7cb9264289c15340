//! The rules of August 2026: what AITBC's own functions admit and store is what this node does.

use agentry_devnet::DevnetConfig;
use agentry_protocol::Dialect;
use serde_json::Value;

use crate::common::{Node, manual};

fn vectors() -> Value {
    let path = format!(
        "{}/../protocol/tests/vectors/dialect_2026_08.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A node in whose genesis the sender of the vectors has funds.
fn node() -> Node {
    let node = Node::start(DevnetConfig {
        dialect: Dialect::August2026,
        chain_id: "ait-vec".parse().unwrap(),
        ..manual()
    });
    let sender = vectors()["keys"][0]["address_ait1"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    node.devnet().fund(&sender, 1_000_000).unwrap();
    node
}

#[tokio::test]
async fn what_aitbc_admits_is_stored_as_aitbc_stores_it() {
    let (mut mined, mut dropped, mut refused) = (0, 0, 0);
    for case in vectors()["transactions"].as_array().unwrap() {
        let node = node();
        let name = &case["name"];
        let signing: Value = serde_json::from_str(case["signing_text"].as_str().unwrap()).unwrap();
        let body = case["body"].as_str().unwrap();
        if signing["nonce"] != 0 {
            // AITBC's function for the form does not look at the counter; the node does.
            let reason = node.refuse(body).await;
            assert!(reason.contains("expected 0, got"), "{name}: {reason}");
            continue;
        }
        if case["admitted"] == false {
            let reason = node.refuse(body).await;
            assert!(reason.contains("signature"), "{name}: {reason}");
            refused += 1;
            continue;
        }
        let (status, answer) = node.post("/rpc/transaction", body).await;
        assert_eq!(status, 200, "{name}: {answer}");
        assert_eq!(
            answer["transaction_hash"], case["transaction_hash"],
            "{name}"
        );
        let (_, pending) = node.get("/rpc/mempool?chain_id=ait-vec").await;
        let stored: Value = serde_json::from_str(case["stored_text"].as_str().unwrap()).unwrap();
        let shown = &pending["transactions"][0];
        for (key, value) in stored.as_object().unwrap() {
            assert_eq!(&shown[key], value, "{name}: {key} of {shown}");
        }
        node.devnet().mine().unwrap();
        let count = node.mined(case["transaction_hash"].as_str().unwrap());
        let passes = case["signature_still_right_at_the_block"] == true;
        assert_eq!(count, i64::from(passes), "{name}");
        *(if passes { &mut mined } else { &mut dropped }) += 1;
        // Either way it is no longer pending.
        let (_, pending) = node.get("/rpc/mempool?chain_id=ait-vec").await;
        assert_eq!(pending["count"], 0, "{name}: {pending}");
    }
    assert_eq!((mined, dropped, refused), (6, 1, 2));
}

#[tokio::test]
async fn the_mempool_is_empty_without_a_chain_id_and_an_unknown_account_is_404() {
    let node = node();
    let first = &vectors()["transactions"][0];
    let body = first["body"].as_str().unwrap();
    assert_eq!(node.post("/rpc/transaction", body).await.0, 200);
    let (status, without) = node.get("/rpc/mempool").await;
    assert_eq!((status, &without["count"]), (200, &Value::from(0)));
    let other = vectors()["keys"][1]["address_ait1"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(node.get(&format!("/rpc/accounts/{other}")).await.0, 404);
}

#[tokio::test]
async fn mined_transactions_keep_no_signature() {
    let node = node();
    let first = &vectors()["transactions"][0];
    let body = first["body"].as_str().unwrap();
    assert_eq!(node.post("/rpc/transaction", body).await.0, 200);
    node.devnet().mine().unwrap();
    let signature = first["signature"].as_str().unwrap();
    let height = node.height().await;
    for path in [
        format!("/rpc/blocks/{height}"),
        format!("/rpc/blocks-range?start={height}&end={height}"),
        "/rpc/transactions?limit=10".to_owned(),
    ] {
        let (status, text) = node.get_text(&path).await;
        assert_eq!(status, 200, "{path}: {text}");
        assert!(text.contains("ping"), "{path}: {text}");
        assert!(!text.contains(signature), "{path}: {text}");
    }
}
