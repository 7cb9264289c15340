//! The hosts of a cluster, and where each shard is.
//!
//! | module | holds |
//! |---|---|
//! | `engine` | [`Engine`]: the servers of PostgreSQL, and how they fail |
//! | `faults` | what is done to hosts, and how long it takes until others answer |
//! | [`rounds`] | failures in random order |
//! | `audit` | the audit at the end: chain, logs and tables |
//! | [`logs`] | what the logs of hosts tell |

mod audit;
mod engine;
mod faults;
pub mod logs;
pub mod rounds;

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::cluster::{ShardId, ranks, shard_of};

use crate::dice::Dice;
use crate::postgres::{Server, USER};
use crate::process::Process;
use crate::proxy::{Proxy, Way};
use crate::world::{Setup, World};
use crate::{PATIENCE, until, within};

pub use engine::Engine;
pub use faults::{Killed, Zombie};

/// How many shards there are.
pub const SHARDS: u16 = 4;

/// A host, and its links.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// None while it does not run.
    pub runtime: Option<Process>,
    /// To the servers of PostgreSQL: the primary's and the standby's. A promotion changes their order.
    pub servers: [Proxy; 2],
    /// To the node.
    pub node: Proxy,
}

impl Host {
    /// Its process.
    ///
    /// # Panics
    /// It does not run.
    pub fn runtime(&mut self) -> &mut Process {
        self.runtime.as_mut().expect("the host does not run")
    }

    /// What its links to PostgreSQL do.
    pub fn set(&self, way: Way) {
        for link in &self.servers {
            link.set(way);
        }
    }
}

/// Where a shard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name of its owner; empty if there is none; another text if it is an earlier process of a host
    /// that was started again.
    pub owner: String,
    /// How often it was claimed.
    pub epoch: u64,
    /// The number of its last record.
    pub head: u64,
}

/// A cluster. Its hosts are killed when it is dropped.
#[derive(Debug)]
pub struct Fleet {
    /// Its hosts, also those that do not run.
    pub hosts: Vec<Host>,
    /// The chain, and the wallets.
    pub world: Arc<World>,
    /// The servers of PostgreSQL.
    pub engine: Engine,
    /// The name of the database.
    pub database: String,
    /// Runs the links.
    pub links: tokio::runtime::Runtime,
}

impl Fleet {
    /// A cluster without hosts.
    pub fn new(test: &str, dice: &mut Dice, setup: Setup, engine: Engine) -> Self {
        let world = Arc::new(World::new(test, dice, setup));
        let database = engine.primary.database();
        let links = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let fleet = Self {
            hosts: Vec::new(),
            world,
            engine,
            database,
            links,
        };
        let url = fleet.engine.primary.url(&fleet.database);
        let shards = SHARDS.to_string();
        let mut init = fleet
            .world
            .command(&["cluster", "init", "--shards", &shards]);
        let output = init.env("AGENTRY__CLUSTER__DATABASE", url).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        fleet
    }

    /// The same with so many hosts, each of which owns shards with agents.
    pub fn of(test: &str, dice: &mut Dice, setup: Setup, engine: Engine, hosts: usize) -> Self {
        let mut fleet = Self::new(test, dice, setup, engine);
        for name in Self::names(hosts) {
            fleet.start(&name, &[]);
        }
        fleet.await_places();
        fleet
    }

    /// Names for so many hosts, such that each of them is the best one for a shard.
    pub fn names(count: usize) -> Vec<String> {
        assert!(count <= usize::from(SHARDS));
        let is_used = |names: &[String]| {
            let shards = (0..SHARDS).map(ShardId);
            let best: Vec<_> = shards.map(|shard| best(shard, names)).collect();
            names.iter().all(|name| best.contains(&name.as_str()))
        };
        (0..)
            .map(|set| {
                let letters = ('a'..).take(count);
                letters.map(|letter| format!("{letter}{set}")).collect()
            })
            .find(|names: &Vec<String>| is_used(names))
            .unwrap()
    }

    /// The agents of a shard.
    pub fn agents_in(&self, shard: ShardId) -> Vec<usize> {
        let agents = self.world.agents.iter().enumerate();
        let here = agents.filter(|(_, agent)| shard_of(&agent.address, shards()) == shard);
        here.map(|(at, _)| at).collect()
    }

    /// The agents that a host owns now.
    pub fn agents_of(&self, host: &str) -> Vec<usize> {
        let places = self.places().into_iter().enumerate();
        let owned = places.filter(|(_, place)| place.owner == host);
        owned
            .flat_map(|(shard, _)| self.agents_in(ShardId(u16::try_from(shard).unwrap())))
            .collect()
    }

    /// Starts a host that does not run, and waits until it has joined.
    pub fn start(&mut self, name: &str, variables: &[(&str, &str)]) {
        let host = self.spawn(name, variables);
        let runtime = self.hosts[host].runtime();
        let joined = runtime.ready();
        assert!(joined, "{name} exited during its start: {}", runtime.log());
    }

    /// Starts a host that reaches the servers and the node without links between, and waits until it has
    /// joined: for measurements.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_without_links(&mut self, name: &str) {
        let servers = [&self.engine.primary, &self.engine.standby].map(Server::port);
        let node = self.world.chain.port();
        let runtime = self.spawn_at(name, "127.0.0.1", servers, node, |command| command);
        self.adopt(name, runtime);
    }

    /// Starts a host; it may not have joined yet. Returns which one it is.
    pub fn spawn(&mut self, name: &str, variables: &[(&str, &str)]) -> usize {
        let at = self.place(name);
        let host = &self.hosts[at];
        let ports = host.servers.each_ref().map(Proxy::port);
        let runtime = self.spawn_at(
            &host.name,
            "127.0.0.1",
            ports,
            host.node.port(),
            |mut command| {
                command.envs(variables.iter().copied());
                command
            },
        );
        self.hosts[at].runtime = Some(runtime);
        at
    }

    /// Where a host is among the hosts. A new one gets its links.
    fn place(&mut self, name: &str) -> usize {
        match self.hosts.iter().position(|host| host.name == name) {
            Some(at) => at,
            None => {
                let host = self.links.block_on(async {
                    let primary = Proxy::start(self.engine.primary.port()).await;
                    let standby = Proxy::start(self.engine.standby.port()).await;
                    Host {
                        name: name.to_owned(),
                        runtime: None,
                        servers: [primary, standby],
                        node: Proxy::start(self.world.chain.port()).await,
                    }
                });
                self.hosts.push(host);
                self.hosts.len() - 1
            }
        }
    }

    /// Counts a process among the hosts, once it has joined.
    pub fn adopt(&mut self, name: &str, mut runtime: Process) {
        assert!(
            runtime.ready(),
            "{name} exited during its start: {}",
            runtime.log()
        );
        let at = self.place(name);
        self.hosts[at].runtime = Some(runtime);
    }

    /// Starts a process that reaches the servers and the node at these ports.
    pub fn spawn_at(
        &self,
        name: &str,
        address: &str,
        servers: [u16; 2],
        node: u16,
        change: impl FnOnce(Command) -> Command,
    ) -> Process {
        let [one, two] = servers;
        let database = &self.database;
        let url = format!(
            "postgresql://{USER}@{address}:{one},{address}:{two}/{database}?sslmode=disable"
        );
        let node = format!("http://{address}:{node}");
        let mut command = change(self.world.command(&["run"]));
        let store = self.store(name);
        command.envs([
            ("AGENTRY__CLUSTER__DATABASE", url.as_str()),
            ("AGENTRY__CLUSTER__HOST", name),
            ("AGENTRY__STORE__PATH", store.to_str().unwrap()),
            ("AGENTRY__CHAIN__RPC", &node),
            ("AGENTRY__CHAIN__SUBMIT", &node),
        ]);
        self.world.spawn_as(command)
    }

    /// A command on the machine of a host.
    pub fn command(&self, host: &str, arguments: &[&str]) -> Command {
        let mut command = self.world.command(arguments);
        command
            .env("AGENTRY__CLUSTER__DATABASE", self.url())
            .env("AGENTRY__CLUSTER__HOST", host)
            .env("AGENTRY__STORE__PATH", self.store(host));
        command
    }

    /// The URL of the database on both servers, without links between.
    pub fn url(&self) -> String {
        let [one, two] = [&self.engine.primary, &self.engine.standby].map(Server::port);
        let database = &self.database;
        format!("postgresql://{USER}@127.0.0.1:{one},127.0.0.1:{two}/{database}?sslmode=disable")
    }

    /// Starts a worker, and waits until it takes tasks. It reaches the servers directly.
    ///
    /// # Panics
    /// It does not start.
    pub fn worker(&self, name: &str) -> Process {
        let mut command = self.world.command(&["worker", "--name", name]);
        command.env("AGENTRY__CLUSTER__DATABASE", self.url());
        let mut worker = self.world.spawn_as(command);
        until("the worker takes tasks", || {
            let ended = worker.ended();
            assert_eq!(ended, None, "{name} exited: {}", worker.log());
            worker.log().contains("taking tasks")
        });
        worker
    }

    /// The file of a shard's tables on a host.
    pub fn copy(&self, host: &str, shard: ShardId) -> PathBuf {
        // As docs/cluster.md says.
        self.world
            .path()
            .join(format!("{host}.db.shard-{:02}", shard.0))
    }

    /// The path of a host's stores, without the number of the shard.
    pub fn store(&self, name: &str) -> PathBuf {
        self.world.path().join(format!("{name}.db"))
    }

    /// The host of a name.
    ///
    /// # Panics
    /// There is none.
    pub fn host(&mut self, name: &str) -> &mut Host {
        let host = self.hosts.iter_mut().find(|host| host.name == name);
        host.expect("there is no such host")
    }

    /// The names of the hosts that run.
    pub fn running(&self) -> Vec<String> {
        let running = self.hosts.iter().filter(|host| host.runtime.is_some());
        running.map(|host| host.name.clone()).collect()
    }

    /// `kill -9`.
    pub fn kill(&mut self, name: &str) {
        self.host(name).runtime.take().unwrap().kill();
    }

    /// How often a host has beaten in its life, with those of its name before it.
    pub fn beats(&self, name: &str) -> u64 {
        let sql = format!("select coalesce(sum(beat), 0) from agentry.host where name = '{name}'");
        self.sql(&sql).parse().unwrap()
    }

    /// Runs a statement on the primary.
    pub fn sql(&self, sql: &str) -> String {
        self.engine.primary.psql(&self.database, sql)
    }

    /// Where each shard is.
    pub fn places(&self) -> Vec<Place> {
        let rows = self.sql(
            "select coalesce(h.name, s.owner, ''), s.epoch, s.head from agentry.shard s left join ( \
             select distinct on (name) name, incarnation from agentry.host order by name, seen desc \
             ) h on h.incarnation = s.owner order by s.id",
        );
        let place = |row: &str| {
            let mut columns = row.split('|');
            Some(Place {
                owner: columns.next()?.to_owned(),
                epoch: columns.next()?.parse().ok()?,
                head: columns.next()?.parse().ok()?,
            })
        };
        rows.lines().map(|row| place(row).unwrap()).collect()
    }

    /// The epoch of each shard.
    pub fn epochs(&self) -> Vec<u64> {
        self.places().iter().map(|place| place.epoch).collect()
    }

    /// Waits until each shard is owned by the best of the running hosts.
    pub fn await_places(&self) {
        let names = self.running();
        let wanted: Vec<_> = (0..SHARDS)
            .map(|shard| best(ShardId(shard), &names))
            .collect();
        let mut found = Vec::new();
        let settled = within(PATIENCE, || {
            found = self.places();
            let is_there = found
                .iter()
                .zip(&wanted)
                .all(|(place, wanted)| place.owner == *wanted);
            is_there.then_some(())
        });
        assert!(settled.is_some(), "wanted {wanted:?}, found {found:?}");
    }

    /// Waits until one of these agents has answered a ping that was mined above a height: nobody can
    /// have answered it before.
    pub fn await_answer(&self, agents: &[usize], above: u64) {
        let addresses = agents
            .iter()
            .map(|at| self.world.agents[*at].address.as_str());
        let addresses: Vec<_> = addresses.collect();
        until("a new ping is answered", || {
            let mined = self.world.chain.above(above);
            let pings = mined
                .iter()
                .filter(|one| addresses.contains(&one.recipient.as_str()));
            let asked: Vec<_> = pings.map(|one| (&one.recipient, &one.sender)).collect();
            mined
                .iter()
                .any(|one| asked.contains(&(&one.sender, &one.recipient)))
        });
    }

    /// Waits until an agent of each of these hosts has answered a ping that comes from now on.
    pub fn await_answer_each(&self, hosts: &[Host]) {
        let head = self.world.chain.head();
        for host in hosts {
            self.await_answer(&self.agents_of(&host.name), head);
        }
    }

    /// All agents.
    pub fn everybody(&self) -> Vec<usize> {
        (0..self.world.agents.len()).collect()
    }
}

fn shards() -> NonZeroU16 {
    NonZeroU16::new(SHARDS).unwrap()
}

/// The best of some hosts for a shard.
pub fn best(shard: ShardId, names: &[String]) -> &str {
    ranks(shard, names.iter().map(String::as_str))[0]
}

/// How worlds of clusters are set up.
pub fn setup() -> Setup {
    Setup {
        agents: 12,
        shards: shards(),
        senders: 1_500,
        ..Setup::default()
    }
}

/// The longest pause between two pings.
pub const PACE: Duration = Duration::from_millis(60);
