//! Complete conversations on a simulated chain: a job as its submitter sees it.

use std::path::Path;

use agentry_behaviours::ack::Acknowledger;
use agentry_sdk::TaskOutput;
use agentry_sdk::protocol::command::{AckStatus, ExecuteAiJob};
use agentry_sdk::protocol::{AckRequest, KnownCommand, MessageId, TransactionHash};
use agentry_sdk::testing::{Agent, MessageBuilder, Party, START, Simulation, TaskPlan, TaskState};
use serde_json::json;

use crate::tasks::Echo;

/// A worker that does the jobs of Alice and Bob, and acknowledges them.
fn worker(chain: &mut Simulation) -> (Party, Party) {
    let registry = agentry_behaviours::builtins().with_executor::<Echo>();
    let settings = json!({ "allow": ["alice", "bob"], "types": { "say": { "executor": "echo" } } });
    let alice = chain.peer("alice");
    let agent = Agent::named("worker")
        .with::<Acknowledger>(json!({}))
        .with_kind(&registry, "tasks", "tasks", settings, Path::new(""));
    let worker = chain.host(agent);
    (alice, worker)
}

fn job(from: &Party) -> MessageBuilder {
    let job = KnownCommand::ExecuteAiJob(ExecuteAiJob {
        kind: "say".parse().unwrap(),
        prompt: Some("hello".parse().unwrap()),
        model: None,
        params: None,
        deadline: None,
    });
    from.command(&job).with_id().ack(AckRequest::Done)
}

/// The answers, in order: the status of an ACK, the result or code of a job's end.
fn told(chain: &Simulation, to: &Party, about: TransactionHash) -> Vec<String> {
    let answers = chain.sent_to(to);
    let answers = answers.iter().filter(|sent| sent.re == Some(about));
    let told = answers.map(|sent| match sent.command().unwrap().unwrap() {
        KnownCommand::Ack(ack) => ack.status.to_string(),
        KnownCommand::JobComplete(complete) => format!("result {}", complete.result.text()),
        KnownCommand::JobFailed(failed) => format!("failed {}", failed.error.code),
        other => other.name().to_owned(),
    });
    told.collect()
}

#[tokio::test]
async fn a_job_is_acknowledged_done_and_answered_once() {
    let mut chain = Simulation::new(1);
    let (alice, worker) = worker(&mut chain);
    chain.crash_before_commit(&worker);
    let asked = chain.deliver(job(&alice)).await;
    chain.replay(asked);
    chain.resend(asked);
    chain.restart();
    chain.settle().await;
    let mut told = told(&chain, &alice, asked);
    // The result and its acknowledgment come from two behaviours, in either order.
    told.sort();
    assert_eq!(told, ["DONE", "RECEIVED", "result hello"]);
    assert!(chain.dead_letters().is_empty());
}

#[tokio::test]
async fn a_canceled_job_is_answered() {
    let mut chain = Simulation::new(1);
    let (alice, worker) = worker(&mut chain);
    let mallory = chain.peer("mallory");
    chain.plan_tasks(|_| TaskPlan::Hang);
    let asked = chain.deliver(job(&alice)).await;
    let cancel = |from: &Party| from.command(&KnownCommand::CancelJob).answering(asked);

    chain.deliver(cancel(&mallory)).await;
    let [(_, state)] = chain.tasks(&worker).try_into().unwrap();
    assert_eq!(state, TaskState::Working);
    assert_eq!(told(&chain, &alice, asked), [AckStatus::Received.as_str()]);

    chain.deliver(cancel(&alice)).await;
    let mut told = told(&chain, &alice, asked);
    told.sort();
    assert_eq!(told, ["FAILED", "RECEIVED", "failed canceled"]);
}

#[tokio::test]
async fn a_job_that_is_refused_is_rejected() {
    let mut chain = Simulation::new(1);
    let (_, worker) = worker(&mut chain);
    let mallory = chain.peer("mallory");
    let asked = chain.deliver(job(&mallory)).await;
    let mut told = told(&chain, &mallory, asked);
    told.sort();
    assert_eq!(told, ["RECEIVED", "REJECTED", "failed not-allowed"]);
    assert!(chain.tasks(&worker).is_empty());
}

#[tokio::test]
async fn an_id_that_another_sender_used_first_does_not_block_a_job() {
    let mut chain = Simulation::new(1);
    let (alice, worker) = worker(&mut chain);
    let bob = chain.peer("bob");
    let id = MessageId::new(START, [7; 10]);
    chain.plan_tasks(|task| {
        let submitter = task.submitter.as_ref().map(ToString::to_string);
        TaskPlan::Complete(TaskOutput::text(submitter.unwrap_or_default()))
    });
    for asker in [&bob, &alice] {
        let asked = chain.deliver(job(asker).id(id)).await;
        let expected = format!("result {}", asker.address);
        assert!(told(&chain, asker, asked).contains(&expected));
    }
    assert_eq!(chain.tasks(&worker).len(), 2);
}
