//! The contract test finds incorrect behaviours, and accepts correct ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentry_sdk::testing::{
    Breach, Contract, MessageBuilder, TaskPlan, assert_behaviour_contract, block_on,
};
use agentry_sdk::{
    Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Setup, TaskNews,
    TaskOutput, TaskReport, TaskStart, Timer,
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoSettings {}

/// Declares a behaviour without settings.
macro_rules! behaviour {
    ($name:ident, $kind:literal, $($body:tt)*) => {
        #[derive(Debug, Default)]
        struct $name;

        impl Behaviour for $name {
            const KIND: &'static str = $kind;
            type Settings = NoSettings;

            fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
                Ok(Self)
            }

            $($body)*
        }
    };
}

fn breach<B: Behaviour>() -> Breach {
    breach_of(&Contract::of::<B>())
}

fn breach_of(contract: &Contract) -> Breach {
    block_on(contract.check()).unwrap_err()
}

fn is_question(message: &Message) -> bool {
    message.text().is_some() && !message.is_answer()
}

fn count(context: &Context) -> u64 {
    let count = context
        .state
        .get("count")
        .and_then(serde_json::Value::as_u64);
    count.unwrap_or(0) + 1
}

behaviour! {
    Diligent, "diligent",

    fn accepts(&self, message: &Message) -> bool {
        is_question(message) && message.text().is_some_and(|text| text.len() < 100)
    }

    async fn on_message(&self, _: &Message, context: &Context) -> Result<Effects, BehaviourError> {
        let count = count(context);
        let start = TaskStart {
            key: format!("task {count}"),
            kind: "text".to_owned(),
            input: count.into(),
            deadline: None,
        };
        Ok(Effects::none()
            .set_state("count", count)
            .schedule("later", Duration::from_secs(30), count)
            .start_task(start)
            .reply(count.to_string()))
    }

    async fn on_timer(&self, timer: &Timer, context: &Context) -> Result<Effects, BehaviourError> {
        let seen = timer.data.clone();
        let boss = context.resolve("ann").map_err(|e| BehaviourError::permanent(e.to_string()))?;
        Ok(Effects::none().set_state("timer", seen.clone()).send(boss, format!("timer {seen}")))
    }

    async fn execute(
        &self,
        task: &agentry_sdk::Task,
        _: &agentry_sdk::Desk,
    ) -> Result<TaskOutput, agentry_sdk::TaskError> {
        if task.attempt == 1 && task.input == 2 {
            return Err(agentry_sdk::TaskError::transient("again", "not yet"));
        }
        Ok(TaskOutput::text(task.input.to_string()))
    }

    async fn on_task(&self, report: &TaskReport, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(match &report.news {
            TaskNews::Completed { output, .. } => Effects::none().reply(format!("did {}", output.text)),
            _ => Effects::none(),
        })
    }
}

#[test]
fn a_correct_behaviour_that_uses_every_effect_passes() {
    block_on(assert_behaviour_contract(
        Contract::of::<Diligent>()
            .samples([MessageBuilder::text("do it")])
            .prepare(|chain| {
                chain.plan_tasks(|task| match task.input.as_u64() {
                    Some(n) if n % 5 == 4 => TaskPlan::Hang,
                    _ => TaskPlan::Execute,
                });
            }),
    ));
}

static LIVES: AtomicU64 = AtomicU64::new(0);

behaviour! {
    Forgetful, "forgetful",

    fn accepts(&self, message: &Message) -> bool {
        is_question(message)
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        // Keeps the count outside of its state, so a repeated run counts twice.
        let count = LIVES.fetch_add(1, Ordering::Relaxed);
        Ok(Effects::none().reply(count.to_string()))
    }
}

#[test]
fn memory_outside_of_the_state_is_found_with_its_seed() {
    let breach = breach::<Forgetful>();
    assert_eq!(breach.law, "faults change nothing");
    assert_eq!(breach.seed, Some(1));
    assert!(breach.to_string().contains("AGENTRY_SEED=1"), "{breach}");
}

behaviour! {
    Chatty, "chatty",

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some()
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none().reply("and you?"))
    }
}

#[test]
fn endless_answers_are_found_unless_they_are_declared() {
    assert_eq!(
        breach::<Chatty>().law,
        "two instances stop answering each other"
    );
    block_on(Contract::of::<Chatty>().conversational().check()).unwrap();
}

behaviour! {
    Polite, "polite",

    fn accepts(&self, message: &Message) -> bool {
        is_question(message) || message.cmd() == Some("ACK")
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none().reply("thank you"))
    }
}

#[test]
fn an_answer_to_an_acknowledgment_is_found() {
    assert_eq!(
        breach::<Polite>().law,
        "an acknowledgment is never answered"
    );
}

behaviour! {
    Nervous, "nervous",

    fn accepts(&self, message: &Message) -> bool {
        message.cmd().is_some()
    }

    async fn on_message(&self, message: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        // Trusts a stranger to send valid parameters.
        let command = message.command().unwrap();
        let name = command.map(|command| command.name());
        Ok(Effects::none().set_state("last", name))
    }
}

#[test]
fn a_panic_over_an_invalid_command_is_found() {
    let breach = breach::<Nervous>();
    assert_eq!(breach.law, "no handler panics");
    assert!(
        breach.detail.contains("called `Result::unwrap()`"),
        "{breach}"
    );
}

behaviour! {
    Greedy, "greedy",

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some()
    }

    async fn on_message(&self, message: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        let key = message.transaction.to_string();
        Ok(Effects::none().set_state(key, "x".repeat(2_000)))
    }
}

#[test]
fn an_unbounded_state_is_found() {
    assert_eq!(breach::<Greedy>().law, "the state is bounded");
    let contract = Contract::of::<Greedy>().state_limit(1 << 20);
    block_on(contract.check()).unwrap();
}

behaviour! {
    Copycat, "copycat",

    fn accepts(&self, message: &Message) -> bool {
        is_question(message)
    }

    async fn on_message(&self, message: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none().set_state(message.text().unwrap_or_default(), 1))
    }
}

#[test]
fn a_state_key_that_a_stranger_chooses_is_found() {
    let breach = breach::<Copycat>();
    assert_eq!(breach.law, "no handler returns an impossible effect");
    assert!(breach.detail.contains("it must have 1 to 256"), "{breach}");
}

behaviour! {
    Fickle, "fickle",

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some() && LIVES.fetch_add(1, Ordering::Relaxed).is_multiple_of(2)
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none())
    }
}

behaviour! {
    Startled, "startled",

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some_and(|text| &text[..1] == "p")
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none())
    }
}

behaviour! {
    Shouting, "SHOUTING",

    fn accepts(&self, _: &Message) -> bool {
        false
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none())
    }
}

behaviour! {
    Idle, "idle",

    fn accepts(&self, _: &Message) -> bool {
        false
    }

    fn commands(&self) -> Vec<String> {
        vec!["é".to_owned()]
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none())
    }
}

behaviour! {
    Deaf, "deaf",

    fn accepts(&self, _: &Message) -> bool {
        false
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none())
    }
}

#[test]
fn laws_of_form_and_acceptance() {
    assert_eq!(
        breach::<Fickle>().law,
        "acceptance depends on the message only"
    );
    assert_eq!(breach::<Startled>().law, "acceptance never panics");
    assert_eq!(breach::<Shouting>().law, "the kind is well formed");
    assert_eq!(
        breach::<Idle>().law,
        "commands and capabilities fit on a card"
    );
    assert_eq!(breach::<Deaf>().law, "a handler runs");
}

#[derive(Debug)]
struct Lenient;

#[derive(Debug, Deserialize)]
struct LenientSettings {
    #[expect(dead_code, reason = "it represents any key")]
    word: String,
}

impl Behaviour for Lenient {
    const KIND: &'static str = "lenient";
    type Settings = LenientSettings;

    fn configure(_: LenientSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn accepts(&self, _: &Message) -> bool {
        false
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none())
    }
}

#[test]
fn settings_are_checked() {
    assert_eq!(breach::<Lenient>().law, "the settings are accepted");
    let contract = Contract::of::<Lenient>().settings(serde_json::json!({ "word": "x" }));
    assert_eq!(breach_of(&contract).law, "unknown keys are refused");
}
