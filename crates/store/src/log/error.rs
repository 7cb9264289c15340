//! Why a log cannot be used.

use agentry_core::record::{FORMAT, RecordError};

use super::Position;
use crate::StoreError;

/// An error of a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another host has claimed the right to append.
    #[error("another host appends to the log now")]
    Fenced,
    /// The log and the tables are not of one history.
    #[error(
        "the log is not the one that this host's tables follow: {what}. Nothing is changed. If the log was restored from a backup or lost what it had acknowledged, find out what is missing before you go on; if it is complete, move the store's file away, and this host begins from a snapshot"
    )]
    Diverged {
        /// The place of the last record of the tables.
        at: Position,
        /// What differs.
        what: String,
    },
    /// The log no longer has the records that the tables lack.
    #[error(
        "the log was trimmed, and no longer has the records after {after} that this host's tables lack: begin from a snapshot"
    )]
    Trimmed {
        /// The place of the last record of the tables.
        after: Position,
    },
    /// A record has a format of a later version.
    #[error(
        "the log has a record of the format {0}, and this agentry reads formats up to {FORMAT} only: use a newer agentry"
    )]
    Newer(u32),
    /// A record is not what was written, or cannot be applied.
    #[error("the record {at} of the log {what}")]
    Damaged {
        /// Its place.
        at: Position,
        /// What is wrong with it: a verb and its object.
        what: String,
    },
    /// The tables of a log that is elsewhere cannot be relied on. They can be had again from the log.
    #[error("this host's tables are not what the log makes of them: {0}")]
    Unsound(String),
    /// The log cannot be reached for now.
    #[error("the log cannot be reached: {0}")]
    Unavailable(String),
    /// The store closes, so the log does not wait any longer.
    #[error("the store closes")]
    Closing,
    /// The store's own file cannot be used.
    #[error(transparent)]
    Store(Box<StoreError>),
}

impl LogError {
    /// The error for a record that cannot be read back.
    pub(super) fn damaged(at: Position, error: &RecordError) -> Self {
        Self::Damaged {
            at,
            what: error.to_string(),
        }
    }

    /// Whether the same call may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::from(error).into()
    }
}
