//! Reading and writing the parameters of a command, one field at a time.

use std::str::FromStr;

use super::error::{CommandError, CommandFault};
use crate::bounded::Word;
use crate::json::{Json, JsonRef, Kind};
use crate::timestamp::Timestamp;

/// Longest short word in a command, in bytes: types, names of capabilities, codes, versions.
pub const WORD_MAX: usize = 64;

/// Most capabilities, or commands, that a card or a status names: with words of the greatest
/// length 4 KiB, so that 100,000 cards fit in memory.
pub const TAGS_MAX: usize = 64;

/// A short word: 1 to 64 printable ASCII characters.
pub type Tag = Word<WORD_MAX>;

/// A list of at most [`TAGS_MAX`] tags, such as capabilities, in their sender's order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Tags(Vec<Tag>);

impl Tags {
    /// A list of these tags.
    ///
    /// # Errors
    /// [`CommandFault::TooMany`].
    pub fn new(tags: Vec<Tag>) -> Result<Self, CommandFault> {
        if tags.len() > TAGS_MAX {
            return Err(CommandFault::TooMany {
                found: tags.len(),
                limit: TAGS_MAX,
            });
        }
        Ok(Self(tags))
    }

    /// The tags, in order.
    pub fn as_slice(&self) -> &[Tag] {
        &self.0
    }

    /// Whether a tag is in the list.
    pub fn contains(&self, tag: &str) -> bool {
        self.0.iter().any(|found| found.as_str() == tag)
    }
}

/// The parameters of one command, or of an object within it.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    cmd: &'static str,
    object: JsonRef<'a>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(cmd: &'static str, object: JsonRef<'a>) -> Self {
        Self { cmd, object }
    }

    pub(super) fn error(self, field: &'static str, reason: CommandFault) -> CommandError {
        let cmd = self.cmd;
        CommandError { cmd, field, reason }
    }

    /// The value of a field, unless it is missing or `null`. `field` is its name in errors; the
    /// part after its last dot is the key.
    fn value(self, field: &'static str) -> Option<JsonRef<'a>> {
        let key = field.rsplit('.').next().unwrap_or(field);
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// An optional field, read by a function.
    pub(super) fn optional<T>(
        self,
        field: &'static str,
        read: impl FnOnce(JsonRef<'a>) -> Result<T, CommandFault>,
    ) -> Result<Option<T>, CommandError> {
        self.value(field)
            .map(read)
            .transpose()
            .map_err(|reason| self.error(field, reason))
    }

    /// A required field, read by a function.
    pub(super) fn required<T>(
        self,
        field: &'static str,
        read: impl FnOnce(JsonRef<'a>) -> Result<T, CommandFault>,
    ) -> Result<T, CommandError> {
        self.optional(field, read)?
            .ok_or_else(|| self.error(field, CommandFault::Missing))
    }

    /// An optional object within the command.
    pub(super) fn object(self, field: &'static str) -> Result<Option<Self>, CommandError> {
        let cmd = self.cmd;
        self.optional(field, |value| {
            if value.is_object() {
                Ok(Self { cmd, object: value })
            } else {
                Err(CommandFault::Type {
                    expected: "an object",
                })
            }
        })
    }

    /// An optional list of at most `limit` objects, each read by a function; empty if it is missing.
    pub(super) fn objects<T>(
        self,
        field: &'static str,
        limit: usize,
        read: impl Fn(Self) -> Result<T, CommandError>,
    ) -> Result<Vec<T>, CommandError> {
        let cmd = self.cmd;
        let list = self.optional(field, |value| {
            let items = || value.items();
            let expected = "an array of objects";
            if value.kind() != Kind::Array || !items().all(JsonRef::is_object) {
                return Err(CommandFault::Type { expected });
            }
            match value.len() {
                found if found > limit => Err(CommandFault::TooMany { found, limit }),
                _ => Ok(items().map(|object| Self { cmd, object })),
            }
        })?;
        list.into_iter().flatten().map(read).collect()
    }
}

/// A string, as it is.
pub(super) fn string(value: JsonRef<'_>) -> Result<&str, CommandFault> {
    value.as_str().ok_or(CommandFault::Type {
        expected: "a string",
    })
}

/// A string, parsed as its type. Every type that is read this way bounds its length.
pub(super) fn parsed<T: FromStr>(value: JsonRef<'_>) -> Result<T, CommandFault>
where
    T::Err: Into<CommandFault>,
{
    string(value)?.parse().map_err(Into::into)
}

/// An integer from 0 to 2⁶⁴ − 1.
pub(super) fn count(value: JsonRef<'_>) -> Result<u64, CommandFault> {
    value.as_u64().ok_or(CommandFault::Type {
        expected: "an integer from 0",
    })
}

/// A point in time.
pub(super) fn time(value: JsonRef<'_>) -> Result<Timestamp, CommandFault> {
    Timestamp::read(value).ok_or(CommandFault::Type {
        expected: Timestamp::EXPECTED,
    })
}

/// A list of tags.
pub(super) fn tags(value: JsonRef<'_>) -> Result<Tags, CommandFault> {
    if value.kind() != Kind::Array {
        return Err(CommandFault::Type {
            expected: "an array of strings",
        });
    }
    let (found, limit) = (value.len(), TAGS_MAX);
    if found > limit {
        return Err(CommandFault::TooMany { found, limit });
    }
    value
        .items()
        .map(parsed)
        .collect::<Result<_, _>>()
        .map(Tags)
}

/// Collects the entries of a command that is written.
#[derive(Default)]
pub(super) struct Entries(Vec<(&'static str, Json)>);

impl Entries {
    pub(super) fn json(&mut self, key: &'static str, value: Json) {
        self.0.push((key, value));
    }

    pub(super) fn text(&mut self, key: &'static str, value: &impl ToString) {
        self.json(key, Json::string(value.to_string()));
    }

    pub(super) fn optional_text(&mut self, key: &'static str, value: Option<&impl ToString>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    pub(super) fn count(&mut self, key: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.json(key, Json::integer(value.into()));
        }
    }

    pub(super) fn time(&mut self, key: &'static str, value: Option<Timestamp>) {
        if let Some(value) = value {
            self.json(key, value.to_json());
        }
    }

    pub(super) fn tags(&mut self, key: &'static str, tags: &Tags) {
        let tags = tags.0.iter().map(|tag| Json::string(tag.as_str()));
        self.json(key, Json::array(tags));
    }

    pub(super) fn finish(self) -> Json {
        Json::object(self.0)
    }
}
