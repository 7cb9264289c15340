//! The writer's thread: group commit, and waiting for a system that refuses.
//!
//! Where the disk is full, the file system read-only or the file gone, changes wait here, and the one
//! who waits for room is this thread: those who asked for a change wait for it, so that nobody else
//! has to try again, or to log. Only who asked with [`Haste::AtOnce`] is told.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::error::Trouble;
use super::health::Health;
use super::{Commit, Condition, Receipt, StoreError, apply, sums};

/// The most commits in one SQLite transaction: what one fsync is shared by. Larger groups gain
/// little and delay the first of them.
const MAX_GROUP: usize = 512;

/// The most commits that wait for the writer. Whoever submits one more waits himself: this is
/// where backpressure begins.
const QUEUE: usize = 4096;

/// The first pause after the system refused; it doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause: how much later than there is room changes may be stored.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// How often a writer that has nothing to do looks whether its file is still there.
const LOOK: Duration = Duration::from_secs(1);

/// What becomes of a change that the system refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// It waits until the system takes it.
    None,
    /// Who asked for it is told.
    AtOnce,
}

#[derive(Debug)]
struct Job {
    commit: Commit,
    haste: Haste,
    answer: oneshot::Sender<Result<Receipt, StoreError>>,
}

impl Job {
    fn refuse(self, trouble: &Trouble) {
        let error = match trouble.clone() {
            Trouble::Refusal(reason) | Trouble::Pages(reason) => StoreError::Refused(reason),
            Trouble::Value(what) => StoreError::Value(what),
        };
        // Who asked may have gone.
        let _ = self.answer.send(Err(error));
    }
}

/// The handle of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    room: tokio::sync::Semaphore,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn spawn(
        connection: Connection,
        path: &Path,
        health: Health,
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel();
        let mut connection = connection;
        // So that the log can be told from another store's. Where that is refused, changes are, too.
        if let Err(trouble) = write_something(&mut connection) {
            health.met(&trouble);
        }
        let mut work = Work {
            connection,
            file: OpenFile::at(path)?,
            health,
            waiting: Vec::new(),
            pause: MIN_PAUSE,
        };
        let thread = std::thread::Builder::new()
            .name("agentry-store".to_owned())
            .spawn(move || {
                work.run(&queue);
                work.close();
            })
            .map_err(|source| StoreError::Io {
                path: "thread agentry-store".into(),
                source,
            })?;
        Ok(Self {
            jobs: Some(jobs),
            room: tokio::sync::Semaphore::new(QUEUE),
            thread: Some(thread),
        })
    }

    pub(super) async fn submit(&self, commit: Commit, haste: Haste) -> Result<Receipt, StoreError> {
        let _room = self.room.acquire().await.map_err(|_| StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        let job = Job {
            commit,
            haste,
            answer,
        };
        jobs.send(job).map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It ends by itself: its queue is closed. A panic in it was already reported.
            let _ = thread.join();
        }
    }
}

/// The writer at work.
struct Work {
    connection: Connection,
    file: OpenFile,
    health: Health,
    /// What is to be carried out, oldest first.
    waiting: Vec<Job>,
    /// How long is waited after the next refusal.
    pause: Duration,
}

impl Work {
    fn run(&mut self, queue: &mpsc::Receiver<Job>) {
        loop {
            if self.waiting.is_empty() {
                match queue.recv_timeout(LOOK) {
                    Ok(job) => self.waiting.push(job),
                    Err(RecvTimeoutError::Timeout) => {
                        self.look();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            let room = MAX_GROUP.saturating_sub(self.waiting.len());
            self.waiting.extend(queue.try_iter().take(room));
            let rest = self.waiting.split_off(self.waiting.len().min(MAX_GROUP));
            let group = std::mem::replace(&mut self.waiting, rest);
            if let Err((group, trouble)) = self.store(group)
                && !self.refused(group, &trouble, queue)
            {
                return;
            }
        }
    }

    /// Closes the store. Nobody else has it open, unless it is read right now: then it stays as SQLite
    /// leaves it, and no sums of its pages are left.
    fn close(self) {
        let Self {
            connection,
            file,
            health,
            ..
        } = self;
        let sound = matches!(*health.watch().borrow(), Condition::Well);
        let mode = connection.busy_timeout(Duration::ZERO).and_then(|()| {
            connection.pragma_update_and_check(None, "journal_mode", "delete", text)
        });
        let closed = connection.close();
        if sound && closed.is_ok() && mode.is_ok_and(|mode| mode == "delete") {
            sums::leave(&file.path);
        }
    }

    /// Whether the file is still the one that is open, and after a refusal, whether it can be written
    /// again. While nothing is to be stored, nothing else tells.
    fn look(&mut self) {
        let looked = self.file.check().and_then(|()| {
            if self.health.is_refusing() {
                write_something(&mut self.connection)
            } else {
                Ok(())
            }
        });
        match looked {
            Ok(()) => self.health.stored(),
            Err(trouble) => self.health.met(&trouble),
        }
    }

    /// Carries a group out in one SQLite transaction and answers. A commit that fails is undone
    /// alone; when the store as a whole refuses, the group comes back.
    fn store(&mut self, group: Vec<Job>) -> Result<(), (Vec<Job>, Trouble)> {
        if self.health.is_broken() {
            let reason = "it is damaged, and changes would damage it further".to_owned();
            return Err((group, Trouble::Pages(reason)));
        }
        match self
            .file
            .check()
            .and_then(|()| carry_out(&mut self.connection, &group))
        {
            Ok(answers) => {
                self.pause = MIN_PAUSE;
                self.health.stored();
                for (job, answer) in group.into_iter().zip(answers) {
                    if let Some(trouble) = answer.as_ref().err().and_then(StoreError::trouble) {
                        self.health.met(&trouble);
                    }
                    // Who asked may have gone; the change stands all the same.
                    let _ = job.answer.send(answer);
                }
                Ok(())
            }
            Err(trouble) => Err((group, trouble)),
        }
    }

    /// After a refusal: those that are in haste are told, the others wait, and so does this thread.
    /// False: nobody waits any more.
    fn refused(&mut self, group: Vec<Job>, trouble: &Trouble, queue: &mpsc::Receiver<Job>) -> bool {
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
        let until = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        loop {
            match queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(job) => {
                    let hurries = job.haste == Haste::AtOnce;
                    self.waiting.push(job);
                    if hurries {
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

/// Writes a page, and changes nothing: what can only be read would not tell that it can be written.
fn write_something(connection: &mut Connection) -> Result<(), Trouble> {
    let mut written = || {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Setting this writes the first page, also where the value is the same.
        let version: i64 =
            transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()
    };
    written().map_err(failed)
}

/// Any error but that of one change keeps all changes from being stored.
#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn failed(error: rusqlite::Error) -> Trouble {
    Trouble::of(&error).unwrap_or_else(|| Trouble::Refusal(error.to_string()))
}

/// Carries commits out in one SQLite transaction.
///
/// # Errors
/// The store as a whole refuses: none of them was carried out.
fn carry_out(
    connection: &mut Connection,
    group: &[Job],
) -> Result<Vec<Result<Receipt, StoreError>>, Trouble> {
    let mut answers = Vec::with_capacity(group.len());
    let mut transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    for job in group {
        let savepoint = transaction.savepoint().map_err(failed)?;
        let answer = apply::apply(&savepoint, &job.commit);
        match answer.as_ref().err().map(StoreError::trouble) {
            None => savepoint.commit().map_err(failed)?,
            Some(Some(trouble @ (Trouble::Refusal(_) | Trouble::Pages(_)))) => return Err(trouble),
            Some(Some(Trouble::Value(_)) | None) => drop(savepoint),
        }
        answers.push(answer);
    }
    transaction.commit().map_err(failed)?;
    Ok(answers)
}

/// Which file is open. SQLite goes on writing to one that was deleted, moved or replaced, and all of it
/// is lost with the process.
#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl OpenFile {
    fn at(path: &Path) -> Result<Self, StoreError> {
        let data = std::fs::metadata(path).map_err(|source| StoreError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            device: data.dev(),
            inode: data.ino(),
        })
    }

    /// Whether it is still there.
    fn check(&self) -> Result<(), Trouble> {
        let path = self.path.display();
        match std::fs::metadata(&self.path) {
            Ok(data) if (data.dev(), data.ino()) == (self.device, self.inode) => Ok(()),
            Ok(_) => Err(Trouble::Refusal(format!(
                "{path} is another file than the one that was opened: put that one back, or stop and start"
            ))),
            Err(error) => Err(Trouble::Refusal(format!(
                "{path} cannot be found any more ({error}): put it back, or stop and start"
            ))),
        }
    }
}
