//! `process`: a program in any language that reads and writes JSON lines.
//!
//! ```toml
//! behaviours = [{ kind = "process", program = "./greeter.py", commands = ["GREET"] }]
//! ```
//!
//! The program reads events from its standard input and writes effects to its standard output;
//! docs/process.md is the guide for its author.
//!
//! | module | contents |
//! |---|---|
//! | [`wire`] | the lines, and their JSON Schema |
//! | [`settings`] | the keys in agents.toml |
//! | [`mod@declare`] | what a program declares about itself |
//! | [`error`] | the errors of a program |
//! | `show`, `read` | conversion of the sdk's types to lines, and back |
//! | `keeper` | starts the program when it is needed, and restarts it when it has ended |
//! | `session` | one run of the program: reading, writing, time limits |
//! | `launch` | the process, its environment, its process group |
//! | `lines`, `journal` | lines of bounded length; the program's log |
//!
//! One entry in agents.toml is one program, which is started at its first event, even if many
//! agents of a fleet share the entry. The program is trusted, but may be faulty: if it ends, hangs,
//! writes invalid or too much output, or does not read, it is killed with its process group and
//! started again. The events that it had not answered are tried again.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_sdk::protocol::Payload;
use agentry_sdk::{
    Authenticity, Behaviour, BehaviourError, ConfigureError, Context, DeliveryUpdate, Desk,
    Effects, Message, Schedule, SentMessage, Settlement, Setup, Start, Starts, Task, TaskError,
    TaskLimits, TaskOutput, TaskReport, Tick, Timer,
};
use serde_json::{Value, json};
use tokio::time::Instant;

mod journal;
mod keeper;
mod launch;
mod lines;
mod read;
mod session;
mod show;
mod watch;

pub mod declare;
pub mod error;
pub mod settings;
pub mod wire;

pub use error::{End, ProcessError};
pub use settings::ProcessSettings;

use keeper::Keeper;
use launch::Launch;
use session::{About, Answer, Subject, View};
use wire::{Declaration, Event, ToProgram};

/// The name of the kind.
const KIND: &str = "process";

/// Hands each event to a program, which decides on the effects.
#[derive(Debug)]
pub struct Process {
    keeper: Keeper,
    filter: Filter,
    answers: bool,
    watches: bool,
    starts: Starts,
    demands: Authenticity,
    demands_seal: bool,
    capabilities: Vec<String>,
    tasks: BTreeMap<String, TaskLimits>,
    /// What the program declares about itself, if agents.toml names a file for that.
    declared: Option<Arc<Declaration>>,
}

/// Which messages are shown, of those that are not answers.
#[derive(Debug)]
enum Filter {
    All,
    Some { commands: Vec<String>, texts: bool },
}

impl Filter {
    fn passes(&self, message: &Message) -> bool {
        match self {
            Self::All => true,
            Self::Some { commands, texts } => match &message.payload {
                Payload::Text(_) => *texts,
                Payload::Command(command) => {
                    commands.contains(&command.cmd) && show::plain_command(&command.body).is_some()
                }
                Payload::Opaque(_) => false,
            },
        }
    }
}

impl Process {
    /// Sends the program an event and waits for its answer.
    async fn show(&self, event: Event, context: &Context) -> Result<Effects, BehaviourError> {
        let _permit = self.keeper.permit().await?;
        let view = View {
            environment: std::sync::Arc::clone(&context.environment),
            now: context.now,
            taken: Instant::now(),
        };
        let shown = show::context(context);
        let subject = Subject::Event {
            about: About {
                agent: context.agent.clone(),
                behaviour: Some(context.behaviour.clone()),
                event: show::name_of(&event),
            },
            view,
            _permit,
        };
        let answer = self
            .keeper
            .ask(subject, |id| ToProgram::Event {
                id,
                event: Box::new(event),
                context: shown,
            })
            .await?;
        match answer {
            Answer::Effects(asked) => Ok(read::effects(asked, context)?),
            Answer::Output(_) => Err(mismatch().into()),
        }
    }
}

fn mismatch() -> ProcessError {
    ProcessError::Answer("the answer is of another type".to_owned())
}

impl Behaviour for Process {
    const KIND: &'static str = KIND;
    type Settings = ProcessSettings;

    fn configure(settings: ProcessSettings, setup: &Setup<'_>) -> Result<Self, ConfigureError> {
        settings.check()?;
        let launch = Launch::new(&settings, setup)?;
        let declared = match &settings.declared {
            Some(name) => Some(Arc::new(declare::read(name, setup)?)),
            None => None,
        };
        let filter = match &declared {
            Some(declared) => Filter::Some {
                commands: declared.commands.keys().cloned().collect(),
                texts: declared.texts,
            },
            None if settings.commands.is_none() && settings.texts.is_none() => Filter::All,
            None => Filter::Some {
                commands: settings.commands.clone().unwrap_or_default(),
                texts: settings.texts.unwrap_or_default(),
            },
        };
        let said = declared.as_deref();
        let mut capabilities = said.map_or_else(Vec::new, |said| said.capabilities.clone());
        for capability in &settings.capabilities {
            if !capabilities.contains(capability) {
                capabilities.push(capability.clone());
            }
        }
        let mut tasks: BTreeMap<String, TaskLimits> = said
            .into_iter()
            .flat_map(|said| &said.tasks)
            .map(|(kind, limits)| (kind.clone(), (*limits).into()))
            .collect();
        // The operator's limits count, not the author's.
        let given = settings.tasks.iter();
        tasks.extend(given.map(|(kind, keys)| (kind.clone(), (*keys).into())));
        Ok(Self {
            keeper: Keeper::new(launch, &settings, declared.clone()),
            filter,
            answers: said.map_or(settings.answers.unwrap_or_default(), |said| said.answers),
            watches: settings.watches,
            starts: match said {
                Some(said) => said.starts.into(),
                None => settings.starts.unwrap_or_default(),
            },
            demands: settings.demands.into(),
            demands_seal: settings.demands_seal,
            capabilities,
            tasks,
            declared,
        })
    }

    fn demands(&self) -> Authenticity {
        self.demands
    }

    fn demands_seal(&self) -> bool {
        self.demands_seal
    }

    fn commands(&self) -> Vec<String> {
        match &self.filter {
            Filter::All => Vec::new(),
            Filter::Some { commands, .. } => commands.clone(),
        }
    }

    fn capabilities(&self) -> Vec<String> {
        self.capabilities.clone()
    }

    fn schemas(&self) -> Vec<(String, Value)> {
        let declared = self.declared.iter().flat_map(|declared| &declared.commands);
        declared
            .filter(|(_, schema)| !schema.is_empty())
            .map(|(command, schema)| (command.clone(), Value::Object(schema.clone())))
            .collect()
    }

    fn starts(&self) -> Starts {
        self.starts
    }

    fn schedules(&self) -> Vec<Schedule> {
        let declared = self
            .declared
            .iter()
            .flat_map(|declared| &declared.schedules);
        declared.map(Schedule::from).collect()
    }

    fn content(&self) -> Value {
        json!(self.declared.as_deref())
    }

    fn takes_schedules(&self) -> bool {
        true
    }

    fn accepts(&self, message: &Message) -> bool {
        if message.answers.is_some() || message.is_answer() {
            return self.answers && message.answers.is_some();
        }
        self.filter.passes(message)
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        if let Some(answered) = &message.answers
            && answered.behaviour.as_ref() != Some(&context.behaviour)
        {
            // The message answers another behaviour of the agent.
            return Ok(Effects::none());
        }
        let message = show::message(message);
        self.show(Event::Message { message }, context).await
    }

    async fn on_timer(&self, timer: &Timer, context: &Context) -> Result<Effects, BehaviourError> {
        self.show(show::timer(timer), context).await
    }

    async fn on_start(&self, start: Start, context: &Context) -> Result<Effects, BehaviourError> {
        self.show(show::start(start), context).await
    }

    async fn on_tick(&self, tick: &Tick, context: &Context) -> Result<Effects, BehaviourError> {
        self.show(show::tick(tick), context).await
    }

    async fn on_delivery_update(
        &self,
        sent: &SentMessage,
        update: &DeliveryUpdate,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        self.show(show::update(sent, update), context).await
    }

    fn watches(&self, message: &Message) -> bool {
        self.watches && self.accepts(message)
    }

    async fn on_settled(
        &self,
        message: &Message,
        settlement: &Settlement,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        self.show(show::settled(message, settlement), context).await
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        let shown = show::task(task);
        let subject = Subject::Task {
            about: About {
                agent: task.agent.clone(),
                behaviour: None,
                event: format!("execute {:?}", task.key),
            },
            desk: desk.clone(),
        };
        let answer = self
            .keeper
            .ask(subject, |id| ToProgram::Execute { id, task: shown })
            .await?;
        match answer {
            Answer::Output(output) => Ok(output),
            Answer::Effects(_) => Err(mismatch().into()),
        }
    }

    fn executes(&self, kind: &str) -> bool {
        self.declared.is_none() || self.tasks.contains_key(kind)
    }

    fn task_limits(&self, kind: &str) -> TaskLimits {
        self.tasks.get(kind).copied().unwrap_or_default()
    }

    async fn on_task(
        &self,
        report: &TaskReport,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        self.show(show::report(report), context).await
    }
}
