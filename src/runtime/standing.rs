//! The standing of senders: how well each is known.
//!
//! Only this module decides a sender's standing; [`Standing`] describes the consequences. The
//! standing is computed for each run, so a sender that becomes a contact counts as one from the
//! next run on.

use agentry_core::Cause;
use agentry_protocol::{Address, PublicKey, Timestamp};
use agentry_sdk::{Authenticity, Message, Standing};

use super::directory::Directory;
use super::environment;
use super::registry::{AgentRegistry, Hosted};

/// The tables of known senders.
#[derive(Clone, Debug)]
pub struct Standings {
    /// The wallets of this runtime.
    pub registry: AgentRegistry,
    /// Contacts and cards.
    pub directory: Directory,
}

impl Standings {
    /// How well an agent knows the sender of a message at `now`.
    pub fn of(&self, hosted: &Hosted, message: &Message, now: Timestamp) -> Standing {
        let key = message.header.as_ref().and_then(|header| header.key);
        // A header's key counts if the sender's address is derived from it.
        let key = key.filter(|key| message.from.matches(key));
        self.of_sender(hosted, (message.authenticity, &message.from), key, now)
    }

    /// How well an agent knows a sender at `now`, given the key that may be known of it.
    pub fn of_sender(
        &self,
        hosted: &Hosted,
        (authenticity, sender): (Authenticity, &Address),
        key: Option<PublicKey>,
        now: Timestamp,
    ) -> Standing {
        match authenticity {
            Authenticity::Verified => self.of_verified(hosted, sender, key, now),
            Authenticity::Unverified | Authenticity::Forged => Standing::unknown(authenticity),
        }
    }

    /// The sender that caused something, with its standing at `now`.
    pub fn again(&self, hosted: &Hosted, cause: &Cause, now: Timestamp) -> Cause {
        match cause.sender() {
            None => cause.clone(),
            Some(sender) => Cause::of(self.of_verified(hosted, sender, None, now), sender),
        }
    }

    /// How well an agent knows a verified sender, given the key that may be known of it.
    fn of_verified(
        &self,
        hosted: &Hosted,
        sender: &Address,
        key: Option<PublicKey>,
        now: Timestamp,
    ) -> Standing {
        let key = key.or_else(|| self.directory.key_of(sender));
        // A wallet has two forms of address.
        let is_sender = |address: &Address| {
            address == sender
                || key.is_some_and(|key| address.matches(&key) && sender.matches(&key))
        };
        let is_named = |name: &String| match name.parse::<Address>() {
            Ok(address) => is_sender(&address),
            Err(_) => environment::resolve(&self.directory, &self.registry, name, now)
                .is_ok_and(|address| is_sender(&address)),
        };
        let mut named = hosted
            .config
            .behaviours
            .iter()
            .flat_map(|instance| &instance.known_senders);
        if self.registry.is_ours(sender, key)
            || self.directory.is_contact(sender)
            || named.any(is_named)
        {
            Standing::Known
        } else if self.directory.is_listed(sender, now) {
            Standing::Listed
        } else {
            Standing::Stranger
        }
    }
}
