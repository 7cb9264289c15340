//! Deciding how a task continues after an attempt.

use std::time::Duration;

use agentry_core::Commit;
use agentry_core::commit::TaskEnd;
use agentry_core::state::row::Task;
use agentry_protocol::Timestamp;
use agentry_protocol::command::Detail;
use agentry_protocol::timestamp::millis;
use agentry_sdk::durable::missed_deadline;
use agentry_sdk::task::{Ask, MAX_OUTPUT_BYTES};
use agentry_sdk::{TaskError, TaskLimits, TaskOutput, Tokens};

use super::MAX_INTERRUPTIONS;
use crate::runtime::backoff;

/// The longest failure code that is kept, in bytes.
const CODE_MAX: usize = 64;

/// The longest failure message for the operator that is kept, in bytes.
const MESSAGE_MAX: usize = 4 << 10;

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It returned.
    Returned(Result<TaskOutput, TaskError>),
    /// It panicked, with this text.
    Panicked(String),
    /// It exceeded its time limit.
    TimedOut,
    /// The task's deadline was reached.
    Deadline,
    /// It asked its submitter something that is not answered yet.
    Asked(Ask),
    /// The worker that ran it is lost, and why.
    Interrupted(String),
}

impl Ended {
    /// Why the attempt failed, as far as a trace may tell; none if it did not.
    pub(super) fn failure(&self) -> Option<&str> {
        match self {
            Self::Returned(Ok(_)) | Self::Asked(_) => None,
            Self::Returned(Err(error)) => Some(error.code()),
            Self::Panicked(_) => Some("panic"),
            Self::TimedOut => Some("timeout"),
            Self::Deadline => Some("deadline"),
            Self::Interrupted(_) => Some("interrupted"),
        }
    }
}

/// The commit that stores the result of an attempt at a task, whose row is as of the start of the
/// attempt. `used` are the tokens that the attempt has used, and `took` is how long it ran.
pub(super) fn verdict(
    row: &Task,
    limits: &TaskLimits,
    (ended, used): (Ended, Option<Tokens>),
    took: Duration,
    now: Timestamp,
) -> Commit {
    let error = match ended {
        Ended::Returned(Ok(output)) if output.text.len() > MAX_OUTPUT_BYTES => {
            let reason = format!(
                "the result has {} bytes, over the limit of {MAX_OUTPUT_BYTES}",
                output.text.len()
            );
            TaskError::permanent("output-too-large", reason.clone()).with_public(reason)
        }
        Ended::Returned(Ok(output)) => {
            return end(row, (TaskEnd::Completed(output), used), took, now);
        }
        Ended::Returned(Err(error)) => error,
        Ended::Panicked(text) => TaskError::transient("panic", text),
        Ended::TimedOut => TaskError::transient(
            "timeout",
            format!(
                "took longer than its limit of {}",
                humantime::format_duration(limits.time)
            ),
        )
        .with_public("an attempt exceeded its time limit"),
        Ended::Deadline => missed_deadline(),
        Ended::Interrupted(_) => return interruption(row, now),
        Ended::Asked(ask) => match ask.of_task(row, now) {
            Ok(question) => {
                return Commit::TaskAsk {
                    task: row.id,
                    attempts: row.attempts,
                    question,
                    used,
                    at: now,
                };
            }
            Err(error) => error,
        },
    };
    let failed = row.failed_attempts();
    if error.is_transient() && failed < limits.attempts {
        return Commit::TaskRetry {
            task: row.id,
            attempts: row.attempts,
            error: (
                cut(error.code(), CODE_MAX),
                cut(error.message(), MESSAGE_MAX),
            ),
            used,
            due_at: now.plus(backoff::after(failed)),
        };
    }
    end(row, (failure(&error), used), took, now)
}

/// The commit for an attempt that ended with the process that ran it: another one follows, or the
/// task fails, if that has happened too often.
pub(super) fn interruption(row: &Task, now: Timestamp) -> Commit {
    let times = row.interrupted.saturating_add(1);
    if times <= MAX_INTERRUPTIONS {
        return Commit::TaskInterrupt {
            task: row.id,
            attempts: row.attempts,
        };
    }
    let error = TaskError::permanent(
        "interrupted",
        format!("the process that ran it ended {times} times"),
    )
    .with_public("the process that ran it ended repeatedly");
    end(row, (failure(&error), None), Duration::ZERO, now)
}

/// A permanent failure.
pub(super) fn failure(error: &TaskError) -> TaskEnd {
    TaskEnd::Failed {
        code: cut(error.code(), CODE_MAX),
        message: cut(error.message(), MESSAGE_MAX),
        // The most that an answer can hold.
        public: Detail::cut(error.public()).as_str().to_owned(),
    }
}

fn end(
    row: &Task,
    (end, used): (TaskEnd, Option<Tokens>),
    took: Duration,
    now: Timestamp,
) -> Commit {
    Commit::TaskEnd {
        task: row.id,
        attempts: row.attempts,
        end,
        used,
        duration_ms: millis(took),
        at: now,
    }
}

/// The beginning of a text, at most this many bytes.
fn cut(text: &str, max: usize) -> String {
    let end = text.floor_char_boundary(max);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use agentry_protocol::Trail;
    use agentry_protocol::command::DETAIL_MAX;
    use agentry_sdk::task::TASK_FAILED;

    use super::*;
    use agentry_core::rows::{TaskId, TaskState};
    use agentry_core::{AgentId, Cause};

    const NOW: Timestamp = Timestamp::new(1_000_000);

    fn row(attempts: u32, interrupted: u32) -> Task {
        Task {
            unapproved: false,
            id: TaskId(7),
            agent: AgentId(1),
            behaviour: "tasks".to_owned(),
            origin: agentry_core::Origin::stored("event/0"),
            key: "a".to_owned(),
            kind: "chat".to_owned(),
            input: serde_json::Value::Null,
            inbox: None,
            submitter: None,
            state: TaskState::Working,
            attempts,
            interrupted,
            tokens: Tokens::default(),
            reserved: None,
            due_at: Timestamp::EPOCH,
            deadline: None,
            progress: None,
            note: None,
            result: None,
            media_type: None,
            error_code: None,
            error: None,
            made_at: Timestamp::EPOCH,
            started_at: None,
            ended_at: None,
            cause: Cause::Own,
            trail: Trail::NONE,
            answers: Vec::new(),
            question: None,
        }
    }

    fn classify(row: &Task, ended: Ended) -> Commit {
        let ended = (ended, None);
        verdict(row, &TaskLimits::default(), ended, Duration::ZERO, NOW)
    }

    fn away() -> Ended {
        Ended::Returned(Err(TaskError::transient("away", "nobody answers")))
    }

    fn code(commit: &Commit) -> Option<String> {
        match commit {
            Commit::TaskEnd {
                end: TaskEnd::Failed { code, .. },
                ..
            } => Some(code.clone()),
            _ => None,
        }
    }

    fn due_at(commit: &Commit) -> Option<Timestamp> {
        match commit {
            Commit::TaskRetry { due_at, .. } => Some(*due_at),
            _ => None,
        }
    }

    #[test]
    fn pauses_double_until_the_attempts_are_over() {
        let due = |failed| due_at(&classify(&row(failed, 0), away()));
        assert!((Some(NOW.plus_ms(500))..=Some(NOW.plus_ms(1_000))).contains(&due(1)));
        assert!((Some(NOW.plus_ms(1_000))..=Some(NOW.plus_ms(2_000))).contains(&due(2)));
        assert_eq!(code(&classify(&row(3, 0), away())).as_deref(), Some("away"));
    }

    #[test]
    fn interrupted_attempts_do_not_count_as_failed() {
        let due = due_at(&classify(&row(9, 8), away()));
        assert!((Some(NOW.plus_ms(500))..=Some(NOW.plus_ms(1_000))).contains(&due));
        assert_eq!(
            code(&classify(&row(11, 8), away())).as_deref(),
            Some("away")
        );
    }

    #[test]
    fn an_attempt_whose_worker_is_lost_is_repeated_until_that_happens_too_often() {
        let lost = || Ended::Interrupted("the worker beats no more".to_owned());
        let again = classify(&row(MAX_INTERRUPTIONS, MAX_INTERRUPTIONS - 1), lost());
        assert!(
            matches!(again, Commit::TaskInterrupt { attempts, .. } if attempts == MAX_INTERRUPTIONS)
        );
        let too_often = classify(&row(MAX_INTERRUPTIONS + 1, MAX_INTERRUPTIONS), lost());
        assert_eq!(code(&too_often).as_deref(), Some("interrupted"));
    }

    #[test]
    fn a_permanent_failure_and_a_deadline_are_the_end() {
        let no = Ended::Returned(Err(TaskError::permanent("no", "I will not")));
        assert_eq!(code(&classify(&row(1, 0), no)).as_deref(), Some("no"));
        assert_eq!(
            code(&classify(&row(1, 0), Ended::Deadline)).as_deref(),
            Some("deadline")
        );
    }

    #[test]
    fn a_panic_and_a_timeout_are_transient() {
        let panicked = Ended::Panicked("panicked: ouch".to_owned());
        assert!(due_at(&classify(&row(1, 0), panicked)).is_some());
        assert!(due_at(&classify(&row(1, 0), Ended::TimedOut)).is_some());
        assert_eq!(
            code(&classify(&row(3, 0), Ended::TimedOut)).as_deref(),
            Some("timeout")
        );
    }

    #[test]
    fn a_result_that_is_too_long_is_a_failure() {
        let whole = Ended::Returned(Ok(TaskOutput::text("x".repeat(MAX_OUTPUT_BYTES))));
        assert_eq!(code(&classify(&row(1, 0), whole)), None);
        let more = Ended::Returned(Ok(TaskOutput::text("x".repeat(MAX_OUTPUT_BYTES + 1))));
        assert_eq!(
            code(&classify(&row(1, 0), more)).as_deref(),
            Some("output-too-large")
        );
    }

    #[test]
    fn the_stored_text_of_a_failure_is_bounded() {
        let error = TaskError::permanent("ü".repeat(1000), "ä".repeat(10_000))
            .with_public("ö".repeat(10_000));
        let TaskEnd::Failed {
            code,
            message,
            public,
        } = failure(&error)
        else {
            panic!("a failure is a failure");
        };
        assert!(code.len() <= CODE_MAX && message.len() <= MESSAGE_MAX);
        assert!(public.len() <= DETAIL_MAX);
        assert!(message.starts_with('ä') && public.starts_with('ö'));
    }

    #[test]
    fn a_panic_or_an_error_is_disclosed_only_on_purpose() {
        let secret = "https://db.internal/?key=s3cret";
        let told = |ended| match verdict(
            &row(3, 0),
            &TaskLimits::default(),
            (ended, None),
            Duration::ZERO,
            NOW,
        ) {
            Commit::TaskEnd {
                end: TaskEnd::Failed {
                    message, public, ..
                },
                ..
            } => (message, public),
            other => panic!("{other:?}"),
        };
        let error = || TaskError::transient("away", secret);
        assert_eq!(
            told(Ended::Panicked(format!("panicked: {secret}"))),
            (format!("panicked: {secret}"), TASK_FAILED.to_owned())
        );
        assert_eq!(
            told(Ended::Returned(Err(error()))),
            (secret.to_owned(), TASK_FAILED.to_owned())
        );
        assert_eq!(
            told(Ended::Returned(Err(error().with_public("come back later")))),
            (secret.to_owned(), "come back later".to_owned())
        );
    }
}
