//! A chain, wallets that a runtime hosts, wallets that ping them, and the runtime's configuration.

use std::collections::HashSet;
use std::fs;
use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agentry_core::cluster::shard_of;
use agentry_devnet::{Devnet, DevnetConfig, NoncePolicy};
use agentry_protocol::{
    Address, Json, Number, Password, PublicKey, Seed, SigningKey, Transaction, Vault,
};
use tempfile::TempDir;

use super::chain::Chain;
use super::dice::Dice;

/// The initial balance of every wallet, in AIT.
const ENDOWMENT: u64 = 1_000_000;

/// The password of the hosted wallets.
const PASSWORD: &str = "correct horse battery staple";

/// How many lines of a runtime's log a failure prints.
const TAIL: usize = 60;

/// Where a runtime reads the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Rpc,
    Db,
}

/// How a world is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// How many wallets are hosted.
    pub(crate) agents: usize,
    /// How many of them, the last ones, start without an account.
    pub(crate) poor: usize,
    /// Among how many shards of a cluster the hosted wallets are divided: each has some.
    pub(crate) shards: NonZeroU16,
    /// How many plain wallets there are: each sends one transaction.
    pub(crate) senders: usize,
    pub(crate) block_time: Duration,
    pub(crate) source: Source,
    pub(crate) nonces: NoncePolicy,
    pub(crate) final_depth: u64,
    /// Whether the runtime reads from a follower; it posts to the node that makes the blocks.
    pub(crate) follower: bool,
    /// The fixed port of the node; 0 for any.
    pub(crate) port: u16,
    /// The initial faults of the node.
    pub(crate) faults: &'static [&'static str],
    /// The port of a proxy in front of the node, for all requests of the runtime.
    pub(crate) front: Option<u16>,
    /// The port that the runtime posts to instead of the node's.
    pub(crate) submit: Option<u16>,
    /// The behaviours of every hosted wallet.
    pub(crate) behaviours: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            agents: 8,
            poor: 0,
            shards: NonZeroU16::MIN,
            senders: 400,
            block_time: Duration::from_millis(100),
            source: Source::Db,
            nonces: NoncePolicy::Ignored,
            final_depth: 10,
            follower: false,
            port: 0,
            // The trap in every test: a careless post destroys a block.
            faults: &["replay-destroys-block"],
            front: None,
            submit: None,
            behaviours: "{ kind = \"pong\" }",
        }
    }
}

/// A wallet.
#[derive(Debug)]
pub(crate) struct Wallet {
    pub(crate) key: SigningKey,
    pub(crate) public_key: PublicKey,
    pub(crate) address: Address,
}

impl Wallet {
    fn new(seed: &Seed) -> Self {
        let key = SigningKey::from_seed(seed);
        let public_key = key.public_key();
        Self {
            key,
            public_key,
            address: Address::from_public_key(&public_key),
        }
    }
}

/// A transaction that a plain wallet sent.
#[derive(Clone, Debug)]
pub(crate) struct Posting {
    pub(crate) hash: String,
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) body: String,
    /// Whether it is a ping to an agent, which must be answered.
    pub(crate) is_ping: bool,
}

/// The environment of a test.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) chain: Chain,
    pub(crate) follower: Option<Devnet>,
    pub(crate) agents: Vec<Wallet>,
    pub(crate) setup: Setup,
    name: String,
    seed: u64,
    senders: Vec<Wallet>,
    sent: AtomicUsize,
    postings: Mutex<Vec<Posting>>,
    runs: AtomicUsize,
    dir: Option<TempDir>,
}

impl World {
    /// A new world.
    pub(crate) fn new(name: &str, dice: &mut Dice, setup: Setup) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("agentry-e2e-")
            .tempdir()
            .unwrap();
        let (seeds, agents) = loop {
            let seeds: Vec<Seed> = (0..setup.agents)
                .map(|_| Seed::from_bytes(dice.bytes()))
                .collect();
            let agents: Vec<Wallet> = seeds.iter().map(Wallet::new).collect();
            let shards = agents
                .iter()
                .map(|agent| shard_of(&agent.address, setup.shards));
            if shards.collect::<HashSet<_>>().len() == usize::from(setup.shards.get()) {
                break (seeds, agents);
            }
        };
        let senders: Vec<Wallet> = (0..setup.senders)
            .map(|_| Wallet::new(&Seed::from_bytes(dice.bytes())))
            .collect();
        let rich = agents
            .iter()
            .take(setup.agents - setup.poor)
            .chain(&senders);
        let chain = Chain::start(DevnetConfig {
            dir: dir.path().join("node"),
            port: setup.port,
            block_time: setup.block_time,
            allocations: rich
                .map(|wallet| (wallet.address.clone(), ENDOWMENT))
                .collect(),
            faults: setup
                .faults
                .iter()
                .map(|fault| fault.parse().unwrap())
                .collect(),
            account_nonces: setup.nonces,
            seed: Some(dice.seed),
            ..DevnetConfig::default()
        });
        let follower = setup.follower.then(|| {
            Devnet::start(DevnetConfig {
                dir: dir.path().join("follower"),
                block_time: setup.block_time,
                follow: Some(chain.url()),
                ..DevnetConfig::default()
            })
            .unwrap()
        });
        let entries = agents
            .iter()
            .zip(seeds)
            .enumerate()
            .map(|(index, (wallet, seed))| {
                (format!("agent-{index}"), wallet.address.clone(), seed)
            });
        let vault = Vault::pack_with_rounds(entries, &Password::new(PASSWORD.to_owned()), 1);
        private(&dir.path().join("fleet.vault"), &vault.unwrap().to_text());
        private(&dir.path().join("password"), PASSWORD);
        let world = Self {
            chain,
            follower,
            agents,
            setup,
            name: name.to_owned(),
            seed: dice.seed,
            senders,
            sent: AtomicUsize::new(0),
            postings: Mutex::default(),
            runs: AtomicUsize::new(0),
            dir: Some(dir),
        };
        private(&world.config(), &world.agents_toml());
        world
    }

    fn agents_toml(&self) -> String {
        let (url, db) = match &self.follower {
            Some(node) => (node.url(), node.chain_db()),
            None => (self.chain.url(), self.chain.db()),
        };
        let db = match self.setup.source {
            Source::Db => format!("db = \"{}\"\n", db.display()),
            Source::Rpc => String::new(),
        };
        let nonce = match self.setup.nonces {
            NoncePolicy::Ignored => "timestamp",
            NoncePolicy::Sequential => "sequential",
        };
        let front = self.setup.front;
        let url = front.map_or(url, |port| format!("http://127.0.0.1:{port}"));
        let submit = self.setup.submit.or(front).unwrap_or(self.chain.port());
        format!(
            "[chain]\nid = \"ait-devnet\"\nrpc = \"{url}\"\nsubmit = \"http://127.0.0.1:{submit}\"\n\
             {db}nonce = \"{nonce}\"\nfinal_depth = {}\nstart = 0\n\
             [store]\npath = \"agentry.db\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\
             [defaults]\nper_sender_rate = \"unlimited\"\ndaily_budget = 1_000_000_000\n\
             [[fleet]]\nname = \"fleet\"\nvault = \"fleet.vault\"\npassword_file = \"password\"\n\
             behaviours = [{}]\n",
            self.setup.final_depth, self.setup.behaviours
        )
    }

    /// The folder of the world.
    pub(crate) fn path(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// agents.toml.
    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("agents.toml")
    }

    /// A file for the log of the next run.
    pub(crate) fn next_log(&self) -> PathBuf {
        self.log(self.runs.fetch_add(1, Ordering::SeqCst))
    }

    fn log(&self, run: usize) -> PathBuf {
        self.path().join(format!("run-{run:03}.log"))
    }

    /// How many wallets have sent nothing yet.
    pub(crate) fn left(&self) -> usize {
        self.senders
            .len()
            .saturating_sub(self.sent.load(Ordering::SeqCst))
    }

    /// A wallet that has sent nothing yet.
    pub(crate) fn fresh(&self) -> &Wallet {
        let index = self.sent.fetch_add(1, Ordering::SeqCst);
        self.senders
            .get(index)
            .expect("the world has too few senders for this test")
    }

    /// Creates a transaction of a fresh wallet, without posting it.
    pub(crate) fn write(&self, to: &Address, payload: &str, is_ping: bool) -> Posting {
        let wallet = self.fresh();
        let signed = Transaction {
            from: wallet.address.clone(),
            to: to.clone(),
            amount: Number::from(0_u64),
            fee: Number::from(10_u64),
            nonce: Number::from(0_u64),
            payload: Json::string(payload),
            chain_id: "ait-devnet".parse().unwrap(),
        }
        .sign(&wallet.key);
        let posting = Posting {
            hash: signed.hash().to_string(),
            from: wallet.address.clone(),
            to: to.clone(),
            body: signed.body(),
            is_ping,
        };
        self.postings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(posting.clone());
        posting
    }

    /// All transactions that plain wallets sent.
    pub(crate) fn postings(&self) -> Vec<Posting> {
        self.postings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for World {
    /// A failure prints how to repeat it and the end of the last runs' logs; its files are kept.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let Some(dir) = self.dir.take() else { return };
        let dir = dir.keep();
        eprintln!(
            "{} failed with seed {}; its files are in {}",
            self.name,
            self.seed,
            dir.display()
        );
        let runs = self.runs.load(Ordering::SeqCst);
        for run in runs.saturating_sub(2)..runs {
            let path = dir.join(format!("run-{run:03}.log"));
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("the end of {}:", path.display());
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                eprintln!("  {line}");
            }
        }
    }
}

/// Writes a file that only its owner can access.
fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
