//! Tasks: jobs that hosted wallets request from others, and tasks that are executed here.
//!
//! | part | holds |
//! |---|---|
//! | [`job`] | requested jobs, read from the store |
//! | [`executing`] | tasks that are executed here |
//! | [`fetch`] | the whole of a result that was cut |
//! | [`offer`] | which jobs an agent offers |

pub mod executing;
pub mod fetch;
pub mod job;
pub mod offer;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use agentry_core::commit::TaskEnd;
use agentry_core::rows::TaskId;
use agentry_core::{Commit, CommitResult, OutboxId, TokenName};
use agentry_protocol::command::{Answer, CommandFault, ExecuteAiJob, InputNumber, JobInput};
use agentry_protocol::{AckRequest, Address, Json, KnownCommand, Thread};
use agentry_store::list::task::ExecutingItem;
use agentry_store::{Reader, StoreError, read};

use super::sealed::Opener;
use super::send::{Ack, SendRequest, Sent};
use super::who::{self, WhoError};
use super::{OperationError, Operations};
use crate::config::Config;
use crate::runtime::clock::Clock;
use crate::runtime::control::{Client, ControlError};
use executing::ExecutingTask;
use fetch::FetchError;
use job::Job;

/// How long to wait for an acknowledgment after a job is mined.
const ACK_WITHIN: Duration = Duration::from_secs(60);

/// How often a job without an acknowledgment is resent.
pub const ACK_RESENDS: u32 = 3;

/// How often the store is checked for the end of a job or a task.
const POLL: Duration = Duration::from_millis(200);

/// Why a job was not requested, found or canceled.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// There is no such job or task.
    #[error("there is no job {id:?} in {}; `agentry task list` prints them, and with --executing the tasks executed here", store.display())]
    Unknown {
        /// The id as given.
        id: String,
        /// The store.
        store: PathBuf,
    },
    /// It cannot be canceled any more.
    #[error("{id} has ended: it is {state}")]
    Ended {
        /// Its id.
        id: String,
        /// Its state.
        state: String,
    },
    /// It cannot be canceled yet.
    #[error(
        "{0} is not signed yet, so its recipient does not know of it; `agentry queue drop {0}` cancels it"
    )]
    NotSigned(String),
    /// It waits for no answer.
    #[error("{id} waits for no answer: it is {state}")]
    NotAsking {
        /// Its id.
        id: String,
        /// Its state.
        state: String,
    },
    /// The answer cannot be sent.
    #[error("the answer: {0}")]
    Answer(CommandFault),
    /// The rest of a result did not come.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The recipient does not offer such a job.
    #[error("{who} {missing}; nothing was sent")]
    NotOffered {
        /// Who states what the recipient offers, such as `the card of worker`.
        who: String,
        /// What is missing, as the rest of a sentence.
        missing: String,
    },
    /// The requesting wallet is not known.
    #[error(transparent)]
    Who(#[from] WhoError),
    /// The running runtime did not do it.
    #[error(transparent)]
    Runtime(#[from] ControlError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TaskError {
    /// There is no job or task with this id.
    pub fn unknown(id: &str, config: &Config) -> Self {
        Self::Unknown {
            id: id.to_owned(),
            store: config.store.path.clone(),
        }
    }
}

/// Opens the sealed answers to the jobs of a store.
pub fn opener(config: &Config) -> Opener {
    let not_running = "no runtime serves the store: start `agentry run`";
    Opener::new(&config.store.path, not_running)
}

/// A job to request.
#[derive(Clone, Debug)]
pub struct SubmitJob {
    /// The hosted wallet that requests it: a name or an address.
    pub wallet: String,
    /// Who is to do it.
    pub to: Address,
    /// The job; its deadline follows from `useful_for`.
    pub job: ExecuteAiJob,
    /// How long the result is useful: the recipient need not see the job after that.
    pub useful_for: Option<Duration>,
    /// The conversation that it belongs to.
    pub thread: Option<Thread>,
    /// The acknowledgment that it asks for.
    pub ack: Option<AckRequest>,
    /// Whether the job and its answer are sealed.
    pub seal: bool,
    /// Whether it is sent even if the recipient is known not to offer such jobs.
    pub anyway: bool,
    /// A word chosen by the caller: the same job submitted twice is requested once.
    pub key: String,
    /// The token that pays for it; none if the operator does.
    pub token: Option<TokenName>,
}

/// Requests a job. When this returns `Ok`, the request is stored and will be sent.
///
/// # Errors
/// The recipient offers no such job; no runtime hosts the wallet; the job cannot be sent.
pub async fn submit(wanted: SubmitJob, config: &Config) -> Result<OutboxId, TaskError> {
    let mut job = wanted.job;
    if !wanted.anyway {
        offer::check(&wanted.to, job.kind.as_str(), config)?;
    }
    let from = who::resolve_hosted(&wanted.wallet, config).await?;
    let key = format!("task/{}/{}", wanted.key, job.kind);
    let now = Clock::default().now();
    let useful_for = wanted.useful_for;
    job.deadline = useful_for.map(|after| now.plus(after));
    let request = SendRequest {
        expires_in: useful_for,
        thread: wanted.thread,
        ack: wanted.ack.map(|request| Ack {
            request,
            within: ACK_WITHIN,
            resends: ACK_RESENDS,
        }),
        seal: wanted.seal,
        token: wanted.token,
        ..SendRequest::new(wanted.to, KnownCommand::ExecuteAiJob(job).body(), key)
    };
    let runtime = Client::new(&config.store.path);
    Ok(runtime.send(from.as_str(), request).await?.outbox)
}

/// What was canceled.
#[derive(Clone, Debug)]
pub enum Canceled {
    /// The agent that executes the job was asked to cancel it.
    Requested {
        /// The job.
        job: Box<Job>,
        /// The request.
        sent: Sent,
    },
    /// The task that was executed here has ended.
    Here(Box<ExecutingTask>),
}

/// Cancels a job by a message to the agent that executes it, or a task that is executed here. A job
/// that is canceled twice with the same key is canceled by one message, for which a token pays if one
/// is given.
///
/// # Errors
/// There is none; it has ended, or is not signed yet; no runtime is running.
pub async fn cancel(
    db: &Reader,
    id: &str,
    (key, token): (&str, Option<TokenName>),
    config: &Config,
) -> Result<Canceled, TaskError> {
    let runtime = Client::new(&config.store.path);
    let Some(job) = job::find(db, id, &mut opener(config)).await? else {
        let task = executing::find(db, id, config)?;
        let task = task.ok_or_else(|| TaskError::unknown(id, config))?;
        return if runtime.cancel_task(TaskId(task.row)).await? {
            Ok(Canceled::Here(Box::new(task)))
        } else {
            let ExecutingItem { id, state, .. } = task.item;
            Err(TaskError::Ended { id, state })
        };
    };
    if !job.state.is_open() {
        let state = job.state.as_str().to_owned();
        return Err(TaskError::Ended { id: job.id, state });
    }
    let Some(transaction) = job.hash() else {
        return Err(TaskError::NotSigned(job.id));
    };
    let to = who::address(&job.to)?;
    let key = format!("cancel/{key}");
    let request = SendRequest {
        re: Some(transaction),
        token,
        ..SendRequest::new(to, KnownCommand::CancelJob.body(), key)
    };
    let sent = runtime.send(&job.from, request).await?;
    let job = Box::new(job);
    Ok(Canceled::Requested { job, sent })
}

/// Answers the question that a requested job asks. A question has one answer: if one was sent before,
/// nothing is sent, and that one is returned. A token pays for it if one is given.
///
/// # Errors
/// There is no such job; it asks nothing; the answer is too large; no runtime is running.
pub async fn answer(
    db: &Reader,
    id: &str,
    answer: Json,
    token: Option<TokenName>,
    config: &Config,
) -> Result<(Job, Sent), TaskError> {
    let job = job::find(db, id, &mut opener(config)).await?;
    let job = job.ok_or_else(|| TaskError::unknown(id, config))?;
    let asked = job.input.as_ref().filter(|_| job.state.is_open());
    let number = asked.and_then(|asked| InputNumber::new(asked.number));
    let (Some(number), Some(transaction)) = (number, job.hash()) else {
        let state = job.state.as_str().to_owned();
        return Err(TaskError::NotAsking { id: job.id, state });
    };
    let answer = Answer::new(answer).map_err(TaskError::Answer)?;
    let to = who::address(&job.to)?;
    let input = KnownCommand::JobInput(JobInput { number, answer });
    let request = SendRequest {
        re: Some(transaction),
        seal: job.asked.sealed,
        token,
        ..SendRequest::new(to, input.body(), job::answer_key(&job.id, number.get()))
    };
    let sent = Client::new(&config.store.path)
        .send(&job.from, request)
        .await?;
    Ok((job, sent))
}

/// Waits until a requested job is sent: it is signed, or has ended. Returns it as it was seen last;
/// `None` if there is no such job.
///
/// # Errors
/// The store's.
pub async fn until_sent(
    db: &Reader,
    id: &str,
    deadline: Instant,
    config: &Config,
) -> Result<Option<Job>, StoreError> {
    let every = Duration::from_millis(50);
    watch(db, id, (every, deadline), config, |job, _| job.is_sent()).await
}

/// Waits until a requested job has ended; `seen` gets it after each look. Returns it as it was seen
/// last; `None` if there is no such job.
///
/// # Errors
/// The store's.
pub async fn until_ended(
    db: &Reader,
    id: &str,
    deadline: Instant,
    config: &Config,
    mut seen: impl FnMut(&Job),
) -> Result<Option<Job>, StoreError> {
    let is_enough = |job: &Job, opener: &Opener| {
        seen(job);
        // A sealed answer that does not open is not a result; but without a runtime it may be the
        // final one.
        let answers_stay_closed = job.sealed_answers > 0 && opener.is_closed();
        !job.state.is_open() || answers_stay_closed
    };
    watch(db, id, (POLL, deadline), config, is_enough).await
}

async fn watch(
    db: &Reader,
    id: &str,
    (every, deadline): (Duration, Instant),
    config: &Config,
    mut is_enough: impl FnMut(&Job, &Opener) -> bool,
) -> Result<Option<Job>, StoreError> {
    let mut opener = opener(config);
    loop {
        opener.again();
        let Some(job) = job::find(db, id, &mut opener).await? else {
            return Ok(None);
        };
        if is_enough(&job, &opener) || Instant::now() >= deadline {
            return Ok(Some(job));
        }
        tokio::time::sleep(every).await;
    }
}

/// Waits until a task that is executed here has ended. Returns it as it was seen last; `None` if
/// there is no such task.
///
/// # Errors
/// The store's.
pub async fn until_ended_here(
    db: &Reader,
    id: &str,
    deadline: Instant,
    config: &Config,
) -> Result<Option<ExecutingTask>, StoreError> {
    loop {
        let task = executing::find(db, id, config)?;
        let ended = |task: &ExecutingTask| task.item.ended_at.is_some();
        if task.as_ref().is_none_or(ended) || Instant::now() >= deadline {
            return Ok(task);
        }
        tokio::time::sleep(POLL).await;
    }
}

impl Operations {
    /// Ends a task that runs or waits here, and notifies its submitter. Returns whether there was
    /// such a task.
    ///
    /// # Errors
    /// The store's.
    pub async fn cancel_task(&self, task: TaskId) -> Result<bool, OperationError> {
        let shared = &self.shared;
        loop {
            let row = shared.store.read(move |db| read::task(db, task)).await?;
            let Some(row) = row.filter(|row| row.state.is_open()) else {
                return Ok(false);
            };
            let changes = shared
                .store
                .commit_now(Commit::TaskEnd {
                    task,
                    attempts: row.attempts,
                    end: TaskEnd::Canceled,
                    used: None,
                    duration_ms: 0,
                    at: shared.clock.now(),
                })
                .await?;
            // Another attempt began meanwhile, or the task has ended.
            if changes.result == CommitResult::Stale {
                continue;
            }
            shared.pool.cancel(&[task]);
            self.wake(changes.due).await;
            return Ok(true);
        }
    }
}
