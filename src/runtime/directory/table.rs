//! The cards in memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use agentry_protocol::{Address, Timestamp};
use agentry_sdk::{Card, Query};

/// The cards, one for each address; also indexed by name and by the other form of the address.
#[derive(Debug, Default)]
pub(super) struct Table {
    cards: HashMap<Address, Arc<Card>>,
    names: HashMap<Box<str>, BTreeSet<Address>>,
    /// From the form of an address that its card does not use to the one that it does.
    others: HashMap<Address, Address>,
}

impl Table {
    /// Replaces the card of its address.
    pub(super) fn insert(&mut self, card: Arc<Card>) {
        self.remove(&card.address);
        let address = card.address.clone();
        self.names
            .entry(card.card.name.as_str().into())
            .or_default()
            .insert(address.clone());
        if let Some(other) = other_form(&card) {
            self.others.insert(other, address.clone());
        }
        self.cards.insert(address, card);
    }

    /// Removes the card of an address.
    pub(super) fn remove(&mut self, address: &Address) {
        let Some(card) = self.cards.remove(address) else {
            return;
        };
        let name = card.card.name.as_str();
        if let Some(addresses) = self.names.get_mut(name) {
            addresses.remove(address);
            if addresses.is_empty() {
                self.names.remove(name);
            }
        }
        if let Some(other) = other_form(&card) {
            self.others.remove(&other);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.cards.len()
    }

    /// The card of exactly this address.
    pub(super) fn of(&self, address: &Address) -> Option<&Arc<Card>> {
        self.cards.get(address)
    }

    /// The card of this address, or else that of its other form.
    pub(super) fn at(&self, address: &Address) -> Option<&Arc<Card>> {
        self.of(address)
            .or_else(|| self.of(self.others.get(address)?))
    }

    /// The agents that have announced this name in a valid card, by address.
    pub(super) fn named(&self, name: &str, now: Timestamp) -> Vec<Address> {
        self.names
            .get(name)
            .into_iter()
            .flatten()
            .filter(|address| {
                self.of(address)
                    .is_some_and(|card| card.card.check_time(now).is_ok())
            })
            .cloned()
            .collect()
    }

    /// The matching cards, by name, then by address.
    pub(super) fn find(&self, query: &Query, now: Timestamp) -> Vec<Arc<Card>> {
        let fits = |card: &&Arc<Card>| query.fits(card, now);
        // A query with an address or a name uses the index, whatever else it asks for.
        let mut found: Vec<Arc<Card>> = match (&query.address, &query.name) {
            (Some(address), _) => self.at(address).into_iter().filter(fits).cloned().collect(),
            (None, Some(name)) => self
                .names
                .get(name.as_str())
                .into_iter()
                .flatten()
                .filter_map(|address| self.of(address))
                .filter(fits)
                .cloned()
                .collect(),
            (None, None) => self.cards.values().filter(fits).cloned().collect(),
        };
        found.sort_unstable_by(|one, other| {
            (&one.card.name, &one.address).cmp(&(&other.card.name, &other.address))
        });
        if query.limit > 0 {
            found.truncate(query.limit);
        }
        found
    }
}

/// The form of a card's address that the card does not use.
fn other_form(card: &Card) -> Option<Address> {
    let forms = Address::all_of(&card.public_key);
    forms.into_iter().find(|form| *form != card.address)
}
