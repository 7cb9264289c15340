//! An echo with state: `echo` answers each text with the text and the number of its answers.
//!
//! A complete binary: the command line of `agentry`, with one more kind. In agents.toml:
//!
//! ```toml
//! behaviours = [{ kind = "echo", prefix = "you said: " }]
//! ```

use std::process::ExitCode;

use agentry_sdk::{Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Setup};
use serde::Deserialize;
use serde_json::Value;

/// The longest text that is answered, in bytes. The limit bounds what a stranger can make the agent
/// pay for.
const LONGEST: usize = 10_000;

/// Its keys in agents.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EchoSettings {
    /// The text that precedes the answer.
    #[serde(default)]
    prefix: String,
}

#[derive(Debug)]
struct Echo {
    prefix: String,
}

impl Behaviour for Echo {
    const KIND: &'static str = "echo";
    type Settings = EchoSettings;

    fn configure(settings: EchoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        if settings.prefix.len() > LONGEST {
            return Err(ConfigureError(format!(
                "`prefix` is longer than {LONGEST} bytes"
            )));
        }
        Ok(Self {
            prefix: settings.prefix,
        })
    }

    // An answer is not accepted: two echoes would answer each other forever.
    fn accepts(&self, message: &Message) -> bool {
        !message.is_answer() && message.text().is_some_and(|text| text.len() <= LONGEST)
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        // The count is in the state, not in the behaviour itself, which may be made again at any
        // time.
        let spoken = context.state.get("spoken").and_then(Value::as_u64);
        let spoken = spoken.unwrap_or(0) + 1;
        let text = message.text().unwrap_or_default();
        Ok(Effects::none()
            .set_state("spoken", spoken)
            .reply(format!("{}{text} ({spoken})", self.prefix)))
    }
}

fn main() -> ExitCode {
    agentry::cli::main_with(agentry::builtins().with::<Echo>())
}

#[cfg(test)]
mod tests {
    use agentry_sdk::testing::{
        Agent, Contract, MessageBuilder, Simulation, assert_behaviour_contract, block_on,
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn it_answers_and_counts_despite_faults() {
        block_on(async {
            let mut chain = Simulation::new(1);
            let settings = json!({ "prefix": "you said: " });
            let echo = chain.host(Agent::named("echo").with::<Echo>(settings));
            let alice = chain.peer("alice");

            let hello = chain.deliver(alice.text("hello")).await;
            chain.replay(hello);
            chain.crash_before_commit(&echo);
            chain.deliver(alice.text("bye")).await;

            let answers = chain.sent_to(&alice);
            let texts: Vec<_> = answers.iter().filter_map(|sent| sent.text()).collect();
            assert_eq!(texts, ["you said: hello (1)", "you said: bye (2)"]);
            assert_eq!(answers[0].re, Some(hello));
            assert_eq!(chain.state(&echo, "echo").get("spoken"), Some(&json!(2)));
        });
    }

    #[test]
    fn it_keeps_the_contract() {
        block_on(assert_behaviour_contract(
            Contract::of::<Echo>().samples([MessageBuilder::text("anyone there?")]),
        ));
    }
}
