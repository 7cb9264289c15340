//! The changes of a configuration, and which of them need a restart.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::keys::{Table, table};
use crate::config::{Config, Contact};

/// The most names that a line lists.
const MOST_NAMES: usize = 10;

/// The changes of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// Agents, those of fleets among them, by their names.
    pub agents: Difference,
    /// Agents that are unchanged, and whose behaviours were restarted on request.
    pub restarted: Vec<String>,
    /// Contacts, by their names.
    pub contacts: Difference,
}

/// The entries that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// Entries that are new.
    pub added: Vec<String>,
    /// Entries that existed before and have changed.
    pub changed: Vec<String>,
    /// Entries that were removed.
    pub removed: Vec<String>,
}

impl Applied {
    /// Whether nothing has changed.
    pub fn is_nothing(&self) -> bool {
        self.agents.is_nothing() && self.contacts.is_nothing() && self.restarted.is_empty()
    }

    /// Adds what was changed in another shard of the cluster. All shards have the same contacts.
    pub fn add(&mut self, other: Self) {
        self.agents.added.extend(other.agents.added);
        self.agents.changed.extend(other.agents.changed);
        self.agents.removed.extend(other.agents.removed);
        self.restarted.extend(other.restarted);
        self.contacts = other.contacts;
    }
}

impl Difference {
    /// Whether nothing has changed.
    pub fn is_nothing(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    pub(super) fn of_contacts(before: &[Contact], now: &[Contact]) -> Self {
        let mut gone: BTreeMap<&str, &Contact> = before
            .iter()
            .map(|contact| (contact.name.as_str(), contact))
            .collect();
        let mut difference = Self::default();
        for contact in now {
            let name = contact.name.as_str();
            match gone.remove(name) {
                None => difference.added.push(name.to_owned()),
                Some(before) if before != contact => difference.changed.push(name.to_owned()),
                Some(_) => {}
            }
        }
        difference
            .removed
            .extend(gone.into_keys().map(ToOwned::to_owned));
        difference
    }

    /// The parts in words, such as `added agents a, b`.
    fn words(&self, one: &str, many: &str) -> Vec<String> {
        [
            ("added", &self.added),
            ("changed", &self.changed),
            ("removed", &self.removed),
        ]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| {
            let noun = if names.len() == 1 { one } else { many };
            format!("{what} {noun} {}", listed(names))
        })
        .collect()
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = self.agents.words("agent", "agents");
        words.extend(self.contacts.words("contact", "contacts"));
        if !self.restarted.is_empty() {
            words.push(format!("restarted {}", listed(&self.restarted)));
        }
        if words.is_empty() {
            return f.write_str("nothing has changed");
        }
        f.write_str(&words.join("; "))
    }
}

/// The first names, and the number of the others.
fn listed(names: &[String]) -> String {
    let mut text = names
        .get(..MOST_NAMES)
        .map_or_else(|| names.join(", "), |first| first.join(", "));
    if names.len() > MOST_NAMES {
        text.push_str(&format!(" and {} more", names.len() - MOST_NAMES));
    }
    text
}

/// Whether a value is fixed until the next start: those of agents and contacts are not.
fn is_fixed(key: &str) -> bool {
    let table = key.split('.').next().and_then(table);
    let is_applied = |table: &&Table| match table.repeated {
        true => table.name != "webhook",
        false => table.name == "defaults",
    };
    table.is_some_and(|table| !is_applied(&table))
}

/// Each changed key that needs a restart.
pub(super) fn needs_restart(before: &Config, now: &Config) -> Vec<String> {
    let fixed = |config: &Config| -> BTreeMap<String, String> {
        config
            .settings
            .iter()
            .filter(|setting| is_fixed(&setting.key))
            .map(|setting| (setting.key.clone(), setting.value.to_string()))
            .collect()
    };
    let (before_keys, now_keys) = (fixed(before), fixed(now));
    let mut reasons = Vec::new();
    let mut told = |key: &str, was: &str, is: &str| {
        reasons.push(format!(
            "`{key}` was {was} and is {is}: that needs a restart of the runtime"
        ));
    };
    let unset = "not set".to_owned();
    for key in before_keys.keys().chain(
        now_keys
            .keys()
            .filter(|key| !before_keys.contains_key(*key)),
    ) {
        let was = before_keys.get(key).unwrap_or(&unset);
        let is = now_keys.get(key).unwrap_or(&unset);
        if was != is {
            told(key, was, is);
        }
    }
    // These values are masked when shown.
    let masked = [
        ("chain.rpc", &before.chain.rpc, &now.chain.rpc),
        ("chain.submit", &before.chain.submit, &now.chain.submit),
    ];
    let coordinators = before.coordinator.as_ref().zip(now.coordinator.as_ref());
    let coordinator = coordinators.map(|(was, is)| ("coordinator.url", &was.url, &is.url));
    for (key, was, is) in masked.into_iter().chain(coordinator) {
        if was != is && before_keys.get(key) == now_keys.get(key) {
            told(key, "a url with one password", "one with another");
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Overlay, Source};

    fn config(text: &str) -> Config {
        let source = Source::Text {
            path: PathBuf::from("agents.toml"),
            text: format!("[chain]\nid = \"x\"\n{text}"),
        };
        let overlay = Overlay {
            environment: Some(HashMap::new()),
            flags: Vec::new(),
        };
        Config::load(&source, &overlay, &agentry_behaviours::builtins()).unwrap()
    }

    #[test]
    fn each_key_that_needs_a_restart_is_named() {
        let before = config("confirmations = 1\n[store]\npath = \"a.db\"\n");
        let now = config(
            "confirmations = 2\n[store]\npath = \"b.db\"\n[tasks]\nconcurrency = 9\n\
             [defaults]\nfee = 3\n",
        );
        let reasons = needs_restart(&before, &now);
        let keys: Vec<_> = reasons
            .iter()
            .filter_map(|reason| reason.split('`').nth(1))
            .collect();
        assert_eq!(
            keys,
            ["chain.confirmations", "store.path", "tasks.concurrency"]
        );
        assert!(reasons[0].contains("was 1 and is 2"), "{reasons:?}");
        assert!(needs_restart(&now, &now).is_empty());
    }

    #[test]
    fn a_password_in_a_url_is_compared_and_not_told() {
        let with = |word: &str| {
            config(&format!(
                "rpc = \"http://a:secret-{word}@node:1\"\n[coordinator]\nurl = \"http://a:secret-{word}@b\"\n"
            ))
        };
        let reasons = needs_restart(&with("one"), &with("two"));
        assert!(reasons[0].contains("`chain.rpc`"), "{reasons:?}");
        assert!(
            reasons
                .iter()
                .any(|reason| reason.contains("`coordinator.url`")),
            "{reasons:?}"
        );
        assert!(!reasons.concat().contains("secret"), "{reasons:?}");
    }

    #[test]
    fn a_table_that_comes_or_goes_is_named() {
        let before = config("");
        let now = config("[devnet]\nblock_time = \"1s\"\n");
        let reasons = needs_restart(&before, &now);
        assert!(
            reasons
                .iter()
                .any(|reason| reason.contains("`devnet.block_time` was not set"))
        );
        assert_eq!(needs_restart(&now, &before).len(), reasons.len());
    }

    #[test]
    fn what_changed_is_one_line() {
        let names = |count: usize| (0..count).map(|n| format!("a{n}")).collect();
        let mut applied = Applied::default();
        assert_eq!(applied.to_string(), "nothing has changed");
        applied.agents.added = names(12);
        applied.agents.removed = names(1);
        applied.contacts.changed = names(2);
        assert_eq!(
            applied.to_string(),
            "added agents a0, a1, a2, a3, a4, a5, a6, a7, a8, a9 and 2 more; removed agent a0; \
             changed contacts a0, a1"
        );
    }
}
