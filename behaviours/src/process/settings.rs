//! The keys of `process` in agents.toml.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use agentry_sdk::{Authenticity, ConfigureError, Starts, TaskLimits};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::units::{Time, within};

/// The largest value of `in_flight`.
pub const MAX_IN_FLIGHT: usize = 256;

/// The longest configurable time: with a longer one a program would seem dead.
const MAX_PAUSE: Time = Time::seconds(3600);
/// The shortest configurable time.
const MIN_PAUSE: Time = Time(Duration::from_millis(1));

/// The keys of `process` in agents.toml. Times are written as `"10s"`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSettings {
    /// The program: a path if it contains a `/` (a relative one is relative to agents.toml),
    /// otherwise a name that is searched for in `PATH`.
    pub program: String,
    /// Its arguments, passed as they are, without a shell.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its working directory. Default: the folder of agents.toml.
    #[serde(default)]
    pub directory: Option<String>,
    /// Its environment, besides `PATH`, `LANG` and `HOME`, which it inherits from agentry unless
    /// they are set here. It gets no other variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Settings for the program, which it gets in `hello`.
    #[serde(default)]
    pub settings: Map<String, Value>,

    /// The file in which it declares what it is shown, in place of `commands`, `texts`, `answers`,
    /// `starts` and its own schedules. `agentry dev` writes this file, as does the program with the
    /// argument `--declare`.
    #[serde(default)]
    pub declared: Option<String>,
    /// The commands that it is shown. They are on the agent's card.
    #[serde(default)]
    pub commands: Option<Vec<String>>,
    /// Whether it is shown texts. Without this key and `commands` it is shown every message that is
    /// not an answer.
    #[serde(default)]
    pub texts: Option<bool>,
    /// Whether it is shown the answers to messages that it sent. Default: no.
    #[serde(default)]
    pub answers: Option<bool>,
    /// Whether it is an observer: it is also told the outcome of the messages that it is shown, and
    /// being shown them does not count as acting on them. Default: no.
    #[serde(default)]
    pub watches: bool,
    /// Which starts of the agent it is told of: `never`, `once` (when the agent is first hosted with
    /// it) or `always` (at each start of the runtime). Default `never`.
    #[serde(default)]
    pub starts: Option<Starts>,
    /// The senders whose messages it is shown. Default `verified`.
    #[serde(default)]
    pub demands: Demands,
    /// Whether it is shown sealed messages only. Default: no.
    #[serde(default)]
    pub demands_seal: bool,
    /// Its capabilities, for the agent's card.
    #[serde(default)]
    pub capabilities: Vec<String>,

    /// The longest time from its start until it is ready. Default `"10s"`.
    #[serde(default = "ten_seconds")]
    pub start_timeout: Time,
    /// How long it may answer nothing at all after the time limit of a run, before it is considered
    /// hung and killed; also how long it may take to end by itself after the end of its input.
    /// Default `"5s"`.
    #[serde(default = "five_seconds")]
    pub grace: Time,
    /// The shortest pause before a restart. The pauses double, with jitter, after each start in which
    /// the program answered nothing. Default `"500ms"`.
    #[serde(default = "half_a_second")]
    pub restart_min: Time,
    /// The longest pause before a restart. Default `"30s"`.
    #[serde(default = "thirty_seconds")]
    pub restart_max: Time,
    /// Whether it is restarted when its file has changed, or another file beside it with the same
    /// extension: for development. This is checked before each event. Default: no.
    #[serde(default)]
    pub restart_on_change: bool,
    /// The most events that it handles at the same time: 1 to 256. Further events wait. Default 16.
    #[serde(default = "sixteen")]
    pub in_flight: usize,
    /// The limits of the tasks that it starts, by their type.
    #[serde(default)]
    pub tasks: BTreeMap<String, TaskKeys>,
}

/// The senders whose messages a program is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Demands {
    /// Verified senders only.
    #[default]
    Verified,
    /// Also senders whose key is unknown.
    Unverified,
}

impl From<Demands> for Authenticity {
    fn from(demands: Demands) -> Self {
        match demands {
            Demands::Verified => Self::Verified,
            Demands::Unverified => Self::Unverified,
        }
    }
}

/// The limits of one type of task.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskKeys {
    /// How many tasks run at the same time for one agent. Default 1.
    #[serde(default = "one")]
    pub concurrency: usize,
    /// The time limit of one attempt. Default `"10m"`.
    #[serde(default = "ten_minutes")]
    pub time: Time,
    /// The number of attempts after which a task has failed. Default 3.
    #[serde(default = "three")]
    pub attempts: u32,
    /// The least time between two events of progress. Without it there are none.
    #[serde(default)]
    pub progress_every: Option<Time>,
}

impl From<TaskKeys> for TaskLimits {
    fn from(keys: TaskKeys) -> Self {
        Self {
            concurrency: keys.concurrency,
            time: keys.time.0,
            attempts: keys.attempts,
            progress_every: keys.progress_every.map(|time| time.0),
        }
    }
}

impl fmt::Debug for ProcessSettings {
    /// Omits what may be secret: arguments, the environment's values, the program's settings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessSettings")
            .field("program", &self.program)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

impl ProcessSettings {
    /// Checks the settings without the program.
    pub(super) fn check(&self) -> Result<(), ConfigureError> {
        let refuse = |text: String| Err(ConfigureError(text));
        if self.program.is_empty() {
            return refuse("`program` is empty: name the program to run".into());
        }
        if self.declared.is_some() {
            let given = [
                ("commands", self.commands.is_some()),
                ("texts", self.texts.is_some()),
                ("answers", self.answers.is_some()),
                ("starts", self.starts.is_some()),
            ];
            if let Some((key, _)) = given.iter().find(|(_, given)| *given) {
                return refuse(format!(
                    "`{key}` is what the file of `declared` says: remove one of the two keys"
                ));
            }
        }
        if self.commands.as_ref().is_some_and(Vec::is_empty) && self.texts != Some(true)
            || self.commands.is_none() && self.texts == Some(false)
        {
            return refuse(
                "no message would reach the program: set `commands` or `texts = true`, or remove \
                 both for every message"
                    .into(),
            );
        }
        within("in_flight", self.in_flight, (1, MAX_IN_FLIGHT))?;
        for (name, value) in [
            ("start_timeout", self.start_timeout),
            ("grace", self.grace),
            ("restart_min", self.restart_min),
            ("restart_max", self.restart_max),
        ] {
            within(name, value, (MIN_PAUSE, MAX_PAUSE))?;
        }
        if self.restart_min > self.restart_max {
            return refuse("`restart_min` is longer than `restart_max`".into());
        }
        let unusable = |text: &str| text.contains('\0');
        if self.env.iter().any(|(key, value)| {
            key.is_empty() || key.contains('=') || unusable(key) || unusable(value)
        }) {
            return refuse(
                "`env` has a name that is empty or contains `=`, or a name or value with a zero byte"
                    .into(),
            );
        }
        if unusable(&self.program) || self.args.iter().any(|text| unusable(text)) {
            return refuse("`program` or one of `args` contains a zero byte".into());
        }
        for (kind, keys) in &self.tasks {
            if keys.concurrency == 0 || keys.attempts == 0 || keys.time.0.is_zero() {
                return refuse(format!(
                    "`tasks.{kind}`: concurrency, attempts and time must be more than 0"
                ));
            }
        }
        Ok(())
    }
}

const fn half_a_second() -> Time {
    Time(Duration::from_millis(500))
}

const fn five_seconds() -> Time {
    Time::seconds(5)
}

const fn ten_seconds() -> Time {
    Time::seconds(10)
}

const fn thirty_seconds() -> Time {
    Time::seconds(30)
}

const fn ten_minutes() -> Time {
    Time::seconds(600)
}

const fn one() -> usize {
    1
}

const fn three() -> u32 {
    3
}

const fn sixteen() -> usize {
    16
}
