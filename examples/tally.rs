//! A binary with a behaviour of its own: `tally` answers each text with the number of texts so far.

use std::process::ExitCode;

use agentry_sdk::{Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Setup};
use serde::Deserialize;

/// Its keys in agents.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TallySettings {
    /// The text that precedes the number.
    #[serde(default)]
    prefix: String,
}

#[derive(Debug)]
struct Tally {
    prefix: String,
}

impl Behaviour for Tally {
    const KIND: &'static str = "tally";
    type Settings = TallySettings;

    fn configure(settings: TallySettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self {
            prefix: settings.prefix,
        })
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some() && !message.is_answer()
    }

    async fn on_message(&self, _: &Message, context: &Context) -> Result<Effects, BehaviourError> {
        let before = context
            .state
            .get("count")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0);
        let count = before + 1;
        Ok(Effects::none()
            .set_state("count", count)
            .reply(format!("{}{count}", self.prefix)))
    }
}

fn main() -> ExitCode {
    agentry::cli::main_with(agentry::builtins().with::<Tally>())
}
