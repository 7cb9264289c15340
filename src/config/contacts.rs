//! Validates `[[contact]]`.

use std::collections::HashMap;

use agentry_protocol::{Address, AgentName, Dialect};

use super::check::Check;
use super::keys::Described;
use super::model::Contact;
use super::owners::Names;
use super::values::valid;

impl Check<'_> {
    pub(super) fn contacts(&mut self, agents: &Names) -> Vec<Contact> {
        let mut names = Names::new();
        let mut addresses: HashMap<Address, AgentName> = HashMap::new();
        let mut contacts: Vec<Contact> = Vec::new();
        for item in self.layers.items("contact") {
            self.unknown_keys(item, &Contact::TABLE, "[[contact]]");
            let name = valid::<AgentName>(item.get("name"));
            let name = name.as_ref().map_or("?", AgentName::as_str);
            let Some(contact) = self.read_keys::<Contact>(Some(item), &format!("contact.{name}"))
            else {
                continue;
            };
            self.unique(&mut names, name, "contacts", item.origin_of("name"));
            let dialect = valid::<Dialect>(self.layers.get("chain", "dialect"));
            if let Some(dialect) = dialect
                && !dialect.has_form(contact.address.form())
            {
                let text = format!(
                    "{} is an address of another dialect than `chain.dialect`, {dialect}: wallets of such \
                     a chain have `ait1` or `0x` and 40 digits",
                    contact.address
                );
                self.reader.report(item.origin_of("address"), text);
            }
            if agents.contains_key(name) {
                let text = format!(
                    "an agent is also named {name:?}; a name has one address: rename the contact, or \
                     remove it, since hosted agents are known by their names"
                );
                self.reader.report(item.origin_of("name"), text);
            }
            if let Some(other) = addresses.get(&contact.address) {
                let text = format!(
                    "contacts {:?} and {name:?} have the same address; one address has one entry",
                    other.as_str()
                );
                self.reader.report(item.origin_of("address"), text);
            } else {
                addresses.insert(contact.address.clone(), contact.name.clone());
            }
            contacts.push(contact);
        }
        contacts
    }
}
