//! What behaviours can look up in a replay.

use agentry_protocol::command::Status;
use agentry_protocol::{Address, Timestamp};
use agentry_sdk::directory::Answer;
use agentry_sdk::{Card, Environment, NameError, Query};

use crate::runtime::directory::Directory;
use crate::runtime::environment;
use crate::runtime::registry::AgentRegistry;

/// The directory as of the replayed blocks, and the configured agents. The past state of an agent's
/// queues and tasks is unknown.
#[derive(Debug)]
pub(super) struct ReplayEnvironment {
    pub(super) directory: Directory,
    pub(super) registry: AgentRegistry,
}

impl Environment for ReplayEnvironment {
    fn find(&self, query: &Query, now: Timestamp) -> Vec<Card> {
        self.directory.find(query, now)
    }

    fn resolve(&self, name: &str, now: Timestamp) -> Result<Address, NameError> {
        environment::resolve(&self.directory, &self.registry, name, now)
    }

    fn status<'a>(&'a self, agent: &'a str) -> Answer<'a, Status> {
        let status = environment::outline(agent, env!("CARGO_PKG_VERSION"), &self.registry);
        Box::pin(std::future::ready(status))
    }
}
