//! Column values of any type: SQLite enforces none, and a damaged row must not keep other rows from
//! being read.

use std::borrow::Cow;

use rusqlite::types::ValueRef;

/// A value as text: a number is written out, any other type becomes empty.
pub(super) fn text(value: ValueRef<'_>) -> Cow<'_, str> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => String::from_utf8_lossy(bytes),
        },
        ValueRef::Integer(number) => number.to_string().into(),
        ValueRef::Real(number) => number.to_string().into(),
        ValueRef::Null => "".into(),
    }
}

/// A whole number. None: it is not one.
pub(super) fn integer(value: ValueRef<'_>) -> Option<i64> {
    match value {
        ValueRef::Integer(number) => Some(number),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok()?.trim().parse().ok(),
        ValueRef::Real(_) | ValueRef::Null | ValueRef::Blob(_) => None,
    }
}

/// A count or a height. None: it is not one.
pub(super) fn unsigned(value: ValueRef<'_>) -> Option<u64> {
    integer(value).and_then(|number| number.try_into().ok())
}

/// A number as SQLite keeps it: a value beyond its range is above that of every row.
pub(super) fn to_sql(number: u64) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
