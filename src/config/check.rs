//! Validates the tables that occur once, all in one pass. See `owners` for the others.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use agentry_chain::Start;
use agentry_devnet::Fault;
use agentry_protocol::BlockHeight;
use agentry_sdk::Registry;
use agentry_store::place::{LONGEST_PATH, is_too_long};
use serde_json::{Value, json};
use url::Url;

use super::common::Common;
use super::document::{Given, Raw};
use super::error::{ConfigIssue, Origin};
use super::keys::{CHAIN, DEFAULTS, DEVNET, DIRECTORY, HTTP, STORE, TASKS, Table, WALLETS};
use super::layers::Layers;
use super::model::{
    ChainConfig, Config, DevnetTable, DirectoryConfig, HttpConfig, NoncePolicy, Setting,
    StoreConfig, TasksConfig, WalletsConfig,
};
use super::values::{Reader, masked_url, plain_url};

/// Upper bound of `confirmations` and `final_depth`: a deeper reorganisation is a reset.
const DEEPEST: u64 = 10_000;
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The non-negative integers of TOML.
pub(super) const FEES: RangeInclusive<u64> = 0..=i64::MAX.unsigned_abs();
/// Bounds of the number of tasks that run at the same time.
const CONCURRENCY: RangeInclusive<u64> = 1..=1_024;

/// Validates a configuration from its layers.
pub(super) struct Check<'a> {
    pub(super) reader: Reader,
    pub(super) layers: &'a Layers,
    pub(super) registry: &'a Registry,
    pub(super) folder: &'a Path,
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

    /// The configuration; errors are in [`Self::reader`]. `None` only if there is an error.
    pub(super) fn run(&mut self, file: &str) -> Option<Config> {
        let chain = self.chain();
        let store = self.store();
        let http = self.http();
        let devnet = if self.layers.has_table(&DEVNET) {
            self.devnet(chain.as_ref())
        } else {
            None
        };
        let wallets = self.wallets();
        let directory = self.directory();
        let tasks = self.tasks();
        let defaults = self.defaults();
        let agents = self.agents(&defaults);
        let fleets = self.fleets(&wallets, &defaults, &agents);
        let contacts = self.contacts(&agents);
        let mut chain = chain?;
        // Unless `chain.rpc` is set, the node is the embedded one.
        if let Some(devnet) = devnet.as_ref().filter(|_| self.is_default(&CHAIN, "rpc")) {
            let url = format!("http://127.0.0.1:{}", devnet.port);
            if self.layers.get(&CHAIN, "submit").is_none() {
                chain.submit.clone_from(&url);
            }
            chain.rpc = url;
        }
        self.derived("chain.rpc", json!(super::masked(&chain.rpc)));
        self.derived("chain.submit", json!(super::masked(&chain.submit)));
        if let Some(devnet) = &devnet {
            self.derived("devnet.port", json!(devnet.port));
        }
        Some(Config {
            file: file.to_owned(),
            chain,
            store: store?,
            http: http?,
            devnet,
            wallets,
            directory,
            tasks: tasks?,
            defaults: defaults.values,
            agents,
            fleets,
            contacts,
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

    /// Shows a value derived from other values, unless the key is set.
    fn derived(&mut self, key: &str, value: Value) {
        let is_unset =
            |setting: &&mut Setting| setting.key == key && setting.origin == Origin::Default;
        if let Some(setting) = self.settings.iter_mut().find(is_unset) {
            setting.value = value;
        }
    }

    pub(super) fn note(&mut self, key: String, value: Value, origin: Origin) {
        self.settings.push(Setting { key, value, origin });
    }

    fn integer(&mut self, table: &Table, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
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
        range: RangeInclusive<Duration>,
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
            self.reader.missing.push(ConfigIssue {
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
        if let (Some(path), Some(given)) = (&path, self.layers.get(&STORE, "path"))
            && is_too_long(path)
        {
            let text = format!(
                "`store.path` is longer than {LONGEST_PATH} bytes, which SQLite does not open"
            );
            self.reader.report(&given.origin, text);
        }
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
        if let Some(url) = &url {
            self.embedded(url, port.filter(|port| *port != 0));
        }
        Some(DevnetTable {
            block_time: block_time?,
            dir: dir?,
            port: port.or(rpc_port)?,
            faults,
        })
    }

    /// Reports the keys of `[chain]` that conflict with an embedded node. `url` is `chain.rpc`.
    fn embedded(&mut self, url: &Url, port: Option<u16>) {
        let said = |key| {
            self.layers
                .get(&CHAIN, key)
                .filter(|given| given.origin != Origin::Default)
        };
        if let Some(given) = said("db") {
            let text = "`chain.db` is the database of another node; the embedded one keeps its own \
                        in `devnet.dir`: remove [devnet] or this key";
            self.reader.report(&given.origin, text);
        }
        if let Some(given) = said("submit").filter(|given| match &given.raw {
            Raw::Text(text) => Url::parse(text).is_ok_and(|submit| submit != *url),
            _ => false,
        }) {
            let text = "`chain.submit` is not the embedded node: remove [devnet] or this key";
            self.reader.report(&given.origin, text);
        }
        let Some(given) = said("rpc") else { return };
        let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost"));
        if !local || url.scheme() != "http" {
            let text = format!(
                "`chain.rpc` {} is not the embedded node, which listens on http://127.0.0.1 \
                 only; remove [devnet], or point `rpc` at it",
                masked_url(url)
            );
            self.reader.report(&given.origin, text);
        } else if let (Some(port), Some(rpc_port)) = (port, url.port_or_known_default())
            && port != rpc_port
        {
            let origin = self
                .layers
                .get(&DEVNET, "port")
                .map(|given| given.origin.clone());
            let text = format!(
                "`devnet.port` {port} is not the port of `chain.rpc`, {rpc_port}; remove one"
            );
            self.reader.report(&origin.unwrap_or(Origin::Default), text);
        }
    }

    fn wallets(&mut self) -> WalletsConfig {
        WalletsConfig {
            keystore_dir: self.path(&WALLETS, "keystore_dir"),
            vault: self.path(&WALLETS, "vault"),
            password_file: self.path(&WALLETS, "password_file"),
        }
    }

    fn directory(&mut self) -> DirectoryConfig {
        let from = self.integer(&DIRECTORY, "from", FEES).map(BlockHeight);
        DirectoryConfig { from }
    }

    fn tasks(&mut self) -> Option<TasksConfig> {
        let concurrency = self.integer(&TASKS, "concurrency", CONCURRENCY)?;
        let concurrency = usize::try_from(concurrency).ok()?;
        Some(TasksConfig { concurrency })
    }

    /// The values of `[defaults]`. An error there is reported, and the check continues with the
    /// code's own default.
    fn defaults(&mut self) -> Common {
        let layers = self.layers;
        let read = |key| layers.get(&DEFAULTS, key);
        let common = Common::default().overlaid(DEFAULTS.name, &mut self.reader, read);
        for (key, value, origin) in common.shown() {
            self.note(format!("{}.{key}", DEFAULTS.name), value, origin);
        }
        common
    }
}

fn nonce_policy(reader: &mut Reader, name: &str, given: &Given) -> Option<NoncePolicy> {
    match reader.text(name, given)?.as_str() {
        "timestamp" => Some(NoncePolicy::Timestamp),
        "sequential" => Some(NoncePolicy::Sequential),
        other => {
            let text = format!("`{name}` must be \"timestamp\" or \"sequential\", not {other:?}");
            reader.report(&given.origin, text);
            None
        }
    }
}

fn start(reader: &mut Reader, name: &str, given: &Given) -> Option<Start> {
    match &given.raw {
        Raw::Text(text) if text == "head" => Some(Start::Head),
        Raw::Text(text) if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) => {
            let text = format!("`{name}` must be \"head\" or a height, not {text:?}");
            reader.report(&given.origin, text);
            None
        }
        _ => reader
            .integer(name, given, FEES)
            .map(|height| Start::Height(BlockHeight(height))),
    }
}

fn faults(reader: &mut Reader, name: &str, given: &Given) -> Vec<Fault> {
    let items = reader.list(name, given);
    items
        .iter()
        .filter_map(|item| reader.parsed(name, item))
        .collect()
}
