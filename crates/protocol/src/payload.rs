//! How the payload of a transaction is read.

use crate::command::{CommandError, KnownCommand};
use crate::json::{Json, JsonRef, Kind, Limits};

/// The content of a payload. The first variant that fits counts, and every payload fits one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A JSON object with a string `cmd`: as JSON, or (as it is sent) as a string that holds JSON.
    Command(Command),
    /// An object with a string `text`, or any other string, such as `ping`.
    Text(String),
    /// Anything else, and any JSON in which a key occurs twice: two readers could understand it
    /// differently.
    Opaque(Json),
}

/// A payload that is a request or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The name of the command: the object's `cmd`.
    pub cmd: String,
    /// The whole object: `cmd`, its parameters, and perhaps the header `msg`.
    pub body: Json,
}

impl Payload {
    /// Reads a payload. A string is read as JSON only if it begins (after white space) with `{`,
    /// and only within the default [`Limits`]; beyond them it is text.
    pub fn read(payload: &Json) -> Self {
        let root = payload.root();
        if let Some(text) = root.as_str() {
            return Self::read_string(text);
        }
        if payload.has_duplicate_keys() {
            return Self::Opaque(payload.clone());
        }
        if let Some(cmd) = command_name(payload) {
            return Self::Command(Command {
                cmd,
                body: payload.clone(),
            });
        }
        match root.get("text").and_then(JsonRef::as_str) {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Opaque(payload.clone()),
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Command(_) | Self::Opaque(_) => None,
        }
    }

    /// The name of the command (`cmd`), if it is one, known or not.
    pub fn cmd(&self) -> Option<&str> {
        match self {
            Self::Command(command) => Some(&command.cmd),
            Self::Text(_) | Self::Opaque(_) => None,
        }
    }

    /// The command, if it is one of those that agentry knows.
    ///
    /// # Errors
    /// The parameters of a known command are wrong.
    pub fn command(&self) -> Result<Option<KnownCommand>, CommandError> {
        match self {
            Self::Command(command) => KnownCommand::read(command),
            Self::Text(_) | Self::Opaque(_) => Ok(None),
        }
    }

    fn read_string(text: &str) -> Self {
        let is_space = |character: char| matches!(character, ' ' | '\t' | '\n' | '\r');
        if text.trim_start_matches(is_space).starts_with('{')
            && let Ok(body) = Json::parse(text.as_bytes(), Limits::default())
        {
            if body.has_duplicate_keys() {
                return Self::Opaque(body);
            }
            if let Some(cmd) = command_name(&body) {
                return Self::Command(Command { cmd, body });
            }
        }
        Self::Text(text.to_owned())
    }
}

/// The string under `cmd` of an object.
fn command_name(object: &Json) -> Option<String> {
    let root = object.root();
    if root.kind() != Kind::Object {
        return None;
    }
    root.get("cmd")?.as_str().map(str::to_owned)
}
