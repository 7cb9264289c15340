//! [`ChainDb`]: the source that reads a node's own database, `chain.db`.
//!
//! | module | what it is for |
//! |---|---|
//! | `file` | opening the file without changing the files beside it; detecting its replacement |
//! | `reader` | the one connection, on a thread of its own |
//! | `begin`, `verify`, `session` | where a cursor begins; whether what it has read is still on the chain; one read |
//! | `content` | the transactions of one block, from the table or its metadata |
//! | `query`, `value` | every statement that is run; column values of any type |
//! | `watch`, `wake` | when to read again; who looks for several sources |
//! | `check` | whether the pages are damaged |
//! | `work` | counters of the work done by reading |
//! | `mempool` | the node's `mempool.db` beside it: which transactions are pending |
//!
//! It does not get in the node's way: it is read-only, uses short read transactions with a small
//! time limit, and adds no index of its own, though the node has none on `recipient`.

mod begin;
mod check;
mod content;
mod file;
mod mempool;
mod query;
mod reader;
mod session;
mod value;
mod verify;
mod wake;
mod watch;
mod work;

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use agentry_protocol::{BlockHash, BlockHeight, ChainId, Dialect, Timestamp};
use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::sync::watch::Receiver;

use self::reader::{Reader, Version};
use self::wake::Looks;
use self::watch::Watch;
use self::work::Work;
use crate::node::Head;
use crate::source::{Batch, ChainSource, Cursor, Exemption, Interest, Nature, SourceError, Start};

pub use self::check::within;
pub use self::file::immutable_uri;
pub use self::mempool::MempoolDb;
pub use self::work::DbWork;

/// The options of a [`ChainDb`].
#[derive(Debug, Clone)]
pub struct ChainDbOptions {
    /// The dialect of the node that writes it. Default: that of April 2026.
    pub dialect: Dialect,
    /// How long a read waits for a lock before it fails and is tried again. Default 50 ms: readers
    /// of a WAL database wait only while it is being recovered or replaced.
    pub busy_timeout: Duration,
    /// How often the file is checked when no event reports a change. Default 250 ms.
    pub poll: Duration,
    /// How many rows and blocks one read processes before it returns what it has. Default 20,000: a
    /// read transaction of some tens of milliseconds, during which the node cannot reset its WAL.
    pub rows_per_read: usize,
}

impl Default for ChainDbOptions {
    fn default() -> Self {
        Self {
            dialect: Dialect::default(),
            busy_timeout: Duration::from_millis(50),
            poll: Duration::from_millis(250),
            rows_per_read: 20_000,
        }
    }
}

impl ChainDbOptions {
    /// The default options, for the database of a node of this dialect.
    #[must_use]
    pub fn of(dialect: Dialect) -> Self {
        Self {
            dialect,
            ..Self::default()
        }
    }
}

type Job = Box<dyn FnOnce(&mut Reader) + Send>;

/// A node's `chain.db` as a [`ChainSource`].
///
/// SQLite runs on a thread of its own, which ends when this is dropped, and all sources that
/// [share](SharedDb) it.
#[derive(Debug)]
pub struct ChainDb {
    database: Database,
    wake: Wake,
    /// Its number among those that share the thread.
    number: u64,
}

/// What says when to read.
#[derive(Debug)]
enum Wake {
    Own(Watch),
    Shared {
        looks: Arc<Looks>,
        version: Receiver<Option<Version>>,
    },
}

/// A node's `chain.db` for several sources, each at a position of its own. They use one connection, one
/// thread and one watch of the file.
#[derive(Debug)]
pub struct SharedDb {
    database: Database,
    looks: Arc<Looks>,
    /// How many sources there were.
    sources: AtomicU64,
}

impl SharedDb {
    /// Shares a database.
    ///
    /// # Errors
    /// As [`ChainDb::open`].
    pub fn open(
        path: impl AsRef<Path>,
        chain: ChainId,
        options: ChainDbOptions,
    ) -> Result<Self, SourceError> {
        let (database, watch) = Database::open(path.as_ref(), chain, options)?;
        Ok(Self {
            database,
            looks: Looks::new(watch),
            sources: AtomicU64::new(0),
        })
    }

    /// A source.
    pub fn source(&self) -> ChainDb {
        ChainDb {
            database: self.database.clone(),
            wake: Wake::Shared {
                version: self.looks.subscribe(),
                looks: Arc::clone(&self.looks),
            },
            number: self.sources.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }
}

/// The thread on which SQLite runs. It ends with the last clone.
#[derive(Clone, Debug)]
struct Database {
    jobs: mpsc::Sender<Job>,
    work: Arc<Work>,
    path: PathBuf,
}

impl Database {
    /// Starts the thread, and watches the file.
    fn open(
        path: &Path,
        chain: ChainId,
        options: ChainDbOptions,
    ) -> Result<(Self, Watch), SourceError> {
        // Absolute, so that a change of the working directory does not change the file.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let (jobs, inbox) = mpsc::channel::<Job>();
        let work = Arc::new(Work::default());
        let watch = Watch::new(path.clone(), options.poll);
        let mut reader = Reader::new(path.clone(), chain, options, Arc::clone(&work));
        thread::Builder::new()
            .name("chain-db".to_owned())
            .spawn(move || {
                for job in inbox {
                    job(&mut reader);
                }
            })
            .map_err(|error| SourceError::File {
                path: path.clone(),
                error,
            })?;
        Ok((Self { jobs, work, path }, watch))
    }

    /// Runs a job on the thread.
    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Reader) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |reader| {
            if !answer.is_closed() {
                // The interest is the caller's code: if it panics, that ends this job alone.
                let done = panic::catch_unwind(AssertUnwindSafe(|| job(reader)));
                // The caller may have stopped waiting: then nothing is lost.
                let _ = answer.send(done);
            }
        });
        self.jobs.send(job).map_err(|_| SourceError::Closed)?;
        let done = answered.await.map_err(|_| SourceError::Closed)?;
        done.unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    }
}

impl ChainDb {
    /// The chain `chain` in the database at `path`. Nothing is read yet, and the file need not
    /// exist yet: reads fail with [`SourceError::Missing`] until it does.
    ///
    /// # Errors
    /// [`SourceError::File`] when the thread cannot be started.
    pub fn open(
        path: impl AsRef<Path>,
        chain: ChainId,
        options: ChainDbOptions,
    ) -> Result<Self, SourceError> {
        let (database, watch) = Database::open(path.as_ref(), chain, options)?;
        Ok(Self {
            database,
            wake: Wake::Own(watch),
            number: 0,
        })
    }

    /// The file that is read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.database.path
    }

    /// The work that reading has taken so far.
    #[must_use]
    pub fn work(&self) -> DbWork {
        self.database.work.so_far()
    }
}

impl Drop for ChainDb {
    fn drop(&mut self) {
        let source = self.number;
        // If the thread has ended, there is nothing left of it.
        let _ = self
            .database
            .jobs
            .send(Box::new(move |reader| reader.forget(source)));
    }
}

impl ChainDb {
    /// The hash of the block at a height. None: there is no such block.
    ///
    /// # Errors
    /// When the database cannot be read; see [`SourceError::is_transient`].
    pub async fn hash(&mut self, height: BlockHeight) -> Result<Option<BlockHash>, SourceError> {
        self.database.run(move |reader| reader.hash(height.0)).await
    }

    /// The damage found in the database's pages; empty if there is none. `None`: not all pages were
    /// checked within `limit`. The node cannot reset its WAL during the check.
    ///
    /// # Errors
    /// When the database cannot be read, which damage can also cause.
    pub async fn damage(&mut self, limit: Duration) -> Result<Option<Vec<String>>, SourceError> {
        self.database.run(move |reader| reader.damage(limit)).await
    }
}

#[async_trait]
impl ChainSource for ChainDb {
    fn nature(&self) -> Nature {
        Nature {
            name: "chain.db",
            is_networked: false,
            exemptions: &[
                Exemption::RewrittenMetadataBelowWindow,
                Exemption::UnreadRowsBelowWindowOfReplacedFile,
            ],
        }
    }

    async fn dialect(&mut self) -> Result<Option<Dialect>, SourceError> {
        self.database.run(Reader::dialect).await
    }

    async fn genesis(&mut self) -> Result<Option<BlockHash>, SourceError> {
        self.hash(BlockHeight(0)).await
    }

    async fn head(&mut self) -> Result<Option<Head>, SourceError> {
        self.database.run(Reader::head).await
    }

    async fn time(&mut self, height: BlockHeight) -> Result<Option<Timestamp>, SourceError> {
        self.database.run(move |reader| reader.time(height.0)).await
    }

    async fn begin(&mut self, start: Start) -> Result<Cursor, SourceError> {
        self.database.run(move |reader| reader.begin(start)).await
    }

    async fn read(
        &mut self,
        cursor: &Cursor,
        interest: Arc<dyn Interest>,
        limit: usize,
    ) -> Result<Batch, SourceError> {
        let (before, source) = (cursor.clone(), self.number);
        let batch = self
            .database
            .run(move |reader| reader.read(source, &before, &*interest, limit))
            .await?;
        let is_new = batch.more || !batch.events.is_empty() || batch.cursor.tip != cursor.tip;
        if let (true, Wake::Own(watch)) = (is_new, &mut self.wake) {
            watch.found();
        }
        Ok(batch)
    }

    async fn changed(&mut self) {
        match &mut self.wake {
            Wake::Own(watch) => watch.changed().await,
            Wake::Shared { looks, version } => {
                let look = || self.database.run(Reader::version);
                looks.changed(version, look).await;
            }
        }
    }
}
