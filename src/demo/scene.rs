//! The nodes and the two hosts of a demonstration.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agentry_chain::{NodeClient, NodeError, NodeOptions};
use agentry_devnet::{Devnet, DevnetConfig, DevnetError, Faults};
use agentry_protocol::{
    Address, BlockHeight, Chain, Dialect, KeystoreError, Password, PublicKey, Seed,
};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::config::{Config, ConfigError, Overlay, Source};
use crate::runtime::host::{Host, HostError, HostOptions};
use crate::wallet::{PasswordError, PasswordSource, Wallet, WalletError, WalletStore};

/// Initial balance of each wallet on the embedded nodes, in AIT.
const ENDOWMENT: u64 = 10_000;

/// Behaviours of the second agent. A program of the system executes its task; the sender who may
/// ask for it is identified by its name in the directory.
const WORK: &str = r#"{ kind = "ack" }, { kind = "pong" }, { kind = "status" },
    { kind = "tasks", allow = ["pinger"], types = { shout = { executor = "command",
      program = "tr", args = ["a-z", "A-Z"] } } }"#;

/// How long a node has to answer before it is asked again.
const PATIENCE: Duration = Duration::from_secs(1);

/// The pause after a failed request.
const PAUSE: Duration = Duration::from_millis(50);

/// Where the demonstration takes place.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one, until the demonstration has started"
)]
pub enum DemoNodes {
    /// On two embedded nodes in a temporary folder: one that produces blocks, and a follower that
    /// imports them and forwards transactions to it.
    Embedded {
        /// The dialect of the nodes.
        dialect: Dialect,
        /// Interval between blocks.
        block_time: Duration,
        /// The faults of the node that produces blocks.
        faults: Faults,
    },
    /// On two existing nodes.
    Nodes {
        /// The chain.
        chain: Chain,
        /// The node that produces blocks; everything is posted there, as followers of AITBC forward
        /// nothing.
        producer: String,
        /// A node that follows it.
        follower: String,
        /// Location of the wallets.
        wallets: WalletStore,
        /// The wallet that pings.
        pinger: String,
        /// The wallet that answers.
        ponger: String,
        /// The source of their password.
        password: PasswordSource,
    },
}

/// Everything that is running for a demonstration; it stops when this is dropped.
#[derive(Debug)]
pub struct Scene {
    /// The nodes: the one that produces blocks, and its follower.
    pub nodes: [NodeClient; 2],
    /// Address of the agent that pings.
    pub pinger: Address,
    /// Address of the agent that answers.
    pub ponger: Address,
    /// Public key of the agent that answers.
    pub ponger_key: PublicKey,
    /// The stores of the runtimes, beside which their sockets are: the pinger's, the ponger's.
    pub stores: [PathBuf; 2],
    // Fields are dropped in this order: hosts, nodes, folder.
    _hosts: [Host; 2],
    _devnets: Vec<Devnet>,
    _dir: TempDir,
}

/// The wallets that a scene uses, unlocked.
struct Cast {
    pinger: Seed,
    pinger_address: Address,
    ponger: Seed,
    ponger_address: Address,
}

impl Scene {
    /// Sets up the scene. This blocks the thread.
    ///
    /// # Errors
    /// See [`SceneError`].
    pub fn set(place: DemoNodes) -> Result<Self, SceneError> {
        let dir = tempfile::Builder::new().prefix("agentry-demo-").tempdir()?;
        let (cast, chain, urls, submits, devnets) = match place {
            DemoNodes::Embedded {
                dialect,
                block_time,
                faults,
            } => {
                let cast = Cast::new(dialect)?;
                let devnets = start_nodes(dir.path(), dialect, block_time, faults, &cast)?;
                let urls = [devnets[0].url(), devnets[1].url()];
                let id = DevnetConfig::default().chain_id;
                let chain = Chain { id, dialect };
                (cast, chain, urls.clone(), urls, devnets)
            }
            DemoNodes::Nodes {
                chain,
                producer,
                follower,
                wallets,
                pinger,
                ponger,
                password,
            } => {
                let cast = Cast::load(&wallets, chain.dialect, [&pinger, &ponger], &password)?;
                let submits = [producer.clone(), producer.clone()];
                (cast, chain, [producer, follower], submits, Vec::new())
            }
        };
        let client = |url: &str| NodeClient::new(url, NodeOptions::of(chain.dialect, &chain.id));
        let (chain_id, dialect) = (&chain.id, chain.dialect);
        // The embedded nodes have none.
        let limits = devnets.is_empty() && dialect.limits_calls();
        let nodes = [client(&urls[0])?, client(&urls[1])?];
        let keystore = dir.path().join("keystore");
        make_keystore(&keystore, &cast)?;
        let host = |name: &str, behaviours: &str, url: &str, submit: &str| {
            let text = format!(
                "[chain]\nid = \"{chain_id}\"\ndialect = \"{dialect}\"\nrate_limits = {limits}\nrpc = \"{url}\"\nsubmit = \"{submit}\"\n\
                 [store]\npath = \"{name}.db\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
                 [wallets]\nkeystore_dir = \"keystore\"\npassword_file = \"keystore/.password\"\n\
                 [[agent]]\nname = \"{name}\"\nwallet = \"{name}\"\nbehaviours = [{behaviours}]\n"
            );
            let source = Source::Text {
                path: dir.path().join(format!("{name}.toml")),
                text,
            };
            let overlay = Overlay {
                environment: Some(HashMap::new()),
                flags: Vec::new(),
            };
            let config = Config::load(&source, &overlay, &crate::builtins())?;
            let (_keep, cancel) = watch::channel(false);
            Ok::<Host, SceneError>(Host::start(config, HostOptions::default(), cancel)?)
        };
        let ponger = host("ponger", WORK, &urls[0], &submits[0])?;
        let pinger = host("pinger", "", &urls[1], &submits[1])?;
        Ok(Self {
            pinger: cast.pinger_address.clone(),
            ponger: cast.ponger_address.clone(),
            ponger_key: cast.ponger.public_key(),
            stores: ["pinger.db", "ponger.db"].map(|store| dir.path().join(store)),
            nodes,
            _hosts: [ponger, pinger],
            _devnets: devnets,
            _dir: dir,
        })
    }

    /// The height of the node that produces blocks. A node that does not answer is asked again.
    ///
    /// # Errors
    /// The node does not answer by `deadline`.
    pub async fn height(&self, deadline: Instant) -> Result<BlockHeight, NodeError> {
        loop {
            let head = tokio::time::timeout(PATIENCE, self.nodes[0].head()).await;
            match head {
                Ok(Ok(head)) => return Ok(head.map_or(BlockHeight(0), |head| head.height)),
                Ok(Err(error)) if !error.is_transient() || Instant::now() >= deadline => {
                    return Err(error);
                }
                Ok(Err(_)) => tokio::time::sleep(PAUSE).await,
                Err(_) => {}
            }
        }
    }
}

impl Cast {
    fn new(dialect: Dialect) -> Result<Self, SceneError> {
        let seed = || {
            Seed::generate(dialect.key_type())
                .map_err(|error| SceneError::Random(error.to_string()))
        };
        let (pinger, ponger) = (seed()?, seed()?);
        Ok(Self {
            pinger_address: Address::from_public_key(&pinger.public_key()),
            ponger_address: Address::from_public_key(&ponger.public_key()),
            pinger,
            ponger,
        })
    }

    fn load(
        wallets: &WalletStore,
        dialect: Dialect,
        [pinger, ponger]: [&str; 2],
        password: &PasswordSource,
    ) -> Result<Self, SceneError> {
        let (one, other) = (wallets.find(pinger)?, wallets.find(ponger)?);
        one.info().check_key_type(dialect)?;
        other.info().check_key_type(dialect)?;
        let password = match one.is_plain() && other.is_plain() {
            true => Wallet::no_password(),
            false => password.password(&format!("wallets {pinger} and {ponger}"))?,
        };
        let (one, other) = (one.unlock(&password)?, other.unlock(&password)?);
        Ok(Self {
            pinger: one.seed,
            pinger_address: one.address,
            ponger: other.seed,
            ponger_address: other.address,
        })
    }
}

/// Copies the wallets to files of the demonstration, under a temporary password.
fn make_keystore(dir: &Path, cast: &Cast) -> Result<(), SceneError> {
    let password_file = dir.join(".password");
    crate::wallet::ensure_password_file(&password_file)?;
    let password: Password = crate::wallet::password::read(&password_file)?;
    let store = WalletStore::new(Some(dir.to_owned()), None);
    for (name, seed, address) in [
        ("pinger", &cast.pinger, &cast.pinger_address),
        ("ponger", &cast.ponger, &cast.ponger_address),
    ] {
        let name = name.parse().map_err(WalletError::Name)?;
        store.add(&name, seed, address, &password)?;
    }
    Ok(())
}

fn start_nodes(
    dir: &Path,
    dialect: Dialect,
    block_time: Duration,
    faults: Faults,
    cast: &Cast,
) -> Result<Vec<Devnet>, SceneError> {
    let producer = Devnet::start(DevnetConfig {
        dir: dir.join("node-1"),
        dialect,
        block_time,
        faults,
        allocations: vec![
            (cast.pinger_address.clone(), ENDOWMENT),
            (cast.ponger_address.clone(), ENDOWMENT),
        ],
        ..DevnetConfig::default()
    })?;
    let follower = Devnet::start(DevnetConfig {
        dir: dir.join("node-2"),
        dialect,
        block_time,
        follow: Some(producer.url()),
        ..DevnetConfig::default()
    })?;
    Ok(vec![producer, follower])
}

/// Why a demonstration could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// The folder could not be created.
    #[error("creating a folder for the demonstration: {0}")]
    Folder(#[from] std::io::Error),
    /// No random numbers are available.
    #[error("creating wallets: {0}")]
    Random(String),
    /// An embedded node failed to start.
    #[error("starting a node: {0}")]
    Devnet(#[from] DevnetError),
    /// A node's URL is invalid.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A wallet could not be used.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// A password is missing or wrong.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A keystore file could not be written.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The generated configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A runtime failed to start.
    #[error(transparent)]
    Host(#[from] HostError),
}
