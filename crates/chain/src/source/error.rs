//! Why a source cannot be read.

use std::path::PathBuf;

use agentry_protocol::BlockHash;

use crate::node::NodeError;

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The database file does not exist (yet, or any more).
    #[error("opening the chain database {}: there is no such file; is the node's data directory right?", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be reached: permissions, or a failing disk.
    #[error("looking at the chain database {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: std::io::Error,
    },
    /// SQLite could not read it.
    #[error("{doing} in the chain database {}: {error}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// The operation that failed.
        doing: &'static str,
        /// The error of SQLite.
        error: rusqlite::Error,
    },
    /// The file was replaced or written to while it was read; the next read sees the new one.
    #[error("reading the chain database {}: it was replaced during the read; read again", path.display())]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// The node did not answer as it should.
    #[error("reading the chain over RPC: {0}")]
    Node(#[from] NodeError),
    /// The node's answers contradict each other, as when the chain changed between two calls.
    #[error("reading the chain over RPC: {reason}; read again")]
    Inconsistent {
        /// The contradiction.
        reason: String,
    },
    /// This is another chain than the cursor's: block 0 differs.
    #[error(
        "this is another chain: its block 0 is {found}, the position belongs to one whose block 0 is {expected}; configure that chain again, or begin with a new store"
    )]
    OtherChain {
        /// The cursor's block 0.
        expected: BlockHash,
        /// The source's block 0.
        found: BlockHash,
    },
    /// The source's own thread has ended; only a new source can be read.
    #[error("reading the chain: the reader's thread has ended; open the source again")]
    Closed,
}

impl SourceError {
    /// Whether the database is damaged, or the file is not a database.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        matches!(self, Self::Database { error, .. }
            if matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)))
    }

    /// Whether the same read may succeed later without intervention.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Replaced { .. } | Self::Inconsistent { .. } => true,
            // The file may be about to be replaced, half copied, or locked; its permissions may be
            // corrected while the process runs. None of these is a reason to stop.
            Self::File { .. } | Self::Database { .. } => true,
            Self::Node(error) => error.is_transient(),
            Self::OtherChain { .. } | Self::Closed => false,
        }
    }
}
