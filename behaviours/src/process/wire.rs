//! The lines that agentry and a program write to each other: JSON, one value a line.
//!
//! | part | holds |
//! |---|---|
//! | this module | the lines |
//! | [`event`] | what a program is shown |
//! | [`effect`] | what a program may ask for |
//!
//! docs/process.schema.json is made of these types ([`schema`]), and docs/process.md tells how they
//! are used. What is here is what stands on the wire, so a change is a change of the protocol: what
//! a program may ignore (a new kind of event, a new field of an event) keeps [`PROTOCOL`], anything
//! else raises it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub mod effect;
pub mod event;

pub use effect::{AckWord, Acknowledge, Effect, SealingWord};
pub use event::{
    Answered, Authenticity, Event, Fate, Header, Message, News, Output, RunContext, Sent,
    Settlement, Task,
};

/// The version of the protocol that is spoken here.
pub const PROTOCOL: u32 = 1;

/// The longest line that is read from a program, in bytes: four of the largest payloads.
pub const MAX_LINE_BYTES: usize = 4 << 20;

/// The longest line that is written to a program, in bytes: the largest message, and state that is
/// still reasonable to write with each event.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// The most cards that one look-up is answered with.
pub const MAX_CARDS: usize = 200;

/// A line from agentry to the program. A field without a value is left out. A program ignores fields
/// and lines that it does not know.
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
    /// Something happened; to be answered with `effects` or `error`.
    Event {
        /// What the answer names.
        id: u64,
        /// What happened.
        event: Box<Event>,
        /// For whom.
        context: RunContext,
    },
    /// A task of the program's is to be done; to be answered with `output` or `error`.
    Execute {
        /// What the answer names.
        id: u64,
        /// The task.
        task: Task,
    },
    /// Nobody waits any more for the answer to this event or task: its time is over, or it was
    /// canceled. An answer is expected all the same, and ignored: a program that gives none at
    /// all for some seconds is taken to hang.
    Cancel {
        /// Its id.
        id: u64,
    },
    /// The answer to `find`.
    Found {
        /// The id of the look-up.
        id: u64,
        /// The cards that fit, by name, then by address.
        cards: Vec<Card>,
    },
    /// The answer to `resolve`.
    Resolved {
        /// The id of the look-up.
        id: u64,
        /// The address; left out if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// Why there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
}

/// A line from the program to agentry. Other fields than these are mistakes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromProgram {
    /// The program has read `hello` and takes events.
    Ready {
        /// The version of the protocol that it speaks: 1.
        protocol: u32,
    },
    /// What should happen because of an event: all of it or nothing.
    Effects {
        /// The event's id.
        id: u64,
        /// In this order; at most 256.
        effects: Vec<Effect>,
    },
    /// A task is done.
    Output {
        /// The task's id in `execute`.
        id: u64,
        /// The result.
        text: String,
        /// What it is; `text/plain; charset=utf-8` if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        media_type: Option<String>,
        /// Why it is not all that it could be, as a word for programs, such as `length`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incomplete: Option<String>,
    },
    /// A run, or an attempt at a task, failed.
    Error {
        /// The id of the event or the task.
        id: u64,
        /// Why, for the operator: it is logged, kept with the dead letter, and told to nobody.
        message: String,
        /// What the sender of the message, or whoever asked for the task, may be told. It can end
        /// up on the chain, for all to read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        public: Option<String>,
        /// Where in the program it happened: several lines for the log, of which the last 8,000
        /// bytes are kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
        /// Whether another attempt may succeed. If not, the event is a dead letter, and the task
        /// has failed.
        #[serde(default = "yes")]
        transient: bool,
        /// Of a task: a word for programs. `failed` if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
    },
    /// How far a task is.
    Progress {
        /// The task's id in `execute`.
        id: u64,
        /// From 0 to 1.
        progress: f64,
        /// In words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Something for agentry's log. So is every line on the standard error, as `info`.
    Log {
        /// How grave it is.
        #[serde(default)]
        level: Level,
        /// What. It is cut at 2,000 bytes.
        message: String,
    },
    /// A look-up in the directory; answered with `found`.
    Find {
        /// A number of the program's own choice.
        id: u64,
        /// Which cards are wanted.
        #[serde(default)]
        query: Query,
    },
    /// A look-up of a name: of a contact or an agent of agents.toml, or one of the directory;
    /// answered with `resolved`.
    Resolve {
        /// A number of the program's own choice.
        id: u64,
        /// The name.
        name: String,
    },
}

const fn yes() -> bool {
    true
}

/// How grave a line of the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Somebody must act.
    Error,
    /// Somebody should look.
    Warn,
    /// Good to know.
    #[default]
    Info,
    /// For who looks for a mistake.
    Debug,
}

/// Which cards are wanted. An empty query fits all that have not expired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Only with this name, to the letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only with all of these capabilities.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Only with all of these commands.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Only announced in this block or a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_since: Option<u64>,
    /// At most so many: 1 to 200. 200 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u32>,
}

/// What an agent says of itself in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Card {
    /// Whose it is.
    pub address: String,
    /// What the agent calls itself. Nothing keeps two from using one name.
    pub name: String,
    /// What it says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// The commands that it takes.
    pub commands: Vec<String>,
    /// Whether messages to it can be sealed.
    pub sealable: bool,
    /// Until when the card counts, in milliseconds since the epoch.
    pub expires_ms: u64,
    /// The block that holds it.
    pub height: u64,
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
