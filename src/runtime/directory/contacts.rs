//! The contacts of agents.toml, indexed by address and name.

use std::collections::{HashMap, HashSet};

use agentry_protocol::{Address, EncryptionKey, PublicKey};

use crate::config::Contact;

/// The contacts, indexed: a lookup takes the same time however many there are.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    names: HashMap<Box<str>, Address>,
    addresses: HashSet<Address>,
    keys: HashMap<Address, PublicKey>,
    enc_keys: HashMap<Address, EncryptionKey>,
}

impl Contacts {
    /// If two contacts state the same address, the first counts.
    pub(super) fn new(contacts: Vec<Contact>) -> Self {
        let mut index = Self::default();
        for contact in contacts {
            for address in addresses(&contact) {
                index.addresses.insert(address.clone());
                if let Some(key) = contact.public_key {
                    index.keys.entry(address.clone()).or_insert(key);
                }
                if let Some(key) = contact.enc_key {
                    index.enc_keys.entry(address.clone()).or_insert(key);
                }
                index.addresses.insert(address);
            }
            index
                .names
                .entry(contact.name.as_str().into())
                .or_insert(contact.address);
        }
        index
    }

    /// The address that a contact's name stands for.
    pub(super) fn named(&self, name: &str) -> Option<&Address> {
        self.names.get(name)
    }

    /// Whether an address belongs to a contact.
    pub(super) fn has(&self, address: &Address) -> bool {
        self.addresses.contains(address)
    }

    /// The key that verifies a contact's signatures.
    pub(super) fn key_of(&self, address: &Address) -> Option<PublicKey> {
        self.keys.get(address).copied()
    }

    /// The key for sealing messages to a contact.
    pub(super) fn enc_key_of(&self, address: &Address) -> Option<EncryptionKey> {
        self.enc_keys.get(address).copied()
    }
}

/// The addresses of a contact: the stated one, and both forms if the contact's key produces it.
fn addresses(contact: &Contact) -> Vec<Address> {
    let mut addresses = vec![contact.address.clone()];
    if let Some(key) = contact
        .public_key
        .filter(|key| contact.address.matches(key))
    {
        let forms = Address::all_of(&key).into_iter();
        addresses.extend(forms.filter(|form| *form != contact.address));
    }
    addresses
}
