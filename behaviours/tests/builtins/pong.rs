//! The answers of `pong`, and the settings that it refuses.

use std::path::Path;
use std::sync::Arc;

use agentry_sdk::protocol::{Header, Json, KnownCommand, TransactionHash};
use agentry_sdk::{AnyBehaviour, Authenticity, BuildError, Event, Message, Outgoing};
use agentry_sdk::{Effect, Effects};
use serde_json::{Map, Value, json};

use crate::support::{self, build, command, context, run};

fn message(payload: &Json) -> Message {
    support::message(payload, Authenticity::Unverified)
}

fn pong(settings: &Value) -> Result<Arc<dyn AnyBehaviour>, BuildError> {
    build("pong", settings)
}

async fn answer(pong: &dyn AnyBehaviour, message: Message) -> Effects {
    run(pong, Event::Message(Arc::new(message)), &context()).await
}

#[tokio::test]
async fn it_answers_the_trigger_and_nothing_else() {
    for (settings, text, answered) in [
        (json!({}), "ping", true),
        (json!({}), "Ping", false),
        (json!({}), "ping ", false),
        (json!({}), "pong", false),
        (json!({}), "a ping", false),
        (json!({ "match": "contains" }), "a ping!", true),
        (json!({ "match": "contains" }), "pong", false),
        (
            json!({ "match": "regex", "trigger": "^p[io]ng [0-9]+$" }),
            "ping 12",
            true,
        ),
        (
            json!({ "match": "regex", "trigger": "^p[io]ng [0-9]+$" }),
            "ping twelve",
            false,
        ),
        (
            json!({ "trigger": "héllo", "reply": "wörld" }),
            "héllo",
            true,
        ),
    ] {
        let pong = pong(&settings).unwrap();
        assert_eq!(
            pong.accepts(&message(&Json::string(text))),
            answered,
            "{settings} {text:?}"
        );
    }
}

#[tokio::test]
async fn it_answers_with_the_reply() {
    let pong = pong(&json!({ "reply": "here" })).unwrap();
    let effects = answer(pong.as_ref(), message(&Json::string("ping"))).await;
    assert_eq!(effects.as_slice(), [Effect::Reply(Outgoing::text("here"))]);
}

#[tokio::test]
async fn the_command_is_answered_if_the_text_would_be() {
    for (settings, answered) in [
        (json!({}), true),
        (json!({ "reply": "here" }), true),
        (
            json!({ "match": "contains", "trigger": "in", "reply": "here" }),
            true,
        ),
        (json!({ "trigger": "PING" }), false),
        (json!({ "trigger": "hello" }), false),
    ] {
        let pong = pong(&settings).unwrap();
        let ping = command(&KnownCommand::Ping, &Header::default());
        assert_eq!(pong.accepts(&ping), answered, "{settings}");
        let expected: &[&str] = if answered { &["PING"] } else { &[] };
        assert_eq!(pong.commands(), expected, "{settings}");
        if answered {
            let effects = answer(pong.as_ref(), ping).await;
            let expected = Outgoing::command(&KnownCommand::Pong);
            assert_eq!(effects.as_slice(), [Effect::Reply(expected)], "{settings}");
        }
    }
    let pong = pong(&json!({})).unwrap();
    assert!(!pong.accepts(&command(&KnownCommand::Pong, &Header::default())));
}

#[test]
fn it_never_answers_an_answer() {
    let pong = pong(&json!({})).unwrap();
    let answering = Header {
        re: Some(TransactionHash::of(b"question")),
        ..Header::default()
    };
    assert!(!pong.accepts(&support::text("ping", &answering)));
    assert!(!pong.accepts(&command(&KnownCommand::Ping, &answering)));
    assert!(pong.accepts(&support::text("ping", &Header::default())));
}

#[test]
fn it_accepts_only_texts_and_ping() {
    let pong = pong(&json!({})).unwrap();
    let text_object = Json::object([("text", Json::string("ping"))]);
    assert!(pong.accepts(&message(&text_object)));
    for payload in [
        Json::null(),
        Json::integer(5),
        Json::array([Json::string("ping")]),
        Json::object([("cmd", Json::string("ping"))]),
        Json::string(r#"{"cmd":"ping"}"#),
    ] {
        assert!(
            !pong.accepts(&message(&payload)),
            "{}",
            payload.to_compact()
        );
    }
}

#[test]
fn it_accepts_unverified_senders() {
    assert_eq!(
        pong(&json!({})).unwrap().demands(),
        Authenticity::Unverified
    );
}

#[test]
fn invalid_settings_are_refused_with_a_fix() {
    for (settings, expected) in [
        (
            json!({ "triger": "x" }),
            "unknown field `triger`, expected one of `trigger`, `reply`, `match`",
        ),
        (json!({ "match": "prefix" }), "unknown variant `prefix`"),
        (json!({ "trigger": 5 }), "expected a string"),
        (json!({ "trigger": "" }), "`trigger` is empty"),
        (
            json!({ "match": "regex", "trigger": "(" }),
            "not a valid regular expression",
        ),
        (
            json!({ "match": "regex", "trigger": "(a{1000}){1000}" }),
            "not a valid regular expression",
        ),
        (json!({ "reply": "ping" }), "would itself match the trigger"),
        (
            json!({ "match": "contains", "trigger": "p", "reply": "pong" }),
            "would itself match",
        ),
    ] {
        let error = pong(&settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{settings}: {error}");
    }
}

#[test]
fn the_error_for_an_unknown_kind_lists_the_known_ones() {
    let error = agentry_behaviours::builtins()
        .build("pogn", Map::new(), Path::new(""))
        .unwrap_err();
    let error = error.to_string();
    assert!(error.contains("unknown behaviour kind \"pogn\""), "{error}");
    assert!(
        error.ends_with("pong") || error.contains("pong,"),
        "{error}"
    );
}
