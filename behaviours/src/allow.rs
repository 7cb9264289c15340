//! Lists of agents in agents.toml, and rules for the senders that a behaviour trusts.

use agentry_sdk::protocol::command::Tag;
use agentry_sdk::protocol::{Address, Authenticity};
use agentry_sdk::{ConfigureError, Context, Message, Query};

/// A list of agents in agents.toml: addresses, names, and `*` for everyone.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    everyone: bool,
    addresses: Vec<Address>,
    /// Resolved when they are needed, since the address of a name can change.
    names: Vec<String>,
}

impl Listed {
    /// Reads the list under a key.
    ///
    /// # Errors
    /// An address is invalid, or a name is empty.
    pub(crate) fn read(key: &str, list: Vec<String>) -> Result<Self, ConfigureError> {
        let mut read = Self::default();
        for who in list {
            if who == "*" {
                read.everyone = true;
            } else if who.starts_with("ait1") {
                let address = who.parse();
                read.addresses.push(address.map_err(|error| {
                    ConfigureError(format!("`{key}`: {who:?} is not an address: {error}"))
                })?);
            } else if who.is_empty() {
                return Err(ConfigureError(format!("`{key}` contains an empty name")));
            } else {
                read.names.push(who);
            }
        }
        Ok(read)
    }

    /// Whether it lists nobody.
    pub(crate) const fn is_empty(&self) -> bool {
        !self.everyone && self.addresses.is_empty() && self.names.is_empty()
    }

    /// Whether it has an agent: everyone, or an address for which this is so.
    pub(crate) fn has(&self, context: &Context, is: impl Fn(&Address) -> bool) -> bool {
        let is_named = |name: &String| context.resolve(name).is_ok_and(|address| is(&address));
        self.everyone || self.addresses.iter().any(&is) || self.names.iter().any(is_named)
    }

    /// The agents that it names; `*` names none.
    fn named(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(ToString::to_string);
        addresses.chain(self.names.iter().cloned()).collect()
    }
}

/// The rules. A sender is allowed if one of them allows it.
#[derive(Debug)]
pub(crate) struct Allow {
    listed: Listed,
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
        Ok(Self {
            listed: Listed::read("allow", allow)?,
            capability,
        })
    }

    /// The senders that the rules name; `*` and a capability name none.
    pub(crate) fn named(&self) -> Vec<String> {
        self.listed.named()
    }

    /// Whether a rule allows the sender of a message. The sender must be verified.
    pub(crate) fn allows(&self, message: &Message, context: &Context) -> bool {
        message.authenticity == Authenticity::Verified
            && (self
                .listed
                .has(context, |address| same_owner(address.as_str(), message))
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
    let typed = address.parse::<Address>();
    let Ok(address) = typed.or_else(|_| Address::from_chain(address)) else {
        return false;
    };
    if address == message.from {
        return true;
    }
    message.authenticity == Authenticity::Verified
        && key.is_some_and(|key| message.from.matches(&key) && address.matches(&key))
}
