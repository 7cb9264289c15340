//! What `pong` answers, and what it refuses to be.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use agentry_sdk::protocol::{
    Address, BlockHeight, Json, MessageDigest, Number, Payload, TransactionHash,
};
use agentry_sdk::{AnyBehaviour, Authenticity, BuildError, Context, Effect, Message, State};
use serde_json::{Map, Value, json};

fn address(text: &str) -> Address {
    Address::from_chain(text).unwrap()
}

fn message(payload: &Json) -> Message {
    Message {
        transaction: TransactionHash::of(b"transaction"),
        digest: MessageDigest::of(b"message"),
        from: address("ait1sender"),
        to: address("ait1agent"),
        amount: Number::from(0_u64),
        height: BlockHeight(7),
        payload: Payload::read(payload),
        authenticity: Authenticity::Unverified,
    }
}

fn context() -> Context {
    Context {
        agent: "ponger".to_owned(),
        address: address("ait1agent"),
        behaviour: "pong".to_owned(),
        attempt: 1,
        now_ms: 0,
        state: State::default(),
    }
}

fn pong(settings: &Value) -> Result<Arc<dyn AnyBehaviour>, BuildError> {
    let settings: Map<String, Value> = settings.as_object().unwrap().clone();
    agentry_behaviours::builtins().build("pong", settings)
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
    let message = message(&Json::string("ping"));
    let effects = pong.on_message(&message, &context()).await.unwrap();
    assert_eq!(
        effects.as_slice(),
        [Effect::Reply {
            payload: Json::string("here")
        }]
    );
    effects.check().unwrap();
}

#[test]
fn it_takes_texts_alone() {
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
fn it_accepts_senders_that_nobody_knows() {
    assert_eq!(
        pong(&json!({})).unwrap().demands(),
        Authenticity::Unverified
    );
}

#[test]
fn settings_that_make_no_sense_are_refused_with_what_to_do() {
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
            "no regular expression",
        ),
        (
            json!({ "match": "regex", "trigger": "(a{1000}){1000}" }),
            "no regular expression",
        ),
        (json!({ "reply": "ping" }), "would itself fire the trigger"),
        (
            json!({ "match": "contains", "trigger": "p", "reply": "pong" }),
            "would itself fire",
        ),
    ] {
        let error = pong(&settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{settings}: {error}");
    }
}

#[test]
fn an_unknown_kind_names_the_known_ones() {
    let error = agentry_behaviours::builtins()
        .build("pogn", Map::new())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown behaviour kind \"pogn\"; this binary knows pong"
    );
}
