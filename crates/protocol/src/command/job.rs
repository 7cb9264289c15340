//! EXECUTE_AI_JOB and its answers.

use std::fmt;
use std::str::FromStr;

use super::error::{CommandError, CommandFault};
use super::field::{Entries, Fields, Tag, count, parsed, time};
use super::talk::Detail;
use crate::bounded::{Bounded, Word, cut};
use crate::hash::{ContentHash, TransactionHash};
use crate::header::{MessageId, MessageIdError};
use crate::json::{Json, JsonRef, Limits};
use crate::timestamp::Timestamp;

/// Longest prompt, in bytes. With the longest [`Params`] it fills little over half of a
/// transaction, which leaves room for escapes.
pub const PROMPT_MAX: usize = 256 << 10;

/// Longest parameters of a job, in bytes of their compact canonical JSON: as long as a prompt.
pub const PARAMS_MAX: usize = 256 << 10;

/// Deepest nesting of a job's parameters. An executor passes them to programs whose JSON parsers
/// recurse; their usual limit is 128 or more.
pub const PARAMS_MAX_DEPTH: usize = 64;

/// Longest result in a message, in bytes: as long as a prompt, since the result of one job may be
/// the prompt of the next. A longer one is truncated.
pub const RESULT_MAX: usize = 256 << 10;

/// Longest name of a model, in bytes: a path in a registry with a tag.
pub const MODEL_MAX: usize = 256;

/// The prompt of a job: at most 256 KiB.
pub type Prompt = Bounded<PROMPT_MAX>;

/// The name of a model: 1 to 256 printable ASCII characters.
pub type Model = Word<MODEL_MAX>;

/// A media type (RFC 6838), such as `text/plain; charset=utf-8`: 1 to 256 printable ASCII
/// characters.
pub type MediaType = Word<256>;

/// More parameters of a job.
pub type Params = BoundedObject<PARAMS_MAX>;

/// An object of at most `MAX` bytes, as compact canonical JSON, and [`PARAMS_MAX_DEPTH`] levels, in
/// which no key occurs twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundedObject<const MAX: usize>(Json);

impl<const MAX: usize> BoundedObject<MAX> {
    /// Checks an object.
    ///
    /// # Errors
    /// [`CommandFault::Type`] and [`CommandFault::TooLarge`].
    pub fn new(object: Json) -> Result<Self, CommandFault> {
        if !fits(&object, MAX)? || !object.root().is_object() {
            return Err(CommandFault::Type {
                expected: "an object of at most 64 levels with no key twice",
            });
        }
        Ok(Self(object))
    }

    /// The object.
    pub fn as_json(&self) -> &Json {
        &self.0
    }

    pub(super) fn read(value: JsonRef<'_>) -> Result<Self, CommandFault> {
        Self::new(value.to_json())
    }
}

/// Whether JSON has at most [`PARAMS_MAX_DEPTH`] levels, and no key twice in an object.
pub(super) fn fits(json: &Json, limit: usize) -> Result<bool, CommandFault> {
    let text = json.to_compact();
    let found = text.len();
    if found > limit {
        return Err(CommandFault::TooLarge { found, limit });
    }
    let limits = Limits {
        max_bytes: limit,
        max_depth: PARAMS_MAX_DEPTH,
    };
    Ok(!json.has_duplicate_keys() && Json::parse(text.as_bytes(), limits).is_ok())
}

/// The parameters of EXECUTE_AI_JOB, which requests a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecuteAiJob {
    /// `type`: the kind of job, which selects its executor.
    pub kind: Tag,
    /// The prompt.
    pub prompt: Option<Prompt>,
    /// The model that should answer.
    pub model: Option<Model>,
    /// Further parameters for the executor.
    pub params: Option<Params>,
    /// The deadline after which the result is useless.
    pub deadline: Option<Timestamp>,
}

impl ExecuteAiJob {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        Ok(Self {
            kind: fields.required("type", parsed)?,
            prompt: fields.optional("prompt", parsed)?,
            model: fields.optional("model", parsed)?,
            params: fields.optional("params", Params::read)?,
            deadline: fields.optional("deadline", time)?,
        })
    }

    pub(super) fn write(&self, entries: &mut Entries) {
        entries.text("type", &self.kind);
        entries.optional_text("prompt", self.prompt.as_ref());
        entries.optional_text("model", self.model.as_ref());
        if let Some(params) = &self.params {
            entries.json("params", params.0.clone());
        }
        entries.time("deadline", self.deadline);
    }
}

/// The name of a job in the messages about it (`result_id`): the id of the message that requested
/// it, or, if it had none, the hash of its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobId {
    /// The id of the message.
    Message(MessageId),
    /// The hash of the transaction.
    Transaction(TransactionHash),
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(id) => fmt::Display::fmt(id, formatter),
            Self::Transaction(hash) => fmt::Display::fmt(hash, formatter),
        }
    }
}

impl FromStr for JobId {
    type Err = MessageIdError;

    /// Reads either form; the error is about a message id, which most jobs have.
    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        match text.parse() {
            Ok(hash) => Ok(Self::Transaction(hash)),
            Err(_) => text.parse().map(Self::Message),
        }
    }
}

/// The progress of a job: a number from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Progress(f64);

// Never NaN.
impl Eq for Progress {}

impl Progress {
    /// The progress for a number; None unless it is from 0 to 1.
    pub fn new(part: f64) -> Option<Self> {
        // Adding 0 turns -0 into 0.
        (0.0..=1.0).contains(&part).then_some(Self(part + 0.0))
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// The parameters of JOB_PROGRESS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobProgress {
    /// The job.
    pub result_id: JobId,
    /// How far it is.
    pub progress: Progress,
    /// More, for a person.
    pub note: Option<Detail>,
}

impl JobProgress {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        Ok(Self {
            result_id: fields.required("result_id", parsed)?,
            progress: fields.required("progress", |value| {
                let part = value.as_f64().and_then(Progress::new);
                part.ok_or(CommandFault::Type {
                    expected: "a number from 0 to 1",
                })
            })?,
            note: fields.optional("note", parsed)?,
        })
    }

    pub(super) fn write(&self, entries: &mut Entries) {
        entries.text("result_id", &self.result_id);
        // A progress is finite, as a float in JSON has to be.
        let progress = Json::float(self.progress.0).unwrap_or_else(|_| Json::integer(0));
        entries.json("progress", progress);
        entries.optional_text("note", self.note.as_ref());
    }
}

/// The result of a job as a message carries it: its beginning, and the length and hash of all of
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobResult {
    text: Box<str>,
    bytes: u64,
    sha256: ContentHash,
}

impl JobResult {
    /// Truncates a whole result to what fits in `inline_limit` bytes and in [`RESULT_MAX`].
    pub fn cut(whole: &str, inline_limit: usize) -> Self {
        Self {
            text: cut(whole, inline_limit.min(RESULT_MAX)).into(),
            bytes: u64::try_from(whole.len()).unwrap_or(u64::MAX),
            sha256: ContentHash::of(whole.as_bytes()),
        }
    }

    /// The part of the result that the message carries.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Length of the whole result, in bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// SHA-256 of the whole result.
    pub const fn sha256(&self) -> &ContentHash {
        &self.sha256
    }

    /// Whether the message carries the whole result.
    pub fn is_whole(&self) -> bool {
        u64::try_from(self.text.len()) == Ok(self.bytes)
    }

    fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        let text: Bounded<RESULT_MAX> = fields.required("result", parsed)?;
        let bytes = fields.required("result_bytes", count)?;
        let sha256 = fields.required("result_sha256", parsed)?;
        let result = Self {
            text: text.as_str().into(),
            bytes,
            sha256,
        };
        let contradicts = |field| Err(fields.error(field, CommandFault::Contradiction));
        if u64::try_from(result.text.len()).is_ok_and(|here| here > bytes) {
            return contradicts("result_bytes");
        }
        if result.is_whole() && ContentHash::of(result.text.as_bytes()) != sha256 {
            return contradicts("result_sha256");
        }
        Ok(result)
    }
}

/// The parameters of JOB_COMPLETE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobComplete {
    /// The job.
    pub result_id: JobId,
    /// `result`, `result_bytes`, `result_sha256`.
    pub result: JobResult,
    /// The media type of the result.
    pub media_type: Option<MediaType>,
    /// How long the job took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Why the result is incomplete, as a word for programs: `length`, if the model reached its
    /// limit before it had finished.
    pub incomplete: Option<Tag>,
}

impl JobComplete {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        Ok(Self {
            result_id: fields.required("result_id", parsed)?,
            result: JobResult::read(fields)?,
            media_type: fields.optional("media_type", parsed)?,
            duration_ms: fields.optional("duration_ms", count)?,
            incomplete: fields.optional("incomplete", parsed)?,
        })
    }

    pub(super) fn write(&self, entries: &mut Entries) {
        entries.text("result_id", &self.result_id);
        entries.text("result", &self.result.text);
        entries.count("result_bytes", Some(self.result.bytes));
        entries.text("result_sha256", &self.result.sha256);
        entries.optional_text("media_type", self.media_type.as_ref());
        entries.count("duration_ms", self.duration_ms);
        entries.optional_text("incomplete", self.incomplete.as_ref());
    }
}

/// Codes of [`JobError`] that mean that a job was not accepted.
const REFUSALS: [&str; 5] = [
    "not-allowed",
    "bad-parameters",
    "unknown-type",
    "too-large",
    "busy",
];

/// The other codes of [`JobError`] whose meaning the protocol defines.
const ENDS: [&str; 5] = [
    "deadline",
    "timeout",
    "input-timeout",
    "interrupted",
    CANCELED,
];

/// The code that means that a job was cancelled.
const CANCELED: &str = "canceled";

/// Why a job has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobError {
    /// A word for programs, such as `timeout`.
    pub code: Tag,
    /// More, for a person.
    pub message: Option<Detail>,
}

impl JobError {
    /// Whether it means that the job was not accepted.
    pub fn is_refusal(&self) -> bool {
        REFUSALS.contains(&self.code.as_str())
    }

    /// Whether it means that the job was cancelled.
    pub fn is_canceled(&self) -> bool {
        self.code.as_str() == CANCELED
    }

    /// Whether the protocol defines the meaning of a code, so that an executor cannot use it for
    /// something else.
    pub fn is_reserved(code: &str) -> bool {
        REFUSALS.contains(&code) || ENDS.contains(&code)
    }
}

/// The parameters of JOB_FAILED.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFailed {
    /// The job.
    pub result_id: JobId,
    /// Why it failed.
    pub error: JobError,
}

impl JobFailed {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        let result_id = fields.required("result_id", parsed)?;
        let Some(error) = fields.object("error")? else {
            return Err(fields.error("error", CommandFault::Missing));
        };
        let error = JobError {
            code: error.required("error.code", parsed)?,
            message: error.optional("error.message", parsed)?,
        };
        Ok(Self { result_id, error })
    }

    pub(super) fn write(&self, entries: &mut Entries) {
        entries.text("result_id", &self.result_id);
        let mut error = Entries::default();
        error.text("code", &self.error.code);
        error.optional_text("message", self.error.message.as_ref());
        entries.json("error", error.finish());
    }
}
