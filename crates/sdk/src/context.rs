//! The context of a run: the agent, the time, the behaviour's state, and what it can look up.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_protocol::command::Status;
use agentry_protocol::{Address, Timestamp};
use serde_json::Value;

use crate::behaviour::BehaviourError;
use crate::directory::{Card, Environment, NameError, Query};
use crate::task::CompletedTask;

/// The durable state of one behaviour of one agent: JSON values under keys of its own choice.
///
/// The runtime reads it when a run begins. [`Effects::set_state`](crate::Effects::set_state)
/// changes it together with the other effects of the run, so a repeated run sees the state after
/// the last *committed* run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State(BTreeMap<String, Value>);

impl State {
    /// State with these entries.
    pub fn new(entries: impl IntoIterator<Item = (String, Value)>) -> Self {
        Self(entries.into_iter().collect())
    }

    /// The value under `key`, if one was set.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// All entries, by key.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }
}

/// The context of one run of a behaviour.
#[derive(Clone, Debug)]
pub struct Context {
    /// The agent's name in agents.toml.
    pub agent: String,
    /// The agent's address.
    pub address: Address,
    /// The name of this behaviour within the agent.
    pub behaviour: String,
    /// The number of this attempt at the event, from 1.
    pub attempt: u32,
    /// When the run began, by the local clock.
    pub now: Timestamp,
    /// The behaviour's state as the last committed run left it.
    pub state: State,
    /// The queries that the behaviour can make: names, cards, the agent's status.
    pub environment: Arc<dyn Environment>,
}

impl Context {
    /// The cards that match the query and have not expired, sorted by name, then by address.
    pub fn find(&self, query: &Query) -> Vec<Card> {
        self.environment.find(query, self.now)
    }

    /// The address of an agent, by its name: an alias in agents.toml, a hosted agent, or an agent
    /// in the directory.
    ///
    /// # Errors
    /// No agent has the name, or several agents in the directory have it.
    pub fn resolve(&self, name: &str) -> Result<Address, NameError> {
        self.environment.resolve(name, self.now)
    }

    /// The agent's status: its queues, its tasks, its capabilities.
    pub async fn status(&self) -> Status {
        self.environment.status(&self.agent).await
    }

    /// The result of a task of this behaviour, by its key, if it has completed and is still kept:
    /// for as long as `retention` in agents.toml says.
    ///
    /// # Errors
    /// It cannot be read now.
    pub async fn completed(&self, key: &str) -> Result<Option<CompletedTask>, BehaviourError> {
        let (agent, behaviour) = (&self.agent, &self.behaviour);
        self.environment.completed(agent, behaviour, key).await
    }
}
