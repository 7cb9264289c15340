//! Messages with headers: how often and when they are handled, and what their sender learns.

use agentry_protocol::command::{Ack, AckStatus};
use agentry_protocol::sealing::{self, Binding};
use agentry_protocol::{
    AckRequest, Address, DecryptionKey, EncryptionKey, Envelope, Header, Json, KnownCommand,
    Limits, MessageId, Payload, Seed, Thread, compose,
};
use agentry_store::{open_for_reading, read};
use rusqlite::{Connection, params};

use super::{Stage, address, key, now};

/// The header of a verified message of a wallet.
fn header(from: u8) -> Header {
    Header {
        id: Some(MessageId::generate(now()).unwrap()),
        key: Some(key(from).public_key()),
        ..Header::default()
    }
}

fn text(text: &str, header: &Header) -> Json {
    compose(&Payload::Text(text.to_owned()), Some(header)).unwrap()
}

fn decryption(seed: u8) -> DecryptionKey {
    DecryptionKey::from_seed(&Seed::from_bytes([seed; 32]))
}

/// The delivery updates of a message that the asker has recorded.
fn updates(stage: &Stage, label: &str) -> Vec<String> {
    let agents = read::agents(&open_for_reading(&stage.store).unwrap()).unwrap();
    let db = Connection::open(&stage.store).unwrap();
    agents
        .iter()
        .filter_map(|agent| {
            let value = db.query_row(
                "SELECT value FROM state WHERE agent = ?1 AND behaviour = 'asker' AND key = ?2",
                params![agent.id.0, label],
                |row| row.get::<_, String>(0),
            );
            serde_json::from_str(&value.ok()?).ok()
        })
        .next()
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_handled_once_however_often_it_arrives() {
    let stage = Stage::set(r#"{ kind = "counter" }"#, "", "");
    let header = header(2);
    stage.send(2, text("one", &header)).await;
    stage.send(2, text("one", &header)).await;
    stage
        .send(2, text("the same id with another text", &header))
        .await;
    // Another sender's message with the same id is another message.
    let foreign = Header {
        key: Some(key(3).public_key()),
        ..header.clone()
    };
    stage.send(3, text("one", &foreign)).await;
    stage
        .until("both senders are answered", |stage| stage.said().len() == 2)
        .await;
    stage.blocks(3).await;
    assert_eq!(stage.said().len(), 2);
    assert_eq!(stage.inbox().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_names_its_question_and_carries_its_thread_on() {
    let stage = Stage::set(r#"{ kind = "counter" }"#, "", "");
    let header = Header {
        thread: Some("talk-1".parse::<Thread>().unwrap()),
        ..header(2)
    };
    let hash = stage.send(2, text("one", &header)).await;
    stage
        .until("it is answered", |stage| stage.said().len() == 1)
        .await;
    let answer = stage.outbox().pop().unwrap();
    let payload = Json::parse(answer.payload.as_bytes(), Limits::default()).unwrap();
    let envelope = Envelope::read(&payload);
    let header = envelope.header().unwrap();
    assert_eq!(header.re, Some(hash));
    assert_eq!(header.thread.as_ref().unwrap().as_str(), "talk-1");
    assert_eq!(header.key, Some(key(1).public_key()));
    assert!(header.id.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_carries_the_trace_on_as_it_came() {
    let stage = Stage::set(r#"{ kind = "counter" }"#, "", "");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut header = header(2);
    header.trail.trace = Some(trace.parse().unwrap());
    stage.send(2, text("one", &header)).await;
    stage
        .until("it is answered", |stage| stage.said().len() == 1)
        .await;
    let answer = stage.outbox().pop().unwrap();
    let payload = Json::parse(answer.payload.as_bytes(), Limits::default()).unwrap();
    let trail = Envelope::read(&payload).trail();
    assert_eq!(trail.trace.unwrap().to_string(), trace);
    assert_eq!(trail.hops, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_message_is_not_handled_and_its_sender_is_told() {
    let stage = Stage::set(r#"{ kind = "ack" }, { kind = "counter" }"#, "", "");
    let late = Header {
        exp: Some(now().minus_ms(1)),
        ack: Some(AckRequest::Done),
        ..header(2)
    };
    stage.send(2, text("too late", &late)).await;
    stage
        .until("its sender is told", |stage| stage.said().len() == 1)
        .await;
    assert_eq!(stage.said(), [r#"{"cmd":"ACK","status":"EXPIRED"}"#]);
    let states: Vec<String> = stage.inbox().into_iter().map(|item| item.state).collect();
    assert_eq!(states, ["expired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_asks_is_told_of_receipt_and_outcome() {
    let stage = Stage::set(r#"{ kind = "ack" }, { kind = "moody" }"#, "", "");
    let asking = |ack| Header {
        ack: Some(ack),
        ..header(2)
    };
    let done = asking(AckRequest::Done);
    stage.send(2, text("say hello", &done)).await;
    stage
        .until("RECEIVED, the answer and DONE", |stage| {
            stage.said().len() == 3
        })
        .await;
    let said = stage.said();
    for wanted in [
        r#"{"cmd":"ACK","status":"RECEIVED"}"#,
        r#""did: say hello""#,
        r#"{"cmd":"ACK","status":"DONE"}"#,
    ] {
        assert!(said.iter().any(|found| found == wanted), "{said:?}");
    }
    stage.send(2, text("fail", &asking(AckRequest::Done))).await;
    stage
        .until("FAILED is told", |stage| {
            stage.said().iter().any(|said| said.contains("FAILED"))
        })
        .await;
    // A sender that asked only for receipt is not told the rest.
    let before = stage.said().len();
    stage
        .send(
            3,
            text(
                "say hi",
                &Header {
                    key: Some(key(3).public_key()),
                    ..asking(AckRequest::Received)
                },
            ),
        )
        .await;
    stage
        .until("RECEIVED and the answer", |stage| {
            stage.said().len() == before + 2
        })
        .await;
    stage.blocks(3).await;
    assert_eq!(stage.said().len(), before + 2);
}

/// A second agent, which asks the first one.
fn asker(within_ms: u64, resends: u32) -> String {
    format!(
        "[[agent]]\nname = \"asker\"\nwallet = \"other\"\nbehaviours = [{{ kind = \"asker\", \
         to = \"{}\", within_ms = {within_ms}, resends = {resends} }}]",
        address(1)
    )
}

/// Posts a text to the second agent.
async fn ask(stage: &Stage, text: &str) {
    stage.send_to(2, address(20), Json::string(text)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_learns_each_stage_of_a_message_once_and_in_order() {
    let behaviours = r#"{ kind = "ack" }, { kind = "counter" }"#;
    let stage = Stage::with_tables(behaviours, "", "", &asker(60_000, 3));
    ask(&stage, "well").await;
    stage
        .until("all updates are known", |stage| {
            updates(stage, "well")
                .last()
                .is_some_and(|update| update == "done")
        })
        .await;
    // Acknowledgments are transactions, and a block may contain DONE before RECEIVED: an update
    // that arrives too late is not delivered.
    let known = updates(&stage, "well");
    assert!(
        known == ["mined", "received", "done"] || known == ["mined", "done"],
        "{known:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unacknowledged_message_is_resent_and_handled_once() {
    let stage = Stage::with_tables(r#"{ kind = "counter" }"#, "", "", &asker(300, 2));
    ask(&stage, "hello?").await;
    stage
        .until("it is no longer retried", |stage| {
            updates(stage, "hello?")
                .last()
                .is_some_and(|update| update == "unacknowledged")
        })
        .await;
    assert_eq!(updates(&stage, "hello?"), ["mined", "unacknowledged"]);
    let asked: Vec<_> = stage
        .outbox()
        .into_iter()
        .filter(|item| item.to == address(1).to_string())
        .collect();
    assert_eq!(asked.len(), 3, "once, and twice again");
    assert!(asked.iter().all(|item| item.payload == asked[0].payload));
    let counted = stage
        .said()
        .iter()
        .filter(|said| said.contains("count"))
        .count();
    assert_eq!(counted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgment_counts_only_from_the_recipient() {
    let stage = Stage::with_tables("", "", "", &asker(60_000, 0));
    ask(&stage, "to whom?").await;
    stage
        .until("the question is mined", |stage| {
            updates(stage, "to whom?") == ["mined"]
        })
        .await;
    let question = stage.outbox().pop().unwrap();
    let re = Some(question.transaction.unwrap().parse().unwrap());
    let done = KnownCommand::Ack(Ack {
        status: AckStatus::Done,
        detail: None,
    });
    // Wallet 3 was not asked.
    let lie = compose(&done.to_payload(), Some(&Header { re, ..header(3) })).unwrap();
    stage.send_to(3, address(20), lie).await;
    stage
        .until("the false acknowledgment is handled", |stage| {
            stage.inbox().iter().any(|item| {
                item.state == "handled"
                    && item
                        .reason
                        .as_deref()
                        .is_some_and(|reason| reason.contains("answers nothing"))
            })
        })
        .await;
    assert_eq!(updates(&stage, "to whom?"), ["mined"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_fires_once_even_if_the_runtime_was_down() {
    let mut stage = Stage::set(r#"{ kind = "alarm" }"#, "", "");
    stage.say(2, "in 86400000").await;
    stage
        .until("it was heard", |stage| {
            stage.inbox().iter().any(|item| item.state == "handled")
        })
        .await;
    // Set again under the same name, it replaces the first timer.
    stage.say(2, "in 1500").await;
    stage
        .until("it was heard again", |stage| {
            stage
                .inbox()
                .iter()
                .filter(|item| item.state == "handled")
                .count()
                == 2
        })
        .await;
    stage.stop();
    stage.start();
    stage
        .until("it is time", |stage| stage.said() == [r#""it is time""#])
        .await;
    stage.blocks(3).await;
    assert_eq!(stage.said().len(), 1);
}

/// A sealed text of a wallet to the agent.
fn sealed(from: u8, secret: &str, to: &EncryptionKey) -> Json {
    let (from_address, to_address) = (address(from), address(1));
    let binding = Binding {
        chain_id: "ait-devnet",
        from: &from_address,
        to: &to_address,
    };
    let sealed = sealing::seal(&Payload::Text(secret.to_owned()), to, binding).unwrap();
    compose(
        &KnownCommand::Sealed(sealed).to_payload(),
        Some(&header(from)),
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_message_is_answered_under_seal_and_no_other_sender_can_use_it() {
    let contact = format!(
        "[[contact]]\nname = \"friend\"\naddress = \"{}\"\nenc_key = \"{}\"",
        address(2),
        decryption(2).encryption_key()
    );
    let stage = Stage::with_tables(r#"{ kind = "confidant" }"#, "", "", &contact);
    let secret = sealed(2, "the cellar", &decryption(1).encryption_key());
    // Another sender posts the ciphertext under its own key.
    let stolen = {
        let Payload::Command(command) = Envelope::read(&secret).payload else {
            panic!("it is a command");
        };
        compose(&Payload::Command(command), Some(&header(3))).unwrap()
    };
    stage.send(3, stolen).await;
    stage.send(2, Json::string("not sealed")).await;
    stage
        .send(2, text("verified, and not sealed", &header(2)))
        .await;
    let asked = stage.send(2, secret).await;
    stage
        .until("it is answered", |stage| stage.said().len() == 1)
        .await;
    stage.blocks(3).await;
    let answer = stage.outbox().pop().unwrap();
    assert_eq!(stage.outbox().len(), 1);
    assert_eq!(answer.to, address(2).to_string());
    assert!(!answer.payload.contains("cellar"));
    let payload = Json::parse(answer.payload.as_bytes(), Limits::default()).unwrap();
    let envelope = Envelope::read(&payload);
    assert_eq!(envelope.header().unwrap().re, Some(asked));
    let Payload::Command(command) = envelope.payload else {
        panic!("it is a command");
    };
    let Some(KnownCommand::Sealed(sealed)) = KnownCommand::read(&command).unwrap() else {
        panic!("it is sealed");
    };
    let (from, to): (Address, Address) = (address(1), address(2));
    let binding = Binding {
        chain_id: "ait-devnet",
        from: &from,
        to: &to,
    };
    let opened = sealing::open(
        &sealed,
        &decryption(2),
        binding,
        agentry_protocol::Authenticity::Verified,
    );
    assert_eq!(opened, Ok(Payload::Text("the cellar".to_owned())));
    let stolen = stage
        .inbox()
        .into_iter()
        .find(|item| item.from == address(3).to_string());
    assert!(stolen.unwrap().reason.unwrap().contains("does not open"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_over_its_rate_waits_and_lets_the_others_pass() {
    let stage = Stage::set(
        r#"{ kind = "strict" }"#,
        "",
        "per_sender_rate = \"3/h\"\nmax_wait = \"1h\"",
    );
    for number in 0..20 {
        stage
            .send(2, text(&format!("flood {number}"), &header(2)))
            .await;
    }
    stage
        .until("three of them are answered", |stage| {
            stage.said().len() == 3
        })
        .await;
    stage.send(3, text("just one", &header(3))).await;
    stage
        .until("the other is answered", |stage| {
            stage.said().iter().any(|said| said.contains("just one"))
        })
        .await;
    stage.blocks(3).await;
    assert_eq!(stage.said().len(), 4);
    let waiting = stage
        .inbox()
        .iter()
        .filter(|item| item.state == "waiting")
        .count();
    assert_eq!(waiting, 17, "nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn unverified_senders_spend_at_most_a_tenth() {
    let asker = asker(60_000, 0).replace(
        "wallet = \"other\"",
        // A tenth is 50 AIT: five messages.
        "wallet = \"other\"\ndaily_budget = 500",
    );
    let stage = Stage::with_tables(r#"{ kind = "counter" }"#, "", "", &asker);
    for number in 0..8 {
        ask(&stage, &format!("stranger {number}")).await;
    }
    stage
        .until("three of eight wait for the budget", |stage| {
            let held = |item: &agentry_store::list::OutboxItem| {
                item.state == "queued" && item.to == address(1).to_string()
            };
            stage.outbox().iter().filter(|item| held(item)).count() == 3
        })
        .await;
    // A verified sender is not held up by them.
    let verified = text("verified", &header(3));
    stage.send_to(3, address(20), verified).await;
    stage
        .until("the verified sender's is sent", |stage| {
            updates(stage, "verified") == ["mined"]
        })
        .await;
}

/// The number of messages that each of two agents has sent, where both answer every message.
async fn chatter(keys: &str, over: impl Fn(&Stage) -> bool) -> usize {
    let other = format!(
        "[[agent]]\nname = \"other\"\nwallet = \"other\"\n{keys}\n\
         behaviours = [{{ kind = \"chatterbox\" }}]"
    );
    let stage = Stage::with_tables(r#"{ kind = "chatterbox" }"#, "", keys, &other);
    let first = Header {
        key: Some(key(20).public_key()),
        ..header(20)
    };
    // Sent in the other agent's name, with its signature: the agent answers it, it answers the
    // agent, …
    stage.send(20, text("nice weather", &first)).await;
    stage.until("they have talked", over).await;
    stage.blocks(10).await;
    stage
        .outbox()
        .iter()
        .filter(|item| item.state == "mined" || item.state == "final")
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_that_answer_everything_are_stopped_by_the_budget() {
    // 100 AIT are ten messages of each.
    let sent = chatter("daily_budget = 100", |stage| {
        let waits = |item: &agentry_store::list::OutboxItem| item.state == "queued";
        stage.outbox().iter().any(waits)
    })
    .await;
    assert!((10..=20).contains(&sent), "{sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_that_answer_everything_are_slowed_by_the_rate() {
    let keys = "per_sender_rate = \"5/h\"";
    let sent = chatter(keys, |stage| {
        let waits = stage
            .inbox()
            .iter()
            .filter(|item| item.state == "waiting")
            .count();
        stage.outbox().len() >= 9 && waits > 0
    })
    .await;
    assert!((9..=10).contains(&sent), "{sent}");
}
