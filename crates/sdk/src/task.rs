//! Work that takes long, and may touch the world.
//!
//! A handler [starts a task](crate::Effects::start_task) as one of its effects, so a task exists
//! once, however often the handler ran. The runtime then has [`Behaviour::execute`] do the work in
//! a bounded pool, again after a crash or a transient failure, and shows the end of it to
//! [`Behaviour::on_task`], whose effects happen once.
//!
//! An [`Executor`] is a way to do tasks that the built-in `tasks` behaviour can be told to use for
//! a type of job: `executor = "…"` in agents.toml.
//!
//! [`Behaviour::execute`]: crate::Behaviour::execute
//! [`Behaviour::on_task`]: crate::Behaviour::on_task

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentry_protocol::Address;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::behaviour::ConfigureError;
use crate::registry::Setup;

/// The longest result of a task, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 16 << 20;

/// What whoever asked for a task is told where the author says nothing of the failure.
pub const TASK_FAILED: &str = "the task failed";

/// What should be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskStart {
    /// What the behaviour calls it. A second start of the same key by the same behaviour of the
    /// same agent is the same task.
    pub key: String,
    /// Its type, which has limits of its own.
    pub kind: String,
    /// What the executor needs to know.
    pub input: Value,
    /// Until when its result is of use, in milliseconds since the epoch; then it fails.
    pub deadline_ms: Option<u64>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// What the behaviour calls it.
    pub key: String,
    /// Its type.
    pub kind: String,
    /// What the behaviour gave it.
    pub input: Value,
    /// Until when its result is of use, in milliseconds since the epoch.
    pub deadline_ms: Option<u64>,
    /// The agent that does it: its name in agents.toml.
    pub agent: String,
    /// Who sent the message that started it; none, if none did.
    pub submitter: Option<Address>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// What came out of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskOutput {
    /// The result: at most [`MAX_OUTPUT_BYTES`].
    pub text: String,
    /// What it is, such as `text/plain`.
    pub media_type: Option<String>,
    /// Why it is not all that it could be, as a word for programs: `length`, where a model had
    /// more to say than it was allowed. None, where nothing is missing.
    #[serde(default)]
    pub incomplete: Option<String>,
}

impl TaskOutput {
    /// A plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            media_type: Some("text/plain; charset=utf-8".to_owned()),
            incomplete: None,
        }
    }
}

/// Why a task, or an attempt at it, failed.
///
/// The code goes to whoever asked for the task. The message is for the operator: it is logged and
/// shown by `agentry task show`, and sent to nobody, for it can hold anything that an error of a
/// library says. What the asker may be told besides is said on purpose, with
/// [`with_public`](Self::with_public).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{code}: {message}")]
pub struct TaskError {
    code: String,
    message: String,
    public: Option<String>,
    transient: bool,
}

impl TaskError {
    /// A failure that another attempt may mend. `code` is a word for programs.
    pub fn transient(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            public: None,
            transient: true,
        }
    }

    /// A failure that no repetition mends.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            public: None,
            transient: false,
        }
    }

    /// The same failure, of which whoever asked for the task is told this. It can end up on the
    /// chain, for all to read: no secrets.
    #[must_use]
    pub fn with_public(mut self, text: impl Into<String>) -> Self {
        self.public = Some(text.into());
        self
    }

    /// The same failure under another code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// The word for programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The sentence for the operator.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The sentence for whoever asked for the task: what the author said for that purpose, else
    /// one text for all failures.
    pub fn public(&self) -> &str {
        self.public.as_deref().unwrap_or(TASK_FAILED)
    }

    /// Whether another attempt may succeed.
    pub const fn is_transient(&self) -> bool {
        self.transient
    }
}

/// The limits of tasks of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskLimits {
    /// How many of one behaviour of one agent run at the same time; at least 1.
    pub concurrency: usize,
    /// How long one attempt may take.
    pub time: Duration,
    /// Attempts after which it has failed; at least 1.
    pub attempts: u32,
    /// The least time between two reports of progress; none are made where it is `None`.
    pub progress_every: Option<Duration>,
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self {
            concurrency: 1,
            time: Duration::from_secs(600),
            attempts: 3,
            progress_every: None,
        }
    }
}

/// What a running task has around it.
#[derive(Clone)]
pub struct Desk {
    report: Arc<dyn Fn(f64, Option<String>) + Send + Sync>,
}

impl Desk {
    /// A desk whose reports of progress go to a function.
    pub fn new(report: impl Fn(f64, Option<String>) + Send + Sync + 'static) -> Self {
        Self {
            report: Arc::new(report),
        }
    }

    /// Says how far the work is, from 0 to 1, and where, in words. Cheap: call it as often as
    /// there is news. What is reported may be lost in a crash.
    pub fn progress(&self, progress: f64, note: Option<String>) {
        (self.report)(progress.clamp(0.0, 1.0), note);
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// A way to do tasks, which the built-in `tasks` behaviour can use for a type of job.
///
/// For it, [`Task::input`] is an object with the job's `prompt`, `model` and `params`, each if it
/// was given, and `kind` is the job's type.
pub trait Executor: fmt::Debug + Send + Sync + Sized + 'static {
    /// The name under which agents.toml asks for it (`executor = "…"`): lower case, digits, `-`.
    const KIND: &'static str;

    /// Its own keys in agents.toml. Give it `#[serde(deny_unknown_fields)]`.
    type Settings: DeserializeOwned;

    /// Makes the executor from its keys in agents.toml.
    ///
    /// # Errors
    /// Settings that are well formed and still make no sense, with what to do about it.
    fn configure(settings: Self::Settings, setup: &Setup<'_>) -> Result<Self, ConfigureError>;

    /// Does the work; see [`Behaviour::execute`](crate::Behaviour::execute).
    ///
    /// # Errors
    /// [`TaskError`].
    fn execute(
        &self,
        task: &Task,
        desk: &Desk,
    ) -> impl Future<Output = Result<TaskOutput, TaskError>> + Send;
}
