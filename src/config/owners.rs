//! Validates `[[agent]]` and `[[fleet]]`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::behaviours;
use super::check::Check;
use super::error::Origin;
use super::keys::Table;
use super::layers::{Repeated, unknown_key};
use super::model::{
    AGENT, AgentConfig, BehaviourInstance, CommonConfig, FLEET, FleetConfig, FleetWallets,
    WalletsConfig,
};
use super::names;
use super::values::Kind;

/// Names, and where the first use of each is.
pub(super) type Names = HashMap<String, Origin>;

/// What an agent or a fleet is called.
struct Owner {
    name: Option<String>,
    /// In settings, for example `agent.ponger`.
    path: String,
    /// In messages, for example `agent "ponger"`.
    called: String,
}

impl Check<'_> {
    /// The agents, and the names of all, of those with errors, too.
    pub(super) fn agents(&mut self) -> (Vec<AgentConfig>, Names) {
        let layers = self.layers;
        let mut names = Names::new();
        let mut taken = HashMap::new();
        let mut agents = Vec::new();
        for item in layers.items("agent") {
            let owner = self.owner(item, &AGENT);
            let wallet = owner.name.as_ref().and_then(|name| {
                self.unique(&mut names, name, "agents", item.origin_of("name"));
                self.wallet(item, name, &mut taken)
            });
            let common = self.read_keys::<CommonConfig>(Some(item), &owner.path);
            let behaviours = self.behaviours(item, &owner);
            if let (Some(name), Some(wallet), Some(common)) = (owner.name, wallet, common) {
                agents.push(AgentConfig {
                    name,
                    wallet: wallet.into(),
                    common: Arc::new(common),
                    behaviours: behaviours.into(),
                });
            }
        }
        if layers.get("wallets", "keystore_dir").is_none()
            && layers.get("wallets", "vault").is_none()
            && let Some(first) = layers.items("agent").first()
        {
            let text = "`wallets.keystore_dir` or `wallets.vault` must be set: it holds the keys of \
                        the agents, as in `[wallets]` `keystore_dir = \"keystore\"`";
            let origin = if layers.has_table("wallets") {
                layers.header("wallets")
            } else {
                first.origin.clone()
            };
            self.reader.report_missing(origin, text);
        }
        (agents, names)
    }

    fn wallet(
        &mut self,
        item: &Repeated,
        name: &str,
        taken: &mut HashMap<String, String>,
    ) -> Option<String> {
        let (wallet, origin) = match item.get("wallet") {
            Some(given) => (
                names::read("wallet", given, &mut self.reader)?,
                &given.origin,
            ),
            None => (name.to_owned(), item.origin_of("name")),
        };
        if let Some(other) = taken.insert(wallet.clone(), name.to_owned()) {
            let text = format!(
                "agents {other:?} and {name:?} have the same wallet {wallet:?}; one wallet is \
                 one agent: give each agent its own wallet, or give one agent both behaviours"
            );
            self.reader.report(origin, text);
        }
        let value = json!(wallet);
        self.note(format!("agent.{name}.wallet"), value, origin.clone());
        Some(wallet)
    }

    pub(super) fn fleets(&mut self, wallets: &WalletsConfig, agents: &Names) -> Vec<FleetConfig> {
        let mut names = Names::new();
        let mut hosts = HashMap::new();
        let mut fleets = Vec::new();
        for item in self.layers.items("fleet") {
            let owner = self.owner(item, &FLEET);
            let place = owner.name.as_ref().and_then(|name| {
                let origin = item.origin_of("name");
                self.unique(&mut names, name, "fleets", origin);
                if agents.contains_key(name) {
                    let text =
                        format!("an agent is also named {name:?}; give the fleet another name");
                    self.reader.report(origin, text);
                }
                self.place(item, name, &mut hosts)
            });
            let password_file = self.path(item, "password_file");
            let common = self.read_keys::<CommonConfig>(Some(item), &owner.path);
            let behaviours = self.behaviours(item, &owner);
            if let (Some(name), Some(place), Some(common)) = (owner.name, place, common) {
                fleets.push(FleetConfig {
                    name,
                    wallets: place,
                    password_file: password_file.or_else(|| wallets.password_file.clone()),
                    common: Arc::new(common),
                    behaviours: behaviours.into(),
                });
            }
        }
        fleets
    }

    fn place(
        &mut self,
        item: &Repeated,
        name: &str,
        hosts: &mut HashMap<FleetWallets, String>,
    ) -> Option<FleetWallets> {
        let places = (self.path(item, "keystore_dir"), self.path(item, "vault"));
        let (key, value, place) = match places {
            (Some(directory), None) => (
                "keystore_dir",
                directory.show(),
                FleetWallets::Directory(directory),
            ),
            (None, Some(vault)) => ("vault", vault.show(), FleetWallets::Vault(vault)),
            // An invalid path is already reported.
            (None, None) if item.get("keystore_dir").or(item.get("vault")).is_some() => {
                return None;
            }
            (one, _) => {
                let text = format!(
                    "fleet {name:?} must have {} `keystore_dir` or `vault`",
                    if one.is_some() { "only one of" } else { "a" }
                );
                self.reader.report(&item.origin, text);
                return None;
            }
        };
        if let Some(other) = hosts.get(&place) {
            let text = format!(
                "fleets {other:?} and {name:?} host the same wallets; one wallet is one agent"
            );
            self.reader.report(&item.origin, text);
        } else {
            hosts.insert(place.clone(), name.to_owned());
        }
        let origin = item.origin_of(key).clone();
        self.note(format!("fleet.{name}.{key}"), value, origin);
        Some(place)
    }

    fn path(&mut self, item: &Repeated, key: &str) -> Option<PathBuf> {
        self.reader.read(&format!("fleet.{key}"), item.get(key)?)
    }

    fn owner(&mut self, item: &Repeated, table: &Table) -> Owner {
        let kind = table.name;
        let name = match item.get("name") {
            Some(given) => names::read("name", given, &mut self.reader),
            None => {
                self.reader.report_without(item, kind, "name");
                None
            }
        };
        let owner = Owner {
            path: format!("{kind}.{}", name.as_deref().unwrap_or("?")),
            called: match &name {
                Some(name) => format!("{kind} {name:?}"),
                None => format!("an unnamed {kind}"),
            },
            name,
        };
        self.unknown_keys(item, table, &owner.called);
        owner
    }

    fn behaviours(&mut self, item: &Repeated, owner: &Owner) -> Vec<BehaviourInstance> {
        let (instances, shown, origin) = match item.get("behaviours") {
            Some(given) => {
                let reader = &mut self.reader;
                let (instances, shown) =
                    behaviours::read(&owner.called, given, self.registry, reader);
                (instances, shown, given.origin.clone())
            }
            None => (Vec::new(), json!([]), Origin::Default),
        };
        self.note(format!("{}.behaviours", owner.path), shown, origin);
        instances
    }

    pub(super) fn unknown_keys(&mut self, item: &Repeated, table: &Table, place: &str) {
        for entry in &item.entries {
            if table.key(&entry.key).is_none() {
                let text = unknown_key(&entry.key, place, table);
                self.reader.report(&entry.origin, text);
            }
        }
    }

    pub(super) fn unique(&mut self, names: &mut Names, name: &str, what: &str, origin: &Origin) {
        if let Some(first) = names.insert(name.to_owned(), origin.clone()) {
            let first = match first {
                Origin::File { line, .. } => format!(" (the first in line {line})"),
                Origin::Default | Origin::Environment { .. } | Origin::Flag { .. } => String::new(),
            };
            let text = format!("two {what} are named {name:?}{first}; rename one");
            self.reader.report(origin, text);
        }
    }
}
