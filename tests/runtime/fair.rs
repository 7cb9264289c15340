//! Fair sharing: no sender uses up the part of the others.

use agentry_protocol::{AckRequest, Header, Json, MessageId, Payload, compose};
use agentry_store::list::{self, Filter};
use agentry_store::open_for_reading;

use super::worker::Bench;
use super::{Stage, address, key, now};

/// `pong`, and acknowledgments: an answered message costs three transactions.
const ACKNOWLEDGED: &str = r#"{ kind = "pong" }, { kind = "ack" }"#;

/// A text of a verified sender that asks for an acknowledgment when it was handled.
fn asking(from: u8, text: &str) -> Json {
    let header = Header {
        id: Some(MessageId::generate(now()).unwrap()),
        key: Some(key(from).public_key()),
        ack: Some(AckRequest::Done),
        ..Header::default()
    };
    compose(&Payload::Text(text.to_owned()), Some(&header)).unwrap()
}

/// The number of transactions to a wallet that are in a block.
fn answers(stage: &Stage, to: u8) -> usize {
    let to = address(to).to_string();
    let mined = |state: &str| state == "mined" || state == "final";
    let outbox = stage.outbox();
    outbox
        .iter()
        .filter(|item| item.to == to && mined(&item.state))
        .count()
}

/// The reasons of the drafts that wait for a budget.
fn reasons(stage: &Stage) -> Vec<String> {
    let outbox = stage.outbox();
    let held = outbox.into_iter().filter(|item| item.waits_for_budget);
    held.filter_map(|item| item.reason).collect()
}

/// Whether so many messages were handled.
fn handled(stage: &Stage, count: usize) -> bool {
    let inbox = stage.inbox();
    inbox.iter().filter(|item| item.state == "handled").count() == count
}

/// A contact of a wallet.
fn contact(byte: u8) -> String {
    format!(
        "[[contact]]\nname = \"contact-{byte}\"\naddress = \"{}\"\n",
        address(byte)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn one_verified_stranger_spends_a_tenth_and_the_others_are_answered() {
    super::budget::await_a_day().await;
    let mut stage = Stage::set(ACKNOWLEDGED, "", "daily_budget = 600");
    for _ in 0..25 {
        stage.send(2, asking(2, "ping")).await;
    }
    stage
        .until("its share is used up", |stage| {
            answers(stage, 2) == 6 && reasons(stage).len() == 69
        })
        .await;
    let reason = reasons(&stage).swap_remove(0);
    let its_own = format!("{}, a stranger", address(2));
    assert!(
        reason.contains("60 of 60") && reason.contains(&its_own),
        "{reason}"
    );
    // Another stranger with the same standing, and a sender that cannot be verified.
    stage.send(3, asking(3, "ping")).await;
    stage.say(4, "ping").await;
    stage
        .until("the others are answered", |stage| {
            answers(stage, 3) == 3 && answers(stage, 4) == 1
        })
        .await;
    // A restart begins neither a new day nor a new sender.
    stage.stop();
    stage.start();
    stage.send(2, asking(2, "ping")).await;
    stage.send(5, asking(5, "ping")).await;
    stage
        .until("another is answered", |stage| answers(stage, 5) == 3)
        .await;
    stage
        .until("the next message's answers wait", |stage| {
            reasons(stage).len() == 72
        })
        .await;
    assert_eq!(answers(&stage, 2), 6);
    // The operator may raise the sender's standing.
    stage.stop();
    stage.edit("[[agent]]", &format!("{}[[agent]]", contact(2)));
    stage.start();
    stage.send(2, asking(2, "ping")).await;
    stage
        .until("a contact has more", |stage| answers(stage, 2) == 9)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_fresh_keys_spend_a_quarter_and_contacts_are_answered() {
    super::budget::await_a_day().await;
    let stage = Stage::with_tables(ACKNOWLEDGED, "", "daily_budget = 400", &contact(19));
    for sender in 2..12 {
        for _ in 0..2 {
            stage.send(sender, asking(sender, "ping")).await;
        }
    }
    let fresh = |stage: &Stage| (2..12).map(|sender| answers(stage, sender)).sum::<usize>();
    stage
        .until("their part is used up", |stage| {
            fresh(stage) == 10 && reasons(stage).len() == 50
        })
        .await;
    let together = reasons(&stage)
        .into_iter()
        .any(|reason| reason.contains("100 of 100") && reason.contains("a quarter"));
    assert!(together, "{:?}", reasons(&stage));
    // 200 AIT are reserved for a contact: six messages of 30 AIT.
    for _ in 0..6 {
        stage.send(19, asking(19, "ping")).await;
    }
    stage
        .until("a contact is answered", |stage| answers(stage, 19) == 18)
        .await;
    assert_eq!(fresh(&stage), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timers_messages_are_charged_to_the_sender_that_caused_it() {
    let stage = Stage::set(r#"{ kind = "alarm" }"#, "", "");
    stage.send(2, asking(2, "in 0")).await;
    stage
        .until("the timer has run out", |stage| answers(stage, 2) == 1)
        .await;
    stage.say(3, "in 0").await;
    stage
        .until("the timer has run out", |stage| answers(stage, 3) == 1)
        .await;
    let causes: Vec<_> = stage
        .outbox()
        .into_iter()
        .map(|item| (item.standing, item.brought_about_by))
        .collect();
    let wanted = [
        ("stranger".to_owned(), Some(address(2).to_string())),
        ("unverified".to_owned(), None),
    ];
    assert_eq!(causes, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_sets_itself_again_pauses_in_between() {
    let stage = Stage::set(r#"{ kind = "restless" }"#, "", "");
    stage.say(2, "go").await;
    let again = |stage: &Stage| {
        let filter = Filter {
            limit: 10,
            ..Filter::default()
        };
        let db = open_for_reading(&stage.store).unwrap();
        let events = list::events(&db, &filter).unwrap();
        events.into_iter().find(|event| event.data != "0")
    };
    stage
        .until("it was set again", |stage| again(stage).is_some())
        .await;
    let event = again(&stage).unwrap();
    assert!(
        event.due_at >= Some(event.made_at.plus_ms(1_000)),
        "{event:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_started_by_the_end_of_a_task_pauses_first() {
    let stage = Stage::set(r#"{ kind = "treadmill" }"#, "", "");
    stage.say(2, "go").await;
    let rests = |stage: &Stage| {
        let db = stage.sql();
        let of = "SELECT due_at - made_at FROM task WHERE attempts = 0 OR state = 'completed'
                  ORDER BY id";
        let mut rows = db.prepare(of).unwrap();
        let rests = rows.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        rests.collect::<Result<Vec<_>, _>>().unwrap()
    };
    stage
        .until("it goes round", |stage| rests(stage).len() >= 3)
        .await;
    let rests = rests(&stage);
    // A task that a message asks for begins immediately.
    assert_eq!(rests[0], 0);
    assert!(rests[1..].iter().all(|rest| *rest == 1_000), "{rests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_has_used_its_part_waits_for_room_and_loses_nothing() {
    let stage = Stage::set(r#"{ kind = "hoarder" }"#, "", "attempts = 1");
    let reason = |stage: &Stage, place: usize| {
        let inbox = stage.inbox();
        let item = inbox.get(place)?;
        (item.state == "waiting" && item.attempts == 0).then(|| item.reason.clone())?
    };
    // A stranger has room for a thousand timers.
    for name in ["a", "b", "c", "d"] {
        stage.send(2, asking(2, &format!("keep 250 {name}"))).await;
    }
    stage
        .until("the room is used up", |stage| handled(stage, 4))
        .await;
    stage.send(2, asking(2, "keep 1 more")).await;
    stage
        .until("it waits", |stage| reason(stage, 4).is_some())
        .await;
    let reason = reason(&stage, 4).unwrap();
    assert!(
        reason.starts_with("waits for room: ") && reason.contains("timers (1001 of 1000)"),
        "{reason}"
    );
    // Other senders are not affected.
    stage.send(3, asking(3, "keep 1 other")).await;
    stage
        .until("another is served", |stage| handled(stage, 5))
        .await;
    // A message that makes room is handled, and so is the one that waited for it.
    stage.send(2, asking(2, "drop 250 a")).await;
    stage
        .until("what waited is handled", |stage| handled(stage, 7))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_senders_tasks_let_another_senders_pass() {
    let bench = Bench::named("turns");
    let stage = Stage::set(r#"{ kind = "worker", bench = "turns" }"#, "", "");
    let open_tasks = |stage: &Stage| {
        let db = open_for_reading(&stage.store).unwrap();
        list::stats::stats(&db, None, 0).unwrap()[0]
            .tasks
            .values()
            .sum::<u64>()
    };
    for key in ["a", "b", "c", "d", "e"] {
        stage.send(2, asking(2, &format!("{key} chat gate"))).await;
    }
    stage
        .until("all are taken", |stage| open_tasks(stage) == 5)
        .await;
    stage.send(3, asking(3, "other chat gate")).await;
    stage
        .until("the other is taken", |stage| open_tasks(stage) == 6)
        .await;
    bench.open();
    stage
        .until("all are done", |stage| {
            answers(stage, 2) == 5 && answers(stage, 3) == 1
        })
        .await;
    // The task that was running then is done first.
    let outbox = stage.outbox();
    let place = outbox
        .iter()
        .position(|item| item.to == address(3).to_string());
    assert!(place.is_some_and(|place| place <= 1), "{outbox:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_without_room_makes_those_void_that_build_on_it() {
    let stage = Stage::set(r#"{ kind = "hoarder" }"#, "", "");
    let is_over =
        |stage: &Stage, count: usize| handled(stage, count) && stage.said().len() == count;
    for name in ["a", "b", "c", "d"] {
        stage.send(2, asking(2, &format!("keep 250 {name}"))).await;
    }
    stage
        .until("the room is used up", |stage| is_over(stage, 4))
        .await;
    // The agent pulls all of them together.
    stage.devnet.pause_mining();
    stage.send(2, asking(2, "keep 1 more")).await;
    for from in [3, 4, 5, 3, 4, 5] {
        stage.send(from, asking(from, "keep 1 x")).await;
    }
    stage.devnet.resume_mining();
    stage
        .until("the others are served", |stage| is_over(stage, 10))
        .await;
    stage.send(2, asking(2, "drop 250 a")).await;
    stage
        .until("all are served", |stage| is_over(stage, 12))
        .await;
    let mut said = stage.said();
    said.sort_by_key(String::len);
    let counted: Vec<_> = (1..=12)
        .map(|count| format!(r#""count {count}""#))
        .collect();
    said[..9].sort();
    said[9..].sort();
    assert_eq!(said, counted, "each message is counted once");
}
