//! What can be read by its URI.
//!
//! | URI | is |
//! |---|---|
//! | `agentry://directory` | the first cards of the directory |
//! | `agentry://inbox/{agent}` | the newest messages that a hosted agent received |
//! | `agentry://thread/{agent}/{thread}` | the newest messages of one of its conversations |
//! | `agentry://card/{agent}` | what is known of an agent |
//! | `agentry://task/{id}` | a requested task |
//! | `agentry://result/{id}` | the whole result of a task |
//!
//! An agent is named, or addressed, as in tools. All but the last are JSON: what the tool that reads
//! the same returns.

use std::str::FromStr;

use rmcp::ErrorData;
use rmcp::model::{
    ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Resource,
    ResourceContents, ResourceTemplate,
};
use serde::Serialize;
use serde_json::json;

use super::super::api::request::percent_decoded;
use super::super::door::Door;
use super::super::door::directory::{FindAgents, GetAgent};
use super::super::door::messages::{Direction, ReadInbox};
use super::super::door::status::GetStatus;
use super::super::door::tasks::{FetchTaskResult, GetTask};
use super::super::error::{DoorError, ErrorCode};

const SCHEME: &str = "agentry://";
const JSON: &str = "application/json";

/// How many agents a page of resources has.
const PAGE: u32 = 100;

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Directory,
    Inbox { agent: String },
    Thread { agent: String, thread: String },
    Card { agent: String },
    Task { id: String },
    Result { id: String },
}

impl FromStr for Place {
    type Err = ();

    fn from_str(uri: &str) -> Result<Self, ()> {
        let path = uri.strip_prefix(SCHEME).ok_or(())?;
        let (kind, rest) = path.split_once('/').unwrap_or((path, ""));
        if kind == "directory" && rest.is_empty() {
            return Ok(Self::Directory);
        }
        let one = |text: &str| {
            let text = percent_decoded(text).ok();
            text.filter(|text| !text.is_empty()).ok_or(())
        };
        Ok(match kind {
            "inbox" => Self::Inbox { agent: one(rest)? },
            "card" => Self::Card { agent: one(rest)? },
            "task" => Self::Task { id: one(rest)? },
            "result" => Self::Result { id: one(rest)? },
            "thread" => {
                let (agent, thread) = rest.split_once('/').ok_or(())?;
                Self::Thread {
                    agent: one(agent)?,
                    thread: one(thread)?,
                }
            }
            _ => return Err(()),
        })
    }
}

impl Place {
    /// Whether a client is told that it has changed.
    pub(super) const fn is_watched(&self) -> bool {
        matches!(
            self,
            Self::Inbox { .. } | Self::Thread { .. } | Self::Task { .. }
        )
    }

    /// Its content: its media type, and its text.
    ///
    /// # Errors
    /// [`DoorError`].
    pub(super) async fn read(&self, door: &Door) -> Result<(String, String), DoorError> {
        let inbox = |agent: &str| ReadInbox {
            agent: Some(agent.to_owned()),
            ..ReadInbox::default()
        };
        match self.clone() {
            Self::Directory => written(&door.find_agents(FindAgents::default()).await?),
            Self::Card { agent } => written(&door.get_agent(GetAgent { who: agent }).await?),
            Self::Inbox { agent } => written(&door.read_inbox(inbox(&agent)).await?),
            Self::Thread { agent, thread } => {
                let request = ReadInbox {
                    thread: Some(thread),
                    direction: Direction::Both,
                    ..inbox(&agent)
                };
                written(&door.read_inbox(request).await?)
            }
            Self::Task { id } => {
                let request = GetTask {
                    id,
                    ..GetTask::default()
                };
                written(&door.get_task(request).await?)
            }
            Self::Result { id } => {
                let request = FetchTaskResult {
                    id,
                    ..FetchTaskResult::default()
                };
                let result = door.fetch_result(request).await?;
                Ok(("text/plain".to_owned(), result.text))
            }
        }
    }
}

fn written<T: Serialize>(content: &T) -> Result<(String, String), DoorError> {
    let text = serde_json::to_string(content).map_err(|error| {
        DoorError::new(ErrorCode::Internal, "it cannot be written as JSON").with_detail(error)
    })?;
    Ok((JSON.to_owned(), text))
}

/// The result of a task, if nothing needs to be spent for it.
///
/// # Errors
/// It was cut; [`DoorError`].
pub(super) async fn whole_result(
    place: &Place,
    door: &Door,
) -> Result<(String, String), DoorError> {
    if let Place::Result { id } = place {
        let request = GetTask {
            id: id.clone(),
            ..GetTask::default()
        };
        let job = door.get_task(request).await?;
        if job.result.is_some_and(|result| !result.whole) {
            return Err(DoorError::new(
                ErrorCode::NotAllowed,
                "the result was cut, and to fetch the rest costs fees that the limits of this \
                 connection do not count; the operator can fetch it: `agentry task fetch`",
            ));
        }
    }
    place.read(door).await
}

/// The resources that a caller can list: the directory, and the inboxes of its agents.
///
/// # Errors
/// [`DoorError`].
pub(super) async fn list(
    door: &Door,
    cursor: Option<String>,
) -> Result<ListResourcesResult, DoorError> {
    let first = cursor.is_none();
    let wanted = GetStatus {
        agent: None,
        limit: Some(PAGE),
        cursor,
    };
    let (agents, next) = match door.agent_status(wanted).await {
        Ok(page) => (page.agents, page.next),
        // Before a runtime has run for the first time, there are no agents.
        Err(error) if error.code() == ErrorCode::Unavailable => (Vec::new(), None),
        Err(error) => return Err(error),
    };
    let mut resources = Vec::new();
    if first {
        resources.push(
            Resource::new(format!("{SCHEME}directory"), "directory")
                .with_title("Directory")
                .with_description("Cards of agents. What they say is not checked.")
                .with_mime_type(JSON),
        );
    }
    resources.extend(agents.into_iter().map(|agent| {
        Resource::new(
            format!("{SCHEME}inbox/{}", agent.address),
            format!("inbox of {}", agent.agent),
        )
        .with_description("The newest messages that the agent received: data of their senders.")
        .with_mime_type(JSON)
    }));
    let mut listed = ListResourcesResult::with_all_items(resources);
    listed.next_cursor = next;
    Ok(listed)
}

/// The kinds of resources.
pub(super) fn templates() -> ListResourceTemplatesResult {
    let template = |uri: &str, name: &str, about: &str| {
        ResourceTemplate::new(format!("{SCHEME}{uri}"), name).with_description(about)
    };
    let json = |uri: &str, name: &str, about: &str| template(uri, name, about).with_mime_type(JSON);
    ListResourceTemplatesResult::with_all_items(vec![
        json(
            "inbox/{agent}",
            "inbox",
            "The newest messages that a hosted agent received: data of their senders.",
        ),
        json(
            "thread/{agent}/{thread}",
            "thread",
            "The newest messages of a conversation of a hosted agent: data of their senders.",
        ),
        json(
            "card/{agent}",
            "card",
            "What is known of an agent. What its card says is not checked.",
        ),
        json(
            "task/{+id}",
            "task",
            "A requested task: its result is data of the agent that did it.",
        ),
        template(
            "result/{+id}",
            "result",
            "The whole result of a task: data of the agent that did it. If it was cut, the agent is \
             asked for the rest, which costs fees.",
        ),
    ])
}

/// A resource with its content.
pub(super) fn contents(uri: &str, (media_type, text): (String, String)) -> ReadResourceResult {
    let contents = ResourceContents::text(text, uri).with_mime_type(media_type);
    ReadResourceResult::new(vec![contents])
}

/// There is no such resource, or the caller may not see it.
pub(super) fn not_found(uri: &str) -> ErrorData {
    ErrorData::resource_not_found("there is no such resource", Some(json!({"uri": uri})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_uri_of_a_template_is_read_and_nothing_else_is() {
        let agent = || "fleet/one".to_owned();
        for (uri, place) in [
            ("agentry://directory", Place::Directory),
            (
                "agentry://inbox/fleet%2Fone",
                Place::Inbox { agent: agent() },
            ),
            ("agentry://card/fleet/one", Place::Card { agent: agent() }),
            (
                "agentry://thread/fleet%2fone/a%20b",
                Place::Thread {
                    agent: agent(),
                    thread: "a b".to_owned(),
                },
            ),
            (
                "agentry://task/outbox/7",
                Place::Task {
                    id: "outbox/7".to_owned(),
                },
            ),
            (
                "agentry://result/outbox%2F7",
                Place::Result {
                    id: "outbox/7".to_owned(),
                },
            ),
        ] {
            assert_eq!(uri.parse(), Ok(place), "{uri}");
        }
        for uri in [
            "agentry://",
            "agentry://inbox/",
            "agentry://thread/a",
            "agentry://thread/a/",
            "agentry://directory/x",
            "agentry://inbox/%f",
            "agentry://inbox/%ff",
            "agentry://inbox/%zz",
            "file:///etc/passwd",
            "AGENTRY://directory",
        ] {
            assert_eq!(uri.parse::<Place>(), Err(()), "{uri}");
        }
    }
}
