//! Validates `[[contact]]`.

use std::collections::{HashMap, HashSet};

use agentry_protocol::{Address, AgentName};
use serde_json::json;

use super::check::Check;
use super::error::{ConfigIssue, Origin};
use super::keys::CONTACT;
use super::layers::unknown_key;
use super::model::{AgentConfig, Contact};

impl Check<'_> {
    pub(super) fn contacts(&mut self, agents: &[AgentConfig]) -> Vec<Contact> {
        let layers = self.layers;
        let mut names: HashMap<String, Origin> = HashMap::new();
        let agents: HashSet<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
        let mut addresses: HashMap<Address, AgentName> = HashMap::new();
        let mut contacts: Vec<Contact> = Vec::new();
        for table in &layers.contacts {
            for entry in &table.entries {
                if CONTACT.key(&entry.key).is_none() {
                    let text = unknown_key(&entry.key, "[[contact]]", CONTACT.names());
                    self.reader.report(&entry.origin, text);
                }
            }
            for key in ["name", "address"] {
                if table.get(key).is_none() {
                    let text =
                        format!("this contact has no `{key}`; each [[contact]] must have one");
                    self.reader.missing.push(ConfigIssue {
                        origin: table.origin.clone(),
                        text,
                    });
                }
            }
            let given = |key: &'static str| table.get(key).map(|given| (key, given));
            let reader = &mut self.reader;
            let name = given("name").and_then(|(key, given)| {
                reader.parsed::<AgentName>(&format!("contact.{key}"), given)
            });
            let path = name
                .as_ref()
                .map_or_else(|| "contact.?".to_owned(), |name| format!("contact.{name}"));
            let called = |key: &str| format!("{path}.{key}");
            let address = given("address")
                .and_then(|(key, given)| reader.parsed::<Address>(&called(key), given));
            let public_key =
                given("public_key").map(|(key, given)| reader.parsed(&called(key), given));
            let enc_key = given("enc_key").map(|(key, given)| reader.parsed(&called(key), given));
            let (Some(name), Some(address)) = (name, address) else {
                continue;
            };
            let origin_of = |key| {
                let given = table.get(key);
                given.map_or(&table.origin, |given| &given.origin)
            };
            self.unique(&mut names, name.as_str(), "contacts", origin_of("name"));
            if agents.contains(name.as_str()) {
                let text = format!(
                    "an agent is also named {:?}; a name has one address: rename the contact, or \
                     remove it, since hosted agents are known by their names",
                    name.as_str()
                );
                self.reader.report(origin_of("name"), text);
            }
            if let Some(other) = addresses.get(&address) {
                let text = format!(
                    "contacts {:?} and {:?} have the same address; one address has one entry",
                    other.as_str(),
                    name.as_str()
                );
                self.reader.report(origin_of("address"), text);
            } else {
                addresses.insert(address.clone(), name.clone());
            }
            self.note(
                called("address"),
                json!(address.to_string()),
                origin_of("address").clone(),
            );
            // A wrong key is reported above; the load then fails as a whole.
            let (public_key, enc_key) = (public_key.flatten(), enc_key.flatten());
            if let Some(key) = public_key {
                let origin = origin_of("public_key").clone();
                self.note(called("public_key"), json!(key), origin);
            }
            if let Some(key) = enc_key {
                let origin = origin_of("enc_key").clone();
                self.note(called("enc_key"), json!(key), origin);
            }
            contacts.push(Contact {
                name,
                address,
                public_key,
                enc_key,
            });
        }
        contacts
    }
}
