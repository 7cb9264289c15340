//! Putting results into the database.

use agentry_cluster::{Database, Ended, JobKey, Outcome};
use agentry_sdk::{TaskError, Tokens};

use super::metrics::JobOutcome;
use crate::runtime::jobs::BEAT;
use crate::runtime::jobs::wire::JobEnd;

/// What becomes of a job.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It has a result, as [`JobEnd::write`] writes it.
    Done(Vec<u8>),
    /// It has failed; the result says how.
    Failed(Vec<u8>),
    /// It was ended because its task is over.
    Cancelled,
    /// This worker stops, and another one may run it.
    Interrupted,
}

impl Verdict {
    /// How a run ended, with the tokens that it has used.
    pub(super) fn of(end: JobEnd, tokens: Tokens) -> Self {
        match end {
            JobEnd::Returned(Ok(_)) | JobEnd::Asked(_) => Self::Done(end.write(tokens)),
            JobEnd::Returned(Err(_)) | JobEnd::Panicked(_) | JobEnd::TimedOut => {
                Self::Failed(end.write(tokens))
            }
        }
    }

    /// As what it is counted.
    pub(super) const fn counted(&self) -> JobOutcome {
        match self {
            Self::Done(_) => JobOutcome::Done,
            Self::Failed(_) => JobOutcome::Failed,
            Self::Cancelled => JobOutcome::Cancelled,
            Self::Interrupted => JobOutcome::Interrupted,
        }
    }

    fn outcome(&self) -> Outcome<'_> {
        match self {
            Self::Done(bytes) => Outcome::Done(bytes),
            Self::Failed(bytes) => Outcome::Failed(bytes),
            Self::Cancelled => Outcome::Cancelled,
            Self::Interrupted => Outcome::Interrupted,
        }
    }
}

/// Puts what became of a job into the database, as soon as it answers.
pub(super) async fn deliver(database: &Database, worker: &str, key: JobKey, mut verdict: Verdict) {
    loop {
        let error = match database.end_job(worker, key, verdict.outcome()).await {
            Ok(Ended::Stored) => return,
            Ok(Ended::Refused) => {
                tracing::info!(shard.id = key.shard.0, task.id = %key.task, attempt = key.attempt, "the result of a task is refused: it was given to another worker, or has ended");
                return;
            }
            Err(error) => error,
        };
        if error.is_transient() {
            tracing::debug!(%error, "putting the result of a task: trying again");
            tokio::time::sleep(BEAT).await;
            continue;
        }
        tracing::error!(%error, shard.id = key.shard.0, task.id = %key.task, "the result of a task cannot be stored");
        if !matches!(verdict, Verdict::Done(_)) {
            // Its owner notices that nobody beats for it.
            return;
        }
        let reason = format!("its result cannot be stored: {error}");
        let end = JobEnd::Returned(Err(TaskError::permanent("result", reason)));
        verdict = Verdict::of(end, Tokens::default());
    }
}
