//! The log: every commit that was applied, in order. It is what makes a commit durable; the tables
//! follow it.
//!
//! | module | content |
//! |---|---|
//! | `local` | the log in the table `log` of the store's own file |
//! | `error` | why a log cannot be used |
//! | `waits` | what a log that is elsewhere and its store tell each other |
//!
//! A log that is elsewhere is shared by the hosts of a cluster: one of them appends, the others
//! follow. Each implementation keeps the laws of the test kit (feature `testing`).

mod error;
mod local;
mod waits;

use std::fmt::{self, Debug};

use agentry_core::Commit;
use agentry_core::cluster::Epoch;
use agentry_core::record::{self, RecordError};
use agentry_protocol::ContentHash;

use super::StoreError;

pub use error::LogError;
pub(super) use local::{Local, last, mark, written};
pub use waits::Waits;

/// The place of a record in the log: 1 for the first; 0 is the place before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// The place after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// A record of a log, by its place and the checksum at the start of its text. Two logs that have the
/// same mark have the same record there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its place.
    pub at: Position,
    /// The checksum of its text.
    pub sum: ContentHash,
}

impl Mark {
    /// The mark before the first record.
    pub const START: Self = Self {
        at: Position(0),
        sum: ContentHash::from_bytes([0; 32]),
    };

    /// The mark of the record at a place, from its text. The text is not checked.
    ///
    /// # Errors
    /// [`LogError::Damaged`]: it does not begin with a checksum.
    pub fn of(at: Position, text: &str) -> Result<Self, LogError> {
        match sum(text) {
            Some(sum) => Ok(Self { at, sum }),
            None => Err(LogError::damaged(at, &RecordError::Damaged)),
        }
    }
}

/// A group of commits that became durable together.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its place.
    pub at: Position,
    /// The checksum of its text.
    pub sum: ContentHash,
    /// The commits, in the order in which they were applied.
    pub commits: Vec<Commit>,
}

impl Record {
    /// The text of a group of commits as the record at a place, and its mark. Every log keeps this
    /// text.
    ///
    /// # Errors
    /// A commit cannot be written as JSON.
    pub fn encode(at: Position, group: &[&Commit]) -> Result<(Mark, String), LogError> {
        let text = record::encode(at.0, group)
            .map_err(|error| StoreError::Value(format!("log: {error}")))?;
        Ok((Mark::of(at, &text)?, text))
    }

    /// Reads the record at a place back from its text.
    ///
    /// # Errors
    /// [`LogError::Damaged`] and [`LogError::Newer`].
    pub fn decode(at: Position, text: &str) -> Result<Self, LogError> {
        Self::read(at, text).map_err(|error| match error {
            RecordError::Later(format) => LogError::Newer(format),
            error => LogError::damaged(at, &error),
        })
    }

    fn read(at: Position, text: &str) -> Result<Self, RecordError> {
        let commits = record::decode(at.0, text)?;
        let sum = sum(text).ok_or(RecordError::Damaged)?;
        Ok(Self { at, sum, commits })
    }

    /// Its mark.
    pub const fn mark(&self) -> Mark {
        Mark {
            at: self.at,
            sum: self.sum,
        }
    }
}

/// The checksum at the start of a record's text.
fn sum(text: &str) -> Option<ContentHash> {
    let (sum, _) = text.split_once(' ')?;
    sum.parse().ok()
}

/// Where commits become durable, in the order in which they were applied.
///
/// One thread uses it, and its calls block. A log that is elsewhere gets [`Waits`] when a store opens
/// it: with these it says that commits wait, and learns that the store closes. Once that is so, it
/// tries a call at most once more, and answers [`LogError::Closing`] where it would wait.
pub trait Log: Debug + Send {
    /// Appends a group of commits after the last record, and makes it durable. Returns its mark.
    ///
    /// A log that is elsewhere returns only when it knows what happened: while an answer is lost, it
    /// waits and finds out. The text is [`Record::encode`]'s.
    ///
    /// # Errors
    /// [`LogError::Fenced`]: another host leads, and it is unknown whether the group is in the log.
    /// [`LogError::Closing`]: the same is unknown. [`LogError::Diverged`]: the log does not have the
    /// records that this host appended or read. After any other error the group is not in the log,
    /// and the same commits may be appended again.
    fn append(&mut self, group: &[&Commit]) -> Result<Mark, LogError>;

    /// The records after a place, in order and without a gap; at most about this many bytes of
    /// them, but one at least. None if there is no record after the place.
    ///
    /// A log that is elsewhere does not hide that its connection was lost since the last call: then
    /// it answers [`LogError::Unavailable`] once, because the log may be another one now.
    ///
    /// # Errors
    /// [`LogError::Trimmed`] if the log had a record right after the place and no longer has it; it
    /// cannot be read, or a record in it is damaged or has a later format.
    fn read(&self, after: Position, bytes: usize) -> Result<Vec<Record>, LogError>;

    /// The tables have the records up to a place. A log of one store deletes them, now or later; one
    /// that others read, too, does nothing. The place of the next record does not change.
    ///
    /// # Errors
    /// The log cannot be written.
    fn cut(&mut self, through: Position) -> Result<(), LogError>;

    /// Checks that the record that the tables had last is in the log: that the log has a record at
    /// this place, or had one, and that its checksum is this one. The checksum of a record that was
    /// trimmed cannot be compared; [`Mark::START`] is in every log.
    ///
    /// # Errors
    /// [`LogError::Diverged`], and the log cannot be read.
    fn check(&self, mark: &Mark) -> Result<(), LogError>;

    /// From now on this host appends, under this epoch, which it has claimed. A log of one store has
    /// no epochs.
    ///
    /// # Errors
    /// [`LogError::Fenced`] if a newer epoch was claimed, as far as that is known.
    fn lead(&mut self, epoch: Epoch) -> Result<(), LogError>;
}

#[cfg(test)]
mod tests;
