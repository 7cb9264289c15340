//! Validates `[[agent]]` and `[[fleet]]`.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::behaviours::{self, Kinds};
use super::check::Check;
use super::common::Common;
use super::document::Given;
use super::error::{ConfigIssue, Origin};
use super::keys::{AGENT, FLEET, Table, WALLETS};
use super::layers::{Repeated, unknown_key};
use super::model::{AgentConfig, BehaviourInstance, FleetConfig, FleetWallets, WalletsConfig};
use super::names::check_name;

impl Check<'_> {
    pub(super) fn agents(&mut self, defaults: &Common) -> Vec<AgentConfig> {
        let layers = self.layers;
        let mut names: HashMap<String, Origin> = HashMap::new();
        let mut taken: HashMap<String, String> = HashMap::new();
        let mut agents = Vec::new();
        for table in &layers.agents {
            let mut fields = Fields::read(self, table, &AGENT, defaults);
            let Some(name) = fields.name.take() else {
                continue;
            };
            self.unique(&mut names, &name, "agents", &fields.origin);
            let wallet = match table.get("wallet") {
                Some(given) => self.name_of("wallet", given),
                None => Some(name.clone()),
            };
            let Some(wallet) = wallet else { continue };
            let origin = table
                .get("wallet")
                .map_or(&fields.origin, |given| &given.origin);
            if let Some(other) = taken.insert(wallet.clone(), name.clone()) {
                let text = format!(
                    "agents {other:?} and {name:?} have the same wallet {wallet:?}; one wallet is \
                     one agent: give each agent its own wallet, or give one agent both behaviours"
                );
                self.reader.report(origin, text);
            }
            let path = format!("agent.{name}");
            self.note(format!("{path}.wallet"), json!(wallet), origin.clone());
            self.note_fields(&path, &fields);
            let common = fields.common.values;
            agents.push(AgentConfig {
                name,
                wallet,
                fee: common.fee,
                time_limit: common.time_limit,
                attempts: common.attempts,
                per_sender_rate: common.per_sender_rate,
                max_wait: common.max_wait,
                daily_budget: common.daily_budget,
                behaviours: fields.behaviours,
            });
        }
        if self.layers.get(&WALLETS, "keystore_dir").is_none()
            && self.layers.get(&WALLETS, "vault").is_none()
            && let Some(first) = layers.agents.first()
        {
            let text = "`wallets.keystore_dir` or `wallets.vault` must be set: it holds the keys of \
                        the agents, as in `[wallets]` `keystore_dir = \"keystore\"`";
            let origin = if layers.has_table(&WALLETS) {
                layers.header(&WALLETS)
            } else {
                first.origin.clone()
            };
            self.reader.missing.push(ConfigIssue {
                origin,
                text: text.to_owned(),
            });
        }
        agents
    }

    pub(super) fn fleets(
        &mut self,
        wallets: &WalletsConfig,
        defaults: &Common,
        agents: &[AgentConfig],
    ) -> Vec<FleetConfig> {
        let layers = self.layers;
        let mut names: HashMap<String, Origin> = HashMap::new();
        let agents: HashSet<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
        let mut hosts: HashMap<FleetWallets, String> = HashMap::new();
        let mut fleets: Vec<FleetConfig> = Vec::new();
        for table in &layers.fleets {
            let mut fields = Fields::read(self, table, &FLEET, defaults);
            let Some(name) = fields.name.take() else {
                continue;
            };
            self.unique(&mut names, &name, "fleets", &fields.origin);
            if agents.contains(name.as_str()) {
                let text = format!("an agent is also named {name:?}; give the fleet another name");
                self.reader.report(&fields.origin, text);
            }
            let folder = self.folder;
            let mut path = |key: &str| {
                let given = table.get(key)?;
                self.reader.path(&format!("fleet.{key}"), given, folder)
            };
            let places = (path("keystore_dir"), path("vault"));
            let password_file = path("password_file").or_else(|| wallets.password_file.clone());
            let place = match places {
                (Some(directory), None) => FleetWallets::Directory(directory),
                (None, Some(vault)) => FleetWallets::Vault(vault),
                // An invalid path is already reported.
                (None, None) if table.get("keystore_dir").or(table.get("vault")).is_some() => {
                    continue;
                }
                (one, _) => {
                    let text = format!(
                        "fleet {name:?} must have {} `keystore_dir` or `vault`",
                        if one.is_some() { "only one of" } else { "a" }
                    );
                    self.reader.report(&table.origin, text);
                    continue;
                }
            };
            if let Some(other) = hosts.get(&place) {
                let text = format!(
                    "fleets {other:?} and {name:?} host the same wallets; one wallet is one agent"
                );
                self.reader.report(&table.origin, text);
            } else {
                hosts.insert(place.clone(), name.clone());
            }
            let path = format!("fleet.{name}");
            let (key, value) = match &place {
                FleetWallets::Directory(directory) => ("keystore_dir", directory),
                FleetWallets::Vault(vault) => ("vault", vault),
            };
            let origin = table.get(key).map_or(&table.origin, |given| &given.origin);
            let value = json!(value.display().to_string());
            self.note(format!("{path}.{key}"), value, origin.clone());
            self.note_fields(&path, &fields);
            let common = fields.common.values;
            fleets.push(FleetConfig {
                name,
                wallets: place,
                password_file,
                fee: common.fee,
                time_limit: common.time_limit,
                attempts: common.attempts,
                per_sender_rate: common.per_sender_rate,
                max_wait: common.max_wait,
                daily_budget: common.daily_budget,
                behaviours: fields.behaviours,
            });
        }
        fleets
    }

    pub(super) fn unique(
        &mut self,
        names: &mut HashMap<String, Origin>,
        name: &str,
        what: &str,
        origin: &Origin,
    ) {
        if let Some(first) = names.insert(name.to_owned(), origin.clone()) {
            let first = match first {
                Origin::File { line, .. } => format!(" (the first in line {line})"),
                Origin::Default | Origin::Environment { .. } | Origin::Flag { .. } => String::new(),
            };
            let text = format!("two {what} are named {name:?}{first}; rename one");
            self.reader.report(origin, text);
        }
    }

    fn name_of(&mut self, key: &str, given: &Given) -> Option<String> {
        let name = self.reader.text(key, given)?;
        check_name(&name)
            .map_err(|reason| {
                self.reader
                    .report(&given.origin, format!("`{key}` {reason}"));
            })
            .ok()?;
        Some(name)
    }

    fn note_fields(&mut self, path: &str, fields: &Fields) {
        for (key, value, origin) in fields.common.shown() {
            self.note(format!("{path}.{key}"), value, origin);
        }
        let (shown, origin) = fields.shown.clone();
        self.note(format!("{path}.behaviours"), shown, origin);
    }
}

/// What `[[agent]]` and `[[fleet]]` have in common.
struct Fields {
    name: Option<String>,
    /// Where the name is, else the table.
    origin: Origin,
    common: Common,
    behaviours: Vec<BehaviourInstance>,
    shown: (Value, Origin),
}

impl Fields {
    fn read(check: &mut Check<'_>, table: &Repeated, known: &Table, defaults: &Common) -> Self {
        let given = |key: &str| table.get(key);
        let name = match given("name") {
            Some(given) => check.name_of("name", given),
            None => {
                let text = format!(
                    "this {0} has no `name`; each [[{0}]] must have one",
                    known.name
                );
                let issue = ConfigIssue {
                    origin: table.origin.clone(),
                    text,
                };
                check.reader.missing.push(issue);
                None
            }
        };
        let owner = match &name {
            Some(name) => format!("{} {name:?}", known.name),
            None => format!("an unnamed {}", known.name),
        };
        for entry in table
            .entries
            .iter()
            .filter(|entry| known.key(&entry.key).is_none())
        {
            let text = unknown_key(&entry.key, &owner, known.names());
            check.reader.report(&entry.origin, text);
        }
        let path = format!("{}.{}", known.name, name.as_deref().unwrap_or("?"));
        let kinds = Kinds {
            registry: check.registry,
            folder: check.folder,
        };
        let reader = &mut check.reader;
        let common = defaults.overlaid(&path, reader, given);
        let (behaviours, shown) = match given("behaviours") {
            Some(given) => {
                let (list, shown) = behaviours::read(&owner, given, kinds, reader);
                (list, (shown, given.origin.clone()))
            }
            None => (Vec::new(), (json!([]), Origin::Default)),
        };
        let origin = given("name")
            .map_or(&table.origin, |given| &given.origin)
            .clone();
        Self {
            name,
            origin,
            common,
            behaviours,
            shown,
        }
    }
}
