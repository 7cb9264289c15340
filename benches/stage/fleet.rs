//! Wallets in a vault, and runtimes that host them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use agentry::config::{Config, Overlay, Source};
use agentry::{Host, HostOptions};
use agentry_protocol::vault::Vault;
use agentry_protocol::{Address, Password, Seed};
use anyhow::Context;

use super::chain::chain_id;

/// The password of the benchmarks' vaults.
const PASSWORD: &str = "of no importance";

/// The rounds of key derivation of a vault made by `agentry wallet pack`.
pub(crate) const ROUNDS: u32 = agentry_protocol::vault::ROUNDS;

/// The rounds of a vault in benchmarks that do not measure key derivation.
pub(crate) const FEW_ROUNDS: u32 = 1_000;

/// Limits that no benchmark reaches.
const UNLIMITED: &str = "per_sender_rate = \"unlimited\"\ndaily_budget = 1_000_000_000";

/// What every agent does.
const PONG: &str = "behaviours = [{ kind = \"pong\", trigger = \"ping\", reply = \"pong\" }]\n";

/// Wallets, and the folder with their vault.
pub(crate) struct Fleet {
    dir: PathBuf,
    addresses: Vec<Address>,
}

impl Fleet {
    /// Creates wallets, always the same ones, and packs them into a vault.
    pub(crate) fn make(dir: &Path, count: usize, rounds: u32) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let seeds: Vec<Seed> = (0..count).map(|number| seed(number as u64)).collect();
        let addresses: Vec<Address> = seeds
            .iter()
            .map(|seed| Address::from_public_key(&seed.public_key()))
            .collect();
        let entries = seeds
            .into_iter()
            .zip(&addresses)
            .enumerate()
            .map(|(number, (seed, address))| (wallet_name(number), address.clone(), seed));
        let password = Password::new(PASSWORD.to_owned());
        let vault = Vault::pack_with_rounds(entries, &password, rounds)?;
        fs::write(dir.join("fleet.vault"), vault.to_text())?;
        fs::write(dir.join(".password"), PASSWORD)?;
        make_private(&dir.join(".password"))?;
        make_private(&dir.join("fleet.vault"))?;
        Ok(Self {
            dir: dir.to_owned(),
            addresses,
        })
    }

    /// How many wallets there are.
    pub(crate) fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Their addresses, in the same order.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// An allocation for each of them.
    pub(crate) fn allocations(&self) -> Vec<(Address, u64)> {
        self.addresses
            .iter()
            .map(|address| (address.clone(), 1_000_000_000))
            .collect()
    }

    /// Writes agents.toml for a runtime with its own store that hosts all of them as `pong`.
    pub(crate) fn configure(&self, name: &str, place: &Place) -> anyhow::Result<PathBuf> {
        self.configure_with(name, place, UNLIMITED)
    }

    /// As [`configure`](Self::configure), with these keys of `[defaults]`.
    pub(crate) fn configure_with(
        &self,
        name: &str,
        place: &Place,
        defaults: &str,
    ) -> anyhow::Result<PathBuf> {
        let fleet = "[[fleet]]\nname = \"fleet\"\nvault = \"fleet.vault\"\n\
                     password_file = \".password\"\n";
        let fleet = format!("{fleet}{PONG}");
        self.write(name, place, defaults, &fleet)
    }

    /// Writes agents.toml with a table for each of them, for a runtime with its own store.
    pub(crate) fn configure_tables(&self, name: &str, place: &Place) -> anyhow::Result<PathBuf> {
        let mut tables =
            "[wallets]\nvault = \"fleet.vault\"\npassword_file = \".password\"\n".to_owned();
        for number in 0..self.len() {
            let wallet = wallet_name(number);
            tables += &format!("[[agent]]\nname = {wallet:?}\nwallet = {wallet:?}\n{PONG}");
        }
        self.write(name, place, UNLIMITED, &tables)
    }

    fn write(
        &self,
        name: &str,
        place: &Place,
        defaults: &str,
        agents: &str,
    ) -> anyhow::Result<PathBuf> {
        let db = match &place.db {
            Some(path) => format!("db = {:?}\n", path.display().to_string()),
            None => String::new(),
        };
        let text = format!(
            "[chain]\nid = \"{}\"\nrpc = \"{}\"\nsubmit = \"{}\"\n{db}start = {}\n\
             [store]\npath = \"{name}.db\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [defaults]\n{defaults}\n{agents}",
            chain_id(),
            place.node,
            place.submit,
            place.start
        );
        let path = self.dir.join(format!("{name}.toml"));
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Hosts all of them in this process.
    pub(crate) fn host(&self, name: &str, place: &Place) -> anyhow::Result<Host> {
        self.host_with(name, place, UNLIMITED)
    }

    /// As [`host`](Self::host), with these keys of `[defaults]`.
    pub(crate) fn host_with(
        &self,
        name: &str,
        place: &Place,
        defaults: &str,
    ) -> anyhow::Result<Host> {
        let path = self.configure_with(name, place, defaults)?;
        let overlay = Overlay {
            environment: Some(HashMap::new()),
            flags: Vec::new(),
        };
        let config = Config::load(&Source::File(path), &overlay, &agentry::builtins())?;
        let (_keep, cancel) = tokio::sync::watch::channel(false);
        Ok(Host::start(config, HostOptions::default(), cancel)?)
    }
}

/// Where a runtime reads and posts.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The node's URL.
    pub(crate) node: String,
    /// The URL that it posts to.
    pub(crate) submit: String,
    /// The node's database, if that is read instead of the node.
    pub(crate) db: Option<PathBuf>,
    /// Where a new store begins, as written in agents.toml.
    pub(crate) start: &'static str,
}

impl Place {
    /// Reads the chain.db in a folder, and posts to a node.
    pub(crate) fn db(dir: &Path, node: &str) -> Self {
        Self {
            node: node.to_owned(),
            submit: node.to_owned(),
            db: Some(dir.join("chain.db")),
            start: "\"head\"",
        }
    }

    /// Reads a node over RPC, and posts to it.
    pub(crate) fn rpc(node: &str) -> Self {
        Self {
            db: None,
            ..Self::db(Path::new(""), node)
        }
    }
}

fn wallet_name(number: usize) -> String {
    format!("w{number:05}")
}

fn seed(number: u64) -> Seed {
    let mut bytes = [0x42; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Seed::from_bytes(bytes)
}

fn make_private(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("making {} private", path.display()))
}
