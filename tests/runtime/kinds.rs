//! The kinds of behaviour that the tests use.

use std::time::Duration;

use agentry_sdk::protocol::{AckRequest, Address};
use agentry_sdk::{
    Authenticity, Behaviour, BehaviourError, ConfigureError, Context, DeliveryUpdate, Desk,
    Effects, Message, Outgoing, Registry, SentMessage, Setup, Task, TaskError, TaskOutput,
    TaskReport, TaskStart, Timer,
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
        .with::<super::worker::Worker>()
        .with::<Asker>()
        .with::<Alarm>()
        .with::<Restless>()
        .with::<Treadmill>()
        .with::<Hoarder>()
        .with::<Confidant>()
        .with::<Chatterbox>()
        .with::<super::plans::Ticker>()
        .with::<super::plans::Relay>()
}

/// Counts the messages in its state, and answers with the number.
#[derive(Debug)]
pub(crate) struct Counter;

impl Behaviour for Counter {
    const KIND: &'static str = "counter";
    type Settings = NoSettings;

    fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn demands(&self) -> Authenticity {
        Authenticity::Unverified
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some()
    }

    async fn on_message(&self, _: &Message, context: &Context) -> Result<Effects, BehaviourError> {
        Ok(counted(context))
    }
}

/// Counts a message in the state, and answers with its number.
fn counted(context: &Context) -> Effects {
    let count = context.state.get("count");
    let count = count.and_then(serde_json::Value::as_u64).unwrap_or(0) + 1;
    Effects::none()
        .reply(format!("count {count}"))
        .set_state("count", count)
}

/// Does what the text says: `panic`, `panic at the door`, `block`, `sleep`, `fail`, `fail 2 times`,
/// or `say …`.
#[derive(Debug)]
pub(crate) struct Moody;

impl Behaviour for Moody {
    const KIND: &'static str = "moody";
    type Settings = NoSettings;

    fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn demands(&self) -> Authenticity {
        Authenticity::Unverified
    }

    fn accepts(&self, message: &Message) -> bool {
        assert_ne!(message.text(), Some("panic at the door"), "as requested");
        message.text().is_some()
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let text = message.text().unwrap_or_default();
        match text {
            "panic" => panic!("as requested"),
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

/// Answers every text of a verified sender.
#[derive(Debug)]
pub(crate) struct Strict;

impl Behaviour for Strict {
    const KIND: &'static str = "strict";
    type Settings = NoSettings;

    fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
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

/// The keys of [`Asker`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskerSettings {
    /// The agent that it asks.
    to: Address,
    /// How long it waits for an acknowledgment, in milliseconds.
    within_ms: u64,
    /// How often it resends.
    resends: u32,
}

/// Passes each text on to another agent, asks for an acknowledgment, and keeps the delivery updates
/// in its state.
#[derive(Debug)]
pub(crate) struct Asker(AskerSettings);

impl Behaviour for Asker {
    const KIND: &'static str = "asker";
    type Settings = AskerSettings;

    fn configure(settings: AskerSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self(settings))
    }

    fn demands(&self) -> Authenticity {
        Authenticity::Unverified
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some() && message.from != self.0.to
    }

    async fn on_message(&self, message: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        let text = message.text().unwrap_or_default();
        let within = Duration::from_millis(self.0.within_ms);
        let question = Outgoing::text(text)
            .acknowledged(AckRequest::Done, within, self.0.resends)
            .label(text);
        Ok(Effects::none().send_with(self.0.to.clone(), question))
    }

    async fn on_delivery_update(
        &self,
        sent: &SentMessage,
        update: &DeliveryUpdate,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let mut updates = context
            .state
            .get(&sent.label)
            .and_then(|updates| updates.as_array().cloned())
            .unwrap_or_default();
        let word = serde_json::to_value(update).unwrap();
        updates.push(word["update"].clone());
        Ok(Effects::none().set_state(sent.label.clone(), updates))
    }
}

/// Answers a text after a delay: `in MILLISECONDS`. A second text before that replaces the first.
#[derive(Debug)]
pub(crate) struct Alarm;

impl Behaviour for Alarm {
    const KIND: &'static str = "alarm";
    type Settings = NoSettings;

    fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn demands(&self) -> Authenticity {
        Authenticity::Unverified
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some_and(|text| text.starts_with("in "))
    }

    async fn on_message(&self, message: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        let text = message.text().unwrap_or_default();
        let after = text.trim_start_matches("in ").parse().unwrap_or(0);
        let whom = message.from.to_string();
        Ok(Effects::none().schedule("alarm", Duration::from_millis(after), whom))
    }

    async fn on_timer(&self, timer: &Timer, _: &Context) -> Result<Effects, BehaviourError> {
        let whom: Address = timer.data.as_str().unwrap_or_default().parse().unwrap();
        Ok(Effects::none().send(whom, "it is time"))
    }
}

/// On the first message, sets a timer that sets itself again immediately, without end.
#[derive(Debug)]
pub(crate) struct Restless;

impl Behaviour for Restless {
    const KIND: &'static str = "restless";
    type Settings = NoSettings;

    fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn demands(&self) -> Authenticity {
        Authenticity::Unverified
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some()
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none().schedule("again", Duration::ZERO, 0))
    }

    async fn on_timer(&self, timer: &Timer, _: &Context) -> Result<Effects, BehaviourError> {
        let times = timer.data.as_u64().unwrap_or_default() + 1;
        Ok(Effects::none().schedule("again", Duration::ZERO, times))
    }
}

/// On the first message, starts a task, the end of which starts the next one, without end.
#[derive(Debug)]
pub(crate) struct Treadmill;

impl Treadmill {
    fn task(number: u64) -> Effects {
        Effects::none().start_task(TaskStart {
            key: number.to_string(),
            kind: "step".to_owned(),
            input: number.into(),
            deadline: None,
        })
    }
}

impl Behaviour for Treadmill {
    const KIND: &'static str = "treadmill";
    type Settings = NoSettings;

    fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn demands(&self) -> Authenticity {
        Authenticity::Unverified
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some()
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Self::task(0))
    }

    async fn execute(&self, _: &Task, _: &Desk) -> Result<TaskOutput, TaskError> {
        Ok(TaskOutput::text(""))
    }

    async fn on_task(&self, report: &TaskReport, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Self::task(report.task.input.as_u64().unwrap() + 1))
    }
}

/// Sets this many timers for a text `keep COUNT NAME`, and cancels them at `drop COUNT NAME`. Answers
/// with the number of the message, which it counts in its state.
#[derive(Debug)]
pub(crate) struct Hoarder;

impl Behaviour for Hoarder {
    const KIND: &'static str = "hoarder";
    type Settings = NoSettings;

    fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some()
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let words: Vec<&str> = message.text().unwrap().split(' ').collect();
        let [verb, count, name] = words[..] else {
            return Err(BehaviourError::permanent("keep or drop what?"));
        };
        let day = Duration::from_secs(24 * 60 * 60);
        let names = (0..count.parse().unwrap()).map(|index: u32| format!("{name}/{index}"));
        let counted = counted(context);
        Ok(names.fold(counted, |effects, name| match verb {
            "keep" => effects.schedule(name, day, 0),
            _ => effects.unschedule(name),
        }))
    }
}

/// Answers a sealed message with its own text, sealed, and accepts no other.
#[derive(Debug)]
pub(crate) struct Confidant;

impl Behaviour for Confidant {
    const KIND: &'static str = "confidant";
    type Settings = NoSettings;

    fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn demands_seal(&self) -> bool {
        true
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some() && !message.is_answer()
    }

    async fn on_message(&self, message: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none().reply(message.text().unwrap_or_default()))
    }
}

/// Answers every message, answers included.
#[derive(Debug)]
pub(crate) struct Chatterbox;

impl Behaviour for Chatterbox {
    const KIND: &'static str = "chatterbox";
    type Settings = NoSettings;

    fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some()
    }

    async fn on_message(&self, message: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none().reply(message.text().unwrap_or_default()))
    }
}
