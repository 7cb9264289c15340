//! What operators do, and what the passing of time does.

use agentry_core::commit::{Arrival, Outcome, QueueTarget, Step};
use agentry_core::rows::{EventRef, InboxState};
use agentry_core::{Commit, InboxId, OutboxId};
use agentry_protocol::header::MAX_ID_AGE_MS;
use agentry_protocol::{MessageId, Timestamp};

use super::{AGENT, FIRST, Stage, arrival, draft, job, outcome};

#[test]
fn a_retry_is_a_new_attempt() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    stage.apply(Commit::Failure {
        event: EventRef::Inbox(FIRST),
        attempts: 0,
        reason: "it broke".to_owned(),
        public: "failed".to_owned(),
        retry_at: None,
        again_at: None,
        watchers: Vec::new(),
        at: Timestamp::new(2_000),
    });
    assert_eq!(stage.message(1).state, InboxState::Dead);
    let retry = Commit::Retry {
        target: QueueTarget::All,
        at: Timestamp::new(3_000),
    };
    assert_eq!(stage.apply(retry.clone()).due, [AGENT]);
    let message = stage.message(1);
    assert_eq!((message.state, message.attempts), (InboxState::Waiting, 2));
    assert!(stage.apply(retry).due.is_empty());
}

#[test]
fn a_message_is_kept_while_a_task_of_it_is_open() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    stage.hear(2, 5);
    stage.apply(Commit::Outcome(Outcome {
        tasks: vec![job("job")],
        ..outcome(FIRST, "tasks")
    }));
    stage.apply(Commit::Outcome(outcome(InboxId(2), "tasks")));
    stage.apply(Commit::Prune {
        before: Timestamp::new(9_000),
        at: Timestamp::new(9_000),
    });
    let left: Vec<_> = stage.state.inbox().iter().map(|row| row.id).collect();
    assert_eq!(left, [FIRST]);
}

#[test]
fn a_message_is_kept_while_an_answer_to_it_is_not_settled() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    stage.apply(Commit::Outcome(Outcome {
        sends: vec![(draft("answer", "pong"), None)],
        ..outcome(FIRST, "pong")
    }));
    let prune = Commit::Prune {
        before: Timestamp::new(9_000),
        at: Timestamp::new(9_000),
    };
    let is_kept = |stage: &Stage| stage.state.inbox().get(&FIRST).is_some();
    stage.apply(&prune);
    assert!(is_kept(&stage));
    stage.apply(Commit::Drop {
        target: QueueTarget::Outbox(OutboxId(1)),
        at: Timestamp::new(10_000),
    });
    stage.apply(&prune);
    assert!(!is_kept(&stage));
}

#[test]
fn a_message_with_an_id_that_may_have_been_pruned_is_refused() {
    let mut stage = Stage::new();
    let now = Timestamp::new(100 * MAX_ID_AGE_MS);
    let with_id = |number, time| {
        let id = MessageId::new(time, [number; 10]);
        Step::Arrival(Arrival {
            identity: id.to_string(),
            ..arrival(number, 5)
        })
    };
    stage.apply(Commit::Prune {
        before: Timestamp::EPOCH,
        at: now,
    });
    stage.see(vec![with_id(1, now.minus_ms(MAX_ID_AGE_MS + 1))]);
    stage.see(vec![with_id(2, now.minus_ms(MAX_ID_AGE_MS - 1))]);
    assert_eq!(stage.message(1).state, InboxState::Dead);
    assert_eq!(stage.message(2).state, InboxState::Waiting);
    // A clock that is set back does not forget it.
    stage.apply(Commit::Prune {
        before: Timestamp::EPOCH,
        at: Timestamp::new(now.get() / 2),
    });
    stage.see(vec![with_id(3, now.minus_ms(MAX_ID_AGE_MS + 1))]);
    assert_eq!(stage.message(3).state, InboxState::Dead);
}
