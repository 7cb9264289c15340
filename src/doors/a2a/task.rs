//! Jobs and messages as tasks.
//!
//! | here | A2A |
//! |---|---|
//! | the id of the message that asks | the task's id |
//! | the thread | `contextId`; without one, the task's id |
//! | `submitted`, `working`, `input-required`, `completed`, `failed`, `canceled`, `rejected` | the same |
//! | a question of the job | the message of the status: a text, and its JSON Schema as data |
//! | a note | the message of the status |
//! | the result | one artifact, with its SHA-256 and its length in `metadata` |
//! | a message that is not answered yet | a task that is working |

use std::collections::HashMap;

use a2a::{
    Artifact, Message, Part, Role, Task, TaskArtifactUpdateEvent, TaskState, TaskStatus,
    TaskStatusUpdateEvent,
};
use agentry_protocol::Timestamp;
use chrono::DateTime;
use serde_json::{Value, json};

use crate::doors::door::send::{DeliveryEntry, SentMessage};
use crate::ops::conversations::MessageEntry;
use crate::ops::tasks::job::{Job, JobResult, JobState};

/// The id of the one artifact of a task.
const RESULT: &str = "result";

/// A job as a task; with what was asked if `history` is set.
pub fn of_job(job: &Job, history: bool) -> Task {
    let id = id_of(job);
    let context = job.thread.clone().unwrap_or_else(|| id.clone());
    let status = status(job, &id, &context);
    let asked = |text: &String| Message {
        context_id: Some(context.clone()),
        task_id: Some(id.clone()),
        message_id: id.clone(),
        ..Message::new(Role::User, vec![Part::text(text.clone())])
    };
    Task {
        artifacts: job.result.as_ref().map(|result| vec![artifact(result)]),
        history: history.then(|| job.asked.prompt.iter().map(asked).collect()),
        metadata: Some(HashMap::from([
            ("agentry/from".to_owned(), json!(job.from)),
            ("agentry/to".to_owned(), json!(job.to)),
            ("agentry/transaction".to_owned(), json!(job.transaction)),
        ])),
        id,
        context_id: context,
        status,
    }
}

/// The id of a job's task.
pub fn id_of(job: &Job) -> String {
    job.result_id.clone().unwrap_or_else(|| job.id.clone())
}

/// The state of a job's task.
pub fn state(job: &Job) -> TaskState {
    match job.state {
        JobState::Submitted => TaskState::Submitted,
        JobState::Working => TaskState::Working,
        // Once it is answered, it is the agent's turn.
        JobState::InputRequired if job.input.as_ref().is_some_and(|input| input.answered) => {
            TaskState::Working
        }
        JobState::InputRequired => TaskState::InputRequired,
        JobState::Completed => TaskState::Completed,
        JobState::Failed => TaskState::Failed,
        JobState::Canceled => TaskState::Canceled,
        JobState::Rejected => TaskState::Rejected,
    }
}

fn status(job: &Job, id: &str, context: &str) -> TaskStatus {
    let state = state(job);
    let parts = match (&state, &job.input, &job.error, &job.note) {
        (TaskState::InputRequired, Some(input), _, _) => {
            let mut parts = vec![Part::text(input.question.clone())];
            let schema = input.schema.clone();
            parts.extend(schema.map(|schema| Part::data(json!({ "schema": schema }))));
            parts
        }
        (TaskState::Failed | TaskState::Rejected, _, Some(error), _) => {
            let message = error.message.clone().unwrap_or_default();
            vec![Part::text(format!("{}: {message}", error.code))]
        }
        (TaskState::Working, _, _, Some(note)) => vec![Part::text(note.clone())],
        _ => Vec::new(),
    };
    let at = job.ended.as_ref().map_or(job.asked_at, |ended| ended.at);
    let message = Message {
        message_id: format!(
            "{id}-{}",
            serde_json::to_string(&state)
                .unwrap_or_default()
                .trim_matches('"')
        ),
        context_id: Some(context.to_owned()),
        task_id: Some(id.to_owned()),
        metadata: job
            .progress
            .map(|progress| HashMap::from([("agentry/progress".to_owned(), json!(progress))])),
        ..Message::new(Role::Agent, parts)
    };
    TaskStatus {
        message: (!message.parts.is_empty()).then_some(message),
        timestamp: moment(at),
        state,
    }
}

fn moment(at: Timestamp) -> Option<DateTime<chrono::Utc>> {
    DateTime::from_timestamp_millis(i64::try_from(at.get()).ok()?)
}

/// The result of a job.
fn artifact(result: &JobResult) -> Artifact {
    let is_json = result
        .media_type
        .as_deref()
        .is_some_and(|media_type| media_type.split(';').next() == Some("application/json"));
    let data = (is_json && result.whole)
        .then(|| serde_json::from_str::<Value>(&result.text).ok())
        .flatten();
    let part = data.map_or_else(|| Part::text(result.text.clone()), Part::data);
    let part = match &result.media_type {
        Some(media_type) => part.with_media_type(media_type.clone()),
        None => part,
    };
    Artifact {
        artifact_id: RESULT.to_owned(),
        name: Some(RESULT.to_owned()),
        description: (!result.whole).then(|| {
            "It was cut: the operation fetch_result of the HTTP API fetches the rest.".to_owned()
        }),
        parts: vec![part],
        metadata: Some(HashMap::from([
            ("agentry/sha256".to_owned(), json!(result.sha256)),
            ("agentry/bytes".to_owned(), json!(result.bytes)),
            ("agentry/whole".to_owned(), json!(result.whole)),
        ])),
        extensions: None,
    }
}

/// A message that is not answered yet as a task.
pub fn of_message(sent: &DeliveryEntry, id: &str, context: Option<&str>) -> Task {
    let context = context.unwrap_or(id).to_owned();
    let state = match (&sent.answer, &sent.failure) {
        (Some(_), _) => TaskState::Completed,
        (None, Some(_)) => TaskState::Failed,
        (None, None) => TaskState::Working,
    };
    let answer = sent.answer.as_ref();
    let reason = sent.failure.as_ref().filter(|_| answer.is_none());
    let said = |text: &String| Message {
        message_id: format!("{id}-failure"),
        context_id: Some(context.clone()),
        task_id: Some(id.to_owned()),
        ..Message::new(Role::Agent, vec![Part::text(text.clone())])
    };
    let message = match answer {
        Some(answer) => Some(of_answer(answer, id, &context)),
        None => reason.map(said),
    };
    Task {
        id: id.to_owned(),
        status: TaskStatus {
            state,
            message,
            timestamp: None,
        },
        context_id: context,
        artifacts: None,
        history: None,
        metadata: Some(HashMap::from([(
            "agentry/transaction".to_owned(),
            json!(sent.transaction),
        )])),
    }
}

/// The answer to a message.
pub fn of_answer(answer: &MessageEntry, task: &str, context: &str) -> Message {
    let part = match (&answer.text, &answer.cmd) {
        (Some(text), Some(_)) => match serde_json::from_str(text) {
            Ok(data) => Part::data(data),
            Err(_) => Part::text(text.clone()),
        },
        (Some(text), None) => Part::text(text.clone()),
        (None, _) => Part::text("(sealed)"),
    };
    Message {
        message_id: answer
            .message_id
            .clone()
            .unwrap_or_else(|| format!("{task}-answer")),
        context_id: Some(context.to_owned()),
        task_id: None,
        metadata: Some(HashMap::from([
            ("agentry/from".to_owned(), json!(answer.from)),
            (
                "agentry/authenticity".to_owned(),
                json!(answer.authenticity),
            ),
        ])),
        ..Message::new(Role::Agent, vec![part])
    }
}

/// The id of the task of a sent message.
pub fn id_of_message(sent: &SentMessage) -> String {
    sent.message_id.clone().unwrap_or_else(|| sent.id.clone())
}

/// That the status of a task has changed.
pub fn status_update(task: &Task) -> TaskStatusUpdateEvent {
    TaskStatusUpdateEvent {
        task_id: task.id.clone(),
        context_id: task.context_id.clone(),
        status: task.status.clone(),
        metadata: None,
    }
}

/// That the artifact of a task is there.
pub fn artifact_update(task: &Task) -> Option<TaskArtifactUpdateEvent> {
    let artifact = task.artifacts.as_ref()?.first()?;
    Some(TaskArtifactUpdateEvent {
        task_id: task.id.clone(),
        context_id: task.context_id.clone(),
        artifact: artifact.clone(),
        append: Some(false),
        last_chunk: Some(true),
        metadata: None,
    })
}
