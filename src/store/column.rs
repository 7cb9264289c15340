//! Reading a column's value as what it must be. A value that it cannot be is an error which names the
//! column: it is never read as something else, since a store that was damaged would be acted on.

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Error, Result, Row};

use crate::text::printable;

/// How much of a value is shown, in characters.
const SHOWN: usize = 40;

/// A column holds what it cannot.
#[derive(Debug, thiserror::Error)]
#[error("column {column:?} {what}")]
pub(super) struct Undecodable {
    column: String,
    what: String,
}

/// The error for column `column` of a row, of which `what` is wrong.
pub(super) fn undecodable(row: &Row<'_>, column: usize, what: String) -> Error {
    let (name, kind) = (row.as_ref().column_name(column), row.get_ref(column));
    let column_name = name.map_or_else(|_| column.to_string(), str::to_owned);
    let error = Undecodable {
        column: column_name,
        what,
    };
    let kind = kind.map_or(Type::Null, |value| value.data_type());
    Error::FromSqlConversionFailure(column, kind, Box::new(error))
}

/// A text, read as something else.
pub(super) fn text<T, E: std::fmt::Display>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> std::result::Result<T, E>,
) -> Result<T> {
    let value = match row.get_ref(column)? {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes)
            .map_err(|error| undecodable(row, column, format!("is no text: {error}")))?,
        other => {
            let what = format!("holds {:?} instead of a text", other.data_type());
            return Err(undecodable(row, column, what));
        }
    };
    parse(value).map_err(|error| {
        let what = format!(
            "cannot be read back: {}",
            printable(&error.to_string(), 200)
        );
        undecodable(row, column, what)
    })
}

/// As [`text`], where there may be none.
pub(super) fn optional_text<T, E: std::fmt::Display>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> std::result::Result<T, E>,
) -> Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => text(row, column, parse).map(Some),
    }
}

/// One of several words.
pub(super) fn word<T>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T> {
    text(row, column, |word| {
        parse(word).ok_or_else(|| format!("{:?} is none of its words", printable(word, SHOWN)))
    })
}

/// A number that is not negative.
pub(super) fn natural(row: &Row<'_>, column: usize) -> Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| undecodable(row, column, format!("holds {value}, below 0")))
}

/// As [`natural`], where there may be none.
pub(super) fn optional_natural(row: &Row<'_>, column: usize) -> Result<Option<u64>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => natural(row, column).map(Some),
    }
}
