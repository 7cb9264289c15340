//! Every kind keeps the laws that the runtime and other agents rely on.

use agentry_behaviours::ack::Acknowledger;
use agentry_behaviours::pong::Pong;
use agentry_behaviours::status::StatusReporter;
use agentry_behaviours::tasks::Tasks;
use agentry_sdk::protocol::command::{ExecuteAiJob, StatusReport};
use agentry_sdk::protocol::{AckRequest, Json, KnownCommand, Timestamp, TransactionHash};
use agentry_sdk::testing::{Contract, MessageBuilder, assert_behaviour_contract};
use serde_json::{Value, json};

use crate::tasks::Echo;

#[tokio::test]
async fn pong_keeps_the_laws() {
    for settings in [
        json!({}),
        json!({ "match": "contains", "trigger": "in", "reply": "here" }),
        json!({ "match": "regex", "trigger": "^p.ng$", "reply": "here" }),
    ] {
        let samples = [
            MessageBuilder::text("ping"),
            MessageBuilder::text("ping").unverified(),
            MessageBuilder::command(&KnownCommand::Ping),
            MessageBuilder::command(&KnownCommand::Ping).sealed(),
        ];
        let contract = Contract::of::<Pong>().settings(settings).samples(samples);
        assert_behaviour_contract(contract).await;
    }
}

#[tokio::test]
async fn status_keeps_the_laws() {
    let report = || KnownCommand::StatusReport(StatusReport::default());
    let samples = [
        MessageBuilder::command(&report()),
        MessageBuilder::command(&report()).sealed(),
    ];
    assert_behaviour_contract(Contract::of::<StatusReporter>().samples(samples)).await;
}

#[tokio::test]
async fn ack_keeps_the_laws() {
    let asking = |request| MessageBuilder::text("ping").with_id().ack(request);
    let samples = || {
        [
            asking(AckRequest::Received),
            asking(AckRequest::Done),
            asking(AckRequest::Done).expires_at(Timestamp::new(1)),
        ]
    };
    for detail in [true, false] {
        let contract = Contract::of::<Acknowledger>().settings(json!({ "detail": detail }));
        let alone = contract.clone().samples(samples());
        assert_behaviour_contract(alone).await;
        let beside = contract.samples(samples());
        let beside = beside.beside(|agent| agent.with::<Pong>(json!({})));
        assert_behaviour_contract(beside).await;
    }
}

fn tasks(settings: Value) -> Contract {
    let job = |kind: &str| {
        MessageBuilder::command(&KnownCommand::ExecuteAiJob(ExecuteAiJob {
            kind: kind.parse().unwrap(),
            prompt: Some("hello".parse().unwrap()),
            model: None,
            params: None,
            deadline: None,
        }))
    };
    let unreadable = Json::object([("cmd", Json::string("EXECUTE_AI_JOB"))]);
    let cancel = MessageBuilder::command(&KnownCommand::CancelJob);
    Contract::of::<Tasks>()
        .registry(agentry_behaviours::builtins().with_executor::<Echo>())
        .settings(settings)
        .samples([
            job("say"),
            job("say").with_id().ack(AckRequest::Done),
            job("say").sealed(),
            job("sing").with_id(),
            MessageBuilder::raw(unreadable),
            cancel.clone(),
            cancel.answering(TransactionHash::of(b"no such job")),
        ])
}

#[tokio::test]
async fn tasks_keeps_the_laws() {
    let say = json!({ "executor": "echo", "progress_every": "1s" });
    let everyone = json!({ "allow": ["*"], "types": { "say": say } });
    assert_behaviour_contract(tasks(everyone)).await;
    let some = json!({
        "allow": ["ann"], "allow_capability": "boss", "types": { "say": say },
        "seal_results": true, "inline_limit": 0, "max_jobs": 3
    });
    assert_behaviour_contract(tasks(some)).await;
}

#[tokio::test]
async fn tasks_and_ack_keep_the_laws_together() {
    let everyone = json!({ "allow": ["*"], "types": { "say": { "executor": "echo" } } });
    let beside = tasks(everyone).beside(|agent| agent.with::<Acknowledger>(json!({})));
    assert_behaviour_contract(beside).await;
}
