//! The directory: which agents have announced themselves on the chain, and with which card.
//!
//! | part | what it is for |
//! |---|---|
//! | `seen` | [`card_of`]: the card that a transaction announces or withdraws, if its sender is verified |
//! | `cards` | the cards of a process, which its shards share |
//! | `contacts` | the contacts of agents.toml, by address and by name |
//! | `table` | the cards in memory, by address and by name |
//! | [`backfill`] | the directory backfill: reading old blocks for their cards |
//! | `registration` | [`Registration`]: a hosted agent's announcement, and its renewal |
//!
//! The store holds every announcement that may still count; the latest one on the chain counts for
//! each address. This handle keeps those in memory, beside the contacts of agents.toml, so that a
//! lookup never waits.

pub mod backfill;
mod cards;
mod contacts;
#[cfg(test)]
mod law;
mod registration;
mod seen;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use agentry_protocol::{Address, EncryptionKey, PublicKey, Timestamp};
use agentry_sdk::{Card, NameError, Query};

use crate::config::Contact;
use agentry_store::{Store, StoreError, read};
pub use cards::Cards;
use contacts::Contacts;
use table::Table;

pub use registration::{
    EndpointWanted, MIN_TTL_MS, Registration, RegistrationError, shown_schemas,
};
pub use seen::card_of;

/// Contacts and cards, in memory. Clones share one directory.
#[derive(Clone, Debug, Default)]
pub struct Directory(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    cards: Cards,
    table: RwLock<Table>,
    contacts: RwLock<Arc<Contacts>>,
    /// The addresses whose cards must be read again. Locked during the reading: an older reading
    /// must not overwrite a newer one.
    stale: tokio::sync::Mutex<BTreeSet<Address>>,
}

impl Directory {
    /// The directory of a store, with the contacts of agents.toml. Cards that other shards of the
    /// process have, too, are shared with them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(
        store: &Store,
        contacts: Vec<Contact>,
        cards: &Cards,
    ) -> Result<Self, StoreError> {
        let mut table = Table::default();
        for announced in store.read(read::cards).await? {
            table.insert(cards.share(announced.card));
        }
        let directory = Self(Arc::new(Inner {
            cards: cards.clone(),
            table: RwLock::new(table),
            ..Inner::default()
        }));
        directory.set_contacts(contacts);
        Ok(directory)
    }

    /// Replaces the contacts.
    pub fn set_contacts(&self, contacts: Vec<Contact>) {
        let mut held = self
            .0
            .contacts
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(Contacts::new(contacts));
    }

    /// Reads the cards of these addresses again: after a commit whose changes name them.
    ///
    /// # Errors
    /// The store cannot be read; the directory is unchanged, and the next refresh reads these
    /// addresses, too.
    pub async fn refresh(&self, store: &Store, addresses: &[Address]) -> Result<(), StoreError> {
        let mut stale = self.0.stale.lock().await;
        stale.extend(addresses.iter().cloned());
        if stale.is_empty() {
            return Ok(());
        }
        let wanted = stale.clone();
        let found = store
            .read(move |db| {
                wanted
                    .into_iter()
                    .map(|address| {
                        let card = read::card(db, &address)?;
                        Ok((address, card))
                    })
                    .collect::<Result<Vec<_>, StoreError>>()
            })
            .await?;
        let mut table = self.0.table.write().unwrap_or_else(PoisonError::into_inner);
        for (address, announced) in found {
            match announced {
                Some(announced) => table.insert(self.0.cards.share(announced.card)),
                None => table.remove(&address),
            }
        }
        stale.clear();
        Ok(())
    }

    /// Replaces the card of its address, for a directory without a store.
    pub fn put(&self, card: Card) {
        let card = self.0.cards.share(card);
        let mut table = self.0.table.write().unwrap_or_else(PoisonError::into_inner);
        table.insert(card);
    }

    /// Removes the card of an address, for a directory without a store.
    pub fn take_out(&self, address: &Address) {
        let mut table = self.0.table.write().unwrap_or_else(PoisonError::into_inner);
        table.remove(address);
    }

    /// The number of addresses that have a card, including expired cards.
    pub fn len(&self) -> usize {
        self.table().len()
    }

    /// Whether no address has a card.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key of an address: from the contacts, or else from its card or the card of the address's
    /// other form. An expired card still provides it.
    pub fn key_of(&self, address: &Address) -> Option<PublicKey> {
        self.contacts()
            .key_of(address)
            .or_else(|| Some(self.table().at(address)?.public_key))
    }

    /// The key for sealing messages to an address: from the contacts, or else from its card or the
    /// card of the address's other form, as long as the card is valid at `now`.
    pub fn enc_key_of(&self, address: &Address, now: Timestamp) -> Option<EncryptionKey> {
        self.contacts().enc_key_of(address).or_else(|| {
            let table = self.table();
            let counts = |card: &&Arc<Card>| card.card.check_time(now).is_ok();
            let card = table
                .of(address)
                .filter(counts)
                .or_else(|| table.at(address).filter(counts))?;
            card.card.enc_key
        })
    }

    /// The card of an address, even if it has expired.
    pub fn card(&self, address: &Address) -> Option<Card> {
        self.table().of(address).map(|card| Card::clone(card))
    }

    /// The cards that match at `now`, by name, then by address.
    pub fn find(&self, query: &Query, now: Timestamp) -> Vec<Card> {
        // Copied outside the lock: refreshes do not wait for a large result.
        let found = self.table().find(query, now);
        found.iter().map(|card| Card::clone(card)).collect()
    }

    /// The address that a contact's name stands for.
    pub fn contact(&self, name: &str) -> Option<Address> {
        self.contacts().named(name).cloned()
    }

    /// Whether an address belongs to a contact.
    pub fn is_contact(&self, address: &Address) -> bool {
        self.contacts().has(address)
    }

    /// Whether an address, or its other form, has a card that is valid at `now`.
    pub fn is_listed(&self, address: &Address, now: Timestamp) -> bool {
        self.table()
            .at(address)
            .is_some_and(|card| card.card.check_time(now).is_ok())
    }

    /// The address of the one agent that has announced this name, in a card that is valid at
    /// `now`.
    ///
    /// # Errors
    /// No agent has the name, or more than one has.
    pub fn named(&self, name: &str, now: Timestamp) -> Result<Address, NameError> {
        let mut addresses = self.table().named(name, now);
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

    /// The address that a name stands for: a contact's, or else that of an announced agent.
    ///
    /// # Errors
    /// No agent has announced the name, or more than one has.
    pub fn resolve(&self, name: &str, now: Timestamp) -> Result<Address, NameError> {
        match self.contact(name) {
            Some(address) => Ok(address),
            None => self.named(name, now),
        }
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.0.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn contacts(&self) -> Arc<Contacts> {
        let contacts = self
            .0
            .contacts
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&contacts)
    }
}
