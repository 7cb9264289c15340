//! A behaviour of your own: `reminder` sends a text back after a given time.
//!
//! `remind 600 the tea` is answered at once with `in 600 s: the tea`, and ten minutes later with
//! `reminder: the tea`.

use std::time::Duration;

use agentry_sdk::protocol::{Address, Thread};
use agentry_sdk::{
    Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Outgoing, Setup, Timer,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The start of the texts that this behaviour accepts.
const WORD: &str = "remind ";
/// The longest text that is kept, in bytes.
const LONGEST: usize = 1_000;

/// Its keys in agents.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReminderSettings {
    /// The most reminders that are kept at the same time.
    #[serde(default = "a_hundred")]
    most: u64,
}

fn a_hundred() -> u64 {
    100
}

/// Sends texts back after a given time.
#[derive(Debug)]
pub struct Reminder {
    most: u64,
}

/// The data of a timer.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    to: Address,
    text: String,
    thread: Option<Thread>,
}

/// The time and the text of `remind SECONDS TEXT`.
fn read(text: &str) -> Option<(Duration, &str)> {
    let (seconds, text) = text.strip_prefix(WORD)?.split_once(' ')?;
    let after = Duration::from_secs(seconds.parse().ok()?);
    (after <= agentry_sdk::effects::MAX_AHEAD && text.len() <= LONGEST).then_some((after, text))
}

/// The number of reminders that are kept now.
fn kept(context: &Context) -> u64 {
    let kept = context.state.get("kept").and_then(Value::as_u64);
    kept.unwrap_or(0)
}

impl Behaviour for Reminder {
    const KIND: &'static str = "reminder";
    type Settings = ReminderSettings;

    fn configure(settings: ReminderSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        if settings.most == 0 {
            return Err(ConfigureError(
                "`most` is 0, so no reminder could be kept; set it to 1 or more".into(),
            ));
        }
        Ok(Self {
            most: settings.most,
        })
    }

    // This depends on the message only. The behaviour's own texts do not start with the word, so
    // two reminders do not trigger each other.
    fn accepts(&self, message: &Message) -> bool {
        !message.is_answer() && message.text().is_some_and(|text| text.starts_with(WORD))
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let Some((after, text)) = message.text().and_then(read) else {
            return Ok(Effects::none()
                .reject("the text is not `remind SECONDS TEXT`")
                .reply("say: remind SECONDS TEXT"));
        };
        let kept = kept(context);
        if kept >= self.most {
            return Ok(Effects::none()
                .reject("the limit of reminders is reached")
                .reply("I cannot keep more reminders"));
        }
        let note = Note {
            to: message.from.clone(),
            text: text.to_owned(),
            thread: message
                .header
                .as_ref()
                .and_then(|header| header.thread.clone()),
        };
        // Each message has a timer with its own name, so that no timer replaces another.
        Ok(Effects::none()
            .set_state("kept", kept + 1)
            .schedule(message.transaction.to_string(), after, json!(note))
            .reply(format!("in {} s: {text}", after.as_secs())))
    }

    async fn on_timer(&self, timer: &Timer, context: &Context) -> Result<Effects, BehaviourError> {
        let note: Note = serde_json::from_value(timer.data.clone())
            .map_err(|error| BehaviourError::permanent(format!("the note is invalid: {error}")))?;
        let mut reminder = Outgoing::text(format!("reminder: {}", note.text));
        reminder.thread = note.thread;
        Ok(Effects::none()
            .set_state("kept", kept(context).saturating_sub(1))
            .send_with(note.to, reminder))
    }
}
