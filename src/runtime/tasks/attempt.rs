//! One attempt at a task.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::Recipient;
use agentry_cluster::JobKey;
use agentry_core::commit::TaskEnd;
use agentry_core::rows::TaskState;
use agentry_core::state::row;
use agentry_core::{AgentId, Changes, Commit, CommitResult};
use agentry_protocol::Trace;
use agentry_protocol::command::Detail;
use agentry_sdk::task::Ask;
use agentry_sdk::{AnyBehaviour, Desk, Task, TaskLimits, Tokens};
use agentry_store::StoreError;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinHandle};
use tokio::time::Instant;
use tracing::Instrument;

use super::PoolPlace;
use super::progress::{Progress, Report};
use super::verdict::{Ended, verdict};
use crate::runtime::Shared;
use crate::runtime::jobs::Jobs;
use crate::runtime::jobs::board::JobOutcome;
use crate::runtime::jobs::wire::{JobEnd, JobInput};
use crate::runtime::kill::{self, Point};
use crate::runtime::router::WakeAgents;
use crate::runtime::traces::{Role, Span, names};

/// How long a dropped future may take to end. A future that blocks its thread cannot be stopped;
/// its thread is left behind.
const GRACE: Duration = Duration::from_secs(2);

/// The most by which a missed deadline is noticed late: the machine may have been suspended.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The pause after the store refused something.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// The longest text of a panic that is kept, in characters.
const MAX_PANIC_TEXT: usize = 500;

/// Where attempts store their results, and which agents they wake.
#[derive(Clone, Debug)]
pub(super) struct Links {
    pub(super) shared: Shared,
    pub(super) router: Recipient<WakeAgents>,
}

impl Links {
    /// Commits a change to a task, and wakes the agents that have news of it.
    ///
    /// # Errors
    /// The store refuses it.
    pub(super) async fn commit(&self, commit: Commit) -> Result<Changes, StoreError> {
        let ends = match &commit {
            Commit::TaskEnd { end, .. } => Some(match end {
                TaskEnd::Completed(_) => TaskState::Completed,
                TaskEnd::Failed { .. } => TaskState::Failed,
                TaskEnd::Canceled => TaskState::Canceled,
            }),
            _ => None,
        };
        let changes = self.shared.store.commit(commit).await?;
        if let Some(state) = ends {
            kill::pass(Point::AfterTaskEnd);
            if changes.result != CommitResult::Stale {
                self.shared.metrics.task_ended(state);
            }
        }
        self.wake(changes.due.clone()).await;
        Ok(changes)
    }

    async fn wake(&self, agents: Vec<AgentId>) {
        if !agents.is_empty() && self.router.send(WakeAgents(agents)).await.is_err() {
            tracing::debug!(
                "the router has ended; it wakes the agents that have news when it restarts"
            );
        }
    }

    /// As [`commit`](Self::commit), until the store takes it or the process is asked to stop.
    async fn insist(&self, commit: Commit) -> Option<Changes> {
        loop {
            match self.commit(commit.clone()).await {
                Ok(changes) => return Some(changes),
                Err(error) => {
                    tracing::error!(%error, "cannot store the result of a task");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
            if self.shared.is_stopping() {
                return None;
            }
        }
    }
}

/// An attempt that has begun.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Where it reports.
    pub(super) links: Links,
    /// The task, as of the start of the attempt.
    pub(super) row: row::Task,
    /// The agent's name.
    pub(super) agent: String,
    /// The behaviour that runs it.
    pub(super) behaviour: Arc<dyn AnyBehaviour>,
    /// Its limits.
    pub(super) limits: TaskLimits,
    /// Its place in the pool.
    pub(super) place: PoolPlace,
    /// Whether a worker may run it already: a previous owner of the shard has begun it.
    pub(super) is_adopted: bool,
}

impl Attempt {
    /// Runs the attempt to its end, and stores the result.
    pub(super) async fn run(self) {
        let span = tracing::info_span!(
            "task",
            task.id = %self.row.id,
            task.kind = self.row.kind,
            agent.name = self.agent,
            behaviour.name = self.row.behaviour,
            attempt = self.row.attempts,
        );
        self.runner().instrument(span).await;
    }

    /// Begins the attempt's span in the traces.
    fn trace(&self) -> Span {
        let traces = &self.links.shared.traces;
        let name = || format!("task {}", self.row.kind);
        let mut span = traces.begin(Role::Internal, name, self.row.trail.trace);
        span.text(names::AGENT, &self.agent);
        span.text(names::BEHAVIOUR, &self.row.behaviour);
        span.text_of(names::TASK, || self.row.id.to_string());
        span.number(names::ATTEMPT, u64::from(self.row.attempts));
        span
    }

    async fn runner(self) {
        let mut span = self.trace();
        let began = Instant::now();
        tracing::debug!("the attempt at the task has begun");
        let mut run = self.start(span.trace());
        let Some((ended, used)) = self.work(&mut run).await else {
            span.failed("interrupted");
            return;
        };
        if let Some(reason) = ended.failure() {
            span.failed(reason);
        }
        span.end();
        if let Ended::Interrupted(reason) = &ended {
            tracing::warn!(reason, "the worker that ran a task is lost");
        }
        kill::pass(Point::BeforeTaskEnd);
        let now = self.links.shared.clock.now();
        let took = began.elapsed();
        let commit = verdict(&self.row, &self.limits, (ended, used), took, now);
        let said = say(&commit);
        if let Some(changes) = self.links.insist(commit).await {
            run.is_settled();
            if changes.result == CommitResult::Stale {
                tracing::info!(
                    "the task has ended meanwhile; the result of this attempt is discarded"
                );
            } else {
                self.links.shared.metrics.tokens_used(used);
                // A worker measures what it runs itself.
                if run.job.is_none() {
                    self.links.shared.metrics.task_ran(&self.row.kind, took);
                }
                said();
            }
        }
    }

    /// Runs the behaviour's code under all its limits; returns how it ended, and the tokens that it
    /// used, if that is known. `None`: nothing is to be stored, because the task was canceled or the
    /// runtime is stopping.
    async fn work(&self, run: &mut Run) -> Option<(Ended, Option<Tokens>)> {
        // A worker measures the time of what it runs itself: what waits for one takes none.
        let until = match run.job {
            None => Instant::now().checked_add(self.limits.time),
            Some(_) => None,
        };
        let deadline = self.deadline();
        tokio::pin!(deadline);
        let mut progress = Progress::new(self.limits.progress_every);
        let mut open = true;
        let ended = loop {
            tokio::select! {
                biased;
                () = self.place.canceled() => {
                    tracing::info!("the task was canceled");
                    run.is_over();
                    break None;
                }
                // Before the result: a program that asks may answer its execution at once, too.
                Some(ask) = run.asked.recv() => break Some(Ended::Asked(ask)),
                result = &mut run.handle => {
                    let ended = returned(result)?;
                    let used = used(&ended, &run.desk);
                    return Some((ended, used));
                }
                () = sleep_until(until) => {
                    if self.row.failed_attempts() >= self.limits.attempts {
                        run.is_over();
                    }
                    break Some(Ended::TimedOut);
                }
                () = &mut deadline => {
                    run.is_over();
                    break Some(Ended::Deadline);
                }
                changed = run.reported.changed(), if open => {
                    open = changed.is_ok();
                    if let Some(report) = run.reported.borrow_and_update().clone() {
                        progress.report(report, Instant::now());
                    }
                }
                () = sleep_until(progress.due()) => {
                    self.record(&mut progress).await;
                }
            }
        };
        run.abort.abort();
        if tokio::time::timeout(GRACE, &mut run.handle).await.is_err() {
            self.links.shared.metrics.behaviour_hung();
            tracing::error!(
                "a task blocks its thread and cannot be stopped; the thread is left behind"
            );
        }
        let ended = ended?;
        let used = used(&ended, &run.desk);
        Some((ended, used))
    }

    /// Starts the behaviour's code, isolated from the runtime's own, or has a worker do it.
    fn start(&self, trace: Option<Trace>) -> Run {
        let (reports, reported) = watch::channel::<Option<Report>>(None);
        let (asks, asked) = mpsc::channel(1);
        let task = Task::of(&self.row, &self.agent);
        let desk = Desk::new(move |progress, note| {
            let note = note.map(|note| Detail::cut(&note).as_str().to_owned());
            reports.send_replace(Some((progress, note)));
        })
        .with_answers(&self.row.answers, move |ask| {
            // Only the first question counts: the attempt ends with it.
            drop(asks.try_send(ask));
        });
        let shared = &self.links.shared;
        let jobs = shared.jobs.as_ref().filter(|jobs| jobs.runs(&task.kind));
        let (handle, desk, job) = if let Some(jobs) = jobs {
            let key = jobs.key(self.row.id, self.row.attempts);
            let kind = task.kind.clone();
            let input = (!self.is_adopted).then(|| {
                let is_last = self.row.failed_attempts() >= self.limits.attempts;
                let behaviour = self.row.behaviour.clone();
                JobInput::new(behaviour, task, trace, self.limits.time, is_last)
            });
            let run = jobs.clone().run(key, (kind, input), desk.clone());
            let work = async move { run.await.into() };
            let handle = shared.workers.spawn(work.in_current_span());
            (handle, desk, Some((jobs.clone(), key)))
        } else {
            let desk = match trace {
                Some(trace) => {
                    let traces = shared.traces.clone();
                    desk.with_trace(trace, move |call, end| traces.call(&call, &end, trace))
                }
                None => desk,
            };
            let (behaviour, its) = (Arc::clone(&self.behaviour), desk.clone());
            let work = async move { Ended::Returned(behaviour.execute(&task, &its).await) };
            (shared.workers.spawn(work.in_current_span()), desk, None)
        };
        Run {
            abort: handle.abort_handle(),
            handle,
            desk,
            reported,
            asked,
            job,
        }
    }

    /// Returns when the task's deadline is reached; never, if the task has none.
    async fn deadline(&self) {
        let Some(deadline) = self.row.deadline else {
            return std::future::pending().await;
        };
        let clock = &self.links.shared.clock;
        let left = || deadline.since(clock.confirmed());
        // The duration is fixed now, so setting the clock back does not extend it.
        let until = Instant::now().checked_add(left());
        loop {
            let rest = until.map_or(LOOK_AGAIN, |until| {
                until.saturating_duration_since(Instant::now())
            });
            let rest = rest.min(left()).min(LOOK_AGAIN);
            if rest.is_zero() {
                return;
            }
            tokio::time::sleep(rest).await;
        }
    }

    async fn record(&self, progress: &mut Progress) {
        let Some(((part, note), tell)) = progress.take(Instant::now()) else {
            return;
        };
        let commit = Commit::TaskProgress {
            task: self.row.id,
            attempts: self.row.attempts,
            progress: part,
            note,
            tell,
            at: self.links.shared.clock.now(),
        };
        // A progress report may be lost.
        if let Err(error) = self.links.commit(commit).await {
            tracing::warn!(%error, "cannot store the progress of a task");
        }
    }
}

/// The running behaviour code; dropping this ends it, if it runs here. If a worker runs it, it goes on
/// there for whoever owns the shard next, unless the attempt was settled before.
struct Run {
    handle: JoinHandle<Ended>,
    abort: AbortHandle,
    /// Where it reports the tokens that it uses.
    desk: Desk,
    /// Its progress.
    reported: watch::Receiver<Option<Report>>,
    /// What it asks the submitter.
    asked: mpsc::Receiver<Ask>,
    /// The job, if a worker runs it.
    job: Option<(Jobs, JobKey)>,
}

impl Run {
    /// The task has ended from outside.
    fn is_over(&self) {
        self.desk.end();
        self.is_settled();
    }

    /// What became of the attempt is known.
    fn is_settled(&self) {
        if let Some((jobs, key)) = &self.job {
            jobs.retire(*key);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl From<JobOutcome> for Ended {
    fn from(outcome: JobOutcome) -> Self {
        match outcome {
            JobOutcome::Ended(JobEnd::Returned(result)) => Self::Returned(result),
            JobOutcome::Ended(JobEnd::Panicked(text)) => Self::Panicked(text),
            JobOutcome::Ended(JobEnd::TimedOut) => Self::TimedOut,
            JobOutcome::Ended(JobEnd::Asked(ask)) => Self::Asked(ask),
            JobOutcome::Interrupted(why) => Self::Interrupted(why),
        }
    }
}

/// The tokens that an attempt has used. One that was ended, or that panicked, may have used more than
/// it reported; if it reported none, nothing is known.
fn used(ended: &Ended, desk: &Desk) -> Option<Tokens> {
    let used = desk.tokens();
    let is_known = matches!(ended, Ended::Returned(_)) || !used.is_none();
    is_known.then_some(used)
}

fn returned(result: Result<Ended, JoinError>) -> Option<Ended> {
    match result {
        Ok(ended) => Some(ended),
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => Some(Ended::Panicked(panic_text(&*panic))),
            // The runtime is stopping.
            Err(_) => None,
        },
    }
}

/// The text of a panic. It is the behaviour's own; the panic hook has logged the location.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    let text: String = text.chars().take(MAX_PANIC_TEXT).collect();
    format!("panicked: {text}")
}

/// The limits of tasks of one type. A behaviour that panics when asked for them gets the defaults.
pub(super) fn limits(behaviour: &dyn AnyBehaviour, kind: &str) -> TaskLimits {
    let mut limits =
        catch_unwind(AssertUnwindSafe(|| behaviour.task_limits(kind))).unwrap_or_default();
    limits.concurrency = limits.concurrency.max(1);
    limits.attempts = limits.attempts.max(1);
    limits
}

/// About how many tokens an attempt at a task uses at most; `None` if it uses no model. A behaviour that
/// panics when asked for it uses none.
pub(crate) fn tokens_of(behaviour: &dyn AnyBehaviour, task: &Task) -> Option<u64> {
    catch_unwind(AssertUnwindSafe(|| behaviour.task_tokens(task))).unwrap_or_default()
}

/// Sleeps until then; for ever, if there is no such time.
async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// The log line for a commit once it is stored.
fn say(commit: &Commit) -> Box<dyn FnOnce() + Send> {
    let (failed, again, reason) = match commit {
        Commit::TaskEnd {
            end: TaskEnd::Failed { code, message, .. },
            ..
        } => (true, false, format!("{code}: {message}")),
        Commit::TaskRetry {
            error: (code, message),
            ..
        } => (true, true, format!("{code}: {message}")),
        Commit::TaskAsk { .. } => {
            return Box::new(|| {
                tracing::info!("the task asks its submitter a question, and waits");
            });
        }
        Commit::TaskInterrupt { .. } => return Box::new(|| {}),
        _ => (false, false, String::new()),
    };
    Box::new(move || match (failed, again) {
        (true, true) => tracing::warn!(reason, "an attempt at a task failed; another one follows"),
        (true, false) => tracing::error!(reason, "a task failed"),
        (false, _) => tracing::debug!("the task has completed"),
    })
}
