//! The configuration, validated: plain data.
//!
//! Each key is described here, once: what it holds, its range, its default and its purpose. The
//! macro `describe!` of [`super::keys`] makes the rest of it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentry_chain::{NodeOptions, Start};
use agentry_core::nonce::NoncePolicy;
use agentry_devnet::Fault;
use agentry_protocol::{
    Address, AgentName, Amount, BlockHeight, Chain, ChainId, Dialect, EncryptionKey, PublicKey,
};
use agentry_sdk::AnyBehaviour;
use serde::Serialize;
use serde_json::{Map, Value};

use super::approve::Approvals;
use super::check::Keys;
use super::console::ConsoleAccess;
use super::coordinator::{Capability, CoordinatorRole};
use super::database_url::DatabaseUrl;
use super::error::Origin;
use super::host_name::HostName;
use super::keys::{Described, Holds, Key, Table, describe};
use super::node_url::{CollectorUrl, NodeUrl};
use super::rate::Rate;
use super::values::{Kind, Ranged};
use super::webhooks::{NoticeName, WebhookUrl};
use crate::schedule::Scheduled;
use crate::wallet::WalletStore;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Upper bound of `confirmations` and `final_depth`: a deeper reorganisation is a reset.
const DEEPEST: u64 = 10_000;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of the file: its path, or `built-in agents.toml`.
    pub file: String,
    /// The chain that is watched and posted to.
    pub chain: ChainConfig,
    /// The runtime's own database.
    pub store: StoreConfig,
    /// Health, readiness, metrics, the API and the console.
    pub http: HttpConfig,
    /// The agents that others can reach over A2A, if any.
    pub a2a: Option<A2aConfig>,
    /// The other hosts with which this one shares its agents, if there are any.
    pub cluster: Option<ClusterConfig>,
    /// The embedded node, if one is configured.
    pub devnet: Option<DevnetTable>,
    /// Where the keys of [`Self::agents`] are.
    pub wallets: WalletsConfig,
    /// The agents that announce themselves on the chain.
    pub directory: DirectoryConfig,
    /// The work that agents do for others.
    pub tasks: TasksConfig,
    /// The export of traces.
    pub traces: TracesConfig,
    /// AITBC's agent coordinator, if agents announce themselves there.
    pub coordinator: Option<CoordinatorConfig>,
    /// The values of agents and fleets that do not set their own.
    pub defaults: CommonConfig,
    /// The agents of `[[agent]]`; names and wallets are unique.
    pub agents: Vec<AgentConfig>,
    /// The fleets: folders and vaults whose wallets are all hosted.
    pub fleets: Vec<FleetConfig>,
    /// Agents elsewhere whose addresses and keys the operator vouches for; names are unique here
    /// and among [`Self::agents`], addresses are unique here.
    pub contacts: Vec<Contact>,
    /// Where operators are told of what needs them; names are unique.
    pub webhooks: Vec<WebhookConfig>,
    /// Each value and its origin, in the order of the reference. No secrets.
    pub settings: Vec<Setting>,
}

describe! {
    /// the chain that is watched and posted to
    [chain]
    #[derive(Clone, Debug)]
    pub struct ChainConfig {
        /// the chain's id, 1 to 64 of [A-Za-z0-9._-]; must be set
        id: ChainId,
        /// what the chain's nodes and wallets agree on: "aitbc-2026-04", or "aitbc-2026-08" for nodes
        /// of August 2026 and later
        dialect: Dialect = "aitbc-2026-04",
        /// the node from which blocks are read when no db is given; in the dialect "aitbc-2026-08",
        /// port 8202
        rpc: NodeUrl = "http://127.0.0.1:8006",
        /// the node's chain.db, when the node runs on this machine
        db: Option<PathBuf>,
        /// the producing node, where transactions are posted and balances, nonces and the mempool
        /// are read; default: rpc
        submit: NodeUrl,
        /// a message is acted on this many blocks below the head; 0 to 10,000
        confirmations: u64 [0..=DEEPEST] = "0",
        /// blocks after which a mined reply is final; 1 to 10,000. In the dialect "aitbc-2026-08", whose
        /// chains are not reorganised, 1
        final_depth: u64 [1..=DEEPEST] = "10",
        /// "timestamp" or "sequential"; in the dialect "aitbc-2026-08", always "sequential"
        nonce: NoncePolicy = "timestamp",
        /// whether the nodes limit how often they are asked, as those of the dialect "aitbc-2026-08" do
        /// (the default there) unless they are started without; agentry stays within these limits
        rate_limits: bool = "false",
        /// where a new store or agent begins: "head", or a height
        start: Start = "head",
    }
}

impl ChainConfig {
    /// The chain, as whoever signs for it knows it.
    pub fn chain(&self) -> Chain {
        Chain {
            id: self.id.clone(),
            dialect: self.dialect,
        }
    }

    /// The options for clients of its nodes.
    pub fn node_options(&self) -> NodeOptions {
        NodeOptions {
            unlimited: !self.rate_limits,
            ..NodeOptions::of(self.dialect, &self.id)
        }
    }
}

describe! {
    /// the runtime's own database
    [store]
    #[derive(Clone, Debug)]
    pub struct StoreConfig {
        /// the database file
        path: PathBuf = "agentry.db",
        /// completed messages are deleted after this; 1h to 10 years
        retention: Duration [HOUR..=3650 * DAY] = "30d",
    }
}

describe! {
    /// health, readiness, metrics, the API, and the console
    [http]
    #[derive(Clone, Debug)]
    pub struct HttpConfig {
        /// where they are served: a loopback address and a port
        listen: SocketAddr = "127.0.0.1:8070",
        /// further names under which a proxy on this machine passes requests on; a request that names
        /// another host is refused
        allowed_hosts: Vec<HostName> = "",
        /// how many connections are served at the same time; the others wait. 16 to 10,000
        connections: usize [16..=10_000] = "256",
        /// how many of them may be streams of events; 1 to 1,000
        streams: usize [1..=1_000] = "32",
        /// the web console, at /: true, false, or "read-only". `agentry ui` opens it
        console: ConsoleAccess = "true",
    }
}

describe! {
    /// agents that others can reach over A2A, at /a2a/ and the agent's name, with a token
    [a2a]
    #[derive(Clone, Debug, Default)]
    pub struct A2aConfig {
        /// the agents: names of hosted agents and contacts, and names or addresses in the directory
        agents: Vec<String> = "",
        /// the hosted agent that asks on behalf of callers whose tokens do not name a single one, and
        /// whose wallet signs the cards of agents that are hosted elsewhere
        from: Option<String>,
        /// the URL under which callers reach this server, without a path; default: as they call it
        url: Option<NodeUrl>,
        /// whether what callers send is sealed to the agents; default: true. Otherwise, everybody can
        /// read it on the chain
        seal: Option<bool>,
        /// whether the receivers of push notifications may be on this machine or in a private network,
        /// and use http; default: false
        push_private: Option<bool>,
    }
}

describe! {
    /// several hosts that share these agents: when one of them dies, its agents answer elsewhere;
    /// without this table, this host is alone
    [cluster]
    #[derive(Clone, Debug)]
    pub struct ClusterConfig {
        /// the PostgreSQL database of all hosts, for example
        /// postgresql://agentry@db1,db2/agentry?sslmode=require; must be set. Of several servers, the one
        /// that takes writes is used
        database: DatabaseUrl,
        /// a file that holds the database's password
        password_file: Option<PathBuf>,
        /// a file of root certificates that the database's certificate is verified with; default: those
        /// of this machine
        root_certificate: Option<PathBuf>,
        /// this host's name, unique among the hosts; default: that of the machine
        host: Option<HostName>,
        /// after so many records of a shard's log, a copy of its tables is put into the database, and
        /// the records before the last copy are deleted; 100 to 10,000,000
        snapshot_every: u64 [100..=10_000_000] = "20000",
        /// after the node has not answered this host for so long, hosts whose nodes answer take over
        /// what it runs; 1s to 1h
        release_after: Duration [Duration::from_secs(1)..=HOUR] = "30s",
    }
}

describe! {
    /// an embedded node; without this table a real one is used
    [devnet]
    /// Port 0 is any free one; the node's URL is then the one that it reports, and not
    /// [`ChainConfig::rpc`].
    #[derive(Clone, Debug)]
    pub struct DevnetTable {
        /// how often a block is made; 50ms to 1h
        block_time: Duration [Duration::from_millis(50)..=HOUR] = "500ms",
        /// the folder of its databases
        dir: PathBuf = "devnet",
        /// its port on 127.0.0.1; default: that of chain.rpc
        port: u16,
        /// faults of a real node to reproduce
        faults: Vec<Fault> = "",
    }
}

describe! {
    /// where the agents' keys are
    [wallets]
    #[derive(Clone, Debug, Default)]
    pub struct WalletsConfig {
        /// a folder of keystore files, \<wallet>.json
        keystore_dir: Option<PathBuf>,
        /// a file of many wallets, made by `agentry wallet pack`
        vault: Option<PathBuf>,
        /// a file that holds the password; without it, AGENTRY_PASSWORD or a prompt
        password_file: Option<PathBuf>,
    }
}

describe! {
    /// the agents that announce themselves on the chain
    [directory]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct DirectoryConfig {
        /// the height from which cards are read, even where agents begin later; default: where the
        /// store begins
        from: Option<BlockHeight>,
    }
}

describe! {
    /// the work that agents do for others
    [tasks]
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct TasksConfig {
        /// tasks that run at the same time, of all agents together; 1 to 1,024. Those that workers run
        /// do not count
        concurrency: usize [1..=1_024] = "4",
        /// the types of task that workers (`agentry worker`) run, on machines of their own, instead of
        /// the hosts; needs a cluster
        on_workers: Vec<String> = "",
    }
}

describe! {
    /// the export of traces
    [traces]
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct TracesConfig {
        /// the base URL of a collector that takes OTLP over HTTP, to which traces are exported.
        /// Default: that of OTEL_EXPORTER_OTLP_ENDPOINT; without one, nothing is exported
        endpoint: Option<CollectorUrl>,
    }
}

describe! {
    /// AITBC's agent coordinator, where hosted agents are announced and their inboxes are read; without
    /// this table, none is asked
    [coordinator]
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CoordinatorConfig {
        /// its base URL, for example http://127.0.0.1:8107; must be set. The coordinator needs no login;
        /// a proxy in front of it may need a user name and a password, which `config show` masks
        url: NodeUrl,
        /// the agents: names of agents, fleets and agents of fleets; default: all that are hosted
        agents: Vec<String> = "",
        /// what kind of agent they are there: "worker", "specialist", "coordinator", "monitor",
        /// "gateway", "orchestrator", "inference", "training", "processing"
        agent_type: CoordinatorRole = "worker",
        /// what they can do, for those who look for agents there: up to 64 words, each 1 to 64 of
        /// [A-Za-z0-9._:/-]
        capabilities: Vec<Capability> = "",
        /// how often each agent is kept alive; the coordinator shows one as inactive after two minutes
        /// without; 1s to 1h
        heartbeat_every: Duration [Duration::from_secs(1)..=HOUR] = "1m",
        /// how often the inbox of each agent is read; 1s to 1 day
        read_every: Duration [Duration::from_secs(1)..=DAY] = "1m",
        /// the most requests in a minute, of the 100 that the coordinator allows an IP address; 10 to 80.
        /// Hosts that share an address share them
        requests: u32 [10..=80] = "80",
    }
}

describe! {
    /// keys of every agent and fleet that does not set them
    [defaults]
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CommonConfig {
        /// the fee of each transaction that it sends, in AIT; in the dialect "aitbc-2026-08", in
        /// compute-seconds (3,600 are one AIT), and by default 0
        fee: Amount = "10",
        /// how long one run of a behaviour may take; 1ms to 1 day
        time_limit: Duration [Duration::from_millis(1)..=DAY] = "30s",
        /// runs of a behaviour after which a message is a dead letter; 1 to 1,000
        attempts: u32 [1..=1_000] = "5",
        /// how many messages of one sender are handled per length of time; the rest wait. A count,
        /// `/`, and s, min, h or day; or "unlimited"
        per_sender_rate: Option<Rate> = "60/min",
        /// a message that has waited longer than this for its sender's rate is a dead letter; 1s to
        /// 1 year
        max_wait: Duration [Duration::from_secs(1)..=365 * DAY] = "1h",
        /// what it may spend in fees and amounts in a UTC day, in the unit of fee; past it, what it
        /// sends waits
        /// for the next day. Each sender may cause a part of it: a tenth, or a half if it is known.
        /// 0 is nothing
        daily_budget: Amount = "100000",
        /// it does not act on a message that follows from this many others, one after the other, so
        /// that agents which answer each other stop; 1 to 1,000,000
        max_hops: u32 [1..=1_000_000] = "16",
        /// how many tokens of models its tasks may use in a UTC day; a task that would exceed it
        /// waits for the next day, or fails if its deadline is before that. Default: any number
        daily_tokens: Option<u64>,
        /// the effects of its behaviours that wait until an operator approves them: "reply" (an answer),
        /// "send" (a message that answers none), "payment" (a message that transfers an amount),
        /// "start_task". A behaviour can name more in an `approve` of its own
        approve: Approvals,
    }
}

describe! {
    /// a hosted wallet
    [[agent]]
    pub const AGENT {
        /// its name, unique; must be set
        name: Text,
        /// its wallet in [wallets]; default: the name
        wallet: Text,
        /// what it does: tables with a `kind`
        behaviours: Tables,
        ..CommonConfig
    }
}

describe! {
    /// every wallet of a folder or of a vault, all with the same behaviours
    [[fleet]]
    pub const FLEET {
        /// its name, unique; its agents are named name/wallet; must be set
        name: Text,
        /// a folder of keystore files
        keystore_dir: Path,
        /// a vault; one of the two must be set
        vault: Path,
        /// a file that holds its password; default: that of [wallets]
        password_file: Path,
        /// what they do: tables with a `kind`
        behaviours: Tables,
        ..CommonConfig
    }
}

describe! {
    /// an agent elsewhere whose address and keys the operator vouches for
    [[contact]]
    /// The public key is not compared with the key that the address is made from, so that an address
    /// that belongs to no key can have one; see [`agentry_protocol::authenticity::examine`].
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Contact {
        /// its name, unique among contacts and agents; must be set
        name: AgentName,
        /// its address; must be set
        address: Address,
        /// the key that verifies its signatures, 64 hexadecimal digits; it need not be the one that
        /// the address is made from
        public_key: Option<PublicKey>,
        /// the key to which messages to it are sealed, 64 hexadecimal digits
        enc_key: Option<EncryptionKey>,
    }
}

describe! {
    /// where operators are told of what needs them
    [[webhook]]
    #[derive(Clone, Debug)]
    pub struct WebhookConfig {
        /// its name, unique; must be set
        name: AgentName,
        /// the https address that is called; must be set. `config show` prints only its host: the rest
        /// may be a secret
        url: WebhookUrl,
        /// a file that holds the secret with which calls are signed, at least 24 bytes; must be set
        secret_file: PathBuf,
        /// what it is told of: "dead_letter", "transaction_failed", "task_failed", "halted",
        /// "budget_low", "approval_waiting"; default: all of these
        events: Option<Vec<NoticeName>>,
        /// whether it may be on this machine or in a private network, and use http; default: false
        allow_private: Option<bool>,
    }
}

/// One hosted wallet.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentConfig {
    /// Its name, unique: that of `[[agent]]`, or `fleet/wallet`.
    pub name: String,
    /// Its wallet's name.
    pub wallet: Arc<str>,
    /// The keys that it shares with fleets, inherited from `[defaults]`.
    pub common: Arc<CommonConfig>,
    /// Its behaviours, in this order; instance names are unique.
    pub behaviours: Arc<[BehaviourInstance]>,
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
    /// The keys of each agent, inherited from `[defaults]`.
    pub common: Arc<CommonConfig>,
    /// The behaviours of each agent, in this order.
    pub behaviours: Arc<[BehaviourInstance]>,
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
            wallet: wallet.into(),
            common: Arc::clone(&self.common),
            behaviours: Arc::clone(&self.behaviours),
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
    /// Its effects that wait for an operator's approval, apart from those of its agent.
    pub approve: Approvals,
    /// Its schedules: its own, and those of its settings. Names are unique.
    pub schedules: Vec<Scheduled>,
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
