//! What a program declares about itself: in the file that `declared` names, and in `ready`.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_sdk::protocol::command::Tag;
use agentry_sdk::{Missed, Schedule, Starts, TaskLimits, When};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::PROTOCOL;

/// The most commands, capabilities, schedules and types of task, of each: as many as a card has.
pub const MAX_DECLARED: usize = 64;

/// What a program declares about itself. It has the place of the keys of agents.toml that say the
/// same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// The version of this protocol: 1.
    pub protocol: u32,
    /// The commands that it handles, each with the JSON Schema of its parameters: an object, which is
    /// empty if anything goes. They are on the agent's card.
    #[serde(default)]
    pub commands: BTreeMap<String, Map<String, Value>>,
    /// Whether it handles texts.
    #[serde(default)]
    pub texts: bool,
    /// Whether it handles answers to messages that it sent.
    #[serde(default)]
    pub answers: bool,
    /// Which starts of the agent it is told of.
    #[serde(default)]
    pub starts: StartsWord,
    /// Its schedules.
    #[serde(default)]
    pub schedules: Vec<ScheduleDeclared>,
    /// Its capabilities, for the agent's card.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// The limits of the tasks that it executes, by their type.
    #[serde(default)]
    pub tasks: BTreeMap<String, TaskDeclared>,
}

/// Which starts of the agent a program is told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StartsWord {
    /// None.
    #[default]
    Never,
    /// The first.
    Once,
    /// Each start of the runtime.
    Always,
}

impl From<StartsWord> for Starts {
    fn from(word: StartsWord) -> Self {
        match word {
            StartsWord::Never => Self::Never,
            StartsWord::Once => Self::Once,
            StartsWord::Always => Self::Always,
        }
    }
}

/// A schedule of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleDeclared {
    /// Its name, unique in the program.
    pub name: String,
    /// Its times.
    pub when: WhenDeclared,
    /// What becomes of ticks that were missed.
    #[serde(default)]
    pub missed: MissedWord,
}

/// The times of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenDeclared {
    /// The milliseconds between two ticks: from 1,000 to 10 years.
    #[serde(rename = "every_ms")]
    Every(u64),
    /// The minutes that a cron expression names.
    #[serde(rename = "cron")]
    Cron {
        /// The expression, such as `0 9 * * MON-FRI`.
        expression: String,
        /// The time zone by its IANA name; UTC if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
    },
}

/// What becomes of ticks at whose time nothing could run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MissedWord {
    /// They are skipped.
    Skip,
    /// The last of them runs.
    #[default]
    Once,
    /// Each of them runs.
    All,
}

/// The limits of one type of task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskDeclared {
    /// How many run at the same time for one agent; 1 if it is left out.
    #[serde(default = "one")]
    pub concurrency: usize,
    /// The time limit of one attempt, in milliseconds; 10 minutes if it is left out.
    #[serde(default = "ten_minutes")]
    pub time_ms: u64,
    /// The number of attempts after which a task has failed; 3 if it is left out.
    #[serde(default = "three")]
    pub attempts: u32,
    /// The least time between two events of progress, in milliseconds; without it there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_every_ms: Option<u64>,
}

const fn one() -> usize {
    1
}

const fn ten_minutes() -> u64 {
    600_000
}

const fn three() -> u32 {
    3
}

impl From<TaskDeclared> for TaskLimits {
    fn from(declared: TaskDeclared) -> Self {
        Self {
            concurrency: declared.concurrency,
            time: Duration::from_millis(declared.time_ms),
            attempts: declared.attempts,
            progress_every: declared.progress_every_ms.map(Duration::from_millis),
        }
    }
}

impl From<&ScheduleDeclared> for Schedule {
    fn from(declared: &ScheduleDeclared) -> Self {
        Self {
            name: declared.name.clone(),
            when: match &declared.when {
                WhenDeclared::Every(ms) => When::Every(Duration::from_millis(*ms)),
                WhenDeclared::Cron { expression, zone } => When::Cron {
                    expression: expression.clone(),
                    zone: zone.clone(),
                },
            },
            missed: match declared.missed {
                MissedWord::Skip => Missed::Skip,
                MissedWord::Once => Missed::Once,
                MissedWord::All => Missed::All,
            },
        }
    }
}

impl Declaration {
    /// Reads a declaration and checks it.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        read.check()?;
        Ok(read)
    }

    /// Checks what its type does not say. Schedules are checked with the configuration.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        if self.protocol != PROTOCOL {
            return Err(format!(
                "it is of version {} of the protocol, and agentry speaks version {PROTOCOL}",
                self.protocol
            ));
        }
        for (what, count) in [
            ("commands", self.commands.len()),
            ("schedules", self.schedules.len()),
            ("capabilities", self.capabilities.len()),
            ("tasks", self.tasks.len()),
        ] {
            if count > MAX_DECLARED {
                return Err(format!(
                    "it has {count} {what}; at most {MAX_DECLARED} are possible"
                ));
            }
        }
        for (what, word) in (self.commands.keys().map(|word| ("command", word)))
            .chain(self.capabilities.iter().map(|word| ("capability", word)))
        {
            word.parse::<Tag>()
                .map_err(|error| format!("{what} {word:?}: {error}"))?;
        }
        for (kind, task) in &self.tasks {
            if task.concurrency == 0 || task.attempts == 0 || task.time_ms == 0 {
                return Err(format!(
                    "task {kind:?}: concurrency, attempts and time_ms must be more than 0"
                ));
            }
        }
        Ok(())
    }
}
