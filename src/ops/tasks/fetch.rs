//! The whole of a result that was cut: its submitter asks for the rest, part by part.

use std::time::Instant;

use agentry_core::TokenName;
use agentry_protocol::command::{FetchResult, ResultPart};
use agentry_protocol::{ContentHash, KnownCommand, TransactionHash};
use agentry_sdk::task::MAX_OUTPUT_BYTES;
use agentry_store::list::task;
use agentry_store::{Reader, read};

use super::super::sealed::Opener;
use super::super::send::{self, SendRequest};
use super::super::who;
use super::job::{self, Job, JobResult};
use super::{POLL, TaskError, opener};
use crate::config::Config;
use crate::runtime::control::Client;

/// How many requests for one part are made, over all calls: one more each time the recipient has
/// refused the last.
const REQUESTS: u32 = 16;

/// Why the rest of a result did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The job has no result.
    #[error("{id} has no result: it is {state}")]
    NoResult {
        /// Its id.
        id: String,
        /// Its state.
        state: String,
    },
    /// The result is longer than any that agentry makes.
    #[error("the result of {id} has {bytes} bytes; at most {MAX_OUTPUT_BYTES} are fetched")]
    TooLong {
        /// The job's id.
        id: String,
        /// The length of the result.
        bytes: u64,
    },
    /// The recipient of the job sends no part.
    #[error("{to} does not send the rest: {why}")]
    Refused {
        /// The recipient.
        to: String,
        /// Why.
        why: String,
    },
    /// What the recipient has sent is not the result that it announced.
    #[error("{0} sent something that is not the result with this SHA-256")]
    Other(String),
    /// A request could not be sent.
    #[error("{outbox} was not sent: {why}")]
    NotSent {
        /// The request.
        outbox: String,
        /// Why.
        why: String,
    },
    /// A sealed part cannot be opened.
    #[error("a part cannot be opened: {0}")]
    Closed(String),
    /// The parts did not come in time.
    #[error("timed out; {here} of {bytes} bytes are here, and the next call goes on from there")]
    Late {
        /// How many bytes have come.
        here: usize,
        /// The length of the result.
        bytes: u64,
    },
}

/// Fetches the whole result of a requested job, with its SHA-256 checked. If it was cut, the job's
/// recipient is asked for the rest, one part after the other; `seen` gets how many bytes there are
/// after each, and how many there will be. Parts that have come before are not asked for again while
/// the store keeps them. A token pays for the requests if one is given.
///
/// # Errors
/// There is no such job; [`FetchError`]; no runtime is running.
pub async fn fetch(
    db: &Reader,
    id: &str,
    token: Option<TokenName>,
    deadline: Instant,
    config: &Config,
    mut seen: impl FnMut(usize, u64),
) -> Result<(Job, String), TaskError> {
    let mut opener = opener(config);
    let job = job::find(db, id, &mut opener).await?;
    let job = job.ok_or_else(|| TaskError::unknown(id, config))?;
    let (Some(result), Some(transaction)) = (&job.result, job.hash()) else {
        let state = job.state.as_str().to_owned();
        return Err(FetchError::NoResult { id: job.id, state }.into());
    };
    let bytes = result.bytes;
    if usize::try_from(bytes).map_or(true, |bytes| bytes > MAX_OUTPUT_BYTES) {
        return Err(FetchError::TooLong { id: job.id, bytes }.into());
    }
    let mut text = result.text.clone();
    let mut parts = Parts {
        db,
        job: &job,
        result,
        transaction,
        runtime: Client::new(&config.store.path),
        opener: &mut opener,
        token,
        deadline,
    };
    loop {
        seen(text.len(), bytes);
        let here = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if here >= bytes {
            break;
        }
        let part = parts.next(here).await?;
        text.push_str(part.text());
    }
    if ContentHash::of(text.as_bytes()).to_string() != result.sha256 {
        return Err(FetchError::Other(job.to).into());
    }
    Ok((job, text))
}

/// The parts of one result.
struct Parts<'a> {
    db: &'a Reader,
    job: &'a Job,
    result: &'a JobResult,
    transaction: TransactionHash,
    runtime: Client,
    opener: &'a mut Opener,
    token: Option<TokenName>,
    deadline: Instant,
}

impl Parts<'_> {
    /// Asks for the part that begins at an offset, and waits for it.
    async fn next(&mut self, offset: u64) -> Result<ResultPart, TaskError> {
        let to = who::address(&self.job.to)?;
        let mut refused = None;
        for request in 0..REQUESTS {
            let key = format!("result/{}/{offset}/{request}", self.job.id);
            let is_old = read::is_requested(self.db, &send::origin(&key))?;
            let fetch = KnownCommand::FetchResult(FetchResult { offset });
            let message = SendRequest {
                re: Some(self.transaction),
                seal: self.job.asked.sealed,
                token: self.token.clone(),
                ..SendRequest::new(to.clone(), fetch.body(), key)
            };
            // A request that was made before is not sent again.
            let sent = self.runtime.send(&self.job.from, message).await?;
            match self.wait(sent.outbox.0, offset).await {
                Err(TaskError::Fetch(
                    error @ (FetchError::Refused { .. } | FetchError::NotSent { .. }),
                )) if is_old => refused = Some(error),
                ended => return ended,
            }
        }
        let error = refused.unwrap_or_else(|| FetchError::Refused {
            to: self.job.to.clone(),
            why: "it was asked too often".to_owned(),
        });
        Err(error.into())
    }

    /// Waits for the answer to a request.
    async fn wait(&mut self, row: i64, offset: u64) -> Result<ResultPart, TaskError> {
        loop {
            self.opener.again();
            if let Some(part) = self.look(row, offset).await? {
                return Ok(part);
            }
            if Instant::now() >= self.deadline {
                return Err(FetchError::Late {
                    here: usize::try_from(offset).unwrap_or(usize::MAX),
                    bytes: self.result.bytes,
                }
                .into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The part that has answered a request, if there is an answer.
    async fn look(&mut self, row: i64, offset: u64) -> Result<Option<ResultPart>, TaskError> {
        let asked = task::asked_at(self.db, row)?;
        let Some(asked) = asked else { return Ok(None) };
        if asked.state == "failed" {
            return Err(FetchError::NotSent {
                outbox: format!("outbox/{row}"),
                why: asked.reason.unwrap_or_default(),
            }
            .into());
        }
        for carrier in task::carriers(self.db, row)? {
            for answer in task::answers(self.db, asked.agent_row, &carrier.transaction)? {
                let command = self.job.command(&answer, self.opener).await;
                match command.map_err(FetchError::Closed)? {
                    Some((KnownCommand::JobResult(part), _)) => {
                        let is_it = part.offset() == offset
                            && part.bytes() == self.result.bytes
                            && part.sha256().to_string() == self.result.sha256;
                        if !is_it {
                            return Err(FetchError::Other(self.job.to.clone()).into());
                        }
                        // It could make us pay for a request for each byte.
                        if !part.is_long_enough() {
                            return Err(FetchError::Refused {
                                to: self.job.to.clone(),
                                why: format!("a part of it has only {} bytes", part.text().len()),
                            }
                            .into());
                        }
                        return Ok(Some(part));
                    }
                    Some((KnownCommand::JobFailed(failed), _)) => {
                        let message = failed.error.message.as_ref().map(ToString::to_string);
                        return Err(FetchError::Refused {
                            to: self.job.to.clone(),
                            why: message.unwrap_or_else(|| failed.error.code.to_string()),
                        }
                        .into());
                    }
                    _ => {}
                }
            }
        }
        Ok(None)
    }
}
