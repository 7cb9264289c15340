//! Spending limits of an agent, and senders that are verified again.

use agentry::ops::change::{self, StoreChange};
use agentry_core::commit::QueueTarget;
use agentry_protocol::{
    ChainId, Dialect, Header, Json, Number, Payload, PublicKey, Transaction, compose,
};
use agentry_store::list::{self, Filter};
use agentry_store::open_for_reading;

use super::{Stage, address, key};

const PONG: &str = r#"{ kind = "pong" }"#;

/// A ping whose header verifies its sender.
pub(crate) fn verified_ping(key: PublicKey) -> Json {
    let header = Header {
        key: Some(key),
        ..Header::default()
    };
    compose(&Payload::Text("ping".to_owned()), Some(&header)).unwrap()
}

/// Waits until no day is about to end: amounts counted by day must fall on one day.
pub(crate) async fn await_a_day() {
    let day = 24 * 60 * 60;
    while std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() % day >= day - 60 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

fn held(stage: &Stage) -> usize {
    let outbox = stage.outbox();
    outbox.iter().filter(|item| item.waits_for_budget).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_wait_for_a_budget_across_restarts_until_it_suffices() {
    await_a_day().await;
    let mut stage = Stage::set(PONG, "", "daily_budget = 300");
    for sender in 2..7 {
        stage.say(sender, "ping").await;
    }
    stage
        .until("a tenth of the budget is spent", |stage| {
            stage.said().len() == 3 && held(stage) == 2
        })
        .await;
    let reasons: Vec<String> = stage
        .outbox()
        .into_iter()
        .filter_map(|item| item.reason.filter(|_| item.waits_for_budget))
        .collect();
    assert!(
        reasons.iter().all(|reason| reason.contains("30 of 30")),
        "{reasons:?}"
    );
    // A verified sender is answered all the same.
    stage.send(8, verified_ping(key(8).public_key())).await;
    stage
        .until("the verified sender is answered", |stage| {
            stage.said().len() == 4
        })
        .await;
    stage.stop();
    stage.start();
    stage.send(9, verified_ping(key(9).public_key())).await;
    stage
        .until("another is answered", |stage| stage.said().len() == 5)
        .await;
    assert_eq!(held(&stage), 2, "a restart is no new day");
    stage.stop();
    stage.edit("daily_budget = 300", "daily_budget = 400");
    stage.start();
    stage
        .until("one more can be paid for", |stage| {
            stage.said().len() == 6 && held(stage) == 1
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_budget_pays_nothing() {
    let stage = Stage::set(PONG, "", "daily_budget = 0");
    stage.send(2, verified_ping(key(2).public_key())).await;
    stage
        .until("the answer waits", |stage| held(stage) == 1)
        .await;
    let reason = stage.outbox()[0].reason.clone().unwrap();
    assert!(reason.contains("larger budget"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_verified_again_before_a_retry() {
    let mut stage = Stage::set(r#"{ kind = "moody" }"#, "", "attempts = 1");
    stage.say(2, "fail").await;
    // Another wallet signs for 3, whose key is not known yet.
    let signed = Transaction {
        dialect: Dialect::April2026,
        from: address(3),
        to: address(1),
        amount: Number::from(0_u64),
        fee: Number::from(10_u64),
        nonce: Number::from(77_u64),
        payload: Json::string("fail"),
        chain_id: "ait-devnet".parse::<ChainId>().unwrap(),
    }
    .sign(&key(4));
    // A node that gets no key accepts it.
    let mut body: serde_json::Value = serde_json::from_str(&signed.body()).unwrap();
    body.as_object_mut().unwrap().remove("public_key");
    stage.node.submit(&body.to_string()).await.unwrap();
    let dead = |stage: &Stage| {
        let inbox = stage.inbox();
        inbox.iter().filter(|item| item.state == "dead").count()
    };
    stage
        .until("both are dead letters", |stage| dead(stage) == 2)
        .await;
    assert!(
        stage
            .inbox()
            .iter()
            .all(|item| item.authenticity == "unverified")
    );
    stage.stop();
    let contacts: String = [2, 3]
        .map(|byte| {
            format!(
                "[[contact]]\nname = \"contact-{byte}\"\naddress = \"{}\"\npublic_key = \"{}\"\n",
                address(byte),
                key(byte).public_key()
            )
        })
        .concat();
    stage.edit("[[agent]]", &format!("{contacts}[[agent]]"));
    stage.start();
    let retry = StoreChange::Retry(QueueTarget::All);
    assert_eq!(change::make(&stage.store, retry).await.unwrap(), 1);
    let forged = list::forged(
        &open_for_reading(&stage.store).unwrap(),
        &Filter {
            limit: 10,
            ..Filter::default()
        },
    )
    .unwrap();
    assert_eq!(forged.len(), 1);
    assert_eq!(forged[0].from, address(3).to_string());
    stage
        .until("the other fails again, now verified", |stage| {
            let inbox = stage.inbox();
            inbox.len() == 1 && inbox[0].state == "dead" && inbox[0].authenticity == "verified"
        })
        .await;
}
