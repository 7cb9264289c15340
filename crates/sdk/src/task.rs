//! Tasks: long-running work, which may have side effects.
//!
//! A handler [starts a task](crate::Effects::start_task) as one of its effects, so the task exists
//! once, even if the handler ran several times. The runtime calls [`Behaviour::execute`] in a
//! bounded pool, and calls it again after a crash or a transient failure. It reports the end of the
//! task to [`Behaviour::on_task`], whose effects happen once.
//!
//! An [`Executor`] does the tasks of the built-in `tasks` behaviour. agents.toml selects one for
//! each type of job: `executor = "…"`.
//!
//! [`Behaviour::execute`]: crate::Behaviour::execute
//! [`Behaviour::on_task`]: crate::Behaviour::on_task

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use agentry_protocol::{Address, Timestamp, Trace};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::behaviour::ConfigureError;
use crate::registry::Setup;

pub use agentry_core::task::{MAX_OUTPUT_BYTES, MAX_QUESTIONS, TaskOutput, TaskStart, Tokens};

/// What the submitter of a task is told about a failure without a public text.
pub const TASK_FAILED: &str = "the task failed";

/// A task, as its executor sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The name that the behaviour gave it.
    pub key: String,
    /// Its type.
    pub kind: String,
    /// The input that the behaviour gave it.
    pub input: Value,
    /// The time at which it fails if it has not completed.
    #[serde(rename = "deadline_ms")]
    pub deadline: Option<Timestamp>,
    /// The name in agents.toml of the agent that does it.
    pub agent: String,
    /// The sender of the message that started it; none if no message started it.
    pub submitter: Option<Address>,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// What tells it from every other task: the same for all attempts, also after a restart and on
    /// another machine. A service that has seen the key knows that it was asked before. 40
    /// hexadecimal digits.
    pub idempotency_key: String,
    /// The tokens that its attempts have used before this one, as far as they
    /// [reported](Desk::used) them; of a task that has ended, all of them.
    pub tokens: Tokens,
    /// The answers to its questions so far, in order; see [`Desk::ask`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Value>,
}

/// A task that has completed, as [`Context::completed`](crate::Context::completed) finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedTask {
    /// The sender of the message that started it.
    pub submitter: Option<Address>,
    /// The result.
    pub output: TaskOutput,
}

/// A question to the submitter of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The question: 1 to 4,096 bytes.
    pub question: String,
    /// What the answer must look like: a JSON Schema, an object of at most 16 KiB. It is for whoever
    /// answers: the executor must check what it gets.
    pub schema: Option<Value>,
    /// How long the task waits for the answer before it fails: up to 30 days, and not beyond its
    /// deadline.
    pub within: Duration,
}

impl Ask {
    /// A question with any answer, which may take a day.
    pub fn new(question: impl Into<String>) -> Self {
        Self {
            question: question.into(),
            schema: None,
            within: Duration::from_secs(24 * 60 * 60),
        }
    }

    /// Sets the JSON Schema of the answer.
    #[must_use]
    pub fn schema(mut self, schema: Value) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Sets how long the task waits.
    #[must_use]
    pub const fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }
}

/// Why a task, or an attempt at it, failed.
///
/// The code goes to the submitter of the task. The message is for the operator: it is logged and
/// shown by `agentry task show`. It is sent to no one, because it can hold whatever the error of a
/// library says. [`with_public`](Self::with_public) sets what else the submitter may be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{code}: {message}")]
pub struct TaskError {
    code: String,
    message: String,
    public: Option<String>,
    transient: bool,
}

impl TaskError {
    /// A failure that may not occur at the next attempt. `code` is machine-readable, such as
    /// `timeout`.
    pub fn transient(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            public: None,
            transient: true,
        }
    }

    /// A failure that would occur at every further attempt. `code` is machine-readable.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            public: None,
            transient: false,
        }
    }

    /// Sets the text that the submitter of the task is told. It can end up on the chain, where
    /// everyone can read it: it must not contain secrets.
    #[must_use]
    pub fn with_public(mut self, text: impl Into<String>) -> Self {
        self.public = Some(text.into());
        self
    }

    /// Replaces the code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// The machine-readable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The message for the operator.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The text for the submitter of the task: the text of [`with_public`](Self::with_public), or
    /// else [`TASK_FAILED`].
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
    /// How many tasks of this type one behaviour of one agent runs at the same time; at least 1.
    pub concurrency: usize,
    /// The time limit of one attempt.
    pub time: Duration,
    /// The number of attempts after which the task has failed; at least 1.
    pub attempts: u32,
    /// The least time between two reports of progress; `None` turns them off.
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

/// A call of a model or of another agent that does a task, for the traces of the runtime. It holds
/// nothing of what was asked and answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteCall {
    /// What is asked for, in the words of OpenTelemetry's conventions for generative AI: `chat` of a
    /// model, `invoke_agent` of an agent.
    pub operation: &'static str,
    /// The provider, or the protocol that it speaks, such as `openai`.
    pub provider: &'static str,
    /// The model.
    pub model: Option<String>,
    /// The most tokens of the answer.
    pub max_tokens: Option<u64>,
    /// The sampling temperature.
    pub temperature: Option<f64>,
    /// The host that is called.
    pub host: String,
    /// Its port.
    pub port: Option<u16>,
}

/// How a [`RemoteCall`] ended.
#[derive(Clone, Debug, PartialEq)]
pub struct CallEnd {
    /// When it began.
    pub began: SystemTime,
    /// The tokens that it used, as far as they are known.
    pub tokens: Option<Tokens>,
    /// Why it failed, as a machine-readable code; none if it did not.
    pub error: Option<String>,
}

/// A call that has begun. A call that is dropped before its end counts as interrupted.
#[must_use = "it ends when it is dropped"]
pub struct OpenCall {
    /// None once it has ended.
    call: Option<RemoteCall>,
    began: SystemTime,
    traced: Option<Arc<Traced>>,
}

impl OpenCall {
    /// Ends the call. `error` is a machine-readable code.
    pub fn end(mut self, tokens: Option<Tokens>, error: Option<&str>) {
        self.report(tokens, error);
    }

    fn report(&mut self, tokens: Option<Tokens>, error: Option<&str>) {
        if let (Some(call), Some(traced)) = (self.call.take(), &self.traced) {
            let end = CallEnd {
                began: self.began,
                tokens,
                error: error.map(ToOwned::to_owned),
            };
            (traced.take)(call, end);
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.report(None, Some("interrupted"));
    }
}

impl fmt::Debug for OpenCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenCall").field(&self.call).finish()
    }
}

/// The environment of a running task: it takes the reports of progress and of the tokens that models
/// have used, and the task's questions.
#[derive(Clone)]
pub struct Desk {
    report: Arc<dyn Fn(f64, Option<String>) + Send + Sync>,
    used: Arc<Mutex<Tokens>>,
    ask: Arc<dyn Fn(Ask) + Send + Sync>,
    /// The answers that [`ask`](Self::ask) has not returned yet.
    answers: Arc<Mutex<VecDeque<Value>>>,
    is_over: Arc<AtomicBool>,
    /// None if the runtime records no trace of the task.
    traced: Option<Arc<Traced>>,
}

/// The trace that a task is part of, and what takes the calls that have ended.
struct Traced {
    trace: Trace,
    take: Box<dyn Fn(RemoteCall, CallEnd) + Send + Sync>,
}

impl Desk {
    /// A desk that passes the reports of progress to a function.
    pub fn new(report: impl Fn(f64, Option<String>) + Send + Sync + 'static) -> Self {
        Self {
            report: Arc::new(report),
            used: Arc::default(),
            ask: Arc::new(|_| {}),
            answers: Arc::default(),
            is_over: Arc::default(),
            traced: None,
        }
    }

    /// Adds the answers that the task has so far, and a function that takes its next question. For
    /// runtimes: they end the attempt when there is a question.
    #[must_use]
    pub fn with_answers(
        mut self,
        answers: &[Value],
        ask: impl Fn(Ask) + Send + Sync + 'static,
    ) -> Self {
        self.answers = Arc::new(Mutex::new(answers.iter().cloned().collect()));
        self.ask = Arc::new(ask);
        self
    }

    /// Adds what takes calls that have ended, and the trace that the task is part of. For runtimes
    /// that record traces.
    #[must_use]
    pub fn with_trace(
        mut self,
        trace: Trace,
        calls: impl Fn(RemoteCall, CallEnd) + Send + Sync + 'static,
    ) -> Self {
        let take = Box::new(calls);
        self.traced = Some(Arc::new(Traced { trace, take }));
        self
    }

    /// The trace that the task is part of, if the runtime records it: what an executor asks others to
    /// do can be part of it, too, by the header `traceparent`.
    pub fn trace(&self) -> Option<Trace> {
        self.traced.as_ref().map(|traced| traced.trace)
    }

    /// Begins a call of a model or of another agent, which the traces of the runtime show.
    pub fn call(&self, call: RemoteCall) -> OpenCall {
        OpenCall {
            call: Some(call),
            began: SystemTime::now(),
            traced: self.traced.clone(),
        }
    }

    /// Asks the submitter of the task, and returns the answer.
    ///
    /// If there is no answer yet, this ends the attempt: the future is dropped, and nothing runs
    /// while the task waits. When the answer has come, after hours and after a restart, another
    /// attempt begins *from the start*, and the same question returns at once. So an attempt asks the
    /// same questions in the same order as the one before it, and has no side effects before them
    /// that must not happen again. A task asks at most
    /// [`MAX_QUESTIONS`]. Attempts that end with a question do not
    /// count as failed.
    pub async fn ask(&self, ask: Ask) -> Value {
        let known = self
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        if let Some(answer) = known {
            return answer;
        }
        self.put(ask);
        std::future::pending().await
    }

    /// Asks the submitter without waiting, which ends the attempt soon: for executors that are not
    /// futures, and take the answers from [`Task::answers`].
    pub fn put(&self, ask: Ask) {
        (self.ask)(ask);
    }

    /// Reports the progress, from 0 to 1, with a description. It is cheap: call it at every step. A
    /// crash may lose a report.
    pub fn progress(&self, progress: f64, note: Option<String>) {
        (self.report)(progress.clamp(0.0, 1.0), note);
    }

    /// Reports tokens that a model has used, in addition to those reported before. They are counted
    /// however the attempt ends.
    pub fn used(&self, tokens: Tokens) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.plus(tokens);
    }

    /// Whether the task has ended from outside, while it ran: it was canceled, its deadline has
    /// passed, or its last attempt took too long.
    ///
    /// The future of an attempt is dropped then, as it is when the attempt ends for another reason:
    /// a question, a time limit that allows another attempt, the end of the process. So an executor
    /// that has work done elsewhere asks this where it drops: if the task is over, the work can be
    /// stopped; otherwise another attempt goes on with it.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Makes [`is_over`](Self::is_over) true. For runtimes, before they drop the attempt.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// The tokens that were reported so far.
    pub fn tokens(&self) -> Tokens {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// Does the tasks of the built-in `tasks` behaviour, for one type of job.
///
/// [`Task::input`] is an object with the job's `prompt`, `model` and `params`, each only if it was
/// given. [`Task::kind`] is the job's type.
pub trait Executor: fmt::Debug + Send + Sync + Sized + 'static {
    /// The name that selects it in agents.toml (`executor = "…"`): lower-case letters, digits and
    /// `-`.
    const KIND: &'static str;

    /// Its own keys in agents.toml. Derive it with `#[serde(deny_unknown_fields)]`, so that the
    /// error for a mistyped key lists the known keys.
    type Settings: DeserializeOwned;

    /// Makes the executor from its keys in agents.toml.
    ///
    /// # Errors
    /// The settings are well formed but invalid. The error says how to correct them.
    fn configure(settings: Self::Settings, setup: &Setup<'_>) -> Result<Self, ConfigureError>;

    /// About how many tokens of a model the work uses at most; see
    /// [`Behaviour::task_tokens`](crate::Behaviour::task_tokens).
    fn tokens(&self, task: &Task) -> Option<u64> {
        let _ = task;
        None
    }

    /// Does the work; see [`Behaviour::execute`](crate::Behaviour::execute).
    ///
    /// # Errors
    /// [`TaskError`]: transient, and the runtime tries again, or permanent.
    fn execute(
        &self,
        task: &Task,
        desk: &Desk,
    ) -> impl Future<Output = Result<TaskOutput, TaskError>> + Send;
}
