//! A store that is restored from a copy, or lost: the runtime rebuilds its knowledge from the
//! chain.

use std::collections::HashMap;

use agentry::ops::search::{self, Found};
use agentry::ops::send::SendRequest;
use agentry::runtime::control::Client;
use agentry_protocol::command::StatusReport;
use agentry_protocol::{
    AckRequest, BlockHeight, Header, Json, KnownCommand, MessageId, Payload, compose,
};
use agentry_store::{open_for_reading, read};

use super::{Stage, address, key, now};

/// Forty days in milliseconds.
const FORTY_DAYS: i64 = 40 * 24 * 60 * 60 * 1000;

impl Stage {
    /// Keeps a copy of the store of a stopped runtime.
    fn copy_store(&self) {
        std::fs::copy(&self.store, self.dir().join("copy.db")).unwrap();
    }

    /// Restores the copy.
    fn restore_store(&self) {
        self.lose_store();
        std::fs::copy(self.dir().join("copy.db"), &self.store).unwrap();
    }

    /// Deletes the store.
    fn lose_store(&self) {
        for suffix in ["", "-wal", "-shm"] {
            let path = agentry_store::with_suffix(&self.store, suffix);
            if path.exists() {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    /// Has the runtime send a text, as an operator does.
    async fn order(&self, text: &str, key: &str) {
        let message = SendRequest::new(address(2), Json::string(text), key.to_owned());
        let client = Client::new(&self.store);
        client.send("agent", message).await.unwrap();
    }

    /// The agent's messages that are in a block.
    async fn sent(&self) -> Vec<Found> {
        let head = self.node.head().await.unwrap().unwrap().height;
        let is_own = |found: &Found| found.stored.from == address(1);
        search::all(&self.node, BlockHeight(0), head, is_own)
            .await
            .unwrap()
    }

    /// Waits until the outbox is mined, and asserts that nothing was posted again.
    async fn settle(&self) {
        self.until("everything is mined", |stage| {
            let mined = |state: &str| state == "mined" || state == "final";
            let rows = stage.outbox();
            !rows.is_empty() && rows.iter().all(|row| mined(&row.state))
        })
        .await;
        for row in self.outbox() {
            assert!(row.posts <= 1, "posted again: {row:#?}");
        }
    }
}

/// Asserts that every nonce on the chain is unique.
fn assert_unique(sent: &[Found]) {
    let mut nonces = HashMap::new();
    for found in sent {
        let nonce = found.stored.nonce.to_string();
        if let Some(other) = nonces.insert(nonce.clone(), found.hash) {
            panic!("{other} and {} both have the nonce {nonce}", found.hash);
        }
    }
}

/// Sets the highest nonce that the wallet has used, as a clock that was ahead leaves it.
fn clock_was_ahead(stage: &Stage) {
    let db = rusqlite::Connection::open(&stage.store).unwrap();
    let ahead = i64::try_from(now().get()).unwrap() + FORTY_DAYS;
    db.execute("UPDATE agent SET last_nonce = ?1", [ahead])
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_text_sent_from_a_restored_store_is_another_transaction() {
    let mut stage = Stage::set(r#"{ kind = "pong" }"#, "", "");
    // Posting a mined transaction again destroys a block.
    let faults = stage.devnet.faults().clone();
    faults.set("replay-destroys-block".parse().unwrap());
    stage.blocks(2).await;
    stage.stop();
    clock_was_ahead(&stage);
    stage.copy_store();
    stage.start();
    stage.order("hello", "first").await;
    stage.settle().await;
    stage.stop();

    stage.restore_store();
    stage.start();
    stage.order("hello", "second").await;
    stage.settle().await;
    let sent = stage.sent().await;
    assert_eq!(sent.len(), 2, "{sent:#?}");
    assert_unique(&sent);
    // The same holds for any later copy.
    stage.order("hello", "third").await;
    stage.settle().await;
    assert_unique(&stage.sent().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_store_issues_no_nonce_twice() {
    let mut stage = Stage::set("", "", "");
    stage.stop();
    clock_was_ahead(&stage);
    stage.start();
    stage.order("hello", "first").await;
    stage.settle().await;
    stage.stop();
    stage.lose_store();
    stage.start();
    stage.order("hello", "second").await;
    stage.settle().await;
    let sent = stage.sent().await;
    assert_eq!(sent.len(), 2, "{sent:#?}");
    assert_unique(&sent);
}

/// A message with a header, as a verifiable wallet sends it.
fn verified(from: u8, payload: &Payload, ack: Option<AckRequest>) -> Json {
    let header = Header {
        id: Some(MessageId::generate(now()).unwrap()),
        key: Some(key(from).public_key()),
        ack,
        ..Header::default()
    };
    compose(payload, Some(&header)).unwrap()
}

fn asking(from: u8, text: &str) -> Json {
    let text = Payload::Text(text.to_owned());
    verified(from, &text, Some(AckRequest::Done))
}

impl Stage {
    /// Waits until the runtime has completed every message that it was shown.
    async fn done(&self, messages: usize) {
        self.until("every message is handled", |stage| {
            let inbox = stage.inbox();
            inbox.len() == messages && inbox.iter().all(|row| row.state == "handled")
        })
        .await;
        self.until("nothing waits", |stage| {
            let waits = "SELECT (SELECT count(*) FROM event WHERE state <> 'dead')
                              + (SELECT count(*) FROM task WHERE ended_at IS NULL)";
            let waits: i64 = stage.sql().query_row(waits, [], |row| row.get(0)).unwrap();
            waits == 0
        })
        .await;
        self.settle().await;
    }

    /// Restores the copy (or nothing), starts, and expects that the chain provides everything: this
    /// many messages, and no further ones of ours.
    async fn nothing_is_said_again(&mut self, is_lost: bool, messages: usize) {
        let before = self.sent().await;
        self.stop();
        if is_lost {
            self.lose_store();
        } else {
            self.restore_store();
        }
        self.start();
        self.done(messages).await;
        self.blocks(5).await;
        let after = self.sent().await;
        assert_eq!(after.len(), before.len(), "said again: {after:#?}");
        for row in self.outbox() {
            assert_eq!(row.posts, 0, "posted: {row:#?}");
        }
        let own: u64 = before.iter().map(|_| 10).sum();
        let db = open_for_reading(&self.store).unwrap();
        let spent = read::spending(&db, 0).unwrap();
        let spent: u64 = spent.iter().map(|(_, _, _, spent)| spent.0).sum();
        assert_eq!(spent, own, "what was spent is known");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_texts_are_not_answered_again() {
    for is_lost in [false, true] {
        let mut stage = Stage::set(r#"{ kind = "counter" }"#, "", "");
        stage.stop();
        stage.copy_store();
        stage.start();
        for (from, messages) in [(2, 1), (3, 2), (2, 3)] {
            stage.say(from, "ping").await;
            stage.done(messages).await;
        }
        stage.nothing_is_said_again(is_lost, 3).await;
        // Its state is complete, and a new message is answered.
        stage.say(3, "ping").await;
        stage.done(4).await;
        assert!(stage.said().contains(&"\"count 4\"".to_owned()));
        assert_eq!(stage.sent().await.len(), 4);
        assert_unique(&stage.sent().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgments_and_answers_are_not_sent_again() {
    for is_lost in [false, true] {
        let behaviours = r#"{ kind = "ack" }, { kind = "moody" }, { kind = "status" }"#;
        let mut stage = Stage::set(behaviours, "", "");
        stage.stop();
        stage.copy_store();
        stage.start();
        stage.send(2, asking(2, "say hello")).await;
        stage.send(3, asking(3, "say hello")).await;
        let status = KnownCommand::StatusReport(StatusReport::default());
        let status = verified(2, &status.to_payload(), Some(AckRequest::Received));
        stage.send(2, status).await;
        stage.done(3).await;
        assert_eq!(stage.sent().await.len(), 8, "{:?}", stage.said());
        stage.nothing_is_said_again(is_lost, 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_messages_missing_from_the_chain_are_sent() {
    let mut stage = Stage::set(r#"{ kind = "pong" }"#, "", "");
    stage.stop();
    stage.copy_store();
    stage.start();
    stage.say(2, "ping").await;
    stage.done(1).await;
    stage.stop();
    // The runtime is down and misses this one until it is restored.
    stage.say(3, "ping").await;
    stage.blocks(2).await;
    stage.restore_store();
    stage.start();
    stage.done(2).await;
    let sent = stage.sent().await;
    let to: Vec<_> = sent.iter().map(|found| found.stored.to.clone()).collect();
    assert_eq!(to, [address(2), address(3)]);
    assert_unique(&sent);
}

/// An agent that has set a timer, which sends a message in a second.
async fn with_a_timer() -> Stage {
    let stage = Stage::set(r#"{ kind = "alarm" }"#, "", "");
    stage.say(2, "in 1000").await;
    stage
        .until("it is set", |stage| {
            let inbox = stage.inbox();
            inbox.len() == 1 && inbox[0].state == "handled"
        })
        .await;
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timers_message_is_not_sent_again() {
    let mut stage = with_a_timer().await;
    // The timer is in the copy, and has not fired.
    stage.stop();
    stage.copy_store();
    stage.start();
    stage.done(1).await;
    assert_eq!(stage.sent().await.len(), 1);
    stage.nothing_is_said_again(false, 1).await;
    stage.nothing_is_said_again(true, 1).await;
    // A later timer sends the same text, which is another message.
    stage.say(2, "in 100").await;
    stage.done(2).await;
    assert_eq!(stage.sent().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timers_message_is_not_sent_again_however_long_the_catch_up_takes() {
    let mut stage = with_a_timer().await;
    stage.stop();
    stage.copy_store();
    // More than one reading returns, before the timer fires and after.
    let noise = async |stage: &Stage| {
        for _ in 0..300 {
            stage.say(3, "noise").await;
        }
        stage.blocks(2).await;
    };
    noise(&stage).await;
    stage.start();
    stage.done(301).await;
    noise(&stage).await;
    stage.done(601).await;
    assert_eq!(stage.sent().await.len(), 1);
    stage.nothing_is_said_again(false, 601).await;
}

/// The copy has read blocks that were replaced later, and the chain has more above them than one
/// reading returns.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_again_after_blocks_were_replaced() {
    let mut stage = Stage::set(r#"{ kind = "pong" }"#, "final_depth = 100", "");
    stage.say(3, "noise").await;
    stage
        .until("it is read", |stage| stage.inbox().len() == 1)
        .await;
    stage.devnet.pause_mining();
    stage.stop();
    stage.copy_store();
    let head = stage.node.head().await.unwrap().unwrap().height.0;
    let read = stage.inbox()[0].height.unwrap();
    let depth = head + 2 - read;
    let reorganise = format!("reorganise={depth}@{}", head + 1);
    stage.devnet.faults().set(reorganise.parse().unwrap());
    stage.devnet.resume_mining();
    stage.blocks(3).await;

    stage.start();
    for _ in 0..600 {
        stage.say(3, "noise").await;
    }
    stage.blocks(2).await;
    stage.say(2, "ping").await;
    stage.done(602).await;
    stage.nothing_is_said_again(false, 602).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_messages_are_not_sent_again() {
    for is_lost in [false, true] {
        let mut stage = Stage::set(r#"{ kind = "counter" }"#, "", "");
        stage.stop();
        stage.copy_store();
        stage.say(2, "ping").await;
        stage.blocks(2).await;
        stage.devnet.pause_mining();
        stage.start();
        let accepted = |stage: &Stage| {
            let outbox = stage.outbox();
            outbox.len() == 1 && outbox[0].state == "accepted"
        };
        stage.until("it is answered", accepted).await;
        stage.stop();
        if is_lost {
            stage.lose_store();
        } else {
            stage.restore_store();
        }
        stage.start();
        stage.until("the answer is known", accepted).await;
        assert_eq!(stage.outbox()[0].posts, 0, "it is not posted again");
        stage.devnet.resume_mining();
        stage.done(1).await;
        stage.blocks(3).await;
        assert_eq!(stage.sent().await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_question_is_not_asked_again() {
    let keys = "[[agent]]\nname = \"other\"\nwallet = \"other\"\n\
                behaviours = [{ kind = \"ack\" }, { kind = \"counter\" }]";
    let asker = format!(
        "{{ kind = \"asker\", to = \"{}\", within_ms = 2000, resends = 3 }}",
        address(20)
    );
    for is_lost in [false, true] {
        let mut stage = Stage::with_tables(&asker, "", "", keys);
        stage.stop();
        stage.copy_store();
        stage.start();
        stage.say(2, "shall I?").await;
        // The question, RECEIVED, the answer, DONE.
        let acknowledged = |stage: &Stage| {
            let done = "SELECT count(*) FROM receipt WHERE state = 'done'";
            let done: i64 = stage.sql().query_row(done, [], |row| row.get(0)).unwrap();
            done == 1
        };
        stage.until("it is acknowledged", acknowledged).await;
        stage.done(5).await;
        let said = async |stage: &Stage| {
            let head = stage.node.head().await.unwrap().unwrap().height;
            let own = |found: &Found| [address(1), address(20)].contains(&found.stored.from);
            let all = search::all(&stage.node, BlockHeight(0), head, own).await;
            all.unwrap().len()
        };
        assert_eq!(said(&stage).await, 4);
        stage.stop();
        if is_lost {
            stage.lose_store();
        } else {
            stage.restore_store();
        }
        stage.start();
        stage.until("it is acknowledged", acknowledged).await;
        stage.done(5).await;
        // Longer than the acknowledgment timeout.
        stage.blocks(50).await;
        assert_eq!(said(&stage).await, 4);
    }
}
