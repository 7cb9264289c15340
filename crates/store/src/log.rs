//! The log: every commit that was applied, in order. It is what makes a commit durable; the tables
//! follow it.
//!
//! | module | the log is kept |
//! |---|---|
//! | `local` | in the table `log` of the store's file |
//! | `memory` | in memory, for tests |

mod local;
#[cfg(test)]
mod memory;

use std::fmt::Debug;

use agentry_core::Commit;
use agentry_core::record::{self, RecordError};

use super::StoreError;

pub(super) use local::{Local, last, written};
#[cfg(test)]
pub(super) use memory::Memory;

/// The place of a record in the log: 1 for the first; 0 is the place before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position(pub(super) u64);

impl Position {
    /// The place after this one.
    const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A group of commits that became durable together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    /// Its place.
    pub(super) at: Position,
    /// The commits, in the order in which they were applied.
    pub(super) commits: Vec<Commit>,
}

/// Where commits become durable, in the order in which they were applied.
pub(super) trait Log: Debug + Send {
    /// Appends a group of commits after the last record, and makes it durable. Returns its place.
    ///
    /// # Errors
    /// The group is not in the log.
    fn append(&mut self, group: &[&Commit]) -> Result<Position, StoreError>;

    /// The records after a place, in order; at most about this many bytes of them, but one at
    /// least.
    ///
    /// # Errors
    /// The log cannot be read, a record in it is damaged, or it has a later format.
    fn read(&self, after: Position, bytes: usize) -> Result<Vec<Record>, StoreError>;

    /// Deletes the records up to a place, now or later: the tables have them. The place of the next
    /// record does not change.
    ///
    /// # Errors
    /// The log cannot be written.
    fn cut(&mut self, through: Position) -> Result<(), StoreError>;
}

/// The text of the record at a place.
fn encode(at: Position, group: &[&Commit]) -> Result<String, StoreError> {
    record::encode(at.0, group).map_err(|error| StoreError::Value(format!("log: {error}")))
}

/// Reads the record at a place back.
fn decode(at: Position, text: &str) -> Result<Record, RecordError> {
    let commits = record::decode(at.0, text)?;
    Ok(Record { at, commits })
}

#[cfg(test)]
mod tests;
