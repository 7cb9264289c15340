//! Natural numbers in SQLite, whose integers have 64 bits and a sign.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Value};

/// A number that is stored exactly: one that a column cannot hold is an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exact(pub(super) u64);

/// A number is too large for a column.
#[derive(Debug, thiserror::Error)]
#[error("{0} is more than the store can hold; the most is {most}", most = i64::MAX)]
pub(super) struct TooLarge(u64);

impl ToSql for Exact {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match i64::try_from(self.0) {
            Ok(value) => Ok(ToSqlOutput::Owned(Value::Integer(value))),
            Err(_) => {
                let error = Box::new(TooLarge(self.0));
                Err(rusqlite::Error::ToSqlConversionFailure(error))
            }
        }
    }
}

/// A time, a height, or a bound for a comparison: a value that is too large for a column means the
/// same as the largest one. (No source reports a higher height.) Use [`Exact`] for a number that
/// must be stored exactly.
pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params};

    use super::*;

    #[test]
    fn a_number_is_stored_exactly_or_refused_by_name() {
        let db = Connection::open_in_memory().unwrap();
        let kept = |value: u64| {
            db.query_row("SELECT ?1", params![Exact(value)], |row| {
                super::super::column::natural(row, 0)
            })
        };
        for value in [0, 1, u64::from(u32::MAX), i64::MAX.unsigned_abs()] {
            assert_eq!(kept(value).unwrap(), value);
        }
        for value in [1 << 63, u64::MAX] {
            let error = kept(value).unwrap_err().to_string();
            assert!(error.contains(&value.to_string()), "{error}");
        }
    }
}
