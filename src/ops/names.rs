//! The names of addresses.

use std::cell::RefCell;
use std::collections::HashMap;

use agentry_protocol::{Address, Dialect, Timestamp};
use agentry_store::{Reader, StoreError, read};

use crate::config::Config;
use crate::runtime::clock::Clock;

/// The name of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// The operator's: an agent's or a contact's.
    Own(String),
    /// Announced in the directory. Anybody can announce any name.
    Announced(String),
}

/// Names of addresses: the operator's own agents and contacts, and the names announced in the
/// directory.
#[derive(Debug)]
pub struct Names<'a> {
    own: HashMap<String, String>,
    db: Option<&'a Reader>,
    /// Names already looked up in the directory.
    announced: RefCell<HashMap<String, Option<String>>>,
    now: Timestamp,
    dialect: Dialect,
}

impl<'a> Names<'a> {
    /// The names of the configuration and, if there is one, of the store.
    ///
    /// # Errors
    /// The store's.
    pub fn new(config: &Config, db: Option<&'a Reader>) -> Result<Self, StoreError> {
        let mut own = HashMap::new();
        if let Some(db) = db {
            for agent in read::agents(db)? {
                own.insert(agent.address.to_string(), agent.name);
            }
        }
        for contact in &config.contacts {
            let name = contact.name.to_string();
            if let Some(key) = &contact.public_key {
                for form in Address::all_of(key) {
                    own.insert(form.to_string(), name.clone());
                }
            }
            own.insert(contact.address.to_string(), name);
        }
        Ok(Self {
            own,
            db,
            announced: RefCell::default(),
            now: Clock::default().now(),
            dialect: config.chain.dialect,
        })
    }

    /// An amount on the configured chain, with its unit.
    pub fn amount(&self, amount: impl std::fmt::Display) -> String {
        self.dialect.amount(amount)
    }

    /// The name of an address, if it has one: the operator's, else the announced one.
    pub fn of(&self, address: &str) -> Option<Name> {
        let own = self.own.get(address).cloned().map(Name::Own);
        own.or_else(|| self.announced(address).map(Name::Announced))
    }

    /// The same as a text.
    pub fn text(&self, address: &str) -> Option<String> {
        self.of(address).map(|name| match name {
            Name::Own(name) | Name::Announced(name) => name,
        })
    }

    /// The name that an address has announced in a card that is valid now, unless the operator uses
    /// it. A directory that cannot be read has no names.
    fn announced(&self, address: &str) -> Option<String> {
        if let Some(known) = self.announced.borrow().get(address) {
            return known.clone();
        }
        let card = || {
            let parsed = Address::from_chain(address).ok()?;
            let card = read::card(self.db?, &parsed).ok()??.card.card;
            card.check_time(self.now).ok()?;
            let name = card.name.to_string();
            let is_ours = self.own.values().any(|own| *own == name);
            (!is_ours).then_some(name)
        };
        let found = card();
        let mut announced = self.announced.borrow_mut();
        announced.insert(address.to_owned(), found.clone());
        found
    }
}
