//! The directory: the cards of agents that announced themselves on the chain.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use agentry_protocol::command::{Announce, Status};
use agentry_protocol::{Address, BlockHeight, PublicKey, TransactionHash};

/// What an agent says of itself, in a verified ANNOUNCE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Whose it is.
    pub address: Address,
    /// The key that signed it.
    pub public_key: PublicKey,
    /// What it says: name, description, capabilities, commands, encryption key, expiry.
    pub card: Announce,
    /// The transaction that carried it.
    pub transaction: TransactionHash,
    /// The block that holds it.
    pub height: BlockHeight,
}

/// Which cards are wanted. An empty query fits all that have not expired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only of this address, in either of its forms. Such a query costs one look, however large
    /// the directory is; so does one for a name.
    pub address: Option<Address>,
    /// Only with this name, to the letter.
    pub name: Option<String>,
    /// Only with all of these capabilities.
    pub capabilities: Vec<String>,
    /// Only with all of these commands.
    pub commands: Vec<String>,
    /// Only announced in this block or a later one.
    pub announced_since: Option<BlockHeight>,
    /// At most so many; 0 is no limit.
    pub limit: usize,
}

impl Query {
    /// All cards.
    pub fn all() -> Self {
        Self::default()
    }

    /// The one of an address, in either of its forms.
    pub fn address(address: Address) -> Self {
        Self {
            address: Some(address),
            ..Self::default()
        }
    }

    /// Those with a capability.
    pub fn capability(capability: impl Into<String>) -> Self {
        Self {
            capabilities: vec![capability.into()],
            ..Self::default()
        }
    }

    /// Those that take a command.
    pub fn command(cmd: impl Into<String>) -> Self {
        Self {
            commands: vec![cmd.into()],
            ..Self::default()
        }
    }

    /// Whether a card fits when the clock shows `now_ms`.
    pub fn fits(&self, card: &Card, now_ms: u64) -> bool {
        let is_of = |address: &Address| {
            *address == card.address
                || (card.address.matches(&card.public_key) && address.matches(&card.public_key))
        };
        card.card.check_time(now_ms).is_ok()
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

/// Why a name is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nobody has it.
    #[error(
        "nobody is called {0:?}: neither an agent of agents.toml, nor a contact, nor an agent in the directory"
    )]
    Unknown(String),
    /// More than one has announced it.
    #[error(
        "{} agents in the directory are called {name:?}: {}; use the address, or make one of them a [[contact]]",
        addresses.len(),
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Ambiguous {
        /// The name.
        name: String,
        /// Who has it.
        addresses: Vec<Address>,
    },
}

/// The answer to a question that takes time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What behaviours can look up. The runtime has one, and so has the test kit.
pub trait World: fmt::Debug + Send + Sync {
    /// The cards that fit, by name, then by address.
    fn find(&self, query: &Query, now_ms: u64) -> Vec<Card>;

    /// The address that a name stands for: aliases of agents.toml first, then hosted agents, then
    /// the directory.
    ///
    /// # Errors
    /// [`NameError`].
    fn resolve(&self, name: &str, now_ms: u64) -> Result<Address, NameError>;

    /// How a hosted agent is.
    fn status<'a>(&'a self, agent: &'a str) -> Answer<'a, Status>;
}
