//! Reading single values. See `kinds` for their types.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::Value;

use super::document::Given;
use super::error::{ConfigIssue, Origin};
use super::keys::Holds;
use super::layers::Repeated;

/// The type of a key's value.
pub(super) trait Kind: Sized {
    /// Its name in the reference.
    const HOLDS: Holds;

    /// The value; `None` if it is wrong, which is then reported.
    fn read(value: &mut Unchecked<'_>) -> Option<Self>;

    /// The value as `config show` prints it, without secrets.
    fn show(&self) -> Value;

    /// The value of a key that is not set and has no default; `None` if it must be set.
    fn absent() -> Option<Self> {
        None
    }
}

/// A type whose values a key can limit to a range.
pub(super) trait Ranged: Kind {
    type Limit;

    /// The value; `None` if it is wrong or outside the range, which is then reported.
    fn within(value: &mut Unchecked<'_>, range: RangeInclusive<Self::Limit>) -> Option<Self>;
}

/// A valid value. Another one is reported where its key is read.
pub(super) fn valid<T: Kind>(given: Option<&Given>) -> Option<T> {
    Reader::default().read("", given?)
}

/// Collects errors while values are read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Where relative paths of the file start.
    pub(super) folder: PathBuf,
    pub(super) issues: Vec<ConfigIssue>,
    /// Required keys that are not set. They are kept apart: in a file that is not valid TOML, the
    /// key may be in a part that could not be read.
    pub(super) missing: Vec<ConfigIssue>,
}

impl Reader {
    /// Reads a value. `name` is its name in messages, for example `chain.rpc`.
    pub(super) fn read<T: Kind>(&mut self, name: &str, given: &Given) -> Option<T> {
        T::read(&mut self.unchecked(name, given))
    }

    pub(super) fn unchecked<'a>(&'a mut self, name: &'a str, given: &'a Given) -> Unchecked<'a> {
        Unchecked {
            name,
            given,
            reader: self,
        }
    }

    pub(super) fn report(&mut self, origin: &Origin, text: impl Into<String>) {
        self.issues.push(ConfigIssue::new(origin.clone(), text));
    }

    /// Reports a required key that is not set.
    pub(super) fn report_missing(&mut self, origin: Origin, text: impl Into<String>) {
        self.missing.push(ConfigIssue::new(origin, text));
    }

    /// Reports a key that each `[[table]]` must have.
    pub(super) fn report_without(&mut self, item: &Repeated, table: &str, key: &str) {
        let text = format!("this {table} has no `{key}`; each [[{table}]] must have one");
        self.report_missing(item.origin.clone(), text);
    }
}

/// A value before validation.
pub(super) struct Unchecked<'a> {
    pub(super) name: &'a str,
    pub(super) given: &'a Given,
    pub(super) reader: &'a mut Reader,
}

impl Unchecked<'_> {
    /// Reports the value. `reason` follows its name.
    pub(super) fn wrong<T>(&mut self, reason: impl Display) -> Option<T> {
        let text = format!("`{}` {reason}", self.name);
        self.reader.report(&self.given.origin, text);
        None
    }

    /// Reports the value, which is of another type.
    pub(super) fn must_be<T>(&mut self, wanted: &str) -> Option<T> {
        self.wrong(format!("must be {wanted}, not {}", self.given.raw.what()))
    }

    /// Whether the value is from the file, where not everything is a text.
    pub(super) fn is_of_file(&self) -> bool {
        matches!(self.given.origin, Origin::File { .. })
    }

    /// A value of a type that parses itself from text.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self) -> Option<T> {
        let text = String::read(self)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => self.wrong(format!("{text:?}: {error}")),
        }
    }
}
