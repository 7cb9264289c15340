//! Origins follow from content, not from the places of rows.

use std::collections::BTreeSet;

use agentry_core::commit::{
    Handled, HostedAgent, Observation, Outcome, Plan, Planned, Step, TimerSetting,
};
use agentry_core::rows::{EventKind, EventRef, ReceiptRequest};
use agentry_core::{AgentId, Commit, InboxId, State, TaskId, TokenCharge, origin};
use agentry_protocol::{BlockHeight, Timestamp};
use serde_json::json;

use super::{Stage, address, arrival, draft, job, observation, outcome, own, prepared};

/// A message leads to an event of each kind. All rows have other ids if something was there before.
fn origins(is_shifted: bool) -> BTreeSet<String> {
    let mut stage = Stage::new();
    let (mut agent, mut message) = (AgentId(1), 1);
    if is_shifted {
        stage = Stage {
            state: State::default(),
        };
        let host = |byte: u8| HostedAgent {
            address: address(byte),
            name: format!("agent {byte}"),
            start_height: BlockHeight(0),
        };
        stage.apply(Commit::Host {
            agents: vec![host(7), host(1)],
        });
        stage.hear(9, 4);
        let set = TimerSetting {
            due_at: Timestamp::new(9_000),
            data: json!(0),
        };
        stage.apply(Commit::Outcome(Outcome {
            timers: vec![("earlier".to_owned(), Some(set))],
            tasks: vec![job("earlier")],
            sends: vec![(draft("earlier", "hello"), None)],
            ..outcome(InboxId(1), "one")
        }));
        (agent, message) = (AgentId(2), 2);
    }
    let before: BTreeSet<_> = stage.state.events().iter().map(|row| row.id).collect();
    let mut heard = arrival(1, 5);
    heard.agent = agent;
    stage.see(vec![Step::Arrival(heard)]);
    let event = EventRef::Inbox(InboxId(message));
    let mut sent = draft(&stage.state.origin(event).unwrap().draft("one", 0), "ask");
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
    let handled = Handled {
        watchers: vec!["watcher".to_owned()],
        unacted: None,
    };
    stage.apply(Commit::Outcome(Outcome {
        timers: vec![("alarm".to_owned(), Some(set))],
        tasks: vec![job("job")],
        sends: vec![(sent, Some(signed.clone()))],
        handled: Some(handled),
        ..outcome(InboxId(message), "one")
    }));
    let task = TaskId(message);
    stage.apply(Commit::TaskBegin {
        task,
        attempts: 0,
        reserved: TokenCharge::default(),
        at: Timestamp::new(3_000),
    });
    stage.apply(Commit::TaskProgress {
        task,
        attempts: 1,
        progress: 0.5,
        note: None,
        tell: true,
        at: Timestamp::new(3_500),
    });
    stage.apply(Commit::Register {
        agent,
        card: json!({ "name": "agent" }),
        due_at: Timestamp::new(1_000),
    });
    let plans = [
        Planned::Start { again: false },
        Planned::Tick {
            name: "poll".to_owned(),
            schedule: "1m".to_owned(),
            due_at: Timestamp::new(60_000),
        },
    ];
    stage.apply(Commit::Plan {
        plans: plans
            .map(|when| Plan {
                agent,
                behaviour: "one".to_owned(),
                when,
            })
            .to_vec(),
        at: Timestamp::new(1_000),
    });
    stage.apply(Commit::Observe(Observation {
        steps: vec![Step::Sighting {
            agent,
            hash: signed.hash,
            own: Some(own(&signed)),
            height: BlockHeight(6),
            block_hash: None,
        }],
        ..observation(Vec::new())
    }));
    let events = stage.state.events().iter();
    let new: Vec<_> = events.filter(|row| !before.contains(&row.id)).collect();
    let kinds: BTreeSet<_> = new.iter().map(|row| row.kind.as_str()).collect();
    assert_eq!(kinds.len(), EventKind::ALL.len());
    let sent = stage.outgoing(message).origin;
    let resend = origin::of_resend(&sent, 1);
    let tasks = stage.state.tasks().get(&task).unwrap().origin.to_string();
    let origins = new.iter().map(|row| row.origin.to_string());
    origins.chain([sent, resend, tasks]).collect()
}

#[test]
fn two_states_with_other_ids_derive_the_same_origins() {
    assert_eq!(origins(false).len(), EventKind::ALL.len() + 3);
    assert_eq!(origins(false), origins(true));
}
