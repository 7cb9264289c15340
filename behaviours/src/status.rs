//! `status`: answers `STATUS_REPORT` with `STATUS`, the agent's status.
//!
//! ```toml
//! behaviours = [{ kind = "status", tell = ["queue", "tasks", "capabilities"] }]
//! ```
//!
//! Only a verified sender is answered. The answer is on the chain, where everyone can read it,
//! unless the question was sealed.

use std::collections::BTreeSet;

use agentry_sdk::protocol::KnownCommand;
use agentry_sdk::protocol::command::{Status, Tags};
use agentry_sdk::{
    Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Outgoing, Setup,
};
use serde::Deserialize;

/// The command that it answers.
const STATUS_REPORT: &str = "STATUS_REPORT";

/// A part of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The agent's name.
    Agent,
    /// The version of its program.
    Version,
    /// How long it has been running.
    Uptime,
    /// How many messages wait in each direction, and how many are dead letters.
    Queue,
    /// How many tasks wait, and how many are running.
    Tasks,
    /// Its capabilities.
    Capabilities,
}

/// The keys of `status` in agents.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusSettings {
    /// The parts of the status to report. Default: all.
    #[serde(default = "default_tell")]
    pub tell: BTreeSet<Part>,
}

fn default_tell() -> BTreeSet<Part> {
    BTreeSet::from([
        Part::Agent,
        Part::Version,
        Part::Uptime,
        Part::Queue,
        Part::Tasks,
        Part::Capabilities,
    ])
}

/// Answers `STATUS_REPORT` with `STATUS`.
#[derive(Debug)]
pub struct StatusReporter {
    tell: BTreeSet<Part>,
}

impl StatusReporter {
    fn told(&self, whole: Status) -> Status {
        let told = |part| self.tell.contains(&part);
        Status {
            agent: whole.agent.filter(|_| told(Part::Agent)),
            version: whole.version.filter(|_| told(Part::Version)),
            uptime_ms: whole.uptime_ms.filter(|_| told(Part::Uptime)),
            queue: whole.queue.filter(|_| told(Part::Queue)),
            tasks: whole.tasks.filter(|_| told(Part::Tasks)),
            capabilities: if told(Part::Capabilities) {
                whole.capabilities
            } else {
                Tags::default()
            },
        }
    }
}

impl Behaviour for StatusReporter {
    const KIND: &'static str = "status";
    type Settings = StatusSettings;

    fn configure(settings: StatusSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        if settings.tell.is_empty() {
            return Err(ConfigureError(
                "`tell` is empty: every status would be empty; list a part, or remove the behaviour"
                    .into(),
            ));
        }
        Ok(Self {
            tell: settings.tell,
        })
    }

    fn commands(&self) -> Vec<String> {
        vec![STATUS_REPORT.to_owned()]
    }

    fn executes(&self, _: &str) -> bool {
        false
    }

    fn accepts(&self, message: &Message) -> bool {
        message.cmd() == Some(STATUS_REPORT) && !message.is_answer()
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        if let Err(error) = message.command() {
            return Ok(Effects::none().reject(error.to_string()));
        }
        let status = KnownCommand::Status(self.told(context.status().await));
        Ok(Effects::none().reply_with(Outgoing::command(&status)))
    }
}
