//! Natural numbers in SQLite, whose integers have 64 bits and a sign.

/// A time, a height, or a bound for a comparison: a value that is too large for a column means the
/// same as the largest one. (No source reports a higher height.)
pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
