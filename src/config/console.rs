//! Who may do what in the web console.

use serde_json::{Value, json};

use super::document::Raw;
use super::keys::Holds;
use super::values::{Kind, Unchecked};

/// Whether the web console is served, and what its users may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleAccess {
    /// It is not served.
    Off,
    /// It shows everything and changes nothing.
    ReadOnly,
    /// Its users may do what an operator may.
    On,
}

/// `true`, `false`, or a word.
impl Kind for ConsoleAccess {
    const HOLDS: Holds = Holds::Word;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        let word = match &value.given.raw {
            Raw::Boolean(true) => return Some(Self::On),
            Raw::Boolean(false) => return Some(Self::Off),
            Raw::Text(text) => text.clone(),
            _ => String::new(),
        };
        match word.as_str() {
            "read-only" => Some(Self::ReadOnly),
            // Outside of the file, everything is a text.
            "true" => Some(Self::On),
            "false" => Some(Self::Off),
            _ => value.must_be("true, false or \"read-only\""),
        }
    }

    fn show(&self) -> Value {
        match self {
            Self::Off => json!(false),
            Self::ReadOnly => json!("read-only"),
            Self::On => json!(true),
        }
    }
}
