//! What waits for an operator, and tokens.

use std::collections::HashSet;

use agentry_core::commit::{HeldEffect, Outcome, QueueTarget};
use agentry_core::rows::{Draft, OutboxState, ReceiptRequest, ReceiptState, TaskState};
use agentry_core::state::Refusal;
use agentry_core::state::drafts::QueueTurn;
use agentry_core::{
    Commit, CommitResult, OutboxId, Rights, SendResult, TaskId, Token, TokenCharge, TokenName,
};
use agentry_protocol::{Amount, ContentHash, Timestamp};

use super::{AGENT, FIRST, Stage, draft, job, outcome, prepared};

/// An agent whose answer and whose task wait.
fn waiting() -> Stage {
    let mut stage = Stage::new();
    stage.hear(1, 4);
    let answer = Draft {
        unapproved: true,
        expires_at: Some(Timestamp::new(9_000)),
        receipt: Some(ReceiptRequest {
            behaviour: Some("pong".to_owned()),
            label: Some("answer".to_owned()),
            wanted: None,
            within_ms: 0,
            resends: 0,
        }),
        ..draft("answer/1", "yes")
    };
    let changes = stage.apply(Commit::Outcome(Outcome {
        sends: vec![(answer.clone(), Some(prepared(&answer, 100)))],
        tasks: vec![job("a")],
        tasks_unapproved: true,
        ..outcome(FIRST, "pong")
    }));
    // Even if it was signed too early, the signed bytes do not count.
    assert!(matches!(changes.sends[..], [SendResult::Known(_)]));
    stage
}

fn decide(effect: HeldEffect, granted: bool) -> Commit {
    Commit::Decide {
        effect,
        granted,
        reason: Some("so".to_owned()),
        at: Timestamp::new(5_000),
    }
}

fn queued(stage: &Stage) -> usize {
    let turn = QueueTurn::default();
    stage.state.queued(&turn, false, &HashSet::new(), 10).len()
}

fn begin() -> Commit {
    Commit::TaskBegin {
        task: TaskId(1),
        attempts: 0,
        reserved: TokenCharge::default(),
        at: Timestamp::new(6_000),
    }
}

const MESSAGE: HeldEffect = HeldEffect::Outbox(OutboxId(1));
const TASK: HeldEffect = HeldEffect::Task(TaskId(1));

#[test]
fn what_waits_is_neither_signed_nor_begun_until_it_is_granted() {
    let mut stage = waiting();
    assert_eq!(queued(&stage), 0);
    let one = stage.outgoing(1);
    let prepare = Commit::Prepare {
        prepared: vec![(one.id, prepared(&one.draft(), 101))],
        at: Timestamp::new(4_000),
    };
    stage.apply(&prepare);
    assert_eq!(stage.outgoing(1).state, OutboxState::Queued);
    assert_eq!(stage.apply(begin()).result, CommitResult::Stale);
    for rows in [1, 0] {
        assert_eq!(stage.apply(decide(MESSAGE, true)).rows, rows);
        let changes = stage.apply(decide(TASK, true));
        assert_eq!((changes.rows, changes.tasks), (rows, rows == 1));
    }
    // A decision is not changed by a later one.
    assert_eq!(stage.apply(decide(MESSAGE, false)).rows, 0);
    assert_eq!(stage.apply(decide(TASK, false)).rows, 0);
    assert_eq!(queued(&stage), 1);
    stage.apply(&prepare);
    assert_eq!(stage.outgoing(1).state, OutboxState::Prepared);
    assert!(stage.apply(begin()).is_applied());
}

#[test]
fn what_is_denied_fails_and_its_behaviour_learns_it() {
    let mut stage = waiting();
    for rows in [1, 0] {
        let message = stage.apply(decide(MESSAGE, false));
        let task = stage.apply(decide(TASK, false));
        assert_eq!((message.rows, task.rows), (rows, rows));
        let told = usize::from(rows == 1);
        assert_eq!((message.due.len(), task.due.len()), (told, told));
    }
    let message = stage.outgoing(1);
    assert_eq!(message.state, OutboxState::Failed);
    assert_eq!(message.reason.as_deref(), Some("an operator denied it: so"));
    let receipt = stage.state.receipts().get(&OutboxId(1)).unwrap();
    assert_eq!(receipt.state, ReceiptState::Unsent);
    let task = stage.state.tasks().get(&TaskId(1)).unwrap();
    assert_eq!(task.state, TaskState::Failed);
    assert_eq!(task.error_code.as_deref(), Some("denied"));
    // A retry does not go round the operator.
    stage.apply(Commit::Retry {
        target: QueueTarget::All,
        at: Timestamp::new(7_000),
    });
    assert_eq!(stage.outgoing(1).state, OutboxState::Queued);
    assert_eq!(queued(&stage), 0);
    assert_eq!(stage.apply(decide(MESSAGE, true)).rows, 1);
    assert_eq!(queued(&stage), 1);
}

#[test]
fn what_nobody_decides_on_expires() {
    let mut stage = waiting();
    assert!(stage.state.has_expired(Timestamp::new(9_001)));
    stage.apply(Commit::ExpireQueued {
        at: Timestamp::new(9_001),
    });
    assert_eq!(stage.outgoing(1).state, OutboxState::Failed);
    assert_eq!(stage.apply(decide(MESSAGE, true)).rows, 0);
}

const DAY: u64 = 24 * 60 * 60 * 1_000;

fn token(name: &str, secret: u8, budget: u64) -> Commit {
    Commit::CreateToken(Token {
        name: name.parse().unwrap(),
        secret: ContentHash::from_bytes([secret; 32]),
        agents: None,
        rights: Rights::default(),
        recipients: None,
        daily_budget: Some(Amount(budget)),
        made_at: Timestamp::new(1_000),
        expires_at: None,
    })
}

fn send(origin: &str, day: u64) -> Commit {
    Commit::Send {
        agent: AGENT,
        draft: draft(origin, "hello"),
        prepared: None,
        token: Some("caller".parse().unwrap()),
        at: Timestamp::new(day * DAY),
    }
}

#[test]
fn a_token_pays_for_each_message_once_and_not_more_than_its_budget() {
    let mut stage = Stage::new();
    assert!(matches!(stage.refused(&send("a", 3)), Refusal::NoToken(_)));
    stage.apply(token("caller", 1, 25));
    for origin in ["a", "a", "b", "b"] {
        stage.apply(send(origin, 3));
    }
    let refused = stage.refused(&send("c", 3));
    let Refusal::TokenBudget { spent, cost, .. } = refused else {
        panic!("{refused}");
    };
    assert_eq!((spent, cost), (Amount(20), Amount(10)));
    assert_eq!(stage.state.outbox().iter().count(), 2);
    // The next day has a budget of its own.
    stage.apply(send("c", 4));
    stage.apply(Commit::RevokeToken {
        name: "caller".parse().unwrap(),
    });
    assert!(matches!(stage.refused(&send("d", 4)), Refusal::NoToken(_)));
    // What was requested before stays requested.
    let again = stage.apply(send("c", 4));
    assert!(matches!(again.sends[..], [SendResult::Known(_)]));
}

#[test]
fn names_and_secrets_of_tokens_are_unique() {
    let mut stage = Stage::new();
    for _ in 0..2 {
        stage.apply(token("one", 1, 25));
    }
    for other in [
        token("one", 2, 25),
        token("two", 1, 25),
        token("one", 1, 26),
    ] {
        assert!(matches!(stage.refused(&other), Refusal::SameToken(_)));
    }
    let huge = token("huge", 3, u64::MAX);
    assert!(matches!(stage.refused(&huge), Refusal::Amount(_)));
    for bad in ["", "A", "a b", "a/b", "é", &"a".repeat(65)] {
        assert!(bad.parse::<TokenName>().is_err(), "{bad}");
    }
    assert!("a-b_c.9".parse::<TokenName>().is_ok());
}
