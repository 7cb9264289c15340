//! A behaviour that misbehaves affects only its own message.

use super::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failed_attempt() {
    let stage = Stage::set(r#"{ kind = "moody" }"#, "", "attempts = 1");
    stage.say(2, "panic").await;
    stage.say(3, "hello").await;
    stage
        .until("the other is answered", |stage| {
            stage.said() == [r#""did: hello""#]
        })
        .await;
    stage
        .until("a dead letter", |stage| {
            stage.inbox().iter().any(|item| item.state == "dead")
        })
        .await;
    let dead = stage
        .inbox()
        .into_iter()
        .find(|item| item.state == "dead")
        .unwrap();
    assert_eq!(
        dead.reason.as_deref(),
        Some("moody: panicked: as requested")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_accepts_is_a_failed_attempt() {
    let stage = Stage::set(
        r#"{ kind = "pong" }, { kind = "moody" }"#,
        "",
        "attempts = 1",
    );
    stage.say(2, "panic at the door").await;
    stage.say(3, "hello").await;
    stage
        .until("the other is answered", |stage| {
            stage.said() == [r#""did: hello""#]
        })
        .await;
    stage
        .until("a dead letter", |stage| {
            stage.inbox().iter().any(|item| item.state == "dead")
        })
        .await;
    let dead = stage
        .inbox()
        .into_iter()
        .find(|item| item.state == "dead")
        .unwrap();
    let reason = dead.reason.unwrap();
    assert!(reason.starts_with("moody: panicked: "), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_is_ended() {
    let stage = Stage::set(
        r#"{ kind = "moody" }"#,
        "",
        "attempts = 1\ntime_limit = \"200ms\"",
    );
    stage.say(2, "sleep").await;
    stage
        .until("a dead letter", |stage| {
            stage.inbox().iter().any(|item| item.state == "dead")
        })
        .await;
    let reason = stage.inbox()[0].reason.clone().unwrap();
    assert!(reason.contains("time_limit of 200ms"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_blocks_its_thread_is_left_behind_and_its_outcome_discarded() {
    let stage = Stage::set(
        r#"{ kind = "moody" }"#,
        "",
        "attempts = 1\ntime_limit = \"200ms\"",
    );
    stage.say(2, "block").await;
    stage
        .until("a dead letter", |stage| {
            stage.inbox().iter().any(|item| item.state == "dead")
        })
        .await;
    let reason = stage.inbox()[0].reason.clone().unwrap();
    assert!(reason.contains("did not yield"), "{reason}");
    stage.say(3, "hello").await;
    stage
        .until("others are answered", |stage| {
            stage.said() == [r#""did: hello""#]
        })
        .await;
}
