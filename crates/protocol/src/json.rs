//! Canonical JSON, exactly as CPython's `json.dumps(value, sort_keys=True)` writes it.
//!
//! AITBC signs and hashes what CPython writes, so with a reader that differs in one character no
//! signature verifies. [`Json`] keeps a document in that order and writes it in both spellings:
//! [`Json::to_compact`] is hashed, [`Json::to_spaced`] is signed.
//!
//! The document is one flat arena, so no operation recurses: parsing, writing, cloning, comparing
//! and dropping a hundred thousand nested arrays takes no more stack than one.
//!
//! | part | what it does |
//! |---|---|
//! | `arena` | the nodes, and the builder that puts them in canonical order |
//! | `parse` | text to arena |
//! | `walk` | arena to a sequence of events: the one traversal that all other operations use |
//! | `write` | events to text |
//! | `number` | [`Number`], and Python's spelling of floats |

use std::fmt;
use std::hash::{Hash, Hasher};

mod arena;
mod error;
mod number;
mod parse;
mod reference;
mod walk;
mod write;

use arena::{Arena, Builder, Node};
pub use error::JsonError;
pub use number::Number;
pub use reference::{JsonRef, Kind};
pub(crate) use write::{Field, Style, write_object};

/// The limits beyond which JSON is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest text, in bytes. It bounds integers too: each digit is a byte.
    pub max_bytes: usize,
    /// Most containers open at once. `[[]]` has 2.
    pub max_depth: usize,
}

impl Limits {
    /// No limits: for text that this program has written, such as a row of its own store.
    pub const NONE: Self = Self {
        max_bytes: usize::MAX,
        max_depth: usize::MAX,
    };
}

impl Default for Limits {
    /// 4 MiB, four times the limit of a block of the chain, and 100,000 levels, a hundred times the
    /// limit of CPython.
    fn default() -> Self {
        Self {
            max_bytes: 4 << 20,
            max_depth: 100_000,
        }
    }
}

/// An immutable JSON document in canonical order: object keys sorted by code point, each once.
///
/// Equality and hashing use the canonical text, so `1` and `1.0` differ, as they do to a signature.
/// Duplicate keys ([`Json::has_duplicate_keys`]) are not compared.
#[derive(Clone)]
pub struct Json {
    arena: Arena,
}

impl Json {
    /// Reads strict JSON.
    ///
    /// If a key occurs twice, the last one wins, as with CPython, and [`Json::has_duplicate_keys`]
    /// returns true. Integers keep every digit.
    ///
    /// # Errors
    /// The text is not JSON, exceeds `limits`, or has no canonical form: `NaN`, `Infinity`, a float
    /// beyond the range of a double, a lone surrogate, or bytes that are not UTF-8.
    pub fn parse(text: &[u8], limits: Limits) -> Result<Self, JsonError> {
        parse::parse(text, limits).map(|arena| Self { arena })
    }

    /// Overwrites its text, which may hold a secret.
    pub(crate) fn wipe(mut self) {
        zeroize::Zeroize::zeroize(&mut self.arena.text);
    }

    /// Whether any object in the document had a key twice.
    pub fn has_duplicate_keys(&self) -> bool {
        self.root().has_duplicate_keys()
    }

    /// `null`.
    pub fn null() -> Self {
        Self::scalar(Node::Null)
    }

    /// A string.
    pub fn string(text: impl Into<String>) -> Self {
        Self {
            arena: Arena::of_string(text.into()),
        }
    }

    /// An integer.
    pub fn integer(value: i128) -> Self {
        Self::number(&Number::from(value))
    }

    /// `true` or `false`.
    pub fn boolean(value: bool) -> Self {
        Self::scalar(Node::Boolean(value))
    }

    /// A float.
    ///
    /// # Errors
    /// [`JsonError::NotFinite`] for NaN and the infinities, which JSON cannot hold.
    pub fn float(value: f64) -> Result<Self, JsonError> {
        if value.is_finite() {
            Ok(Self::scalar(Node::Float(value)))
        } else {
            Err(JsonError::NotFinite)
        }
    }

    /// A number.
    pub fn number(value: &Number) -> Self {
        let mut builder = Builder::default();
        builder.number(value);
        Self {
            arena: builder.finish(),
        }
    }

    /// An array.
    pub fn array(items: impl IntoIterator<Item = Self>) -> Self {
        let mut builder = Builder::default();
        builder.begin_array();
        for item in items {
            builder.graft(item.arena, None);
        }
        builder.end_array();
        Self {
            arena: builder.finish(),
        }
    }

    /// An object. Entries may come in any order; if a key occurs twice, the last one wins and
    /// [`Json::has_duplicate_keys`] returns true.
    pub fn object<K: Into<String>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        let mut builder = Builder::default();
        builder.begin_object();
        for (key, value) in entries {
            builder.graft(value.arena, Some(&key.into()));
        }
        builder.end_object(false);
        Self {
            arena: builder.finish(),
        }
    }

    /// Serializes a value into a document.
    ///
    /// # Errors
    /// [`JsonError::Convert`] when serde cannot write it as JSON, or [`Json::parse`]'s errors.
    pub fn from_serialize<T: serde::Serialize>(value: &T) -> Result<Self, JsonError> {
        let text = serde_json::to_vec(value).map_err(|error| JsonError::Convert {
            reason: error.to_string(),
        })?;
        Self::parse(&text, Limits::NONE)
    }

    /// The outermost value.
    pub fn root(&self) -> JsonRef<'_> {
        JsonRef::new(&self.arena, self.arena.root)
    }

    /// The canonical text that is hashed: `{"a":1,"b":[2,3]}`.
    pub fn to_compact(&self) -> String {
        self.root().to_compact()
    }

    /// The canonical text that is signed: `{"a": 1, "b": [2, 3]}`.
    pub fn to_spaced(&self) -> String {
        self.root().to_spaced()
    }

    fn scalar(node: Node) -> Self {
        Self {
            arena: Arena::of_scalar(node),
        }
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.root() == other.root()
    }
}

impl Eq for Json {}

impl Hash for Json {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.root().hash(state);
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Json({})", self.to_compact())
    }
}

impl fmt::Display for Json {
    /// The compact canonical text.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_compact())
    }
}

impl std::str::FromStr for Json {
    type Err = JsonError;

    /// Reads JSON within the default [`Limits`].
    fn from_str(text: &str) -> Result<Self, JsonError> {
        Self::parse(text.as_bytes(), Limits::default())
    }
}

impl serde::Serialize for Json {
    /// The compact canonical text, as one string. If any object had a key twice, a space precedes
    /// it (which is still JSON), so that this is still known after reading it back.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mark = if self.has_duplicate_keys() { " " } else { "" };
        serializer.serialize_str(&format!("{mark}{}", self.to_compact()))
    }
}

impl<'de> serde::Deserialize<'de> for Json {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
        let mut json =
            Self::parse(text.as_bytes(), Limits::NONE).map_err(serde::de::Error::custom)?;
        if text.starts_with(' ') {
            json.arena.mark_duplicates();
        }
        Ok(json)
    }
}
