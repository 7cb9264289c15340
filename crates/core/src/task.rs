//! Tasks: what starts them, and what they result in.

use agentry_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The largest result of a task, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 16 << 20;

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
