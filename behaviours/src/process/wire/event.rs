//! What a program is shown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Something that happened. A program ignores kinds that it does not know, by answering with no
/// effects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A message came.
    Message {
        /// The message.
        message: Message,
    },
    /// A timer that the program set has run out.
    Timer {
        /// The name that the program gave it.
        name: String,
        /// What the program gave it.
        data: Value,
        /// For when it was set, in milliseconds since the epoch. It comes then or later.
        due_ms: u64,
    },
    /// Something became of a message that the program sent with a label.
    Fate {
        /// The message.
        sent: Sent,
        /// What became of it. One message has several fates in turn.
        fate: Fate,
        /// Of `mined`: the block.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        height: Option<u64>,
        /// Of `accepted`, `done`, `failed` and `rejected`: in the recipient's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// Of `unsent`: why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Something became of a message in the hands of the agent's other behaviours. Only with
    /// `watches = true`.
    Settled {
        /// The message.
        message: Message,
        /// What became of it.
        settlement: Settlement,
        /// Of `failed` and `rejected`: why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// News of a task that the program started.
    Task {
        /// The task.
        task: Task,
        /// What is new.
        news: News,
        /// Of `progress`: how far it is, from 0 to 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<f64>,
        /// Of `progress`: in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        /// Of `completed`: its result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Output>,
        /// Of `completed`: how long the last run took, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
        /// Of `failed`: a word for programs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// Of `failed`: what whoever asked for it may be told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
}

/// For whom a program runs, when, and what it remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunContext {
    /// The agent's name in agents.toml. One program may serve many agents.
    pub agent: String,
    /// The agent's address.
    pub address: String,
    /// The name of this behaviour within the agent.
    pub behaviour: String,
    /// Which attempt at this event this is, from 1.
    pub attempt: u32,
    /// When the run began, in milliseconds since the epoch.
    pub now_ms: u64,
    /// What the program remembers for this agent.
    pub state: Map<String, Value>,
}

/// A message to the agent. It says one of `text`, `command` and `opaque`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Hash of the transaction that carried it.
    pub transaction: String,
    /// The SHA-256 of its signing text.
    pub digest: String,
    /// Who it says it is from; see `authenticity`.
    pub from: String,
    /// The agent's own address.
    pub to: String,
    /// What was transferred with it, in AIT; left out if that is no whole number from 0 to
    /// 2^64 - 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<u64>,
    /// What was transferred with it, with all its digits, where `amount` is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_text: Option<String>,
    /// The block that holds it.
    pub height: u64,
    /// Whether its sender is proven.
    pub authenticity: Authenticity,
    /// Whether only the agent can read it.
    pub sealed: bool,
    /// The text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The command: an object with a `cmd` and its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Map<String, Value>>,
    /// Anything else, as the JSON text that it is. So is a command that is nested more than 64
    /// levels deep, or holds an integer of more than 64 bits: many a reader of JSON breaks on
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<String>,
    /// What it says of itself, if it has a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Header>,
    /// The agent's message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Answered>,
}

/// Whether the sender of a message is proven. Forged ones are never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Authenticity {
    /// The signature is right under a key that is bound to the sender.
    Verified,
    /// No key of the sender is known: `from` may be a lie.
    Unverified,
}

/// What a message says of itself.
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
    /// When it stops to count, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// What acknowledgment is asked for: `received` or `done`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledge: Option<super::AckWord>,
}

/// A message of the agent's that was answered by the one who was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    /// Hash of its transaction.
    pub transaction: String,
    /// The behaviour that sent it, by its name in the agent; left out if an operator did.
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
    /// To whom it went.
    pub to: String,
    /// The message's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Hash of the transaction that carried it last; left out if it was never signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
}

/// What became of a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It stands in a block.
    Mined,
    /// Its recipient says that he has it.
    Received,
    /// Its recipient says that he will act on it.
    Accepted,
    /// Its recipient says that he acted on it.
    Done,
    /// Its recipient says that acting on it failed.
    Failed,
    /// Its recipient says that he will not act on it.
    Rejected,
    /// Its time was over before it was acted on, or before it could be sent.
    Expired,
    /// The acknowledgment that was asked for did not come, after all resends.
    Unacknowledged,
    /// It was not sent.
    Unsent,
}

/// What became of a message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Settlement {
    /// A behaviour acted on it; tasks that it started are completed.
    Done,
    /// Acting on it was given up.
    Failed,
    /// No behaviour takes it, or one refused it.
    Rejected,
    /// It came, or its turn came, after its time.
    Expired,
}

/// A task that the program started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// What the program calls it.
    pub key: String,
    /// Its type.
    pub kind: String,
    /// What the program gave it.
    pub input: Value,
    /// Until when its result is of use, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The agent that does it: its name in agents.toml.
    pub agent: String,
    /// Who sent the message that started it; left out if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitter: Option<String>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// What is new of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum News {
    /// It is so far.
    Progress,
    /// It is done.
    Completed,
    /// It failed for good.
    Failed,
    /// It was canceled before it was done.
    Canceled,
}

/// What came out of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The result.
    pub text: String,
    /// What it is, such as `text/plain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Why it is not all that it could be, as a word for programs, such as `length`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
}
