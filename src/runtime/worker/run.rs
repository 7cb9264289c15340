//! One run of an attempt, isolated from the worker: its panics are caught, and a run that blocks its
//! thread is left behind.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agentry_sdk::task::Ask;
use agentry_sdk::{AnyBehaviour, Desk, TaskError, TaskOutput, Tokens};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tracing::Instrument;

use crate::runtime::jobs::wire::{JobEnd, JobInput, JobReport};
use crate::runtime::runner::panic_text;
use crate::runtime::traces::Traces;

/// How long a dropped future may take to end. A future that blocks its thread cannot be stopped;
/// its thread is left behind.
const GRACE: Duration = Duration::from_secs(2);

/// Why a run was stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Its task is over.
    Cancelled,
    /// Its job is no longer this worker's, or cannot be known to be.
    Lost,
    /// The worker stops.
    GivenBack,
}

/// The future that is a run's end.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<JobEnd, Stopped>> + Send>>;

/// A run, as the worker sees it.
#[derive(Debug)]
pub(super) struct Run {
    desk: Desk,
    progress: watch::Receiver<Option<(f64, Option<String>)>>,
    stop: watch::Sender<Option<Stopped>>,
}

impl Run {
    /// Begins a run. The second value is its end, and drops it if it is dropped.
    pub(super) fn begin(
        input: JobInput,
        behaviour: Arc<dyn AnyBehaviour>,
        traces: &Traces,
        executors: &tokio::runtime::Handle,
    ) -> (Self, Work) {
        let JobInput {
            task,
            trace,
            limit_ms,
            is_last,
            ..
        } = input;
        let (reports, progress) = watch::channel(None);
        let (asks, asked) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(None);
        let desk = Desk::new(move |progress, note| {
            reports.send_replace(Some((progress, note)));
        })
        .with_answers(&task.answers, move |ask| {
            // Only the first question counts: the attempt ends with it.
            drop(asks.try_send(ask));
        });
        let desk = match trace {
            Some(trace) => {
                let traces = traces.clone();
                desk.with_trace(trace, move |call, end| traces.call(&call, &end, trace))
            }
            None => desk,
        };
        let began = Instant::now();
        let limit = Limit {
            until: began.checked_add(Duration::from_millis(limit_ms)),
            // After the last attempt, the task is over.
            desk: is_last.then(|| desk.clone()),
        };
        let its = desk.clone();
        let work = async move { behaviour.execute(&task, &its).await };
        let handle = executors.spawn(work.in_current_span());
        let run = Self {
            desk,
            progress,
            stop,
        };
        (run, Box::pin(end(Execution(handle), limit, asked, stopped)))
    }

    /// A run that has ended before it could begin.
    pub(super) fn ended(end: JobEnd) -> (Self, Work) {
        let run = Self {
            desk: Desk::new(|_, _| {}),
            progress: watch::channel(None).1,
            stop: watch::channel(None).0,
        };
        (run, Box::pin(async { Ok(end) }))
    }

    /// How far it is.
    pub(super) fn report(&self) -> JobReport {
        JobReport {
            progress: self.progress.borrow().clone(),
            tokens: self.desk.tokens(),
        }
    }

    /// The tokens that it has used so far.
    pub(super) fn tokens(&self) -> Tokens {
        self.desk.tokens()
    }

    /// Stops it, unless it was stopped before.
    pub(super) fn stop(&self, why: Stopped) {
        if why == Stopped::Cancelled {
            self.desk.end();
        }
        self.stop.send_if_modified(|before| {
            let is_first = before.is_none();
            before.get_or_insert(why);
            is_first
        });
    }
}

/// How long a run may take.
struct Limit {
    until: Option<Instant>,
    /// Is told that the task is over, if it is then.
    desk: Option<Desk>,
}

impl Limit {
    async fn reached(&self) {
        match self.until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }
}

/// The running code of a behaviour; dropping this ends it.
struct Execution(JoinHandle<Result<TaskOutput, TaskError>>);

impl Drop for Execution {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn end(
    mut execution: Execution,
    limit: Limit,
    mut asked: mpsc::Receiver<Ask>,
    mut stopped: watch::Receiver<Option<Stopped>>,
) -> Result<JobEnd, Stopped> {
    let handle = &mut execution.0;
    let end = tokio::select! {
        biased;
        Ok(why) = async { stopped.wait_for(Option::is_some).await.map(|why| *why) } => {
            Err(why.unwrap_or(Stopped::Lost))
        }
        // Before the result: a program that asks may answer its execution at once, too.
        Some(ask) = asked.recv() => Ok(JobEnd::Asked(ask)),
        result = &mut *handle => return returned(result),
        () = limit.reached() => {
            if let Some(desk) = &limit.desk {
                desk.end();
            }
            Ok(JobEnd::TimedOut)
        }
    };
    handle.abort();
    if tokio::time::timeout(GRACE, handle).await.is_err() {
        tracing::error!(
            "a task blocks its thread and cannot be stopped; the thread is left behind"
        );
    }
    end
}

fn returned(result: Result<Result<TaskOutput, TaskError>, JoinError>) -> Result<JobEnd, Stopped> {
    match result {
        Ok(result) => Ok(JobEnd::Returned(result)),
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => Ok(JobEnd::Panicked(panic_text(&*panic))),
            // The executors' runtime ends with the worker.
            Err(_) => Err(Stopped::GivenBack),
        },
    }
}
