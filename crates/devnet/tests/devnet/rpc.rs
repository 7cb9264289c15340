//! The RPC of AITBC's node, call by call, over real HTTP.

use agentry_devnet::DevnetConfig;
use agentry_protocol::{BlockHeight, Json, block_hash, genesis_hash};
use serde_json::json;

use crate::common::{Node, Wallet, chain, manual, until};

#[tokio::test]
async fn head_is_genesis_at_first() {
    let node = Node::manual();
    let (status, head) = node.get("/rpc/head").await;
    assert_eq!(status, 200);
    assert_eq!(
        head,
        json!({
            "height": 0,
            "hash": genesis_hash(&chain()).to_string(),
            "timestamp": "2025-01-01T00:00:00",
            "tx_count": 0,
        })
    );
}

#[tokio::test]
async fn allocations_do_not_change_the_hash_of_genesis() {
    let wallet = Wallet::of(1);
    let node = Node::start(DevnetConfig {
        allocations: vec![(wallet.address.clone(), 1_000)],
        ..manual()
    });
    assert_eq!(
        node.get("/rpc/head").await.1["hash"],
        genesis_hash(&chain()).to_string()
    );
    assert_eq!(node.balance(&wallet).await, 1_000);
}

#[tokio::test]
async fn a_transaction_is_posted_pending_mined_and_found() {
    let node = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 1_000).unwrap();
    let signed = alice.pay(&bob, 100, 10, 1_790_000_000_000);
    let (status, answer) = node.post("/rpc/transaction", signed.body()).await;
    let hash = signed.hash().to_string();
    assert_eq!(status, 200);
    assert_eq!(
        answer,
        json!({"success": true, "transaction_hash": hash, "message": "Transaction submitted to mempool"})
    );
    let stored = json!({
        "chain_id": "ait-devnet",
        "from": alice.address.as_str(),
        "to": bob.address.as_str(),
        "amount": 100,
        "fee": 10,
        "nonce": 1_790_000_000_000_u64,
        "payload": "hello",
        "signature": signed.signature().unwrap().to_string(),
    });
    assert_eq!(
        node.get("/rpc/mempool").await,
        (
            200,
            json!({"success": true, "transactions": [stored], "count": 1})
        )
    );
    let with = |more: serde_json::Value| {
        let mut all = stored.clone();
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    let path = format!("/rpc/transaction/{hash}");
    assert_eq!(
        node.get(&path).await.1,
        with(
            json!({"tx_hash": hash, "block_height": null, "block_hash": null, "status": "pending"})
        )
    );

    let mined = node.devnet().mine().unwrap();
    assert_eq!((mined.height, mined.tx_count), (BlockHeight(1), 1));
    let block_hash_text = mined.hash.to_string();
    assert_eq!(node.get("/rpc/mempool").await.1["count"], 0);
    assert_eq!(
        node.get(&path).await.1,
        with(
            json!({"tx_hash": hash, "block_height": 1, "block_hash": block_hash_text, "status": "mined"})
        )
    );

    let (status, block) = node.get("/rpc/blocks/1").await;
    assert_eq!(status, 200);
    let timestamp = block["timestamp"].as_str().unwrap().to_owned();
    let parent = genesis_hash(&chain()).to_string();
    assert_eq!(
        block,
        json!({
            "height": 1, "hash": block_hash_text, "parent_hash": parent, "proposer": "agentry-devnet",
            "timestamp": timestamp, "tx_count": 1, "state_root": null,
            "transactions": [with(json!({"tx_hash": hash}))],
        })
    );
    // The chain's formula of a block hash, from the fields that the RPC shows.
    let computed = block_hash(
        &chain(),
        BlockHeight(1),
        &parent,
        &timestamp,
        [hash.as_str()],
    );
    assert_eq!(computed, mined.hash);

    let (_, range) = node.get("/rpc/blocks-range?start=0&end=5").await;
    let row = json!({
        "id": 1, "chain_id": "ait-devnet", "tx_hash": hash, "block_height": 1,
        "sender": alice.address.as_str(), "recipient": bob.address.as_str(), "payload": stored,
        "created_at": timestamp, "nonce": 1, "value": 100, "fee": 10, "status": "confirmed",
        "timestamp": timestamp.replace('T', " "), "tx_metadata": null,
    });
    assert_eq!(
        range,
        json!({"success": true, "count": 2, "blocks": [
            {"height": 0, "hash": parent, "parent_hash": "0x00", "proposer": "agentry-devnet",
             "timestamp": "2025-01-01T00:00:00", "tx_count": 0, "transactions": []},
            {"height": 1, "hash": block_hash_text, "parent_hash": parent, "proposer": "agentry-devnet",
             "timestamp": timestamp, "tx_count": 1, "transactions": [row]},
        ]})
    );
    for (address, count) in [(&alice, 1), (&bob, 1), (&Wallet::of(3), 0)] {
        let (_, list) = node
            .get(&format!("/rpc/transactions?address={}", address.address))
            .await;
        assert_eq!(list["count"], count);
        if count == 1 {
            assert_eq!(list["transactions"][0], row);
        }
    }
    assert_eq!(
        node.get(&format!("/rpc/accounts/{}", alice.address)).await,
        (
            200,
            json!({"address": alice.address.as_str(), "balance": 890, "nonce": 1, "exists": true})
        )
    );
    assert_eq!(node.balance(&bob).await, 100);
}

#[tokio::test]
async fn unknown_accounts_blocks_and_paths() {
    let node = Node::manual();
    assert_eq!(
        node.get("/rpc/accounts/ait1nobody").await,
        (
            200,
            json!({"address": "ait1nobody", "balance": 0, "nonce": 0, "exists": false})
        )
    );
    assert_eq!(
        node.get("/rpc/blocks/7").await,
        (404, json!({"detail": "block not found"}))
    );
    assert_eq!(node.get("/rpc/blocks/-1").await.0, 404);
    assert_eq!(node.get("/rpc/blocks/x").await.0, 422);
    for path in ["/", "/rpc", "/rpc/nothing", "/dev/nothing", "/rpc/head/x"] {
        assert_eq!(
            node.get(path).await,
            (404, json!({"detail": "Not Found"})),
            "{path}"
        );
    }
    assert_eq!(
        node.post("/rpc/head", "").await,
        (405, json!({"detail": "Method Not Allowed"}))
    );
    let missing = format!("/rpc/transaction/0x{}", "0".repeat(64));
    assert_eq!(
        node.get(&missing).await,
        (404, json!({"detail": "transaction not found"}))
    );
    assert_eq!(node.get("/rpc/transaction").await.0, 405);
}

#[tokio::test]
async fn ranges_are_checked() {
    let node = Node::manual();
    assert_eq!(node.get("/rpc/blocks-range").await.0, 422);
    assert_eq!(node.get("/rpc/blocks-range?start=0&end=x").await.0, 422);
    assert_eq!(node.get("/rpc/blocks-range?start=2&end=1").await.0, 400);
    assert_eq!(node.get("/rpc/blocks-range?start=-1&end=1").await.0, 400);
    assert_eq!(node.get("/rpc/blocks-range?start=0&end=1001").await.0, 400);
    assert_eq!(
        node.get("/rpc/blocks-range?start=5&end=9").await,
        (200, json!({"success": true, "blocks": [], "count": 0}))
    );
    let (_, without) = node
        .get("/rpc/blocks-range?start=0&end=0&include_tx=false")
        .await;
    assert_eq!(without["blocks"][0].get("transactions"), None);
}

#[tokio::test]
async fn what_is_no_json_object_is_422() {
    let node = Node::manual();
    for body in ["", "{", "nonsense", "[1]", "7", "null"] {
        assert_eq!(node.post("/rpc/transaction", body).await.0, 422, "{body}");
    }
}

#[tokio::test]
async fn missing_keys_are_named_and_defaults_filled_in() {
    let node = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    for missing in ["from", "to", "amount"] {
        let mut body =
            json!({"from": alice.address.as_str(), "to": bob.address.as_str(), "amount": 1});
        body.as_object_mut().unwrap().remove(missing);
        assert!(
            node.refuse(body.to_string())
                .await
                .contains(&format!("'{missing}'"))
        );
    }
    node.devnet().fund(&alice.address, 100).unwrap();
    let body = json!({"from": alice.address.as_str(), "to": bob.address.as_str(), "amount": 1});
    assert_eq!(node.post("/rpc/transaction", body.to_string()).await.0, 200);
    assert_eq!(
        node.pending().await,
        [json!({
            "chain_id": "ait-devnet", "from": alice.address.as_str(), "to": bob.address.as_str(),
            "amount": 1, "fee": 10, "nonce": 0, "payload": "0x", "signature": null,
        })]
    );
}

#[tokio::test]
async fn the_mempool_lists_the_highest_fee_first_within_a_limit() {
    let node = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 1_000_000).unwrap();
    for nonce in 0..130 {
        node.submit(&alice.pay(&bob, 1, nonce % 7, nonce)).await;
    }
    let (_, default) = node.get("/rpc/mempool").await;
    assert_eq!(default["count"], 100);
    let fees: Vec<u64> = node
        .pending()
        .await
        .iter()
        .map(|pending| pending["fee"].as_u64().unwrap())
        .collect();
    assert_eq!(fees.len(), 130);
    assert!(fees.is_sorted_by(|first, second| first >= second));
    assert_eq!(node.get("/rpc/mempool?limit=3").await.1["count"], 3);
    assert_eq!(node.get("/rpc/mempool?limit=x").await.0, 422);
}

#[tokio::test]
async fn numbers_and_payloads_come_through_unaltered() {
    let node = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 1_000).unwrap();
    let big = "123456789012345678901234567890";
    let payload = format!("{{\"big\":{big},\"float\":1e+16,\"text\":\"\\u00e9\\ud83d\\ude00\"}}");
    let mut transaction = alice.transaction(&bob, 1, 10, 1);
    transaction.payload = Json::parse(payload.as_bytes(), Default::default()).unwrap();
    let signed = transaction.sign(&alice.key);
    node.submit(&signed).await;
    node.devnet().mine().unwrap();
    let stored: String = node
        .db()
        .query_row("SELECT payload FROM \"transaction\"", [], |row| row.get(0))
        .unwrap();
    assert_eq!(stored, signed.stored().stored_text());
    let (_, text) = node.get_text("/rpc/blocks-range?start=1&end=1").await;
    assert!(text.contains(big) && text.contains("1e+16"), "{text}");
}

#[tokio::test]
async fn transactions_of_an_address_are_paged_in_either_order() {
    let node = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 10_000).unwrap();
    let mut hashes = Vec::new();
    for nonce in 0..5 {
        hashes.push(node.submit(&alice.pay(&bob, 1, 10, nonce)).await);
        node.devnet().mine().unwrap();
    }
    let list = async |query: &str| -> Vec<String> {
        let (status, answer) = node
            .get(&format!("/rpc/transactions?address={}{query}", bob.address))
            .await;
        assert_eq!(status, 200);
        let rows = answer["transactions"].as_array().unwrap().clone();
        rows.iter()
            .map(|row| row["tx_hash"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(list("&order=asc").await, hashes);
    assert_eq!(list("&order=asc&limit=2&offset=1").await, hashes[1..3]);
    hashes.reverse();
    assert_eq!(list("").await, hashes);
    let (status, _) = node.get("/rpc/transactions?order=sideways").await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn health_and_metrics() {
    let node = Node::manual();
    node.devnet().mine().unwrap();
    let (status, health) = node.get("/health").await;
    assert_eq!(status, 200);
    assert_eq!(health["status"], "ok");
    assert_eq!(health["supported_chains"], json!(["ait-devnet"]));
    assert_eq!(health["proposer_id"], "agentry-devnet");
    let (status, metrics) = node.get_text("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("\nchain_head_height 1\n"), "{metrics}");
    assert!(metrics.contains("# TYPE mempool_size gauge\n"));
}

#[tokio::test]
async fn the_dev_calls() {
    let node = Node::manual();
    let alice = Wallet::of(1);
    let body = json!({"address": alice.address.as_str(), "amount": 50}).to_string();
    let (status, answer) = node.post("/dev/faucet", body.as_str()).await;
    assert_eq!((status, &answer["balance"]), (200, &json!(50)));
    assert_eq!(node.post("/dev/faucet", body).await.1["balance"], 100);
    for wrong in [
        "{}",
        "{\"address\":\"a b\",\"amount\":1}",
        "{\"address\":\"ait1x\",\"amount\":0}",
    ] {
        assert_eq!(node.post("/dev/faucet", wrong).await.0, 400, "{wrong}");
    }
    assert_eq!(node.post("/dev/mine", "").await.1["height"], 1);
    assert_eq!(node.post("/dev/reorganise", "{\"depth\":1}").await.0, 200);
    assert_eq!(node.post("/dev/reorganise", "{\"depth\":2}").await.0, 400);
    let set = "{\"set\":[\"drop=0.2\",\"late-rows\"],\"clear\":[\"hang\"]}";
    let faults = json!({"faults": ["late-rows", "silent-drop=0.2"]});
    assert_eq!(node.post("/dev/faults", set).await, (200, faults.clone()));
    assert_eq!(node.get("/dev/faults").await.1, faults);
    assert_eq!(
        node.post("/dev/faults", "{\"set\":[\"nonsense\"]}").await.0,
        400
    );
    assert_eq!(
        node.post("/dev/faults", "{\"clear\":[\"all\"]}").await.1,
        json!({"faults": []})
    );
}

#[tokio::test]
async fn the_faucet_can_be_off() {
    let node = Node::start(DevnetConfig {
        faucet: false,
        ..manual()
    });
    let alice = Wallet::of(1);
    assert!(node.devnet().fund(&alice.address, 1).is_err());
    let body = json!({"address": alice.address.as_str(), "amount": 50}).to_string();
    assert_eq!(node.post("/dev/faucet", body).await.0, 404);
}

#[tokio::test]
async fn blocks_come_by_themselves_until_paused() {
    let node = Node::start(DevnetConfig {
        automatic: true,
        ..manual()
    });
    until("three blocks", async || node.height().await >= 3).await;
    node.devnet().pause_mining();
    let paused = node.height().await;
    node.devnet().mine().unwrap();
    assert_eq!(node.height().await, paused + 1);
    node.devnet().resume_mining();
    until("more blocks", async || node.height().await > paused + 2).await;
}

#[tokio::test]
async fn import_block_accepts_valid_blocks_that_follow_the_head() {
    let (from, to) = (Node::manual(), Node::manual());
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    from.devnet().fund(&alice.address, 1_000).unwrap();
    to.devnet().fund(&alice.address, 1_000).unwrap();
    from.submit(&alice.pay(&bob, 7, 10, 1)).await;
    from.devnet().mine().unwrap();
    from.devnet().mine().unwrap();
    let (_, range) = from.get("/rpc/blocks-range?start=0&end=2").await;
    let block = |height: usize| range["blocks"][height].clone();

    let (status, answer) = to.post("/rpc/importBlock", block(2).to_string()).await;
    assert_eq!(status, 500, "{answer}");
    let mut wrong = block(1);
    wrong["transactions"][0]["payload"]["amount"] = json!(8);
    assert_eq!(to.post("/rpc/importBlock", wrong.to_string()).await.0, 500);
    let mut wrong = block(1);
    wrong["timestamp"] = json!("2026-01-01T00:00:00");
    assert_eq!(to.post("/rpc/importBlock", wrong.to_string()).await.0, 500);
    let mut foreign = block(1);
    foreign["chainId"] = json!("ait-mainnet");
    assert_eq!(
        to.post("/rpc/importBlock", foreign.to_string()).await.0,
        500
    );
    assert_eq!(to.post("/rpc/importBlock", "{}").await.0, 500);
    assert_eq!(to.height().await, 0);

    let hash = block(1)["hash"].clone();
    let imported = json!({"success": true, "block_number": 1, "block_hash": hash});
    assert_eq!(
        to.post("/rpc/importBlock", block(1).to_string()).await,
        (200, imported)
    );
    let again = json!({"success": true, "block_number": 1, "block_hash": hash, "message": "Block already exists"});
    assert_eq!(
        to.post("/rpc/importBlock", block(1).to_string()).await,
        (200, again)
    );
    assert_eq!(to.rows(), from.rows());
    assert_eq!(to.accounts(), from.accounts());
}
