//! The events that a program receives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An event. A program ignores an unknown kind by answering with no effects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A message arrived.
    Message {
        /// The message.
        message: Message,
    },
    /// A timer that the program set has expired.
    Timer {
        /// The name that the program gave it.
        name: String,
        /// The data that the program set it with.
        data: Value,
        /// The time that it was set for, in milliseconds since the epoch. It never expires earlier,
        /// but may expire later.
        due_ms: u64,
    },
    /// A delivery update for a message that the program sent with a label.
    DeliveryUpdate {
        /// The message.
        sent: Sent,
        /// The update. One message has several updates in turn.
        update: DeliveryUpdate,
        /// With `mined`: the height of the block.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        height: Option<u64>,
        /// With `accepted`, `done`, `failed` and `rejected`: the recipient's explanation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// With `unsent`: the reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The outcome of a message that the agent's other behaviours handled. Only with
    /// `watches = true`.
    Settled {
        /// The message.
        message: Message,
        /// The outcome.
        settlement: Settlement,
        /// With `failed` and `rejected`: the reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// An update of a task that the program started.
    Task {
        /// The task.
        task: Task,
        /// What changed.
        news: News,
        /// With `progress`: the progress, from 0 to 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<f64>,
        /// With `progress`: a description.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        /// With `completed`: the result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Output>,
        /// With `completed`: how long the last run took, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
        /// With `failed`: a machine-readable code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// With `failed`: the reason that the submitter of the task may be told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// With `input_required`: the question.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        question: Option<Question>,
    },
    /// The agent was started. Only with `starts`.
    Start {
        /// Whether the program has not been told of a start of this agent before.
        first: bool,
    },
    /// A time of a schedule. Only with `schedules`.
    Tick {
        /// The schedule's name.
        name: String,
        /// The time that it is for, in milliseconds since the epoch. The event is never earlier, but
        /// may be later.
        at_ms: u64,
        /// How many earlier times of the schedule it stands for, which were missed.
        missed: u64,
    },
}

/// The context of an event: the agent, the time, the attempt and the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunContext {
    /// The agent's name in agents.toml. One program may serve many agents.
    pub agent: String,
    /// The agent's address.
    pub address: String,
    /// The name of this behaviour within the agent.
    pub behaviour: String,
    /// The number of this attempt at the event, from 1.
    pub attempt: u32,
    /// When the run began, in milliseconds since the epoch.
    pub now_ms: u64,
    /// The program's state for this agent.
    pub state: Map<String, Value>,
}

/// A message to the agent. It has one of `text`, `command` and `opaque`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Hash of the transaction that carried it.
    pub transaction: String,
    /// The SHA-256 of its signing text.
    pub digest: String,
    /// The sender that it names; `authenticity` says whether to believe it.
    pub from: String,
    /// The agent's own address.
    pub to: String,
    /// The amount that it transferred, in AIT; left out if that is not an integer from 0 to
    /// 2^64 - 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<u64>,
    /// The amount that it transferred, with all its digits, if `amount` is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_text: Option<String>,
    /// The height of the block that contains it.
    pub height: u64,
    /// Whether its sender is verified.
    pub authenticity: Authenticity,
    /// Whether it was sealed, so that only the agent can read it.
    pub sealed: bool,
    /// The text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The command: an object with a `cmd` and its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Map<String, Value>>,
    /// Any other content, as JSON text. This includes a command that is nested more than 64 levels
    /// deep or contains an integer of more than 64 bits, because many JSON parsers fail on those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<String>,
    /// The header, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Header>,
    /// The agent's message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Answered>,
}

/// Whether the sender of a message is verified. Forged messages are never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Authenticity {
    /// The signature is valid under a key that is bound to the sender.
    Verified,
    /// No key of the sender is known: `from` may be false.
    Unverified,
}

/// The header of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// The message's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The transaction that this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub re: Option<String>,
    /// The conversation that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// When it expires, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// The acknowledgment that it asks for: `received` or `done`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledge: Option<super::AckWord>,
    /// How many messages it follows from; left out if it follows from none. What the program sends
    /// carries on the count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<u32>,
    /// The trace that it is part of, as W3C Trace Context writes `traceparent`. What the program
    /// sends carries it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// A message of the agent that its recipient answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    /// Hash of its transaction.
    pub transaction: String,
    /// The name of the behaviour that sent it; left out if an operator sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behaviour: Option<String>,
    /// The label that it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A message that the program sent with a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sent {
    /// The label.
    pub label: String,
    /// The recipient's address.
    pub to: String,
    /// The message's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Hash of the last transaction that carried it; left out if none was ever signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
}

/// A delivery update for a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryUpdate {
    /// It is included in a block.
    Mined,
    /// The recipient says that it received the message.
    Received,
    /// The recipient says that it will act on the message.
    Accepted,
    /// The recipient says that it acted on the message.
    Done,
    /// The recipient says that acting on the message failed.
    Failed,
    /// The recipient says that it will not act on the message.
    Rejected,
    /// It expired before the recipient acted on it, or before it could be sent.
    Expired,
    /// No acknowledgment arrived in time, after all resends.
    Unacknowledged,
    /// It was not sent.
    Unsent,
}

/// The outcome of a message that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Settlement {
    /// A behaviour acted on it, and the tasks that it started are completed.
    Done,
    /// Acting on it failed, and is not tried again.
    Failed,
    /// No behaviour accepts it, or one rejected it.
    Rejected,
    /// It expired before it arrived, or before its turn.
    Expired,
}

/// A task that the program started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// The name that the program gave it.
    pub key: String,
    /// Its type.
    pub kind: String,
    /// The input that the program gave it.
    pub input: Value,
    /// The time at which it fails if it has not completed, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The name in agents.toml of the agent that does it.
    pub agent: String,
    /// The sender of the message that started it; left out if no message started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitter: Option<String>,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// What tells it from every other task: the same for all attempts. 40 hexadecimal digits.
    pub idempotency_key: String,
    /// The answers to its questions so far, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Value>,
}

/// A question of a task to its submitter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Question {
    /// Its number, from 1.
    pub number: u32,
    /// The question.
    pub text: String,
    /// What the answer must look like: a JSON Schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// The time after which the task fails without an answer, in milliseconds since the epoch.
    pub until_ms: u64,
}

/// What changed in a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum News {
    /// It made progress.
    Progress,
    /// It completed.
    Completed,
    /// It failed permanently.
    Failed,
    /// It was canceled before it completed.
    Canceled,
    /// It asks its submitter something, and waits for the answer (`answer_task`).
    #[serde(rename = "input_required")]
    InputRequired,
}

/// The result of a task that completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The result.
    pub text: String,
    /// The media type of the result, such as `text/plain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Why the result is incomplete, as a machine-readable code such as `length`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
}
