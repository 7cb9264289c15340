//! What is known of the hosted agents in AITBC's agent coordinator, and the messages that were found in
//! their inboxes there. All of these are unverified: anybody can have written them, under any name.

use agentry_protocol::Timestamp;
use serde::{Deserialize, Serialize};

use super::{OperationError, Operations};
use crate::runtime::coordinator::Coordinator;

/// The longest result, in bytes as JSON, so that it fits through the control socket.
const RESULT_MAX: usize = 4 << 20;

/// The state of the agents that are announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorStatus {
    /// The coordinator, without a password.
    pub url: String,
    /// How many agents are announced.
    pub announced: usize,
    /// How many of them the coordinator knows.
    pub registered: usize,
    /// The agents, by their names.
    pub agents: Vec<AnnouncedAgent>,
    /// Whether there are more.
    pub more: bool,
}

/// The state of an agent that is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedAgent {
    /// Its name.
    pub agent: String,
    /// Its address, which is its id in the coordinator.
    pub address: String,
    /// Whether the coordinator knows it, as far as the last call tells.
    pub registered: bool,
    /// When it was registered last.
    pub registered_at: Option<Timestamp>,
    /// When it was kept alive last.
    pub heartbeat_at: Option<Timestamp>,
    /// When its inbox was read last.
    pub read_at: Option<Timestamp>,
    /// How many messages of its inbox are kept.
    pub messages: usize,
    /// How many of the messages in its inbox could not be read.
    pub unreadable: u64,
    /// What does not work, if anything does not.
    pub reason: Option<String>,
}

/// Which messages are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxWanted {
    /// Only those to this agent: its address, name or wallet.
    pub agent: Option<String>,
    /// How many, at most.
    pub limit: usize,
}

/// Messages from the inboxes, the ones found last first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorInbox {
    /// The messages.
    pub messages: Vec<CoordinatorMessage>,
    /// Whether there are more.
    pub more: bool,
}

/// A message from an inbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorMessage {
    /// The agent in whose inbox it is.
    pub agent: String,
    /// Its address.
    pub address: String,
    /// The message's id in the coordinator, if it has one.
    pub id: Option<String>,
    /// Who it says has sent it. Nobody checks that.
    pub from: String,
    /// Whether the sender is known to have sent it: never.
    pub verified: bool,
    /// Its type, in the words of the coordinator.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its priority, in the words of the coordinator.
    pub priority: Option<String>,
    /// When it was sent, as the coordinator writes it.
    pub sent: Option<String>,
    /// When it was found.
    pub received_at: Timestamp,
    /// Its content; `None` if it is encrypted.
    pub content: Option<String>,
    /// Whether a part of it was too long to be kept.
    pub cut: bool,
}

impl CoordinatorStatus {
    /// Adds those of another shard of the cluster.
    pub fn add(&mut self, other: Self) {
        self.announced += other.announced;
        self.registered += other.registered;
        self.agents.extend(other.agents);
        self.agents
            .sort_by(|one, other| one.agent.cmp(&other.agent));
        self.more |= other.more;
    }
}

impl CoordinatorInbox {
    /// Adds those of another shard of the cluster.
    pub fn add(&mut self, other: Self, limit: usize) {
        self.messages.extend(other.messages);
        self.messages
            .sort_by_key(|message| std::cmp::Reverse(message.received_at));
        self.more |= other.more || self.messages.len() > limit;
        self.messages.truncate(limit);
    }
}

/// Keeps the first items that fit into a result. Returns whether there are others.
fn fit<T: Serialize>(items: &mut Vec<T>) -> bool {
    let mut room = RESULT_MAX;
    let fits = |item: &T| {
        let length = serde_json::to_string(item).map_or(usize::MAX, |text| text.len());
        room = room.saturating_sub(length);
        room > 0
    };
    let end = items.iter().map(fits).position(|fits| !fits);
    items.truncate(end.unwrap_or(items.len()));
    end.is_some()
}

impl Operations {
    fn coordinator(&self) -> Result<&Coordinator, OperationError> {
        self.links.coordinator.as_ref().ok_or_else(|| {
            let reason = "the running runtime asks no agent coordinator: set [coordinator] url in \
                          agents.toml, and restart it";
            OperationError::Invalid(reason.to_owned())
        })
    }

    /// The state of the agents that are announced.
    ///
    /// # Errors
    /// [`OperationError::Invalid`]: no coordinator is configured.
    pub fn coordinator_status(&self) -> Result<CoordinatorStatus, OperationError> {
        let coordinator = self.coordinator()?;
        let mut agents = coordinator.agents(|address| self.registry.at(address).is_some());
        agents.sort_by(|one, other| one.agent.cmp(&other.agent));
        let announced = agents.len();
        let registered = agents.iter().filter(|agent| agent.registered).count();
        let more = fit(&mut agents);
        Ok(CoordinatorStatus {
            url: coordinator.url().to_owned(),
            announced,
            registered,
            agents,
            more,
        })
    }

    /// The messages that were found last.
    ///
    /// # Errors
    /// [`OperationError::Invalid`]: no coordinator is configured. [`OperationError::NotHosted`].
    pub fn coordinator_inbox(
        &self,
        wanted: &InboxWanted,
    ) -> Result<CoordinatorInbox, OperationError> {
        let coordinator = self.coordinator()?;
        let of = wanted.agent.as_deref();
        let of = of.map(|who| self.hosted(who)).transpose()?;
        let mut messages = coordinator.messages(|address| match &of {
            Some(hosted) => hosted.address.as_str() == address,
            None => self.registry.at(address).is_some(),
        });
        messages.sort_by_key(|message| std::cmp::Reverse(message.received_at));
        let mut more = messages.len() > wanted.limit;
        messages.truncate(wanted.limit);
        more |= fit(&mut messages);
        Ok(CoordinatorInbox { messages, more })
    }
}
