//! The kinds of behaviour that the tests use.

use std::time::Duration;

use agentry_sdk::{
    Authenticity, Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Registry,
};
use serde::Deserialize;

/// Settings without keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoSettings {}

pub(crate) fn registry() -> Registry {
    agentry::builtins()
        .with::<Counter>()
        .with::<Moody>()
        .with::<Strict>()
}

/// Counts the messages in its state, and answers with the number.
#[derive(Debug)]
pub(crate) struct Counter;

impl Behaviour for Counter {
    const KIND: &'static str = "counter";
    type Settings = NoSettings;

    fn configure(_: NoSettings) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn demands(&self) -> Authenticity {
        Authenticity::Unverified
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some()
    }

    async fn on_message(&self, _: &Message, context: &Context) -> Result<Effects, BehaviourError> {
        let count = context
            .state
            .get("count")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0)
            + 1;
        Ok(Effects::none()
            .reply(format!("count {count}"))
            .set_state("count", count))
    }
}

/// Does what the text tells it to: `panic`, `panic at the door`, `block`, `sleep`, `fail`, `fail 2 times`, or `say …`.
#[derive(Debug)]
pub(crate) struct Moody;

impl Behaviour for Moody {
    const KIND: &'static str = "moody";
    type Settings = NoSettings;

    fn configure(_: NoSettings) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn demands(&self) -> Authenticity {
        Authenticity::Unverified
    }

    fn accepts(&self, message: &Message) -> bool {
        assert_ne!(message.text(), Some("panic at the door"), "as I was told");
        message.text().is_some()
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let text = message.text().unwrap_or_default();
        match text {
            "panic" => panic!("as I was told"),
            "block" => {
                std::thread::sleep(Duration::from_secs(6));
                Ok(Effects::none().reply("too late"))
            }
            "sleep" => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                Ok(Effects::none().reply("too late"))
            }
            "fail" => Err(BehaviourError::permanent("I do not want to")),
            "fail 2 times" if context.attempt <= 2 => Err(BehaviourError::transient("not yet")),
            text => Ok(Effects::none().reply(format!("did: {text}"))),
        }
    }
}

/// Answers every text of a sender who is proven.
#[derive(Debug)]
pub(crate) struct Strict;

impl Behaviour for Strict {
    const KIND: &'static str = "strict";
    type Settings = NoSettings;

    fn configure(_: NoSettings) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some()
    }

    async fn on_message(&self, message: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        let text = message.text().unwrap_or_default();
        Ok(Effects::none().reply(format!("I believe you: {text}")))
    }
}
