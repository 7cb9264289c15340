//! The names, cards and statuses that behaviours of a simulation can look up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentry_protocol::command::Status;
use agentry_protocol::{Address, EncryptionKey, Timestamp};

use crate::behaviour::BehaviourError;
use crate::directory::{Answer, Card, Environment, NameError, Query};
use crate::task::CompletedTask;

/// An [`Environment`] whose names, cards and statuses the test sets. Clones are the same environment.
///
/// A [simulation](super::Simulation) updates it: it adds the names of hosted agents and peers, and
/// a verified ANNOUNCE or WITHDRAW that is mined changes the directory, and a task that completes can
/// be found.
///
/// ```
/// use agentry_sdk::testing::{Party, START, TestEnvironment};
/// use agentry_sdk::Environment;
///
/// let environment = TestEnvironment::new();
/// let alice = Party::named("alice");
/// environment.alias("boss", &alice);
/// assert_eq!(environment.resolve("boss", START), Ok(alice.address));
/// ```
#[derive(Clone, Debug, Default)]
pub struct TestEnvironment(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    aliases: BTreeMap<String, Address>,
    cards: BTreeMap<Address, Card>,
    keys: BTreeMap<Address, EncryptionKey>,
    statuses: BTreeMap<String, Status>,
    completed: BTreeMap<[String; 3], CompletedTask>,
}

impl TestEnvironment {
    /// An empty environment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives an address a name. It takes precedence over the names in the directory.
    pub fn alias(&self, name: impl Into<String>, address: impl Into<Address>) {
        self.inner().aliases.insert(name.into(), address.into());
    }

    /// Adds a card to the directory, or replaces the card of the same address.
    pub fn announce(&self, card: Card) {
        self.inner().cards.insert(card.address.clone(), card);
    }

    /// Removes a card from the directory.
    pub fn withdraw(&self, address: impl Into<Address>) {
        self.inner().cards.remove(&address.into());
    }

    /// Sets the status of a hosted agent.
    pub fn set_status(&self, agent: impl Into<String>, status: Status) {
        self.inner().statuses.insert(agent.into(), status);
    }

    /// Sets the result of a completed task of a hosted agent's behaviour, by its key.
    pub fn complete(&self, agent: &str, behaviour: &str, key: &str, task: CompletedTask) {
        let id = [agent, behaviour, key].map(str::to_owned);
        self.inner().completed.insert(id, task);
    }

    /// Sets the encryption key of an address, as the configuration can.
    pub fn know_key(&self, address: impl Into<Address>, key: EncryptionKey) {
        self.inner().keys.insert(address.into(), key);
    }

    /// Whether a message to this address can be sealed.
    pub(super) fn can_seal(&self, to: &Address, now: Timestamp) -> bool {
        let inner = self.inner();
        inner.keys.contains_key(to)
            || inner.cards.get(to).is_some_and(|card| {
                card.card.enc_key.is_some() && card.card.check_time(now).is_ok()
            })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Environment for TestEnvironment {
    fn find(&self, query: &Query, now: Timestamp) -> Vec<Card> {
        let mut found: Vec<Card> = self
            .inner()
            .cards
            .values()
            .filter(|card| query.fits(card, now))
            .cloned()
            .collect();
        found.sort_by(|one, other| {
            (&one.card.name, &one.address).cmp(&(&other.card.name, &other.address))
        });
        if query.limit > 0 {
            found.truncate(query.limit);
        }
        found
    }

    fn resolve(&self, name: &str, now: Timestamp) -> Result<Address, NameError> {
        let inner = self.inner();
        if let Some(address) = inner.aliases.get(name) {
            return Ok(address.clone());
        }
        let named: BTreeSet<&Address> = inner
            .cards
            .values()
            .filter(|card| card.card.name.as_str() == name && card.card.check_time(now).is_ok())
            .map(|card| &card.address)
            .collect();
        let mut addresses: Vec<Address> = named.into_iter().cloned().collect();
        match (addresses.pop(), addresses.is_empty()) {
            (None, _) => Err(NameError::Unknown(name.to_owned())),
            (Some(address), true) => Ok(address),
            (Some(last), false) => {
                addresses.push(last);
                Err(NameError::Ambiguous {
                    name: name.to_owned(),
                    addresses,
                })
            }
        }
    }

    fn status<'a>(&'a self, agent: &'a str) -> Answer<'a, Status> {
        let status = self.inner().statuses.get(agent).cloned();
        Box::pin(async move { status.unwrap_or_default() })
    }

    fn completed<'a>(
        &'a self,
        agent: &'a str,
        behaviour: &'a str,
        key: &'a str,
    ) -> Answer<'a, Result<Option<CompletedTask>, BehaviourError>> {
        let id = [agent, behaviour, key].map(str::to_owned);
        let task = self.inner().completed.get(&id).cloned();
        Box::pin(std::future::ready(Ok(task)))
    }
}
