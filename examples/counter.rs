//! A counter with a timer: `counter` counts texts, and reports the number some time after the
//! first.
//!
//! A complete binary: the command line of `agentry`, with one more kind. In agents.toml:
//!
//! ```toml
//! behaviours = [{ kind = "counter", report_to = "boss", after_seconds = 60 }]
//! ```
//!
//! `report_to` is the name of a hosted agent, of a `[[contact]]` or of an agent in the directory.

use std::process::ExitCode;
use std::time::Duration;

use agentry_sdk::{
    Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Setup, Timer,
};
use serde::Deserialize;
use serde_json::Value;

/// The name of the timer.
const REPORT: &str = "report";

/// Its keys in agents.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CounterSettings {
    /// The agent that receives the report.
    report_to: String,
    /// The time from the first text to the report, in seconds.
    #[serde(default = "a_minute")]
    after_seconds: u64,
}

fn a_minute() -> u64 {
    60
}

#[derive(Debug)]
struct Counter {
    report_to: String,
    after: Duration,
}

fn counted(context: &Context) -> u64 {
    let count = context.state.get("count").and_then(Value::as_u64);
    count.unwrap_or(0)
}

impl Behaviour for Counter {
    const KIND: &'static str = "counter";
    type Settings = CounterSettings;

    fn configure(settings: CounterSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        let after = Duration::from_secs(settings.after_seconds);
        if after.is_zero() || after > agentry_sdk::effects::MAX_AHEAD {
            return Err(ConfigureError(
                "`after_seconds` must be from 1 to ten years".into(),
            ));
        }
        Ok(Self {
            report_to: settings.report_to,
            after,
        })
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some() && !message.is_answer()
    }

    async fn on_message(&self, _: &Message, context: &Context) -> Result<Effects, BehaviourError> {
        let before = counted(context);
        let effects = Effects::none().set_state("count", before + 1);
        Ok(if before == 0 {
            effects.schedule(REPORT, self.after, ())
        } else {
            effects
        })
    }

    async fn on_timer(&self, _: &Timer, context: &Context) -> Result<Effects, BehaviourError> {
        // The name may become known later, so an unknown name is a transient failure. The count
        // stays until the report is sent.
        let boss = context
            .resolve(&self.report_to)
            .map_err(|error| BehaviourError::transient(error.to_string()))?;
        Ok(Effects::none()
            .clear_state("count")
            .send(boss, format!("{} texts", counted(context))))
    }
}

fn main() -> ExitCode {
    agentry::cli::main_with(agentry::builtins().with::<Counter>())
}

#[cfg(test)]
mod tests {
    use agentry_sdk::testing::{
        Agent, Contract, MessageBuilder, Simulation, assert_behaviour_contract, block_on,
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn it_reports_once_some_time_after_the_first() {
        block_on(async {
            let mut chain = Simulation::new(1);
            let settings = json!({ "report_to": "boss", "after_seconds": 10 });
            let counter = chain.host(Agent::named("counter").with::<Counter>(settings));
            let alice = chain.peer("alice");
            let boss = chain.peer("boss");

            for text in ["a", "b", "c"] {
                chain.deliver(alice.text(text)).await;
                chain.advance(Duration::from_secs(3)).await;
            }
            assert!(chain.sent_to(&boss).is_empty());
            chain.restart();
            chain.advance(Duration::from_secs(1)).await;
            assert_eq!(chain.sent_to(&boss)[0].text(), Some("3 texts"));

            // The next text starts a new count.
            chain.deliver(alice.text("d")).await;
            chain.advance(Duration::from_secs(60)).await;
            assert_eq!(chain.sent_to(&boss)[1].text(), Some("1 texts"));
            assert!(chain.timers(&counter, "counter").is_empty());
        });
    }

    #[test]
    fn a_boss_whom_nobody_knows_yet_is_told_later() {
        block_on(async {
            let mut chain = Simulation::new(1);
            let settings = json!({ "report_to": "boss" });
            chain.host(Agent::named("counter").with::<Counter>(settings));
            let alice = chain.peer("alice");
            chain.deliver(alice.text("a")).await;
            chain.advance(Duration::from_secs(61)).await;
            assert!(chain.sent().is_empty());

            let boss = chain.peer("boss");
            chain.advance(Duration::from_secs(10)).await;
            assert_eq!(chain.sent_to(&boss)[0].text(), Some("1 texts"));
        });
    }

    #[test]
    fn it_keeps_the_contract() {
        block_on(assert_behaviour_contract(
            Contract::of::<Counter>()
                .settings(json!({ "report_to": "ann", "after_seconds": 30 }))
                .samples([MessageBuilder::text("one more")]),
        ));
    }
}
