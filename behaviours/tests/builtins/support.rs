//! Messages and contexts for behaviours under test.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use agentry_sdk::directory::Answer;
use agentry_sdk::protocol::command::Status;
use agentry_sdk::protocol::{
    Address, BlockHeight, Header, Json, KnownCommand, MessageDigest, Payload, Timestamp,
    TransactionHash, compose,
};
use agentry_sdk::{
    AnyBehaviour, Authenticity, BuildError, Card, Context, Effects, Environment, Event, Message,
    NameError, Query, State,
};
use serde_json::Value;

/// The default sender.
pub(crate) const SENDER: &str = "ait1sender";

pub(crate) fn address(text: &str) -> Address {
    Address::from_chain(text).unwrap()
}

/// A built-in of a kind, with these keys.
pub(crate) fn build(kind: &str, settings: &Value) -> Result<Arc<dyn AnyBehaviour>, BuildError> {
    let settings = settings.as_object().unwrap().clone();
    agentry_behaviours::builtins().build(kind, settings, Path::new(""))
}

/// A message from [`SENDER`] whose transaction carries `payload`, in a transaction of its own.
pub(crate) fn message(payload: &Json, authenticity: Authenticity) -> Message {
    let text = payload.to_compact();
    Message::read(
        TransactionHash::of(text.as_bytes()),
        MessageDigest::of(text.as_bytes()),
        (address(SENDER), address("ait1agent")),
        payload,
        BlockHeight(7),
        authenticity,
    )
}

/// A verified text with a header.
pub(crate) fn text(text: &str, header: &Header) -> Message {
    let payload = compose(&Payload::Text(text.to_owned()), Some(header)).unwrap();
    message(&payload, Authenticity::Verified)
}

/// A verified command with a header.
pub(crate) fn command(command: &KnownCommand, header: &Header) -> Message {
    let payload = compose(&command.to_payload(), Some(header)).unwrap();
    message(&payload, Authenticity::Verified)
}

/// The names and cards that can be looked up.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) cards: Vec<Card>,
    pub(crate) names: BTreeMap<String, Address>,
    pub(crate) status: Status,
}

impl Environment for Known {
    fn find(&self, query: &Query, now: Timestamp) -> Vec<Card> {
        let fit = self.cards.iter().filter(|card| query.fits(card, now));
        fit.cloned().collect()
    }

    fn resolve(&self, name: &str, _: Timestamp) -> Result<Address, NameError> {
        let found = self.names.get(name).cloned();
        found.ok_or_else(|| NameError::Unknown(name.to_owned()))
    }

    fn status<'a>(&'a self, _: &'a str) -> Answer<'a, Status> {
        Box::pin(async { self.status.clone() })
    }
}

/// The context of a first run in this environment, at `now` 1,000.
pub(crate) fn context_in(environment: Known) -> Context {
    Context {
        agent: "worker".to_owned(),
        address: address("ait1agent"),
        behaviour: "it".to_owned(),
        attempt: 1,
        now: Timestamp::new(1_000),
        state: State::default(),
        environment: Arc::new(environment),
    }
}

/// The context of a first run in an empty environment.
pub(crate) fn context() -> Context {
    context_in(Known::default())
}

/// The effects of an event, which must be within the runtime's limits.
pub(crate) async fn run(behaviour: &dyn AnyBehaviour, event: Event, context: &Context) -> Effects {
    let effects = behaviour.on_event(&event, context).await.unwrap();
    effects.check().unwrap();
    effects
}
