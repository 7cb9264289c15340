//! What behaviours did.

use agentry_core::commit::{Handled, Outcome, Step, TimerSetting};
use agentry_core::rows::{EventId, EventKind, EventRef, EventState, InboxState};
use agentry_core::state::Refusal;
use agentry_core::state::usage::{Kind, Share, Volume};
use agentry_core::{Authenticity, Cause, Commit, CommitResult, InboxId, Standing};
use agentry_protocol::Timestamp;
use serde_json::json;

use super::{AGENT, FIRST, Stage, address, arrival, job, outcome};

#[test]
fn a_behaviour_handles_a_message_once() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    let one = Outcome {
        handled: None,
        ..outcome(FIRST, "one")
    };
    assert_ne!(
        stage.apply(Commit::Outcome(one.clone())).result,
        CommitResult::Stale
    );
    assert_eq!(
        stage.apply(Commit::Outcome(one)).result,
        CommitResult::Stale
    );
    assert_eq!(stage.message(1).state, InboxState::Waiting);
    assert_ne!(
        stage.apply(Commit::Outcome(outcome(FIRST, "two"))).result,
        CommitResult::Stale
    );
    assert_eq!(stage.message(1).state, InboxState::Handled);
    assert!(stage.message(1).done.is_empty());
    assert_eq!(
        stage.apply(Commit::Outcome(outcome(FIRST, "two"))).result,
        CommitResult::Stale
    );
}

#[test]
fn the_outcome_of_an_older_attempt_is_stale() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    let failure = Commit::Failure {
        event: EventRef::Inbox(FIRST),
        attempts: 0,
        reason: "it broke".to_owned(),
        public: "failed".to_owned(),
        retry_at: Some(Timestamp::new(5_000)),
        again_at: None,
        watchers: Vec::new(),
        at: Timestamp::new(2_000),
    };
    assert_eq!(stage.apply(failure.clone()).result, CommitResult::Applied);
    assert_eq!(stage.message(1).attempts, 1);
    assert_eq!(stage.apply(failure).result, CommitResult::Stale);
    assert_eq!(
        stage.apply(Commit::Outcome(outcome(FIRST, "one"))).result,
        CommitResult::Stale
    );
}

#[test]
fn a_timer_is_replaced_and_deleted_by_its_name_and_fires_once() {
    let mut stage = Stage::new();
    let due = |stage: &Stage| -> Vec<u64> {
        let events = stage.state.events().iter();
        events.map(|event| event.due_at.get()).collect()
    };
    for (number, due_at) in [
        (1, Some(8_000)),
        (2, Some(9_000)),
        (3, None),
        (4, Some(9_000)),
    ] {
        stage.hear(number, 5);
        let set = due_at.map(|due_at| TimerSetting {
            due_at: Timestamp::new(due_at),
            data: json!("wake up"),
        });
        stage.apply(Commit::Outcome(Outcome {
            timers: vec![("alarm".to_owned(), set)],
            ..outcome(InboxId(number.into()), "one")
        }));
        assert_eq!(due(&stage), Vec::from_iter(due_at));
    }
    // Its first run has attempt 0, whatever another claims.
    for (attempts, result) in [
        (1, CommitResult::Stale),
        (0, CommitResult::Applied),
        (0, CommitResult::Stale),
    ] {
        let timer = EventRef::Event(EventId(3));
        let fired = Commit::Outcome(Outcome::nothing(timer, attempts, Timestamp::new(9_000)));
        assert_eq!(stage.apply(fired).result, result, "{attempts}");
    }
}

#[test]
fn a_timer_uses_the_share_of_who_set_it_until_it_fires() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    let timer = TimerSetting {
        due_at: Timestamp::new(9_000),
        data: json!("wake up"),
    };
    let timers = ["alarm", "reminder"].map(|name| (name.to_owned(), Some(timer.clone())));
    stage.apply(Commit::Outcome(Outcome {
        timers: timers.to_vec(),
        ..outcome(FIRST, "one")
    }));
    let bytes = json!("wake up").to_string().len() as u64;
    for (id, items) in [(1, 2), (2, 1), (3, 0)] {
        let bytes = items * bytes;
        let used = stage.state.used(AGENT, Kind::Timer, Share::All(None));
        assert_eq!(used, Volume { items, bytes });
        let fired = Outcome {
            behaviour: Some("one".to_owned()),
            ..Outcome::nothing(EventRef::Event(EventId(id)), 0, Timestamp::new(9_000))
        };
        stage.apply(Commit::Outcome(fired));
    }
}

/// What senders use leaves the agent itself that much less.
#[test]
fn senders_and_the_agent_share_the_whole() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    stage.hear(2, 5);
    let set = TimerSetting {
        due_at: Timestamp::new(9_000),
        data: json!(0),
    };
    let sets = |message: u8, cause, count: u64| {
        let timers = (0..count).map(|nth| (format!("{message}/{nth}"), Some(set.clone())));
        Commit::Outcome(Outcome {
            timers: timers.collect(),
            cause,
            ..outcome(InboxId(message.into()), "one")
        })
    };
    stage.apply(sets(1, Cause::of(Standing::Known, &address(2)), 10));
    let whole = Kind::Timer.capacity().items;
    let refused = stage.refused(&sets(2, Cause::Own, whole - 9));
    assert!(matches!(refused, Refusal::Full { .. }), "{refused}");
    stage.apply(sets(2, Cause::Own, whole - 10));
}

#[test]
fn a_renewal_is_due_again_and_an_old_run_of_it_counts_for_nothing() {
    let mut stage = Stage::new();
    stage.apply(Commit::Register {
        agent: AGENT,
        card: json!({ "name": "agent" }),
        due_at: Timestamp::new(1_000),
    });
    let renewed = Outcome {
        again_at: Some(Timestamp::new(9_000)),
        ..Outcome::nothing(EventRef::Event(EventId(1)), 0, Timestamp::new(2_000))
    };
    assert_ne!(
        stage.apply(Commit::Outcome(renewed.clone())).result,
        CommitResult::Stale
    );
    let event = stage.state.events().get(&EventId(1)).unwrap();
    assert_eq!((event.due_at.get(), event.attempts), (9_000, 1));
    assert_eq!(
        stage.apply(Commit::Outcome(renewed)).result,
        CommitResult::Stale
    );
}

#[test]
fn the_outcome_of_a_message_waits_for_the_tasks_that_it_started() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    stage.apply(Commit::Outcome(Outcome {
        tasks: vec![job("a"), job("b")],
        handled: Some(Handled {
            watchers: vec!["watcher".to_owned()],
            unacted: None,
        }),
        ..outcome(FIRST, "tasks")
    }));
    let told = |stage: &Stage| {
        let mut events = stage.state.events().iter();
        let event = events.find(|event| event.kind == EventKind::Settled);
        event.unwrap().state
    };
    assert_eq!(told(&stage), EventState::Held);
    for (id, state) in [(1, EventState::Held), (2, EventState::Waiting)] {
        stage.apply(Commit::TaskEnd {
            task: agentry_core::rows::TaskId(id),
            attempts: 0,
            end: agentry_core::commit::TaskEnd::Canceled,
            used: None,
            duration_ms: 0,
            at: Timestamp::new(3_000),
        });
        assert_eq!(told(&stage), state, "task {id}");
    }
    let mut events = stage.state.events().iter();
    let outcome = events.find(|event| event.kind == EventKind::Settled);
    assert_eq!(outcome.unwrap().due_at, Timestamp::new(3_000));
}

/// One commit stays short, however many messages wait.
#[test]
fn messages_beyond_the_rate_limit_timeout_are_moved_a_page_at_a_time() {
    for authenticity in [Authenticity::Verified, Authenticity::Unverified] {
        let mut stage = Stage::new();
        let steps = (0..=u8::MAX).cycle().take(600).zip(0_u32..);
        let steps = steps.map(|(number, nth)| {
            let mut arrival = arrival(number, 5);
            arrival.digest = format!("{nth:064x}").parse().unwrap();
            arrival.identity = nth.to_string();
            arrival.authenticity = authenticity;
            arrival.standing = Standing::unknown(authenticity);
            Step::Arrival(arrival)
        });
        let changes = stage.see(steps.collect());
        assert_eq!(changes.arrived, 600);
        let seen_at = stage.message(1).seen_at;
        let mut moved = |before| {
            let verified = authenticity == Authenticity::Verified;
            let sender = verified.then(|| address(2));
            let waits = stage
                .state
                .is_beyond_timeout(AGENT, sender.as_ref(), before);
            let moved = stage.apply(Commit::RateLimitTimeout {
                agent: AGENT,
                sender,
                before,
                reason: "too long".to_owned(),
                at: seen_at.plus_ms(5),
            });
            assert_eq!(waits, moved.rows > 0);
            moved.rows
        };
        assert_eq!(moved(seen_at), 0);
        let pages: Vec<_> = (0..4).map(|_| moved(seen_at.plus_ms(1))).collect();
        assert_eq!(pages, [256, 256, 88, 0], "{authenticity:?}");
    }
}
