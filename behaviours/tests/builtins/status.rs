//! The answers of `status`.

use std::sync::Arc;

use agentry_sdk::protocol::command::{QueueCounts, Status, StatusReport, Tags, TaskCounts};
use agentry_sdk::protocol::{Header, Json, KnownCommand, TransactionHash};
use agentry_sdk::{Authenticity, Effect, Event, Outgoing};
use serde_json::json;

use crate::support::{Known, build, command, context_in, message, run};

fn whole() -> Status {
    Status {
        agent: Some("worker".parse().unwrap()),
        version: Some("1.2.3".parse().unwrap()),
        uptime_ms: Some(5_000),
        queue: Some(QueueCounts {
            inbox: 1,
            outbox: 2,
            dead: 3,
        }),
        tasks: Some(TaskCounts {
            submitted: 4,
            working: 5,
        }),
        capabilities: Tags::new(vec!["task:chat".parse().unwrap()]).unwrap(),
    }
}

fn question(header: &Header) -> agentry_sdk::Message {
    let priority = Some("high".parse().unwrap());
    command(
        &KnownCommand::StatusReport(StatusReport { priority }),
        header,
    )
}

#[tokio::test]
async fn it_reports_the_configured_parts() {
    let nothing = Status::default();
    for (settings, expected) in [
        (json!({}), whole()),
        (
            json!({ "tell": ["agent", "version", "uptime"] }),
            Status {
                queue: None,
                tasks: None,
                capabilities: Tags::default(),
                ..whole()
            },
        ),
        (
            json!({ "tell": ["queue", "tasks", "capabilities"] }),
            Status {
                agent: None,
                version: None,
                uptime_ms: None,
                ..whole()
            },
        ),
        (
            json!({ "tell": ["queue"] }),
            Status {
                queue: whole().queue,
                ..nothing
            },
        ),
    ] {
        let status = build("status", &settings).unwrap();
        let question = question(&Header::default());
        assert!(status.accepts(&question));
        let context = context_in(Known {
            status: whole(),
            ..Known::default()
        });
        let effects = run(
            status.as_ref(),
            Event::Message(Arc::new(question)),
            &context,
        )
        .await;
        let expected = Outgoing::command(&KnownCommand::Status(expected));
        assert_eq!(effects.as_slice(), [Effect::Reply(expected)], "{settings}");
    }
}

#[tokio::test]
async fn an_invalid_question_is_rejected() {
    let status = build("status", &json!({})).unwrap();
    let payload = Json::object([
        ("cmd", Json::string("STATUS_REPORT")),
        ("priority", Json::integer(5)),
    ]);
    let question = message(&payload, Authenticity::Verified);
    assert!(status.accepts(&question));
    let event = Event::Message(Arc::new(question));
    let effects = run(status.as_ref(), event, &context_in(Known::default())).await;
    let [Effect::Reject { reason }] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert!(reason.contains("priority"), "{reason}");
}

#[test]
fn it_accepts_only_the_question() {
    let status = build("status", &json!({})).unwrap();
    assert_eq!(status.commands(), ["STATUS_REPORT"]);
    assert_eq!(status.demands(), Authenticity::Verified);
    assert!(!status.accepts(&command(&KnownCommand::Status(whole()), &Header::default())));
    assert!(!status.accepts(&command(&KnownCommand::Ping, &Header::default())));
    let answering = Header {
        re: Some(TransactionHash::of(b"question")),
        ..Header::default()
    };
    assert!(!status.accepts(&question(&answering)));
}

#[test]
fn invalid_settings_are_refused() {
    for (settings, expected) in [
        (json!({ "tell": [] }), "`tell` is empty"),
        (json!({ "tell": ["secrets"] }), "unknown variant `secrets`"),
        (
            json!({ "tel": ["queue"] }),
            "unknown field `tel`, expected `tell`",
        ),
    ] {
        let error = build("status", &settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{settings}: {error}");
    }
}
