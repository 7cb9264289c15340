//! What commands tell of a cluster: `doctor`, `cluster status`, and the forms of `--json`. Real hosts and
//! workers, on a real PostgreSQL with a synchronous standby and one without.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU16;
use std::process::{Child, Stdio};
use std::time::Duration;

use agentry::wallet::WalletStore;
use agentry_core::cluster::{ShardId, ranks, shard_of};
use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::{Address, Password, Seed};
use agentry_testbed::postgres::{Pair, Server};
use serde_json::Value;

use crate::doctor::Report;
use crate::host::{Host, eventually};
use crate::world::{PASSWORD, World};

/// How many shards there are.
pub(crate) const SHARDS: NonZeroU16 = NonZeroU16::new(4).unwrap();

/// A node, and the wallets of four agents, each of another shard.
pub(crate) struct Stage {
    pub(crate) world: World,
    node: Devnet,
}

impl Stage {
    /// The names of the agents, by shard.
    pub(crate) const AGENTS: [&'static str; 4] = ["asker", "doer", "ponger", "other"];

    pub(crate) fn set() -> Self {
        let world = World::new();
        let keys = world.path("keys");
        rustix::fs::mkdir(&keys, rustix::fs::Mode::RWXU).unwrap();
        let wallets = WalletStore::new(Some(keys), None);
        let mut allocations = Vec::new();
        for (shard, name) in (0..).zip(Self::AGENTS) {
            let address =
                |byte: &u8| Address::from_public_key(&Seed::from_bytes([*byte; 32]).public_key());
            let byte = (1..).find(|byte| shard_of(&address(byte), SHARDS).0 == shard);
            let byte = byte.unwrap();
            let (seed, address) = (Seed::from_bytes([byte; 32]), address(&byte));
            let password = Password::new(PASSWORD.into());
            let name = name.parse().unwrap();
            wallets.add(&name, &seed, &address, &password).unwrap();
            allocations.push((address, 1_000_000));
        }
        let node = Devnet::start(DevnetConfig {
            dir: world.path("node"),
            block_time: Duration::from_millis(100),
            allocations,
            ..DevnetConfig::default()
        })
        .unwrap();
        Self { world, node }
    }

    /// Writes `<name>.toml`, with a store of this name and these tables.
    pub(crate) fn configure(&self, name: &str, store: &str, tables: &str) {
        let cat = "{ kind = \"tasks\", allow = [\"*\"], types = { cat = { executor = \"command\", \
                   program = \"cat\" } } }";
        let agents = Self::AGENTS.map(|agent| {
            let also = if agent == "doer" {
                cat
            } else {
                "{ kind = \"ack\" }"
            };
            format!("[[agent]]\nname = \"{agent}\"\nbehaviours = [{{ kind = \"pong\" }}, {also}]\n")
        });
        let text = format!(
            "[chain]\nid = \"ait-devnet\"\nrpc = \"{}\"\n[store]\npath = \"{store}\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n[wallets]\nkeystore_dir = \"keys\"\n\
             password_file = \"password\"\n[defaults]\nper_sender_rate = \"unlimited\"\n\
             {tables}{}",
            self.node.url(),
            agents.concat()
        );
        self.world.private(&format!("{name}.toml"), &text);
    }

    /// The same for a host of the cluster in a database.
    pub(crate) fn configure_host(&self, name: &str, store: &str, url: &str, more: &str) {
        let cluster = format!("[cluster]\nhost = \"{name}\"\ndatabase = \"{url}\"\n{more}");
        self.configure(name, store, &cluster);
    }

    /// Runs with `<name>.toml`. A slow machine must not look like a frozen host.
    pub(crate) fn host(&self, name: &str) -> Host<'_> {
        let config = format!("{name}.toml");
        let mut command = self.world.command(&["-c", &config, "run", "--json"]);
        command.env("AGENTRY_KERNEL_TIMER", "off");
        Host::spawn(&self.world, command)
    }

    /// A command with `<name>.toml`, with `--json`.
    pub(crate) fn json(&self, name: &str, arguments: &[&str]) -> Value {
        let config = format!("{name}.toml");
        self.world.json(&[&["-c", &config], arguments].concat())
    }

    /// Waits until each shard is at the host that is the best for it, and followed if there are several:
    /// from then on, none moves.
    pub(crate) fn await_places(&self, hosts: &[&str]) {
        eventually("all shards are owned and followed", || {
            let status = self.json(hosts[0], &["cluster", "status"]);
            let shards = status["shards"].as_array().unwrap();
            shards.iter().zip(0..).all(|(shard, id)| {
                let followers = shard["followers"].as_object().unwrap();
                let best = ranks(ShardId(id), hosts.iter().copied())[0];
                shard["owner"] == best && followers.len() + 1 == hosts.len()
            })
        });
    }

    /// Waits until the host on this machine is ready.
    fn await_ready(&self, name: &str) {
        let config = format!("{name}.toml");
        eventually("the host is ready", || {
            let run = self.world.run(&["-c", &config, "doctor", "--json"]);
            run.out.contains("it is running and ready")
        });
    }

    fn doctor(&self, name: &str) -> Report {
        let config = format!("{name}.toml");
        let run = self.world.run(&["-c", &config, "doctor", "--json"]);
        crate::forms::check(&["doctor"], &serde_json::from_str(&run.out).unwrap());
        Report::of(&run)
    }
}

#[test]
fn doctor_names_what_a_cluster_lacks() {
    let stage = Stage::set();
    let server = Server::start(&["fsync = on"]);
    let name = server.database();
    stage.configure_host("ha", "ha.db", &server.url(&name), "");
    stage.doctor("ha").says(
        "cluster database",
        "error",
        "holds no agentry cluster",
        "init",
    );
    stage.json("ha", &["cluster", "init", "--shards", "4"]);
    stage
        .doctor("ha")
        .ends(0)
        .says("store", "ok", "the cluster's database holds it", "")
        .says("cluster database", "ok", "PostgreSQL 1", "")
        .says(
            "cluster standby",
            "warning",
            "is empty",
            "connect a standby",
        )
        .says("clock of the cluster", "ok", "agree", "")
        .says("cluster hosts", "ok", "none runs", "")
        .says("cluster configuration", "ok", "post to http", "")
        .says("cluster shards", "skipped", "no host", "");
    let status = stage.json("ha", &["cluster", "status"]);
    for empty in ["hosts", "workers"] {
        assert_eq!(status[empty], serde_json::json!([]), "{empty}");
    }
    assert_eq!(status["server"]["standbys"], serde_json::json!([]));
    let told = stage.world.run(&["-c", "ha.toml", "cluster", "status"]);
    let told = &told.good().out;
    assert!(told.contains("no standby is connected"), "{told}");
    assert!(told.contains("waits for no standby"), "{told}");

    // A role with a limit, and one with rights for jobs only.
    server.psql(
        &name,
        "create role limited login superuser; alter role limited set statement_timeout = '30s'; \
         create role guest login; grant usage on schema agentry to guest; \
         grant select on all tables in schema agentry to guest",
    );
    let url = |role: &str| server.url(&name).replace("postgres@", &format!("{role}@"));
    stage.configure_host("limited", "ha.db", &url("limited"), "");
    let found = "statement_timeout = 30000 ms";
    let report = stage.doctor("limited");
    report.says("cluster standby", "warning", found, "statement_timeout = 0");
    stage.configure_host("guest", "ha.db", &url("guest"), "");
    stage
        .doctor("guest")
        .ends(69)
        .says("cluster database", "error", "guest lacks rights", "grant");
    // Commits wait for one that is not there.
    server.configure(&["synchronous_standby_names = 'gone'"]);
    server.reload();
    eventually("the server waits for a standby", || {
        server.psql("postgres", "show synchronous_standby_names") == "gone"
    });
    stage
        .doctor("ha")
        .ends(69)
        .says("cluster standby", "error", "every change waits", "start it");
    let nobody = "postgresql://agentry@127.0.0.1:1/agentry";
    stage.configure_host("nobody", "ha.db", nobody, "");
    stage.doctor("nobody").ends(69).says(
        "cluster database",
        "error",
        "127.0.0.1:1",
        "cluster.database",
    );
}

#[test]
fn doctor_names_what_differs_between_hosts() {
    let stage = Stage::set();
    let pair = Pair::start();
    let name = pair.primary.database();
    let tasks = "[tasks]\non_workers = [\"cat\"]\n";
    stage.configure_host("ha", "ha.db", &pair.primary.url(&name), tasks);
    stage.json("ha", &["cluster", "init", "--shards", "4"]);
    let host = stage.host("ha");
    stage.await_places(&["ha"]);
    stage.await_ready("ha");
    stage
        .doctor("ha")
        .ends(0)
        .says("runtime", "ok", "running and ready", "")
        .says("cluster standby", "ok", "commits wait for standby", "")
        .says(
            "cluster hosts",
            "warning",
            "1 run: ha; no other host",
            "another host",
        )
        .says("cluster configuration", "ok", "all have", "")
        .says("cluster shards", "ok", "all 4 are owned", "")
        .says(
            "cluster workers",
            "warning",
            "tasks of type cat",
            "agentry worker",
        );
    let status = stage.json("ha", &["cluster", "status"]);
    assert_eq!(status["server"]["standbys"][0]["synchronous"], true);
    assert_eq!(status["hosts"][0]["owns"].as_array().unwrap().len(), 4);

    // Another host, which differs in all that may not differ.
    pair.primary.psql(
        &name,
        "insert into agentry.host (incarnation, name, beat, seen, address, version, config_hash, \
             format, without_node, following, submit, clock) \
         values (repeat('b', 32), 'hb', 1, now() + interval '1 hour', 'a', '9.9.9', 'ffff', 9, false, '', \
             'http://other:1', (extract(epoch from now() + interval '1 hour') + 7) * 1000)",
    );
    pair.primary.psql(
        &name,
        "update agentry.shard set halted = 'hb: it ends at 3' where id = 2",
    );
    stage
        .doctor("ha")
        .ends(78)
        .says(
            "cluster configuration",
            "error",
            "http://other:1 (hb)",
            "chain.submit",
        )
        .says(
            "cluster hosts",
            "warning",
            "9.9.9 (hb)",
            "finish the upgrade",
        )
        .says(
            "clock of the cluster",
            "warning",
            "hb is 7.0 s ahead",
            "set-ntp",
        )
        .says(
            "cluster shards",
            "error",
            "shard 2 (hb: it ends at 3)",
            "docs/cluster.md",
        );
    let told = stage.world.run(&["-c", "ha.toml", "cluster", "status"]);
    let told = &told.good().out;
    assert!(
        told.contains("shard 2 is halted: hb: it ends at 3"),
        "{told}"
    );
    let resume = ["-c", "ha.toml", "cluster", "resume", "--shard", "2"];
    let told = stage.world.run(&resume);
    let told = &told.good().out;
    assert!(
        told.contains("shard 2 goes on with the log as it is"),
        "{told}"
    );
    eventually("shard 2 runs again", || {
        let status = stage.json("ha", &["cluster", "status"]);
        status["shards"][2]["owner"] == "ha"
    });
    let same = "update agentry.host set submit = (select submit from agentry.host where name = 'ha'), \
                clock = null where name = 'hb'";
    pair.primary.psql(&name, same);
    stage
        .doctor("ha")
        .ends(0)
        .says(
            "cluster configuration",
            "warning",
            "ffff (hb)",
            "same agents.toml",
        )
        .says(
            "cluster shards",
            "warning",
            "no other host is level",
            "wait",
        );
    // It beats no more.
    let silent = "update agentry.host set seen = now() - interval '1 hour' where name = 'hb'";
    pair.primary.psql(&name, silent);
    stage
        .doctor("ha")
        .ends(0)
        .says(
            "cluster hosts",
            "warning",
            "no beat comes from hb",
            "start it again",
        )
        .says("cluster configuration", "ok", "all have", "");

    for (verb, draining) in [("drain", true), ("resume", false)] {
        let told = stage.json("ha", &["cluster", verb, "hb"]);
        assert_eq!(told["draining"], draining);
    }
    let worker = Worker::start(&stage.world, "ha.toml");
    stage
        .doctor("ha")
        .says("cluster workers", "ok", &worker.id, "");
    let status = stage.json("ha", &["cluster", "status"]);
    assert_eq!(status["workers"][0]["id"], *worker.id);
    assert_eq!(status["workers"][0]["kinds"]["cat"]["most"], 2);
    assert_eq!(status["workers"][0]["alive"], true);
    let told = stage.world.run(&["-c", "ha.toml", "cluster", "status"]);
    assert!(told.good().out.contains("cat 0/2"), "{told:?}");
    let get = |path: &str| {
        let address = worker.status.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        let head = "Host: localhost\r\nConnection: close";
        write!(stream, "GET {path} HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(get("/health").contains("\"status\":\"ok\""));
    let metrics = get("/metrics");
    for line in [
        "agentry_cluster_up 1",
        "agentry_worker_jobs_most{kind=\"cat\"} 2",
        "agentry_worker_jobs_running{kind=\"cat\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(get("/ready").starts_with("HTTP/1.1 404"));
    worker.stop();
    let status = stage.json("ha", &["cluster", "status"]);
    assert_eq!(status["workers"], serde_json::json!([]));
    host.stop();
}

/// A worker that is shown.
struct Worker {
    child: Child,
    id: String,
    status: String,
}

impl Worker {
    fn start(world: &World, config: &str) -> Self {
        let arguments = [
            "-c",
            config,
            "worker",
            "--name",
            "gpu",
            "--concurrency",
            "cat=2",
            "--listen",
            "127.0.0.1:0",
            "--json",
        ];
        let mut child = world
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        told.read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        crate::forms::check(&["worker"], &told);
        let id = told["worker"].as_str().unwrap().to_owned();
        let status = told["status"].as_str().unwrap().to_owned();
        let worker = Self { child, id, status };
        eventually("the worker is shown", || {
            let status = world.json(&["-c", config, "cluster", "status"]);
            status["workers"][0]["id"] == *worker.id
        });
        worker
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
