//! A behaviour that executes the commands in a text and logs its events.

use std::time::Duration;

use agentry_sdk::protocol::AckRequest;
use agentry_sdk::task::Ask;
use agentry_sdk::testing::{Agent, Party, Simulation};
use agentry_sdk::{
    Authenticity, Behaviour, BehaviourError, ConfigureError, Context, DeliveryUpdate, Desk,
    Effects, Message, Outgoing, Query, Sealing, SentMessage, Settlement, Setup, Task, TaskError,
    TaskLimits, TaskNews, TaskOutput, TaskReport, TaskStart, Timer, Tokens,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PuppetSettings {
    unverified: bool,
    sealed_only: bool,
    watches: bool,
    commands: bool,
}

/// Runs texts, line by line: `reply WORDS`, `send NAME WORDS`, `ask NAME LABEL SECONDS RESENDS`,
/// `set KEY VALUE`, `clear KEY`, `timer NAME SECONDS`, `untimer NAME`, `task KEY KIND`, `cancel
/// KEY`, `reject WHY`, `transient`, `permanent`, `recover`, `find CAPABILITY`, `attempt`. Its state
/// has a list of its events under `log`.
#[derive(Debug)]
pub(crate) struct Puppet(PuppetSettings);

fn logged(context: &Context, line: impl Into<String>) -> Effects {
    let mut log = match context.state.get("log") {
        Some(Value::Array(log)) => log.clone(),
        _ => Vec::new(),
    };
    log.push(Value::String(line.into()));
    Effects::none().set_state("log", log)
}

fn seconds(word: &str) -> Duration {
    Duration::from_secs(word.parse().unwrap())
}

fn obey(effects: Effects, order: &str, context: &Context) -> Result<Effects, BehaviourError> {
    let (verb, rest) = order.split_once(' ').unwrap_or((order, ""));
    let (first, last) = rest.split_once(' ').unwrap_or((rest, ""));
    let address = || {
        let found = context.resolve(first);
        found.map_err(|error| BehaviourError::permanent(error.to_string()))
    };
    Ok(match verb {
        "reply" => effects.reply(rest),
        "whisper" => effects.reply_with(Outgoing::text(rest).sealing(Sealing::Always)),
        "aloud" => effects.reply_with(Outgoing::text(rest).sealing(Sealing::Never)),
        "send" => effects.send_with(address()?, Outgoing::text(last).label(last)),
        "ask" => {
            let words: Vec<&str> = last.split(' ').collect();
            let order = Outgoing::text("reply yes").label(words[0]).acknowledged(
                AckRequest::Done,
                seconds(words[1]),
                words[2].parse().unwrap(),
            );
            effects.send_with(address()?, order)
        }
        "set" => effects.set_state(first, last),
        "clear" => effects.clear_state(first),
        "timer" => effects.schedule(first, seconds(last), json!({ "of": first })),
        "untimer" => effects.unschedule(first),
        "task" => effects.start_task(TaskStart {
            key: first.to_owned(),
            kind: last.to_owned(),
            input: json!(last),
            deadline: (last == "urgent").then_some(context.now.plus_ms(5_000)),
        }),
        "cancel" => effects.cancel_task(first),
        "answer" => {
            let (number, answer) = last.split_once(' ').unwrap();
            effects.answer_task(first, number.parse().unwrap(), answer)
        }
        "reject" => effects.reject(rest),
        "transient" => return Err(BehaviourError::transient("not now")),
        "permanent" => return Err(BehaviourError::permanent("never")),
        "recover" if context.attempt < 3 => return Err(BehaviourError::transient("not yet")),
        "find" => {
            let found = context.find(&Query::capability(first));
            let names: Vec<String> = found
                .iter()
                .map(|card| card.card.name.to_string())
                .collect();
            effects.reply(names.join(" "))
        }
        "attempt" => effects.reply(context.attempt.to_string()),
        _ => effects,
    })
}

impl Behaviour for Puppet {
    const KIND: &'static str = "puppet";
    type Settings = PuppetSettings;

    fn configure(settings: PuppetSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self(settings))
    }

    fn demands(&self) -> Authenticity {
        if self.0.unverified {
            Authenticity::Unverified
        } else {
            Authenticity::Verified
        }
    }

    fn demands_seal(&self) -> bool {
        self.0.sealed_only
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some() || (self.0.commands && message.cmd().is_some())
    }

    fn watches(&self, _: &Message) -> bool {
        self.0.watches
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let said = message.text().or(message.cmd()).unwrap_or_default();
        let answers = match &message.answers {
            Some(answered) => format!(" answering {:?}", answered.label),
            None => String::new(),
        };
        let mut effects = logged(context, format!("message {said}{answers}"));
        if self.0.watches || message.is_answer() {
            return Ok(effects);
        }
        for order in said.lines() {
            effects = obey(effects, order, context)?;
        }
        Ok(effects)
    }

    async fn on_timer(&self, timer: &Timer, context: &Context) -> Result<Effects, BehaviourError> {
        let late = context.now.ms_since(timer.due_at);
        Ok(logged(
            context,
            format!("timer {} {} {late}", timer.name, timer.data),
        ))
    }

    async fn on_delivery_update(
        &self,
        sent: &SentMessage,
        update: &DeliveryUpdate,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let update = match update {
            DeliveryUpdate::Mined { .. } => "mined".to_owned(),
            update => serde_json::to_value(update).unwrap()["update"]
                .as_str()
                .unwrap()
                .to_owned(),
        };
        Ok(logged(context, format!("update {} {update}", sent.label)))
    }

    async fn on_settled(
        &self,
        message: &Message,
        settlement: &Settlement,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let settled = format!("settled {} {settlement:?}", message.text().unwrap_or("?"));
        Ok(logged(context, settled))
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        desk.progress(0.5, Some("half".to_owned()));
        match task.kind.as_str() {
            "flaky" if task.attempt < 3 => {
                let (input, output) = (2, 3);
                desk.used(Tokens { input, output });
                Err(TaskError::transient("busy", "try again"))
            }
            "broken" => Err(TaskError::permanent("broken", "it is broken")),
            "asks-nothing" => {
                let answer = desk.ask(Ask::new("")).await;
                Ok(TaskOutput::text(answer.to_string()))
            }
            "asks" => {
                let first = desk.ask(Ask::new("how many?")).await;
                let within = Duration::from_secs(60);
                let second = desk.ask(Ask::new("and of what?").within(within)).await;
                Ok(TaskOutput::text(format!(
                    "{first} {second} at {}",
                    task.attempt
                )))
            }
            _ => Ok(TaskOutput::text(format!(
                "{} at {}",
                task.key, task.attempt
            ))),
        }
    }

    fn task_limits(&self, kind: &str) -> TaskLimits {
        TaskLimits {
            time: Duration::from_secs(60),
            progress_every: (kind == "slow").then_some(Duration::from_secs(1)),
            ..TaskLimits::default()
        }
    }

    async fn on_task(
        &self,
        report: &TaskReport,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let key = &report.task.key;
        let news = match &report.news {
            TaskNews::Progress { progress, .. } => {
                return Ok(logged(context, format!("{key} {progress}")));
            }
            TaskNews::Completed { output, .. } => output.text.clone(),
            TaskNews::Failed { code, .. } => code.clone(),
            TaskNews::Canceled => "canceled".to_owned(),
            TaskNews::InputRequired {
                number, question, ..
            } => format!("asks {number}: {question}"),
        };
        Ok(logged(context, format!("{key} {news}")).reply(format!("{key} {news}")))
    }
}

/// An agent with one puppet.
pub(crate) fn puppet(chain: &mut Simulation) -> Party {
    chain.host(Agent::named("puppet").with::<Puppet>(json!({})))
}

/// The events that a behaviour logged.
pub(crate) fn log_of(chain: &Simulation, agent: &Party, behaviour: &str) -> Vec<String> {
    match chain.state(agent, behaviour).get("log") {
        Some(Value::Array(log)) => log
            .iter()
            .map(|line| line.as_str().unwrap().to_owned())
            .collect(),
        _ => Vec::new(),
    }
}

pub(crate) fn log(chain: &Simulation, agent: &Party) -> Vec<String> {
    log_of(chain, agent, "puppet")
}

/// The texts that were sent to a party.
pub(crate) fn texts(chain: &Simulation, to: &Party) -> Vec<String> {
    let sent = chain.sent_to(to);
    sent.iter()
        .filter_map(|sent| sent.text().map(str::to_owned))
        .collect()
}
