//! The durable state of the runtime: one SQLite file with one writer.
//!
//! | module | content |
//! |---|---|
//! | `tables` | the state machine over the log and the tables: the one place that changes them |
//! | `log` | the log, which makes commits durable |
//! | `scratch` | a state that nothing is left of |
//! | `writer` | the writer's thread: group commit, and the tables behind the log |
//! | `reader`, `readers` | a connection that only reads; the readers' threads |
//! | [`read`] | every query of the runtime |
//! | [`list`] | the queues as operators see them |
//! | [`place`] | the location of a store: its real path, its lock, who else can access it |
//! | [`check`] | checks a store for damage |
//! | `wal`, `sums` | checks SQLite's write-ahead log; checksums of the pages while the store is closed |
//! | `health`, `error` | the store's condition; its errors |
//! | `column`, `cause` | read a column's value as its type |
//! | `watch` | telling those who watch the store of the rows that change |
//! | `target` | the rows of the queues that an operator selects |
//! | `schema` | the tables, and the version of a store |
//!
//! All changes go through one thread. It applies the waiting commits together to the state, and
//! appends them to the log in one SQLite transaction with `synchronous=FULL`: an acknowledged commit
//! is on the disk. The tables are written behind, many commits at a time. What must be known at once
//! is asked of the state ([`Store::query`]); readers of the tables have their own connections (WAL).

mod cause;
pub mod check;
mod column;
mod error;
mod health;
pub mod list;
mod log;
mod meta;
mod number;
pub mod place;
pub mod read;
mod reader;
mod readers;
mod schema;
mod scratch;
mod sums;
mod tables;
mod target;
mod wal;
mod watch;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_core::{Changes, Commit, State};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{broadcast, watch as state};

use self::check::{Depth, Seen};
use self::error::Trouble;
use self::health::Health;
use self::writer::Haste;

pub use error::StoreError;
pub use health::Condition;
pub use place::{is_locked, with_suffix};
pub use reader::{Reader, Snapshot};
pub use scratch::Scratch;
pub use tables::Applied;
pub use watch::RowChange;
pub use writer::Enqueued;

/// How long a connection waits for SQLite's own locks, which only a checkpoint or a recovery holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The flags of a connection that one thread uses and that changes nothing.
const READ_ONLY: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// An open store, for the one process that may change it.
///
/// Cheap to clone. Dropping the last clone lets the writer's thread finish the submitted commits,
/// ends it, and releases the lock.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    // Dropped before the writer: the last connection to close is the writer's, which checkpoints.
    readers: readers::Readers,
    writer: writer::Writer,
    health: Health,
    _lock: File,
}

impl Store {
    /// Opens the store at `path`, or creates it, and locks out every other runtime.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another runtime holds it, [`StoreError::Newer`] when a later
    /// version of agentry wrote it, and any error of the file system or of SQLite.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_after(path, |_| Ok(())).map(|(store, ())| store)
    }

    /// Like [`open`](Self::open), but checks the store for damage first, for no longer than
    /// `limit`.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`StoreError::Broken`].
    pub fn open_checked(path: &Path, limit: Duration) -> Result<(Self, Seen), StoreError> {
        Self::open_after(path, |path| {
            let db = open_read_only(path)?;
            schema::check(&db.0, path)?;
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
        place::sync_log(path)?;
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
        let connection = Connection::open(path).map_err(|e| StoreError::open(path, e))?;
        connection
            .busy_timeout(BUSY_TIMEOUT)
            .map_err(|e| StoreError::open(path, e))?;
        schema::check(&connection, path)?;
        schema::prepare(&connection, path)?;
        let health = Health::default();
        let store = Self(Arc::new(Inner {
            path: path.to_owned(),
            writer: writer::Writer::spawn(connection, path, health.clone())?,
            readers: readers::Readers::spawn(path)?,
            health,
            _lock: lock,
        }));
        Ok((store, seen))
    }

    /// The store's condition, now and on every change.
    pub fn condition(&self) -> state::Receiver<Condition> {
        self.0.health.watch()
    }

    /// The rows that change from now on, in groups, as the tables are written. One who lags far behind
    /// misses some, and is told so.
    pub fn changes(&self) -> broadcast::Receiver<Arc<[RowChange]>> {
        self.0.writer.changes()
    }

    /// The path of the store's file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Makes a change durable. When this returns `Ok`, the change is on the disk. While the system
    /// refuses to write, as on a full disk, this waits until writing works again.
    ///
    /// # Errors
    /// The change was not made: it is impossible, the store is damaged, or the writer has ended.
    pub async fn commit(&self, commit: Commit) -> Result<Changes, StoreError> {
        self.enqueue(commit, None).await?.stored().await
    }

    /// Passes a commit on without waiting until it is durable. Commits are applied in the order in
    /// which they are passed on; one that comes `after` another is stale if that one was not applied,
    /// whatever the reason.
    ///
    /// # Errors
    /// [`StoreError::Closed`]: the writer has ended.
    pub async fn enqueue(
        &self,
        commit: Commit,
        after: Option<Applied>,
    ) -> Result<Enqueued, StoreError> {
        self.0.writer.enqueue(commit, Haste::None, after).await
    }

    /// Like [`commit`](Self::commit), but returns an error instead of waiting while the system
    /// refuses to write: for callers that can report it.
    ///
    /// # Errors
    /// As [`commit`](Self::commit), and [`StoreError::Refused`].
    pub async fn commit_now(&self, commit: Commit) -> Result<Changes, StoreError> {
        let enqueued = self.0.writer.enqueue(commit, Haste::AtOnce, None);
        enqueued.await?.stored().await
    }

    /// Asks the state, which has every commit that was acknowledged. The query runs on the writer's
    /// thread, so it must be short.
    ///
    /// # Errors
    /// The state cannot be read, and [`StoreError::Closed`].
    pub async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.report(self.0.writer.query(query).await)
    }

    /// Runs a query of the tables on one of the readers' threads, with that thread's connection.
    /// The tables have every commit that was acknowledged before: what they lack is written first.
    ///
    /// # Errors
    /// The query's, [`StoreError::Refused`] if the tables cannot be written, and
    /// [`StoreError::Closed`].
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.writer.write().await?;
        self.report(self.0.readers.read(query).await)
    }

    /// Reports damage in the answer to a query to those who watch the store's
    /// [condition](Self::condition). The writer reports refusals, because it also knows when they
    /// end.
    pub fn report<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(trouble @ (Trouble::Value(_) | Trouble::Pages(_))) =
            answer.as_ref().err().and_then(StoreError::trouble)
        {
            self.0.health.met(&trouble);
        }
        answer
    }
}

/// Opens a store for reading only, while another process may write it.
///
/// # Errors
/// [`StoreError::Missing`] if there is none, [`StoreError::Newer`] or [`StoreError::Older`] if its
/// version is not this binary's.
pub fn open_for_reading(path: &Path) -> Result<Reader, StoreError> {
    if !path.exists() {
        return Err(StoreError::Missing {
            path: path.to_owned(),
        });
    }
    let reader = open_read_only(path)?;
    schema::check(&reader.0, path)?;
    if let Err(error) = catch_up(&reader, path) {
        tracing::warn!(%error, "the store's tables lack the last changes");
    }
    Ok(reader)
}

/// How long a reader waits for a process that has the store open and does not write its tables.
const CATCH_UP: Duration = Duration::from_secs(2);

/// How long a reader waits between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Waits until the tables have what the log has now. If no process has the store open, as after a
/// crash, this one writes the tables.
fn catch_up(reader: &Reader, path: &Path) -> Result<(), StoreError> {
    let wanted = log::last(&reader.0)?;
    let until = Instant::now() + CATCH_UP;
    while log::written(&reader.0)? < wanted && Instant::now() < until {
        if !is_locked(path).unwrap_or(true) {
            match Store::open(path) {
                // Another process was faster.
                Err(StoreError::Locked { .. }) => {}
                opened => drop(opened?),
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Like [`open_for_reading`]; `None` if there is no store.
///
/// # Errors
/// As [`open_for_reading`], except for [`StoreError::Missing`].
pub fn open_if_exists(path: &Path) -> Result<Option<Reader>, StoreError> {
    match open_for_reading(path) {
        Err(StoreError::Missing { .. }) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Like [`open_for_reading`], for a single read that leaves no trace: if no process has the store
/// open, SQLite creates no file beside it.
///
/// # Errors
/// As [`open_for_reading`].
pub fn open_for_a_look(path: &Path) -> Result<Reader, StoreError> {
    if !path.exists() || with_suffix(path, "-wal").exists() {
        return open_for_reading(path);
    }
    let flags = READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(agentry_chain::db::immutable_uri(path), flags)
        .map_err(|e| StoreError::open(path, e))?;
    schema::check(&connection, path)?;
    Ok(Reader(connection))
}

fn open_read_only(path: &Path) -> Result<Reader, StoreError> {
    let connection =
        Connection::open_with_flags(path, READ_ONLY).map_err(|e| StoreError::open(path, e))?;
    schema::plan_once(&connection, path)?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .map_err(|e| StoreError::open(path, e))?;
    Ok(Reader(connection))
}
