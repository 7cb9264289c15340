//! What behaviours do by themselves, and what their messages carry on.

use agentry_core::commit::{Outcome, Plan, Planned, QueueTarget, TimerSetting};
use agentry_core::rows::{EventId, EventKind, EventRef, EventState, ReceiptRequest};
use agentry_core::state::plans::TickData;
use agentry_core::state::row::Event;
use agentry_core::{Commit, CommitResult};
use agentry_protocol::{Header, Payload, Timestamp, Trail, message};
use serde_json::json;

use super::{AGENT, FIRST, Stage, draft, job, outcome, prepared};

fn plan(when: Planned) -> Commit {
    Commit::Plan {
        plans: vec![Plan {
            agent: AGENT,
            behaviour: "one".to_owned(),
            when,
        }],
        at: Timestamp::new(1_000),
    }
}

fn start(again: bool) -> Commit {
    plan(Planned::Start { again })
}

fn poll(schedule: &str, due_at: u64) -> Commit {
    plan(Planned::Tick {
        name: "poll".to_owned(),
        schedule: schedule.to_owned(),
        due_at: Timestamp::new(due_at),
    })
}

fn handled(event: &Event, again_at: Option<u64>) -> Commit {
    Commit::Outcome(Outcome {
        behaviour: Some("one".to_owned()),
        again_at: again_at.map(Timestamp::new),
        ..Outcome::nothing(
            EventRef::Event(event.id),
            event.attempts,
            Timestamp::new(2_000),
        )
    })
}

fn failed(event: &Event, again_at: Option<u64>) -> Commit {
    Commit::Failure {
        event: EventRef::Event(event.id),
        attempts: event.attempts,
        reason: "it broke".to_owned(),
        public: "failed".to_owned(),
        retry_at: None,
        again_at: again_at.map(Timestamp::new),
        watchers: Vec::new(),
        at: Timestamp::new(2_000),
    }
}

impl Stage {
    fn events(&self) -> Vec<Event> {
        self.state.events().iter().map(Event::clone).collect()
    }

    /// The only event.
    fn event(&self) -> Event {
        let [event] = <[Event; 1]>::try_from(self.events()).unwrap();
        event
    }

    /// The times and states of all ticks.
    fn ticks(&self) -> Vec<(u64, EventState)> {
        let tick = |event: &Event| (TickData::read(&event.data).unwrap().at.get(), event.state);
        self.events().iter().map(tick).collect()
    }
}

#[test]
fn a_start_is_handled_once_or_at_each_start() {
    let mut stage = Stage::new();
    stage.apply(start(false));
    let first = stage.event();
    assert_eq!(
        (first.kind, first.state),
        (EventKind::Start, EventState::Waiting)
    );
    assert_eq!(first.data, json!({ "first": true }));
    // The runtime may start again before it was handled.
    stage.apply(start(true));
    assert_eq!(stage.event(), first);
    stage.apply(handled(&first, None));
    assert_eq!(stage.event().state, EventState::Held);
    assert_eq!(
        stage.apply(handled(&first, None)).result,
        CommitResult::Stale
    );
    stage.apply(start(false));
    assert_eq!(stage.event().state, EventState::Held);
    stage.apply(start(true));
    let second = stage.event();
    assert_eq!(second.state, EventState::Waiting);
    assert_eq!(second.data, json!({ "first": false }));
    assert_ne!(second.id, first.id);
}

#[test]
fn a_start_that_failed_stays_a_dead_letter_and_is_not_forgotten_when_it_is_dropped() {
    let mut stage = Stage::new();
    stage.apply(start(false));
    let first = stage.event();
    stage.apply(failed(&first, None));
    stage.apply(start(false));
    assert_eq!(stage.event().state, EventState::Dead);
    stage.apply(Commit::Drop {
        target: QueueTarget::Event(first.id),
        at: Timestamp::new(3_000),
    });
    stage.apply(start(false));
    assert_eq!(stage.event().state, EventState::Held);
}

#[test]
fn a_schedule_keeps_its_next_time_until_it_is_another() {
    let mut stage = Stage::new();
    stage.apply(poll("1m", 60_000));
    stage.apply(poll("1m", 90_000));
    assert_eq!(stage.ticks(), [(60_000, EventState::Waiting)]);
    stage.apply(poll("2m", 120_000));
    assert_eq!(stage.ticks(), [(120_000, EventState::Waiting)]);
}

#[test]
fn each_tick_plans_the_next_one_in_the_same_commit() {
    let mut stage = Stage::new();
    stage.apply(poll("1m", 60_000));
    let first = stage.event();
    stage.apply(handled(&first, Some(120_000)));
    let second = stage.event();
    assert_eq!(stage.ticks(), [(120_000, EventState::Waiting)]);
    assert_ne!(second.origin, first.origin);
    assert_eq!(
        stage.apply(handled(&first, Some(180_000))).result,
        CommitResult::Stale
    );
    // A retry moves the time at which it is due, not the time that it is for.
    let retried = match failed(&second, None) {
        Commit::Failure {
            event,
            attempts,
            reason,
            public,
            watchers,
            at,
            ..
        } => Commit::Failure {
            event,
            attempts,
            reason,
            public,
            retry_at: Some(Timestamp::new(125_000)),
            again_at: Some(Timestamp::new(180_000)),
            watchers,
            at,
        },
        other => other,
    };
    stage.apply(retried);
    assert_eq!(stage.event().due_at.get(), 125_000);
    assert_eq!(stage.ticks(), [(120_000, EventState::Waiting)]);
    // A tick of a schedule that is gone.
    stage.apply(handled(&stage.event(), None));
    assert_eq!(stage.events(), []);
}

#[test]
fn a_tick_that_failed_for_good_does_not_end_its_schedule() {
    let mut stage = Stage::new();
    stage.apply(poll("1m", 60_000));
    let first = stage.event();
    stage.apply(failed(&first, Some(120_000)));
    let both = [(60_000, EventState::Dead), (120_000, EventState::Waiting)];
    assert_eq!(stage.ticks(), both);
    // Its retry plans no second one.
    stage.apply(Commit::Retry {
        target: QueueTarget::All,
        at: Timestamp::new(3_000),
    });
    let again = stage.events().into_iter().next().unwrap();
    assert_eq!((again.id, again.state), (first.id, EventState::Waiting));
    stage.apply(handled(&again, Some(180_000)));
    assert_eq!(stage.ticks(), [(120_000, EventState::Waiting)]);
}

#[test]
fn what_waits_for_its_time_is_not_dropped() {
    let mut stage = Stage::new();
    stage.apply(poll("1m", 60_000));
    let drop = |id| Commit::Drop {
        target: QueueTarget::Event(id),
        at: Timestamp::new(3_000),
    };
    assert_eq!(stage.apply(drop(stage.event().id)).rows, 0);
    stage.apply(failed(&stage.event(), Some(120_000)));
    assert_eq!(stage.apply(drop(EventId(1))).rows, 1);
    assert_eq!(stage.ticks(), [(120_000, EventState::Waiting)]);
}

#[test]
fn what_follows_from_a_message_carries_its_trail_on() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    let trail = Trail {
        hops: 3,
        trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            .parse()
            .ok(),
    };
    let header = Header {
        trail,
        ..Header::default()
    };
    let mut sent = draft("message/1/one/0", "");
    sent.payload = message::compose(&Payload::Text("ask".to_owned()), Some(&header)).unwrap();
    sent.receipt = Some(ReceiptRequest {
        behaviour: Some("one".to_owned()),
        label: Some("label".to_owned()),
        wanted: None,
        within_ms: 1_000,
        resends: 0,
    });
    let signed = prepared(&sent, 77);
    let set = TimerSetting {
        due_at: Timestamp::new(9_000),
        data: json!(0),
    };
    stage.apply(Commit::Outcome(Outcome {
        timers: vec![("alarm".to_owned(), Some(set))],
        tasks: vec![job("job")],
        sends: vec![(sent, Some(signed))],
        trail,
        ..outcome(FIRST, "one")
    }));
    let task = stage.state.tasks().iter().next().unwrap().clone();
    assert_eq!(task.trail, trail);
    stage.apply(Commit::TaskEnd {
        task: task.id,
        attempts: 0,
        end: agentry_core::commit::TaskEnd::Canceled,
        used: None,
        duration_ms: 1,
        at: Timestamp::new(3_000),
    });
    stage.apply(Commit::Post {
        id: agentry_core::OutboxId(1),
        result: agentry_core::commit::PostResult::Failed {
            reason: "refused".to_owned(),
        },
        at: Timestamp::new(3_000),
    });
    let mut kinds = Vec::new();
    for event in stage.events() {
        assert_eq!(event.trail, trail, "{:?}", event.kind);
        kinds.push(event.kind.as_str());
    }
    kinds.sort_unstable();
    assert_eq!(kinds, ["delivery", "task", "timer"]);
}
