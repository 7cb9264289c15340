//! What operators are told of, through webhooks.

use agentry_core::commit::{Outcome, QueueTarget, TaskEnd};
use agentry_core::rows::{Draft, EventRef, NoticeKind};
use agentry_core::state::notices::KEPT;
use agentry_core::{AgentId, Commit, InboxId, OutboxId, TaskId};
use agentry_protocol::Timestamp;

use super::{AGENT, FIRST, Stage, draft, job, outcome};

const AT: Timestamp = Timestamp::new(90_000_000);

fn webhooks(names: &[&str]) -> Commit {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Commit::SetWebhooks { names }
}

fn told(stage: &Stage) -> Vec<(NoticeKind, String)> {
    let notices = stage.state.notices().iter();
    notices
        .map(|notice| (notice.kind, notice.subject.clone()))
        .collect()
}

fn fail(message: InboxId, attempts: u32) -> Commit {
    Commit::Failure {
        event: EventRef::Inbox(message),
        attempts,
        reason: "broken".to_owned(),
        public: "failed".to_owned(),
        retry_at: None,
        again_at: None,
        watchers: Vec::new(),
        at: AT,
    }
}

fn hold(id: i64) -> Commit {
    Commit::Hold {
        held: vec![(OutboxId(id), "300 of 300 AIT are spent".to_owned())],
    }
}

fn send(origin: &str, unapproved: bool) -> Commit {
    Commit::Send {
        agent: AGENT,
        draft: Draft {
            unapproved,
            ..draft(origin, "hello")
        },
        prepared: None,
        token: None,
        at: AT,
    }
}

fn delivered(webhook: &str, through: i64) -> Commit {
    Commit::Delivered {
        webhook: webhook.to_owned(),
        through,
    }
}

#[test]
fn each_thing_that_happens_is_told_once() {
    let mut stage = Stage::new();
    // Nobody is told, so nothing is kept.
    stage.hear(1, 4);
    stage.apply(fail(FIRST, 0));
    assert_eq!(told(&stage), []);
    stage.apply(webhooks(&["pager"]));
    for _ in 0..2 {
        stage.hear(2, 5);
        stage.apply(fail(InboxId(2), 0));
        stage.apply(send("one", true));
        stage.apply(send("two", false));
        stage.apply(hold(2));
        stage.apply(Commit::Halt {
            reason: "another chain".to_owned(),
        });
    }
    stage.hear(3, 6);
    stage.apply(Commit::Outcome(Outcome {
        tasks: vec![job("a")],
        ..outcome(InboxId(3), "tasks")
    }));
    stage.apply(Commit::TaskEnd {
        task: TaskId(1),
        attempts: 0,
        end: TaskEnd::Failed {
            code: "broken".to_owned(),
            message: "broken".to_owned(),
            public: "failed".to_owned(),
        },
        used: None,
        duration_ms: 0,
        at: AT,
    });
    let named = |kind, subject: &str| (kind, subject.to_owned());
    assert_eq!(
        told(&stage),
        [
            named(NoticeKind::DeadLetter, "inbox/2"),
            named(NoticeKind::ApprovalWaiting, "outbox/1"),
            named(NoticeKind::BudgetLow, ""),
            named(NoticeKind::Halted, ""),
            named(NoticeKind::TaskFailed, "task/1"),
        ]
    );
    let first = stage.state.notices().get(&1).unwrap();
    assert_eq!((first.agent, first.at), (Some(AGENT), AT));
    assert_eq!(first.reason.as_deref(), Some("broken"));
}

#[test]
fn a_low_budget_is_told_once_a_day_and_what_an_operator_does_is_not_told() {
    let mut stage = Stage::new();
    stage.apply(webhooks(&["pager"]));
    let low = |agent, day| Commit::BudgetLow {
        agent: AgentId(agent),
        day,
        reason: "9 of 10 AIT are spent".to_owned(),
        at: AT,
    };
    for day in [1, 1, 2, 1] {
        stage.apply(low(AGENT.0, day));
    }
    // An agent that was never hosted.
    stage.apply(low(99, 3));
    assert_eq!(told(&stage).len(), 2);
    stage.apply(send("one", false));
    stage.apply(Commit::Drop {
        target: QueueTarget::Outbox(OutboxId(1)),
        at: AT,
    });
    assert_eq!(told(&stage).len(), 2);
}

#[test]
fn a_notice_is_kept_until_every_webhook_has_it_and_a_new_one_learns_nothing_old() {
    let mut stage = Stage::new();
    stage.apply(webhooks(&["one", "two"]));
    for origin in ["a", "b", "c"] {
        stage.apply(send(origin, true));
    }
    stage.apply(delivered("one", 3));
    assert_eq!(told(&stage).len(), 3);
    stage.apply(delivered("two", 2));
    // What was delivered stays delivered.
    stage.apply(delivered("two", 1));
    assert_eq!(told(&stage).len(), 1);
    stage.apply(webhooks(&["three", "two"]));
    assert_eq!(told(&stage).len(), 1, "two has not the last");
    stage.apply(webhooks(&["three"]));
    assert_eq!(told(&stage).len(), 0);
    stage.apply(send("d", true));
    let through = stage.state.webhooks().get(&"three".to_owned()).unwrap();
    assert_eq!((through.through, told(&stage).len()), (3, 1));
    stage.apply(webhooks(&[]));
    assert_eq!(told(&stage).len(), 0);
}

#[test]
fn a_webhook_that_does_not_answer_costs_a_bounded_amount() {
    let mut stage = Stage::new();
    stage.apply(webhooks(&["pager"]));
    for number in 0..KEPT + 3 {
        stage.apply(send(&format!("{number}"), true));
    }
    let notices = stage.state.notices();
    assert_eq!(notices.iter().count(), usize::try_from(KEPT).unwrap());
    assert!(notices.get(&3).is_none() && notices.get(&4).is_some());
}
