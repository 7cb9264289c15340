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
//! | [`check`] | whether a store is as it was written |
//! | `log`, `sums` | whether its write-ahead log is whole; sums of its pages while it is closed |
//! | `health`, `error` | how the store is; what can go wrong |
//! | `column` | a column's value as what it must be |
//! | `target` | which rows of the queues an operator means |
//! | `schema` | the tables, and the migrations from older ones |
//!
//! All changes go through one thread, which carries out as many commits as are waiting in one
//! SQLite transaction with `synchronous=FULL`: a commit that was acknowledged is on the disk.
//! Readers have connections of their own and never wait for the writer (WAL).

mod apply;
pub mod cause;
pub mod check;
mod column;
pub mod commit;
mod error;
pub mod fingerprint;
mod health;
pub mod list;
mod log;
mod meta;
mod number;
pub mod place;
pub mod read;
mod readers;
pub mod rows;
mod schema;
mod sums;
mod target;
mod writer;

#[cfg(test)]
use apply::apply as apply_to;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::watch;

use self::check::{Depth, Seen};
use self::health::Health;
use self::writer::Haste;

pub use cause::Cause;
pub use commit::{Commit, Receipt};
pub use error::StoreError;
pub use health::Condition;
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
    health: Health,
    _lock: File,
}

impl Store {
    /// Opens the store at `path`, or makes it, and locks every other runtime out.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another runtime holds it, [`StoreError::Newer`] when a later
    /// version of agentry wrote it, and what the file system or SQLite say.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_after(path, |_| Ok(())).map(|(store, ())| store)
    }

    /// As [`open`](Self::open), after the store was looked through for damage, for no longer than
    /// `limit`.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`StoreError::Broken`].
    pub fn open_checked(path: &Path, limit: Duration) -> Result<(Self, Seen), StoreError> {
        Self::open_after(path, |path| {
            let db = open_read_only(path)?;
            schema::version(&db, path)?;
            check::check(&db, path, Depth::Open, limit)
        })
    }

    fn open_after<T: Default>(
        path: &Path,
        look: impl FnOnce(&Path) -> Result<T, StoreError>,
    ) -> Result<(Self, T), StoreError> {
        place::prepare_folder(path)?;
        let path = &place::real_path(path).map_err(|source| StoreError::Io {
            path: path.to_owned(),
            source,
        })?;
        if place::is_too_long(path) {
            return Err(StoreError::TooLong { path: path.clone() });
        }
        let lock = place::lock(path)?;
        check::at_rest(path)?;
        let seen = if path.exists() {
            look(path)?
        } else {
            schema::create(path)?;
            T::default()
        };
        sums::remove(path).map_err(|source| StoreError::Io {
            path: sums::at(path),
            source,
        })?;
        place::make_private(path)?;
        let mut connection = Connection::open(path).map_err(|e| StoreError::open(path, e))?;
        connection
            .busy_timeout(BUSY_TIMEOUT)
            .map_err(|e| StoreError::open(path, e))?;
        schema::prepare(&mut connection, path)?;
        let health = Health::default();
        let store = Self(Arc::new(Inner {
            path: path.to_owned(),
            writer: writer::Writer::spawn(connection, path, health.clone())?,
            readers: readers::Readers::spawn(path, health.clone())?,
            health,
            _lock: lock,
        }));
        Ok((store, seen))
    }

    /// How it is, now and whenever that changes.
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.0.health.watch()
    }

    /// Where the store's file is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Makes a change durable. When this returns `Ok`, it is on the disk. Where the system refuses
    /// for now, as on a full disk, this waits until it does not any more.
    ///
    /// # Errors
    /// The change was not made: it cannot be, the store is damaged, or the writer has ended.
    pub async fn commit(&self, commit: Commit) -> Result<Receipt, StoreError> {
        self.0.writer.submit(commit, Haste::None).await
    }

    /// As [`commit`](Self::commit), and waits for no system that refuses: for those who can tell
    /// somebody.
    ///
    /// # Errors
    /// As [`commit`](Self::commit), and [`StoreError::Refused`].
    pub async fn commit_now(&self, commit: Commit) -> Result<Receipt, StoreError> {
        self.0.writer.submit(commit, Haste::AtOnce).await
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
