//! The answers to the submitter of a job.

use agentry_sdk::protocol::command::{
    Detail, InputNumber, JobComplete, JobError, JobFailed, JobId, JobInputRequired, JobProgress,
    JobResult, PART_MIN, PLAINTEXT_MAX, Progress, Question, RESULT_MAX, ResultPart, Schema, Tag,
};
use agentry_sdk::protocol::message::{MAX_PAYLOAD_BYTES, compose};
use agentry_sdk::protocol::{Json, KnownCommand, Limits, Timestamp};
use agentry_sdk::{ConfigureError, Outgoing, Sealing, TaskOutput};
use serde_json::Value;

use crate::units::{Bytes, within};

/// The bytes of a payload that are reserved for the header, which the runtime adds. A header with
/// every field at its longest has 500.
const HEADER_ROOM: usize = 4 << 10;

/// How results are answered.
#[derive(Debug)]
pub(super) struct Answers {
    inline_limit: usize,
    sealing: Sealing,
}

impl Answers {
    pub(super) fn read(inline_limit: Bytes, seal: bool) -> Result<Self, ConfigureError> {
        let most = Bytes(RESULT_MAX as u64);
        let inline_limit = within("inline_limit", inline_limit, (Bytes(0), most))?;
        let sealing = if seal {
            Sealing::Always
        } else {
            Sealing::AsAsked
        };
        Ok(Self {
            inline_limit: inline_limit.as_usize(),
            sealing,
        })
    }

    /// JOB_INPUT_REQUIRED.
    ///
    /// # Errors
    /// The question exceeds a limit of the protocol.
    pub(super) fn input_required(
        &self,
        id: JobId,
        number: u32,
        (question, schema): (&str, Option<&Value>),
        until: Timestamp,
    ) -> Result<Outgoing, String> {
        let schema = schema.map(|schema| {
            let json = Json::parse(schema.to_string().as_bytes(), Limits::NONE);
            let json = json.map_err(|error| error.to_string())?;
            Schema::new(json).map_err(|fault| fault.to_string())
        });
        let question: Result<Question, _> = question.parse();
        let command = KnownCommand::JobInputRequired(JobInputRequired {
            result_id: id,
            number: InputNumber::new(number).ok_or("questions are numbered from 1")?,
            question: question.map_err(|error| format!("question: {error}"))?,
            schema: schema.transpose()?,
            until: Some(until),
        });
        Ok(Outgoing::command(&command).sealing(self.sealing))
    }

    /// JOB_COMPLETE with as much of the result as the limit allows and as fits in a message:
    /// control characters take seven times their size in a transaction.
    pub(super) fn complete(&self, id: JobId, output: &TaskOutput, duration_ms: u64) -> Outgoing {
        let media_type = output.media_type.as_ref();
        let media_type = media_type.and_then(|media_type| media_type.parse().ok());
        let incomplete = output.incomplete.as_ref();
        let incomplete = incomplete.and_then(|why| why.parse().ok());
        let mut limit = self.inline_limit;
        loop {
            let complete = KnownCommand::JobComplete(JobComplete {
                result_id: id,
                result: JobResult::cut(&output.text, limit),
                media_type: media_type.clone(),
                duration_ms: Some(duration_ms),
                incomplete: incomplete.clone(),
            });
            if limit == 0 || fits(&complete) {
                return Outgoing::command(&complete).sealing(self.sealing);
            }
            limit /= 2;
        }
    }

    /// JOB_RESULT with the part of a result that begins at an offset: at most as much as the limit
    /// allows and as fits in a message; none if no character begins there.
    pub(super) fn part(&self, whole: &str, offset: u64) -> Option<Outgoing> {
        let mut limit = self.inline_limit.max(PART_MIN);
        loop {
            let part = KnownCommand::JobResult(ResultPart::of(whole, offset, limit)?);
            if fits(&part) {
                return Some(Outgoing::command(&part).sealing(self.sealing));
            }
            limit /= 2;
        }
    }
}

/// Whether a command fits in a message, sealed or not.
fn fits(command: &KnownCommand) -> bool {
    let open = compose(&command.to_payload(), None);
    open.is_ok_and(|open| open.to_compact().len() + HEADER_ROOM <= MAX_PAYLOAD_BYTES)
        && command.body().to_compact().len() <= PLAINTEXT_MAX
}

/// JOB_FAILED. An invalid code is replaced with `failed`.
pub(super) fn failed(id: JobId, code: &str, message: &str) -> Outgoing {
    let message = (!message.is_empty()).then(|| Detail::cut(message));
    let code = code.parse::<Tag>().or_else(|_| "failed".parse());
    #[expect(clippy::expect_used, reason = "`failed` is a tag")]
    let code = code.expect("`failed` is a tag");
    Outgoing::command(&KnownCommand::JobFailed(JobFailed {
        result_id: id,
        error: JobError { code, message },
    }))
}

/// JOB_PROGRESS; none if the part is not from 0 to 1.
pub(super) fn progress(id: JobId, part: f64, note: Option<&str>) -> Option<Outgoing> {
    Some(Outgoing::command(&KnownCommand::JobProgress(JobProgress {
        result_id: id,
        progress: Progress::new(part)?,
        note: note.map(Detail::cut),
    })))
}
