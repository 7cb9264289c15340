//! The events that behaviours handle.

use std::sync::Arc;

use agentry_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Message;
use crate::task::{Task, TaskOutput};

pub use agentry_core::delivery::{DeliveryUpdate, SentMessage, Settlement};

/// An event for a behaviour. Each agent has one durable queue of events.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message arrived.
    Message(Arc<Message>),
    /// A timer expired.
    Timer(Timer),
    /// A delivery update for a message that the behaviour sent.
    DeliveryUpdate(SentMessage, DeliveryUpdate),
    /// The outcome of a message that the behaviour watches.
    Settled(Arc<Message>, Settlement),
    /// An update of one of the behaviour's tasks.
    Task(TaskReport),
    /// The agent was started.
    Start(Start),
    /// A time of one of the behaviour's schedules.
    Tick(Tick),
}

/// A start of the agent: see [`Behaviour::starts`](crate::Behaviour::starts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Whether the behaviour has not been told of a start before.
    #[serde(rename = "first")]
    pub is_first: bool,
}

/// A time of a [schedule](crate::Schedule).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The schedule's name.
    pub name: String,
    /// The time that it is for. The run is never earlier; it is later if the runtime was down or busy,
    /// and if the run is retried.
    #[serde(rename = "at_ms")]
    pub at: Timestamp,
    /// How many earlier times of the schedule it stands for, which were
    /// [missed](crate::Missed::Once).
    pub missed: u64,
}

/// A timer that expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// The name that the behaviour gave it.
    pub name: String,
    /// The data that the behaviour set it with.
    pub data: Value,
    /// The time that it was set for. It never expires earlier; if the runtime was down at that time,
    /// it expires later.
    #[serde(rename = "due_ms")]
    pub due_at: Timestamp,
}

/// An update of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The task.
    pub task: Task,
    /// What changed.
    pub news: TaskNews,
}

/// What changed in a task: its progress, or that it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "news")]
pub enum TaskNews {
    /// It made progress. [`TaskLimits::progress_every`](crate::task::TaskLimits) is the least time
    /// between two such updates.
    Progress {
        /// The progress, from 0 to 1.
        progress: f64,
        /// A description of the progress.
        note: Option<String>,
    },
    /// It completed.
    Completed {
        /// Its result.
        output: TaskOutput,
        /// How long the last run took, in milliseconds.
        duration_ms: u64,
    },
    /// It failed permanently.
    Failed {
        /// A machine-readable code, such as `timeout`.
        code: String,
        /// What the submitter of the task may be told: [`TaskError::public`].
        ///
        /// [`TaskError::public`]: crate::TaskError::public
        message: String,
    },
    /// It asks its submitter something, and waits for the answer
    /// ([`Effects::answer_task`](crate::Effects::answer_task)).
    #[serde(rename = "input-required")]
    InputRequired {
        /// The number of the question, from 1.
        number: u32,
        /// The question.
        question: String,
        /// What the answer must look like: a JSON Schema.
        schema: Option<Value>,
        /// The time after which the task fails without an answer.
        #[serde(rename = "until_ms")]
        until: Timestamp,
    },
    /// It was canceled before it completed.
    Canceled,
}
