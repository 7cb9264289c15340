//! The pool that runs tasks.

use agentry::runtime::control::Client;
use agentry_core::rows::TaskId;
use agentry_protocol::{Header, Payload, compose};
use agentry_store::list::task::{self, ExecutingFilter, ExecutingItem};
use agentry_store::open_for_reading;

use super::worker::Bench;
use super::{Stage, key};

/// A runtime whose agent starts tasks, and the bench that controls them. `keys` are further keys of
/// the behaviour.
fn workshop(test: &str, keys: &str, tables: &str) -> (Stage, std::sync::Arc<Bench>) {
    let behaviour = format!(r#"{{ kind = "worker", bench = "{test}"{keys} }}"#);
    (Stage::set(&behaviour, tables, ""), Bench::named(test))
}

/// As [`workshop`], with fifty tokens a day. Waits until no day is about to end.
async fn with_tokens(test: &str, keys: &str) -> (Stage, std::sync::Arc<Bench>) {
    super::budget::await_a_day().await;
    let behaviour = format!(r#"{{ kind = "worker", bench = "{test}"{keys} }}"#);
    let stage = Stage::set(&behaviour, "", "daily_tokens = 50");
    (stage, Bench::named(test))
}

/// Posts a text whose header verifies its sender: one sender's tasks do not wait for another's.
async fn ask(stage: &Stage, from: u8, text: &str) {
    let header = Header {
        key: Some(key(from).public_key()),
        ..Header::default()
    };
    let text = Payload::Text(text.to_owned());
    stage
        .send(from, compose(&text, Some(&header)).unwrap())
        .await;
}

fn tasks(stage: &Stage) -> Vec<ExecutingItem> {
    let db = open_for_reading(&stage.store).unwrap();
    let filter = ExecutingFilter {
        limit: 1000,
        ..ExecutingFilter::default()
    };
    task::executing(&db, &filter).unwrap()
}

fn task(stage: &Stage, key: &str) -> Option<ExecutingItem> {
    tasks(stage).into_iter().find(|item| item.key == key)
}

fn is(stage: &Stage, key: &str, state: &str) -> bool {
    task(stage, key).is_some_and(|item| item.state == state)
}

fn said(stage: &Stage, text: &str) -> bool {
    stage.said().contains(&format!("{text:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_done_and_its_end_is_reported_once() {
    let (mut stage, bench) = workshop("done", "", "");
    stage.say(2, "a chat say").await;
    stage
        .until("the result", |stage| said(stage, "a completed: a said"))
        .await;
    stage.stop();
    stage.start();
    stage.blocks(3).await;
    assert_eq!(stage.outbox().len(), 1);
    assert_eq!(bench.begun(), 1);
    let item = task(&stage, "a").unwrap();
    assert_eq!((item.state.as_str(), item.attempts), ("completed", 1));
    assert_eq!(item.result_bytes, Some(6));
    assert!(item.ended_at.is_some() && item.transaction.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transient_failure_leads_to_another_attempt() {
    let (stage, bench) = workshop("transient", ", attempts = 3", "");
    stage.say(2, "a chat away/2").await;
    stage
        .until("the third attempt", |stage| {
            said(stage, "a completed: at attempt 3")
        })
        .await;
    assert_eq!(bench.begun(), 3);
    assert_eq!(task(&stage, "a").unwrap().error_code, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_all_attempts_are_counted() {
    let (mut stage, bench) = workshop("tokens", ", attempts = 3", "");
    stage.say(2, "a chat use/20").await;
    stage.until("the second runs", |_| bench.begun() == 2).await;
    let tokens = |stage: &Stage| {
        let item = task(stage, "a").unwrap();
        (item.input_tokens, item.output_tokens)
    };
    assert_eq!(tokens(&stage), (1, 20));
    stage.stop();
    bench.open();
    stage.start();
    stage
        .until("the result", |stage| said(stage, "a completed: 21 before"))
        .await;
    // Of an attempt that ends with the process, nothing is known.
    assert_eq!(tokens(&stage), (2, 40));
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_wait_for_the_tokens_of_another_day_across_a_restart() {
    let (mut stage, bench) = with_tokens("budget", "").await;
    ask(&stage, 2, "a chat spend/30").await;
    stage
        .until("the first", |stage| said(stage, "a completed: spent"))
        .await;
    ask(&stage, 2, "b chat spend/30").await;
    // Tasks of other types and of other senders pass.
    ask(&stage, 2, "c quick say").await;
    ask(&stage, 3, "d chat spend/20").await;
    stage
        .until("others pass", |stage| {
            said(stage, "c completed: c said") && said(stage, "d completed: spent")
        })
        .await;
    let waits = |stage: &Stage| {
        let item = task(stage, "b").unwrap();
        (item.state.as_str(), item.attempts) == ("submitted", 0)
    };
    assert!(waits(&stage));
    // A task that waits costs nothing.
    let asked = bench.asked();
    stage.blocks(10).await;
    assert!(bench.asked() <= asked + 3, "{}", bench.asked());
    stage.stop();
    stage.start();
    ask(&stage, 4, "e quick say").await;
    stage
        .until("another is done", |stage| {
            said(stage, "e completed: e said")
        })
        .await;
    assert!(waits(&stage), "a restart is no new day");
    assert_eq!(bench.begun(), 4);
    stage.clock.shift(24 * 60 * 60 * 1000);
    // The pool does not notice that a clock is set before it looks again.
    ask(&stage, 5, "f quick say").await;
    stage
        .until("the next day", |stage| said(stage, "b completed: spent"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn running_tasks_reserve_their_tokens() {
    let (stage, bench) = with_tokens("reserve", ", concurrency = 2").await;
    ask(&stage, 2, "a chat hold/30").await;
    stage.until("the first runs", |_| bench.begun() == 1).await;
    ask(&stage, 2, "b chat spend/30").await;
    // It may be done today.
    ask(&stage, 3, "c chat spend/30 by 50000").await;
    stage
        .until("the others wait", |stage| tasks(stage).len() == 3)
        .await;
    stage.blocks(3).await;
    assert_eq!(bench.begun(), 1);
    // The first uses 5 of the 30: there is room for one of the others, and not for both.
    bench.open();
    stage
        .until("the third fails, or is done", |stage| {
            said(stage, "a completed: held")
                && (said(stage, "c failed: tokens") || said(stage, "c completed: spent"))
        })
        .await;
    stage.blocks(3).await;
    assert_eq!(bench.begun(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_cannot_have_its_tokens_fails() {
    let (stage, bench) = with_tokens("refused", "").await;
    ask(&stage, 2, "a chat spend/51").await;
    stage
        .until("it needs too many", |stage| said(stage, "a failed: tokens"))
        .await;
    let error = task(&stage, "a").unwrap().error.unwrap();
    assert!(error.contains("51") && error.contains("50"), "{error}");
    ask(&stage, 2, "b chat spend/40").await;
    ask(&stage, 2, "c chat spend/40 by 50000").await;
    stage
        .until("its deadline is before the next day", |stage| {
            said(stage, "c failed: tokens")
        })
        .await;
    assert!(said(&stage, "b completed: spent"));
    assert_eq!(bench.begun(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_end() {
    let (stage, bench) = workshop("attempts", ", attempts = 2", "");
    stage.say(2, "a chat away/9").await;
    stage.say(3, "b chat fail").await;
    stage
        .until("both fail", |stage| {
            said(stage, "a failed: away") && said(stage, "b failed: no")
        })
        .await;
    assert_eq!(bench.begun(), 3, "two attempts at one, one at the other");
    let error = task(&stage, "b").unwrap().error;
    assert_eq!(error.as_deref(), Some("it cannot be done"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failed_attempt() {
    let (stage, _) = workshop("panic", "", "");
    stage.say(2, "a chat panic").await;
    stage
        .until("it fails", |stage| said(stage, "a failed: panic"))
        .await;
    let error = task(&stage, "a").unwrap().error;
    assert_eq!(error.as_deref(), Some("panicked: as requested"));
    stage.say(3, "b chat say").await;
    stage
        .until("another is done", |stage| {
            said(stage, "b completed: b said")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_takes_too_long_is_dropped() {
    let (stage, bench) = workshop("timeout", ", attempts = 2, time_ms = 200", "");
    stage.say(2, "a chat hang").await;
    stage
        .until("it fails", |stage| said(stage, "a failed: timeout"))
        .await;
    assert_eq!((bench.begun(), bench.dropped()), (2, 2));
    assert_eq!(bench.over(), 1, "after the first attempt comes another");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_running_and_waiting_tasks() {
    let (stage, bench) = workshop("deadline", "", "");
    stage.say(2, "a chat hang by 3000").await;
    stage.until("the first runs", |_| bench.begun() == 1).await;
    stage.say(3, "b chat say by 10").await;
    stage
        .until("the second fails where it waits", |stage| {
            said(stage, "b failed: deadline")
        })
        .await;
    assert_eq!(task(&stage, "b").unwrap().attempts, 0);
    stage
        .until("the first fails", |stage| said(stage, "a failed: deadline"))
        .await;
    assert_eq!((bench.begun(), bench.dropped()), (1, 1));
    assert_eq!(bench.over(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_task_is_dropped_immediately() {
    let (stage, bench) = workshop("cancel", "", "");
    stage.say(2, "a chat hang").await;
    stage.until("it runs", |_| bench.begun() == 1).await;
    stage.say(3, "b chat hang").await;
    stage
        .until("another waits", |stage| is(stage, "b", "submitted"))
        .await;
    stage.say(2, "cancel b").await;
    stage.say(2, "cancel a").await;
    stage
        .until("both are canceled", |stage| {
            said(stage, "a canceled") && said(stage, "b canceled")
        })
        .await;
    stage.until("it is dropped", |_| bench.dropped() == 1).await;
    assert_eq!(bench.over(), 1);
    assert_eq!(
        bench.begun(),
        1,
        "a task that was canceled before it began does not begin"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_can_end_a_task() {
    let (stage, bench) = workshop("operator", "", "");
    stage.say(2, "a chat hang").await;
    stage.until("it runs", |_| bench.begun() == 1).await;
    let client = Client::new(&stage.store);
    assert!(client.cancel_task(TaskId(1)).await.unwrap());
    stage
        .until("its submitter is told", |stage| said(stage, "a canceled"))
        .await;
    stage.until("it is dropped", |_| bench.dropped() == 1).await;
    assert!(!client.cancel_task(TaskId(1)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_too_long_is_a_failure() {
    let (stage, _) = workshop("huge", "", "");
    stage.say(2, "a chat huge").await;
    stage
        .until("it fails", |stage| {
            said(stage, "a failed: output-too-large")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lane_does_not_hold_up_the_others() {
    let (stage, bench) = workshop("lanes", ", concurrency = 2", "[tasks]\nconcurrency = 3");
    for key in ["a", "b", "c", "d", "e"] {
        stage.say(2, &format!("{key} slow gate")).await;
    }
    stage
        .until("two of one kind run", |_| bench.begun() == 2)
        .await;
    stage
        .until("the others wait", |stage| tasks(stage).len() == 5)
        .await;
    stage.say(3, "f quick say").await;
    stage
        .until("another kind is done beside them", |stage| {
            said(stage, "f completed: f said")
        })
        .await;
    assert_eq!(bench.begun(), 3);
    bench.open();
    stage
        .until("all are done", |stage| stage.said().len() == 6)
        .await;
    assert!(bench.most() <= 3, "{}", bench.most());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pool_limits_concurrency() {
    let (stage, bench) = workshop("pool", ", concurrency = 8", "[tasks]\nconcurrency = 2");
    for key in ["a", "b", "c", "d"] {
        stage.say(2, &format!("{key} {key} gate")).await;
    }
    stage
        .until("two run", |stage| {
            bench.begun() == 2 && tasks(stage).len() == 4
        })
        .await;
    stage.blocks(3).await;
    assert_eq!(bench.begun(), 2);
    bench.open();
    stage
        .until("all are done", |stage| stage.said().len() == 4)
        .await;
    assert_eq!(bench.most(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_on_after_a_restart_and_is_answered_once() {
    let (mut stage, bench) = workshop("restart", "", "");
    stage.say(2, "a chat gate").await;
    stage.until("it runs", |_| bench.begun() == 1).await;
    stage.stop();
    assert_eq!(
        bench.dropped(),
        1,
        "a running task is dropped when the runtime stops"
    );
    assert_eq!(bench.over(), 0, "and goes on later");
    stage.start();
    stage.until("it runs again", |_| bench.begun() == 2).await;
    assert!(stage.said().is_empty());
    bench.open();
    stage
        .until("the result", |stage| {
            said(stage, "a completed: through the gate")
        })
        .await;
    stage.blocks(3).await;
    assert_eq!(stage.outbox().len(), 1);
    let item = task(&stage, "a").unwrap();
    assert_eq!((item.attempts, item.interrupted), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_stored_and_delivered() {
    let (stage, bench) = workshop("progress", ", progress_ms = 0", "");
    stage.say(2, "a chat report").await;
    stage
        .until("progress is delivered", |stage| {
            said(stage, "a is at 0.5: half of it")
        })
        .await;
    let item = task(&stage, "a").unwrap();
    assert_eq!((item.state.as_str(), item.progress), ("working", Some(0.5)));
    assert_eq!(item.note.as_deref(), Some("half of it"));
    bench.open();
    stage
        .until("the result", |stage| {
            said(stage, "a completed: through the gate")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_not_delivered_unasked() {
    let (stage, bench) = workshop("quiet", "", "");
    stage.say(2, "a chat report").await;
    stage
        .until("progress is stored", |stage| {
            task(stage, "a").is_some_and(|item| item.progress == Some(0.5))
        })
        .await;
    bench.open();
    stage
        .until("the result", |stage| {
            said(stage, "a completed: through the gate")
        })
        .await;
    assert_eq!(stage.outbox().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_waits_for_its_behaviour_to_come_back() {
    let (mut stage, bench) = workshop("gone", "", "");
    stage.say(2, "a chat gate").await;
    stage.until("it runs", |_| bench.begun() == 1).await;
    stage.stop();
    stage.edit("bench = \"gone\"", "name = \"another\", bench = \"gone\"");
    bench.open();
    stage.start();
    stage.say(3, "b chat say").await;
    stage
        .until("another is done", |stage| {
            said(stage, "b completed: b said")
        })
        .await;
    assert!(is(&stage, "a", "submitted"));
    stage.stop();
    stage.edit("name = \"another\", ", "");
    stage.start();
    stage
        .until("the result", |stage| {
            said(stage, "a completed: through the gate")
        })
        .await;
}
