//! What a correct node refuses, each time with the reason.

use agentry_devnet::{DevnetConfig, NoncePolicy};
use agentry_protocol::{Json, Number, SignedTransaction};
use serde_json::{Value, json};

use crate::common::{Node, Wallet, manual};

fn body(signed: &SignedTransaction) -> Value {
    serde_json::from_str(&signed.body()).unwrap()
}

fn rich(config: DevnetConfig) -> (Node, Wallet, Wallet) {
    let node = Node::start(config);
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 1_000).unwrap();
    (node, alice, bob)
}

#[tokio::test]
async fn bodies_with_invalid_fields_are_refused() {
    let (node, alice, bob) = rich(manual());
    let plain = json!({"from": alice.address.as_str(), "to": bob.address.as_str(), "amount": 1});
    for (key, value, reason) in [
        ("amount", json!(-1), "amount is -1, below 0"),
        (
            "amount",
            json!(1.5),
            "amount is 1.5, which is not a whole number",
        ),
        (
            "amount",
            json!(1e30),
            "amount is 1e+30, which is not a whole number",
        ),
        ("fee", json!(-10), "fee is -10, below 0"),
        ("fee", json!(0.25), "fee is 0.25"),
        (
            "amount",
            json!(i64::MAX),
            "together are more than a balance can hold",
        ),
        (
            "chain_id",
            json!("ait-mainnet"),
            "chain_id is \"ait-mainnet\", and this node's chain is ait-devnet",
        ),
        ("from", json!("two words"), ""),
        ("to", json!(""), ""),
        ("to", json!("x".repeat(200)), ""),
        ("from", json!(7), ""),
        ("amount", json!("1"), ""),
        ("public_key", json!("nonsense"), "public_key: "),
        ("public_key", json!(7), "public_key: not a string"),
    ] {
        let mut wrong = plain.clone();
        wrong[key] = value.clone();
        let refusal = node.refuse(wrong.to_string()).await;
        assert!(refusal.contains(reason), "{key}={value}: {refusal}");
    }
    let huge = "{\"from\":\"ait1a\",\"to\":\"ait1b\",\"amount\":-1000000000000000000000000000000}";
    assert!(node.refuse(huge).await.contains("below 0"));
    assert_eq!(node.pending().await.len(), 0);
}

#[tokio::test]
async fn whole_floats_of_older_clients_count() {
    let (node, alice, bob) = rich(manual());
    let text = format!(
        "{{\"from\":\"{}\",\"to\":\"{}\",\"amount\":5.0,\"fee\":1e1}}",
        alice.address, bob.address
    );
    assert_eq!(node.post("/rpc/transaction", text).await.0, 200);
    node.devnet().mine().unwrap();
    assert_eq!(node.balance(&bob).await, 5);
    assert_eq!(node.balance(&alice).await, 985);
}

#[tokio::test]
async fn a_minimum_fee() {
    let (node, alice, bob) = rich(DevnetConfig {
        min_fee: 5,
        ..manual()
    });
    assert_eq!(
        node.refuse(alice.pay(&bob, 1, 4, 1).body()).await,
        "Fee 4 below minimum 5"
    );
    node.submit(&alice.pay(&bob, 1, 5, 1)).await;
}

#[tokio::test]
async fn signatures_that_are_not_the_owners() {
    let (node, alice, bob) = rich(manual());
    let signed = alice.pay(&bob, 1, 10, 1);
    let right = body(&signed);
    let signature = right["signature"].as_str().unwrap().to_owned();
    let other = body(&alice.pay(&bob, 2, 10, 1));
    for (key, value, reason) in [
        ("amount", json!(2), "the signature is wrong"),
        ("payload", json!("other"), "the signature is wrong"),
        (
            "signature",
            other["signature"].clone(),
            "the signature is wrong",
        ),
        (
            "signature",
            json!(signature.to_uppercase()),
            "128 lower-case hex digits",
        ),
        (
            "signature",
            json!(format!("{signature}00")),
            "128 lower-case hex digits",
        ),
        (
            "signature",
            json!(format!("0x{signature}")),
            "128 lower-case hex digits",
        ),
        ("signature", Value::Null, "without a signature"),
        (
            "public_key",
            json!(bob.key.public_key().to_string()),
            "does not belong to",
        ),
        ("from", json!(bob.address.as_str()), "does not belong to"),
        ("type", json!("message"), "type is \"transfer\""),
    ] {
        let mut wrong = right.clone();
        wrong[key] = value;
        let refusal = node.refuse(wrong.to_string()).await;
        assert!(refusal.contains(reason), "{key}: {refusal}");
    }
    node.submit(&signed).await;
}

#[tokio::test]
async fn a_signature_without_a_public_key_is_accepted_as_aitbc_does() {
    let (node, alice, bob) = rich(manual());
    let mut body = body(&alice.pay(&bob, 1, 10, 1));
    body.as_object_mut().unwrap().remove("public_key");
    body["signature"] = json!("00".repeat(64));
    assert_eq!(node.post("/rpc/transaction", body.to_string()).await.0, 200);
}

#[tokio::test]
async fn a_bech32_sender_and_seven_keys_verify_too() {
    let node = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    let bech32 = agentry_protocol::Address::bech32_from_public_key(&alice.key.public_key());
    node.devnet().fund(&bech32, 100).unwrap();
    let mut transaction = alice.transaction(&bob, 1, 10, 1);
    transaction.from = bech32;
    node.submit(&transaction.clone().sign(&alice.key)).await;
    transaction.nonce = Number::from(0_u64);
    transaction.payload = Json::string("0x");
    node.submit(&SignedTransaction::sign_seven_keys(transaction, &alice.key))
        .await;
}

#[tokio::test]
async fn balances_count_what_is_pending() {
    let (node, alice, bob) = rich(manual());
    let refusal = node.refuse(bob.pay(&alice, 1, 10, 1).body()).await;
    assert!(
        refusal.contains(&format!("the sender {} has no account", bob.address)),
        "{refusal}"
    );
    let refusal = node.refuse(alice.pay(&bob, 991, 10, 1).body()).await;
    assert!(
        refusal.contains("has 1000 AIT, of which 0 are taken by 0 pending"),
        "{refusal}"
    );
    assert!(refusal.ends_with("this one needs 1001"), "{refusal}");
    node.submit(&alice.pay(&bob, 590, 10, 1)).await;
    node.submit(&alice.pay(&bob, 100, 0, 2)).await;
    let refusal = node.refuse(alice.pay(&bob, 300, 1, 3).body()).await;
    assert!(
        refusal.contains("of which 700 are taken by 2 pending"),
        "{refusal}"
    );
    node.submit(&alice.pay(&bob, 290, 10, 3)).await;
    assert_eq!(node.devnet().mine().unwrap().tx_count, 3);
    assert_eq!(
        (node.balance(&alice).await, node.balance(&bob).await),
        (0, 980)
    );
}

#[tokio::test]
async fn duplicates_are_refused_while_pending_and_when_mined() {
    let (node, alice, bob) = rich(manual());
    let signed = alice.pay(&bob, 1, 10, 1);
    let hash = node.submit(&signed).await;
    let mut respelled = body(&signed);
    respelled.as_object_mut().unwrap().remove("public_key");
    respelled["signature"] = json!(signed.signature().unwrap().to_string().to_uppercase());
    let pending = node.refuse(signed.body()).await;
    assert_eq!(
        pending,
        format!("duplicate: transaction {hash} is already pending")
    );
    let pending = node.refuse(respelled.to_string()).await;
    assert_eq!(
        pending,
        format!("duplicate: the same signed content is already pending as {hash}")
    );
    node.devnet().mine().unwrap();
    let mined = node.refuse(signed.body()).await;
    assert_eq!(
        mined,
        format!("duplicate: transaction {hash} is already mined")
    );
    let mined = node.refuse(respelled.to_string()).await;
    assert_eq!(
        mined,
        format!("duplicate: the same signed content is already mined as {hash}")
    );
}

#[tokio::test]
async fn a_forgery_does_not_block_the_owner() {
    let (node, alice, bob) = rich(manual());
    let signed = alice.pay(&bob, 1, 10, 1);
    let mut forgery = body(&signed);
    forgery.as_object_mut().unwrap().remove("public_key");
    forgery["signature"] = json!("ab".repeat(64));
    assert_eq!(
        node.post("/rpc/transaction", forgery.to_string()).await.0,
        200
    );
    node.submit(&signed).await;
    node.devnet().mine().unwrap();
    let refusal = node.refuse(signed.body()).await;
    assert!(refusal.contains("already mined"), "{refusal}");
}

#[tokio::test]
async fn sizes_are_bounded() {
    let (node, alice, bob) = rich(manual());
    let mut transaction = alice.transaction(&bob, 1, 10, 1);
    transaction.payload = Json::string("x".repeat(1_000_000));
    let refusal = node
        .refuse(transaction.clone().sign(&alice.key).body())
        .await;
    assert!(
        refusal.contains("a block holds at most 1000000"),
        "{refusal}"
    );
    transaction.payload = Json::string("x".repeat(900_000));
    node.submit(&transaction.sign(&alice.key)).await;
    assert_eq!(node.devnet().mine().unwrap().tx_count, 1);
    let (status, _) = node.post("/rpc/transaction", "x".repeat(3 << 20)).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn hostile_payloads() {
    let (node, alice, bob) = rich(manual());
    let with = |payload: &str| {
        format!(
            "{{\"from\":\"{}\",\"to\":\"{}\",\"amount\":1,\"payload\":{payload}}}",
            alice.address, bob.address
        )
    };
    assert!(node.refuse(with("\"\\ud800\"")).await.contains("surrogate"));
    node.refuse(with("NaN")).await;
    node.refuse(with("1e400")).await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(node.post("/rpc/transaction", with(&deep)).await.0, 200);
    assert_eq!(node.devnet().mine().unwrap().tx_count, 1);
    let (status, text) = node.get_text("/rpc/blocks/1").await;
    assert_eq!(status, 200);
    assert!(text.contains(&deep));
}

#[tokio::test]
async fn a_full_mempool_is_busy_and_loses_nothing() {
    let (node, alice, bob) = rich(DevnetConfig {
        max_pending: 2,
        ..manual()
    });
    node.submit(&alice.pay(&bob, 1, 1, 1)).await;
    node.submit(&alice.pay(&bob, 1, 1, 2)).await;
    let third = alice.pay(&bob, 1, 50, 3);
    let answer = node
        .try_post("/rpc/transaction", third.body())
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 429);
    assert_eq!(answer.headers()["retry-after"], "1");
    node.devnet().mine().unwrap();
    node.submit(&third).await;
}

#[tokio::test]
async fn sequential_nonces() {
    let (node, alice, bob) = rich(DevnetConfig {
        account_nonces: NoncePolicy::Sequential,
        ..manual()
    });
    let refusal = node.refuse(alice.pay(&bob, 1, 10, 1).body()).await;
    assert_eq!(refusal, "the nonce is 1, and the account's next is 0");
    // The highest fee is last: the order of nonces takes precedence over the order of fees.
    for (nonce, fee) in [(0, 1), (1, 5), (2, 50)] {
        node.submit(&alice.pay(&bob, 1, fee, nonce)).await;
    }
    for (nonce, expected) in [(2, "is 2"), (4, "is 4"), (0, "is 0")] {
        let refusal = node.refuse(alice.pay(&bob, 7, 10, nonce).body()).await;
        assert_eq!(
            refusal,
            format!("the nonce {expected}, and the account's next is 3")
        );
    }
    assert_eq!(node.devnet().mine().unwrap().tx_count, 3);
    let nonces: Vec<i64> = node.rows().into_iter().map(|(_, _, nonce)| nonce).collect();
    assert_eq!(nonces, [1, 2, 3]);
    let refusal = node.refuse(alice.pay(&bob, 9, 10, 2).body()).await;
    assert_eq!(refusal, "the nonce is 2, and the account's next is 3");
    node.submit(&alice.pay(&bob, 9, 10, 3)).await;
}

#[tokio::test]
async fn a_block_holds_500_transactions_or_a_megabyte_highest_fee_first() {
    let node = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 1_000_000).unwrap();
    let mut last = String::new();
    for nonce in 0..501 {
        let fee = if nonce == 250 { 1 } else { 5 };
        let hash = node.submit(&alice.pay(&bob, 1, fee, nonce)).await;
        if nonce == 250 {
            last = hash;
        }
    }
    assert_eq!(node.devnet().mine().unwrap().tx_count, 500);
    assert_eq!(node.mined(&last), 0);
    assert_eq!(node.devnet().mine().unwrap().tx_count, 1);
    assert_eq!(node.mined(&last), 1);

    for nonce in 1_000..1_003 {
        let mut transaction = alice.transaction(&bob, 1, nonce, nonce);
        transaction.payload = Json::string("x".repeat(400_000));
        node.submit(&transaction.sign(&alice.key)).await;
    }
    assert_eq!(node.devnet().mine().unwrap().tx_count, 2);
    assert_eq!(node.devnet().mine().unwrap().tx_count, 1);
}
