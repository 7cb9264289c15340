//! What a program may ask for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One thing that should happen.
///
/// `reply` and `send` say one of `text` and `command`: an object with a `cmd` and its parameters.
/// Integers of a command have at most 64 bits; larger ones are sent as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Answer the sender of the message that the event is about.
    Reply {
        /// What is said, as text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// What is said, as a command.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<Map<String, Value>>,
        /// What is transferred with it, in AIT.
        #[serde(default)]
        amount: u64,
        /// The conversation that it belongs to; that of the question if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread: Option<String>,
        /// How long after the run it counts, in milliseconds; for ever if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_in_ms: Option<u64>,
        /// What acknowledgment is asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acknowledge: Option<Acknowledge>,
        /// Whether it is sealed.
        #[serde(default)]
        sealing: SealingWord,
        /// Under which name the program is told of its fate and of answers to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Send a message of one's own accord.
    Send {
        /// To whom: an address, or a name that `resolve` would find.
        to: String,
        /// What is said, as text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// What is said, as a command.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<Map<String, Value>>,
        /// What is transferred with it, in AIT.
        #[serde(default)]
        amount: u64,
        /// The conversation that it belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread: Option<String>,
        /// Hash of the transaction that it answers, where its question came in another event.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        re: Option<String>,
        /// How long after the run it counts, in milliseconds; for ever if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_in_ms: Option<u64>,
        /// What acknowledgment is asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acknowledge: Option<Acknowledge>,
        /// Whether it is sealed.
        #[serde(default)]
        sealing: SealingWord,
        /// Under which name the program is told of its fate and of answers to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Remember a value, in place of what was there.
    SetState {
        /// Under which name.
        key: String,
        /// What.
        value: Value,
    },
    /// Forget a value.
    ClearState {
        /// Under which name.
        key: String,
    },
    /// Be shown a timer later. One of the same name is replaced.
    Schedule {
        /// Its name.
        name: String,
        /// How long after the run, in milliseconds.
        after_ms: u64,
        /// What comes with it.
        #[serde(default)]
        data: Value,
    },
    /// Forget a timer.
    Unschedule {
        /// Its name.
        name: String,
    },
    /// Have `execute` do a task, apart from all events.
    StartTask {
        /// What the program calls it. A second start of the same key by the same agent is the
        /// same task.
        key: String,
        /// Its type.
        kind: String,
        /// What `execute` is to be given.
        #[serde(default)]
        input: Value,
        /// Until when its result is of use, in milliseconds since the epoch; then it fails.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
    },
    /// Have a task not done, or not finished.
    CancelTask {
        /// Its key.
        key: String,
    },
    /// The message will not be acted on: who watches it is told that it was rejected.
    Reject {
        /// Why; its sender may be told.
        reason: String,
    },
}

/// That a message is to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acknowledge {
    /// What is asked for.
    pub request: AckWord,
    /// How long after it was mined the acknowledgment may take to come, in milliseconds.
    pub within_ms: u64,
    /// How often it is sent again when none came.
    #[serde(default)]
    pub resends: u32,
}

/// What acknowledgment is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AckWord {
    /// That the message has arrived.
    Received,
    /// That it has arrived, and what became of it.
    Done,
}

/// Whether a message is sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SealingWord {
    /// An answer to a sealed message is sealed; nothing else is.
    #[default]
    AsAsked,
    /// It is readable by all.
    Never,
    /// It is sealed if the recipient's encryption key is known.
    IfPossible,
    /// It is sealed, or the run fails for good.
    Always,
}
