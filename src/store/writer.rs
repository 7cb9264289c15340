//! The writer's thread: group commit.

use std::sync::mpsc;
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::{Commit, Receipt, StoreError, apply};

/// The most commits in one SQLite transaction: what one fsync is shared by. Larger groups gain
/// little and delay the first of them.
const MAX_GROUP: usize = 512;

/// The most commits that wait for the writer. Whoever submits one more waits himself: this is
/// where backpressure begins.
const QUEUE: usize = 4096;

struct Job {
    commit: Commit,
    answer: oneshot::Sender<Result<Receipt, StoreError>>,
}

/// The handle of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    room: tokio::sync::Semaphore,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn spawn(connection: Connection) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("agentry-store".to_owned())
            .spawn(move || work(connection, &queue))
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

    pub(super) async fn submit(&self, commit: Commit) -> Result<Receipt, StoreError> {
        let _room = self.room.acquire().await.map_err(|_| StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(Job { commit, answer })
            .map_err(|_| StoreError::Closed)?;
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

fn work(mut connection: Connection, queue: &mpsc::Receiver<Job>) {
    let mut group = Vec::new();
    while let Ok(first) = queue.recv() {
        group.push(first);
        group.extend(queue.try_iter().take(MAX_GROUP - 1));
        commit_group(&mut connection, std::mem::take(&mut group));
    }
}

/// Carries a group out in one SQLite transaction. A commit that fails is undone alone; when the
/// SQLite transaction fails, all of them failed.
fn commit_group(connection: &mut Connection, group: Vec<Job>) {
    let mut answers = Vec::with_capacity(group.len());
    let outcome = (|| -> Result<(), StoreError> {
        let mut transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for job in &group {
            let savepoint = transaction.savepoint()?;
            let answer = apply::apply(&savepoint, &job.commit);
            if answer.is_ok() {
                savepoint.commit()?;
            } else {
                drop(savepoint);
            }
            answers.push(answer);
        }
        transaction.commit()?;
        Ok(())
    })();
    match outcome {
        Ok(()) => {
            for (job, answer) in group.into_iter().zip(answers) {
                // Who asked may have gone; the change stands all the same.
                let _ = job.answer.send(answer);
            }
        }
        Err(error) => {
            tracing::error!(%error, commits = group.len(), "the store refused a group of commits");
            let reason = error.to_string();
            for job in group {
                let _ = job.answer.send(Err(StoreError::Refused {
                    reason: reason.clone(),
                }));
            }
        }
    }
}
