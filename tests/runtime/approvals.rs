//! Effects that wait for an operator.

use agentry::ops::approvals;
use agentry_store::list;
use agentry_store::open_for_reading;

use super::Stage;
use super::worker::Bench;

fn waiting(stage: &Stage) -> Vec<list::ApprovalItem> {
    list::approvals(&open_for_reading(&stage.store).unwrap(), None, 10).unwrap()
}

async fn decide(stage: &Stage, id: &str, granted: bool) {
    let decided = approvals::decide(id, granted, None, &stage.store).await;
    decided.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_wait_for_an_operator_across_restarts() {
    let mut stage = Stage::set(r#"{ kind = "pong", approve = ["reply"] }"#, "", "");
    for _ in 0..2 {
        stage.say(2, "ping").await;
    }
    stage
        .until("both answers wait", |stage| waiting(stage).len() == 2)
        .await;
    let [first, second] = &waiting(&stage)[..] else {
        panic!("two wait");
    };
    assert_eq!(
        (first.behaviour.as_str(), second.agent.as_str()),
        ("pong", "agent")
    );
    stage.stop();
    stage.start();
    stage.blocks(2).await;
    assert_eq!(stage.said(), Vec::<String>::new());
    decide(&stage, &first.id, true).await;
    decide(&stage, &second.id, false).await;
    stage
        .until("the granted answer is sent", |stage| {
            stage.said().len() == 1
        })
        .await;
    let outbox = stage.outbox();
    let denied = outbox.iter().find(|item| item.id == second.id).unwrap();
    assert_eq!(denied.state, "failed");
    assert_eq!(denied.reason.as_deref(), Some("an operator denied it"));
    assert!(waiting(&stage).is_empty());
    // Also without a runtime.
    stage.say(2, "ping").await;
    stage
        .until("another answer waits", |stage| waiting(stage).len() == 1)
        .await;
    stage.stop();
    let id = waiting(&stage)[0].id.clone();
    decide(&stage, &id, true).await;
    stage.start();
    stage
        .until("it is sent", |stage| stage.said().len() == 2)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_agent_names_waits_for_all_of_its_behaviours() {
    let stage = Stage::set(r#"{ kind = "pong" }"#, "", r#"approve = ["reply"]"#);
    stage.say(2, "ping").await;
    stage
        .until("the answer waits", |stage| waiting(stage).len() == 1)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_begins_when_it_is_granted_and_fails_when_it_is_denied() {
    let behaviour = r#"{ kind = "worker", bench = "approved", approve = ["start_task"] }"#;
    let mut stage = Stage::set(behaviour, "", "");
    let bench = Bench::named("approved");
    for text in ["a chat say", "b chat say"] {
        stage.say(2, text).await;
    }
    stage
        .until("both tasks wait", |stage| waiting(stage).len() == 2)
        .await;
    stage.stop();
    stage.start();
    stage.blocks(3).await;
    assert_eq!(bench.begun(), 0);
    let ids: Vec<String> = waiting(&stage).into_iter().map(|item| item.id).collect();
    decide(&stage, &ids[0], true).await;
    decide(&stage, &ids[1], false).await;
    let said = |stage: &Stage, text: &str| stage.said().contains(&format!("{text:?}"));
    stage
        .until("both have ended", |stage| {
            said(stage, "a completed: a said")
                && stage.said().iter().any(|said| said.contains("denied"))
        })
        .await;
    assert_eq!(bench.begun(), 1);
}
