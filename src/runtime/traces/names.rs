//! The names of spans and attributes. docs/traces.md lists them.

use agentry_protocol::{KnownCommand, Payload};
use agentry_sdk::Message;

/// The version of OpenTelemetry's semantic conventions that attributes without `agentry.` follow.
/// Those for generative AI are under development and change between versions.
#[cfg(feature = "otlp")]
pub(super) const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

/// The name of the agent in agents.toml.
pub(crate) const AGENT: &str = "agentry.agent";
/// The kind of a message; see [`kind_of`].
pub(crate) const MESSAGE: &str = "agentry.message";
/// The address of a message's sender.
pub(crate) const FROM: &str = "agentry.message.from";
/// The address of a message's recipient.
pub(crate) const TO: &str = "agentry.message.to";
/// Whether a message's sender is verified.
pub(crate) const AUTHENTICITY: &str = "agentry.message.authenticity";
/// The hash of a transaction.
pub(crate) const TRANSACTION: &str = "agentry.transaction";
/// The height of the block that holds it.
pub(crate) const BLOCK: &str = "agentry.block";
/// The behaviour's name in the agent.
pub(crate) const BEHAVIOUR: &str = "agentry.behaviour";
/// What the behaviour is run for.
pub(crate) const EVENT: &str = "agentry.event";
/// The number of the attempt, from 1.
pub(crate) const ATTEMPT: &str = "agentry.attempt";
/// The id of a task.
pub(crate) const TASK: &str = "agentry.task";

/// Why work failed (OpenTelemetry).
#[cfg(feature = "otlp")]
pub(super) const ERROR: &str = "error.type";

/// The conventions for calls of models and agents.
pub(crate) mod gen_ai {
    pub(crate) const OPERATION: &str = "gen_ai.operation.name";
    pub(crate) const PROVIDER: &str = "gen_ai.provider.name";
    pub(crate) const MODEL: &str = "gen_ai.request.model";
    pub(crate) const MAX_TOKENS: &str = "gen_ai.request.max_tokens";
    pub(crate) const TEMPERATURE: &str = "gen_ai.request.temperature";
    pub(crate) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    pub(crate) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    pub(crate) const SERVER: &str = "server.address";
    pub(crate) const PORT: &str = "server.port";
}

/// The kind of a message: `text`, the name of a command of the protocol, `command` for any other,
/// whose name is content, and `SEALED` for whatever was sealed.
pub(crate) fn kind_of(message: &Message) -> &'static str {
    if message.sealed {
        return "SEALED";
    }
    kind(&message.payload)
}

/// The kind of a payload, as in [`kind_of`].
pub(crate) fn kind(payload: &Payload) -> &'static str {
    match payload {
        Payload::Text(_) => "text",
        Payload::Opaque(_) => "opaque",
        Payload::Command(command) => {
            let known = KnownCommand::NAMES
                .iter()
                .find(|name| **name == command.cmd);
            known.copied().unwrap_or("command")
        }
    }
}
