//! The acknowledgments of `ack`.

use std::sync::Arc;

use agentry_sdk::protocol::command::{Ack, AckStatus, DETAIL_MAX, Detail, StatusReport};
use agentry_sdk::protocol::{AckRequest, Header, KnownCommand, TransactionHash};
use agentry_sdk::{Authenticity, Effect, Effects, Event, Message, Sealing, Settlement};
use serde_json::{Value, json};

use crate::support::{build, command, context, run, text};

/// A message that asks for this acknowledgment.
fn asking(ack: Option<AckRequest>) -> Message {
    let header = Header {
        ack,
        ..Header::default()
    };
    command(
        &KnownCommand::StatusReport(StatusReport::default()),
        &header,
    )
}

/// The status and the detail of the only effect, if there is one.
fn told(effects: &Effects) -> Option<(AckStatus, Option<String>)> {
    let [effect] = effects.as_slice() else {
        assert_eq!(effects, &Effects::none());
        return None;
    };
    let Effect::Reply(outgoing) = effect else {
        panic!("no reply: {effect:?}");
    };
    assert_eq!(outgoing.sealing, Sealing::Never);
    assert_eq!(outgoing.acknowledge, None);
    let agentry_sdk::protocol::Payload::Command(said) = &outgoing.payload else {
        panic!("no command: {outgoing:?}");
    };
    match KnownCommand::read(said).unwrap().unwrap() {
        KnownCommand::Ack(Ack { status, detail }) => {
            Some((status, detail.map(|detail| detail.to_string())))
        }
        other => panic!("no ACK: {other:?}"),
    }
}

async fn settled(
    settings: &Value,
    ack: AckRequest,
    settlement: Settlement,
) -> Option<(AckStatus, Option<String>)> {
    let ack_behaviour = build("ack", settings).unwrap();
    let message = asking(Some(ack));
    assert!(ack_behaviour.watches(&message));
    let event = Event::Settled(Arc::new(message), settlement);
    told(&run(ack_behaviour.as_ref(), event, &context()).await)
}

#[tokio::test]
async fn a_message_is_acknowledged_at_once() {
    let ack = build("ack", &json!({})).unwrap();
    for request in [AckRequest::Received, AckRequest::Done] {
        let message = asking(Some(request));
        assert!(ack.accepts(&message) && ack.watches(&message));
        let event = Event::Message(Arc::new(message));
        let effects = run(ack.as_ref(), event, &context()).await;
        assert_eq!(told(&effects), Some((AckStatus::Received, None)));
    }
}

#[test]
fn messages_without_a_request_and_acknowledgments_are_ignored() {
    let ack = build("ack", &json!({})).unwrap();
    let header = Header {
        ack: Some(AckRequest::Done),
        re: Some(TransactionHash::of(b"question")),
        ..Header::default()
    };
    let acknowledgment = KnownCommand::Ack(Ack {
        status: AckStatus::Received,
        detail: None,
    });
    for silent in [
        asking(None),
        text("ping", &Header::default()),
        command(&acknowledgment, &header),
    ] {
        assert!(!ack.accepts(&silent) && !ack.watches(&silent), "{silent:?}");
    }
    // An answer that asks for an acknowledgment is acknowledged.
    assert!(ack.accepts(&text("pong", &header)));
}

#[test]
fn only_verified_senders_are_answered() {
    assert_eq!(
        build("ack", &json!({})).unwrap().demands(),
        Authenticity::Verified
    );
}

#[tokio::test]
async fn the_outcome_is_acknowledged_if_the_sender_asked_for_it() {
    use AckRequest::{Done, Received};
    let failed = || Settlement::Failed {
        reason: "no bread".to_owned(),
    };
    let rejected = || Settlement::Rejected {
        reason: "no baker".to_owned(),
    };
    let why = |reason: &str| Some(reason.to_owned());
    for (request, settlement, expected) in [
        (Done, Settlement::Done, Some((AckStatus::Done, None))),
        (Received, Settlement::Done, None),
        (Done, failed(), Some((AckStatus::Failed, why("no bread")))),
        (Received, failed(), None),
        (
            Done,
            rejected(),
            Some((AckStatus::Rejected, why("no baker"))),
        ),
        (
            Received,
            rejected(),
            Some((AckStatus::Rejected, why("no baker"))),
        ),
        (Done, Settlement::Expired, Some((AckStatus::Expired, None))),
        (
            Received,
            Settlement::Expired,
            Some((AckStatus::Expired, None)),
        ),
    ] {
        let shown = format!("{request} {settlement:?}");
        assert_eq!(
            settled(&json!({}), request, settlement).await,
            expected,
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_reason_is_cut_or_left_out() {
    let reason = || Settlement::Failed {
        reason: "é".repeat(DETAIL_MAX),
    };
    let (_, detail) = settled(&json!({}), AckRequest::Done, reason())
        .await
        .unwrap();
    assert_eq!(
        detail.unwrap(),
        Detail::cut(&"é".repeat(DETAIL_MAX)).as_str()
    );
    let told = settled(&json!({ "detail": false }), AckRequest::Done, reason()).await;
    assert_eq!(told, Some((AckStatus::Failed, None)));
}
