//! The directory: the cards of agents that announced themselves on the chain, and the queries that
//! behaviours can make.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use agentry_protocol::command::Status;
use agentry_protocol::{Address, BlockHeight, Timestamp};

pub use agentry_core::card::Card;

use crate::behaviour::BehaviourError;
use crate::task::CompletedTask;

/// A query for cards. An empty query matches all cards that have not expired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Matches the card of this address, in either of its forms. A query by address or by name
    /// takes one lookup, whatever the size of the directory.
    pub address: Option<Address>,
    /// Matches cards with exactly this name.
    pub name: Option<String>,
    /// Matches cards that have all of these capabilities.
    pub capabilities: Vec<String>,
    /// Matches cards that have all of these commands.
    pub commands: Vec<String>,
    /// Matches cards that were announced in this block or a later one.
    pub announced_since: Option<BlockHeight>,
    /// The most cards to return; 0 means no limit.
    pub limit: usize,
}

impl Query {
    /// All cards that have not expired.
    pub fn all() -> Self {
        Self::default()
    }

    /// The card of an address, in either of its forms.
    pub fn address(address: Address) -> Self {
        Self {
            address: Some(address),
            ..Self::default()
        }
    }

    /// The cards that have a capability.
    pub fn capability(capability: impl Into<String>) -> Self {
        Self {
            capabilities: vec![capability.into()],
            ..Self::default()
        }
    }

    /// The cards of agents that handle a command.
    pub fn command(cmd: impl Into<String>) -> Self {
        Self {
            commands: vec![cmd.into()],
            ..Self::default()
        }
    }

    /// Whether a card matches at the time `now`: one that has expired does not.
    pub fn fits(&self, card: &Card, now: Timestamp) -> bool {
        let is_of = |address: &Address| {
            *address == card.address
                || (card.address.matches(&card.public_key) && address.matches(&card.public_key))
        };
        card.card.check_time(now).is_ok()
            && self.address.as_ref().is_none_or(is_of)
            && self
                .name
                .as_ref()
                .is_none_or(|name| card.card.name.as_str() == name)
            && self
                .capabilities
                .iter()
                .all(|wanted| card.card.capabilities.contains(wanted))
            && self
                .commands
                .iter()
                .all(|wanted| card.card.commands.contains(wanted))
            && self
                .announced_since
                .is_none_or(|height| card.height >= height)
    }
}

/// Why a name cannot be resolved to an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No agent has the name.
    #[error(
        "unknown name {0:?}: no agent in agents.toml, no contact and no agent in the directory has it"
    )]
    Unknown(String),
    /// Several agents in the directory have announced the name.
    #[error(
        "{} agents in the directory are called {name:?}: {}; use the address, or make one of them a [[contact]]",
        addresses.len(),
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Ambiguous {
        /// The name.
        name: String,
        /// The addresses that have it.
        addresses: Vec<Address>,
    },
}

/// The future that a query returns where the answer takes time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The queries that behaviours can make. The runtime and the test kit each implement it.
pub trait Environment: fmt::Debug + Send + Sync {
    /// The cards that match, sorted by name, then by address.
    fn find(&self, query: &Query, now: Timestamp) -> Vec<Card>;

    /// The address that a name resolves to: aliases in agents.toml come first, then hosted agents,
    /// then the directory.
    ///
    /// # Errors
    /// [`NameError`].
    fn resolve(&self, name: &str, now: Timestamp) -> Result<Address, NameError>;

    /// The status of a hosted agent.
    fn status<'a>(&'a self, agent: &'a str) -> Answer<'a, Status>;

    /// The completed task of a behaviour of a hosted agent; none, unless an implementation knows
    /// tasks.
    ///
    /// # Errors
    /// It cannot be read now.
    fn completed<'a>(
        &'a self,
        agent: &'a str,
        behaviour: &'a str,
        key: &'a str,
    ) -> Answer<'a, Result<Option<CompletedTask>, BehaviourError>> {
        let _ = (agent, behaviour, key);
        Box::pin(std::future::ready(Ok(None)))
    }
}
