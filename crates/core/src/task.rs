//! Tasks: what starts them, and what they result in.

use agentry_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The largest result of a task, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 16 << 20;

/// What a model has read and written for a task, in its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// What it has read: the prompt.
    pub input: u64,
    /// What it has written: the answer, and what it thought.
    pub output: u64,
}

impl Tokens {
    /// The most of each that are counted: what a column of the store holds.
    pub const MOST: u64 = i64::MAX as u64;

    /// All of them; at most [`MOST`](Self::MOST).
    pub fn sum(self) -> u64 {
        self.input.saturating_add(self.output).min(Self::MOST)
    }

    /// Both together; at most [`MOST`](Self::MOST) of each.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let add = |one: u64, other: u64| one.saturating_add(other).min(Self::MOST);
        Self {
            input: add(self.input, other.input),
            output: add(self.output, other.output),
        }
    }

    /// Whether there are none.
    pub const fn is_none(self) -> bool {
        self.input == 0 && self.output == 0
    }
}

/// Tokens that are charged to a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCharge {
    /// The day: days since the epoch, UTC.
    pub day: u64,
    /// How many.
    pub tokens: u64,
}

/// A task to be started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskStart {
    /// The name that the behaviour gives it. A second start with the same key, by the same
    /// behaviour of the same agent, is the same task.
    pub key: String,
    /// Its type. Each type has its own limits.
    pub kind: String,
    /// The input for the executor.
    pub input: Value,
    /// The time at which it fails if it has not completed.
    #[serde(rename = "deadline_ms")]
    pub deadline: Option<Timestamp>,
}

/// The most questions that a task may ask.
pub const MAX_QUESTIONS: usize = 32;

/// A question of a task to its submitter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The question.
    pub text: String,
    /// What the answer must look like: a JSON Schema. It is for whoever answers; the executor checks
    /// what it gets.
    #[serde(default)]
    pub schema: Option<Value>,
    /// The time after which the task fails if it has no answer.
    #[serde(rename = "until_ms")]
    pub until: Timestamp,
}

/// The result of a task that completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskOutput {
    /// The result: at most [`MAX_OUTPUT_BYTES`].
    pub text: String,
    /// The media type of the result, such as `text/plain`.
    pub media_type: Option<String>,
    /// Why the result is incomplete, as a machine-readable code: `length` if a model reached its
    /// limit of output. None if it is complete.
    #[serde(default)]
    pub incomplete: Option<String>,
}

impl TaskOutput {
    /// A result in plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            media_type: Some("text/plain; charset=utf-8".to_owned()),
            incomplete: None,
        }
    }
}
