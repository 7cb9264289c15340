//! What can go wrong with a store, and whether it concerns one query or the store as a whole.

use std::path::{Path, PathBuf};

use rusqlite::ffi;

use super::place;

/// What can be wrong with a store.
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
    /// Another user made the file that is locked.
    #[error("the lock {} belongs to the user with the id {owner}, who could keep this runtime from starting: give the store a folder of its own (chmod 700)", path.display())]
    ForeignLock {
        /// The lock.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// SQLite opens no such path.
    #[error("the path of the store {} is longer than {} bytes, which SQLite does not open: give it a shorter [store] path", path.display(), place::LONGEST_PATH)]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// A later version of agentry wrote it.
    #[error("the store {} has version {found}, this agentry knows versions up to {known}: use a newer agentry; the store was not touched", path.display())]
    Newer {
        /// The path.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The latest this binary knows.
        known: i64,
    },
    /// An earlier version wrote it, and it was opened for reading only.
    #[error("the store {} has version {found}, this agentry reads version {known}: `agentry run` brings it up to date", path.display())]
    Older {
        /// The path.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version this binary reads.
        known: i64,
    },
    /// The file is not one of ours.
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
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The file system refused.
    #[error("the store's file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
    /// It is not what was written: the file, its pages, or values in it.
    #[error("the store {} is damaged: {found}. Put a backup back, or look for what is left with `sqlite3` on a copy; a new store begins where [chain] start says", path.display())]
    Broken {
        /// The path.
        path: PathBuf,
        /// What was found, in the order in which it was.
        found: String,
    },
    /// A value in the store cannot be read back.
    #[error("the store holds a damaged value: {0}; `agentry doctor` looks for others")]
    Value(String),
    /// The system refuses to read or write the store. It may pass by itself, or by an operator's
    /// doing.
    #[error("the store cannot be used: {0}")]
    Refused(String),
    /// SQLite refused a query or a change.
    #[error("the store: {0}")]
    Sqlite(rusqlite::Error),
    /// Somebody would use more of what is shared than there is for them now.
    #[error("{reason}")]
    Full {
        /// Who, and of what.
        reason: String,
    },
    /// Somebody would use more of what is shared at once than there ever is for them.
    #[error("{reason}")]
    TooMuch {
        /// Who, and of what.
        reason: String,
    },
    /// The writer has ended, so nothing can be changed any more.
    #[error("the store is closed")]
    Closed,
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

    /// That a value of a table, under a key, cannot be read back.
    pub(crate) fn value(table: &str, key: &str, why: &impl std::fmt::Display) -> Self {
        Self::Value(format!("{table}, {key}: {why}"))
    }

    /// What is wrong with the store as a whole; nothing, where only a query or a change failed.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Sqlite(error) => Trouble::of(error),
            Self::Broken { found, .. } => Some(Trouble::Pages(found.clone())),
            Self::Value(what) => Some(Trouble::Value(what.clone())),
            Self::Refused(reason) => Some(Trouble::Refusal(reason.clone())),
            _ => None,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match Trouble::of(&error) {
            Some(Trouble::Value(what)) => Self::Value(what),
            Some(Trouble::Refusal(reason)) => Self::Refused(reason),
            Some(Trouble::Pages(_)) | None => Self::Sqlite(error),
        }
    }
}

/// What is wrong with a store as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The system refuses to read or write, for now.
    Refusal(String),
    /// A value cannot be read back. Others can.
    Value(String),
    /// Its pages are not as SQLite left them: nothing of it can be relied on.
    Pages(String),
}

impl Trouble {
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
                Some(Self::Value(format!("column {column} is no text: {why}")))
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
    fn what_the_system_refuses_is_no_damage_and_the_other_way_round() {
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
