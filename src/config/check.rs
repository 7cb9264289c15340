//! Validates a configuration in one pass. See `owners` and `contacts` for the repeated tables.

use std::path::Path;

use agentry_core::nonce::NoncePolicy;
use agentry_protocol::Dialect;
use agentry_sdk::Registry;
use agentry_store::place::{LONGEST_PATH, is_too_long};
use serde_json::Value;
use url::Url;

use super::document::Raw;
use super::error::Origin;
use super::keys::Described;
use super::layers::{Layers, Repeated};
use super::model::{
    BehaviourInstance, ChainConfig, Config, Setting, StoreConfig, TasksConfig, WalletsConfig,
};
use super::node_url::{NodeUrl, masked};
use super::values::{Kind, Reader, Unchecked, valid};

/// Sets the defaults that follow from other keys.
pub(super) fn derive_defaults(layers: &mut Layers) {
    if let Some(dialect) = valid::<Dialect>(layers.get("chain", "dialect"))
        && dialect != Dialect::default()
    {
        let rpc = NodeUrl::local(dialect.default_port());
        layers.set_default("chain", "rpc", rpc.into());
        layers.set_default("defaults", "fee", dialect.default_fee().to_string());
        layers.set_default(
            "chain",
            "final_depth",
            dialect.default_final_depth().to_string(),
        );
        layers.set_default("chain", "rate_limits", dialect.limits_calls().to_string());
        if dialect.counts_nonces() {
            layers.set_default("chain", "nonce", "sequential".into());
        }
    }
    // Unless `chain.rpc` is set, the node is the embedded one.
    if layers.has_table("devnet")
        && let Some(port) = valid(layers.explicit("devnet", "port"))
    {
        layers.set_default("chain", "rpc", NodeUrl::local(port).into());
    }
    if let Some(rpc) = valid::<NodeUrl>(layers.get("chain", "rpc")) {
        let url = Url::parse(&rpc).ok();
        if let Some(port) = url.and_then(|url| url.port_or_known_default()) {
            layers.set_default("devnet", "port", port.to_string());
        }
        layers.set_default("chain", "submit", rpc.into());
    } else {
        // The wrong `rpc` is reported, and `submit` is not to be reported for it.
        let any = NodeUrl::local(Dialect::default().default_port());
        layers.set_default("chain", "submit", any.into());
    }
}

/// Validates a configuration from its layers.
pub(super) struct Check<'a> {
    pub(super) reader: Reader,
    pub(super) layers: &'a Layers,
    pub(super) registry: &'a Registry,
    settings: Vec<Setting>,
}

impl<'a> Check<'a> {
    /// `folder` is where relative paths start.
    pub(super) fn new(layers: &'a Layers, registry: &'a Registry, folder: &Path) -> Self {
        Self {
            reader: Reader {
                folder: folder.to_owned(),
                ..Reader::default()
            },
            layers,
            registry,
            settings: Vec::new(),
        }
    }

    /// The configuration; errors are in [`Self::reader`]. `None` only if there is an error.
    pub(super) fn run(&mut self, file: &str) -> Option<Config> {
        let chain = self.read::<ChainConfig>();
        if let Some(chain) = &chain
            && chain.dialect.counts_nonces()
            && chain.nonce != NoncePolicy::Sequential
            && let Some(given) = self.layers.get("chain", "nonce")
        {
            let text = format!(
                "`chain.nonce` has to be \"sequential\" in the dialect \"{}\", whose nodes refuse \
                 every other nonce; remove this key",
                chain.dialect
            );
            self.reader.report(&given.origin, text);
        }
        let store = self.read::<StoreConfig>();
        if let Some(StoreConfig { path, .. }) = &store
            && let Some(given) = self.layers.get("store", "path")
            && is_too_long(path)
        {
            let text = format!(
                "`store.path` is longer than {LONGEST_PATH} bytes, which SQLite does not open"
            );
            self.reader.report(&given.origin, text);
        }
        let http = self.read();
        let a2a = match self.layers.has_table("a2a") {
            true => self.read(),
            false => None,
        };
        let cluster = match self.layers.has_table("cluster") {
            true => self.read(),
            false => None,
        };
        let devnet = if self.layers.has_table("devnet") {
            if self.layers.has_table("cluster") {
                let text = "the embedded node of [devnet] belongs to one process, and the hosts of a \
                            [cluster] need one node: remove [devnet], start `agentry devnet` or a real \
                            node, and point `chain.rpc` at it";
                self.reader
                    .report_missing(self.layers.header("devnet"), text);
            }
            self.conflicts();
            self.read()
        } else {
            None
        };
        let wallets: WalletsConfig = self.read().unwrap_or_default();
        let directory = self.read();
        let tasks: Option<TasksConfig> = self.read();
        let traces = self.read();
        let defaults = self.read();
        let (agents, names) = self.agents();
        let fleets = self.fleets(&wallets, &names);
        let contacts = self.contacts(&names);
        let webhooks = self.webhooks();
        let coordinator = self.coordinator(&agents, &fleets);
        if let Some(tasks) = &tasks {
            let behaviours = agents.iter().map(|agent| &agent.behaviours);
            let behaviours = behaviours.chain(fleets.iter().map(|fleet| &fleet.behaviours));
            let behaviours: Vec<_> = behaviours.flat_map(|all| all.iter()).collect();
            self.on_workers(tasks, &behaviours);
        }
        Some(Config {
            file: file.to_owned(),
            chain: chain?,
            store: store?,
            http: http?,
            a2a,
            cluster,
            devnet,
            wallets,
            directory: directory?,
            tasks: tasks?,
            traces: traces?,
            coordinator,
            defaults: defaults?,
            agents,
            fleets,
            contacts,
            webhooks,
            settings: std::mem::take(&mut self.settings),
        })
    }

    /// Reads a table that occurs once.
    pub(super) fn read<T: Described>(&mut self) -> Option<T> {
        self.read_keys(None, T::TABLE.name)
    }

    /// Reads the keys of `T` from a repeated table. `path` precedes their names, as in
    /// `agent.ponger.fee`.
    pub(super) fn read_keys<T: Described>(
        &mut self,
        item: Option<&'a Repeated>,
        path: &str,
    ) -> Option<T> {
        T::read(&mut Keys {
            check: self,
            table: T::TABLE.name,
            item,
            path,
        })
    }

    pub(super) fn note(&mut self, key: String, value: Value, origin: Origin) {
        self.settings.push(Setting { key, value, origin });
    }

    /// Reports types of task that no worker could ever run.
    fn on_workers(&mut self, tasks: &TasksConfig, behaviours: &[&BehaviourInstance]) {
        let Some(given) = self.layers.get("tasks", "on_workers") else {
            return;
        };
        if !tasks.on_workers.is_empty() && !self.layers.has_table("cluster") {
            let text = "`tasks.on_workers` needs a [cluster] table: hosts and workers find each \
                        other in its database";
            self.reader.report(&given.origin, text);
        }
        if !self.reader.issues.is_empty() {
            // The behaviour that executes them may be one that could not be read.
            return;
        }
        for kind in &tasks.on_workers {
            if !behaviours.iter().any(|one| one.behaviour.executes(kind)) {
                let text = format!(
                    "`tasks.on_workers` names {kind:?}, and no behaviour of an agent or a fleet \
                     executes tasks of that type"
                );
                self.reader.report(&given.origin, text);
            }
        }
    }

    /// Reports the keys of `[chain]` that conflict with an embedded node.
    fn conflicts(&mut self) {
        let rpc = valid::<NodeUrl>(self.layers.get("chain", "rpc"));
        let Some(url) = rpc.and_then(|rpc| Url::parse(&rpc).ok()) else {
            return;
        };
        if let Some(given) = self.layers.explicit("chain", "db") {
            let text = "`chain.db` is the database of another node; the embedded one keeps its own \
                        in `devnet.dir`: remove [devnet] or this key";
            self.reader.report(&given.origin, text);
        }
        if let Some(given) = self.layers.explicit("chain", "submit")
            && let Raw::Text(text) = &given.raw
            && Url::parse(text).is_ok_and(|submit| submit != url)
        {
            let text = "`chain.submit` is not the embedded node: remove [devnet] or this key";
            self.reader.report(&given.origin, text);
        }
        let Some(given) = self.layers.explicit("chain", "rpc") else {
            return;
        };
        let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost"));
        if !local || url.scheme() != "http" {
            let text = format!(
                "`chain.rpc` {} is not the embedded node, which listens on http://127.0.0.1 \
                 only; remove [devnet], or point `rpc` at it",
                masked(url.as_str())
            );
            self.reader.report(&given.origin, text);
        } else if let Some(given) = self.layers.explicit("devnet", "port")
            && let Some(port) = valid::<u16>(Some(given))
            && let Some(rpc_port) = url.port_or_known_default()
            && port != 0
            && port != rpc_port
        {
            let text = format!(
                "`devnet.port` {port} is not the port of `chain.rpc`, {rpc_port}; remove one"
            );
            self.reader.report(&given.origin, text);
        }
    }
}

/// Reads the keys of one table.
pub(super) struct Keys<'c, 'a> {
    check: &'c mut Check<'a>,
    /// The table that describes the keys.
    table: &'static str,
    /// The repeated table that is read; it inherits the keys that it lacks from `table`.
    item: Option<&'a Repeated>,
    path: &'c str,
}

impl Keys<'_, '_> {
    /// Reads a key, and notes it for `config show`.
    pub(super) fn read<T: Kind>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Unchecked<'_>) -> Option<T>,
    ) -> Option<T> {
        let (check, table, item) = (&mut *self.check, self.table, self.item);
        let default = check.layers.get(table, key);
        let own = match item {
            Some(item) => item.get(key),
            None => default,
        };
        // The name of a repeated table is a part of the path.
        let is_name = key == "name";
        let name = format!("{}.{key}", if is_name { table } else { self.path });
        let Some(given) = own.or(default) else {
            let absent = T::absent();
            match item {
                Some(item) if absent.is_none() => check.reader.report_without(item, table, key),
                None if absent.is_none() => {
                    let described = super::keys::table(table).and_then(|table| table.key(key));
                    // What it is, without what else there is to know.
                    let about = described.map_or("", |key| key.about);
                    let about = about.split("; must be set").next().unwrap_or(about);
                    let text = format!("`{name}` must be set: {about}");
                    check
                        .reader
                        .report_missing(check.layers.header(table), text);
                }
                Some(_) => {}
                None => check.note(name, Value::Null, Origin::Default),
            }
            return absent;
        };
        let reported = check.reader.issues.len();
        let value = read(&mut check.reader.unchecked(&name, given));
        if own.is_none() {
            // What is wrong with an inherited value is reported in the table that sets it.
            check.reader.issues.truncate(reported);
        }
        let value = value?;
        if !is_name {
            check.note(name, value.show(), given.origin.clone());
        }
        Some(value)
    }
}
