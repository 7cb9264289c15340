//! What is to be done next.

use agentry_core::commit::{Arrival, Outcome, Step, TimerSetting};
use agentry_core::rows::{EventId, EventRef};
use agentry_core::state::due::{Due, Turn};
use agentry_core::{Commit, InboxId, TaskId, TaskStart};
use agentry_protocol::{BlockHeight, Timestamp, TransactionHash};
use serde_json::json;

use super::{AGENT, FIRST, Stage, address, arrival, job, outcome};

fn due(stage: &Stage, now: Timestamp, turn: &mut Turn, limit: usize) -> Due {
    let through = BlockHeight(100);
    stage.state.due(AGENT, now, through, turn, limit)
}

#[test]
fn a_timer_is_due_at_its_time_and_until_then_that_is_when_to_look_again() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    let set = TimerSetting {
        due_at: Timestamp::new(9_000),
        data: json!("wake up"),
    };
    stage.apply(Commit::Outcome(Outcome {
        timers: vec![("alarm".to_owned(), Some(set))],
        ..outcome(FIRST, "one")
    }));
    for (now, ids, next_at) in [
        (8_999, vec![], Some(9_000)),
        (9_000, vec![EventId(1)], None),
        (9_001, vec![EventId(1)], None),
    ] {
        let due = due(&stage, Timestamp::new(now), &mut Turn::default(), 5);
        let events: Vec<_> = due.events.iter().map(|event| event.row.id).collect();
        assert_eq!(
            (events, due.next_at),
            (ids, next_at.map(Timestamp::new)),
            "at {now}"
        );
    }
}

#[test]
fn senders_take_turns_and_each_keeps_the_order_of_the_chain() {
    let mut stage = Stage::new();
    let steps = [(1, 2), (2, 2), (3, 2), (4, 3), (5, 4)];
    let steps = steps.map(|(number, sender)| {
        let mut arrival = arrival(number, 5);
        arrival.sender = address(sender);
        Step::Arrival(arrival)
    });
    stage.see(steps.to_vec());
    let mut turn = Turn::default();
    let mut senders = Vec::new();
    let mut of_second = Vec::new();
    for _ in 0..5 {
        let due = due(&stage, Timestamp::new(2_000), &mut turn, 1);
        let [message] = due.messages.as_slice() else {
            panic!("{:?}", due.messages)
        };
        senders.push(message.sender.clone());
        if message.sender == address(2) {
            of_second.push(message.id);
        }
        stage.apply(Commit::Outcome(outcome(message.id, "one")));
        turn.start_over();
    }
    let mut first_round = senders[..3].to_vec();
    first_round.sort();
    first_round.dedup();
    assert_eq!(first_round.len(), 3, "{senders:?}");
    assert_eq!(of_second, [1, 2, 3].map(InboxId));
}

#[test]
fn what_is_under_way_leaves_its_place_to_the_next() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    stage.hear(2, 5);
    let set = |name: &str| {
        let due_at = Timestamp::new(1_000);
        let data = json!(name);
        (name.to_owned(), Some(TimerSetting { due_at, data }))
    };
    stage.apply(Commit::Outcome(Outcome {
        timers: vec![set("first"), set("second")],
        handled: None,
        ..outcome(FIRST, "other")
    }));
    let found = |under_way: Vec<EventRef>| {
        let mut turn = Turn::default();
        turn.under_way = under_way;
        let due = due(&stage, Timestamp::new(9_000), &mut turn, 1);
        let messages = due.messages.iter().map(|row| EventRef::Inbox(row.id));
        let events = due.events.iter().map(|event| EventRef::Event(event.row.id));
        messages.chain(events).collect::<Vec<_>>()
    };
    let [message, next] = [1, 2].map(|id| EventRef::Inbox(InboxId(id)));
    let [event, next_event] = [1, 2].map(|id| EventRef::Event(EventId(id)));
    assert_eq!(found(vec![]), [message, event]);
    assert_eq!(found(vec![message, event]), [next, next_event]);
    assert_eq!(found(vec![message, event, next, next_event]), []);
}

#[test]
fn a_deadline_is_missed_at_its_time() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    stage.apply(Commit::Outcome(Outcome {
        tasks: vec![TaskStart {
            deadline: Some(Timestamp::new(9_000)),
            ..job("job")
        }],
        ..outcome(FIRST, "tasks")
    }));
    for (now, missed, next) in [
        (8_999, vec![], Some(9_000)),
        (9_000, vec![(TaskId(1), 0)], None),
    ] {
        let deadlines = stage.state.deadlines(Timestamp::new(now), 5);
        let found = deadlines.missed.iter().map(|task| (task.id, task.attempts));
        assert_eq!(
            (found.collect(), deadlines.next),
            (missed, next.map(Timestamp::new)),
            "at {now}"
        );
    }
}

#[test]
fn a_cancellation_does_not_overtake_the_job_that_it_is_about() {
    let mut stage = Stage::new();
    let arrives = |stage: &mut Stage, number: u8, re, urgent| {
        let arrival = Arrival {
            urgent,
            re,
            ..arrival(number, 4)
        };
        let hash = arrival.hash;
        stage.see(vec![Step::Arrival(arrival)]);
        hash
    };
    let job = arrives(&mut stage, 1, None, false);
    arrives(&mut stage, 2, None, false);
    // About a message that waits, about one of ours, and about none.
    arrives(&mut stage, 3, Some(job), true);
    arrives(
        &mut stage,
        4,
        Some(TransactionHash::from_bytes([9; 32])),
        true,
    );
    arrives(&mut stage, 5, None, true);
    let urgent = [3, 4, 5].map(|id| stage.message(id).urgent);
    assert_eq!(urgent, [false, true, true]);
}
