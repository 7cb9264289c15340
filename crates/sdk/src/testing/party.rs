//! The parties of a simulation: agents and peers with their keys.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use agentry_protocol::{Address, ContentHash, DecryptionKey, EncryptionKey, PublicKey, Seed};
use agentry_protocol::{KnownCommand, Payload};

use super::MessageBuilder;

/// A cache of parties. Deriving keys is slow in a debug build, and a contract test uses the same
/// few parties repeatedly.
static KNOWN: Mutex<BTreeMap<String, Party>> = Mutex::new(BTreeMap::new());
/// The size at which the cache is cleared.
const KNOWN_MAX: usize = 1_000;

/// A hosted agent, or a peer whose messages the test writes. Its keys are derived from its name, so
/// a name has the same address in every simulation.
///
/// ```
/// use agentry_sdk::testing::Party;
///
/// let alice = Party::named("alice");
/// assert_eq!(alice.address, Party::named("alice").address);
/// assert_ne!(alice.address, Party::named("bob").address);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Address,
    /// The key that belongs to the address.
    pub public_key: PublicKey,
    /// The key that messages to it are sealed with.
    pub encryption_key: EncryptionKey,
}

impl Party {
    /// The party with this name.
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        let make = || Self::make(name.clone());
        known.entry(name.clone()).or_insert_with(make).clone()
    }

    fn make(name: String) -> Self {
        let seed = Seed::from_bytes(*ContentHash::of(name.as_bytes()).as_bytes());
        let public_key = seed.public_key();
        Self {
            address: Address::from_public_key(&public_key),
            public_key,
            encryption_key: DecryptionKey::from_seed(&seed).encryption_key(),
            name,
        }
    }

    /// A text from it.
    pub fn text(&self, text: impl Into<String>) -> MessageBuilder {
        self.says(Payload::Text(text.into()))
    }

    /// A command from it.
    pub fn command(&self, command: &KnownCommand) -> MessageBuilder {
        self.says(command.to_payload())
    }

    /// A message from it.
    pub fn says(&self, payload: Payload) -> MessageBuilder {
        MessageBuilder::new(payload).from(self)
    }
}

impl From<&Party> for Address {
    fn from(party: &Party) -> Self {
        party.address.clone()
    }
}
