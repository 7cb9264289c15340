//! `confirmations`, `final_depth`, and withdrawn blocks.

use std::time::Instant;

use agentry::ops::search::{self, Found};
use agentry_protocol::BlockHeight;
use agentry_store::{open_for_reading, read};

use super::{PATIENCE, Stage, address};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_for_its_confirmations() {
    let stage = Stage::set(r#"{ kind = "pong" }"#, "confirmations = 5", "");
    stage.devnet.pause_mining();
    stage.say(2, "ping").await;
    let block = stage.devnet.mine().unwrap();
    stage
        .until("it is seen", |stage| stage.inbox().len() == 1)
        .await;
    for _ in 0..4 {
        stage.devnet.mine().unwrap();
    }
    let height = |stage: &Stage| {
        stage
            .host
            .as_ref()
            .unwrap()
            .started()
            .metrics
            .condition()
            .height
            .unwrap_or(0)
    };
    let before = i64::try_from(block.height.0 + 4).unwrap();
    stage
        .until("four blocks above it are read", |stage| {
            height(stage) >= before
        })
        .await;
    assert_eq!(stage.inbox()[0].state, "waiting");
    assert!(stage.outbox().is_empty());
    stage.devnet.mine().unwrap();
    stage
        .until("it is handled", |stage| stage.inbox()[0].state == "handled")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_withdrawn_is_mined_again_and_never_signed_again() {
    let stage = Stage::set(r#"{ kind = "pong" }"#, "final_depth = 1000", "");
    stage.blocks(4).await;
    stage.say(2, "ping").await;
    stage
        .until("the reply is mined", |stage| stage.said().len() == 1)
        .await;
    let first = stage.outbox()[0].transaction.clone().unwrap();
    let reply = |found: &Found| found.hash.to_string() == first;
    stage.devnet.pause_mining();
    let head = stage.node.head().await.unwrap().unwrap().height;
    let mined_at = stage.outbox()[0].height.unwrap();
    stage
        .devnet
        .reorganise_and_drop(head.0 - mined_at + 1)
        .unwrap();
    let head = stage.node.head().await.unwrap().unwrap().height;
    assert!(
        search::all(&stage.node, BlockHeight(0), head, reply)
            .await
            .unwrap()
            .is_empty(),
        "the reorganisation took the reply off the chain"
    );
    stage.devnet.resume_mining();
    let deadline = Instant::now() + PATIENCE;
    let again = search::wait(&stage.node, BlockHeight(0), deadline, reply)
        .await
        .unwrap();
    assert!(again.is_some(), "the same bytes are mined again");
    stage.blocks(3).await;
    let head = stage.node.head().await.unwrap().unwrap().height;
    let all = search::all(&stage.node, BlockHeight(0), head, |found| {
        found.stored.from == address(1)
    })
    .await
    .unwrap();
    assert_eq!(all.len(), 1, "nothing else was sent");
    assert_eq!(stage.outbox().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mined_reply_becomes_final() {
    let stage = Stage::set(r#"{ kind = "pong" }"#, "final_depth = 2", "");
    stage.say(2, "ping").await;
    stage
        .until("the reply is final", |stage| {
            stage.outbox().iter().any(|item| item.state == "final")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_chain_in_place_of_the_known_one_stops_posting() {
    let stage = Stage::set(r#"{ kind = "pong" }"#, "", "");
    stage.say(2, "ping").await;
    stage
        .until("the reply is mined", |stage| stage.said().len() == 1)
        .await;
    let db = rusqlite::Connection::open(stage.devnet.chain_db()).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    let other = format!("0x{}", "ab".repeat(32));
    db.execute("UPDATE block SET hash = ?1 WHERE height = 0", [other])
        .unwrap();
    stage
        .until("posting is stopped", |stage| {
            let condition = stage.host.as_ref().unwrap().started().metrics.condition();
            !condition.posting && !condition.ready
        })
        .await;
    let store = open_for_reading(&stage.store).unwrap();
    let reason = read::identity(&store).unwrap().halted.unwrap();
    assert!(reason.contains("0xabab"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_transactions_of_a_removed_wallet_are_mined() {
    let mut stage = Stage::set(r#"{ kind = "pong" }"#, "", "");
    stage.devnet.pause_mining();
    stage.say(2, "ping").await;
    stage.devnet.mine().unwrap();
    stage
        .until("the node has the reply", |stage| {
            stage.outbox().iter().any(|item| item.state == "accepted")
        })
        .await;
    let hash = stage.outbox()[0].transaction.clone().unwrap();
    stage.stop();
    // The node drops it, and the wallet is removed from agents.toml.
    stage.devnet.faults().set("silent-drop".parse().unwrap());
    stage.devnet.mine().unwrap();
    stage.devnet.faults().clear_all();
    stage.replace_agent();
    stage.start();
    stage.devnet.resume_mining();
    let deadline = Instant::now() + PATIENCE;
    let mined = search::wait(&stage.node, BlockHeight(0), deadline, |found| {
        found.hash.to_string() == hash
    })
    .await
    .unwrap();
    assert!(mined.is_some(), "the reply that was signed is mined");
    stage
        .until("the store knows", |stage| stage.said().len() == 1)
        .await;
}
