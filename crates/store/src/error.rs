//! The errors of a store, and whether an error affects one query or the whole store.

use std::path::{Path, PathBuf};

use agentry_core::cluster::Incarnation;
use agentry_core::state::Refusal;
use rusqlite::ffi;

use super::log::LogError;
use super::place;

/// An error of a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no store at the path.
    #[error("there is no store at {}: start `agentry run` first, or name the right agents.toml with -c", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// Another runtime has it open.
    #[error("the store {} is in use by another agentry: stop that one, or give this one a [store] path of its own", path.display())]
    Locked {
        /// The path.
        path: PathBuf,
    },
    /// Another user owns the lock file.
    #[error("the lock file {} belongs to the user with the id {owner}, who could keep this runtime from starting: give the store a folder of its own (chmod 700)", path.display())]
    ForeignLock {
        /// The lock file.
        path: PathBuf,
        /// The id of the user that owns it.
        owner: u32,
    },
    /// The path is longer than SQLite supports.
    #[error("the path of the store {} is longer than {} bytes, which SQLite cannot open: set a shorter [store] path", path.display(), place::LONGEST_PATH)]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// A later version of agentry wrote it.
    #[error("the store {} has version {found}, but this agentry supports versions up to {known} only: use a newer agentry; the store was not changed", path.display())]
    Newer {
        /// The path.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The latest version that this binary supports.
        known: i64,
    },
    /// A version of before the first release wrote it.
    #[error("the store {} has version {found}, which was never released, and this agentry reads version {known}: move the file away (a new store then begins at `chain.start`), or use the build that wrote it", path.display())]
    Older {
        /// The path.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version this binary reads.
        known: i64,
    },
    /// Its agents were moved into a cluster.
    #[error("the agents of the store {} were moved into the cluster {cluster}: add the [cluster] table to agents.toml to run them there, or move them back with `agentry cluster export`", path.display())]
    MovedAway {
        /// The path.
        path: PathBuf,
        /// The cluster.
        cluster: Incarnation,
    },
    /// Its agents are being moved here from a cluster.
    #[error("the agents of the cluster {cluster} have not arrived in the store {} yet, because `agentry cluster export` was interrupted: run it again", path.display())]
    Arriving {
        /// The path.
        path: PathBuf,
        /// The cluster.
        cluster: Incarnation,
    },
    /// The file is an SQLite database of another program.
    #[error("{} is an SQLite file of another program: give agentry a [store] path of its own", path.display())]
    Foreign {
        /// The path.
        path: PathBuf,
    },
    /// The file could not be opened as a database.
    #[error("opening the store {}: {source}", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// The error of SQLite.
        source: rusqlite::Error,
    },
    /// The file system returned an error.
    #[error("using {} for the store: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// The file, its pages, or values in it are not what was written.
    #[error("the store {} is damaged: {found}. Restore a backup, or recover what is left with `sqlite3` on a copy; a new store begins where [chain] start says", path.display())]
    Broken {
        /// The path.
        path: PathBuf,
        /// The damage, in the order in which it was found.
        found: String,
    },
    /// A value in the store cannot be read back.
    #[error("the store holds a damaged value: {0}; run `agentry doctor` to find others")]
    Value(String),
    /// The system refuses to read or write the store. It may recover by itself, or an operator may
    /// have to act.
    #[error("the store cannot be used: {0}")]
    Refused(String),
    /// A query or a change failed in SQLite.
    #[error("running a statement on the store: {0}")]
    Sqlite(rusqlite::Error),
    /// A sender or the agent would exceed its share of a resource for now.
    #[error("{reason}")]
    Full {
        /// Whose share is exceeded, and of what.
        reason: String,
    },
    /// A single request exceeds the whole share of a resource that its sender or agent can ever
    /// have.
    #[error("{reason}")]
    TooMuch {
        /// Whose share is exceeded, and of what.
        reason: String,
    },
    /// A caller's token does not allow a change, or there is one of its name.
    #[error("{0}")]
    Token(Refusal),
    /// A change contradicts what is stored: a defect of the program.
    #[error("the store refuses a change that contradicts it: {0}")]
    Contradiction(Refusal),
    /// The writer has ended, so nothing can be changed.
    #[error("the store is closed")]
    Closed,
    /// The store follows a log that another host appends to.
    #[error("this host only follows the log of the store: another host makes its changes")]
    Following,
    /// Another host appends to the store's log now: this one makes no more changes, for good.
    #[error("another host appends to the log of the store now, so this one makes no more changes")]
    Fenced,
    /// The store's log, which is elsewhere, cannot be used.
    #[error(transparent)]
    Log(LogError),
    /// Changes are no longer made, because of an earlier error of the store's log.
    #[error("the store makes no more changes: {0}")]
    Halted(String),
    /// Changes of the store are made in a log that is elsewhere.
    #[error("the store {} is a host's copy of what a cluster keeps in its database: have the cluster's hosts make the change", path.display())]
    Copy {
        /// The path.
        path: PathBuf,
    },
    /// The store has a log of its own.
    #[error("the store {} has a log of its own, so it cannot follow another: move the file away", path.display())]
    NoCopy {
        /// The path.
        path: PathBuf,
    },
}

impl StoreError {
    pub(super) fn open(path: &Path, source: rusqlite::Error) -> Self {
        match Trouble::of(&source) {
            Some(Trouble::Pages(found)) => Self::Broken {
                path: path.to_owned(),
                found,
            },
            Some(Trouble::Refusal(reason)) => {
                Self::Refused(format!("opening {}: {reason}", path.display()))
            }
            _ => Self::Open {
                path: path.to_owned(),
                source,
            },
        }
    }

    /// The error for a value of a table, under a key, that cannot be read back.
    pub fn value(table: &str, key: &str, why: &impl std::fmt::Display) -> Self {
        Self::Value(format!("{table} {key}: {why}"))
    }

    /// Names the row in the error of one of its values.
    pub(super) fn of_row(self, table: &str, key: &impl std::fmt::Display) -> Self {
        match self {
            Self::Value(what) => Self::value(table, &key.to_string(), &what),
            other => other,
        }
    }

    /// Whether what the store holds cannot be relied on. A store whose log is elsewhere can be had
    /// again from the log.
    pub fn is_damage(&self) -> bool {
        matches!(self.trouble(), Some(Trouble::Pages(_) | Trouble::Value(_)))
    }

    /// What is wrong with the store as a whole; `None` if only a query or a change failed.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Sqlite(error) => Trouble::of(error),
            Self::Broken { found, .. } => Some(Trouble::Pages(found.clone())),
            Self::Value(what) => Some(Trouble::Value(what.clone())),
            Self::Refused(reason) | Self::Log(LogError::Unavailable(reason)) => {
                Some(Trouble::Refusal(reason.clone()))
            }
            Self::Fenced => Some(Trouble::Fenced),
            Self::Log(LogError::Unsound(what)) => Some(Trouble::Pages(what.clone())),
            Self::Log(error) => Some(Trouble::Halted(error.to_string())),
            Self::Halted(reason) => Some(Trouble::Halted(reason.clone())),
            Self::Closed => Some(Trouble::Closing),
            _ => None,
        }
    }
}

impl From<LogError> for StoreError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Store(error) => *error,
            LogError::Fenced => Self::Fenced,
            LogError::Closing => Self::Closed,
            LogError::Unavailable(reason) => {
                Self::Refused(format!("its log cannot be reached: {reason}"))
            }
            error => Self::Log(error),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match Trouble::of(&error) {
            Some(Trouble::Value(what)) => Self::Value(what),
            Some(Trouble::Refusal(reason)) => Self::Refused(reason),
            _ => Self::Sqlite(error),
        }
    }
}

/// What is wrong with a store as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The system refuses to read or write, for now.
    Refusal(String),
    /// A value cannot be read back. Others can be.
    Value(String),
    /// Its pages are not as SQLite left them: nothing in it can be relied on.
    Pages(String),
    /// Another host appends to its log.
    Fenced,
    /// Its log, which is elsewhere, does not go on from what its tables have.
    Halted(String),
    /// It closes, and its log waits no longer.
    Closing,
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refusal(reason) | Trouble::Pages(reason) => Self::Refused(reason),
            Trouble::Value(what) => Self::Value(what),
            Trouble::Fenced => Self::Fenced,
            Trouble::Halted(reason) => Self::Halted(reason),
            Trouble::Closing => Self::Closed,
        }
    }
}

impl Trouble {
    /// Whether it affects the store as a whole.
    pub(super) const fn is_whole(&self) -> bool {
        !matches!(self, Self::Value(_))
    }

    /// Whether it ends the changes of a store whose log is elsewhere.
    pub(super) const fn is_end(&self) -> bool {
        match self {
            Self::Fenced | Self::Halted(_) | Self::Closing | Self::Pages(_) => true,
            Self::Refusal(_) | Self::Value(_) => false,
        }
    }

    pub(super) fn of(error: &rusqlite::Error) -> Option<Self> {
        use rusqlite::Error;
        match error {
            Error::SqliteFailure(failure, _) => Self::of_sqlite(failure, error),
            Error::FromSqlConversionFailure(_, _, why) => Some(Self::Value(why.to_string())),
            Error::InvalidColumnType(_, column, kind) => {
                Some(Self::Value(format!("column {column:?} holds {kind:?}")))
            }
            Error::IntegralValueOutOfRange(column, value) => Some(Self::Value(format!(
                "column {column} holds {value}, which is out of range"
            ))),
            Error::Utf8Error(column, why) => {
                Some(Self::Value(format!("column {column} is not a text: {why}")))
            }
            _ => None,
        }
    }

    fn of_sqlite(failure: &rusqlite::ffi::Error, error: &rusqlite::Error) -> Option<Self> {
        use rusqlite::ErrorCode;
        let why = match failure.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                return Some(Self::Pages(error.to_string()));
            }
            ErrorCode::SystemIoFailure
                if matches!(
                    failure.extended_code,
                    ffi::SQLITE_IOERR_CORRUPTFS | ffi::SQLITE_IOERR_DATA
                ) =>
            {
                return Some(Self::Pages(error.to_string()));
            }
            ErrorCode::DiskFull => "there is no room on its disk, or in its user's quota",
            ErrorCode::SystemIoFailure => "reading or writing its files failed",
            ErrorCode::ReadOnly => "its file cannot be written",
            ErrorCode::CannotOpen => "its files cannot be opened",
            ErrorCode::PermissionDenied => "its files may not be used",
            ErrorCode::OutOfMemory => "there is no memory",
            ErrorCode::FileLockingProtocolFailed => "its files cannot be locked",
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => "another program has it locked",
            ErrorCode::NoLargeFileSupport => "its file may not grow further",
            _ => return None,
        };
        Some(Self::Refusal(format!(
            "{why} ({error}; SQLite {})",
            failure.extended_code
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqlite(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
    }

    #[test]
    fn refusals_and_damage_are_told_apart() {
        for code in [
            ffi::SQLITE_FULL,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_READONLY_DBMOVED,
            ffi::SQLITE_CANTOPEN,
            ffi::SQLITE_BUSY,
            ffi::SQLITE_NOMEM,
        ] {
            let trouble = StoreError::from(sqlite(code)).trouble();
            assert!(
                matches!(trouble, Some(Trouble::Refusal(_))),
                "{code}: {trouble:?}"
            );
        }
        for code in [
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_CORRUPT_INDEX,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_IOERR_CORRUPTFS,
        ] {
            let trouble = StoreError::from(sqlite(code)).trouble();
            assert!(
                matches!(trouble, Some(Trouble::Pages(_))),
                "{code}: {trouble:?}"
            );
        }
        for code in [
            ffi::SQLITE_CONSTRAINT,
            ffi::SQLITE_TOOBIG,
            ffi::SQLITE_ERROR,
        ] {
            assert_eq!(StoreError::from(sqlite(code)).trouble(), None, "{code}");
        }
    }
}
