//! The readers' threads: one connection each, and one queue for all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::{Reader, StoreError, open_read_only};

/// The number of threads. A read is a few index seeks of about ten microseconds; more threads than
/// cores gain nothing.
const READERS: usize = 4;

type Job = Box<dyn FnOnce(&Reader) + Send>;

/// The handle of the threads.
#[derive(Debug)]
pub(super) struct Readers {
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(super) fn spawn(path: &Path) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let reader = open_read_only(path)?;
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new()
                .name("agentry-reader".to_owned())
                .spawn(move || work(&reader, &queue))
                .map_err(|source| StoreError::Io {
                    path: "thread agentry-reader".into(),
                    source,
                })?;
            threads.push(thread);
        }
        Ok(Self {
            jobs: Some(jobs),
            threads,
        })
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |reader| {
            // The caller may have stopped waiting.
            let _ = answer.send(query(reader));
        });
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(job).map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // The threads end by themselves, because their queue is closed.
            let _ = thread.join();
        }
    }
}

fn work(reader: &Reader, queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A panic in a query was already reported; its caller gets an error.
        let _ = catch_unwind(AssertUnwindSafe(|| job(reader)));
    }
}
