//! What a behaviour is shown besides messages.

use std::sync::Arc;

use agentry_protocol::{Address, BlockHeight, MessageId, TransactionHash};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Message;
use crate::task::{Task, TaskOutput};

/// Something that a behaviour is shown. Events wait in one durable queue for each agent.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message came.
    Message(Arc<Message>),
    /// A timer has run out.
    Timer(Timer),
    /// Something became of a message that the behaviour sent.
    Fate(SentMessage, Fate),
    /// Something became of a message that the behaviour watches.
    Settled(Arc<Message>, Settlement),
    /// News of a task of the behaviour's.
    Task(TaskReport),
}

/// A timer that has run out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// The name that the behaviour gave it.
    pub name: String,
    /// What the behaviour gave it.
    pub data: Value,
    /// For when it was set, in milliseconds since the epoch. It never comes before, and after a
    /// time in which the runtime was down it comes later.
    pub due_ms: u64,
}

/// A message that the behaviour sent with a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentMessage {
    /// The label that the behaviour gave it.
    pub label: String,
    /// To whom it went.
    pub to: Address,
    /// The message's id.
    pub id: Option<MessageId>,
    /// Hash of the transaction that carried it last; none if it was never signed.
    pub transaction: Option<TransactionHash>,
}

/// What became of a message that was sent. One message has several fates in turn, until one
/// [is the last](Fate::is_last).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "fate")]
pub enum Fate {
    /// It stands in a block.
    Mined {
        /// The block.
        height: BlockHeight,
    },
    /// Its recipient says that he has it.
    Received,
    /// Its recipient says that he will act on it.
    Accepted {
        /// In his words.
        detail: Option<String>,
    },
    /// Its recipient says that he acted on it.
    Done {
        /// In his words.
        detail: Option<String>,
    },
    /// Its recipient says that acting on it failed.
    Failed {
        /// In his words.
        detail: Option<String>,
    },
    /// Its recipient says that he will not act on it.
    Rejected {
        /// In his words.
        detail: Option<String>,
    },
    /// Its time was over before it was acted on, or before it could be sent.
    Expired,
    /// The acknowledgment that was asked for did not come, after all resends. Whether the
    /// recipient acted is unknown.
    Unacknowledged,
    /// It was not sent: the node refused it, or an operator dropped it.
    Unsent {
        /// Why.
        reason: String,
    },
}

impl Fate {
    /// Whether no other fate of the same message follows, where `done` says whether the sender
    /// asked to be told that it was acted on (and not only that it was received), and `received`
    /// whether at least that.
    pub const fn is_last(&self, received: bool, done: bool) -> bool {
        match self {
            Self::Mined { .. } => !received && !done,
            Self::Received => !done,
            Self::Accepted { .. } => false,
            Self::Done { .. }
            | Self::Failed { .. }
            | Self::Rejected { .. }
            | Self::Expired
            | Self::Unacknowledged
            | Self::Unsent { .. } => true,
        }
    }
}

/// What became of a message that came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "settlement")]
pub enum Settlement {
    /// A behaviour acted on it; tasks that it started are completed.
    Done,
    /// Acting on it was given up: it is a dead letter, or its task failed.
    Failed {
        /// What its sender may be told of why. What else is known is in the log and with the
        /// dead letter.
        reason: String,
    },
    /// No behaviour takes it, or one refused it.
    Rejected {
        /// Why.
        reason: String,
    },
    /// It came, or its turn came, after its time.
    Expired,
}

impl Settlement {
    /// What becomes of a message whose task failed with this code.
    pub fn of_failed_task(code: &str) -> Self {
        Self::Failed {
            reason: format!("its task failed: {code}"),
        }
    }

    /// What becomes of a message whose task was canceled.
    pub fn of_canceled_task() -> Self {
        Self::Failed {
            reason: "its task was canceled".to_owned(),
        }
    }
}

/// News of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The task.
    pub task: Task,
    /// What is new.
    pub news: TaskNews,
}

/// What is new of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "news")]
pub enum TaskNews {
    /// It is so far; [`TaskLimits::progress_every`](crate::task::TaskLimits) bounds how often.
    Progress {
        /// How far, from 0 to 1.
        progress: f64,
        /// In words.
        note: Option<String>,
    },
    /// It is done.
    Completed {
        /// Its result.
        output: TaskOutput,
        /// How long the last run took, in milliseconds.
        duration_ms: u64,
    },
    /// It failed for good.
    Failed {
        /// A word for programs, such as `timeout`.
        code: String,
        /// What whoever asked for the task may be told: [`TaskError::public`].
        ///
        /// [`TaskError::public`]: crate::TaskError::public
        message: String,
    },
    /// It was canceled before it was done.
    Canceled,
}
