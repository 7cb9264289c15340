//! The hosts of a cluster, and where each shard is.

use std::num::NonZeroU16;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use agentry_core::cluster::{ShardId, ranks, shard_of};

use super::postgres::pair::Pair;
use super::postgres::proxy::{Proxy, Way};
use crate::support::dice::Dice;
use crate::support::runtime::Runtime;
use crate::support::world::{Setup, World};
use crate::support::{PATIENCE, until, within};

/// How many shards there are.
pub(super) const SHARDS: u16 = 4;

/// The servers of PostgreSQL.
#[derive(Debug)]
pub(super) enum Engine {
    /// Those of all tests that leave them alone.
    Shared(&'static Pair),
    /// The test's own.
    Own(Box<Pair>),
}

impl Engine {
    pub(super) fn shared() -> Self {
        static PAIR: OnceLock<Pair> = OnceLock::new();
        Self::Shared(PAIR.get_or_init(Pair::start))
    }

    pub(super) fn own() -> Self {
        Self::Own(Box::new(Pair::start()))
    }
}

impl Deref for Engine {
    type Target = Pair;

    fn deref(&self) -> &Pair {
        match self {
            Self::Shared(pair) => pair,
            Self::Own(pair) => pair,
        }
    }
}

/// A host, and its links.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    /// None while it does not run.
    pub(super) runtime: Option<Runtime>,
    /// To the servers of PostgreSQL: the primary's and the standby's. A promotion changes their order.
    pub(super) servers: [Proxy; 2],
    /// To the node.
    pub(super) node: Proxy,
}

impl Host {
    pub(super) fn runtime(&mut self) -> &mut Runtime {
        self.runtime.as_mut().expect("the host does not run")
    }

    /// What its links to PostgreSQL do.
    pub(super) fn set(&self, way: Way) {
        for link in &self.servers {
            link.set(way);
        }
    }
}

/// Where a shard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The name of its owner; empty if there is none; another text if it is an earlier process of a host
    /// that was started again.
    pub(super) owner: String,
    pub(super) epoch: u64,
    pub(super) head: u64,
}

/// A cluster. Its hosts are killed when it is dropped.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) hosts: Vec<Host>,
    pub(super) world: Arc<World>,
    pub(super) engine: Engine,
    /// The name of the database.
    pub(super) database: String,
    /// Runs the links.
    pub(super) links: tokio::runtime::Runtime,
}

impl Fleet {
    /// A cluster without hosts.
    pub(super) fn new(test: &str, dice: &mut Dice, setup: Setup, engine: Engine) -> Self {
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
    pub(super) fn of(
        test: &str,
        dice: &mut Dice,
        setup: Setup,
        engine: Engine,
        hosts: usize,
    ) -> Self {
        let mut fleet = Self::new(test, dice, setup, engine);
        for name in Self::names(hosts) {
            fleet.start(&name, &[]);
        }
        fleet.await_places();
        fleet
    }

    /// Names for so many hosts, such that each of them is the best one for a shard.
    pub(super) fn names(count: usize) -> Vec<String> {
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
    pub(super) fn agents_in(&self, shard: ShardId) -> Vec<usize> {
        let agents = self.world.agents.iter().enumerate();
        let here = agents.filter(|(_, agent)| shard_of(&agent.address, shards()) == shard);
        here.map(|(at, _)| at).collect()
    }

    /// The agents that a host owns now.
    pub(super) fn agents_of(&self, host: &str) -> Vec<usize> {
        let places = self.places().into_iter().enumerate();
        let owned = places.filter(|(_, place)| place.owner == host);
        owned
            .flat_map(|(shard, _)| self.agents_in(ShardId(u16::try_from(shard).unwrap())))
            .collect()
    }

    /// Starts a host that does not run, and waits until it has joined.
    pub(super) fn start(&mut self, name: &str, variables: &[(&str, &str)]) {
        let host = self.spawn(name, variables);
        let runtime = self.hosts[host].runtime();
        let joined = runtime.ready();
        assert!(joined, "{name} exited during its start: {}", runtime.log());
    }

    /// Starts a host; it may not have joined yet. Returns which one it is.
    pub(super) fn spawn(&mut self, name: &str, variables: &[(&str, &str)]) -> usize {
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
    pub(super) fn adopt(&mut self, name: &str, mut runtime: Runtime) {
        assert!(
            runtime.ready(),
            "{name} exited during its start: {}",
            runtime.log()
        );
        let at = self.place(name);
        self.hosts[at].runtime = Some(runtime);
    }

    /// Starts a process that reaches the servers and the node at these ports.
    pub(super) fn spawn_at(
        &self,
        name: &str,
        address: &str,
        servers: [u16; 2],
        node: u16,
        change: impl FnOnce(Command) -> Command,
    ) -> Runtime {
        let [one, two] = servers;
        let database = &self.database;
        let url = format!(
            "postgresql://postgres@{address}:{one},{address}:{two}/{database}?sslmode=disable"
        );
        let node = format!("http://{address}:{node}");
        let command = change(self.world.command(&["run"]));
        let store = self.store(name);
        let variables = [
            ("AGENTRY__CLUSTER__DATABASE", url.as_str()),
            ("AGENTRY__CLUSTER__HOST", name),
            ("AGENTRY__STORE__PATH", store.to_str().unwrap()),
            ("AGENTRY__CHAIN__RPC", &node),
            ("AGENTRY__CHAIN__SUBMIT", &node),
        ];
        self.world.spawn_as(command, &[], &variables)
    }

    /// The path of a host's stores, without the number of the shard.
    pub(super) fn store(&self, name: &str) -> PathBuf {
        self.world.path().join(format!("{name}.db"))
    }

    pub(super) fn host(&mut self, name: &str) -> &mut Host {
        let host = self.hosts.iter_mut().find(|host| host.name == name);
        host.expect("there is no such host")
    }

    /// The names of the hosts that run.
    pub(super) fn running(&self) -> Vec<String> {
        let running = self.hosts.iter().filter(|host| host.runtime.is_some());
        running.map(|host| host.name.clone()).collect()
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self, name: &str) {
        self.host(name).runtime.take().unwrap().kill();
    }

    /// How often a host has beaten in its life, with those of its name before it.
    pub(super) fn beats(&self, name: &str) -> u64 {
        let sql = format!("select coalesce(sum(beat), 0) from agentry.host where name = '{name}'");
        self.sql(&sql).parse().unwrap()
    }

    /// Runs a statement on the primary.
    pub(super) fn sql(&self, sql: &str) -> String {
        self.engine.primary.psql(&self.database, sql)
    }

    /// Where each shard is.
    pub(super) fn places(&self) -> Vec<Place> {
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
    pub(super) fn epochs(&self) -> Vec<u64> {
        self.places().iter().map(|place| place.epoch).collect()
    }

    /// Waits until each shard is owned by the best of the running hosts.
    pub(super) fn await_places(&self) {
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
    pub(super) fn await_answer(&self, agents: &[usize], above: u64) {
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
    pub(super) fn await_answer_each(&self, hosts: &[Host]) {
        let head = self.world.chain.head();
        for host in hosts {
            self.await_answer(&self.agents_of(&host.name), head);
        }
    }

    /// All agents.
    pub(super) fn everybody(&self) -> Vec<usize> {
        (0..self.world.agents.len()).collect()
    }
}

fn shards() -> NonZeroU16 {
    NonZeroU16::new(SHARDS).unwrap()
}

/// The best of some hosts for a shard.
pub(super) fn best(shard: ShardId, names: &[String]) -> &str {
    ranks(shard, names.iter().map(String::as_str))[0]
}

/// How worlds of clusters are set up.
pub(super) fn setup() -> Setup {
    Setup {
        agents: 12,
        shards: shards(),
        senders: 1_500,
        ..Setup::default()
    }
}

/// The longest pause between two pings.
pub(super) const PACE: Duration = Duration::from_millis(60);
