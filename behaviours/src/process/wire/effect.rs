//! The effects that a program returns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One effect.
///
/// `reply` and `send` need either a `text` or a `command`: an object with a `cmd` and its
/// parameters. Integers of a command have at most 64 bits; larger ones are sent as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Answer the sender of the message that the event is about.
    Reply {
        /// The content, as a text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The content, as a command.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<Map<String, Value>>,
        /// The amount that it transfers, in AIT.
        #[serde(default)]
        amount: u64,
        /// The conversation that it belongs to; that of the question if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread: Option<String>,
        /// The time from the run to its expiry, in milliseconds; it never expires if this is left
        /// out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_in_ms: Option<u64>,
        /// The acknowledgment that it asks for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acknowledge: Option<Acknowledge>,
        /// Whether it is sealed.
        #[serde(default)]
        sealing: SealingWord,
        /// The name by which the program recognises delivery updates and answers. Without one there
        /// are no delivery updates.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Send a message that is not a reply to the event's message.
    Send {
        /// The recipient: an address, or a name that `resolve` would find.
        to: String,
        /// The content, as a text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The content, as a command.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<Map<String, Value>>,
        /// The amount that it transfers, in AIT.
        #[serde(default)]
        amount: u64,
        /// The conversation that it belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread: Option<String>,
        /// Hash of the transaction that it answers, if the question came in another event.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        re: Option<String>,
        /// The time from the run to its expiry, in milliseconds; it never expires if this is left
        /// out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_in_ms: Option<u64>,
        /// The acknowledgment that it asks for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acknowledge: Option<Acknowledge>,
        /// Whether it is sealed.
        #[serde(default)]
        sealing: SealingWord,
        /// The name by which the program recognises delivery updates and answers. Without one there
        /// are no delivery updates.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Store a value in the state, in place of the previous value.
    SetState {
        /// The key of the entry.
        key: String,
        /// The value.
        value: Value,
    },
    /// Delete a value from the state.
    ClearState {
        /// The key of the entry.
        key: String,
    },
    /// Set a timer. A timer of the same name is replaced.
    Schedule {
        /// Its name.
        name: String,
        /// The time from the run to its expiry, in milliseconds.
        after_ms: u64,
        /// Data that the timer's event contains.
        #[serde(default)]
        data: Value,
    },
    /// Delete a timer.
    Unschedule {
        /// Its name.
        name: String,
    },
    /// Start a task, which the program does on `execute`, apart from all events.
    StartTask {
        /// The name that the program gives it. A second start with the same key, by the same agent,
        /// is the same task.
        key: String,
        /// Its type.
        kind: String,
        /// The input for `execute`.
        #[serde(default)]
        input: Value,
        /// The time at which it fails if it has not completed, in milliseconds since the epoch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
    },
    /// Cancel a task that has not ended.
    CancelTask {
        /// Its key.
        key: String,
    },
    /// Answer a question of a task, which goes on with the answer. Nothing changes if the task does
    /// not ask it now.
    AnswerTask {
        /// The task's key.
        key: String,
        /// The number of the question, from 1.
        number: u32,
        /// The answer.
        answer: Value,
    },
    /// Reject the message: it will not be acted on, and behaviours that watch it are told so.
    Reject {
        /// The reason. The sender may be told.
        reason: String,
    },
}

/// The acknowledgment that a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acknowledge {
    /// Which acknowledgment.
    pub request: AckWord,
    /// How long to wait for the acknowledgment after the message was mined, in milliseconds.
    pub within_ms: u64,
    /// How often the message is sent again if no acknowledgment arrives.
    #[serde(default)]
    pub resends: u32,
}

/// A kind of acknowledgment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AckWord {
    /// The message has arrived.
    Received,
    /// The message has arrived, and later its outcome.
    Done,
}

/// Whether a message is sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SealingWord {
    /// Sealed if it answers a sealed message.
    #[default]
    AsAsked,
    /// Never sealed: everyone can read it.
    Never,
    /// Sealed if the recipient's encryption key is known.
    IfPossible,
    /// Sealed. The run fails if the recipient's encryption key is unknown.
    Always,
}
