//! Errors of the chain's databases.

use agentry_protocol::Dialect;

/// Why the chain could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// SQLite reported an error.
    #[error("{doing}: {source}")]
    Sqlite {
        /// The operation that failed.
        doing: &'static str,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// There are not that many blocks above genesis.
    #[error("reverting {depth} blocks: the head is at {head}, and genesis is never reverted")]
    TooDeep {
        /// The requested number of blocks.
        depth: u64,
        /// The head's height.
        head: u64,
    },
    /// A credit of 0, or of more than the chain can count.
    #[error("crediting {amount}: give from 1 to {left}")]
    Credit {
        /// The requested amount.
        amount: u64,
        /// The amount left below 2^63 - 1, the most that all accounts together may hold.
        left: i64,
    },
    /// An effect of a block does not fit its column.
    #[error("mining {hash}: {reason}; the block is lost, and every transaction drained for it")]
    BlockDestroyed {
        /// The transaction that caused it.
        hash: String,
        /// The reason.
        reason: &'static str,
    },
    /// The tables are those of another dialect.
    #[error(
        "the folder holds a chain of the dialect {found}, and this node speaks {dialect}: give each its own folder"
    )]
    Dialect {
        /// That of the tables.
        found: Dialect,
        /// That of the node.
        dialect: Dialect,
    },
    /// There is no block to build on yet.
    #[error("no blocks yet")]
    Empty,
}

impl ChainError {
    /// Whether the same call may succeed later, because another program holds the database.
    pub fn is_transient(&self) -> bool {
        match self {
            ChainError::Sqlite { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
            ),
            ChainError::TooDeep { .. }
            | ChainError::Credit { .. }
            | ChainError::BlockDestroyed { .. }
            | ChainError::Dialect { .. }
            | ChainError::Empty => false,
        }
    }
}

/// Adds the failed operation to an error of SQLite.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, ChainError>;
}

impl<T> Doing<T> for Result<T, rusqlite::Error> {
    fn doing(self, doing: &'static str) -> Result<T, ChainError> {
        self.map_err(|source| ChainError::Sqlite { doing, source })
    }
}
