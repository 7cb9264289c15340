//! A chain, wallets that a runtime hosts, wallets that ping them, and the runtime's configuration.

use std::collections::HashSet;
use std::fs;
use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agentry_core::cluster::shard_of;
use agentry_devnet::{Devnet, DevnetConfig, NoncePolicy};
use agentry_protocol::{
    Address, Dialect, Json, MessageDigest, Number, Password, Seed, Transaction, Vault,
};
use tempfile::TempDir;

use crate::binary;
use crate::chain::Chain;
use crate::dice::Dice;
use crate::process::Process;
use crate::wallet::Wallet;

/// The initial balance of every wallet, in AIT.
const ENDOWMENT: u64 = 1_000_000;

/// The password of the hosted wallets.
const PASSWORD: &str = "correct horse battery staple";

/// How many lines of a runtime's log a failure prints.
const TAIL: usize = 60;

/// Where a runtime reads the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Over the node's RPC.
    Rpc,
    /// From the node's chain.db.
    Db,
}

/// How a world is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The dialect of the chain.
    pub dialect: Dialect,
    /// How many wallets are hosted.
    pub agents: usize,
    /// How many of them, the last ones, start without an account.
    pub poor: usize,
    /// Among how many shards of a cluster the hosted wallets are divided: each has some.
    pub shards: NonZeroU16,
    /// How many plain wallets there are: each sends one transaction.
    pub senders: usize,
    /// How often a block is made.
    pub block_time: Duration,
    /// Where the runtime reads the chain.
    pub source: Source,
    /// Which nonces the node takes, and so what the runtime counts.
    pub nonces: NoncePolicy,
    /// After how many blocks a transaction is final.
    pub final_depth: u64,
    /// Whether the runtime reads from a follower; it posts to the node that makes the blocks.
    pub follower: bool,
    /// The fixed port of the node; 0 for any.
    pub port: u16,
    /// The initial faults of the node.
    pub faults: &'static [&'static str],
    /// The port of a proxy in front of the node, for all requests of the runtime.
    pub front: Option<u16>,
    /// The port that the runtime posts to instead of the node's.
    pub submit: Option<u16>,
    /// The behaviours of every hosted wallet.
    pub behaviours: &'static str,
    /// More tables of agents.toml.
    pub tables: &'static str,
    /// What the runtimes log (`AGENTRY_LOG`); none for what the program logs by itself.
    pub log: Option<&'static str>,
    /// The folder in which the folder of the world is made; none for the system's for temporary files.
    pub dir: Option<PathBuf>,
    /// Whether the files stay when the world is dropped.
    pub keep: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            dialect: Dialect::April2026,
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
            tables: "",
            log: Some("agentry=debug"),
            dir: None,
            keep: false,
        }
    }
}

/// A transaction that a plain wallet sent.
#[derive(Clone, Debug)]
pub struct Posting {
    /// Its hash.
    pub hash: String,
    /// The identity of its message.
    pub digest: MessageDigest,
    /// Its sender.
    pub from: Address,
    /// Its recipient.
    pub to: Address,
    /// What is posted.
    pub body: String,
    /// Whether it is a ping to an agent, which must be answered.
    pub is_ping: bool,
}

/// The environment of a test.
#[derive(Debug)]
pub struct World {
    /// The node, and its chain.
    pub chain: Chain,
    /// The node that the runtime reads, if it is another one.
    pub follower: Option<Devnet>,
    /// The hosted wallets.
    pub agents: Vec<Wallet>,
    /// How it is set up.
    pub setup: Setup,
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
    pub fn new(name: &str, dice: &mut Dice, setup: Setup) -> Self {
        let mut builder = tempfile::Builder::new();
        builder.prefix("agentry-testbed-");
        let dir = match &setup.dir {
            Some(dir) => builder.tempdir_in(dir),
            None => builder.tempdir(),
        };
        let dir = dir.unwrap();
        let (seeds, agents) = loop {
            let seeds: Vec<Seed> = (0..setup.agents)
                .map(|_| seed(dice, setup.dialect))
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
            .map(|_| Wallet::new(&seed(dice, setup.dialect)))
            .collect();
        let rich = agents
            .iter()
            .take(setup.agents - setup.poor)
            .chain(&senders);
        let chain = Chain::start(DevnetConfig {
            dir: dir.path().join("node"),
            port: setup.port,
            dialect: setup.dialect,
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
                dialect: setup.dialect,
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
            NoncePolicy::Ignored if !self.setup.dialect.counts_nonces() => "timestamp",
            NoncePolicy::Ignored | NoncePolicy::Sequential => "sequential",
        };
        let front = self.setup.front;
        let url = front.map_or(url, |port| format!("http://127.0.0.1:{port}"));
        let submit = self.setup.submit.or(front).unwrap_or(self.chain.port());
        format!(
            "[chain]\nid = \"ait-devnet\"\ndialect = \"{}\"\nrpc = \"{url}\"\n\
             submit = \"http://127.0.0.1:{submit}\"\nrate_limits = false\n\
             {db}nonce = \"{nonce}\"\nfinal_depth = {}\nstart = 0\n\
             [store]\npath = \"agentry.db\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\
             [defaults]\nper_sender_rate = \"unlimited\"\ndaily_budget = 1_000_000_000\n\
             [[fleet]]\nname = \"fleet\"\nvault = \"fleet.vault\"\npassword_file = \"password\"\n\
             behaviours = [{}]\n{}",
            self.setup.dialect, self.setup.final_depth, self.setup.behaviours, self.setup.tables
        )
    }

    /// The folder of the world.
    pub fn path(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// agents.toml.
    pub fn config(&self) -> PathBuf {
        self.path().join("agents.toml")
    }

    /// A file for the log of the next run.
    pub fn next_log(&self) -> PathBuf {
        self.log(self.runs.fetch_add(1, Ordering::SeqCst))
    }

    /// Starts a runtime and waits until it hosts its agents.
    pub fn run(&self) -> Process {
        Process::run(self.logging(self.command(&["run"])), &self.next_log())
    }

    /// Starts a runtime with additional arguments and variables; it may not be ready yet.
    pub fn spawn(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Process {
        let mut command = self.command(&["run"]);
        command.args(arguments).envs(variables.iter().copied());
        self.spawn_as(command)
    }

    /// The same with another command.
    pub fn spawn_as(&self, command: Command) -> Process {
        Process::spawn(self.logging(command), &self.next_log())
    }

    /// The command with the world's level of logs, unless it has one of its own.
    fn logging(&self, mut command: Command) -> Command {
        const LEVEL: &str = "AGENTRY_LOG";
        let mut set = command.get_envs().filter(|(_, value)| value.is_some());
        if !set.any(|(name, _)| name == LEVEL) {
            command.envs(self.setup.log.map(|log| (LEVEL, log)));
        }
        command
    }

    /// The binary with this world's configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binary::command(self.path());
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .arg("--json");
        command
    }

    /// The output of a command, which must succeed.
    pub fn ask(&self, arguments: &[&str]) -> serde_json::Value {
        binary::ask(&mut self.command(arguments))
    }

    fn log(&self, run: usize) -> PathBuf {
        self.path().join(format!("run-{run:03}.log"))
    }

    /// How many wallets have sent nothing yet.
    pub fn left(&self) -> usize {
        self.senders
            .len()
            .saturating_sub(self.sent.load(Ordering::SeqCst))
    }

    /// A wallet that has sent nothing yet.
    pub fn fresh(&self) -> &Wallet {
        let index = self.sent.fetch_add(1, Ordering::SeqCst);
        self.senders
            .get(index)
            .expect("the world has too few senders for this test")
    }

    /// Creates a transaction of a fresh wallet, without posting it.
    pub fn write(&self, to: &Address, payload: &str, is_ping: bool) -> Posting {
        let wallet = self.fresh();
        let signed = Transaction {
            dialect: self.setup.dialect,
            from: wallet.address.clone(),
            to: to.clone(),
            amount: Number::from(0_u64),
            fee: self.setup.dialect.default_fee().into(),
            nonce: Number::from(0_u64),
            payload: Json::string(payload),
            chain_id: "ait-devnet".parse().unwrap(),
        }
        .sign(&wallet.key);
        let posting = Posting {
            hash: signed.hash().to_string(),
            digest: signed.digest(),
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
    pub fn postings(&self) -> Vec<Posting> {
        self.postings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for World {
    /// A failure prints how to repeat it and the end of the last runs' logs; its files are kept.
    fn drop(&mut self) {
        let failed = std::thread::panicking() && !crate::is_interrupted();
        if !failed && !self.setup.keep {
            return;
        }
        let Some(dir) = self.dir.take() else { return };
        let dir = dir.keep();
        if !failed {
            return;
        }
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

/// A seed for the keys of a dialect.
fn seed(dice: &mut Dice, dialect: Dialect) -> Seed {
    loop {
        // One in 2¹²⁸ is no key.
        if let Ok(seed) = Seed::new(dice.bytes(), dialect.key_type()) {
            return seed;
        }
    }
}

/// Writes a file that only its owner can access.
fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
