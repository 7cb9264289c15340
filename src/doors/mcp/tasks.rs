//! Jobs as tasks of the protocol (its extension `io.modelcontextprotocol/tasks`).
//!
//! The id is that of the job, so a task outlives connections and restarts. A job that failed or was
//! rejected is a call that ended with an error: `completed` with `isError`.

use rmcp::model::{
    CallToolResult, CreateTaskResult, DetailedTask, GetTaskResult, JsonObject, Task, TaskPayload,
    TaskStatus,
};
use serde_json::Value;

use super::calls::told;
use super::questions;
use crate::ops::tasks::job::{Job, JobState};

/// How often a host should look.
const POLL_MS: u64 = 1_000;

/// The result of the call that requested a job.
pub(super) fn created(job: &Job) -> CreateTaskResult {
    CreateTaskResult::new(task(job))
}

/// What is known of a job.
pub(super) fn detailed(job: &Job) -> GetTaskResult {
    let payload = match job.state {
        JobState::Submitted | JobState::Working => TaskPayload::Working,
        JobState::InputRequired => match questions::open(job) {
            Some(input) => TaskPayload::InputRequired {
                input_requests: [questions::question(job, input).into_input()].into(),
            },
            None => TaskPayload::Working,
        },
        JobState::Completed | JobState::Failed | JobState::Rejected => TaskPayload::Completed {
            result: object(&ended(job)),
        },
        JobState::Canceled => TaskPayload::Cancelled,
    };
    GetTaskResult::new(DetailedTask::new(task(job), payload))
}

/// The result of a call whose job has ended, or is as it is.
pub(super) fn ended(job: &Job) -> CallToolResult {
    let mut result = told(job);
    let has_failed = matches!(job.state, JobState::Failed | JobState::Rejected);
    result.is_error = Some(has_failed);
    result
}

/// The state of a job and its progress, in fixed words.
pub(super) fn standing(job: &Job) -> String {
    let state = job.state.as_str();
    match job.progress {
        Some(part) if job.state == JobState::Working => format!("{state}, {:.0} %", part * 100.0),
        _ => state.to_owned(),
    }
}

fn task(job: &Job) -> Task {
    let changed = job.ended.as_ref().map_or(job.asked_at, |ended| ended.at);
    let written = |time: agentry_protocol::Timestamp| {
        let time = time.min(agentry_protocol::Timestamp::MAX_STATED).get();
        let time = i64::try_from(time).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_millisecond(time);
        time.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
    };
    Task::new(
        job.id.clone(),
        TaskStatus::Working,
        written(job.asked_at),
        written(changed),
    )
    .with_status_message(standing(job))
    .with_poll_interval_ms(POLL_MS)
}

fn object(result: &CallToolResult) -> JsonObject {
    match serde_json::to_value(result) {
        Ok(Value::Object(object)) => object,
        _ => JsonObject::new(),
    }
}
