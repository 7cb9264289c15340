//! Validates everything in one pass.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use agentry_chain::Start;
use agentry_devnet::Fault;
use agentry_sdk::Registry;
use serde_json::{Value, json};
use url::Url;

use super::behaviours;
use super::document::{Given, Raw};
use super::keys::{AGENT, CHAIN, DEFAULTS, DEVNET, FLEET, HTTP, STORE, Table, WALLETS};
use super::layers::{Layers, Repeated, unknown_key};
use super::mistake::{Mistake, Origin};
use super::model::{
    AgentConfig, AgentDefaults, BehaviourInstance, ChainConfig, Config, DevnetTable, FleetConfig,
    FleetWallets, HttpConfig, NoncePolicy, Setting, StoreConfig, WalletsConfig,
};
use super::names::check_name;
use super::values::{Reader, masked_url, plain_url};

/// Bounds of `confirmations` and `final_depth`: a reorganisation of more is a reset.
const DEEPEST: u64 = 10_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a configuration out of its layers.
pub(super) struct Check<'a> {
    pub(super) reader: Reader,
    layers: &'a Layers,
    registry: &'a Registry,
    folder: &'a Path,
    settings: Vec<Setting>,
}

impl<'a> Check<'a> {
    pub(super) fn new(layers: &'a Layers, registry: &'a Registry, folder: &'a Path) -> Self {
        Self {
            reader: Reader::default(),
            layers,
            registry,
            folder,
            settings: Vec::new(),
        }
    }

    /// The configuration, and whatever is wrong in [`Self::reader`]; `None` only if something is.
    pub(super) fn run(&mut self, file: &str) -> Option<Config> {
        let chain = self.chain();
        let store = self.store();
        let http = self.http();
        let devnet = if self.layers.speaks_of(&DEVNET) {
            self.devnet(chain.as_ref())
        } else {
            None
        };
        let wallets = self.wallets();
        let defaults = self.defaults();
        let agents = self.agents(&wallets, defaults);
        let fleets = self.fleets(&wallets, defaults, &agents);
        let mut chain = chain?;
        // Where nobody names the node, the embedded one is meant.
        if let Some(devnet) = devnet.as_ref().filter(|_| self.is_default(&CHAIN, "rpc")) {
            let url = format!("http://127.0.0.1:{}", devnet.port);
            if self.layers.get(&CHAIN, "submit").is_none() {
                chain.submit.clone_from(&url);
            }
            chain.rpc = url;
        }
        Some(Config {
            file: file.to_owned(),
            chain,
            store: store?,
            http: http?,
            devnet,
            wallets,
            defaults,
            agents,
            fleets,
            settings: std::mem::take(&mut self.settings),
        })
    }

    fn is_default(&self, table: &Table, key: &str) -> bool {
        self.layers
            .get(table, key)
            .is_none_or(|given| given.origin == Origin::Default)
    }

    /// Reads a key with one of [`Reader`]'s readers and remembers it for `config show`.
    fn key<T>(
        &mut self,
        table: &Table,
        key: &str,
        read: impl FnOnce(&mut Reader, &str, &Given) -> Option<T>,
        show: impl FnOnce(&T) -> Value,
    ) -> Option<T> {
        let name = format!("{}.{key}", table.name);
        let Some(given) = self.layers.get(table, key) else {
            self.note(name, Value::Null, Origin::Default);
            return None;
        };
        let value = read(&mut self.reader, &name, given)?;
        self.note(name, show(&value), given.origin.clone());
        Some(value)
    }

    fn note(&mut self, key: String, value: Value, origin: Origin) {
        self.settings.push(Setting { key, value, origin });
    }

    fn integer(
        &mut self,
        table: &Table,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        self.key(
            table,
            key,
            |reader, name, given| reader.integer(name, given, range),
            |n| json!(n),
        )
    }

    fn duration(
        &mut self,
        table: &Table,
        key: &str,
        range: std::ops::RangeInclusive<Duration>,
    ) -> Option<Duration> {
        self.key(
            table,
            key,
            |reader, name, given| reader.duration(name, given, range),
            |duration| json!(humantime::format_duration(*duration).to_string()),
        )
    }

    fn path(&mut self, table: &Table, key: &str) -> Option<std::path::PathBuf> {
        let folder = self.folder;
        self.key(
            table,
            key,
            |reader, name, given| reader.path(name, given, folder),
            |path| json!(path.display().to_string()),
        )
    }

    fn url(&mut self, table: &Table, key: &str) -> Option<Url> {
        self.key(table, key, Reader::url, |url| json!(masked_url(url)))
    }

    fn chain(&mut self) -> Option<ChainConfig> {
        let id = self.key(
            &CHAIN,
            "id",
            Reader::parsed::<agentry_protocol::ChainId>,
            |id| json!(id.as_str()),
        );
        if self.layers.get(&CHAIN, "id").is_none() {
            let text = "`chain.id` must be set: the chain's id, as in `id = \"ait-mainnet\"`";
            let origin = self.layers.header(&CHAIN);
            self.reader.missing.push(Mistake {
                origin,
                text: text.to_owned(),
            });
        }
        let rpc = self.url(&CHAIN, "rpc");
        let db = self.path(&CHAIN, "db");
        let submit = self.url(&CHAIN, "submit");
        let confirmations = self.integer(&CHAIN, "confirmations", 0..=DEEPEST);
        let final_depth = self.integer(&CHAIN, "final_depth", 1..=DEEPEST);
        let nonce = self.key(&CHAIN, "nonce", nonce_policy, |policy| json!(policy));
        let start = self.key(&CHAIN, "start", start, |start| match start {
            Start::Head => json!("head"),
            Start::Height(height) => json!(height.0),
        });
        let rpc = plain_url(&rpc?);
        Some(ChainConfig {
            id: id?,
            db,
            submit: submit.map_or_else(|| rpc.clone(), |url| plain_url(&url)),
            rpc,
            confirmations: confirmations?,
            final_depth: final_depth?,
            nonce: nonce?,
            start: start?,
        })
    }

    fn store(&mut self) -> Option<StoreConfig> {
        let path = self.path(&STORE, "path");
        let hour = Duration::from_secs(60 * 60);
        let retention = self.duration(&STORE, "retention", hour..=3650 * DAY);
        Some(StoreConfig {
            path: path?,
            retention: retention?,
        })
    }

    fn http(&mut self) -> Option<HttpConfig> {
        self.key(&HTTP, "listen", Reader::loopback, |address| {
            json!(address.to_string())
        })
        .map(|listen| HttpConfig { listen })
    }

    fn devnet(&mut self, chain: Option<&ChainConfig>) -> Option<DevnetTable> {
        let range = Duration::from_millis(50)..=Duration::from_secs(60 * 60);
        let block_time = self.duration(&DEVNET, "block_time", range);
        let dir = self.path(&DEVNET, "dir");
        let port = self.integer(&DEVNET, "port", 0..=u64::from(u16::MAX));
        let faults = self
            .key(
                &DEVNET,
                "faults",
                |reader, name, given| Some(faults(reader, name, given)),
                |faults| json!(faults.iter().map(ToString::to_string).collect::<Vec<_>>()),
            )
            .unwrap_or_default();
        let port = port.and_then(|port| u16::try_from(port).ok());
        let url = chain.and_then(|chain| Url::parse(&chain.rpc).ok());
        let rpc_port = url.as_ref().and_then(Url::port_or_known_default);
        if let (Some(url), Some(given)) = (&url, self.layers.get(&CHAIN, "rpc")) {
            let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost"));
            if !local || url.scheme() != "http" {
                let text = format!(
                    "`chain.rpc` {} is not the embedded node, which listens on http://127.0.0.1 \
                     alone; take [devnet] out, or point `rpc` at it",
                    masked_url(url)
                );
                self.reader.mistake(&given.origin, text);
            } else if let (Some(port), Some(rpc_port)) = (port.filter(|port| *port != 0), rpc_port)
                && port != rpc_port
                && given.origin != Origin::Default
            {
                let origin = self
                    .layers
                    .get(&DEVNET, "port")
                    .map(|given| given.origin.clone());
                let text = format!(
                    "`devnet.port` {port} is not the port of `chain.rpc`, {rpc_port}; leave one out"
                );
                self.reader
                    .mistake(&origin.unwrap_or(Origin::Default), text);
            }
        }
        Some(DevnetTable {
            block_time: block_time?,
            dir: dir?,
            port: port.or(rpc_port)?,
            faults,
        })
    }

    fn wallets(&mut self) -> WalletsConfig {
        WalletsConfig {
            keystore_dir: self.path(&WALLETS, "keystore_dir"),
            vault: self.path(&WALLETS, "vault"),
            password_file: self.path(&WALLETS, "password_file"),
        }
    }

    fn defaults(&mut self) -> AgentDefaults {
        let fee = self.integer(&DEFAULTS, "fee", FEES);
        let time_limit = self.duration(&DEFAULTS, "time_limit", TIME_LIMITS);
        let attempts = self.integer(&DEFAULTS, "attempts", ATTEMPTS);
        // Wrong ones are reported by now; these only let the check go on.
        AgentDefaults {
            fee: fee.unwrap_or(10),
            time_limit: time_limit.unwrap_or(Duration::from_secs(30)),
            attempts: attempts.and_then(|n| u32::try_from(n).ok()).unwrap_or(5),
        }
    }

    fn agents(&mut self, wallets: &WalletsConfig, defaults: AgentDefaults) -> Vec<AgentConfig> {
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
            let wallet = match fields.find(table, "wallet") {
                Some(given) => self.name_of("wallet", given),
                None => Some(name.clone()),
            };
            let Some(wallet) = wallet else { continue };
            let origin = fields
                .find(table, "wallet")
                .map_or(&fields.origin, |given| &given.origin);
            if let Some(other) = taken.insert(wallet.clone(), name.clone()) {
                let text = format!(
                    "agents {other:?} and {name:?} have the same wallet {wallet:?}; one wallet is \
                     one agent: give the other a wallet of its own, or one agent both behaviours"
                );
                self.reader.mistake(origin, text);
            }
            let path = format!("agent.{name}");
            self.note(format!("{path}.wallet"), json!(wallet), origin.clone());
            self.note_fields(&path, &fields);
            agents.push(AgentConfig {
                name,
                wallet,
                fee: fields.fee.0,
                time_limit: fields.time_limit.0,
                attempts: fields.attempts.0,
                behaviours: fields.behaviours,
            });
        }
        if wallets.keystore_dir.is_none()
            && wallets.vault.is_none()
            && let Some(first) = layers.agents.first()
        {
            let text = "`wallets.keystore_dir` or `wallets.vault` must be set: it holds the keys of \
                        the agents, as in `[wallets]` `keystore_dir = \"keystore\"`";
            let origin = if layers.speaks_of(&WALLETS) {
                layers.header(&WALLETS)
            } else {
                first.origin.clone()
            };
            self.reader.missing.push(Mistake {
                origin,
                text: text.to_owned(),
            });
        }
        agents
    }

    fn fleets(
        &mut self,
        wallets: &WalletsConfig,
        defaults: AgentDefaults,
        agents: &[AgentConfig],
    ) -> Vec<FleetConfig> {
        let layers = self.layers;
        let mut names: HashMap<String, Origin> = HashMap::new();
        let mut fleets: Vec<FleetConfig> = Vec::new();
        for table in &layers.fleets {
            let mut fields = Fields::read(self, table, &FLEET, defaults);
            let Some(name) = fields.name.take() else {
                continue;
            };
            self.unique(&mut names, &name, "fleets", &fields.origin);
            if agents.iter().any(|agent| agent.name == name) {
                let text = format!("an agent is named {name:?} too; give the fleet another name");
                self.reader.mistake(&fields.origin, text);
            }
            let folder = self.folder;
            let mut path = |key: &str| {
                let given = fields.find(table, key)?;
                self.reader.path(&format!("fleet.{key}"), given, folder)
            };
            let places = (path("keystore_dir"), path("vault"));
            let password_file = path("password_file").or_else(|| wallets.password_file.clone());
            let place = match places {
                (Some(directory), None) => FleetWallets::Directory(directory),
                (None, Some(vault)) => FleetWallets::Vault(vault),
                (one, _) => {
                    let text = format!(
                        "fleet {name:?} must have {} `keystore_dir` or `vault`",
                        if one.is_some() { "only one of" } else { "a" }
                    );
                    self.reader.mistake(&table.origin, text);
                    continue;
                }
            };
            if let Some(other) = fleets.iter().find(|fleet| fleet.wallets == place) {
                let text = format!(
                    "fleets {:?} and {name:?} host the same wallets; one wallet is one agent",
                    other.name
                );
                self.reader.mistake(&table.origin, text);
            }
            let path = format!("fleet.{name}");
            let (key, value) = match &place {
                FleetWallets::Directory(directory) => ("keystore_dir", directory),
                FleetWallets::Vault(vault) => ("vault", vault),
            };
            let origin = fields
                .find(table, key)
                .map_or(&table.origin, |given| &given.origin);
            let value = json!(value.display().to_string());
            self.note(format!("{path}.{key}"), value, origin.clone());
            self.note_fields(&path, &fields);
            fleets.push(FleetConfig {
                name,
                wallets: place,
                password_file,
                fee: fields.fee.0,
                time_limit: fields.time_limit.0,
                attempts: fields.attempts.0,
                behaviours: fields.behaviours,
            });
        }
        fleets
    }

    fn unique(
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
            self.reader.mistake(origin, text);
        }
    }

    fn name_of(&mut self, key: &str, given: &Given) -> Option<String> {
        let name = self.reader.text(key, given)?;
        check_name(&name)
            .map_err(|reason| {
                self.reader
                    .mistake(&given.origin, format!("`{key}` {reason}"))
            })
            .ok()?;
        Some(name)
    }

    fn note_fields(&mut self, path: &str, fields: &Fields) {
        let time_limit = humantime::format_duration(fields.time_limit.0).to_string();
        self.note(
            format!("{path}.fee"),
            json!(fields.fee.0),
            fields.fee.1.clone(),
        );
        self.note(
            format!("{path}.time_limit"),
            json!(time_limit),
            fields.time_limit.1.clone(),
        );
        self.note(
            format!("{path}.attempts"),
            json!(fields.attempts.0),
            fields.attempts.1.clone(),
        );
        let (shown, origin) = fields.shown.clone();
        self.note(format!("{path}.behaviours"), shown, origin);
    }
}

const FEES: std::ops::RangeInclusive<u64> = 0..=i64::MAX.unsigned_abs();
const TIME_LIMITS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;
const ATTEMPTS: std::ops::RangeInclusive<u64> = 1..=1_000;

/// What `[[agent]]` and `[[fleet]]` have in common. Values stand beside their origins.
struct Fields {
    name: Option<String>,
    /// Where the name stands, else the table.
    origin: Origin,
    fee: (u64, Origin),
    time_limit: (Duration, Origin),
    attempts: (u32, Origin),
    behaviours: Vec<BehaviourInstance>,
    shown: (Value, Origin),
}

impl Fields {
    fn read(
        check: &mut Check<'_>,
        table: &Repeated,
        known: &Table,
        defaults: AgentDefaults,
    ) -> Self {
        let given = |key: &str| {
            table
                .entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.value)
        };
        let name = match given("name") {
            Some(given) => check.name_of("name", given),
            None => {
                let text = format!(
                    "this {0} has no `name`; each [[{0}]] must have one",
                    known.name
                );
                let mistake = Mistake {
                    origin: table.origin.clone(),
                    text,
                };
                check.reader.missing.push(mistake);
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
            check.reader.mistake(&entry.origin, text);
        }
        let inherited = |key: &str| {
            let given = check.layers.get(&DEFAULTS, key);
            given.map_or(Origin::Default, |given| given.origin.clone())
        };
        let mut fee = (defaults.fee, inherited("fee"));
        let mut time_limit = (defaults.time_limit, inherited("time_limit"));
        let mut attempts = (defaults.attempts, inherited("attempts"));
        let reader = &mut check.reader;
        let path = format!("{}.{}", known.name, name.as_deref().unwrap_or("?"));
        if let Some(given) = given("fee")
            && let Some(value) = reader.integer(&format!("{path}.fee"), given, FEES)
        {
            fee = (value, given.origin.clone());
        }
        if let Some(given) = given("time_limit") {
            let name = format!("{path}.time_limit");
            if let Some(value) = reader.duration(&name, given, TIME_LIMITS) {
                time_limit = (value, given.origin.clone());
            }
        }
        if let Some(given) = given("attempts")
            && let Some(value) = reader.integer(&format!("{path}.attempts"), given, ATTEMPTS)
        {
            attempts = (
                u32::try_from(value).unwrap_or(u32::MAX),
                given.origin.clone(),
            );
        }
        let (behaviours, shown) = match given("behaviours") {
            Some(given) => {
                let (list, shown) = behaviours::read(&owner, given, check.registry, reader);
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
            fee,
            time_limit,
            attempts,
            behaviours,
            shown,
        }
    }

    fn find<'t>(&self, table: &'t Repeated, key: &str) -> Option<&'t Given> {
        table
            .entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }
}

fn nonce_policy(reader: &mut Reader, name: &str, given: &Given) -> Option<NoncePolicy> {
    match reader.text(name, given)?.as_str() {
        "timestamp" => Some(NoncePolicy::Timestamp),
        "sequential" => Some(NoncePolicy::Sequential),
        other => {
            let text = format!("`{name}` must be \"timestamp\" or \"sequential\", not {other:?}");
            reader.mistake(&given.origin, text);
            None
        }
    }
}

fn start(reader: &mut Reader, name: &str, given: &Given) -> Option<Start> {
    match &given.raw {
        Raw::Text(text) if text == "head" => Some(Start::Head),
        Raw::Text(text) if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) => {
            let text = format!("`{name}` must be \"head\" or a height, not {text:?}");
            reader.mistake(&given.origin, text);
            None
        }
        _ => reader
            .integer(name, given, FEES)
            .map(|height| Start::Height(agentry_protocol::BlockHeight(height))),
    }
}

fn faults(reader: &mut Reader, name: &str, given: &Given) -> Vec<Fault> {
    let items = reader.list(name, given);
    items
        .iter()
        .filter_map(|item| reader.parsed(name, item))
        .collect()
}
