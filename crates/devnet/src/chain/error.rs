//! What goes wrong with the chain's databases.

/// Why the chain could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// SQLite said no.
    #[error("{doing}: {source}")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// There is no such block to go back to.
    #[error("taking back {depth} blocks: the head is at {head}, and genesis stays")]
    TooDeep {
        /// How many were asked for.
        depth: u64,
        /// The head's height.
        head: u64,
    },
    /// A credit of nothing, or past what the chain can count.
    #[error("crediting {amount} AIT: give from 1 to {left}")]
    Credit {
        /// What was asked for.
        amount: u64,
        /// What is left below 2^63 - 1, the most that all accounts together may hold.
        left: i64,
    },
    /// A block's effects do not fit the columns.
    #[error("mining {hash}: {reason}; the block is lost, and every transaction drained for it")]
    BlockDestroyed {
        /// The transaction that broke it.
        hash: String,
        /// Why.
        reason: &'static str,
    },
    /// There is no block to build on yet.
    #[error("no blocks yet")]
    Empty,
}

impl ChainError {
    /// Whether the same may succeed later: another program holds the database.
    pub fn is_transient(&self) -> bool {
        match self {
            ChainError::Sqlite { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
            ),
            ChainError::TooDeep { .. }
            | ChainError::Credit { .. }
            | ChainError::BlockDestroyed { .. }
            | ChainError::Empty => false,
        }
    }
}

/// Names what was being done when SQLite refused.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, ChainError>;
}

impl<T> Doing<T> for Result<T, rusqlite::Error> {
    fn doing(self, doing: &'static str) -> Result<T, ChainError> {
        self.map_err(|source| ChainError::Sqlite { doing, source })
    }
}
