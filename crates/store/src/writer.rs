//! The writer's thread: group commit, the tables behind the log, questions about the state, and
//! waiting while the system refuses to write.
//!
//! The tables are written when nothing else is to be done, and at the latest when they lack much or
//! for long. A read of the tables has them written first.
//!
//! If the log is elsewhere, this thread follows it: it looks for new records again and again, and
//! applies them. Commits are refused until it is asked to lead.
//!
//! If the disk is full, the file system is read-only or the file is gone, changes wait here. Only
//! this thread retries and logs; the callers wait for their changes. Callers with [`Haste::AtOnce`]
//! get an error instead.
//!
//! | module | contents |
//! |---|---|
//! | `elsewhere` | what the thread does with a log that is elsewhere |
//! | `file` | the store's file, as long as it is open |

mod elsewhere;
mod file;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agentry_core::State;
use agentry_core::cluster::Epoch;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, oneshot, watch};

use super::error::Trouble;
use super::health::Health;
use super::log::{Position, Waits};
use super::tables::{Applied, Database, Pending, Tables, is_much};
use super::watch::{Publisher, RowChange};
use super::{Changes, Commit, Condition, StoreError, sums};
use file::OpenFile;

/// The most commits in one SQLite transaction, which share one fsync. Larger groups gain little and
/// delay the first of their commits.
const MAX_GROUP: usize = 512;

/// The most commits that wait for the writer. A caller that submits another one waits for room in
/// the queue: backpressure starts here.
const QUEUE: usize = 4096;

/// The pauses after the system refused, with jitter up to 2 s: how long changes may wait after writing
/// works again.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(50))
    .with_max_delay(Duration::from_secs(1))
    .with_jitter()
    .without_max_times();

/// How long nothing must have been committed until the tables are written.
const IDLE: Duration = Duration::from_millis(10);

/// How long the tables may lack what the log has.
const LATEST: Duration = Duration::from_millis(250);

/// How long the tables of a host that only follows may lack what the log has. Nothing of it is lost,
/// and rows that change again until then are written once.
const LATEST_OF_FOLLOWER: Duration = Duration::from_secs(5);

/// How many pages of the write-ahead log are worth copying into the database when nothing was
/// committed for [`LOOK`]: 1 MiB.
const CHECKPOINT: i64 = 256;

/// How often an idle writer checks that its file still exists.
const LOOK: Duration = Duration::from_secs(1);

/// What happens to a change that the system refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// It waits until the system accepts it.
    None,
    /// The caller gets an error.
    AtOnce,
}

/// A commit that waits, and its caller.
#[derive(Debug)]
struct Job {
    pending: Pending,
    haste: Haste,
    since: Instant,
    answer: oneshot::Sender<Result<Changes, StoreError>>,
    _room: OwnedSemaphorePermit,
}

/// A commit that was passed to the writer. It is made durable even if this is dropped.
#[derive(Debug)]
pub struct Enqueued {
    applied: Applied,
    answer: oneshot::Receiver<Result<Changes, StoreError>>,
}

impl Enqueued {
    /// Whether it is applied, as the next commits must know that build on it.
    pub fn applied(&self) -> Applied {
        self.applied.clone()
    }

    /// Waits until the change is durable.
    ///
    /// # Errors
    /// As [`Store::commit`](super::Store::commit).
    pub async fn stored(self) -> Result<Changes, StoreError> {
        self.answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Job {
    fn refuse(self, trouble: &Trouble) {
        // The caller may have stopped waiting.
        let _ = self.answer.send(Err(trouble.clone().into()));
    }
}

/// What the thread is asked for.
enum Request {
    Commit(Box<Job>),
    /// Something that needs no commit: a question about the state, or that the tables are written.
    Run(Box<dyn FnOnce(&mut Tables) + Send>),
    /// That the tables have what the log has now, wherever it is.
    CatchUp(oneshot::Sender<Result<(), StoreError>>),
    /// To append to the log, which is elsewhere, from now on.
    Lead {
        epoch: Epoch,
        head: Position,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
}

/// What is told how long a commit took.
type Told = Box<dyn Fn(Duration) + Send + Sync>;

/// Times commits, from their calls until they are durable, once somebody asks for that.
#[derive(Clone, Default)]
pub(super) struct Stopwatch(Arc<OnceLock<Told>>);

impl Stopwatch {
    /// Has commits timed from now on. Only the first call counts.
    pub(super) fn start(&self, told: impl Fn(Duration) + Send + Sync + 'static) {
        // A store has one runtime, which asks once.
        let _ = self.0.set(Box::new(told));
    }

    fn stored(&self, since: Instant) {
        if let Some(told) = self.0.get() {
            told(since.elapsed());
        }
    }
}

impl std::fmt::Debug for Stopwatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stopwatch").finish_non_exhaustive()
    }
}

/// The handle of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    stopwatch: Stopwatch,
    publisher: Publisher,
    requests: Option<mpsc::Sender<Request>>,
    room: Arc<Semaphore>,
    /// Whether the tables lack what was committed.
    behind: Arc<AtomicBool>,
    position: watch::Receiver<Position>,
    closing: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `open` opens the log and the tables on it.
    pub(super) fn spawn(
        connection: Connection,
        path: &Path,
        health: Health,
        open: impl FnOnce(&Database, Waits) -> Result<Tables, StoreError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let (requests, queue) = mpsc::channel();
        // A random change counter distinguishes the log from another store's. If the system refuses
        // this, it refuses changes, too.
        if let Err(trouble) = write_something(&connection) {
            health.met(&trouble);
        }
        let db = Database::new(connection);
        let publisher = db.publisher().clone();
        let behind = Arc::new(AtomicBool::new(false));
        let position = watch::Sender::new(Position::default());
        let closing = watch::Sender::new(false);
        let waits = Waits::new(health.clone(), closing.subscribe());
        let until = waits.clone();
        let file = OpenFile::at(path)?;
        let stopwatch = Stopwatch::default();
        let mut writer = Self {
            stopwatch: stopwatch.clone(),
            publisher,
            requests: Some(requests),
            room: Arc::new(Semaphore::new(QUEUE)),
            behind: Arc::clone(&behind),
            position: position.subscribe(),
            closing,
            thread: None,
        };
        let begin = move || {
            let tables = open(&db, waits)?;
            Ok(Work {
                tables,
                db,
                file,
                health,
                stopwatch,
                behind,
                position,
                behind_since: None,
                waiting: Vec::new(),
                readers: Vec::new(),
                pauses: PAUSES.build(),
                waits: until,
                poll_at: Instant::now(),
                is_log_away: false,
            })
        };
        let (opened, opens) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("agentry-store".to_owned())
            .spawn(move || work(begin, &opened, &queue))
            .map_err(|source| StoreError::Io {
                path: "thread agentry-store".into(),
                source,
            })?;
        writer.thread = Some(thread);
        opens.recv().map_err(|_| StoreError::Closed)??;
        Ok(writer)
    }

    /// What times commits.
    pub(super) fn stopwatch(&self) -> &Stopwatch {
        &self.stopwatch
    }

    /// The place of the last record that the state has, now and as it changes.
    pub(super) fn position(&self) -> watch::Receiver<Position> {
        self.position.clone()
    }

    /// Has commits appended to the log, which is elsewhere, under an epoch from now on.
    pub(super) async fn lead(&self, epoch: Epoch, head: Position) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.request(Request::Lead {
            epoch,
            head,
            answer,
        })?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// The rows that change from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Arc<[RowChange]>> {
        self.publisher.watch()
    }

    /// Passes a commit to the thread, once there is room. It is stale unless the one `after` which it
    /// comes was applied.
    pub(super) async fn enqueue(
        &self,
        commit: Commit,
        haste: Haste,
        after: Option<Applied>,
    ) -> Result<Enqueued, StoreError> {
        let since = Instant::now();
        let room = Arc::clone(&self.room).acquire_owned().await;
        let pending = Pending::new(commit, after);
        let (answer, answered) = oneshot::channel();
        let enqueued = Enqueued {
            applied: pending.applied(),
            answer: answered,
        };
        self.request(Request::Commit(Box::new(Job {
            pending,
            haste,
            since,
            answer,
            _room: room.map_err(|_| StoreError::Closed)?,
        })))?;
        Ok(enqueued)
    }

    /// Asks the state, which has every commit that was acknowledged.
    pub(super) async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(|tables| tables.query(query)).await
    }

    /// Has the tables brought up to what the log has now, whoever appends to it.
    pub(super) async fn catch_up(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.request(Request::CatchUp(answer))?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Has the tables written, if they lack what was acknowledged.
    pub(super) async fn write(&self) -> Result<(), StoreError> {
        if !self.behind.load(Ordering::Acquire) {
            return Ok(());
        }
        self.run(Tables::write).await
    }

    async fn run<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Tables) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.request(Request::Run(Box::new(move |tables| {
            // The caller may have stopped waiting.
            let _ = answer.send(run(tables));
        })))?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    fn request(&self, request: Request) -> Result<(), StoreError> {
        let requests = self.requests.as_ref().ok_or(StoreError::Closed)?;
        requests.send(request).map_err(|_| StoreError::Closed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A log that is elsewhere must not be waited for any longer.
        self.closing.send_replace(true);
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // The thread ends by itself, because its queue is closed. A panic in it was already
            // reported.
            let _ = thread.join();
        }
    }
}

/// The thread's life. It says whether the tables were opened, and ends when its queue is closed.
fn work(
    begin: impl FnOnce() -> Result<Work, StoreError>,
    opened: &SyncSender<Result<(), StoreError>>,
    queue: &mpsc::Receiver<Request>,
) {
    let mut work = match begin() {
        Ok(work) => work,
        Err(error) => {
            // Who opens the store waits for this.
            let _ = opened.send(Err(error));
            return;
        }
    };
    work.note_behind();
    // What a process that was killed left in the log.
    work.write();
    let _ = opened.send(Ok(()));
    work.run(queue);
    work.close();
}

/// The state of the writer's thread.
struct Work {
    db: Database,
    tables: Tables,
    file: OpenFile,
    health: Health,
    stopwatch: Stopwatch,
    /// Whether the tables lack what was committed, for callers.
    behind: Arc<AtomicBool>,
    /// The last record that the state has, for callers.
    position: watch::Sender<Position>,
    /// Since when the tables lack something.
    behind_since: Option<Instant>,
    /// The commits to apply, oldest first.
    waiting: Vec<Job>,
    /// Those who wait until the tables have what the log has.
    readers: Vec<oneshot::Sender<Result<(), StoreError>>>,
    /// The pauses after the next refusals.
    pauses: ExponentialBackoff,
    /// What a log that is elsewhere was given.
    waits: Waits,
    /// When the log that is followed is looked at next.
    poll_at: Instant,
    /// Whether the log that is followed could not be read.
    is_log_away: bool,
}

impl Work {
    fn run(&mut self, queue: &mpsc::Receiver<Request>) {
        loop {
            if self.waiting.is_empty() {
                let is_writing = self.behind_since.is_some()
                    && !self.tables.is_following()
                    && !self.health.is_refusing()
                    && self.health.end().is_none();
                let patience = if is_writing { IDLE } else { LOOK };
                match queue.recv_timeout(self.follow(patience)) {
                    Ok(request) => self.take(request),
                    Err(RecvTimeoutError::Timeout) => {
                        self.look();
                        if !self.tables.is_following() || self.is_writing_due() {
                            self.write();
                        }
                        if !is_writing {
                            self.checkpoint();
                        }
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            while self.waiting.len() < MAX_GROUP
                && let Ok(request) = queue.try_recv()
            {
                self.take(request);
            }
            self.answer_readers();
            let rest = self.waiting.split_off(self.waiting.len().min(MAX_GROUP));
            let group = std::mem::replace(&mut self.waiting, rest);
            if let Err((group, trouble)) = self.store(group)
                && !self.refused(group, &trouble, queue)
            {
                return;
            }
            if self.is_writing_due() {
                self.write();
            }
        }
    }

    /// Runs what needs no commit; a commit joins those that wait.
    fn take(&mut self, request: Request) {
        match request {
            Request::Commit(job) => self.waiting.push(*job),
            Request::Run(run) => {
                run(&mut self.tables);
                self.note_behind();
            }
            Request::CatchUp(answer) => self.readers.push(answer),
            Request::Lead {
                epoch,
                head,
                answer,
            } => {
                let leads = self.lead(epoch, head);
                if let Some(trouble) = leads.as_ref().err().and_then(StoreError::trouble) {
                    self.health.met(&trouble);
                }
                self.note_behind();
                // The caller may have stopped waiting; the store leads nevertheless.
                let _ = answer.send(leads);
            }
        }
    }

    /// Tells callers whether the tables lack what was committed.
    fn note_behind(&mut self) {
        if let Some(trouble) = self.tables.unreadable().and_then(|error| error.trouble()) {
            self.health.met(&trouble);
        }
        let position = self.tables.position();
        self.position.send_if_modified(|now| {
            let is_new = *now != position;
            *now = position;
            is_new
        });
        let behind = self.tables.is_behind();
        self.behind.store(behind, Ordering::Release);
        if !behind {
            self.behind_since = None;
        } else if self.behind_since.is_none() {
            self.behind_since = Some(Instant::now());
        }
    }

    fn is_writing_due(&self) -> bool {
        let latest = match self.tables.is_following() {
            true => LATEST_OF_FOLLOWER,
            false => LATEST,
        };
        let is_late = |since: Instant| since.elapsed() >= latest;
        is_much(self.tables.unwritten()) || self.behind_since.is_some_and(is_late)
    }

    /// Writes the tables. If the system refuses, it is tried again later.
    fn write(&mut self) {
        if !self.tables.is_behind() {
            return;
        }
        if let Err(error) = self.tables.write() {
            // What the log holds was acknowledged: no part of it may be left out.
            self.health.met(&error.trouble().unwrap_or_else(|| {
                Trouble::Pages(format!("its tables refuse what its log holds: {error}"))
            }));
        }
        self.note_behind();
    }

    /// Copies the pages of the write-ahead log into the database if there are many: in the middle of
    /// changes, commits would wait for that.
    fn checkpoint(&self) {
        if self.health.is_refusing() || self.health.is_broken() {
            return;
        }
        let db = self.db.lock();
        let run = |mode: &str| {
            let pages = |row: &rusqlite::Row<'_>| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?);
            db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], pages)
        };
        // An error is met by the next change, too, and reported then.
        if run("NOOP").is_ok_and(|pages| pages >= CHECKPOINT) {
            let _ = run("PASSIVE");
        }
    }

    /// Closes the store. No other process has it open, except for reading: then it stays as SQLite
    /// leaves it, and no checksums of its pages are written.
    fn close(mut self) {
        self.write();
        let Self {
            db,
            tables,
            file,
            health,
            ..
        } = self;
        drop(tables);
        let Some(connection) = db.into_inner() else {
            return;
        };
        let sound = matches!(*health.watch().borrow(), Condition::Well);
        let mode = connection.busy_timeout(Duration::ZERO).and_then(|()| {
            connection.pragma_update_and_check(None, "journal_mode", "delete", text)
        });
        let closed = connection.close();
        if sound && closed.is_ok() && mode.is_ok_and(|mode| mode == "delete") {
            sums::leave(&file.path);
        }
    }

    /// Checks that the file is still the one that is open and, after a refusal, whether it can be
    /// written again. While there is nothing to store, nothing else detects this.
    fn look(&mut self) {
        let looked = self.file.check().and_then(|()| {
            if !self.health.is_refusing() {
                return Ok(());
            }
            write_something(&self.db.lock())?;
            match self.tables.probe() {
                Err(error) => error.trouble().map_or(Ok(()), Err),
                Ok(()) => Ok(()),
            }
        });
        match looked {
            // Whether a log that is followed can be read, the next look at it will show.
            Ok(()) if self.is_log_away => {}
            Ok(()) => self.health.stored(),
            Err(trouble) => self.health.met(&trouble),
        }
    }

    /// Applies a group and answers its callers. If the store as a whole refuses, what is left of the
    /// group is returned.
    fn store(&mut self, mut group: Vec<Job>) -> Result<(), (Vec<Job>, Trouble)> {
        if let Some(end) = self.health.end() {
            return Err((group, end));
        }
        if let Err(trouble) = self.file.check() {
            return Err((group, trouble));
        }
        if group.is_empty() {
            return Ok(());
        }
        let pending: Vec<_> = group.iter().map(|job| &job.pending).collect();
        let (answers, trouble) = self.tables.apply(&pending);
        self.note_behind();
        if trouble.is_none() {
            self.pauses = PAUSES.build();
            self.health.stored();
        }
        for (job, answer) in group.drain(..answers.len()).zip(answers) {
            if let Some(trouble) = answer.as_ref().err().and_then(StoreError::trouble) {
                self.health.met(&trouble);
            }
            if answer.is_ok() {
                self.stopwatch.stored(job.since);
            }
            // The caller may have stopped waiting; the change is stored nevertheless.
            let _ = job.answer.send(answer);
        }
        match trouble {
            None => Ok(()),
            Some(trouble) => Err((group, trouble)),
        }
    }

    /// After a refusal: callers with [`Haste::AtOnce`] get an error, the others wait, and so does
    /// this thread. Returns false if the store was closed.
    fn refused(
        &mut self,
        group: Vec<Job>,
        trouble: &Trouble,
        queue: &mpsc::Receiver<Request>,
    ) -> bool {
        self.health.met(trouble);
        let passes = matches!(trouble, Trouble::Refusal(_));
        let (waiting, told): (Vec<_>, Vec<_>) = group
            .into_iter()
            .partition(|job| passes && job.haste == Haste::None);
        told.into_iter().for_each(|job| job.refuse(trouble));
        self.waiting.splice(0..0, waiting);
        if !passes {
            return true;
        }
        let until = Instant::now() + self.pauses.next().unwrap_or_default();
        loop {
            match queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(request) => {
                    self.take(request);
                    let last = self.waiting.last();
                    if last.is_some_and(|job| job.haste == Haste::AtOnce) {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => {
                    self.waiting.drain(..).for_each(|job| job.refuse(trouble));
                    return false;
                }
            }
        }
    }
}

fn text(row: &rusqlite::Row<'_>) -> rusqlite::Result<String> {
    row.get(0)
}

/// Writes a page without changing anything: only a write shows that the file can be written.
fn write_something(connection: &Connection) -> Result<(), Trouble> {
    let written = || {
        let transaction = connection.unchecked_transaction()?;
        // Setting this writes the first page, even if the value is the same.
        let version: i64 =
            transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()
    };
    written().map_err(failed)
}

/// Maps an error that affects more than one change, and so keeps all changes from being stored.
#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn failed(error: rusqlite::Error) -> Trouble {
    Trouble::of(&error).unwrap_or_else(|| Trouble::Refusal(error.to_string()))
}
