//! Who runs a behaviour, when, what it remembers, and what it can look up.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_protocol::Address;
use agentry_protocol::command::Status;
use serde_json::Value;

use crate::directory::{Card, NameError, Query, World};

/// The durable state of one behaviour of one agent: JSON values under names of its own choice.
///
/// It is read when a run begins and changed by [`Effects::set_state`](crate::Effects::set_state)
/// together with the rest of the outcome, so a run that is repeated sees what the last *committed*
/// one left.
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

/// The circumstances of one run of a behaviour.
#[derive(Clone, Debug)]
pub struct Context {
    /// The agent's name in agents.toml.
    pub agent: String,
    /// The agent's address.
    pub address: Address,
    /// The name of this behaviour within the agent.
    pub behaviour: String,
    /// Which attempt at this event this is, from 1.
    pub attempt: u32,
    /// When the run began: milliseconds since the Unix epoch, by the local clock.
    pub now_ms: u64,
    /// What the behaviour remembers.
    pub state: State,
    /// What can be looked up.
    pub world: Arc<dyn World>,
}

impl Context {
    /// The cards of agents that fit, of those that count now: by name, then by address.
    pub fn find(&self, query: &Query) -> Vec<Card> {
        self.world.find(query, self.now_ms)
    }

    /// The address of an agent: an alias of agents.toml, a hosted agent, or one of the directory.
    ///
    /// # Errors
    /// Nobody has the name, or more than one in the directory.
    pub fn resolve(&self, name: &str) -> Result<Address, NameError> {
        self.world.resolve(name, self.now_ms)
    }

    /// How the agent is: its queues, its tasks, what it can do.
    pub async fn status(&self) -> Status {
        self.world.status(&self.agent).await
    }
}
