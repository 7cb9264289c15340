//! JOB_INPUT_REQUIRED and JOB_INPUT: a job asks its submitter something, and goes on with the answer.

use super::error::{CommandError, CommandFault};
use super::field::{Entries, Fields, count, parsed, time};
use super::job::{BoundedObject, JobId, fits};
use crate::bounded::Bounded;
use crate::json::{Json, JsonRef};
use crate::timestamp::Timestamp;

/// Longest question, in bytes: a few paragraphs.
pub const QUESTION_MAX: usize = 4 << 10;

/// Longest JSON Schema of an answer, in bytes of its compact canonical JSON: a form with many fields.
pub const SCHEMA_MAX: usize = 16 << 10;

/// Longest answer, in bytes of its compact canonical JSON.
pub const ANSWER_MAX: usize = 64 << 10;

/// A question for a person or a program: at most 4 KiB.
pub type Question = Bounded<QUESTION_MAX>;

/// The JSON Schema (draft 2020-12) of an answer: an object of at most 16 KiB.
pub type Schema = BoundedObject<SCHEMA_MAX>;

/// The number of a question of a job, from 1: its first question is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputNumber(u32);

impl InputNumber {
    /// This number; `None` for 0.
    pub const fn new(number: u32) -> Option<Self> {
        match number {
            0 => None,
            number => Some(Self(number)),
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    fn read(value: JsonRef<'_>) -> Result<Self, CommandFault> {
        let number = count(value).ok().and_then(|number| number.try_into().ok());
        number.and_then(Self::new).ok_or(CommandFault::Type {
            expected: "an integer from 1 to 4,294,967,295",
        })
    }
}

/// The parameters of JOB_INPUT_REQUIRED.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobInputRequired {
    /// The job.
    pub result_id: JobId,
    /// `input`: which of its questions this is.
    pub number: InputNumber,
    /// The question.
    pub question: Question,
    /// What the answer must look like.
    pub schema: Option<Schema>,
    /// The time after which the job no longer waits for the answer.
    pub until: Option<Timestamp>,
}

impl JobInputRequired {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        Ok(Self {
            result_id: fields.required("result_id", parsed)?,
            number: fields.required("input", InputNumber::read)?,
            question: fields.required("question", parsed)?,
            schema: fields.optional("schema", Schema::read)?,
            until: fields.optional("until", time)?,
        })
    }

    pub(super) fn write(&self, entries: &mut Entries) {
        entries.text("result_id", &self.result_id);
        entries.count("input", Some(self.number.0.into()));
        entries.text("question", &self.question);
        if let Some(schema) = &self.schema {
            entries.json("schema", schema.as_json().clone());
        }
        entries.time("until", self.until);
    }
}

/// An answer: JSON of at most 64 KiB and 64 levels, in which no object has a key twice; not `null`,
/// which counts as missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer(Json);

impl Answer {
    /// Checks an answer.
    ///
    /// # Errors
    /// [`CommandFault::Type`] and [`CommandFault::TooLarge`].
    pub fn new(json: Json) -> Result<Self, CommandFault> {
        if !fits(&json, ANSWER_MAX)? || json.root().is_null() {
            return Err(CommandFault::Type {
                expected: "JSON other than null, of at most 64 levels with no key twice",
            });
        }
        Ok(Self(json))
    }

    /// The answer.
    pub fn as_json(&self) -> &Json {
        &self.0
    }

    fn read(value: JsonRef<'_>) -> Result<Self, CommandFault> {
        Self::new(value.to_json())
    }
}

/// The parameters of JOB_INPUT. Its header's `re` names the transaction of the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobInput {
    /// `input`: which question it answers.
    pub number: InputNumber,
    /// The answer.
    pub answer: Answer,
}

impl JobInput {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        Ok(Self {
            number: fields.required("input", InputNumber::read)?,
            answer: fields.required("answer", Answer::read)?,
        })
    }

    pub(super) fn write(&self, entries: &mut Entries) {
        entries.count("input", Some(self.number.0.into()));
        entries.json("answer", self.answer.0.clone());
    }
}
