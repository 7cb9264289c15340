//! A requested job, read from the store alone.
//!
//! A job is a message in the outbox whose command is EXECUTE_AI_JOB (or that is sealed, and was
//! sent by `task submit`), together with its answers: verified messages in blocks from the
//! recipient, whose `re` names a transaction that carried the job.

use agentry_protocol::command::{AckStatus, ExecuteAiJob, JobComplete, JobFailed, JobId};
use agentry_protocol::{
    Address, Envelope, Json, KnownCommand, Limits, Payload, StoredTransaction, TransactionHash,
};
use agentry_store::Reader;
use agentry_store::list::task::{self, AnswerItem, AskedItem, Carrier, OPERATORS_JOBS};
use serde::Serialize;

use super::super::Failure;
use super::sealed::Opener;

/// State of a job, in A2A's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum JobState {
    /// Requested
    Submitted,
    /// Started: progress or its acceptance was seen
    Working,
    /// Completed
    Completed,
    /// Failed
    Failed,
    /// Canceled
    Canceled,
    /// Rejected
    Rejected,
}

impl JobState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Working => "working",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Rejected => "rejected",
        }
    }

    pub(super) const fn is_open(self) -> bool {
        matches!(self, Self::Submitted | Self::Working)
    }
}

/// The request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Asked {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) model: Option<String>,
    pub(super) params: Option<serde_json::Value>,
    #[serde(rename = "deadline_at")]
    pub(super) deadline: Option<u64>,
    /// Whether it was sealed: then only its type is known, and only if `task submit` sent it.
    pub(super) sealed: bool,
}

/// A message that ended a job.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Ended {
    pub(super) transaction: String,
    pub(super) height: Option<u64>,
    /// When it was seen.
    #[serde(rename = "seen_at")]
    pub(super) at: u64,
    pub(super) sealed: bool,
}

/// A result, as far as it was received.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) text: String,
    pub(super) whole: bool,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) media_type: Option<String>,
    pub(super) duration_ms: Option<u64>,
    /// Why the result is incomplete.
    pub(super) incomplete: Option<String>,
}

/// Why there is no result.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Reason {
    pub(super) code: String,
    pub(super) message: Option<String>,
}

/// A requested job.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) result_id: Option<String>,
    pub(super) state: JobState,
    pub(super) agent: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) asked: Asked,
    pub(super) asked_at: u64,
    /// The transaction by which the recipient identifies it: the first that was mined, or before
    /// that, the last that carried it.
    pub(super) transaction: Option<String>,
    /// The first block that holds it.
    pub(super) height: Option<u64>,
    pub(super) transactions: Vec<Carrier>,
    /// Why it has not been sent yet, if so.
    pub(super) waits: Option<String>,
    /// What the recipient acknowledged, if an acknowledgment was requested.
    pub(super) acknowledged: Option<String>,
    pub(super) progress: Option<f64>,
    pub(super) note: Option<String>,
    pub(super) ended: Option<Ended>,
    pub(super) result: Option<Outcome>,
    pub(super) error: Option<Reason>,
    /// How many answers are sealed and could not be opened.
    pub(super) sealed_answers: usize,
    /// Why they could not be opened.
    pub(super) closed_because: Option<String>,
}

/// Finds the job with this name; `None` if there is none.
pub(super) fn find(db: &Reader, name: &str, opener: &mut Opener) -> Result<Option<Job>, Failure> {
    let row = match name.strip_prefix("outbox/") {
        Some(row) => row.parse().ok(),
        None => task::row_of(db, &name.to_ascii_lowercase())?,
    };
    let item = match row {
        Some(row) => task::asked_at(db, row)?,
        None => None,
    };
    match item {
        Some(item) => read(db, &item, opener),
        None => Ok(None),
    }
}

/// The job that a message requests; `None` if it requests none.
pub(super) fn read(
    db: &Reader,
    item: &AskedItem,
    opener: &mut Opener,
) -> Result<Option<Job>, Failure> {
    let Some(asked) = asked(item) else {
        return Ok(None);
    };
    let transactions = task::carriers(db, item.row)?;
    let mut answers = Vec::new();
    for carrier in &transactions {
        answers.extend(task::answers(db, item.agent_row, &carrier.transaction)?);
    }
    answers.sort_by_key(|answer| (answer.height, answer.row));
    let first = transactions.first().map(|one| one.transaction.clone());
    let mut job = Job {
        id: format!("outbox/{}", item.row),
        result_id: item.message_id.clone().or(first),
        state: JobState::Submitted,
        agent: item.agent.clone(),
        from: item.from.clone(),
        to: item.to.clone(),
        asked,
        asked_at: item.created_at,
        transaction: transactions
            .iter()
            .filter(|one| one.height.is_some())
            .min_by_key(|one| one.height)
            .or(transactions.last())
            .map(|one| one.transaction.clone()),
        height: transactions.iter().find_map(|one| one.height),
        transactions,
        waits: item
            .reason
            .clone()
            .filter(|_| item.state == "queued" || item.state == "prepared"),
        acknowledged: item
            .receipt
            .clone()
            .filter(|receipt| receipt != "open" && receipt != "unsent"),
        progress: None,
        note: None,
        ended: None,
        result: None,
        error: None,
        sealed_answers: 0,
        closed_because: None,
    };
    for answer in &answers {
        job.add_answer(answer, opener);
    }
    job.conclude(item);
    Ok(Some(job))
}

fn asked(item: &AskedItem) -> Option<Asked> {
    let payload = Json::parse(item.payload.as_bytes(), Limits::default()).ok()?;
    let Payload::Command(command) = Payload::read(&payload) else {
        return None;
    };
    match KnownCommand::read(&command) {
        Ok(Some(KnownCommand::ExecuteAiJob(job))) => Some(open_job(&job)),
        Ok(Some(KnownCommand::Sealed(_))) => {
            let rest = item.origin.strip_prefix(OPERATORS_JOBS)?;
            Some(Asked {
                kind: rest.split_once('/').map(|(_, kind)| kind.to_owned()),
                prompt: None,
                model: None,
                params: None,
                deadline: None,
                sealed: true,
            })
        }
        _ => None,
    }
}

fn open_job(job: &ExecuteAiJob) -> Asked {
    Asked {
        kind: Some(job.kind.to_string()),
        prompt: job.prompt.as_ref().map(ToString::to_string),
        model: job.model.as_ref().map(ToString::to_string),
        params: job
            .params
            .as_ref()
            .map(|params| shown_params(params.as_json())),
        deadline: job.deadline,
        sealed: false,
    }
}

/// The parameters of a job; if a number in them would lose digits, the original text.
fn shown_params(params: &Json) -> serde_json::Value {
    let value = params.root().decode();
    value.unwrap_or_else(|_| params.to_compact().into())
}

impl Job {
    /// Adds an answer. Only the first final answer counts.
    fn add_answer(&mut self, answer: &AnswerItem, opener: &mut Opener) {
        let Some((envelope, from)) = envelope(answer) else {
            return;
        };
        let key = envelope.header().and_then(|header| header.key);
        let asked = self.to.parse::<Address>();
        let is_asked = answer.from == self.to
            || asked.is_ok_and(|asked| {
                key.is_some_and(|key| asked.matches(&key) && from.matches(&key))
            });
        let Payload::Command(command) = envelope.payload else {
            return;
        };
        if !is_asked {
            return;
        }
        let (command, sealed) = match KnownCommand::read(&command) {
            Ok(Some(KnownCommand::Sealed(_))) => match opener.open(answer.row) {
                Ok(Payload::Command(command)) => (KnownCommand::read(&command), true),
                Ok(_) => return,
                Err(why) => {
                    self.sealed_answers += 1;
                    self.closed_because = Some(why);
                    return;
                }
            },
            read => (read, false),
        };
        if self.ended.is_some() {
            return;
        }
        let ended = Ended {
            transaction: answer.hash.clone(),
            height: answer.height,
            at: answer.seen_at,
            sealed,
        };
        match command {
            Ok(Some(KnownCommand::JobProgress(progress))) => {
                self.state = JobState::Working;
                self.progress = Some(progress.progress.get());
                self.note = progress.note.map(|note| note.to_string());
            }
            Ok(Some(KnownCommand::Ack(ack))) if ack.status == AckStatus::Accepted => {
                self.state = JobState::Working;
            }
            Ok(Some(KnownCommand::JobComplete(complete))) => self.complete(&complete, ended),
            Ok(Some(KnownCommand::JobFailed(failed))) => self.fail(&failed, ended),
            _ => {}
        }
    }

    fn complete(&mut self, complete: &JobComplete, ended: Ended) {
        self.state = JobState::Completed;
        self.ended = Some(ended);
        self.result = Some(Outcome {
            text: complete.result.text().to_owned(),
            whole: complete.result.is_whole(),
            bytes: complete.result.bytes(),
            sha256: complete.result.sha256().to_string(),
            media_type: complete.media_type.as_ref().map(ToString::to_string),
            duration_ms: complete.duration_ms,
            incomplete: complete.incomplete.as_ref().map(ToString::to_string),
        });
    }

    fn fail(&mut self, failed: &JobFailed, ended: Ended) {
        self.state = if failed.error.is_canceled() {
            JobState::Canceled
        } else if failed.error.is_refusal() {
            JobState::Rejected
        } else {
            JobState::Failed
        };
        self.ended = Some(ended);
        self.error = Some(Reason {
            code: failed.error.code.to_string(),
            message: failed.error.message.as_ref().map(ToString::to_string),
        });
    }

    /// The state of a job without a final answer, from its transaction and from what its recipient
    /// acknowledged.
    fn conclude(&mut self, item: &AskedItem) {
        if self.ended.is_some() {
            return;
        }
        let (state, code, message) = match (item.state.as_str(), item.receipt.as_deref()) {
            ("failed", _) => (JobState::Failed, "unsent", item.reason.clone()),
            (_, Some("rejected")) => (JobState::Rejected, "rejected", item.receipt_detail.clone()),
            (_, Some("expired")) => (JobState::Failed, "expired", item.receipt_detail.clone()),
            (_, Some("failed")) => (JobState::Failed, "failed", item.receipt_detail.clone()),
            (_, Some("accepted")) => {
                self.state = JobState::Working;
                return;
            }
            _ => return,
        };
        self.state = state;
        self.error = Some(Reason {
            code: code.to_owned(),
            message,
        });
    }

    /// The transaction by which others identify it.
    pub(super) fn hash(&self) -> Option<TransactionHash> {
        self.transaction.as_deref()?.parse().ok()
    }
}

fn envelope(answer: &AnswerItem) -> Option<(Envelope, Address)> {
    let stored = StoredTransaction::parse(answer.transaction.as_bytes(), Limits::default()).ok()?;
    Some((Envelope::read(&stored.payload), stored.from))
}

/// A name by which others may identify a job: an id or a hash.
pub(super) fn is_name(text: &str) -> bool {
    text.parse::<JobId>().is_ok()
}
