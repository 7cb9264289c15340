//! The durable state of the runtime: one SQLite file with one writer.
//!
//! | module | content |
//! |---|---|
//! | `tables` | the state machine over the log and the tables: the one place that changes them |
//! | `log` | the log, which makes commits durable: in the store's file, or elsewhere |
//! | `scratch` | a state that nothing is left of |
//! | `writer` | the writer's thread: group commit, and the tables behind the log |
//! | `reader`, `readers` | a connection that only reads; the readers' threads |
//! | [`read`] | every query of the runtime |
//! | [`list`] | the queues as operators see them |
//! | `parts` | a store as the parts of a cluster's shards, and parts as one store |
//! | `moved` | a store whose agents moved into a cluster, or come from one |
//! | [`place`] | the location of a store: its real path, its lock, who else can access it |
//! | [`check`] | checks a store for damage |
//! | `wal`, `sums` | checks SQLite's write-ahead log; checksums of the pages while the store is closed |
//! | `health`, `error` | the store's condition; its errors |
//! | `column`, `cause` | read a column's value as its type |
//! | `watch` | telling those who watch the store of the rows that change |
//! | `target` | the rows of the queues that an operator selects |
//! | `schema` | the tables, and the version of a store |
//! | `testing` | a test kit for logs (feature `testing`) |
//!
//! All changes go through one thread. It applies the waiting commits together to the state, and
//! appends them to the log in one SQLite transaction with `synchronous=FULL`: an acknowledged commit
//! is on the disk. The tables are written behind, many commits at a time. What must be known at once
//! is asked of the state ([`Store::query`]); readers of the tables have their own connections (WAL).
//!
//! The log can be [elsewhere](Log), shared by the hosts of a cluster. Then the file is one host's copy
//! of what the log holds, and need not be synced: a host [follows](Store::follow) the log, and
//! [leads](Store::lead) once it has claimed it.

mod cause;
pub mod check;
mod column;
mod error;
mod health;
pub mod list;
mod log;
mod meta;
mod moved;
mod number;
mod parts;
pub mod place;
pub mod read;
mod reader;
mod readers;
mod schema;
mod scratch;
mod sums;
mod tables;
mod target;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod wal;
mod watch;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_core::cluster::Epoch;
use agentry_core::{Changes, Commit, State};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{broadcast, watch as state};

use self::check::{Depth, Seen};
use self::error::Trouble;
use self::health::Health;
use self::log::Local;
use self::schema::Synced;
use self::tables::{Database, Tables};
use self::writer::Haste;

pub use error::StoreError;
pub use health::Condition;
pub use log::{Log, LogError, Mark, Position, Record, Waits};
pub use moved::{Moved, arrived, moved};
pub use parts::{Part, merge, rewind};
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
    /// version of agentry wrote it, [`StoreError::MovedAway`] and [`StoreError::Arriving`] when its
    /// agents are not in it, and any error of the file system or of SQLite.
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
        let (file, seen) = StoreFile::lock(path, look)?;
        let connection = file.connect(Synced::AtOnce)?;
        moved::check(&connection, &file.path)?;
        if log::mark(&connection)?.is_some() {
            return Err(StoreError::Copy { path: file.path });
        }
        let store = Self::over(file, connection, |db, _| {
            Tables::open(db, Box::new(Local::open(db)?))
        })?;
        Ok((store, seen))
    }

    /// Opens the tables at `path`, or creates them, over a log that is elsewhere, and follows it: its
    /// records are applied as they come, and commits are refused with [`StoreError::Following`]
    /// until this host [leads](Self::lead). `open` opens the log on the thread that uses it.
    /// Blocking: the log is read for the first time.
    ///
    /// The tables are only a copy of what the log holds, and marked as such: they are not opened
    /// without their log.
    ///
    /// # Errors
    /// [`StoreError::Log`] if the log does not go on from what the tables have (see [`LogError`]),
    /// [`StoreError::NoCopy`] if the tables have a log of their own, and as [`open`](Self::open).
    pub fn follow(
        path: &Path,
        open: impl FnOnce(Waits) -> Result<Box<dyn Log>, LogError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let (file, ()) = StoreFile::lock(path, |_| Ok(()))?;
        let connection = file.connect(Synced::Later)?;
        Self::over(file, connection, |db, waits| {
            Tables::follow(db, open(waits)?)
        })
    }

    fn over(
        file: StoreFile,
        connection: Connection,
        open: impl FnOnce(&Database, Waits) -> Result<Tables, StoreError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let (path, health) = (file.path, Health::default());
        Ok(Self(Arc::new(Inner {
            writer: writer::Writer::spawn(connection, &path, health.clone(), open)?,
            readers: readers::Readers::spawn(&path)?,
            path,
            health,
            _lock: file.lock,
        })))
    }

    /// Makes the changes of a store whose log is elsewhere, from now on: applies the log up to
    /// `head`, then accepts commits, which are appended under `epoch`. This host has claimed both. If
    /// it leads already, under an earlier epoch, it goes on under this one. A store with a log of its
    /// own always leads.
    ///
    /// # Errors
    /// It does not lead. [`StoreError::Fenced`]: another host has claimed the log since.
    /// [`StoreError::Log`]: the log is not the one that the tables follow. After these two, the
    /// store stays ended. After [`StoreError::Refused`], it can be asked again.
    pub async fn lead(&self, epoch: Epoch, head: Position) -> Result<(), StoreError> {
        self.0.writer.lead(epoch, head).await
    }

    /// The place of the last record of the log that the state has, now and as it changes.
    pub fn position(&self) -> state::Receiver<Position> {
        self.0.writer.position()
    }

    /// Writes a copy of the tables to the file `to`, which must not exist, and returns the mark of
    /// the last record that it has. It has at least what was applied before. Another host can
    /// [install](place::install) it and follow the log from there.
    ///
    /// # Errors
    /// The store has a log of its own, or the copy cannot be written: then what is left of it is to
    /// be removed.
    pub async fn snapshot(&self, to: &Path) -> Result<Mark, StoreError> {
        let (path, to) = (self.0.path.clone(), to.to_owned());
        self.read(move |reader| {
            if log::mark(&reader.0)?.is_none() {
                return Err(StoreError::NoCopy { path });
            }
            place::make_private(&to)?;
            // SQLite writes into an empty file, and into no other.
            let name = to.to_str().ok_or_else(|| StoreError::Io {
                path: to.clone(),
                source: std::io::Error::other("its name is not UTF-8"),
            })?;
            reader.0.execute("VACUUM INTO ?1", [name])?;
            mark(&to)?.ok_or(StoreError::NoCopy { path })
        })
        .await
    }

    /// The store's condition, now and on every change.
    pub fn condition(&self) -> state::Receiver<Condition> {
        self.0.health.watch()
    }

    /// Has `told` called with the time of each commit, from its call until it was durable, on the
    /// writer's thread: it must be short. Only the first call of this counts.
    pub fn time_commits(&self, told: impl Fn(Duration) + Send + Sync + 'static) {
        self.0.writer.stopwatch().start(told);
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
    /// refuses to write: for callers that can report it. While a log that is elsewhere waits for the
    /// answer to an append, this waits, too.
    ///
    /// # Errors
    /// As [`commit`](Self::commit), and [`StoreError::Refused`].
    pub async fn commit_now(&self, commit: Commit) -> Result<Changes, StoreError> {
        let enqueued = self.0.writer.enqueue(commit, Haste::AtOnce, None);
        enqueued.await?.stored().await
    }

    /// Asks the state, which has every commit that was acknowledged. The query runs on the writer's
    /// thread, so it must be short. While a log that is elsewhere waits for the answer to an append,
    /// this waits, too. A host that only follows has what it has read of the log.
    ///
    /// # Errors
    /// The state cannot be read, another host leads since ([`StoreError::Fenced`]), and
    /// [`StoreError::Closed`].
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

    /// Brings the tables up to what the log has now: what this host has acknowledged and, if it follows
    /// a log, what another host has. Who opens the tables for reading then finds all of it.
    ///
    /// # Errors
    /// The log cannot be read or the tables not be written, and [`StoreError::Closed`].
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        self.0.writer.catch_up().await
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

/// A store's file, locked.
#[derive(Debug)]
struct StoreFile {
    path: PathBuf,
    lock: File,
}

impl StoreFile {
    /// Locks the file at `path`, and creates it if there is none. One that exists is looked at first.
    fn lock<T: Default>(
        path: &Path,
        look: impl FnOnce(&Path) -> Result<T, StoreError>,
    ) -> Result<(Self, T), StoreError> {
        let (path, lock) = place::claim(path)?;
        place::sync_log(&path)?;
        check::at_rest(&path)?;
        let seen = if path.exists() {
            look(&path)?
        } else {
            schema::create(&path)?;
            T::default()
        };
        sums::remove(&path).map_err(|source| StoreError::Io {
            path: sums::at(&path),
            source,
        })?;
        place::make_private(&path)?;
        Ok((Self { path, lock }, seen))
    }

    /// A connection for writing.
    fn connect(&self, synced: Synced) -> Result<Connection, StoreError> {
        let path = &self.path;
        let connection = Connection::open(path).map_err(|e| StoreError::open(path, e))?;
        connection
            .busy_timeout(BUSY_TIMEOUT)
            .map_err(|e| StoreError::open(path, e))?;
        schema::check(&connection, path)?;
        schema::prepare(&connection, path, synced)?;
        Ok(connection)
    }
}

/// The mark of the last record that the tables at `path` have of a log that is elsewhere; `None` if
/// they have a log of their own.
///
/// # Errors
/// As [`open_for_a_look`].
pub fn mark(path: &Path) -> Result<Option<Mark>, StoreError> {
    log::mark(&open_for_a_look(path)?.0)
}

/// Opens a store for reading only, while another process may write it. It has what was committed
/// before, unless its log is elsewhere: then it has what its process has written to the tables.
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
