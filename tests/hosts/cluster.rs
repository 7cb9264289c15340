//! The hosts of a cluster, as processes.

use std::fs;
use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use agentry::wallet::WalletStore;
use agentry_core::cluster::{ShardId, ranks, shard_of};
use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::{Address, Password, Seed};
use agentry_testbed::postgres::Pair;
use agentry_testbed::process::Process;
use agentry_testbed::{PATIENCE, binary, until, within};
use serde_json::Value;
use tempfile::TempDir;

/// How many shards there are.
const SHARDS: NonZeroU16 = NonZeroU16::new(4).unwrap();

/// An agent, and the wallet of its name.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) name: &'static str,
    pub(crate) address: Address,
}

impl Agent {
    pub(crate) fn shard(&self) -> ShardId {
        shard_of(&self.address, SHARDS)
    }
}

/// Two agents of different shards, a chain, a database, and some hosts. The first two own an agent each,
/// and follow the other's.
pub(crate) struct Cluster {
    dir: TempDir,
    _node: Devnet,
    _pair: Pair,
    /// Owned by the host of the same place.
    pub(crate) agents: [Agent; 2],
    hosts: Vec<Option<Process>>,
    pub(crate) names: Vec<String>,
}

impl Cluster {
    /// A cluster with these tables besides its agents', of which so many hosts run.
    pub(crate) fn start(behaviours: &str, tables: &str, hosts: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let agents = wallets(&dir.path().join("keys"));
        let names = names(&agents, hosts);
        let node = Devnet::start(DevnetConfig {
            dir: dir.path().join("node"),
            block_time: Duration::from_millis(100),
            allocations: agents
                .iter()
                .map(|agent| (agent.address.clone(), 1_000_000))
                .collect(),
            ..DevnetConfig::default()
        })
        .unwrap();
        let pair = Pair::start();
        let database = pair.primary.database();
        let [one, other] = pair.urls(&database);
        let tables_of = agents.iter().map(|agent| {
            let name = agent.name;
            format!("[[agent]]\nname = \"{name}\"\nbehaviours = [{behaviours}]\n")
        });
        let config = format!(
            "[chain]\nid = \"ait-devnet\"\nrpc = \"{url}\"\n\
             [cluster]\ndatabase = \"{database}\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\
             [wallets]\nkeystore_dir = \"keys\"\npassword_file = \"password\"\n\
             {tables}\n{agents}",
            url = node.url(),
            database = both(&one, &other),
            agents = tables_of.collect::<String>(),
        );
        fs::write(dir.path().join("agents.toml"), config).unwrap();
        private(&dir, "password", PASSWORD);
        let mut cluster = Self {
            dir,
            _node: node,
            _pair: pair,
            agents,
            hosts: names.iter().map(|_| None).collect(),
            names,
        };
        let shards = SHARDS.to_string();
        cluster.command(0, &["cluster", "init", "--shards", &shards]);
        for host in 0..hosts {
            cluster.run(host);
        }
        cluster.await_places();
        cluster
    }

    /// Starts a host.
    fn run(&mut self, host: usize) {
        let command = self.prepare(host, &["run", "--json"]);
        let log = self.dir.path().join(format!("{}.log", self.names[host]));
        self.hosts[host] = Some(Process::run(command, &log));
    }

    /// A command on the machine of a host.
    pub(crate) fn prepare(&self, host: usize, arguments: &[&str]) -> Command {
        let mut command = binary::command(self.dir.path());
        let store = self.dir.path().join(format!("{}.db", self.names[host]));
        command
            .args(arguments)
            .env("AGENTRY__CLUSTER__HOST", &self.names[host])
            .env("AGENTRY__STORE__PATH", store)
            .env("AGENTRY_KERNEL_TIMER", "off");
        command
    }

    /// Runs a command on the machine of a host, and returns what it prints.
    pub(crate) fn command(&self, host: usize, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        // A shard that was claimed a moment ago may not answer yet.
        let output = within(PATIENCE, || {
            let output = self.prepare(host, &all).output().unwrap();
            (output.status.code() != Some(TRY_AGAIN)).then_some(output)
        });
        let output = output.expect("the shard did not answer in time");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// The URL of a host.
    pub(crate) fn url(&self, host: usize) -> String {
        self.hosts[host].as_ref().unwrap().url()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, host: usize) {
        self.hosts[host] = None;
    }

    /// Waits until every shard has moved to the host that is best for it, and the second best follows
    /// it. A client that listens while one of them still moves may be told that it missed something,
    /// although no agent is in that shard.
    pub(crate) fn await_places(&self) {
        until("the shards have their owners and followers", || {
            let status = self.command(0, &["cluster", "status"]);
            let shards = status["shards"].as_array().unwrap();
            shards.len() == usize::from(SHARDS.get())
                && shards.iter().all(|shard| {
                    let id = ShardId(shard["id"].as_u64().unwrap().try_into().unwrap());
                    let best = ranks(id, self.names.iter().map(String::as_str));
                    let followers = shard["followers"].as_object().unwrap();
                    shard["owner"] == *best[0] && followers.keys().eq([best[1]])
                })
        });
    }

    /// Whether a host has the tables of an agent's shard.
    pub(crate) fn has_copy(&self, host: usize, agent: usize) -> bool {
        let shard = self.agents[agent].shard();
        let name = format!("{}.db.shard-{:02}", self.names[host], shard.0);
        self.dir.path().join(name).exists()
    }
}

/// The exit code of a command that can succeed if it is repeated.
const TRY_AGAIN: i32 = 75;

/// The password of the wallets.
const PASSWORD: &str = "correct horse battery staple";

fn private(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// The URL of a database on two servers.
fn both(one: &str, other: &str) -> String {
    let server = |url: &str| {
        let (_, rest) = url.split_once('@').unwrap();
        rest.split_once('/').unwrap().0.to_owned()
    };
    one.replace(&server(one), &format!("{},{}", server(one), server(other)))
}

/// The wallets of two agents of different shards.
fn wallets(dir: &std::path::Path) -> [Agent; 2] {
    fs::create_dir(dir).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    let store = WalletStore::new(Some(dir.to_owned()), None);
    let address = |byte: u8| Address::from_public_key(&Seed::from_bytes([byte; 32]).public_key());
    let shard = |byte: u8| shard_of(&address(byte), SHARDS);
    let other = (2..).find(|byte| shard(*byte) != shard(1)).unwrap();
    [("asker", 1), ("worker", other)].map(|(name, byte)| {
        let seed = Seed::from_bytes([byte; 32]);
        let password = Password::new(PASSWORD.into());
        let added = store.add(&name.parse().unwrap(), &seed, &address(byte), &password);
        added.unwrap();
        Agent {
            name,
            address: address(byte),
        }
    })
}

/// Names of so many hosts. Each of the first two is the best one for the agent of its place, and the
/// second best for the other.
fn names(agents: &[Agent; 2], count: usize) -> Vec<String> {
    let is_so = |names: &Vec<String>| {
        let of = |agent: &Agent| ranks(agent.shard(), names.iter().map(String::as_str));
        let [one, other] = agents.each_ref().map(of);
        one[..2] == names[..2] && other[0] == names[1] && other[1] == names[0]
    };
    (0..)
        .map(|set| {
            ('a'..)
                .take(count)
                .map(|letter| format!("{letter}{set}"))
                .collect()
        })
        .find(is_so)
        .unwrap()
}
