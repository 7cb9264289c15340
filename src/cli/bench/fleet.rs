//! Wallets in a vault, and runtimes that host them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use agentry_chain::NodeClient;
use agentry_devnet::{DevnetConfig, MIN_BLOCK_TIME};
use agentry_protocol::vault::Vault;
use agentry_protocol::{Address, Dialect, KeyType, Password, Seed, SigningKey};

use crate::config::{Config, Overlay, Source};
use crate::runtime::host::{Host, HostOptions};
use crate::wallet::write_new;

/// The password of the vaults.
const PASSWORD: &str = "of no importance";

/// The rounds of key derivation where that is not measured.
pub const FEW_ROUNDS: u32 = 1_000;

/// Limits that nothing reaches, as keys of `[defaults]`.
pub const UNLIMITED: &str = "per_sender_rate = \"unlimited\"\ndaily_budget = 1_000_000_000";

/// A URL at which there is no node.
pub(super) const NO_NODE: &str = "http://127.0.0.1:9";

/// The node that a runtime posts to.
#[derive(Debug)]
pub enum Node<'a> {
    /// One that is asked over HTTP, at this URL.
    Url(&'a str),
    /// One within this process.
    Local(NodeClient),
}

/// A folder with wallets, always the same ones, and a node that has funded them.
#[derive(Debug)]
pub struct Fleet {
    dir: PathBuf,
    dialect: Dialect,
    addresses: Vec<Address>,
}

impl Fleet {
    /// Packs wallets into a vault, with this many rounds of key derivation.
    ///
    /// # Errors
    /// The files cannot be written, or there are too many wallets for one vault.
    pub fn make(dir: &Path, count: usize, rounds: u32) -> anyhow::Result<Self> {
        Self::of(Dialect::default(), dir, count, rounds)
    }

    /// The same for a chain of this dialect.
    ///
    /// # Errors
    /// As [`make`](Self::make).
    pub(super) fn of(
        dialect: Dialect,
        dir: &Path,
        count: usize,
        rounds: u32,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let wallet = |number: usize| {
            let seed = seed(0x42, number, dialect.key_type());
            let address = Address::from_public_key(&seed.public_key());
            (format!("w{number:05}"), address, seed)
        };
        let wallets: Vec<_> = (0..count).map(wallet).collect();
        let addresses = wallets.iter().map(|(_, address, _)| address.clone());
        let fleet = Self {
            dir: dir.to_owned(),
            dialect,
            addresses: addresses.collect(),
        };
        let vault = Vault::pack_with_rounds(wallets, &password(), rounds)?;
        write_new(&fleet.vault(), vault.to_text().as_bytes())?;
        write_new(&dir.join(".password"), PASSWORD.as_bytes())?;
        Ok(fleet)
    }

    /// Their addresses.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The key of one of them.
    pub(super) fn key(number: usize) -> SigningKey {
        SigningKey::from_seed(&seed(0x42, number, Dialect::default().key_type()))
    }

    /// The path of the vault.
    pub(super) fn vault(&self) -> PathBuf {
        self.dir.join("fleet.vault")
    }

    /// Reads the vault and opens it, as a start does.
    pub(super) fn open_vault(&self) -> anyhow::Result<()> {
        let vault = Vault::parse(&fs::read(self.vault())?)?;
        vault.open(&password())?;
        Ok(())
    }

    /// The configuration of the node.
    pub fn node(&self) -> DevnetConfig {
        let fund = |address: &Address| (address.clone(), 1_000_000_000);
        DevnetConfig {
            dir: self.dir.join("node"),
            dialect: self.dialect,
            block_time: MIN_BLOCK_TIME,
            allocations: self.addresses.iter().map(fund).collect(),
            max_pending: 2 * self.addresses.len() + 20_000,
            ..DevnetConfig::default()
        }
    }

    /// The path of the store of a runtime with this name.
    pub fn store(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.db"))
    }

    /// Writes agents.toml for a runtime with its own store that hosts all of them and posts to `url`. It
    /// reads the node's chain.db; over RPC, if the node's dialect limits calls. Each answers `ping` with
    /// `pong`.
    pub(super) fn configure(
        &self,
        name: &str,
        url: &str,
        defaults: &str,
    ) -> anyhow::Result<PathBuf> {
        let path = self.dir.join(format!("{name}.toml"));
        let (id, dialect) = (self.node().chain_id, self.dialect);
        let db = match dialect.limits_calls() {
            true => "",
            false => ", db = \"node/chain.db\"",
        };
        let text = format!(
            r#"
chain = {{ id = "{id}", dialect = "{dialect}", rpc = "{url}", submit = "{url}"{db} }}
store = {{ path = "{name}.db" }}
http = {{ listen = "127.0.0.1:0" }}
[defaults]
{defaults}
[[fleet]]
name = "fleet"
vault = "fleet.vault"
password_file = ".password"
behaviours = [{{ kind = "pong", trigger = "ping", reply = "pong" }}]
"#
        );
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Hosts all of them in this process; see `agentry run`.
    ///
    /// # Errors
    /// The runtime does not start.
    pub fn host(&self, name: &str, node: Node<'_>, defaults: &str) -> anyhow::Result<Host> {
        let (url, node) = match node {
            Node::Url(url) => (url, None),
            Node::Local(client) => (NO_NODE, Some(client)),
        };
        let source = Source::File(self.configure(name, url, defaults)?);
        let overlay = Overlay {
            environment: Some(HashMap::new()),
            flags: Vec::new(),
        };
        let config = Config::load(&source, &overlay, &crate::builtins())?;
        let (_keep, cancel) = tokio::sync::watch::channel(false);
        let options = HostOptions {
            node,
            ..HostOptions::default()
        };
        Ok(Host::start(config, options, cancel)?)
    }
}

fn password() -> Password {
    Password::new(PASSWORD.to_owned())
}

/// The seed of one of the wallets of a kind.
pub(super) fn seed(kind: u8, number: usize, key_type: KeyType) -> Seed {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Seed::new(bytes, key_type).expect("far below the order of the group, and not 0")
}
