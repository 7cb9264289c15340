//! A requested job, read from the store alone.
//!
//! A job is a message in the outbox whose command is EXECUTE_AI_JOB (or that is sealed, and was
//! sent by `task submit`), together with its answers: verified messages in blocks from the
//! recipient, whose `re` names a transaction that carried the job.

use agentry_protocol::command::{AckStatus, ExecuteAiJob, JobComplete, JobFailed};
use agentry_protocol::{
    Address, Envelope, Json, KnownCommand, Limits, Payload, StoredTransaction, Timestamp,
    TransactionHash,
};
use agentry_store::list::task::{self, AnswerItem, AskedItem, Carrier, OPERATORS_JOBS};
use agentry_store::{Reader, StoreError, read as store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::sealed::Opener;

/// How many messages are read from the store at a time.
const PAGE: u64 = 200;

/// How many are read at a time for a page: each may be as large as a transaction can be.
const FEW: u64 = 16;

/// State of a job, in A2A's terms.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Requested
    Submitted,
    /// Started: progress or its acceptance was seen
    Working,
    /// Waiting for an answer: `task answer` gives it
    #[serde(rename = "input-required")]
    InputRequired,
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
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Working => "working",
            Self::InputRequired => "input-required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Rejected => "rejected",
        }
    }

    /// Whether the job has not ended yet.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Submitted | Self::Working | Self::InputRequired)
    }
}

/// What a job asks for.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Asked {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The prompt.
    pub prompt: Option<String>,
    /// The model that should answer.
    pub model: Option<String>,
    /// Parameters for the executor.
    pub params: Option<serde_json::Value>,
    /// Until when the result is useful.
    #[serde(rename = "deadline_at")]
    #[schemars(with = "Option<u64>")]
    pub deadline: Option<Timestamp>,
    /// Whether it was sealed: then only its type is known, and only if `task submit` sent it.
    pub sealed: bool,
}

/// A message that ended a job.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Ended {
    /// Its transaction.
    pub transaction: String,
    /// The block that holds it.
    pub height: Option<u64>,
    /// When it was seen.
    #[serde(rename = "seen_at")]
    #[schemars(with = "u64")]
    pub at: Timestamp,
    /// Whether it was sealed.
    pub sealed: bool,
}

/// A result, as far as it was received.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct JobResult {
    /// The text that was received.
    pub text: String,
    /// Whether that is all of it.
    pub whole: bool,
    /// The length of all of it.
    pub bytes: u64,
    /// The digest of all of it.
    pub sha256: String,
    /// What kind of text it is.
    pub media_type: Option<String>,
    /// How long the execution took.
    pub duration_ms: Option<u64>,
    /// Why the result is incomplete.
    pub incomplete: Option<String>,
}

/// A question that a job asks.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct JobQuestion {
    /// Its number, from 1.
    pub number: u32,
    /// The question.
    pub question: String,
    /// What the answer must look like: a JSON Schema.
    pub schema: Option<serde_json::Value>,
    /// The time after which the job no longer waits.
    #[serde(rename = "until_at")]
    #[schemars(with = "Option<u64>")]
    pub until: Option<Timestamp>,
    /// Whether an answer was sent from here.
    pub answered: bool,
}

/// Why there is no result.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct JobError {
    /// The code, for programs.
    pub code: String,
    /// The explanation.
    pub message: Option<String>,
}

/// How a transaction that carried a job is written.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what the store's type serialises")]
struct JobTransaction {
    /// Its hash.
    transaction: String,
    /// Its state: `prepared`, `accepted`, `mined`, `final` or `failed`.
    state: String,
    /// The block that holds it.
    height: Option<u64>,
    /// When it was seen in a block.
    mined_at: Option<u64>,
}

/// A requested job.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Job {
    /// Its row, as `outbox/12`.
    pub id: String,
    /// The id under which its result is known.
    pub result_id: Option<String>,
    /// Its state.
    pub state: JobState,
    /// The agent that requested it.
    pub agent: String,
    /// The agent's address.
    pub from: String,
    /// Who is to do it.
    pub to: String,
    /// The conversation that it belongs to.
    pub thread: Option<String>,
    /// What it asks for.
    pub asked: Asked,
    /// When it was requested.
    #[schemars(with = "u64")]
    pub asked_at: Timestamp,
    /// The transaction by which the recipient identifies it: the first that was mined, or before
    /// that, the last that carried it.
    pub transaction: Option<String>,
    /// The first block that holds it.
    pub height: Option<u64>,
    /// The transactions that carried it.
    #[schemars(with = "Vec<JobTransaction>")]
    pub transactions: Vec<Carrier>,
    /// Why it has not been sent yet, if so.
    pub waits: Option<String>,
    /// What the recipient acknowledged, if an acknowledgment was requested.
    pub acknowledged: Option<String>,
    /// Its progress, from 0 to 1.
    pub progress: Option<f64>,
    /// The note of the last progress report.
    pub note: Option<String>,
    /// Its last question.
    pub input: Option<JobQuestion>,
    /// The message that ended it.
    pub ended: Option<Ended>,
    /// Its result.
    pub result: Option<JobResult>,
    /// Why it has no result.
    pub error: Option<JobError>,
    /// How many answers are sealed and could not be opened.
    pub sealed_answers: usize,
    /// Why they could not be opened.
    pub closed_because: Option<String>,
}

/// Jobs, newest first.
#[derive(Clone, Debug, Serialize)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Whether there are more than the limit.
    pub more: bool,
}

/// Lists the newest jobs, up to a limit; only those in a state, if one is given.
///
/// # Errors
/// The store's.
pub async fn list(
    db: &Reader,
    state: Option<JobState>,
    limit: u64,
    opener: &mut Opener,
) -> Result<JobList, StoreError> {
    let enough = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut jobs: Vec<Job> = Vec::new();
    let mut before = i64::MAX;
    // One more than the limit shows whether there are others.
    while jobs.len() <= enough {
        let page = task::asked(db, before, PAGE)?;
        let Some(last) = page.last() else {
            break;
        };
        before = last.row;
        for item in page {
            let Some(job) = read(db, &item, opener).await? else {
                continue;
            };
            if jobs.len() <= enough && state.is_none_or(|state| job.state == state) {
                jobs.push(job);
            }
        }
    }
    let more = jobs.len() > enough;
    jobs.truncate(enough);
    Ok(JobList { jobs, more })
}

/// How many messages that may request jobs are read for one page.
const PAGE_READS: u64 = 2_000;

/// A page ends after this many bytes of prompts and results, or after the one job that exceeds them.
const PAGE_BYTES: usize = 1 << 20;

/// Jobs of some agents, newest first.
#[derive(Clone, Debug)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// The row before which the next page begins; `None` if there are no more jobs.
    pub next: Option<i64>,
}

/// Reads the newest jobs that agents at these addresses requested in rows before `before`, up to a
/// limit; only those in a state, if one is given. A page may have fewer jobs than the limit, or none,
/// although there are more.
///
/// # Errors
/// The store's.
pub async fn page(
    db: &Reader,
    is_wanted: impl Fn(&str) -> bool,
    state: Option<JobState>,
    (mut before, limit): (i64, usize),
    opener: &mut Opener,
) -> Result<JobPage, StoreError> {
    let mut jobs: Vec<Job> = Vec::new();
    let (mut reads, mut bytes) = (0, 0);
    while reads < PAGE_READS {
        let page = task::asked(db, before, FEW)?;
        if page.is_empty() {
            return Ok(JobPage { jobs, next: None });
        }
        for item in page {
            reads += 1;
            before = item.row;
            if !is_wanted(&item.from) {
                continue;
            }
            if let Some(job) = read(db, &item, opener).await?
                && state.is_none_or(|state| job.state == state)
            {
                bytes += job.bytes();
                jobs.push(job);
                if jobs.len() == limit || bytes >= PAGE_BYTES {
                    let next = Some(before);
                    return Ok(JobPage { jobs, next });
                }
            }
        }
    }
    let next = Some(before);
    Ok(JobPage { jobs, next })
}

/// Finds a job by its row (`outbox/12`), the hash of a transaction that carried it, or its id;
/// `None` if there is none.
///
/// # Errors
/// The store's.
pub async fn find(db: &Reader, name: &str, opener: &mut Opener) -> Result<Option<Job>, StoreError> {
    let row = match name.strip_prefix("outbox/") {
        Some(row) => row.parse().ok(),
        None => task::row_of(db, &name.to_ascii_lowercase())?,
    };
    let item = match row {
        Some(row) => task::asked_at(db, row)?,
        None => None,
    };
    match item {
        Some(item) => read(db, &item, opener).await,
        None => Ok(None),
    }
}

/// The job that a message requests; `None` if it requests none.
async fn read(
    db: &Reader,
    item: &AskedItem,
    opener: &mut Opener,
) -> Result<Option<Job>, StoreError> {
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
        thread: thread(item),
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
        input: None,
        ended: None,
        result: None,
        error: None,
        sealed_answers: 0,
        closed_because: None,
    };
    for answer in &answers {
        job.add_answer(answer, opener).await;
    }
    if let Some(input) = &mut job.input {
        let key = answer_key(&job.id, input.number);
        input.answered = store::is_requested(db, &super::super::send::origin(&key))?;
        if input.answered && job.state == JobState::InputRequired {
            job.state = JobState::Working;
        }
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

/// The conversation that a message belongs to.
pub fn thread(item: &AskedItem) -> Option<String> {
    let payload = Json::parse(item.payload.as_bytes(), Limits::default()).ok()?;
    let thread = Envelope::read(&payload).header()?.thread.clone();
    thread.map(|thread| thread.to_string())
}

fn open_job(job: &ExecuteAiJob) -> Asked {
    Asked {
        kind: Some(job.kind.to_string()),
        prompt: job.prompt.as_ref().map(ToString::to_string),
        model: job.model.as_ref().map(ToString::to_string),
        params: job.params.as_ref().map(|params| shown(params.as_json())),
        deadline: job.deadline,
        sealed: false,
    }
}

/// JSON to be shown; if a number in it would lose digits, the original text.
fn shown(json: &Json) -> serde_json::Value {
    let value = json.root().decode();
    value.unwrap_or_else(|_| json.to_compact().into())
}

/// The key of the request that answers a question of a job: each has one answer.
pub(super) fn answer_key(job: &str, number: u32) -> String {
    format!("answer/{job}/{number}")
}

impl Job {
    /// Adds an answer. Only the first final answer counts.
    async fn add_answer(&mut self, answer: &AnswerItem, opener: &mut Opener) {
        let (command, sealed) = match self.command(answer, opener).await {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(why) => {
                self.sealed_answers += 1;
                self.closed_because = Some(why);
                return;
            }
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
            KnownCommand::JobProgress(progress) => {
                self.state = JobState::Working;
                self.progress = Some(progress.progress.get());
                self.note = progress.note.map(|note| note.to_string());
            }
            KnownCommand::Ack(ack) if ack.status == AckStatus::Accepted => {
                self.state = JobState::Working;
            }
            KnownCommand::JobInputRequired(required) => {
                self.state = JobState::InputRequired;
                self.input = Some(JobQuestion {
                    number: required.number.get(),
                    question: required.question.to_string(),
                    schema: required
                        .schema
                        .as_ref()
                        .map(|schema| shown(schema.as_json())),
                    until: required.until,
                    answered: false,
                });
            }
            KnownCommand::JobComplete(complete) => self.complete(&complete, ended),
            KnownCommand::JobFailed(failed) => self.fail(&failed, ended),
            _ => {}
        }
    }

    /// The command that an answer of the job's recipient holds, and whether it was sealed; none if
    /// it holds none that is valid, or is somebody else's.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub(super) async fn command(
        &self,
        answer: &AnswerItem,
        opener: &mut Opener,
    ) -> Result<Option<(KnownCommand, bool)>, String> {
        let Some((envelope, from)) = envelope(answer) else {
            return Ok(None);
        };
        let key = envelope.header().and_then(|header| header.key);
        let asked = self.to.parse::<Address>();
        let is_asked = answer.from == self.to
            || asked.is_ok_and(|asked| {
                key.is_some_and(|key| asked.matches(&key) && from.matches(&key))
            });
        let Payload::Command(command) = envelope.payload else {
            return Ok(None);
        };
        if !is_asked {
            return Ok(None);
        }
        let (read, sealed) = match KnownCommand::read(&command) {
            Ok(Some(KnownCommand::Sealed(_))) => match opener.open(answer.row).await? {
                Payload::Command(command) => (KnownCommand::read(&command), true),
                _ => return Ok(None),
            },
            read => (read, false),
        };
        Ok(read.ok().flatten().map(|command| (command, sealed)))
    }

    fn complete(&mut self, complete: &JobComplete, ended: Ended) {
        self.state = JobState::Completed;
        self.ended = Some(ended);
        self.result = Some(JobResult {
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
        self.error = Some(JobError {
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
        self.error = Some(JobError {
            code: code.to_owned(),
            message,
        });
    }

    /// About how many bytes of content it has.
    fn bytes(&self) -> usize {
        let texts = [&self.asked.prompt, &self.note];
        let texts = texts.into_iter().flatten().map(String::len);
        let result = self.result.as_ref().map_or(0, |result| result.text.len());
        let params = self.asked.params.as_ref();
        let params = params.map_or(0, |params| params.to_string().len());
        texts.sum::<usize>() + result + params
    }

    /// Whether it is signed, or has ended without that.
    pub const fn is_sent(&self) -> bool {
        self.transaction.is_some() || !self.state.is_open()
    }

    /// The transaction by which others identify it.
    pub fn hash(&self) -> Option<TransactionHash> {
        self.transaction.as_deref()?.parse().ok()
    }
}

fn envelope(answer: &AnswerItem) -> Option<(Envelope, Address)> {
    let stored = StoredTransaction::parse(answer.transaction.as_bytes(), Limits::default()).ok()?;
    Some((stored.envelope(), stored.from))
}
