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

use super::mistake::Origin;
use super::rate::Rate;
use crate::wallet::WalletStore;

/// A whole configuration. See [`super::keys`] for ranges and defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the file is called: its path, or `built-in agents.toml`.
    pub file: String,
    /// The chain that is watched and posted to.
    pub chain: ChainConfig,
    /// The runtime's own database.
    pub store: StoreConfig,
    /// Health, readiness and metrics.
    pub http: HttpConfig,
    /// The embedded node, if one is to run.
    pub devnet: Option<DevnetTable>,
    /// Where the keys of [`Self::agents`] are.
    pub wallets: WalletsConfig,
    /// The agents that announce themselves on the chain.
    pub directory: DirectoryConfig,
    /// The work that agents do for others.
    pub tasks: TasksConfig,
    /// What agents and fleets use that do not say otherwise.
    pub defaults: AgentDefaults,
    /// The agents that are named one by one; names and wallets are unique.
    pub agents: Vec<AgentConfig>,
    /// The folders and vaults of which every wallet is hosted.
    pub fleets: Vec<FleetConfig>,
    /// Agents elsewhere whose addresses and keys the operator vouches for; names are unique here
    /// and among [`Self::agents`], addresses are unique here.
    pub contacts: Vec<Contact>,
    /// Each value and where it comes from, in the order of the reference. No secrets.
    pub settings: Vec<Setting>,
}

/// `[chain]`.
#[derive(Clone, Debug)]
pub struct ChainConfig {
    /// The chain's id, a part of everything that is signed.
    pub id: ChainId,
    /// The node from which blocks are read; no slash at the end. May hold a password: show it
    /// through [`super::masked`].
    pub rpc: String,
    /// The node's chain.db; then blocks are read there and not from `rpc`.
    pub db: Option<PathBuf>,
    /// The node where transactions are posted and balances, nonces and the mempool are read.
    pub submit: String,
    /// A message is acted on this many blocks below the head.
    pub confirmations: u64,
    /// Blocks after which a mined reply is final; at least 1.
    pub final_depth: u64,
    /// How nonces are allotted.
    pub nonce: NoncePolicy,
    /// Where a new store or agent begins to read.
    pub start: Start,
}

/// How nonces are allotted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NoncePolicy {
    /// Milliseconds since the epoch, as customary; the node of April 2026 ignores them.
    Timestamp,
    /// The account's counter, as later nodes demand.
    Sequential,
}

/// `[store]`.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The database file.
    pub path: PathBuf,
    /// Settled messages are forgotten after this.
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
    /// Its port on 127.0.0.1; 0 is any free one, and then the node's own word on its url counts
    /// and not [`ChainConfig::rpc`].
    pub port: u16,
    /// Faults that it shall have.
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
    /// Tasks that run at a time, of all agents together; at least 1.
    pub concurrency: usize,
}

/// `[[contact]]`: an agent elsewhere whose address and keys the operator vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// What it is called.
    pub name: AgentName,
    /// Its address.
    pub address: Address,
    /// The key under which its signatures count. The operator's word binds it to the address: it
    /// is not compared with the key that the address is made from, so that an address that
    /// belongs to no key can have one, as [`agentry_protocol::authenticity::examine`] has it.
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
    /// Messages of one sender past which the others of his wait; `None` is no limit.
    pub per_sender_rate: Option<Rate>,
    /// A message that has waited longer than this for its sender's rate is a dead letter.
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
    /// Messages of one sender past which the others of his wait; `None` is no limit.
    pub per_sender_rate: Option<Rate>,
    /// A message that has waited longer than this for its sender's rate is a dead letter.
    pub max_wait: Duration,
    /// What it may spend in fees and amounts in a UTC day, in AIT; 0 is nothing.
    pub daily_budget: u64,
    /// What it does, in this order; instance names are unique.
    pub behaviours: Vec<BehaviourInstance>,
}

/// Every wallet of a folder or a vault, as agents that behave alike.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// Its name, unique among agents and fleets; before each of its agents' names.
    pub name: String,
    /// Which wallets.
    pub wallets: FleetWallets,
    /// A file that holds their password.
    pub password_file: Option<PathBuf>,
    /// The fee of each transaction, in AIT.
    pub fee: u64,
    /// How long one run of a behaviour may take.
    pub time_limit: Duration,
    /// Runs of a behaviour after which a message is a dead letter; at least 1.
    pub attempts: u32,
    /// Messages of one sender past which the others of his wait; `None` is no limit.
    pub per_sender_rate: Option<Rate>,
    /// A message that has waited longer than this for its sender's rate is a dead letter.
    pub max_wait: Duration,
    /// What it may spend in fees and amounts in a UTC day, in AIT; 0 is nothing.
    pub daily_budget: u64,
    /// What each does, in this order.
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
    /// The senders that its settings name: addresses and names.
    pub known_senders: Vec<String>,
    /// What it was made from.
    pub written: Written,
}

/// Two are equal if they were made from the same keys.
impl PartialEq for BehaviourInstance {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.kind, &self.written) == (&other.name, &other.kind, &other.written)
    }
}

/// The keys of a behaviour, to be compared and not to be shown: there may be secrets among them.
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
    /// What it is called, as `chain.rpc` or `agent.ponger.fee`.
    pub key: String,
    /// What holds; null when nothing is set. Secrets are masked.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}
