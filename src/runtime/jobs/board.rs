//! The jobs of a shard, as its owner follows them.
//!
//! All attempts of a shard are followed by one look at the database, each [`BEAT`] while there are
//! any. While the database does not answer, nothing is decided.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_cluster::{ClusterError, Job, JobKey, JobState, NewJob, Put};
use agentry_core::TaskId;
use agentry_core::cluster::{Epoch, ShardId};
use agentry_sdk::{Desk, TaskError, Tokens};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::BEAT;
use super::queue::Queue;
use super::wire::{JobEnd, JobInput, JobReport};

/// How often an owner looks for jobs that nobody follows: what an owner leaves that is killed between
/// storing a result and deleting its row.
const SWEEP: Duration = Duration::from_secs(300);

/// How often it looks while it knows of such jobs.
const SWEEP_AGAIN: Duration = Duration::from_secs(5);

/// How long a job may have no attempt that follows it until it is deleted. A host that does not know
/// yet that it has lost the shard must not delete what the next owner has put.
const LEFT_OVER: Duration = Duration::from_secs(60);

/// How long a job waits for a worker until the log says so.
const NO_WORKER: Duration = Duration::from_secs(30);

/// The jobs of a shard. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Jobs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Queue,
    shard: ShardId,
    epoch: Epoch,
    state: Mutex<State>,
    wake: Notify,
    /// Whether every attempt that can be followed is followed.
    is_complete: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    followed: HashMap<JobKey, Followed>,
    /// Jobs that are of no use any more, and whether their workers are told already.
    retired: HashMap<JobKey, bool>,
}

#[derive(Debug)]
struct Followed {
    sight: watch::Sender<Sight>,
    /// A look that began after this shows the job, if it is there. None until it was put.
    since: Option<Instant>,
}

/// What a look has shown of a job.
#[derive(Clone, Debug, PartialEq)]
enum Sight {
    /// Nothing yet, or no worker has taken it.
    Waiting,
    /// This worker runs it.
    Taken(String, JobReport),
    /// There is a result.
    Ended,
    /// The run is lost, and why.
    Lost(String),
}

/// How a run at a worker ended.
#[derive(Debug)]
pub(in crate::runtime) enum JobOutcome {
    /// It ended by itself.
    Ended(JobEnd),
    /// It was lost, and why.
    Interrupted(String),
}

impl Jobs {
    pub(super) fn new(queue: Queue, shard: ShardId, epoch: Epoch) -> Self {
        Self(Arc::new(Inner {
            queue,
            shard,
            epoch,
            state: Mutex::default(),
            wake: Notify::new(),
            is_complete: AtomicBool::new(false),
        }))
    }

    /// Whether workers run the tasks of this type.
    pub(in crate::runtime) fn runs(&self, kind: &str) -> bool {
        self.0.queue.kinds.contains(kind)
    }

    /// The job of an attempt.
    pub(in crate::runtime) fn key(&self, task: TaskId, attempt: u32) -> JobKey {
        JobKey {
            shard: self.0.shard,
            task,
            attempt,
        }
    }

    /// The jobs that can still be followed: what a previous owner of the shard has begun. Waits for
    /// the database.
    pub(in crate::runtime) async fn left(&self) -> HashSet<JobKey> {
        let look = || self.0.look();
        let jobs = match self.0.until_known("looking for running jobs", look).await {
            Ok(jobs) => jobs,
            Err(error) => {
                tracing::error!(%error, "cannot look at the jobs of workers: their attempts are repeated");
                return HashSet::new();
            }
        };
        let is_left = |job: &Job| match job.state {
            JobState::Waiting | JobState::Taken => !job.is_cancelled,
            JobState::Done | JobState::Failed => true,
            JobState::Cancelled | JobState::Interrupted => false,
        };
        let left = jobs.iter().filter(|job| is_left(job));
        left.map(|job| job.key).collect()
    }

    /// Has a worker run an attempt, and passes on what it reports. `input` is none for an attempt that
    /// a previous owner has put.
    ///
    /// If this is dropped, the run goes on, for whoever follows it next, unless it is
    /// [retired](Self::retire).
    pub(in crate::runtime) async fn run(
        self,
        key: JobKey,
        (kind, input): (String, Option<JobInput>),
        desk: Desk,
    ) -> JobOutcome {
        let mut following = self.follow(key);
        if let Some(input) = input {
            match self.put(key, &kind, &input).await {
                Ok(Put::There) => {}
                Ok(Put::Fenced) => {
                    tracing::debug!("another host owns the shard now");
                    return std::future::pending().await;
                }
                Err(error) => return JobOutcome::Ended(JobEnd::Returned(Err(error))),
            }
        }
        self.0.is_put(key);
        let mut told = Tokens::default();
        let mut warn = Some(Instant::now() + NO_WORKER);
        loop {
            let sight = following.sight.borrow_and_update().clone();
            match sight {
                Sight::Waiting => {}
                Sight::Taken(worker, report) => {
                    if warn.take().is_some() {
                        tracing::info!(worker, "a worker runs a task");
                    }
                    pass_on(&report, &mut told, &desk);
                }
                Sight::Ended => return self.result(key, told, &desk).await,
                Sight::Lost(why) => return JobOutcome::Interrupted(why),
            }
            tokio::select! {
                changed = following.sight.changed() => if changed.is_err() {
                    return JobOutcome::Interrupted("nobody follows it any more".to_owned());
                },
                () = until(warn) => {
                    // Once more in a while, until there is one.
                    warn = Some(Instant::now() + 10 * NO_WORKER);
                    tracing::warn!(
                        "no worker takes a task: is `agentry worker --kinds {kind}` running, with room for it?"
                    );
                }
            }
        }
    }

    /// The job is of no use any more: its result is stored, or the task has ended, and its worker is
    /// to end the run.
    pub(in crate::runtime) fn retire(&self, key: JobKey) {
        self.0.state().retired.entry(key).or_insert(false);
        self.0.wake.notify_one();
    }

    /// Every attempt of [`Self::left`] that can go on is followed: the other jobs are of no use.
    pub(in crate::runtime) fn is_complete(&self) {
        self.0.is_complete.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }

    /// Looks at the jobs, as long as this runs.
    pub(in crate::runtime) async fn serve(self) {
        let inner = &self.0;
        let mut hints = inner.queue.hints.clone();
        let mut idle = HashMap::new();
        loop {
            if let Err(error) = inner.end_retired().await {
                tracing::debug!(%error, "cannot end jobs yet");
            }
            let began = Instant::now();
            match inner.look().await {
                Ok(jobs) => inner.saw(&jobs, began, &mut idle),
                Err(error) => tracing::debug!(%error, "cannot look at the jobs of workers"),
            }
            let is_busy = {
                let state = inner.state();
                !state.followed.is_empty() || !state.retired.is_empty()
            };
            if is_busy {
                inner.queue.is_busy.store(true, Ordering::Release);
            }
            let pause = match (is_busy, idle.is_empty()) {
                (true, _) => BEAT,
                (false, false) => SWEEP_AGAIN,
                (false, true) => SWEEP,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Without hints, there is the pause.
                Ok(()) = hints.changed(), if is_busy => {}
                () = inner.wake.notified() => {}
            }
        }
    }

    async fn put(&self, key: JobKey, kind: &str, input: &JobInput) -> Result<Put, TaskError> {
        let input = input.write();
        let inner = &self.0;
        let job = NewJob {
            key,
            kind,
            input: &input,
        };
        let put = || inner.queue.database.put_job(inner.epoch, &job);
        let put = inner.until_known("passing a task to workers", put).await;
        put.map_err(|error| {
            let reason = format!("it cannot be passed to workers: {error}");
            match error {
                ClusterError::TooLarge { .. } => TaskError::permanent("too-large", reason),
                _ => TaskError::transient("workers", reason),
            }
        })
    }

    fn follow(&self, key: JobKey) -> Following {
        let (sender, sight) = watch::channel(Sight::Waiting);
        let followed = Followed {
            sight: sender,
            since: None,
        };
        self.0.state().followed.insert(key, followed);
        Following {
            jobs: self.clone(),
            key,
            sight,
        }
    }

    async fn result(&self, key: JobKey, mut told: Tokens, desk: &Desk) -> JobOutcome {
        let read = || self.0.queue.database.job_result(key);
        let bytes = match self
            .0
            .until_known("reading the result of a task", read)
            .await
        {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return JobOutcome::Interrupted("its result was deleted".to_owned()),
            Err(error) => return JobOutcome::Ended(unreadable(&error)),
        };
        match JobEnd::read(&bytes) {
            Ok((end, tokens)) => {
                let report = JobReport {
                    tokens,
                    ..JobReport::default()
                };
                pass_on(&report, &mut told, desk);
                JobOutcome::Ended(end)
            }
            Err(error) => JobOutcome::Ended(unreadable(&error)),
        }
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> JobEnd {
    let reason = format!("the worker's result: {error}");
    JobEnd::Returned(Err(TaskError::transient("workers", reason)))
}

/// Passes on what is new in a report.
fn pass_on(report: &JobReport, told: &mut Tokens, desk: &Desk) {
    let more = Tokens {
        input: report.tokens.input.saturating_sub(told.input),
        output: report.tokens.output.saturating_sub(told.output),
    };
    if !more.is_none() {
        desk.used(more);
        *told = told.plus(more);
    }
    if let Some((progress, note)) = &report.progress {
        desk.progress(*progress, note.clone());
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Follows a job until it is dropped.
struct Following {
    jobs: Jobs,
    key: JobKey,
    sight: watch::Receiver<Sight>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.jobs.0.state().followed.remove(&self.key);
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self) -> Result<Vec<Job>, ClusterError> {
        self.queue.database.jobs(&[self.shard]).await
    }

    fn is_put(&self, key: JobKey) {
        if let Some(followed) = self.state().followed.get_mut(&key) {
            followed.since = Some(Instant::now());
        }
        self.wake.notify_one();
    }

    /// Asks the database until it answers, or refuses.
    async fn until_known<T, F: Future<Output = Result<T, ClusterError>>>(
        &self,
        what: &str,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, ClusterError> {
        loop {
            match ask().await {
                Err(error) if error.is_transient() => {
                    tracing::debug!(%error, "{what}: trying again");
                    tokio::time::sleep(BEAT).await;
                }
                result => return result,
            }
        }
    }

    /// Tells workers of jobs that are of no use any more, and deletes those that have ended.
    async fn end_retired(&self) -> Result<(), ClusterError> {
        let retired: Vec<_> = {
            let state = self.state();
            let retired = state.retired.iter();
            retired.map(|(key, told)| (*key, *told)).collect()
        };
        if retired.is_empty() {
            return Ok(());
        }
        for (key, _) in retired.iter().filter(|(_, told)| !told) {
            self.queue.database.cancel_job(*key).await?;
            if let Some(told) = self.state().retired.get_mut(key) {
                *told = true;
            }
        }
        let keys: Vec<_> = retired.into_iter().map(|(key, _)| key).collect();
        self.queue.database.delete_jobs(&keys).await.map(|_| ())
    }

    /// Tells those who follow the jobs what a look has shown that began at `began`. `idle` are the
    /// jobs that nobody follows, and since when.
    fn saw(&self, jobs: &[Job], began: Instant, idle: &mut HashMap<JobKey, Instant>) {
        let now = Instant::now();
        let shown: HashSet<_> = jobs.iter().map(|job| job.key).collect();
        let mut state = self.state();
        let State { followed, retired } = &mut *state;
        // A job that was retired during the look may be gone without being told.
        retired.retain(|key, told| !*told || shown.contains(key));
        let mut was_idle = std::mem::take(idle);
        for job in jobs {
            if let Some(one) = followed.get(&job.key) {
                one.show(sight(job));
                continue;
            }
            if !self.is_complete.load(Ordering::Acquire) || retired.contains_key(&job.key) {
                continue;
            }
            let since = was_idle.remove(&job.key).unwrap_or(now);
            if now - since >= LEFT_OVER {
                retired.insert(job.key, false);
            } else {
                idle.insert(job.key, since);
            }
        }
        for (key, one) in followed.iter() {
            if one.since.is_some_and(|since| since < began) && !shown.contains(key) {
                one.show(Sight::Lost("its row was deleted".to_owned()));
            }
        }
    }
}

fn sight(job: &Job) -> Sight {
    let worker = job.worker.as_deref().unwrap_or("?");
    match job.state {
        JobState::Waiting => Sight::Waiting,
        JobState::Taken => {
            let report = job.progress.as_deref().and_then(JobReport::read);
            Sight::Taken(worker.to_owned(), report.unwrap_or_default())
        }
        JobState::Done | JobState::Failed => Sight::Ended,
        JobState::Cancelled => Sight::Lost("it was cancelled".to_owned()),
        JobState::Interrupted => Sight::Lost(format!(
            "the worker {worker} beats no more, or has given it back"
        )),
    }
}

impl Followed {
    fn show(&self, sight: Sight) {
        self.sight.send_if_modified(|last| {
            let is_new = *last != sight;
            *last = sight;
            is_new
        });
    }
}
