//! The configuration, validated: plain data.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentry_chain::Start;
use agentry_devnet::Fault;
use agentry_protocol::{Address, AgentName, BlockHeight, ChainId, EncryptionKey, PublicKey};
use agentry_sdk::AnyBehaviour;
use serde::Serialize;
use serde_json::{Map, Value};

use super::error::Origin;
use super::rate::Rate;
use crate::wallet::WalletStore;

/// A whole configuration. See [`super::keys`] for ranges and defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of the file: its path, or `built-in agents.toml`.
    pub file: String,
    /// The chain that is watched and posted to.
    pub chain: ChainConfig,
    /// The runtime's own database.
    pub store: StoreConfig,
    /// Health, readiness and metrics.
    pub http: HttpConfig,
    /// The embedded node, if one is configured.
    pub devnet: Option<DevnetTable>,
    /// Where the keys of [`Self::agents`] are.
    pub wallets: WalletsConfig,
    /// The agents that announce themselves on the chain.
    pub directory: DirectoryConfig,
    /// The work that agents do for others.
    pub tasks: TasksConfig,
    /// The values of agents and fleets that do not set their own.
    pub defaults: AgentDefaults,
    /// The agents of `[[agent]]`; names and wallets are unique.
    pub agents: Vec<AgentConfig>,
    /// The fleets: folders and vaults whose wallets are all hosted.
    pub fleets: Vec<FleetConfig>,
    /// Agents elsewhere whose addresses and keys the operator vouches for; names are unique here
    /// and among [`Self::agents`], addresses are unique here.
    pub contacts: Vec<Contact>,
    /// Each value and its origin, in the order of the reference. No secrets.
    pub settings: Vec<Setting>,
}

/// `[chain]`.
#[derive(Clone, Debug)]
pub struct ChainConfig {
    /// The chain's id, a part of everything that is signed.
    pub id: ChainId,
    /// The node from which blocks are read; no slash at the end. May contain a password: show it
    /// through [`super::masked`].
    pub rpc: String,
    /// The node's chain.db; if set, blocks are read there and not from `rpc`.
    pub db: Option<PathBuf>,
    /// The node where transactions are posted and balances, nonces and the mempool are read.
    pub submit: String,
    /// A message is acted on this many blocks below the head.
    pub confirmations: u64,
    /// Blocks after which a mined reply is final; at least 1.
    pub final_depth: u64,
    /// How nonces are assigned.
    pub nonce: NoncePolicy,
    /// Where a new store or agent begins to read.
    pub start: Start,
}

/// How nonces are assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NoncePolicy {
    /// Milliseconds since the epoch, as is customary; the node of April 2026 ignores nonces.
    Timestamp,
    /// The account's counter, which later nodes require.
    Sequential,
}

/// `[store]`.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The database file.
    pub path: PathBuf,
    /// Completed messages are deleted after this.
    pub retention: Duration,
}

/// `[http]`.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where health, readiness and metrics are served; always a loopback address.
    pub listen: SocketAddr,
}

/// `[devnet]`.
#[derive(Clone, Debug)]
pub struct DevnetTable {
    /// How often a block is made.
    pub block_time: Duration,
    /// The folder of its databases.
    pub dir: PathBuf,
    /// Its port on 127.0.0.1; 0 is any free one. With 0, the URL is the one that the started node
    /// reports and not [`ChainConfig::rpc`].
    pub port: u16,
    /// The faults that it reproduces.
    pub faults: Vec<Fault>,
}

/// `[wallets]`.
#[derive(Clone, Debug, Default)]
pub struct WalletsConfig {
    /// A folder of keystore files.
    pub keystore_dir: Option<PathBuf>,
    /// A vault.
    pub vault: Option<PathBuf>,
    /// A file that holds the password of both.
    pub password_file: Option<PathBuf>,
}

/// `[directory]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectoryConfig {
    /// The height from which cards are read in a new store; `None`: where the store begins.
    pub from: Option<BlockHeight>,
}

/// `[tasks]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TasksConfig {
    /// Tasks that run at the same time, of all agents together; at least 1.
    pub concurrency: usize,
}

/// `[[contact]]`: an agent elsewhere whose address and keys the operator vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Its name.
    pub name: AgentName,
    /// Its address.
    pub address: Address,
    /// The key that verifies its signatures. The operator vouches that it belongs to the address:
    /// it is not compared with the key that the address is made from, so that an address that
    /// belongs to no key can have one; see [`agentry_protocol::authenticity::examine`].
    pub public_key: Option<PublicKey>,
    /// The key to which messages to it are sealed.
    pub enc_key: Option<EncryptionKey>,
}

/// `[defaults]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentDefaults {
    /// The fee of each transaction, in AIT.
    pub fee: u64,
    /// How long one run of a behaviour may take.
    pub time_limit: Duration,
    /// Runs of a behaviour after which a message is a dead letter; at least 1.
    pub attempts: u32,
    /// How many messages of one sender are handled per length of time; `None` is no limit.
    pub per_sender_rate: Option<Rate>,
    /// A message that has waited longer than this for its sender's rate becomes a dead letter.
    pub max_wait: Duration,
    /// What it may spend in fees and amounts in a UTC day, in AIT; 0 is nothing.
    pub daily_budget: u64,
}

/// One hosted wallet.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentConfig {
    /// Its name, unique: that of `[[agent]]`, or `fleet/wallet`.
    pub name: String,
    /// Its wallet's name.
    pub wallet: String,
    /// The fee of each transaction that it sends, in AIT.
    pub fee: u64,
    /// How long one run of a behaviour may take.
    pub time_limit: Duration,
    /// Runs of a behaviour after which a message is a dead letter; at least 1.
    pub attempts: u32,
    /// How many messages of one sender are handled per length of time; `None` is no limit.
    pub per_sender_rate: Option<Rate>,
    /// A message that has waited longer than this for its sender's rate becomes a dead letter.
    pub max_wait: Duration,
    /// What it may spend in fees and amounts in a UTC day, in AIT; 0 is nothing.
    pub daily_budget: u64,
    /// Its behaviours, in this order; instance names are unique.
    pub behaviours: Vec<BehaviourInstance>,
}

/// Every wallet of a folder or a vault, as agents with the same behaviours.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// Its name, unique among agents and fleets; the prefix of its agents' names.
    pub name: String,
    /// Where its wallets are.
    pub wallets: FleetWallets,
    /// A file that holds their password.
    pub password_file: Option<PathBuf>,
    /// The fee of each transaction, in AIT.
    pub fee: u64,
    /// How long one run of a behaviour may take.
    pub time_limit: Duration,
    /// Runs of a behaviour after which a message is a dead letter; at least 1.
    pub attempts: u32,
    /// How many messages of one sender are handled per length of time; `None` is no limit.
    pub per_sender_rate: Option<Rate>,
    /// A message that has waited longer than this for its sender's rate becomes a dead letter.
    pub max_wait: Duration,
    /// What it may spend in fees and amounts in a UTC day, in AIT; 0 is nothing.
    pub daily_budget: u64,
    /// The behaviours of each agent, in this order.
    pub behaviours: Vec<BehaviourInstance>,
}

/// Where a fleet's wallets are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FleetWallets {
    /// A folder of keystore files.
    Directory(PathBuf),
    /// A vault.
    Vault(PathBuf),
}

impl FleetWallets {
    /// The store of these wallets.
    pub fn store(&self) -> WalletStore {
        match self {
            Self::Directory(directory) => WalletStore::new(Some(directory.clone()), None),
            Self::Vault(vault) => WalletStore::new(None, Some(vault.clone())),
        }
    }
}

impl FleetConfig {
    /// The agent of one of its wallets.
    pub fn agent(&self, wallet: &str) -> AgentConfig {
        AgentConfig {
            name: format!("{}/{wallet}", self.name),
            wallet: wallet.to_owned(),
            fee: self.fee,
            time_limit: self.time_limit,
            attempts: self.attempts,
            per_sender_rate: self.per_sender_rate,
            max_wait: self.max_wait,
            daily_budget: self.daily_budget,
            behaviours: self.behaviours.clone(),
        }
    }
}

/// A configured behaviour of an agent.
#[derive(Clone, Debug)]
pub struct BehaviourInstance {
    /// Its name, unique in its agent: the key of its progress and its state.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The behaviour itself.
    pub behaviour: Arc<dyn AnyBehaviour>,
    /// The senders named in its settings: addresses and names.
    pub known_senders: Vec<String>,
    /// The keys it was built from.
    pub written: Written,
}

/// Two are equal if they were built from the same keys.
impl PartialEq for BehaviourInstance {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.kind, &self.written) == (&other.name, &other.kind, &other.written)
    }
}

/// The keys of a behaviour, for comparison only: they may contain secrets and are never shown.
#[derive(Clone, PartialEq)]
pub struct Written(Arc<Map<String, Value>>);

impl Written {
    pub(super) fn new(settings: Map<String, Value>) -> Self {
        Self(Arc::new(settings))
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").finish_non_exhaustive()
    }
}

/// One value of the effective configuration.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// Its key, for example `chain.rpc` or `agent.ponger.fee`.
    pub key: String,
    /// Its value; null when it is not set. Secrets are masked.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}
