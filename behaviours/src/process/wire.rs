//! The lines that agentry and a program write to each other: one JSON value per line.
//!
//! | module | contents |
//! |---|---|
//! | this module | the lines |
//! | [`event`] | the events that a program receives |
//! | [`effect`] | the effects that a program returns |
//! | [`declaration`] | what a program declares about itself |
//!
//! docs/process.schema.json is generated from these types ([`schema`]), and docs/process.md
//! explains their use. These types define the wire format, so changing them changes the protocol. A
//! change that a program may ignore (a new kind of event, a new field of an event) keeps
//! [`PROTOCOL`]; any other change increments it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub mod declaration;
pub mod effect;
pub mod event;

pub use declaration::{Declaration, TaskDeclared};
pub use effect::{AckWord, Acknowledge, Effect, SealingWord};
pub use event::{
    Answered, Authenticity, DeliveryUpdate, Event, Header, Message, News, Output, Question,
    RunContext, Sent, Settlement, Task,
};

/// The version of the protocol that these types define.
pub const PROTOCOL: u32 = 1;

/// The longest line that is read from a program, in bytes: enough for four of the largest payloads.
pub const MAX_LINE_BYTES: usize = 4 << 20;

/// The longest line that is written to a program, in bytes: enough for the largest message and for
/// as much state as is reasonable to write with each event.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// The most cards that the answer to one lookup contains.
pub const MAX_CARDS: usize = 200;

/// A line from agentry to the program. A field without a value is left out. A program ignores
/// unknown fields and lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToProgram {
    /// The first line.
    Hello {
        /// The version of this protocol: 1.
        protocol: u32,
        /// The version of agentry.
        agentry: String,
        /// The table `settings` of the behaviour in agents.toml.
        settings: Map<String, Value>,
    },
    /// An event. The program answers with `effects` or `error`.
    Event {
        /// The id that the answer refers to.
        id: u64,
        /// The event.
        event: Box<Event>,
        /// The agent, the time, the attempt and the state.
        context: RunContext,
    },
    /// A task to be done. The program answers with `output` or `error`.
    Execute {
        /// The id that the answer refers to.
        id: u64,
        /// The task.
        task: Task,
    },
    /// The answer to this event or task is no longer needed: its time limit has passed, or it was
    /// canceled. The program must still answer, and the answer is ignored: a program that answers
    /// nothing at all for some seconds is considered hung.
    Cancel {
        /// The id of the event or task.
        id: u64,
    },
    /// The answer to `find`.
    Found {
        /// The id of the lookup.
        id: u64,
        /// The cards that match, sorted by name, then by address.
        cards: Vec<Card>,
    },
    /// The answer to `resolve`.
    Resolved {
        /// The id of the lookup.
        id: u64,
        /// The address; left out if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// Why there is no address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
}

/// A line from the program to agentry. Any other field is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromProgram {
    /// The program has read `hello` and is ready for events.
    Ready {
        /// The version of the protocol that the program uses: 1.
        protocol: u32,
        /// What the program declares about itself. If agents.toml names a file with a declaration, it
        /// must be the same; otherwise the log says so. Only the file counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        declares: Option<Box<Declaration>>,
    },
    /// The effects of an event: all of them happen, or none.
    Effects {
        /// The event's id.
        id: u64,
        /// The effects, in order; at most 256.
        effects: Vec<Effect>,
    },
    /// A task has completed.
    Output {
        /// The task's id in `execute`.
        id: u64,
        /// The result.
        text: String,
        /// The media type of the result; `text/plain; charset=utf-8` if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        media_type: Option<String>,
        /// Why the result is incomplete, as a machine-readable code such as `length`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incomplete: Option<String>,
    },
    /// A run, or an attempt at a task, failed.
    Error {
        /// The id of the event or the task.
        id: u64,
        /// The reason, for the operator only: it is logged and kept with the dead letter.
        message: String,
        /// The reason that the sender of the message, or the submitter of the task, may be told. It
        /// can end up on the chain, where everyone can read it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        public: Option<String>,
        /// A stack trace: several lines for the log, of which the last 8,000 bytes are kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
        /// Whether another attempt may succeed. If not, the event becomes a dead letter, or the
        /// task fails.
        #[serde(default = "yes")]
        transient: bool,
        /// For a task: a machine-readable code. `failed` if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
    },
    /// The progress of a task.
    Progress {
        /// The task's id in `execute`.
        id: u64,
        /// The progress, from 0 to 1.
        progress: f64,
        /// A description of the progress.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A question to the submitter of a task. It ends the attempt, and the program gets `cancel` for
    /// it. When the answer has come, the task is executed again, with the answer in `answers`.
    Ask {
        /// The task's id in `execute`.
        id: u64,
        /// The question: 1 to 4,096 bytes.
        question: String,
        /// What the answer must look like: a JSON Schema, an object. It is for whoever answers: the
        /// program must check what it gets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schema: Option<Map<String, Value>>,
        /// How long the task waits for the answer before it fails, in milliseconds: up to 30 days. A
        /// day if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        within_ms: Option<u64>,
    },
    /// Tokens that a model has used for a task, in addition to those reported before.
    Tokens {
        /// The task's id in `execute`.
        id: u64,
        /// What the model has read.
        input: u64,
        /// What the model has written.
        output: u64,
    },
    /// An entry for agentry's log. Every line on standard error is logged too, with the level
    /// `info`.
    Log {
        /// The level.
        #[serde(default)]
        level: Level,
        /// The text. It is cut at 2,000 bytes.
        message: String,
    },
    /// A lookup of cards in the directory. The answer is `found`.
    Find {
        /// A number that the program chooses.
        id: u64,
        /// The query.
        #[serde(default)]
        query: Query,
    },
    /// A lookup of a name: of a contact or an agent in agents.toml, or of an agent in the
    /// directory. The answer is `resolved`.
    Resolve {
        /// A number that the program chooses.
        id: u64,
        /// The name.
        name: String,
    },
}

const fn yes() -> bool {
    true
}

/// The level of a log entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The operator must act.
    Error,
    /// The operator should look into it.
    Warn,
    /// Information about normal operation.
    #[default]
    Info,
    /// Details for debugging.
    Debug,
}

/// A query for cards. An empty query matches all cards that have not expired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Matches cards with exactly this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Matches cards that have all of these capabilities.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Matches cards that have all of these commands.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Matches cards that were announced in this block or a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_since: Option<u64>,
    /// The most cards to return: 1 to 200. 200 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u32>,
}

/// What an agent says about itself in the directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Card {
    /// The agent's address.
    pub address: String,
    /// The name that the agent gives itself. Several agents may use the same name.
    pub name: String,
    /// The agent's description of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The agent's capabilities.
    pub capabilities: Vec<String>,
    /// The commands that the agent handles.
    pub commands: Vec<String>,
    /// The JSON Schemas of the parameters of these commands, as far as the agent says them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub schemas: Map<String, Value>,
    /// Where else the agent can be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// Whether messages to the agent can be sealed.
    pub sealable: bool,
    /// When the card expires, in milliseconds since the epoch.
    pub expires_ms: u64,
    /// The height of the block that contains the card.
    pub height: u64,
}

/// Where else an agent says that it can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// The protocol that is spoken there, such as `a2a`.
    pub protocol: String,
    /// The URL.
    pub url: String,
}

/// The JSON Schema (draft 2020-12) of a line in either direction.
pub fn schema() -> Schema {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let to_program = generator.subschema_for::<ToProgram>();
    let from_program = generator.subschema_for::<FromProgram>();
    let mut schema = Schema::default();
    let mut put = |key: &str, value: Value| schema.insert(key.to_owned(), value);
    put(
        "$schema",
        "https://json-schema.org/draft/2020-12/schema".into(),
    );
    put(
        "title",
        format!("agentry's protocol with programs, version {PROTOCOL}").into(),
    );
    put(
        "description",
        "One line on a program's standard input (ToProgram) or output (FromProgram).".into(),
    );
    put(
        "anyOf",
        Value::Array(vec![to_program.to_value(), from_program.to_value()]),
    );
    put("$defs", Value::Object(generator.take_definitions(true)));
    schema
}
