//! The table `meta`: single values, by key.

use std::convert::Infallible;

use rusqlite::{Connection, OptionalExtension, params};

use super::column::text;

pub(super) const CHAIN_ID: &str = "chain_id";
pub(super) const GENESIS: &str = "genesis";
pub(super) const CURSOR: &str = "cursor";
pub(super) const HALTED: &str = "halted";
pub(super) const MEMPOOL: &str = "mempool";
pub(super) const CARDS_FINAL: &str = "cards_final";
pub(super) const DIRECTORY_FROM: &str = "directory_from";
pub(super) const DIRECTORY_PROGRESS: &str = "directory_progress";
/// How far the runtime's own time had come, in milliseconds since the epoch.
pub(super) const TIME: &str = "time";
/// The ids that were assigned last, JSON.
pub(super) const IDS: &str = "ids";
/// The place of the last record of the log that the tables have.
pub(super) const POSITION: &str = "position";
/// The checksum of that record, if the log is elsewhere: then the store is a copy.
pub(super) const SUM: &str = "sum";
/// Where the agents of the store are, if they are not in it: see [`Moved`](crate::moved::Moved).
pub(super) const MOVED: &str = "moved";
/// Messages with ids below this one may have been pruned.
pub(super) const IDS_FROM: &str = "ids_from";

/// Reads a value, if there is one.
pub(super) fn read<T, E: std::fmt::Display>(
    db: &Connection,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<Option<T>> {
    db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row(params![key], |row| text(row, 0, parse))
        .optional()
}

/// Writes a value, or deletes it.
pub(super) fn write(db: &Connection, key: &str, value: Option<String>) -> rusqlite::Result<()> {
    match value {
        Some(value) => db
            .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
            .execute(params![key, value])?,
        None => db
            .prepare_cached("DELETE FROM meta WHERE key = ?1")?
            .execute(params![key])?,
    };
    Ok(())
}

/// Parses a value that is a plain text.
pub(super) fn as_it_is(value: &str) -> Result<String, Infallible> {
    Ok(value.to_owned())
}
