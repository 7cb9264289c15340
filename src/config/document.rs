//! The file as a tree in which every key and value has its line and column.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigIssue, Origin};

/// A value from any layer, and its origin.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

impl Given {
    /// A default, which is a text, as values of the environment and of flags are.
    pub(super) fn default(text: String) -> Self {
        Self {
            raw: Raw::Text(text),
            origin: Origin::Default,
        }
    }
}

/// A value before validation.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Given>),
    Table(Vec<Entry>),
    /// An integer that does not fit in 64 bits.
    TooLarge(String),
    /// A date or a time, which no key accepts.
    DateTime(String),
}

/// One key of a table.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the key is.
    pub(super) origin: Origin,
    pub(super) value: Given,
}

impl Raw {
    /// The name of its type, with an article.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) | Self::TooLarge(_) => "an integer",
            Self::Float(_) => "a fraction",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::DateTime(_) => "a date or time",
        }
    }
}

/// Turns byte offsets into lines and columns, each in logarithmic time, since one line may hold
/// thousands of values.
struct Places {
    length: usize,
    line_starts: Vec<usize>,
    /// Offsets of the bytes that do not start a character. An ASCII text has none.
    inside: Vec<usize>,
}

impl Places {
    fn new(text: &str) -> Self {
        let mut line_starts = vec![0];
        line_starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        let inside = text.bytes().enumerate();
        let inside = inside.filter_map(|(at, byte)| (byte & 0xc0 == 0x80).then_some(at));
        Self {
            length: text.len(),
            line_starts,
            inside: inside.collect(),
        }
    }

    fn origin(&self, offset: usize) -> Origin {
        let offset = offset.min(self.length);
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts[line - 1];
        let inside = self.inside_before(offset) - self.inside_before(start);
        let column = offset - start - inside + 1;
        Origin::File { line, column }
    }

    fn inside_before(&self, offset: usize) -> usize {
        self.inside.partition_point(|at| *at < offset)
    }
}

/// Reads a file's text. Invalid TOML is reported, and the rest is still read.
pub(super) fn read(text: &str) -> (Vec<Entry>, Vec<ConfigIssue>) {
    let places = Places::new(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let issues = errors
        .into_iter()
        .map(|error| {
            let origin = places.origin(error.span().map_or(0, |Range { start, .. }| start));
            let reason = error.message().replace('\n', ", ");
            ConfigIssue::new(origin, format!("not TOML: {reason}"))
        })
        .collect();
    (entries(root.get_ref(), &places), issues)
}

fn entries(table: &DeTable<'_>, places: &Places) -> Vec<Entry> {
    let mut list: Vec<(usize, Entry)> = table
        .iter()
        .map(|(key, value)| {
            let entry = Entry {
                key: key.get_ref().to_string(),
                origin: places.origin(key.span().start),
                value: given(value, places),
            };
            (key.span().start, entry)
        })
        .collect();
    list.sort_by_key(|(start, _)| *start);
    list.into_iter().map(|(_, entry)| entry).collect()
}

fn given(value: &Spanned<DeValue<'_>>, places: &Places) -> Given {
    let raw = match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
            .map_or_else(|_| Raw::TooLarge(digits.to_string()), Raw::Integer),
        // The parser has checked the form. What it accepts and `f64` refuses reads as NaN,
        // which every reader rejects.
        DeValue::Float(digits) => Raw::Float(digits.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(yes) => Raw::Boolean(*yes),
        DeValue::Datetime(moment) => Raw::DateTime(moment.to_string()),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| given(item, places)).collect()),
        DeValue::Table(table) => Raw::Table(entries(table, places)),
    };
    Given {
        raw,
        origin: places.origin(value.span().start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_count_characters_from_one() {
        let (root, issues) = read("# é\n[chain]\n  id = \"x\" # ä\n");
        assert!(issues.is_empty());
        assert_eq!(root[0].origin, Origin::File { line: 2, column: 2 });
        let Raw::Table(chain) = &root[0].value.raw else {
            panic!("{root:?}")
        };
        assert_eq!(chain[0].origin, Origin::File { line: 3, column: 3 });
        assert_eq!(chain[0].value.origin, Origin::File { line: 3, column: 8 });
    }

    #[test]
    fn all_syntax_errors_are_reported() {
        let (_, issues) = read("a = \nb = 1\nb = 2\nc = [1,\n");
        let lines: Vec<_> = issues.iter().map(|issue| issue.origin.clone()).collect();
        assert!(lines.len() >= 3, "{issues:?}");
    }

    proptest! {
        #[test]
        fn places_match_a_naive_count(text in "[aé€𝄞\n]{0,40}") {
            let places = Places::new(&text);
            for (offset, _) in text.char_indices() {
                let before = &text[..offset];
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
                prop_assert_eq!(places.origin(offset), Origin::File { line, column });
            }
        }

        #[test]
        fn no_text_panics(text in "[\\[\\]{}=\"'.,# \na-c0-9\\\\é-]{0,60}") {
            let _ = read(&text);
        }
    }
}
