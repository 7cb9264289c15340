//! Clocks that are set back, jump, or are wrong at startup; and wake-ups that are lost.

use agentry_protocol::{AckRequest, Header, Json, MessageId, Payload, TransactionHash, compose};
use rusqlite::Connection;

use super::{PATIENCE, Stage, key, now};

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

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

async fn answered(stage: &Stage, count: usize) {
    stage
        .until(&format!("{count} answers"), |stage| {
            stage.said().len() == count
        })
        .await;
}

fn state_of(stage: &Stage, hash: TransactionHash) -> Option<String> {
    let mut inbox = stage.inbox().into_iter();
    let item = inbox.find(|item| item.transaction == hash.to_string())?;
    Some(item.state)
}

fn states(stage: &Stage) -> Vec<String> {
    stage.inbox().into_iter().map(|item| item.state).collect()
}

/// Another writer of the store, whose changes the runtime is not told of.
fn write_unnoticed(stage: &Stage, sql: &str) {
    let db = Connection::open(&stage.store).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    assert_eq!(db.execute(sql, []).unwrap(), 1, "{sql}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_delays_no_sender() {
    let stage = Stage::set(
        r#"{ kind = "counter" }"#,
        "",
        r#"per_sender_rate = "60/min""#,
    );
    stage.say(2, "one").await;
    answered(&stage, 1).await;
    for (by, count) in [(-HOUR, 2), (-40 * DAY, 3), (41 * DAY, 4), (-DAY, 5)] {
        stage.clock.shift(by);
        stage.say(2, "one more").await;
        answered(&stage, count).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_not_extended_by_setting_the_clock_back() {
    let mut stage = Stage::set(r#"{ kind = "moody" }, { kind = "alarm" }"#, "", "");
    // Retries after at least half a second and a second, and a timer.
    stage.say(2, "fail 2 times").await;
    stage.say(3, "in 2000").await;
    stage
        .until("the first attempt and the timer", |stage| {
            let is_set = stage.inbox().iter().any(|item| item.state == "handled");
            is_set && stage.inbox().iter().any(|item| item.attempts > 0)
        })
        .await;
    stage.clock.shift(-HOUR);
    stage
        .until("both come", |stage| {
            let said = stage.said();
            said.contains(&r#""did: fail 2 times""#.to_owned())
                && said.contains(&r#""it is time""#.to_owned())
        })
        .await;
    // Also if it is set back between two runs.
    stage.say(3, "in 3000").await;
    stage
        .until("the timer is set", |stage| states(stage) == ["handled"; 3])
        .await;
    stage.stop();
    stage.start_off(-40 * DAY);
    stage
        .until("it comes again", |stage| {
            let times = |said: &String| said.contains("it is time");
            stage.said().into_iter().filter(times).count() == 2
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_a_clock_far_ahead_repeats_and_loses_nothing() {
    let mut stage = Stage::set(
        r#"{ kind = "ack" }, { kind = "counter" }"#,
        "",
        r#"per_sender_rate = "60/min""#,
    );
    let first = header(2);
    stage.send(2, text("once", &first)).await;
    answered(&stage, 1).await;
    stage.stop();
    // Forty days: rows kept for thirty would be pruned, and everything has expired.
    stage.start_off(40 * DAY);
    stage.send(3, text("fresh", &header(3))).await;
    answered(&stage, 2).await;
    let soon = Header {
        exp: Some(now().plus_ms(600_000)),
        ack: Some(AckRequest::Done),
        ..header(4)
    };
    let soon = stage.send(4, text("in ten minutes", &soon)).await;
    stage
        .until("it is seen", |stage| state_of(stage, soon).is_some())
        .await;
    // Other messages pass it; by the local clock it has expired, which nothing confirms.
    stage.say(5, "plain").await;
    answered(&stage, 3).await;
    stage.blocks(3).await;
    assert_eq!(state_of(&stage, soon).unwrap(), "waiting");
    stage.stop();
    stage.start();
    stage
        .until("it is handled", |stage| {
            state_of(stage, soon).unwrap() == "handled"
        })
        .await;
    // The answer, and two acknowledgments.
    answered(&stage, 6).await;
    stage.send(2, text("once", &first)).await;
    stage.say(6, "the last").await;
    answered(&stage, 7).await;
    stage.blocks(3).await;
    assert_eq!(stage.said().len(), 7, "the first was not answered again");
    assert_eq!(stage.inbox().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_wake_up_only_delays_what_is_due() {
    let stage = Stage::set(r#"{ kind = "counter" }, { kind = "alarm" }"#, "", "");
    let one = stage.say(2, "one").await;
    answered(&stage, 1).await;
    stage.say(3, "in 3600000").await;
    stage
        .until("the timer is set", |stage| states(stage) == ["handled"; 2])
        .await;
    // The agent sleeps, and nothing wakes it.
    write_unnoticed(&stage, "UPDATE event SET due_at = 0 WHERE kind = 'timer'");
    stage
        .until("the timer comes", |stage| {
            stage.said().contains(&r#""it is time""#.to_owned())
        })
        .await;
    let sql = "UPDATE inbox SET state = 'waiting', settled_at = NULL, attempts = 1 WHERE id = 1";
    write_unnoticed(&stage, sql);
    stage
        .until("the message is handled", |stage| {
            state_of(stage, one).unwrap() == "handled"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_messages_continue_after_a_start_that_reads_the_chain_again() {
    let mut stage = Stage::set(
        r#"{ kind = "counter" }"#,
        "",
        r#"per_sender_rate = "1/min""#,
    );
    stage.say(2, "one").await;
    stage.say(2, "two").await;
    stage
        .until("one is answered, the other waits", |stage| {
            stage.said().len() == 1 && states(stage).contains(&"waiting".to_owned())
        })
        .await;
    stage.stop();
    // For a new agent the chain is read again from its beginning. The rate buckets are full again.
    stage.edit(
        "[[agent]]\nname = \"agent\"",
        "[[agent]]\nname = \"new\"\nwallet = \"other\"\nbehaviours = [{ kind = \"pong\" }]\n\
         [[agent]]\nname = \"agent\"",
    );
    stage.devnet.pause_mining();
    stage.start();
    stage
        .until("the other is answered", |stage| {
            states(stage) == ["handled", "handled"]
        })
        .await;
}
