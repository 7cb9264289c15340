//! `pong`: answers a text with a text.
//!
//! ```toml
//! behaviours = [{ kind = "pong", trigger = "ping", reply = "pong", match = "exact" }]
//! ```
//!
//! The command `PING` counts as the text `ping`: if that text matches the trigger, the command is
//! answered with the command `PONG`. A message whose header says that it is an answer is never
//! answered.

use agentry_sdk::protocol::KnownCommand;
use agentry_sdk::{
    Authenticity, Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Setup,
};
use regex::{Regex, RegexBuilder};
use serde::Deserialize;

/// The largest compiled pattern, in bytes. A pattern comes from the operator, so this guards
/// against an error (`.{1,100000}`), not against an attacker.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// The command that is answered with `PONG`, and the equivalent text.
const PING: &str = "PING";
const PING_TEXT: &str = "ping";

/// How a text is compared with the trigger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Match {
    /// The text is exactly the trigger.
    #[default]
    Exact,
    /// The trigger occurs in the text.
    Contains,
    /// The trigger is a regular expression that matches a part of the text. The syntax is that of
    /// the [regex](https://docs.rs/regex) crate, whose search time is linear in the text.
    Regex,
}

/// The keys of `pong` in agents.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PongSettings {
    /// The text that is answered. Default `ping`.
    #[serde(default = "default_trigger")]
    pub trigger: String,
    /// The answer. Default `pong`.
    #[serde(default = "default_reply")]
    pub reply: String,
    /// How a text is compared with the trigger. Default `exact`.
    #[serde(default, rename = "match")]
    pub matching: Match,
}

fn default_trigger() -> String {
    "ping".to_owned()
}

fn default_reply() -> String {
    "pong".to_owned()
}

/// Answers a text with a text.
///
/// It is the only built-in behaviour that accepts unverified messages by default: a plain client
/// sends neither a header nor a key, and a forged sender can only cause the reply to be sent to
/// another address.
#[derive(Debug)]
pub struct Pong {
    trigger: Trigger,
    reply: String,
}

#[derive(Debug)]
enum Trigger {
    Exact(String),
    Contains(String),
    Regex(Regex),
}

impl Trigger {
    fn fires(&self, text: &str) -> bool {
        match self {
            Self::Exact(trigger) => text == trigger,
            Self::Contains(trigger) => text.contains(trigger.as_str()),
            Self::Regex(pattern) => pattern.is_match(text),
        }
    }
}

impl Behaviour for Pong {
    const KIND: &'static str = "pong";
    type Settings = PongSettings;

    fn configure(settings: PongSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        if settings.trigger.is_empty() {
            return Err(ConfigureError(
                "`trigger` is empty: every text would match it; set it to a text".into(),
            ));
        }
        let trigger = match settings.matching {
            Match::Exact => Trigger::Exact(settings.trigger),
            Match::Contains => Trigger::Contains(settings.trigger),
            Match::Regex => Trigger::Regex(
                RegexBuilder::new(&settings.trigger)
                    .size_limit(REGEX_SIZE_LIMIT)
                    .build()
                    .map_err(|error| {
                        ConfigureError(format!(
                            "`trigger` is not a valid regular expression: {error}"
                        ))
                    })?,
            ),
        };
        if trigger.fires(&settings.reply) {
            return Err(ConfigureError(format!(
                "the reply {:?} would itself match the trigger: two such agents would answer each \
                 other forever; change `reply`, `trigger` or `match`",
                settings.reply
            )));
        }
        Ok(Self {
            trigger,
            reply: settings.reply,
        })
    }

    fn demands(&self) -> Authenticity {
        Authenticity::Unverified
    }

    fn commands(&self) -> Vec<String> {
        let ping = self.trigger.fires(PING_TEXT).then(|| PING.to_owned());
        ping.into_iter().collect()
    }

    fn executes(&self, _: &str) -> bool {
        false
    }

    fn accepts(&self, message: &Message) -> bool {
        let said = match message.cmd() {
            Some(PING) => Some(PING_TEXT),
            Some(_) => None,
            None => message.text(),
        };
        !message.is_answer() && said.is_some_and(|text| self.trigger.fires(text))
    }

    async fn on_message(&self, message: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        let effects = Effects::none();
        Ok(if message.cmd().is_some() {
            effects.reply_command(&KnownCommand::Pong)
        } else {
            effects.reply(self.reply.clone())
        })
    }
}
