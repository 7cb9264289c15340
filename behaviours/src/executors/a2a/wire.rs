//! The messages of A2A 1.0, as far as a client needs them: ProtoJSON, in which a field that is
//! missing or null has its default.

use serde::de::{Deserialize, Deserializer};
use serde::{Deserialize as FromJson, Serialize};
use serde_json::{Value, json};

/// The longest id that an agent may choose, in bytes.
const ID_MAX: usize = 256;

/// What the answer to a message, or an item of a stream, holds: one of these.
#[derive(Debug, Default, FromJson)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Event {
    pub(super) task: Option<RemoteTask>,
    pub(super) message: Option<Message>,
    pub(super) status_update: Option<StatusUpdate>,
    pub(super) artifact_update: Option<ArtifactUpdate>,
}

/// A task of the agent.
#[derive(Debug, Default, FromJson)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RemoteTask {
    #[serde(deserialize_with = "or_default")]
    pub(super) id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) context_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) status: Status,
    #[serde(deserialize_with = "or_default")]
    pub(super) artifacts: Vec<Artifact>,
    #[serde(deserialize_with = "or_default")]
    pub(super) history: Vec<Message>,
}

/// The tasks that an agent lists.
#[derive(Debug, Default, FromJson)]
#[serde(default)]
pub(super) struct Tasks {
    #[serde(deserialize_with = "or_default")]
    pub(super) tasks: Vec<RemoteTask>,
}

/// How far a task is.
#[derive(Debug, Default, FromJson)]
#[serde(default)]
pub(super) struct Status {
    #[serde(deserialize_with = "or_default")]
    pub(super) state: State,
    pub(super) message: Option<Message>,
    #[serde(deserialize_with = "or_default")]
    pub(super) timestamp: String,
}

/// The state of a task. One that this version does not know counts as not decided yet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromJson)]
pub(super) enum State {
    #[serde(rename = "TASK_STATE_SUBMITTED")]
    Submitted,
    #[serde(rename = "TASK_STATE_WORKING")]
    Working,
    #[serde(rename = "TASK_STATE_COMPLETED")]
    Completed,
    #[serde(rename = "TASK_STATE_FAILED")]
    Failed,
    #[serde(rename = "TASK_STATE_CANCELED")]
    Canceled,
    #[serde(rename = "TASK_STATE_INPUT_REQUIRED")]
    InputRequired,
    #[serde(rename = "TASK_STATE_REJECTED")]
    Rejected,
    #[serde(rename = "TASK_STATE_AUTH_REQUIRED")]
    AuthRequired,
    #[default]
    #[serde(other)]
    Unknown,
}

/// What is said in a conversation.
#[derive(Debug, Default, FromJson)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Message {
    #[serde(deserialize_with = "or_default")]
    pub(super) message_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) parts: Vec<Part>,
}

/// A part of a message or of a result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, FromJson)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Part {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    /// Bytes in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) raw: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Value>,
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub(super) filename: String,
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub(super) media_type: String,
}

/// A result of a task, or a piece of one.
#[derive(Debug, Default, FromJson)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Artifact {
    #[serde(deserialize_with = "or_default")]
    pub(super) artifact_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) parts: Vec<Part>,
}

/// The status of a task has changed.
#[derive(Debug, Default, FromJson)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct StatusUpdate {
    #[serde(deserialize_with = "or_default")]
    pub(super) task_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) context_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) status: Status,
}

/// A result of a task has come, or grown.
#[derive(Debug, Default, FromJson)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ArtifactUpdate {
    #[serde(deserialize_with = "or_default")]
    pub(super) task_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) context_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) artifact: Artifact,
    /// Whether the parts follow those of the artifact so far.
    #[serde(deserialize_with = "or_default")]
    pub(super) append: bool,
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Message {
    /// Its texts, each on lines of its own.
    pub(super) fn text(&self) -> String {
        let texts: Vec<&str> = self
            .parts
            .iter()
            .filter_map(|part| part.text.as_deref())
            .collect();
        texts.join("\n")
    }
}

/// Where a task is, and which conversation it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) task: String,
    pub(super) context: String,
}

impl Place {
    /// The place with these ids, if they are ids.
    pub(super) fn new(task: &str, context: &str) -> Option<Self> {
        let is_id = |id: &str| {
            id.len() <= ID_MAX && id.bytes().all(|byte| byte.is_ascii_graphic()) && id != ".."
        };
        (is_id(task) && is_id(context) && !task.is_empty() && task != ".").then(|| Self {
            task: task.to_owned(),
            context: context.to_owned(),
        })
    }
}

/// A message to the agent: one of a job's, with an id that is the same for all attempts.
pub(super) fn message(id: &str, parts: &[Value], context: &str, task: Option<&str>) -> Value {
    let mut message = json!({
        "messageId": id, "role": "ROLE_USER", "parts": parts, "contextId": context,
    });
    if let (Some(task), Some(entries)) = (task, message.as_object_mut()) {
        entries.insert("taskId".to_owned(), task.into());
    }
    message
}

/// A part that holds a JSON value: a text as such.
pub(super) fn part(value: &Value) -> Value {
    match value {
        Value::String(text) => json!({ "text": text, "mediaType": "text/plain" }),
        data => json!({ "data": data, "mediaType": "application/json" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_null_has_its_default() {
        let event: Event = serde_json::from_str(
            r#"{"task":{"id":"t","contextId":null,"status":{"state":"TASK_STATE_NEW"},
                "artifacts":null,"metadata":{"x":1}}}"#,
        )
        .unwrap();
        let task = event.task.unwrap();
        assert_eq!((task.id.as_str(), task.context_id.as_str()), ("t", ""));
        assert_eq!(task.status.state, State::Unknown);
        let state: State = serde_json::from_str("\"TASK_STATE_WORKING\"").unwrap();
        assert_eq!(state, State::Working);
    }

    #[test]
    fn an_id_stays_within_a_path() {
        assert!(Place::new("a/b?c", "").is_some());
        for bad in ["", ".", "..", "a b", "a\n", &"x".repeat(ID_MAX + 1)] {
            assert_eq!(Place::new(bad, "c"), None, "{bad:?}");
        }
    }
}
