//! What hosts and workers write for each other. Hosts and workers may have different versions for a
//! while, so unknown fields are ignored, and a change that an older version must not ignore raises
//! [`FORMAT`].

use std::time::Duration;

use agentry_cluster::{MAX_PAYLOAD, MAX_PROGRESS};
use agentry_protocol::Trace;
use agentry_protocol::timestamp::millis;
use agentry_sdk::task::{Ask, MAX_OUTPUT_BYTES};
use agentry_sdk::{Task, TaskError, TaskOutput, Tokens};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The format that this version writes.
const FORMAT: u32 = 1;

/// The longest code and message of a failure, in bytes: longer ones are not stored anyway.
const CODE_MAX: usize = 256;
const MESSAGE_MAX: usize = 8 << 10;

/// The most bytes of a result apart from its text: a question with its schema, or a failure.
const HEAD_MAX: usize = 64 << 10;

/// What is written fits into a row.
const _: () = assert!(MAX_OUTPUT_BYTES + HEAD_MAX <= MAX_PAYLOAD);

/// What a worker needs to run an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct JobInput {
    format: u32,
    /// The name of the behaviour, of the agent of the task.
    pub(in crate::runtime) behaviour: String,
    /// The task, with the answers to its questions.
    pub(in crate::runtime) task: Task,
    /// The trace that the attempt is part of.
    #[serde(default)]
    pub(in crate::runtime) trace: Option<Trace>,
    /// How long the run may take, in milliseconds.
    pub(in crate::runtime) limit_ms: u64,
    /// Whether no attempt follows if it takes longer.
    pub(in crate::runtime) is_last: bool,
}

/// How far a run is. Written with each beat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct JobReport {
    /// The progress from 0 to 1, with a note.
    #[serde(default)]
    pub(in crate::runtime) progress: Option<(f64, Option<String>)>,
    /// The tokens that it has used.
    #[serde(default)]
    pub(in crate::runtime) tokens: Tokens,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::runtime) enum JobEnd {
    /// It returned.
    Returned(Result<TaskOutput, TaskError>),
    /// It panicked, with this text.
    Panicked(String),
    /// It took longer than its limit.
    TimedOut,
    /// It asks the submitter of the task.
    Asked(Ask),
}

/// The first line of a result. The text of an output follows it as it is: in JSON it might take six
/// times the space.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    tokens: Tokens,
    end: HeadEnd,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HeadEnd {
    Completed {
        media_type: Option<String>,
        incomplete: Option<String>,
    },
    Failed(TaskError),
    Panicked(String),
    TimedOut,
    Asked {
        question: String,
        schema: Option<Value>,
        within_ms: u64,
    },
}

/// Why something cannot be read that the other side wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::runtime) enum WireError {
    /// It is not what agentry writes.
    #[error("it cannot be read: {0}")]
    Damaged(String),
    /// A later version wrote it.
    #[error(
        "it has the format {0}, and this version reads {FORMAT}: run the same agentry on hosts and workers"
    )]
    Newer(u32),
}

impl WireError {
    fn damaged(why: &impl ToString) -> Self {
        Self::Damaged(why.to_string())
    }
}

fn check(format: u32) -> Result<(), WireError> {
    if format > FORMAT {
        return Err(WireError::Newer(format));
    }
    Ok(())
}

impl JobInput {
    /// The input of an attempt, and how long it may take.
    pub(in crate::runtime) fn new(
        behaviour: impl Into<String>,
        task: Task,
        trace: Option<Trace>,
        limit: Duration,
        is_last: bool,
    ) -> Self {
        Self {
            format: FORMAT,
            behaviour: behaviour.into(),
            task,
            trace,
            limit_ms: millis(limit),
            is_last,
        }
    }

    /// As bytes.
    pub(in crate::runtime) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From bytes.
    ///
    /// # Errors
    /// A later version wrote it, or it is damaged.
    pub(in crate::runtime) fn read(bytes: &[u8]) -> Result<Self, WireError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version =
            serde_json::from_slice(bytes).map_err(|error| WireError::damaged(&error))?;
        check(version.format)?;
        serde_json::from_slice(bytes).map_err(|error| WireError::damaged(&error))
    }
}

impl JobReport {
    /// As text, at most [`MAX_PROGRESS`]. A note that is too long is cut.
    pub(in crate::runtime) fn write(mut self) -> String {
        loop {
            let text = serde_json::to_string(&self).unwrap_or_default();
            let note = self.progress.as_mut().and_then(|(_, note)| note.as_mut());
            match note.filter(|note| text.len() > MAX_PROGRESS && !note.is_empty()) {
                Some(note) => note.truncate(note.floor_char_boundary(note.len() / 2)),
                None => return text,
            }
        }
    }

    /// From text. What cannot be read is no report.
    pub(in crate::runtime) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl JobEnd {
    /// As bytes, at most [`MAX_PAYLOAD`]. What is larger is a failure.
    pub(in crate::runtime) fn write(self, tokens: Tokens) -> Vec<u8> {
        let (end, text) = match self {
            Self::Returned(Ok(output)) if output.text.len() > MAX_OUTPUT_BYTES => {
                (HeadEnd::Failed(too_large(output.text.len())), String::new())
            }
            Self::Returned(Ok(TaskOutput {
                text,
                media_type,
                incomplete,
            })) => {
                let end = HeadEnd::Completed {
                    media_type,
                    incomplete,
                };
                (end, text)
            }
            Self::Returned(Err(error)) => (HeadEnd::Failed(shortened(&error)), String::new()),
            Self::Panicked(text) => (HeadEnd::Panicked(text), String::new()),
            Self::TimedOut => (HeadEnd::TimedOut, String::new()),
            Self::Asked(Ask {
                question,
                schema,
                within,
            }) => {
                let end = HeadEnd::Asked {
                    question,
                    schema,
                    within_ms: millis(within),
                };
                (end, String::new())
            }
        };
        let mut bytes = head(end, tokens);
        if bytes.len() > HEAD_MAX {
            // A media type, or a question.
            let size = bytes.len() + text.len();
            return head(HeadEnd::Failed(too_large(size)), tokens);
        }
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    /// From bytes, with the tokens that the run has used.
    ///
    /// # Errors
    /// A later version wrote it, or it is damaged.
    pub(in crate::runtime) fn read(bytes: &[u8]) -> Result<(Self, Tokens), WireError> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| WireError::damaged(&"it has no first line"))?;
        let (first, text) = bytes.split_at(end);
        let head: Head =
            serde_json::from_slice(first).map_err(|error| WireError::damaged(&error))?;
        check(head.format)?;
        let end = match head.end {
            HeadEnd::Completed {
                media_type,
                incomplete,
            } => {
                let text = text.get(1..).unwrap_or_default().to_vec();
                Self::Returned(Ok(TaskOutput {
                    text: String::from_utf8(text).map_err(|error| WireError::damaged(&error))?,
                    media_type,
                    incomplete,
                }))
            }
            HeadEnd::Failed(error) => Self::Returned(Err(error)),
            HeadEnd::Panicked(text) => Self::Panicked(text),
            HeadEnd::TimedOut => Self::TimedOut,
            HeadEnd::Asked {
                question,
                schema,
                within_ms,
            } => Self::Asked(Ask {
                question,
                schema,
                within: Duration::from_millis(within_ms),
            }),
        };
        Ok((end, head.tokens))
    }
}

fn head(end: HeadEnd, tokens: Tokens) -> Vec<u8> {
    let head = Head {
        format: FORMAT,
        tokens,
        end,
    };
    let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn too_large(bytes: usize) -> TaskError {
    let reason = format!("the result has {bytes} bytes, over the limit of {MAX_OUTPUT_BYTES}");
    TaskError::permanent("output-too-large", reason.clone()).with_public(reason)
}

/// The same error with texts of a bounded length.
fn shortened(error: &TaskError) -> TaskError {
    let cut = |text: &str, max: usize| {
        let end = text.floor_char_boundary(max);
        text.get(..end).unwrap_or_default().to_owned()
    };
    let (code, message) = (
        cut(error.code(), CODE_MAX),
        cut(error.message(), MESSAGE_MAX),
    );
    let short = match error.is_transient() {
        true => TaskError::transient(code, message),
        false => TaskError::permanent(code, message),
    };
    short.with_public(cut(error.public(), MESSAGE_MAX))
}

#[cfg(test)]
mod tests {
    use agentry_sdk::task::TASK_FAILED;
    use serde_json::json;

    use super::*;

    const USED: Tokens = Tokens {
        input: 3,
        output: 4,
    };

    fn there_and_back(end: JobEnd) -> JobEnd {
        let (end, tokens) = JobEnd::read(&end.write(USED)).unwrap();
        assert_eq!(tokens, USED);
        end
    }

    fn task() -> Task {
        Task {
            key: "k".to_owned(),
            kind: "chat".to_owned(),
            input: json!({ "prompt": "Grüße", "n": 0.1 }),
            deadline: None,
            agent: "fleet/w-1".to_owned(),
            submitter: None,
            attempt: 3,
            idempotency_key: "ab".repeat(20),
            tokens: USED,
            answers: vec![json!("yes"), json!({ "a": 1 })],
        }
    }

    #[test]
    fn an_attempt_is_read_as_it_was_written() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse();
        for trace in [None, Some(trace.unwrap())] {
            let input = JobInput::new("tasks", task(), trace, Duration::from_millis(7), true);
            assert_eq!(JobInput::read(&input.write()).unwrap(), input);
        }
    }

    #[test]
    fn every_end_is_read_as_it_was_written() {
        let output = TaskOutput {
            text: "a\nb\"\u{1}ü".to_owned(),
            media_type: Some("text/plain".to_owned()),
            incomplete: Some("length".to_owned()),
        };
        let ask = Ask::new("which?")
            .schema(json!({ "type": "string" }))
            .within(Duration::from_millis(1_234));
        for end in [
            JobEnd::Returned(Ok(output)),
            JobEnd::Returned(Ok(TaskOutput::text(""))),
            JobEnd::Returned(Err(
                TaskError::transient("away", "nobody").with_public("later")
            )),
            JobEnd::Returned(Err(
                TaskError::permanent("no", "never").with_public(TASK_FAILED)
            )),
            JobEnd::Panicked("panicked: ouch".to_owned()),
            JobEnd::TimedOut,
            JobEnd::Asked(ask),
        ] {
            assert_eq!(there_and_back(end.clone()), end);
        }
    }

    #[test]
    fn a_failure_without_a_public_text_stays_without_one() {
        let read = there_and_back(JobEnd::Returned(Err(TaskError::permanent("no", "secret"))));
        let JobEnd::Returned(Err(error)) = read else {
            panic!("{read:?}");
        };
        assert_eq!(error.public(), TASK_FAILED);
    }

    #[test]
    fn what_is_too_large_fails_by_name() {
        let exact = JobEnd::Returned(Ok(TaskOutput::text("\u{1}".repeat(MAX_OUTPUT_BYTES))));
        let bytes = exact.clone().write(USED);
        assert!(bytes.len() <= MAX_PAYLOAD, "{}", bytes.len());
        assert_eq!(JobEnd::read(&bytes).unwrap().0, exact);
        let huge_text = TaskOutput::text("x".repeat(MAX_OUTPUT_BYTES + 1));
        let huge_type = TaskOutput {
            media_type: Some("x".repeat(HEAD_MAX)),
            ..TaskOutput::text("x")
        };
        for end in [
            JobEnd::Returned(Ok(huge_text)),
            JobEnd::Returned(Ok(huge_type)),
            JobEnd::Asked(Ask::new("?".repeat(HEAD_MAX))),
        ] {
            let read = there_and_back(end);
            let JobEnd::Returned(Err(error)) = read else {
                panic!("{read:?}");
            };
            assert_eq!(error.code(), "output-too-large");
            assert!(!error.is_transient());
        }
        let long = TaskError::transient("ü".repeat(1000), "ä".repeat(100_000));
        let JobEnd::Returned(Err(error)) = there_and_back(JobEnd::Returned(Err(long))) else {
            panic!("a failure is a failure");
        };
        assert!(error.is_transient() && error.message().starts_with('ä'));
    }

    #[test]
    fn what_another_version_wrote_is_read_or_refused_by_name() {
        let mut input: Value = serde_json::from_slice(
            &JobInput::new("tasks", task(), None, Duration::ZERO, false).write(),
        )
        .unwrap();
        input["news"] = json!(true);
        assert!(JobInput::read(input.to_string().as_bytes()).is_ok());
        input["format"] = json!(2);
        let error = JobInput::read(input.to_string().as_bytes()).unwrap_err();
        assert_eq!(error, WireError::Newer(2));
        let end = br#"{"format":9,"tokens":{"input":0,"output":0},"end":{"panicked":"x"}}
"#;
        assert_eq!(JobEnd::read(end).unwrap_err(), WireError::Newer(9));
        for damaged in [&b""[..], b"{}", b"{}\n", b"\xff\n", b"\n"] {
            assert!(matches!(JobEnd::read(damaged), Err(WireError::Damaged(_))));
            assert!(matches!(
                JobInput::read(damaged),
                Err(WireError::Damaged(_))
            ));
        }
        assert_eq!(JobReport::read("{}"), Some(JobReport::default()));
        assert_eq!(JobReport::read("no"), None);
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = JobReport {
            progress: Some((0.1, Some("half".to_owned()))),
            tokens: USED,
        };
        assert_eq!(
            JobReport::read(&report.clone().write()),
            Some(report.clone())
        );
        let long = JobReport {
            progress: Some((0.1, Some("\u{1}ü".repeat(2_000)))),
            ..report
        };
        let text = long.write();
        assert!(text.len() <= MAX_PROGRESS, "{}", text.len());
        let note = JobReport::read(&text).unwrap().progress.unwrap().1.unwrap();
        assert!(note.len() > 200, "{note:?}");
    }
}
