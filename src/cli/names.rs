//! Display names of addresses in lists.

use std::cell::RefCell;
use std::collections::HashMap;

use agentry_protocol::Address;
use agentry_store::{Reader, read};

use super::Failure;
use super::output::printable;
use crate::config::Config;
use crate::runtime::clock::Clock;

/// Maximum length of a displayed name, in characters.
const SHOWN: usize = 40;

/// Addresses up to this length are shown whole.
const SHORT: usize = 20;

/// Names of addresses: the operator's own agents and contacts, and the names announced in the
/// directory.
pub(super) struct Names<'a> {
    own: HashMap<String, String>,
    db: Option<&'a Reader>,
    /// Names already looked up in the directory.
    announced: RefCell<HashMap<String, Option<String>>>,
    now_ms: u64,
}

impl<'a> Names<'a> {
    /// The names of the configuration and, if there is one, of the store.
    pub(super) fn new(config: &Config, db: Option<&'a Reader>) -> Result<Self, Failure> {
        let mut own = HashMap::new();
        if let Some(db) = db {
            for agent in read::agents(db)? {
                own.insert(agent.address.to_string(), agent.name);
            }
        }
        for contact in &config.contacts {
            let name = contact.name.to_string();
            if let Some(key) = &contact.public_key {
                for form in [
                    Address::from_public_key(key),
                    Address::bech32_from_public_key(key),
                ] {
                    own.insert(form.to_string(), name.clone());
                }
            }
            own.insert(contact.address.to_string(), name);
        }
        Ok(Self {
            own,
            db,
            announced: RefCell::default(),
            now_ms: Clock::default().now_ms(),
        })
    }

    /// The name of an address, if it has one: the operator's name, else the announced one.
    pub(super) fn name(&self, address: &str) -> Option<String> {
        let own = self.own.get(address).cloned();
        own.or_else(|| self.announced(address))
    }

    /// An address for display, by its name. Anybody can announce any name, so an announced name is
    /// followed by its address.
    pub(super) fn shown(&self, address: &str) -> String {
        if let Some(name) = self.own.get(address) {
            return printable(name, SHOWN);
        }
        let short = short(address);
        match self.announced(address) {
            Some(name) => format!("{} ({short})", printable(&name, SHOWN)),
            None => short,
        }
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
            card.check_time(self.now_ms).ok()?;
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

/// The beginning and the end of an address, for display.
pub(super) fn short(address: &str) -> String {
    let shown = printable(address, usize::MAX);
    let characters: Vec<char> = shown.chars().collect();
    let (Some(begin), Some(end)) = (
        characters.get(..12),
        characters.get(characters.len().saturating_sub(6)..),
    ) else {
        return shown;
    };
    if characters.len() <= SHORT {
        return shown;
    }
    let (begin, end): (String, String) = (begin.iter().collect(), end.iter().collect());
    format!("{begin}…{end}")
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn addresses_are_told_by_both_their_ends() {
        let address = "ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7";
        assert_eq!(short(address), "ait1d04ab232…224ab7");
        assert_eq!(short("ait1nobody"), "ait1nobody");
        assert_eq!(short(""), "");
        assert_eq!(short("a\u{1b}b"), "a\\u{1b}b");
    }
}
