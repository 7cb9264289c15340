//! A view of one value in a document.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::arena::{Arena, Builder, Entry, Node};
use super::number::Number;
use super::walk::{Event, Walk};
use super::write::{Style, write_value};
use super::{Json, JsonError};
use crate::bounded::cut;

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number without fraction and exponent.
    Integer,
    /// A number with a fraction or an exponent.
    Float,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// One value in a [`Json`] document, with everything in it. As cheap as a pointer.
#[derive(Clone, Copy)]
pub struct JsonRef<'a> {
    arena: &'a Arena,
    index: usize,
}

impl<'a> JsonRef<'a> {
    pub(super) fn new(arena: &'a Arena, index: usize) -> Self {
        Self { arena, index }
    }

    fn node(self) -> Node {
        self.arena.node(self.index)
    }

    pub(super) fn walk(self) -> Walk<'a> {
        Walk::new(self.arena, self.index)
    }

    /// The kind of the value.
    pub fn kind(self) -> Kind {
        match self.node() {
            Node::Null => Kind::Null,
            Node::Boolean(_) => Kind::Boolean,
            Node::Integer(_) | Node::BigInteger(_) => Kind::Integer,
            Node::Float(_) => Kind::Float,
            Node::String(_) => Kind::String,
            Node::Array(_) => Kind::Array,
            Node::Object { .. } => Kind::Object,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        matches!(self.node(), Node::Null)
    }

    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        matches!(self.node(), Node::Object { .. })
    }

    /// The text of a string.
    pub fn as_str(self) -> Option<&'a str> {
        match self.node() {
            Node::String(span) => Some(self.arena.str(span)),
            _ => None,
        }
    }

    /// The value of a boolean.
    pub fn as_bool(self) -> Option<bool> {
        match self.node() {
            Node::Boolean(value) => Some(value),
            _ => None,
        }
    }

    /// The value of an integer that fits. None for a float, even `1.0`.
    pub fn as_i64(self) -> Option<i64> {
        match self.node() {
            Node::Integer(value) => Some(value),
            _ => None,
        }
    }

    /// The value of an integer that fits. None for a float, even `1.0`.
    pub fn as_u64(self) -> Option<u64> {
        match self.node() {
            Node::Integer(value) => value.try_into().ok(),
            Node::BigInteger(_) => self.as_number()?.as_u64(),
            _ => None,
        }
    }

    /// The value of an integer that fits. None for a float, even `1.0`.
    pub fn as_i128(self) -> Option<i128> {
        self.as_number()?.as_i128()
    }

    /// The value of a float, or an integer's nearest one if that is finite.
    pub fn as_f64(self) -> Option<f64> {
        self.as_number()?.as_f64()
    }

    /// The exact value of a number.
    pub fn as_number(self) -> Option<Number> {
        match self.node() {
            Node::Integer(value) => Some(Number::from(value)),
            Node::BigInteger(span) => Some(Number::from_digits(self.arena.str(span))),
            Node::Float(value) => Number::from_f64(value),
            _ => None,
        }
    }

    /// The value under a key of an object.
    pub fn get(self, key: &str) -> Option<JsonRef<'a>> {
        let entries = self.object_entries();
        let at = entries
            .binary_search_by(|entry| self.arena.str(entry.key).cmp(key))
            .ok()?;
        entries
            .get(at)
            .map(|entry| Self::new(self.arena, entry.value))
    }

    /// The entries of an object, sorted by key; nothing for anything else.
    pub fn entries(self) -> impl Iterator<Item = (&'a str, JsonRef<'a>)> {
        self.object_entries().iter().map(move |entry| {
            (
                self.arena.str(entry.key),
                Self::new(self.arena, entry.value),
            )
        })
    }

    /// The items of an array, in order; nothing for anything else.
    pub fn items(self) -> impl Iterator<Item = JsonRef<'a>> {
        self.array_items()
            .iter()
            .map(move |item| Self::new(self.arena, *item))
    }

    /// The item of an array at an index, from 0.
    pub fn at(self, index: usize) -> Option<JsonRef<'a>> {
        self.array_items()
            .get(index)
            .map(|item| Self::new(self.arena, *item))
    }

    /// How many items an array, or entries an object, has; 0 for anything else.
    pub fn len(self) -> usize {
        self.object_entries().len() + self.array_items().len()
    }

    /// Whether it contains nothing: true for everything except a non-empty container.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    fn object_entries(self) -> &'a [Entry] {
        match self.node() {
            Node::Object { entries, .. } => self.arena.entries(entries),
            _ => &[],
        }
    }

    fn array_items(self) -> &'a [usize] {
        match self.node() {
            Node::Array(items) => self.arena.items(items),
            _ => &[],
        }
    }

    /// Whether any object in it had a key twice.
    pub fn has_duplicate_keys(self) -> bool {
        self.walk()
            .any(|event| matches!(event, Event::EndObject(true)))
    }

    /// A separate document that holds only this value.
    pub fn to_json(self) -> Json {
        let mut builder = Builder::default();
        for event in self.walk() {
            match event {
                Event::Null => builder.value(Node::Null),
                Event::Boolean(value) => builder.value(Node::Boolean(value)),
                Event::Integer(value) => builder.value(Node::Integer(value)),
                Event::BigInteger(digits) => builder.integer_text(digits),
                Event::Float(value) => builder.value(Node::Float(value)),
                Event::String(text) => builder.string(text),
                Event::BeginArray => builder.begin_array(),
                Event::EndArray => builder.end_array(),
                Event::BeginObject => builder.begin_object(),
                Event::Key(key) => builder.key(key),
                Event::EndObject(duplicates) => builder.end_object(duplicates),
            }
        }
        Json {
            arena: builder.finish(),
        }
    }

    /// The canonical text that is hashed; see [`Json::to_compact`].
    pub fn to_compact(self) -> String {
        self.to_text(Style::Compact)
    }

    /// The canonical text that is signed; see [`Json::to_spaced`].
    pub fn to_spaced(self) -> String {
        self.to_text(Style::Spaced)
    }

    fn to_text(self, style: Style) -> String {
        let mut out = String::new();
        write_value(&mut out, self, style);
        out
    }

    /// Deserializes the value with serde, for example into the parameters of a command.
    ///
    /// Integers have at most 64 bits here: most serde types turn a longer one into a float, and
    /// lose digits without an error. [`JsonRef::as_number`] keeps all digits.
    ///
    /// # Errors
    /// [`JsonError::IntegerRange`] names the first integer that is longer.
    /// [`JsonError::Convert`] with serde's reason: a missing field, another type, or nesting
    /// deeper than serde_json's 128 levels.
    pub fn decode<T: serde::de::DeserializeOwned>(self) -> Result<T, JsonError> {
        self.check_integers()?;
        serde_json::from_str(&self.to_compact()).map_err(|error| JsonError::Convert {
            reason: error.to_string(),
        })
    }

    /// Whether each integer has at most 64 bits: from -2^63 to 2^64 - 1.
    fn check_integers(self) -> Result<(), JsonError> {
        let mut path: Vec<Step<'_>> = Vec::new();
        for event in self.walk() {
            match event {
                Event::Key(key) => {
                    if let Some(step) = path.last_mut() {
                        *step = Step::Key(key);
                    }
                    continue;
                }
                Event::EndArray | Event::EndObject(_) => {
                    path.pop();
                    continue;
                }
                _ => {}
            }
            if let Some(Step::Item(index)) = path.last_mut() {
                *index += 1;
            }
            match event {
                Event::BeginArray => path.push(Step::Item(0)),
                Event::BeginObject => path.push(Step::Key("")),
                Event::BigInteger(digits) if digits.parse::<u64>().is_err() => {
                    return Err(JsonError::IntegerRange {
                        path: shown(&path),
                        digits: cut(digits, SHOWN_DIGITS).to_owned(),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// How many digits of an integer an error shows.
const SHOWN_DIGITS: usize = 80;

/// How many bytes of a path an error shows.
const SHOWN_PATH: usize = 200;

/// One level of the path to a value.
#[derive(Clone, Copy)]
enum Step<'a> {
    /// A field of an object.
    Key(&'a str),
    /// An item of an array, counted from 1.
    Item(usize),
}

/// A path as people write it: `params.amounts[2]`, with indices from 0.
fn shown(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Item(number) => text.push_str(&format!("[{}]", number.saturating_sub(1))),
        }
        if text.len() > SHOWN_PATH {
            break;
        }
    }
    cut(&text, SHOWN_PATH).escape_debug().to_string()
}

impl PartialEq for JsonRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.walk().eq(other.walk())
    }
}

impl Eq for JsonRef<'_> {}

impl Hash for JsonRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for event in self.walk() {
            event.hash(state);
        }
    }
}

impl fmt::Debug for JsonRef<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "JsonRef({})", self.to_compact())
    }
}
