//! How an agent handles its messages.

use super::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn each_message_is_answered_once_in_order_also_across_restarts() {
    let mut stage = Stage::set(r#"{ kind = "counter" }"#, "", "");
    for _ in 0..3 {
        stage.say(2, "one more").await;
    }
    stage
        .until("three answers", |stage| stage.said().len() == 3)
        .await;
    stage.stop();
    stage.say(2, "while it is away").await;
    stage.blocks(2).await;
    stage.start();
    stage
        .until("a fourth answer", |stage| stage.said().len() == 4)
        .await;
    stage.blocks(3).await;
    let expected: Vec<String> = (1..=4).map(|count| format!("\"count {count}\"")).collect();
    assert_eq!(
        stage.said(),
        expected,
        "its state was kept, and nothing was answered twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_behaviours_see_a_message_in_the_configured_order() {
    let behaviours = r#"{ kind = "pong", trigger = "ping" },
        { kind = "counter", name = "first" }, { kind = "counter", name = "second" }"#;
    let stage = Stage::set(behaviours, "", "");
    stage.say(2, "ping").await;
    stage
        .until("three answers", |stage| stage.said().len() == 3)
        .await;
    assert_eq!(stage.said(), [r#""pong""#, r#""count 1""#, r#""count 1""#]);
    let origins: Vec<String> = stage.outbox().into_iter().map(|item| item.origin).collect();
    let message = origins[0].strip_suffix("/pong/0").unwrap();
    let wanted = ["pong", "first", "second"].map(|name| format!("{message}/{name}/0"));
    assert_eq!(origins, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_no_behaviour_accepts_is_handled_without_an_answer() {
    let stage = Stage::set(r#"{ kind = "pong" }"#, "", "");
    stage.say(2, "good morning").await;
    stage
        .until("it is handled", |stage| {
            stage.inbox().iter().any(|item| item.state == "handled")
        })
        .await;
    assert!(stage.outbox().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transient_failure_is_retried_and_a_permanent_one_is_a_dead_letter() {
    let stage = Stage::set(r#"{ kind = "moody" }"#, "", "");
    stage.say(2, "fail 2 times").await;
    stage.say(3, "fail").await;
    stage
        .until("the third attempt succeeds", |stage| {
            stage.said().len() == 1
        })
        .await;
    assert_eq!(stage.said(), [r#""did: fail 2 times""#]);
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
    assert_eq!(dead.reason.as_deref(), Some("moody: I do not want to"));
    assert_eq!(dead.attempts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_end() {
    let stage = Stage::set(r#"{ kind = "moody" }"#, "", "attempts = 2");
    stage.say(2, "fail 2 times").await;
    stage
        .until("a dead letter", |stage| {
            stage.inbox().iter().any(|item| item.state == "dead")
        })
        .await;
    assert_eq!(stage.inbox()[0].attempts, 2);
    assert!(stage.outbox().is_empty());
}
