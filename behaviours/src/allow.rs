//! Rules for the senders that a behaviour trusts.

use agentry_sdk::protocol::command::Tag;
use agentry_sdk::protocol::{Address, Authenticity};
use agentry_sdk::{ConfigureError, Context, Message, Query};

/// The rules. A sender is allowed if one of them allows it.
#[derive(Debug)]
pub(crate) struct Allow {
    /// Whether every verified sender is allowed.
    everyone: bool,
    addresses: Vec<Address>,
    /// Resolved when a message arrives, since the address of a name can change.
    names: Vec<String>,
    capability: Option<Tag>,
}

impl Allow {
    /// The rules of the keys `allow` and `allow_capability`.
    ///
    /// # Errors
    /// An address or the capability is invalid, or a name is empty.
    pub(crate) fn read(
        allow: Vec<String>,
        capability: Option<String>,
    ) -> Result<Self, ConfigureError> {
        let capability = capability.map(|capability| capability.parse());
        let capability = capability
            .transpose()
            .map_err(|error| ConfigureError(format!("`allow_capability`: {error}")))?;
        let mut rules = Self {
            everyone: false,
            addresses: Vec::new(),
            names: Vec::new(),
            capability,
        };
        for who in allow {
            if who == "*" {
                rules.everyone = true;
            } else if who.starts_with("ait1") {
                let address = who.parse();
                rules.addresses.push(address.map_err(|error| {
                    ConfigureError(format!("`allow`: {who:?} is not an address: {error}"))
                })?);
            } else if who.is_empty() {
                return Err(ConfigureError("`allow` contains an empty name".into()));
            } else {
                rules.names.push(who);
            }
        }
        Ok(rules)
    }

    /// The senders that the rules name; `*` and a capability name none.
    pub(crate) fn named(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(ToString::to_string);
        addresses.chain(self.names.iter().cloned()).collect()
    }

    /// Whether a rule allows the sender of a message. The sender must be verified.
    pub(crate) fn allows(&self, message: &Message, context: &Context) -> bool {
        message.authenticity == Authenticity::Verified
            && (self.everyone
                || self
                    .addresses
                    .iter()
                    .any(|address| same_owner(address.as_str(), message))
                || self.names.iter().any(|name| {
                    let address = context.resolve(name);
                    address.is_ok_and(|address| same_owner(address.as_str(), message))
                })
                || self.capability.as_ref().is_some_and(|capability| {
                    let own = Query {
                        capabilities: vec![capability.as_str().to_owned()],
                        ..Query::address(message.from.clone())
                    };
                    context
                        .find(&own)
                        .iter()
                        .any(|card| same_owner(card.address.as_str(), message))
                }))
    }
}

/// Whether an address belongs to the sender of a verified message: it is the sender's address, or
/// its other form, as the key in the header proves.
pub(crate) fn same_owner(address: &str, message: &Message) -> bool {
    if address == message.from.as_str() {
        return true;
    }
    let key = message.header.as_ref().and_then(|header| header.key);
    let Ok(address) = Address::from_chain(address) else {
        return false;
    };
    message.authenticity == Authenticity::Verified
        && key.is_some_and(|key| message.from.matches(&key) && address.matches(&key))
}
