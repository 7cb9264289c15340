//! What must survive a crash: one SQLite file, one writer.
//!
//! | module | holds |
//! |---|---|
//! | [`commit`] | [`Commit`]: every durable change as one serialisable value, and its [`Receipt`] |
//! | [`rows`] | the rows as the rest of the runtime sees them |
//! | [`cause`] | who brought something about |
//! | [`fingerprint`] | what two runs of a behaviour agree about in what they say |
//! | `apply` | the one place that carries a commit out |
//! | `writer` | the writer's thread: group commit |
//! | `readers` | the readers' threads |
//! | [`read`] | every query of the runtime |
//! | [`list`] | the queues as operators see them |
//! | [`place`] | where a store lies: its real path, its lock, who else can reach it |
//! | `target` | which rows of the queues an operator means |
//! | `schema` | the tables, and the migrations from older ones |
//!
//! All changes go through one thread, which carries out as many commits as are waiting in one
//! SQLite transaction with `synchronous=FULL`: a commit that was acknowledged is on the disk.
//! Readers have connections of their own and never wait for the writer (WAL).

mod apply;
pub mod cause;
pub mod commit;
pub mod fingerprint;
pub mod list;
mod meta;
mod number;
pub mod place;
pub mod read;
mod readers;
pub mod rows;
mod schema;
mod target;
mod writer;

#[cfg(test)]
use apply::apply as apply_to;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use cause::Cause;
pub use commit::{Commit, Receipt};
pub use place::{is_locked, with_suffix};
pub use rows::{AgentId, EventId, InboxId, OutboxId, TaskId};

/// How long a reader waits for SQLite's own locks, which only a checkpoint or a recovery holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// For connections that are used by one thread, and change nothing.
const READ_ONLY: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// An open store, for the one process that may change it.
///
/// Cheap to clone. The last clone that goes ends the writer's thread after it has carried out
/// what was handed to it, and releases the lock.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    // The readers go first: the last connection to close, the writer's, then checkpoints.
    readers: readers::Readers,
    writer: writer::Writer,
    _lock: File,
}

impl Store {
    /// Opens the store at `path`, or makes it, and locks every other runtime out.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another runtime holds it, [`StoreError::Newer`] when a later
    /// version of agentry wrote it, and what the file system or SQLite say.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        place::prepare_folder(path)?;
        let path = &place::real_path(path).map_err(|source| StoreError::Io {
            path: path.to_owned(),
            source,
        })?;
        if place::is_too_long(path) {
            return Err(StoreError::TooLong { path: path.clone() });
        }
        let lock = place::lock(path)?;
        place::make_private(path)?;
        let mut connection = Connection::open(path).map_err(|e| StoreError::open(path, e))?;
        connection
            .busy_timeout(BUSY_TIMEOUT)
            .map_err(|e| StoreError::open(path, e))?;
        schema::prepare(&mut connection, path)?;
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            writer: writer::Writer::spawn(connection)?,
            readers: readers::Readers::spawn(path)?,
            _lock: lock,
        })))
    }

    /// Where the store's file is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Makes a change durable. When this returns `Ok`, it is on the disk.
    ///
    /// # Errors
    /// The change was not made: SQLite refused it, or the writer has ended.
    pub async fn commit(&self, commit: Commit) -> Result<Receipt, StoreError> {
        self.0.writer.submit(commit).await
    }

    /// Runs a query on a connection of its own, on a thread of its own.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.readers.read(query).await
    }
}

/// Opens a store for reading alone, beside whoever writes it.
///
/// # Errors
/// [`StoreError::Missing`] where there is none, [`StoreError::Newer`] or [`StoreError::Older`]
/// where its version is not this binary's.
pub fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return Err(StoreError::Missing {
            path: path.to_owned(),
        });
    }
    let connection = open_read_only(path)?;
    schema::check(&connection, path)?;
    Ok(connection)
}

/// As [`open_for_reading`], for a single look that leaves no trace: where nobody has the store open,
/// SQLite makes no file beside it.
///
/// # Errors
/// As [`open_for_reading`].
pub fn open_for_a_look(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() || with_suffix(path, "-wal").exists() {
        return open_for_reading(path);
    }
    let flags = READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(agentry_chain::db::immutable_uri(path), flags)
        .map_err(|e| StoreError::open(path, e))?;
    schema::check(&connection, path)?;
    Ok(connection)
}

fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    let connection =
        Connection::open_with_flags(path, READ_ONLY).map_err(|e| StoreError::open(path, e))?;
    schema::plan_once(&connection, path)?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .map_err(|e| StoreError::open(path, e))?;
    Ok(connection)
}

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
    /// SQLite refused a query or a change.
    #[error("the store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A value in the store cannot be read back.
    #[error("the store holds a damaged {what}: {reason}")]
    Damaged {
        /// Which value.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// SQLite refused the transaction that held the change.
    #[error("the store refused the change: {reason}")]
    Refused {
        /// What SQLite says.
        reason: String,
    },
    /// Somebody would use more of what is shared than there is for them.
    #[error("{reason}")]
    Full {
        /// Who, and of what.
        reason: String,
    },
    /// The writer has ended, so nothing can be changed any more.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    fn open(path: &Path, source: rusqlite::Error) -> Self {
        Self::Open {
            path: path.to_owned(),
            source,
        }
    }
}
