//! Messages that a restored store would send again and that the chain already shows.

use agentry_core::commit::{Observation, Outcome, Step, TimerSetting};
use agentry_core::rows::{Draft, EventRef, Prepared};
use agentry_core::{AgentId, Changes, Commit, EventId, InboxId, OutboxId, SendResult};
use agentry_protocol::command::{Ack, AckStatus};
use agentry_protocol::{
    Amount, BlockHeight, Header, Json, KnownCommand, MessageId, Nonce, Payload, Timestamp,
    TransactionHash, message,
};
use agentry_store::list::{self, Filter, OutboxItem};
use agentry_store::{Store, read};

use super::{address, arrival, draft, outcome, own, prepared, store};

const AGENT: AgentId = AgentId(1);

/// When the transactions of these tests were seen.
const SEEN: Timestamp = Timestamp::new(1_000);

/// A commit of what is read before agents act, when the outbox has `mark` rows.
fn read_back(steps: Vec<Step>, mark: i64) -> Commit {
    Commit::Observe(Observation {
        steps,
        cursor: serde_json::json!({ "height": 1 }),
        final_through: None,
        catching_up: Some(OutboxId(mark)),
        at: SEEN,
    })
}

/// A draft to the wallet 9.
fn says(origin: &str, payload: Json) -> Draft {
    Draft::new(origin.to_owned(), address(9), Amount(10), payload)
}

/// A sighting of a draft's signed bytes in a block.
fn seen(draft: &Draft, nonce: u64, height: u64) -> Step {
    let signed = prepared(1, draft, nonce);
    Step::Sighting {
        agent: AGENT,
        hash: signed.hash,
        own: Some(own(&signed)),
        height: BlockHeight(height),
        block_hash: None,
    }
}

fn question(text: &str, height: u64) -> (Step, TransactionHash) {
    let arrival = arrival(AGENT, 1, 9, text, height);
    let hash = arrival.hash;
    (Step::Arrival(arrival), hash)
}

/// A message with a header. Two runs of a behaviour give it different ids.
fn answer(payload: &Payload, re: Option<TransactionHash>, id: u64) -> Json {
    let header = Header {
        id: Some(MessageId::generate(Timestamp::new(1_795_000_000_000 + id)).unwrap()),
        re,
        ..Header::default()
    };
    message::compose(payload, Some(&header)).unwrap()
}

fn ack(status: AckStatus) -> Payload {
    let detail = None;
    KnownCommand::Ack(Ack { status, detail }).to_payload()
}

/// Commits a behaviour's outcome for a message.
async fn act(store: &Store, inbox: i64, sends: Vec<(Draft, Option<Prepared>)>) -> Changes {
    let outcome = Outcome {
        sends,
        ..outcome(InboxId(inbox), 0, 9, "")
    };
    store.commit(Commit::Outcome(outcome)).await.unwrap()
}

fn on_chain(changes: &Changes) -> Vec<bool> {
    let is_on_chain = |sent: &SendResult| matches!(sent, SendResult::OnChain(_));
    changes.sends.iter().map(is_on_chain).collect()
}

async fn rows(store: &Store) -> Vec<OutboxItem> {
    let filter = Filter {
        limit: 20,
        ..Filter::default()
    };
    store
        .read(move |db| list::outbox(db, &filter))
        .await
        .unwrap()
}

#[tokio::test]
async fn plain_texts_are_recognised_by_their_order_and_once() {
    let (_dir, store, _) = store(1).await;
    let pong = |origin: &str| draft(origin, 9, "pong");
    let steps = vec![
        question("one", 5).0,
        seen(&pong("x"), 71, 6),
        question("two", 7).0,
        seen(&pong("x"), 72, 8),
        question("three", 9).0,
    ];
    store.commit(read_back(steps, 0)).await.unwrap();
    let mut found = Vec::new();
    for inbox in 1..=3 {
        let sends = vec![(pong(&format!("inbox/{inbox}/pong/0")), None)];
        found.extend(on_chain(&act(&store, inbox, sends).await));
    }
    assert_eq!(found, [true, true, false]);
    let rows = rows(&store).await;
    let at: Vec<_> = rows
        .iter()
        .map(|row| (row.nonce.map(Nonce::get), row.height))
        .collect();
    assert_eq!(
        at,
        [(Some(71), Some(6)), (Some(72), Some(8)), (None, None)],
        "the third was never answered"
    );
    // What was spent counts against today's budget.
    let spent = store.read(|db| read::spending(db, 0)).await.unwrap();
    assert_eq!(spent[0].3, Amount(20));
}

#[tokio::test]
async fn a_plain_text_from_before_the_question_answers_something_else() {
    let (_dir, store, _) = store(1).await;
    let steps = vec![seen(&draft("x", 9, "pong"), 71, 6), question("one", 7).0];
    store.commit(read_back(steps, 0)).await.unwrap();
    let sends = vec![(draft("inbox/1/pong/0", 9, "pong"), None)];
    assert_eq!(on_chain(&act(&store, 1, sends).await), [false]);
}

#[tokio::test]
async fn another_answer_to_the_same_question_is_the_same_answer() {
    let (_dir, store, _) = store(1).await;
    let (asked, re) = question("what is the time", 5);
    let before = answer(&Payload::Text("noon".to_owned()), Some(re), 1);
    let steps = vec![asked, seen(&says("x", before), 71, 6)];
    store.commit(read_back(steps, 0)).await.unwrap();
    let now = answer(&Payload::Text("one o'clock".to_owned()), Some(re), 2);
    let draft = says("inbox/1/pong/0", now);
    let signed = prepared(1, &draft, 99);
    let changes = act(&store, 1, vec![(draft, Some(signed))]).await;
    assert_eq!(on_chain(&changes), [true]);
    assert!(
        changes.recharged.is_empty(),
        "it was paid for when it was signed"
    );
    let row = rows(&store).await.remove(0);
    assert_eq!(
        (row.state.as_str(), row.nonce),
        ("mined", Some(Nonce::new(71)))
    );
    assert!(row.payload.contains("noon"), "{}", row.payload);
    assert_eq!(row.budget_day, Some(0));
}

#[tokio::test]
async fn a_draft_that_is_on_the_chain_with_another_text_leaves_none_of_its_size_behind() {
    let (_dir, store, _) = store(1).await;
    let (asked, re) = question("what is the time", 5);
    let before = answer(&Payload::Text("noon".to_owned()), Some(re), 1);
    let steps = vec![asked, seen(&says("x", before), 71, 6)];
    store.commit(read_back(steps, 0)).await.unwrap();
    let now = answer(&Payload::Text("one o'clock".to_owned()), Some(re), 2);
    let sends = vec![
        (says("inbox/1/pong/0", now), None),
        (draft("inbox/1/pong/1", 9, "still queued"), None),
    ];
    assert_eq!(on_chain(&act(&store, 1, sends).await), [true, false]);
    let (known, counted) = super::usage::usage(&store);
    assert_eq!(known, counted);
}

#[tokio::test]
async fn each_of_several_answers_finds_its_own_and_missing_ones_are_sent() {
    let (_dir, store, _) = store(1).await;
    let (asked, re) = question("both", 5);
    let text = |text: &str, id| answer(&Payload::Text(text.to_owned()), Some(re), id);
    let steps = vec![
        asked,
        seen(&says("x", text("two", 1)), 71, 6),
        seen(
            &says("x", answer(&ack(AckStatus::Received), Some(re), 2)),
            72,
            6,
        ),
    ];
    store.commit(read_back(steps, 0)).await.unwrap();
    let drafts = [
        text("one", 3),
        text("two", 4),
        answer(&ack(AckStatus::Received), Some(re), 5),
        answer(&ack(AckStatus::Done), Some(re), 6),
    ];
    let sends = drafts.into_iter().enumerate();
    let sends = sends.map(|(index, payload)| (says(&format!("inbox/1/a/{index}"), payload), None));
    let changes = act(&store, 1, sends.collect()).await;
    assert_eq!(on_chain(&changes), [false, true, true, false]);
}

#[tokio::test]
async fn a_message_has_one_final_acknowledgment() {
    let (_dir, store, _) = store(1).await;
    let (asked, re) = question("do it", 5);
    let done = answer(&ack(AckStatus::Done), Some(re), 1);
    let steps = vec![asked, seen(&says("x", done), 71, 6)];
    store.commit(read_back(steps, 0)).await.unwrap();
    // A run after the restore answers that the message has expired.
    let expired = answer(&ack(AckStatus::Expired), Some(re), 2);
    let sends = vec![(says("inbox/1/ack/0", expired), None)];
    assert_eq!(on_chain(&act(&store, 1, sends).await), [true]);
}

#[tokio::test]
async fn answers_to_other_recipients_or_with_other_amounts_differ() {
    let (_dir, store, _) = store(1).await;
    let (asked, re) = question("pay me", 5);
    let (_, other) = question("another", 5);
    let text = |re, id| answer(&Payload::Text("here".to_owned()), Some(re), id);
    let rich = Draft {
        amount: Amount(100),
        ..says("x", text(re, 1))
    };
    let steps = vec![
        asked,
        seen(&rich, 71, 6),
        seen(&says("x", text(other, 2)), 72, 6),
    ];
    store.commit(read_back(steps, 0)).await.unwrap();
    let sends = vec![(says("inbox/1/pong/0", text(re, 3)), None)];
    assert_eq!(on_chain(&act(&store, 1, sends).await), [false]);
}

#[tokio::test]
async fn what_is_seen_while_agents_act_is_claimed_by_its_bytes_alone() {
    let (_dir, store, _) = store(1).await;
    let (asked, _) = question("one", 5);
    let pong = draft("inbox/1/pong/0", 9, "pong");
    store
        .commit(super::observe(vec![asked, seen(&pong, 71, 6)]))
        .await
        .unwrap();
    let other = prepared(1, &pong, 72);
    let changes = act(&store, 1, vec![(pong, Some(other))]).await;
    assert_eq!(on_chain(&changes), [false]);
}

/// Sets a timer of a behaviour by a message in block 5. The timer is event 1.
async fn timer(store: &Store, set_at: Timestamp, due_at: Timestamp) {
    let (asked, _) = question("wake me", 5);
    store.commit(super::observe(vec![asked])).await.unwrap();
    let data = serde_json::Value::Null;
    let outcome = Outcome {
        timers: vec![("alarm".to_owned(), Some(TimerSetting { due_at, data }))],
        sends: Vec::new(),
        at: set_at,
        ..outcome(InboxId(1), 0, 9, "")
    };
    store.commit(Commit::Outcome(outcome)).await.unwrap();
}

#[tokio::test]
async fn what_a_timer_sends_is_recognised_if_the_timer_fired_before() {
    for (set_at, due_at, height, recognised) in [
        // It was in the backup, and fired before the chain was read again, or did not.
        (SEEN.minus_ms(2), SEEN.minus_ms(1), 6, true),
        (SEEN.minus_ms(2), SEEN.plus_ms(10_001), 6, false),
        // The node's clock is slightly behind.
        (SEEN.minus_ms(2), SEEN.plus_ms(9_000), 6, true),
        // The message that set it was read again.
        (SEEN.plus_ms(1), SEEN.plus_ms(9), 6, true),
        (SEEN.plus_ms(1), SEEN.plus_ms(9), 4, false),
    ] {
        let (_dir, store, _) = store(1).await;
        timer(&store, set_at, due_at).await;
        let said = |id| {
            let tick = Payload::Text("tick".to_owned());
            says("event/1/pong/0", answer(&tick, None, id))
        };
        let other = says("x", answer(&Payload::Text("tock".to_owned()), None, 8));
        let steps = vec![seen(&other, 70, height), seen(&said(1), 71, height)];
        store.commit(read_back(steps, 0)).await.unwrap();
        let outcome = Outcome {
            behaviour: Some("pong".to_owned()),
            sends: vec![(said(2), None)],
            ..Outcome::nothing(EventRef::Event(EventId(1)), 0, Timestamp::new(9_000))
        };
        let changes = store.commit(Commit::Outcome(outcome)).await.unwrap();
        assert_eq!(
            on_chain(&changes),
            [recognised],
            "{set_at} {due_at} {height}"
        );
    }
}

#[tokio::test]
async fn a_draft_queued_in_the_backup_and_sent_later_is_recognised_on_signing() {
    let (_dir, store, _) = store(1).await;
    let with_id = Draft {
        message_id: Some(MessageId::generate(Timestamp::new(1_795_000_000_000)).unwrap()),
        ..says("control/1", Json::string("to be replaced"))
    };
    let header = Header {
        id: with_id.message_id,
        ..Header::default()
    };
    let payload = message::compose(&Payload::Text("hello".to_owned()), Some(&header)).unwrap();
    let with_id = Draft { payload, ..with_id };
    let plain = says("control/2", Json::string("hello"));
    let later = says("control/3", Json::string("hello"));
    let send = async |draft: &Draft| {
        let commit = Commit::Send {
            token: None,
            agent: AGENT,
            draft: draft.clone(),
            prepared: None,
            at: Timestamp::new(1),
        };
        store.commit(commit).await.unwrap();
    };
    send(&with_id).await;
    send(&plain).await;
    let steps = vec![
        seen(&with_id, 71, 6),
        seen(&plain, 72, 6),
        seen(&plain, 73, 7),
    ];
    store.commit(read_back(steps, 2)).await.unwrap();
    // Requested after the start: the operator wants it sent once more.
    send(&later).await;
    let prepared = [(1, &with_id), (2, &plain), (3, &later)]
        .map(|(row, draft)| (OutboxId(row), prepared(1, draft, 90 + row.unsigned_abs())));
    let prepare = Commit::Prepare {
        prepared: prepared.to_vec(),
        at: Timestamp::new(2_000),
    };
    let changes = store.commit(prepare).await.unwrap();
    assert_eq!(on_chain(&changes), [true, true, false]);
    let nonces: Vec<_> = rows(&store)
        .await
        .iter()
        .map(|row| row.nonce.map(Nonce::get))
        .collect();
    assert_eq!(nonces, [Some(71), Some(72), Some(93)]);
}
