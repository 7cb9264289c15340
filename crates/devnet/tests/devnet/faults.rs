//! The chain's faults: each works as documented, and stops when cleared.

use agentry_devnet::{ChainError, DevnetConfig, DevnetError, Fault, Faults};
use agentry_protocol::Json;
use serde_json::{Value, json};

use crate::common::{Node, Wallet, manual};

fn with(fault: &str) -> (Node, Wallet, Wallet) {
    let faults = Faults::from_iter([fault.parse::<Fault>().unwrap()]);
    let node = Node::start(DevnetConfig { faults, ..manual() });
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 1_000).unwrap();
    (node, alice, bob)
}

#[tokio::test]
async fn an_unreadable_block_fails_every_range_that_holds_it_with_its_transactions() {
    let (node, alice, bob) = with("unreadable-block=2");
    for nonce in 1..=3 {
        node.submit(&alice.pay(&bob, 1, 1, nonce)).await;
        node.devnet().mine().unwrap();
    }
    for (path, status) in [
        ("blocks/1", 200),
        ("blocks/2", 503),
        ("blocks-range?start=1&end=3", 503),
        ("blocks-range?start=3&end=3", 200),
        ("blocks-range?start=1&end=3&include_tx=false", 200),
    ] {
        let (answered, text) = node.get_text(&format!("/rpc/{path}")).await;
        assert_eq!(answered, status, "{path}: {text}");
    }
    assert!(node.devnet().faults().clear("unreadable-block"));
    assert_eq!(node.get_text("/rpc/blocks/2").await.0, 200);
}

#[tokio::test]
async fn silent_drop_accepts_and_drops() {
    let (node, alice, bob) = with("silent-drop");
    let hash = node.submit(&alice.pay(&bob, 1, 10, 1)).await;
    assert_eq!(node.devnet().mine().unwrap().tx_count, 0);
    assert_eq!((node.pending().await.len(), node.mined(&hash)), (0, 0));
    assert_eq!(node.balance(&alice).await, 1_000);

    // Only transactions that cannot be paid are dropped.
    node.devnet().faults().set("silent-drop=0".parse().unwrap());
    let unknown = node.submit(&bob.pay(&alice, 1, 10, 1)).await;
    let unable = node.submit(&alice.pay(&bob, 5_000, 10, 2)).await;
    let able = node.submit(&alice.pay(&bob, 1, 10, 3)).await;
    assert_eq!(node.devnet().mine().unwrap().tx_count, 1);
    assert_eq!(node.pending().await.len(), 0);
    assert_eq!(
        [unknown, unable, able].map(|hash| node.mined(&hash)),
        [0, 0, 1]
    );

    assert!(node.devnet().faults().clear("silent-drop"));
    node.refuse(alice.pay(&bob, 5_000, 10, 4).body()).await;
}

#[tokio::test]
async fn silent_drop_with_a_probability_drops_some_and_repeats_by_its_seed() {
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let faults = Faults::from_iter(["silent-drop=0.5".parse::<Fault>().unwrap()]);
        let node = Node::start(DevnetConfig {
            faults,
            seed: Some(7),
            ..manual()
        });
        let (alice, bob) = (Wallet::of(1), Wallet::of(2));
        node.devnet().fund(&alice.address, 1_000).unwrap();
        for nonce in 0..40 {
            node.submit(&alice.pay(&bob, 1, 1, nonce)).await;
        }
        let mined = node.devnet().mine().unwrap().tx_count;
        assert!((1..40).contains(&mined), "{mined}");
        outcomes.push(node.rows());
    }
    assert_eq!(outcomes[0], outcomes[1]);
}

#[tokio::test]
async fn a_replay_destroys_a_block() {
    let (node, alice, bob) = with("replay-destroys-block");
    let first = alice.pay(&bob, 1, 10, 1);
    let hash = node.submit(&first).await;
    node.devnet().mine().unwrap();
    node.submit(&first).await;
    let innocent = node.submit(&alice.pay(&bob, 2, 10, 2)).await;
    let error = node.devnet().mine().unwrap_err();
    assert!(
        matches!(&error, DevnetError::Chain(ChainError::BlockDestroyed { hash: named, .. }) if *named == hash),
        "{error}"
    );
    assert_eq!(node.height().await, 1);
    assert_eq!((node.pending().await.len(), node.mined(&innocent)), (0, 0));
    // Posted again, it is mined.
    node.submit(&alice.pay(&bob, 2, 10, 2)).await;
    assert_eq!(node.devnet().mine().unwrap().tx_count, 1);
    assert_eq!(node.balance(&bob).await, 3);
}

#[tokio::test]
async fn imports_lose_transactions() {
    let source = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    source.devnet().fund(&alice.address, 1_000).unwrap();
    let hash = source.submit(&alice.pay(&bob, 1, 10, 1)).await;
    source.devnet().mine().unwrap();
    let (_, range) = source.get("/rpc/blocks-range?start=1&end=1").await;
    let mut block = range["blocks"][0].clone();
    block["chainId"] = json!("ait-devnet");
    // As in blocks-range of the real node, which has neither.
    block
        .as_object_mut()
        .unwrap()
        .retain(|key, _| key != "parent_hash" && key != "proposer");

    let (node, ..) = with("import-loses-transactions");
    let accounts = node.accounts();
    assert_eq!(
        node.post("/rpc/importBlock", block.to_string()).await.0,
        200
    );
    assert_eq!((node.rows(), node.accounts()), (Vec::new(), accounts));
    let (_, shown) = node.get("/rpc/blocks/1").await;
    assert_eq!(shown["tx_count"], 1);
    assert_eq!(shown["transactions"], json!([]));
    assert_eq!(
        (&shown["parent_hash"], &shown["proposer"]),
        (&json!(""), &json!(""))
    );
    let metadata: String = node
        .db()
        .query_row(
            "SELECT block_metadata FROM block WHERE height = 1",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["transactions"][0]["tx_hash"], hash);
    assert_eq!(metadata["transactions"][0]["payload"]["payload"], "hello");

    // Without chainId a block is stored under another chain, whatever this node's chain is.
    block.as_object_mut().unwrap().remove("chainId");
    block["height"] = json!(2);
    block["hash"] = json!(format!("0x{}", "2".repeat(64)));
    assert_eq!(
        node.post("/rpc/importBlock", block.to_string()).await.0,
        200
    );
    assert_eq!(node.height().await, 1);
    let filed: String = node
        .db()
        .query_row("SELECT chain_id FROM block WHERE height = 2", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(filed, "ait-mainnet");
}

#[tokio::test]
async fn reorganise_replaces_blocks_and_frees_ids() {
    let (node, alice, bob) = with("reorganise=2@3");
    let first = node.submit(&alice.pay(&bob, 1, 10, 1)).await;
    node.devnet().mine().unwrap();
    let second = node.submit(&alice.pay(&bob, 2, 10, 2)).await;
    node.devnet().mine().unwrap();
    let third = node.submit(&alice.pay(&bob, 3, 10, 3)).await;
    let before = node.blocks();
    let accounts = node.accounts();
    let mined = node.devnet().mine().unwrap();
    // The block was produced, and then replaced together with the one before it.
    let after = node.blocks();
    assert_eq!(after.len(), 4);
    assert_eq!(after[..2], before[..2]);
    assert_ne!(after[2].1, before[2].1);
    assert_ne!(after[3].1, mined.hash.to_string());
    assert_eq!(
        [&first, &second, &third].map(|hash| node.mined(hash)),
        [1, 1, 1]
    );
    let ids: Vec<i64> = {
        let db = node.db();
        let mut statement = db
            .prepare("SELECT id FROM \"transaction\" ORDER BY id")
            .unwrap();
        statement
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(node.balance(&bob).await, 6);
    assert_eq!(node.balance(&alice).await, 1_000 - 36);
    assert!(accounts.len() == node.accounts().len());
    // It strikes once.
    assert!(node.devnet().faults().current().is_empty());
    node.devnet().mine().unwrap();
    assert_eq!(node.blocks()[..4], after[..]);
}

#[tokio::test]
async fn reorganise_drop_loses_the_orphans() {
    let (node, alice, bob) = with("reorganise-drop=1@2");
    let first = node.submit(&alice.pay(&bob, 1, 10, 1)).await;
    node.devnet().mine().unwrap();
    let second = alice.pay(&bob, 2, 10, 2);
    node.submit(&second).await;
    node.devnet().mine().unwrap();
    assert_eq!(node.height().await, 2);
    assert_eq!(
        (node.mined(&first), node.mined(&second.hash().to_string())),
        (1, 0)
    );
    assert_eq!(node.pending().await.len(), 0);
    assert_eq!(
        (node.balance(&alice).await, node.balance(&bob).await),
        (989, 1)
    );
    // It left no trace: the same bytes may be posted again.
    node.submit(&second).await;
    assert_eq!(node.devnet().mine().unwrap().tx_count, 1);
}

#[tokio::test]
async fn an_account_that_only_an_orphan_created_is_removed() {
    let node = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 1_000).unwrap();
    let before = node.accounts();
    node.submit(&alice.pay(&bob, 1, 10, 1)).await;
    node.submit(&alice.pay(&alice, 5, 10, 2)).await;
    node.devnet().mine().unwrap();
    node.devnet().reorganise_and_drop(1).unwrap();
    assert_eq!(node.accounts(), before);
}

#[tokio::test]
async fn no_range_transactions() {
    let (node, alice, bob) = with("no-range-transactions");
    node.submit(&alice.pay(&bob, 1, 10, 1)).await;
    node.devnet().mine().unwrap();
    let (_, range) = node.get("/rpc/blocks-range?start=1&end=1").await;
    assert_eq!(range["blocks"][0]["tx_count"], 1);
    assert_eq!(range["blocks"][0].get("transactions"), None);
    assert_eq!(
        node.get("/rpc/blocks/1").await.1["transactions"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn no_signature_check_is_the_node_of_april() {
    let (node, alice, bob) = with("no-signature-check");
    node.devnet().fund(&bob.address, 10).unwrap();
    let post = async |body: Value| {
        let (status, answer) = node.post("/rpc/transaction", body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        answer["transaction_hash"].as_str().unwrap().to_owned()
    };
    let forged = alice.pay(&bob, 1, 10, 1);
    let mut forged: Value = serde_json::from_str(&forged.body()).unwrap();
    forged["amount"] = json!(2);
    let forged = post(forged).await;
    let foreign = post(json!({
        "from": alice.address.as_str(), "to": bob.address.as_str(), "amount": 3, "chain_id": "other",
    }))
    .await;
    let drain = post(json!({
        "from": bob.address.as_str(), "to": alice.address.as_str(), "amount": -20, "fee": 0,
    }))
    .await;
    let unable = post(json!({
        "from": bob.address.as_str(), "to": alice.address.as_str(), "amount": 20_000,
    }))
    .await;
    assert_eq!(node.devnet().mine().unwrap().tx_count, 3);
    assert_eq!(
        [&forged, &foreign, &drain, &unable].map(|hash| node.mined(hash)),
        [1, 1, 1, 0]
    );
    assert_eq!(node.balance(&bob).await, 10 + 2 + 3 + 20);
    // A body that names no chain is stored under ait-mainnet.
    let stored: String = node
        .db()
        .query_row(
            "SELECT payload FROM \"transaction\" WHERE tx_hash = ?1",
            [&drain],
            |row| row.get(0),
        )
        .unwrap();
    assert!(stored.contains("\"chain_id\":\"ait-mainnet\""), "{stored}");

    // -10^30 destroys its block.
    let huge = format!(
        "{{\"from\":\"{}\",\"to\":\"{}\",\"amount\":-1{},\"fee\":1}}",
        alice.address,
        bob.address,
        "0".repeat(30)
    );
    assert_eq!(node.post("/rpc/transaction", huge).await.0, 200);
    node.submit(&alice.pay(&bob, 1, 10, 7)).await;
    node.devnet().mine().unwrap_err();
    assert_eq!((node.height().await, node.pending().await.len()), (1, 0));

    // A transaction over a megabyte stays pending forever.
    let mut large = alice.transaction(&bob, 1, 10, 8);
    large.payload = Json::string("x".repeat(1_000_001));
    node.submit(&large.sign(&alice.key)).await;
    assert_eq!(node.devnet().mine().unwrap().tx_count, 0);
    assert_eq!(node.pending().await.len(), 1);
}

#[tokio::test]
async fn late_rows() {
    let (node, alice, bob) = with("late-rows");
    let hash = node.submit(&alice.pay(&bob, 1, 10, 1)).await;
    assert_eq!(node.devnet().mine().unwrap().tx_count, 1);
    assert_eq!((node.mined(&hash), node.pending().await.len()), (0, 0));
    assert_eq!(node.get("/rpc/blocks/1").await.1["tx_count"], 1);
    assert_eq!(node.get("/rpc/blocks/1").await.1["transactions"], json!([]));
    node.devnet().mine().unwrap();
    assert_eq!(node.mined(&hash), 0);
    node.devnet().mine().unwrap();
    assert_eq!(node.rows(), [(1, hash, 1)]);
}

#[tokio::test]
async fn late_rows_come_at_once_when_cleared_and_at_a_stop() {
    let (mut node, alice, bob) = with("late-rows");
    let first = node.submit(&alice.pay(&bob, 1, 10, 1)).await;
    node.devnet().mine().unwrap();
    node.devnet().faults().clear_all();
    node.devnet().mine().unwrap();
    assert_eq!(node.mined(&first), 1);
    node.devnet().faults().set(Fault::LateRows);
    let second = node.submit(&alice.pay(&bob, 1, 10, 2)).await;
    node.devnet().mine().unwrap();
    assert_eq!(node.mined(&second), 0);
    node.stop();
    assert_eq!(node.mined(&second), 1);
}

#[tokio::test]
async fn no_transaction_endpoints() {
    let (node, alice, bob) = with("no-transaction-endpoints");
    let hash = node.submit(&alice.pay(&bob, 1, 10, 1)).await;
    let not_found = (404, json!({"detail": "Not Found"}));
    assert_eq!(
        node.get(&format!("/rpc/transaction/{hash}")).await,
        not_found
    );
    assert_eq!(node.get("/rpc/transactions?address=ait1x").await, not_found);
    node.devnet().faults().clear_all();
    assert_eq!(node.get(&format!("/rpc/transaction/{hash}")).await.0, 200);
}
