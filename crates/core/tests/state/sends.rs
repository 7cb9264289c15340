//! What is sent: nonces, budgets, receipts, and what the chain already shows.

use std::collections::HashSet;

use agentry_core::commit::{HostedAgent, Observation, Outcome, PostResult, Step};
use agentry_core::rows::{Draft, EventRef, OutboxState, Prepared, ReceiptRequest, ReceiptState};
use agentry_core::state::Refusal;
use agentry_core::state::drafts::QueueTurn;
use agentry_core::{Cause, Commit, CommitResult, InboxId, OutboxId, SendResult};
use agentry_protocol::{BlockHeight, Header, Nonce, Payload, Timestamp, TransactionHash, compose};

use super::{
    AGENT, FIRST, Stage, address, draft, observation, observe, outcome, own, prepared, tasks,
};

fn send(draft: Draft, prepared: Option<Prepared>) -> Commit {
    Commit::Send {
        token: None,
        agent: AGENT,
        draft,
        prepared,
        at: Timestamp::new(1_000),
    }
}

fn mined(prepared: &Prepared, height: u64) -> Step {
    Step::Sighting {
        agent: AGENT,
        hash: prepared.hash,
        own: Some(own(prepared)),
        height: BlockHeight(height),
        block_hash: None,
    }
}

/// What is spent of the day in [`prepared`].
fn spent(stage: &Stage) -> u64 {
    let row = stage.state.spending().get(&(AGENT, 7, Cause::Own));
    row.map_or(0, |row| row.spent.0)
}

#[test]
fn a_nonce_is_spent_and_paid_for_when_it_is_signed() {
    let mut stage = Stage::new();
    let one = draft("send/1", "hello");
    stage.apply(send(one.clone(), Some(prepared(&one, 100))));
    let agent = stage.state.agents().get(&AGENT).unwrap();
    assert_eq!(agent.last_nonce, Some(Nonce::new(100)));
    assert_eq!(spent(&stage), 10);
    // The same request is the same row.
    let again = stage.apply(send(one.clone(), Some(prepared(&one, 101))));
    assert!(matches!(again.sends[..], [SendResult::Known(_)]));
    assert_eq!(spent(&stage), 10);
}

#[test]
fn a_refused_transaction_is_refunded_and_charged_again_if_it_is_mined() {
    let mut stage = Stage::new();
    let one = draft("send/1", "hello");
    let signed = prepared(&one, 100);
    stage.apply(send(one, Some(signed.clone())));
    stage.apply(Commit::Post {
        id: OutboxId(1),
        result: PostResult::Failed {
            reason: "no money".to_owned(),
        },
        at: Timestamp::new(2_000),
    });
    assert_eq!(spent(&stage), 0);
    assert_eq!(stage.outgoing(1).state, OutboxState::Failed);
    let changes = stage.see(vec![mined(&signed, 9)]);
    assert_eq!(changes.recharged.len(), 1);
    assert_eq!(stage.outgoing(1).state, OutboxState::Mined);
    let all: u64 = stage.state.spending().iter().map(|row| row.spent.0).sum();
    assert_eq!(all, 10);
    // Seen again, it costs nothing more.
    let changes = stage.see(vec![mined(&signed, 9)]);
    assert!(changes.recharged.is_empty());
    let all: u64 = stage.state.spending().iter().map(|row| row.spent.0).sum();
    assert_eq!(all, 10);
}

#[test]
fn a_post_counts_once() {
    let mut stage = Stage::new();
    let one = draft("send/1", "hello");
    let signed = prepared(&one, 100);
    stage.apply(send(one, Some(signed)));
    for (at, posts) in [(2_000, 1), (2_000, 1), (3_000, 2)] {
        stage.apply(Commit::Post {
            id: OutboxId(1),
            result: PostResult::Accepted,
            at: Timestamp::new(at),
        });
        assert_eq!(stage.outgoing(1).posts, posts);
    }
}

#[test]
fn what_is_paid_for_is_not_paid_again_when_the_chain_shows_its_bytes() {
    let mut stage = Stage::new();
    let one = draft("send/1", "hello");
    let signed = prepared(&one, 100);
    known_to_the_chain(&mut stage, &signed, 6);
    let changes = stage.apply(send(one, Some(signed)));
    assert!(matches!(changes.sends[..], [SendResult::OnChain(_)]));
    let all: u64 = stage.state.spending().iter().map(|row| row.spent.0).sum();
    assert_eq!(all, 10);
}

#[test]
fn a_wallet_that_waits_for_a_block_takes_no_turn_from_others() {
    let mut stage = Stage::new();
    let other = HostedAgent {
        address: address(3),
        name: "other".to_owned(),
        start_height: BlockHeight(0),
    };
    let other = stage
        .apply(Commit::Host {
            agents: vec![other],
        })
        .agents[0];
    let one = draft("send/1", "hello");
    stage.apply(send(one.clone(), Some(prepared(&one, 100))));
    stage.apply(send(draft("send/2", "again"), None));
    stage.apply(Commit::Send {
        token: None,
        agent: other,
        draft: draft("send/3", "hello"),
        prepared: None,
        at: Timestamp::new(1_000),
    });
    let queued = |one_each| {
        let turn = QueueTurn::default();
        let drafts = stage.state.queued(&turn, one_each, &HashSet::new(), 1);
        drafts.iter().map(|draft| draft.id.0).collect::<Vec<_>>()
    };
    assert_eq!(queued(true), [3]);
    assert_eq!(queued(false), [2]);
}

#[test]
fn two_transactions_never_have_the_same_bytes_and_a_refused_commit_changes_nothing() {
    let mut stage = Stage::new();
    let (one, two) = (draft("send/1", "hello"), draft("send/2", "hello"));
    let three = draft("send/3", "other");
    for draft in [&one, &two, &three] {
        stage.apply(send(draft.clone(), None));
    }
    let all = Commit::Prepare {
        prepared: vec![
            (OutboxId(3), prepared(&three, 99)),
            (OutboxId(1), prepared(&one, 100)),
            (OutboxId(2), prepared(&two, 100)),
        ],
        at: Timestamp::new(2_000),
    };
    assert_eq!(stage.refused(&all), Refusal::SameBytes(OutboxId(1)));
    for id in [1, 2, 3] {
        assert_eq!(stage.outgoing(id).state, OutboxState::Queued);
    }
    assert_eq!(spent(&stage), 0);
    let agent = stage.state.agents().get(&AGENT).unwrap();
    assert_eq!(agent.last_nonce, None);
}

/// A draft whose sender wants to know that it was done, within ten seconds, and that it is sent
/// twice more otherwise.
fn asking() -> Draft {
    Draft {
        receipt: Some(ReceiptRequest {
            behaviour: Some("asker".to_owned()),
            label: Some("job".to_owned()),
            wanted: Some("done".to_owned()),
            within_ms: 10_000,
            resends: 2,
        }),
        ..draft("send/1", "hello")
    }
}

#[test]
fn an_acknowledgment_is_overdue_some_time_after_the_message_is_mined() {
    let mut stage = Stage::new();
    let signed = prepared(&asking(), 100);
    stage.apply(send(asking(), Some(signed.clone())));
    let due_at = |stage: &Stage| stage.state.receipts().get(&OutboxId(1)).unwrap().due_at;
    assert_eq!(due_at(&stage), None);
    stage.see(vec![mined(&signed, 9)]);
    assert_eq!(due_at(&stage), Some(Timestamp::new(11_000)));
    // It is resent once for each overdue acknowledgment.
    let resend = Commit::Resend {
        outbox: OutboxId(1),
        resends_left: 2,
        draft: draft("resend/1", "hello"),
        prepared: None,
        at: Timestamp::new(12_000),
    };
    assert_eq!(stage.apply(resend.clone()).result, CommitResult::Applied);
    let receipt = stage.state.receipts().get(&OutboxId(1)).unwrap();
    assert_eq!((receipt.resends_left, receipt.due_at), (1, None));
    assert_eq!(stage.apply(resend).result, CommitResult::Stale);
}

#[test]
fn an_acknowledgment_is_overdue_when_its_resend_is_not_sent() {
    let mut stage = Stage::new();
    let signed = prepared(&asking(), 100);
    stage.apply(send(asking(), Some(signed.clone())));
    stage.see(vec![mined(&signed, 9)]);
    let again = draft("resend/1", "hello");
    stage.apply(Commit::Resend {
        outbox: OutboxId(1),
        resends_left: 2,
        prepared: Some(prepared(&again, 101)),
        draft: again,
        at: Timestamp::new(12_000),
    });
    let refused = Commit::Post {
        id: OutboxId(2),
        result: PostResult::Failed {
            reason: "no money".to_owned(),
        },
        at: Timestamp::new(13_000),
    };
    let changes = stage.apply(refused);
    assert_eq!(changes.due, [AGENT]);
    let receipt = stage.state.receipts().get(&OutboxId(1)).unwrap();
    assert_eq!(receipt.due_at, Some(Timestamp::new(13_000)));
    assert_eq!(receipt.state, ReceiptState::Open);
}

#[test]
fn a_receipt_moves_to_a_higher_rank_only() {
    let mut stage = Stage::new();
    let signed = prepared(&asking(), 100);
    stage.apply(send(asking(), Some(signed)));
    let acknowledge = |state| Commit::Acknowledge {
        outbox: OutboxId(1),
        state,
        detail: None,
        at: Timestamp::new(2_000),
    };
    for (state, result) in [
        (ReceiptState::Accepted, CommitResult::Applied),
        (ReceiptState::Accepted, CommitResult::Unchanged),
        (ReceiptState::Received, CommitResult::Unchanged),
        (ReceiptState::Done, CommitResult::Applied),
        (ReceiptState::Failed, CommitResult::Unchanged),
    ] {
        let changes = stage.apply(acknowledge(state));
        assert_eq!(changes.result, result, "{state:?}");
    }
}

#[test]
fn a_message_is_named_by_the_last_transaction_that_carried_it() {
    let mut stage = Stage::new();
    let signed = prepared(&asking(), 100);
    stage.apply(send(asking(), Some(signed.clone())));
    let named = |stage: &Stage| {
        let sent = stage.state.sent_message(OutboxId(1), "job".to_owned());
        sent.unwrap().transaction
    };
    assert_eq!(named(&stage), Some(signed.hash));
    stage.see(vec![mined(&signed, 9)]);
    let again = draft("resend/1", "hello");
    let resent = prepared(&again, 101);
    stage.apply(Commit::Resend {
        outbox: OutboxId(1),
        resends_left: 2,
        draft: again,
        prepared: Some(resent.clone()),
        at: Timestamp::new(12_000),
    });
    assert_eq!(named(&stage), Some(resent.hash));
}

/// After a wrong clock is set back, the spending of the days that come again is still there.
#[test]
fn the_spending_of_the_last_days_with_spending_is_kept() {
    let mut stage = Stage::new();
    for day in 1..=33 {
        let one = draft(&format!("send/{day}"), &format!("hello {day}"));
        let signed = Prepared {
            day,
            ..prepared(&one, 100 + day)
        };
        stage.apply(send(one, Some(signed)));
    }
    stage.apply(Commit::Prune {
        before: Timestamp::EPOCH,
        at: Timestamp::EPOCH,
    });
    let days: Vec<_> = stage.state.spending().iter().map(|row| row.day).collect();
    assert_eq!(days, (2..=33).collect::<Vec<_>>());
}

/// An answer of the agent to a message, as a behaviour drafts it.
fn answer(origin: &str, re: TransactionHash) -> Draft {
    let header = Header {
        re: Some(re),
        ..Header::default()
    };
    let payload = compose(&Payload::Text("pong".to_owned()), Some(&header)).unwrap();
    Draft {
        payload,
        ..draft(origin, "")
    }
}

/// The chain shows a transaction of the agent that this store does not know.
fn known_to_the_chain(stage: &mut Stage, prepared: &Prepared, height: u64) {
    stage.apply(Commit::Observe(Observation {
        catching_up: Some(OutboxId(0)),
        ..observation(vec![mined(prepared, height)])
    }));
}

#[test]
fn an_answer_that_the_chain_shows_is_not_given_again() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    stage.hear(2, 5);
    let first = stage.message(1).hash;
    let said = prepared(&answer("", first), 100);
    known_to_the_chain(&mut stage, &said, 6);
    // It is seen again while agents act.
    stage.see(vec![mined(&said, 6)]);
    let reply = |message: i64, re| Outcome {
        sends: vec![(answer(&format!("inbox/{message}/pong/0"), re), None)],
        ..outcome(InboxId(message), "pong")
    };
    // The answer to another message is another answer.
    let second = stage.message(2).hash;
    let changes = stage.apply(Commit::Outcome(reply(2, second)));
    assert!(matches!(changes.sends[..], [SendResult::Stored(_)]));
    let changes = stage.apply(Commit::Outcome(reply(1, first)));
    assert!(matches!(changes.sends[..], [SendResult::OnChain(_)]));
    let row = stage.outgoing(changes.sends[0].id().0);
    assert_eq!(row.state, OutboxState::Mined);
    assert_eq!(row.signed.unwrap().nonce, Nonce::new(100));
    assert!(stage.state.sightings().iter().next().is_none());
    // It counts once.
    stage.hear(3, 7);
    let changes = stage.apply(Commit::Outcome(reply(3, first)));
    assert!(matches!(changes.sends[..], [SendResult::Stored(_)]));
}

#[test]
fn an_answer_that_names_its_question_may_be_below_it() {
    let mut stage = Stage::new();
    stage.hear(1, 9);
    let question = stage.message(1).hash;
    let said = prepared(&answer("", question), 100);
    known_to_the_chain(&mut stage, &said, 6);
    let changes = stage.apply(Commit::Outcome(Outcome {
        sends: vec![(answer("inbox/1/pong/0", question), None)],
        ..outcome(FIRST, "pong")
    }));
    assert!(matches!(changes.sends[..], [SendResult::OnChain(_)]));
}

#[test]
fn an_answer_that_names_its_question_may_outlive_it() {
    let mut stage = tasks::working();
    let question = stage.message(1).hash;
    let said = prepared(&answer("", question), 100);
    known_to_the_chain(&mut stage, &said, 6);
    let above = Some(BlockHeight(4));
    stage.see(vec![Step::Withdrawn { above }]);
    stage.apply(tasks::end(0));
    let update = stage.state.events().iter().next().unwrap().id;
    let changes = stage.apply(Commit::Outcome(Outcome {
        behaviour: Some("tasks".to_owned()),
        sends: vec![(answer("event/1/tasks/0", question), None)],
        ..Outcome::nothing(EventRef::Event(update), 0, Timestamp::new(5_000))
    }));
    assert!(matches!(changes.sends[..], [SendResult::OnChain(_)]));
}

#[test]
fn what_is_older_than_the_question_is_no_answer_to_it() {
    let mut stage = Stage::new();
    let said = prepared(&draft("", "pong"), 100);
    known_to_the_chain(&mut stage, &said, 4);
    stage.hear(1, 5);
    let changes = stage.apply(Commit::Outcome(Outcome {
        sends: vec![(draft("inbox/1/pong/0", "pong"), None)],
        ..outcome(FIRST, "pong")
    }));
    assert!(matches!(changes.sends[..], [SendResult::Stored(_)]));
    // One that is not older answers it.
    let said = prepared(&draft("", "pong"), 101);
    known_to_the_chain(&mut stage, &said, 6);
    stage.apply(observe(Vec::new()));
    stage.hear(2, 6);
    let changes = stage.apply(Commit::Outcome(Outcome {
        sends: vec![(draft("inbox/2/pong/0", "pong"), None)],
        ..outcome(InboxId(2), "pong")
    }));
    assert!(matches!(changes.sends[..], [SendResult::OnChain(_)]));
}
