//! Natural numbers as SQLite keeps them: its integers have 64 bits with a sign.

/// A number for SQLite. A height, a time or an amount beyond its range cannot occur on a chain that
/// exists; it is kept as the largest.
pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number from SQLite. None that is kept is negative; one that were would read as 0.
pub(super) fn natural(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
