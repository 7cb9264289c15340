//! The runtime queries that behaviours can make.

use std::fmt;

use agentry_core::rows::TaskState;
use agentry_protocol::command::{Status, TAGS_MAX, Tag, Tags};
use agentry_protocol::{Address, Timestamp};
use agentry_sdk::directory::Answer;
use agentry_sdk::{BehaviourError, Card, CompletedTask, Environment, NameError, Query, TaskOutput};
use agentry_store::{Store, read};
use serde_json::Value;

use super::clock::Clock;
use super::directory::Directory;
use super::registry::{AgentRegistry, Hosted};

/// The [`Environment`] of the runtime, backed by its directory, its agent registry and its store.
#[derive(Clone)]
pub struct RuntimeEnvironment {
    store: Store,
    directory: Directory,
    registry: AgentRegistry,
    clock: Clock,
    version: String,
    started_at: Timestamp,
}

impl fmt::Debug for RuntimeEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeEnvironment")
            .field("version", &self.version)
            .field("started_at", &self.started_at)
            .finish_non_exhaustive()
    }
}

impl RuntimeEnvironment {
    /// The environment of a runtime of this version that was started at `started_at`.
    pub fn new(
        store: Store,
        directory: Directory,
        registry: AgentRegistry,
        clock: Clock,
        version: impl Into<String>,
        started_at: Timestamp,
    ) -> Self {
        Self {
            store,
            directory,
            registry,
            clock,
            version: version.into(),
            started_at,
        }
    }

    async fn status_of(&self, agent: &str) -> Status {
        let mut status = Status {
            uptime_ms: Some(self.clock.now().ms_since(self.started_at)),
            ..outline(agent, &self.version, &self.registry)
        };
        let Some(hosted) = self.registry.named(agent) else {
            return status;
        };
        let id = hosted.id;
        match self.store.read(move |db| read::standing(db, id)).await {
            Ok((queue, tasks)) => {
                status.queue = Some(queue);
                status.tasks = Some(tasks);
            }
            // Unknown values are left out; the answer is correct without them.
            Err(error) => {
                tracing::error!(agent.name = agent, %error, "cannot count the events that wait for an agent");
            }
        }
        status
    }

    async fn task_of(
        &self,
        agent: &str,
        behaviour: String,
        key: String,
    ) -> Result<Option<CompletedTask>, BehaviourError> {
        let Some(hosted) = self.registry.named(agent) else {
            return Ok(None);
        };
        let id = hosted.id;
        let found = self
            .store
            .read(move |db| read::task_named(db, id, &behaviour, &key));
        let found = found.await.map_err(|error| {
            BehaviourError::transient(format!("the store cannot be read: {error}"))
        })?;
        Ok(found.and_then(|task| {
            let completed = task.state == TaskState::Completed;
            let text = task.result.filter(|_| completed)?;
            Some(CompletedTask {
                submitter: task.submitter,
                output: TaskOutput {
                    text,
                    media_type: task.media_type,
                    incomplete: task.error_code,
                },
            })
        }))
    }
}

impl Environment for RuntimeEnvironment {
    fn find(&self, query: &Query, now: Timestamp) -> Vec<Card> {
        self.directory.find(query, now)
    }

    fn resolve(&self, name: &str, now: Timestamp) -> Result<Address, NameError> {
        resolve(&self.directory, &self.registry, name, now)
    }

    fn status<'a>(&'a self, agent: &'a str) -> Answer<'a, Status> {
        Box::pin(self.status_of(agent))
    }

    fn completed<'a>(
        &'a self,
        agent: &'a str,
        behaviour: &'a str,
        key: &'a str,
    ) -> Answer<'a, Result<Option<CompletedTask>, BehaviourError>> {
        Box::pin(self.task_of(agent, behaviour.to_owned(), key.to_owned()))
    }
}

/// The address that a name stands for: a contact's, a hosted agent's, or else that of an announced
/// agent.
///
/// # Errors
/// No agent has the name, or more than one has announced it.
pub fn resolve(
    directory: &Directory,
    registry: &AgentRegistry,
    name: &str,
    now: Timestamp,
) -> Result<Address, NameError> {
    if let Some(address) = directory.contact(name) {
        return Ok(address);
    }
    match registry.address_of(name) {
        Some(address) => Ok(address),
        None => directory.named(name, now),
    }
}

/// The part of an agent's status that needs no store: its name and its capabilities.
pub fn outline(agent: &str, version: &str, registry: &AgentRegistry) -> Status {
    Status {
        agent: tag(word(agent)),
        version: tag(word(version)),
        capabilities: registry
            .named(agent)
            .map(|hosted| capabilities(&hosted))
            .unwrap_or_default(),
        ..Status::default()
    }
}

/// The capabilities that the behaviours of an agent declare, each once.
pub fn capabilities(hosted: &Hosted) -> Tags {
    let all = hosted.config.behaviours.iter();
    bounded(all.flat_map(|instance| instance.behaviour.capabilities()))
}

/// The commands that the behaviours of an agent take, each once.
pub fn commands(hosted: &Hosted) -> Tags {
    let all = hosted.config.behaviours.iter();
    bounded(all.flat_map(|instance| instance.behaviour.commands()))
}

/// The schemas of the commands that the behaviours of an agent take; the first one counts.
pub fn schemas(hosted: &Hosted) -> Vec<(String, Value)> {
    let all = hosted.config.behaviours.iter();
    let mut found: Vec<(String, Value)> = Vec::new();
    for (cmd, schema) in all.flat_map(|instance| instance.behaviour.schemas()) {
        if !found.iter().any(|(other, _)| *other == cmd) {
            found.push((cmd, schema));
        }
    }
    found
}

/// The words that are valid in a card, in their order, each once; at most as many as a card holds.
fn bounded(words: impl Iterator<Item = String>) -> Tags {
    let mut tags: Vec<Tag> = Vec::new();
    for tag in words.filter_map(|word| word.parse().ok()) {
        if tags.len() < TAGS_MAX && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Tags::new(tags).unwrap_or_default()
}

/// The beginning of a text that fits into a tag.
fn word(text: &str) -> &str {
    let end = text.floor_char_boundary(agentry_protocol::command::WORD_MAX);
    text.get(..end).unwrap_or_default()
}

fn tag(text: &str) -> Option<Tag> {
    text.parse().ok()
}
