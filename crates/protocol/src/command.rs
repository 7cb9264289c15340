//! The commands that agentry knows: typed, read from untrusted messages, and written.
//!
//! | part | commands |
//! |---|---|
//! | `talk` | ACK, STATUS_REPORT, STATUS; PING, PONG, WITHDRAW and CANCEL_JOB have no parameters |
//! | `card` | ANNOUNCE |
//! | `job` | EXECUTE_AI_JOB, JOB_PROGRESS, JOB_COMPLETE, JOB_FAILED |
//! | `input` | JOB_INPUT_REQUIRED, JOB_INPUT |
//! | `fetch` | FETCH_RESULT, JOB_RESULT |
//! | `sealed` | SEALED; [`sealing`](crate::sealing) makes and opens it |
//! | `field` | reading and writing one parameter |
//!
//! Every length is bounded by a named constant or by its type, so a written command reads back
//! unchanged. A parameter that is `null` counts as missing; unknown ones are ignored.

use crate::json::Json;
use crate::payload::{Command, Payload};

mod card;
mod error;
mod fetch;
mod field;
mod input;
mod job;
mod sealed;
mod talk;

pub use card::{
    Announce, CARD_MAX_AHEAD_MS, CardTimeError, DESCRIPTION_MAX, Description, ENDPOINT_URL_MAX,
    ENDPOINTS_MAX, Endpoint, Endpoints, SCHEMAS_MAX, Schemas,
};
pub use error::{CommandError, CommandFault};
pub use fetch::{FetchResult, PART_MIN, ResultPart};
pub use field::{TAGS_MAX, Tag, Tags, WORD_MAX};
pub use input::{
    ANSWER_MAX, Answer, InputNumber, JobInput, JobInputRequired, QUESTION_MAX, Question,
    SCHEMA_MAX, Schema,
};
pub use job::{
    BoundedObject, ExecuteAiJob, JobComplete, JobError, JobFailed, JobId, JobProgress, JobResult,
    MODEL_MAX, MediaType, Model, PARAMS_MAX, PARAMS_MAX_DEPTH, PROMPT_MAX, Params, Progress,
    Prompt, RESULT_MAX,
};
pub use sealed::{PLAINTEXT_MAX, SUITE, Sealed};
pub use talk::{Ack, AckStatus, DETAIL_MAX, Detail, QueueCounts, Status, StatusReport, TaskCounts};

use field::{Entries, Fields};

/// A command that agentry knows, with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownCommand {
    /// `PING`: asks for a `PONG`.
    Ping,
    /// `PONG`: answers a `PING`.
    Pong,
    /// `ACK`: acknowledges the message that the header's `re` names. It is never acknowledged.
    Ack(Ack),
    /// `STATUS_REPORT`: asks for a `STATUS`.
    StatusReport(StatusReport),
    /// `STATUS`: the state of an agent.
    Status(Status),
    /// `ANNOUNCE`: an agent's card.
    Announce(Announce),
    /// `WITHDRAW`: withdraws the card.
    Withdraw,
    /// `EXECUTE_AI_JOB`: requests a job.
    ExecuteAiJob(ExecuteAiJob),
    /// `JOB_PROGRESS`: the progress of a job.
    JobProgress(JobProgress),
    /// `JOB_COMPLETE`: the result of a job.
    JobComplete(JobComplete),
    /// `JOB_FAILED`: why a job has no result.
    JobFailed(JobFailed),
    /// `JOB_INPUT_REQUIRED`: a job asks its submitter something.
    JobInputRequired(JobInputRequired),
    /// `JOB_INPUT`: answers what the job that the header's `re` names has asked.
    JobInput(JobInput),
    /// `FETCH_RESULT`: asks for a part of the result of the job that the header's `re` names.
    FetchResult(FetchResult),
    /// `JOB_RESULT`: a part of a job's result.
    JobResult(ResultPart),
    /// `CANCEL_JOB`: cancels the job that the header's `re` names.
    CancelJob,
    /// `SEALED`: an encrypted message.
    Sealed(Sealed),
}

impl KnownCommand {
    /// Every known `cmd`, in the order of the variants.
    pub const NAMES: [&str; 17] = [
        "PING",
        "PONG",
        "ACK",
        "STATUS_REPORT",
        "STATUS",
        "ANNOUNCE",
        "WITHDRAW",
        "EXECUTE_AI_JOB",
        "JOB_PROGRESS",
        "JOB_COMPLETE",
        "JOB_FAILED",
        "JOB_INPUT_REQUIRED",
        "JOB_INPUT",
        "FETCH_RESULT",
        "JOB_RESULT",
        "CANCEL_JOB",
        "SEALED",
    ];

    /// Its `cmd`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ping => "PING",
            Self::Pong => "PONG",
            Self::Ack(_) => "ACK",
            Self::StatusReport(_) => "STATUS_REPORT",
            Self::Status(_) => "STATUS",
            Self::Announce(_) => "ANNOUNCE",
            Self::Withdraw => "WITHDRAW",
            Self::ExecuteAiJob(_) => "EXECUTE_AI_JOB",
            Self::JobProgress(_) => "JOB_PROGRESS",
            Self::JobComplete(_) => "JOB_COMPLETE",
            Self::JobFailed(_) => "JOB_FAILED",
            Self::JobInputRequired(_) => "JOB_INPUT_REQUIRED",
            Self::JobInput(_) => "JOB_INPUT",
            Self::FetchResult(_) => "FETCH_RESULT",
            Self::JobResult(_) => "JOB_RESULT",
            Self::CancelJob => "CANCEL_JOB",
            Self::Sealed(_) => "SEALED",
        }
    }

    /// Reads a command; `None` if its `cmd` is not exactly one of [`KnownCommand::NAMES`].
    ///
    /// # Errors
    /// [`CommandError`] names the parameter that is missing or wrong.
    pub fn read(command: &Command) -> Result<Option<Self>, CommandError> {
        let fields = |cmd| Fields::new(cmd, command.body.root());
        Ok(Some(match command.cmd.as_str() {
            "PING" => Self::Ping,
            "PONG" => Self::Pong,
            "ACK" => Self::Ack(Ack::read(fields("ACK"))?),
            "STATUS_REPORT" => Self::StatusReport(StatusReport::read(fields("STATUS_REPORT"))?),
            "STATUS" => Self::Status(Status::read(fields("STATUS"))?),
            "ANNOUNCE" => Self::Announce(Announce::read(fields("ANNOUNCE"))?),
            "WITHDRAW" => Self::Withdraw,
            "EXECUTE_AI_JOB" => Self::ExecuteAiJob(ExecuteAiJob::read(fields("EXECUTE_AI_JOB"))?),
            "JOB_PROGRESS" => Self::JobProgress(JobProgress::read(fields("JOB_PROGRESS"))?),
            "JOB_COMPLETE" => Self::JobComplete(JobComplete::read(fields("JOB_COMPLETE"))?),
            "JOB_FAILED" => Self::JobFailed(JobFailed::read(fields("JOB_FAILED"))?),
            "JOB_INPUT_REQUIRED" => {
                Self::JobInputRequired(JobInputRequired::read(fields("JOB_INPUT_REQUIRED"))?)
            }
            "JOB_INPUT" => Self::JobInput(JobInput::read(fields("JOB_INPUT"))?),
            "FETCH_RESULT" => Self::FetchResult(FetchResult::read(fields("FETCH_RESULT"))?),
            "JOB_RESULT" => Self::JobResult(ResultPart::read(fields("JOB_RESULT"))?),
            "CANCEL_JOB" => Self::CancelJob,
            "SEALED" => Self::Sealed(Sealed::read(fields("SEALED"))?),
            _ => return Ok(None),
        }))
    }

    /// The object that is sent, without a header: `cmd` and the parameters.
    pub fn body(&self) -> Json {
        let mut entries = Entries::default();
        entries.json("cmd", Json::string(self.name()));
        match self {
            Self::Ping | Self::Pong | Self::Withdraw | Self::CancelJob => {}
            Self::Ack(ack) => ack.write(&mut entries),
            Self::StatusReport(report) => report.write(&mut entries),
            Self::Status(status) => status.write(&mut entries),
            Self::Announce(card) => card.write(&mut entries),
            Self::ExecuteAiJob(job) => job.write(&mut entries),
            Self::JobProgress(progress) => progress.write(&mut entries),
            Self::JobComplete(complete) => complete.write(&mut entries),
            Self::JobFailed(failed) => failed.write(&mut entries),
            Self::JobInputRequired(required) => required.write(&mut entries),
            Self::JobInput(input) => input.write(&mut entries),
            Self::FetchResult(fetch) => fetch.write(&mut entries),
            Self::JobResult(part) => part.write(&mut entries),
            Self::Sealed(sealed) => sealed.write(&mut entries),
        }
        entries.finish()
    }

    /// The command as a payload, from which [`compose`](crate::message::compose) makes the one to
    /// be sent.
    pub fn to_payload(&self) -> Payload {
        Payload::Command(Command {
            cmd: self.name().to_owned(),
            body: self.body(),
        })
    }

    /// Whether it answers a question, so that it counts only if the agent that was asked sent it.
    pub fn is_answer(&self) -> bool {
        Self::names_answer(self.name())
    }

    /// Whether a command of that `cmd` answers a question, whatever its parameters.
    pub fn names_answer(cmd: &str) -> bool {
        matches!(
            cmd,
            "PONG"
                | "ACK"
                | "STATUS"
                | "JOB_PROGRESS"
                | "JOB_COMPLETE"
                | "JOB_FAILED"
                | "JOB_INPUT_REQUIRED"
                | "JOB_RESULT"
        )
    }
}
