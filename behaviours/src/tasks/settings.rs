//! The keys of `tasks` in agents.toml.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_sdk::protocol::command::{TAGS_MAX, Tag};
use agentry_sdk::task::TaskLimits;
use agentry_sdk::{AnyExecutor, ConfigureError, Setup};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::units::{Bytes, Time, within};

/// The keys of `tasks` in agents.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TasksSettings {
    /// The senders that may submit jobs: addresses, or names of agents in agents.toml, of contacts,
    /// or of agents in the directory, which are resolved when a job arrives. `["*"]` allows every
    /// verified sender.
    ///
    /// A name that only the directory has belongs to its holder only until another agent announces
    /// it. Use a contact or an address where that matters.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Agents that have announced this capability may submit jobs too. Anyone can announce it: it
    /// says which role an agent has, not that the agent is trusted.
    pub allow_capability: Option<String>,
    /// The types of job. Each has an `executor`, the keys of that executor, and the keys of
    /// [`TypeSettings`].
    pub types: BTreeMap<String, Map<String, Value>>,
    /// The longest result that is sent whole. Of a longer result the beginning is sent, with the
    /// length and the hash of the whole. From 0 to 256 KiB. Default 32 KiB.
    #[serde(default = "default_inline_limit")]
    pub inline_limit: Bytes,
    /// Whether results are always sealed; otherwise only the results of sealed jobs are. A result
    /// that cannot be sealed, because its recipient announced no key, is not sent and becomes a
    /// dead letter.
    #[serde(default)]
    pub seal_results: bool,
    /// The most jobs that wait or run; further jobs are refused as `busy`. Default 1,000.
    #[serde(default = "default_max_jobs")]
    pub max_jobs: usize,
}

const fn default_inline_limit() -> Bytes {
    Bytes(32 << 10)
}

const fn default_max_jobs() -> usize {
    1_000
}

/// The keys of a type of job, besides those of its executor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeSettings {
    /// The [executor](crate::executors) that does the jobs.
    pub executor: String,
    /// How many jobs run at the same time. From 1 to 1,024. Default 1.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// The time limit of one attempt. From 1 ms to 7 days. Default 10 min.
    #[serde(default = "default_time_limit")]
    pub time_limit: Time,
    /// The number of attempts after which a job has failed. From 1 to 100. Default 3.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// The least time between two `JOB_PROGRESS`, each of which costs a fee. At least 1 s.
    /// Default: none are sent.
    pub progress_every: Option<Time>,
}

const fn default_concurrency() -> usize {
    1
}

const fn default_time_limit() -> Time {
    Time::seconds(600)
}

const fn default_attempts() -> u32 {
    3
}

/// The keys of [`TypeSettings`].
const OWN_KEYS: [&str; 5] = [
    "executor",
    "concurrency",
    "time_limit",
    "attempts",
    "progress_every",
];

/// The capability of an agent that does a type of job.
pub(super) fn capability(kind: &str) -> String {
    format!("task:{kind}")
}

/// A type of job.
#[derive(Debug)]
pub(crate) struct Type {
    pub(crate) executor: Arc<dyn AnyExecutor>,
    pub(crate) limits: TaskLimits,
}

/// The types of job, by name.
#[derive(Debug)]
pub(super) struct Types(BTreeMap<String, Type>);

impl Types {
    pub(super) fn read(
        types: BTreeMap<String, Map<String, Value>>,
        setup: &Setup<'_>,
    ) -> Result<Self, ConfigureError> {
        if types.is_empty() {
            return Err(ConfigureError(
                "`types` is empty: no job could be done; add a type, such as \
                 `types.chat = { executor = \"http\", … }`"
                    .into(),
            ));
        }
        // A card and a status can hold no more capabilities.
        if types.len() > TAGS_MAX {
            return Err(ConfigureError(format!(
                "`types` has {} types of job; at most {TAGS_MAX} are allowed",
                types.len()
            )));
        }
        let read = types.into_iter().map(|(name, keys)| {
            let in_type = |reason| ConfigureError(format!("`types.{name}`: {reason}"));
            capability(&name)
                .parse::<Tag>()
                .map_err(|error| in_type(format!("with \"task:\" before it, {error}")))?;
            let read = read_type(keys, setup).map_err(in_type)?;
            Ok((name, read))
        });
        read.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Type> {
        self.0.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Reads the keys of a type of job.
///
/// # Errors
/// A key is unknown, missing or out of its limits.
fn read_type(keys: Map<String, Value>, setup: &Setup<'_>) -> Result<Type, String> {
    let (own, limits, rest) = divide(keys)?;
    let executor = setup.executor(&own.executor, rest);
    let executor = executor.map_err(|error| with_own_keys(&error.to_string()))?;
    Ok(Type { executor, limits })
}

/// Divides the keys of a type of job: its own, the limits that they set, and those of its executor.
///
/// # Errors
/// A key of its own is missing or out of its limits.
pub(crate) fn divide(
    mut keys: Map<String, Value>,
) -> Result<(TypeSettings, TaskLimits, Map<String, Value>), String> {
    let own = OWN_KEYS.iter().filter_map(|key| keys.remove_entry(*key));
    let own: Map<String, Value> = own.collect();
    let own: TypeSettings =
        serde_json::from_value(Value::Object(own)).map_err(|error| error.to_string())?;
    let limits = limits(&own).map_err(|error| error.to_string())?;
    Ok((own, limits, keys))
}

/// The error of an executor, whose list of known keys lacks those of every type.
pub(crate) fn with_own_keys(error: &str) -> String {
    match error.starts_with("unknown field") {
        true => format!("{error}, {}", own_keys()),
        false => error.to_owned(),
    }
}

/// The keys of every type of job, in the format of an error.
fn own_keys() -> String {
    let keys: Vec<String> = OWN_KEYS.iter().map(|key| format!("`{key}`")).collect();
    keys.join(", ")
}

fn limits(settings: &TypeSettings) -> Result<TaskLimits, ConfigureError> {
    let week = Time::seconds(7 * 24 * 3600);
    let least = Time(std::time::Duration::from_millis(1));
    if let Some(every) = settings.progress_every {
        within("progress_every", every, (Time::seconds(1), week))?;
    }
    Ok(TaskLimits {
        concurrency: within("concurrency", settings.concurrency, (1, 1024))?,
        time: within("time_limit", settings.time_limit, (least, week))?.0,
        attempts: within("attempts", settings.attempts, (1, 100))?,
        progress_every: settings.progress_every.map(|every| every.0),
    })
}
