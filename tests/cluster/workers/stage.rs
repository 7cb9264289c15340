//! A node, a database, hosts and workers. Jobs wait at a gate that the test opens.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use agentry::wallet::{WalletStore, ensure_password_file, password};
use agentry_chain::{NodeClient, NodeOptions};
use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::command::ExecuteAiJob;
use agentry_protocol::{
    Dialect, Header, KnownCommand, MessageId, Number, Payload, Seed, Transaction, TransactionHash,
    compose,
};
use agentry_testbed::chain::open;
use agentry_testbed::postgres::{Server, USER};
use agentry_testbed::process::Process;
use agentry_testbed::wallet::{address, key};
use agentry_testbed::{binary, until};

/// Writes down that it begins, waits at the gate, and answers.
const SCRIPT: &str = "echo \"$AGENTRY_IDEMPOTENCY_KEY $$\" >> $DIR/runs; echo progress 0.5 waiting >&2; \
     while [ ! -e $DIR/gate ]; do sleep 0.05; done; echo finished";

/// The environment of a test.
pub(crate) struct Stage {
    pub(crate) server: Server,
    database: String,
    devnet: Devnet,
    node: NodeClient,
    dir: tempfile::TempDir,
    /// Those of its processes, in the order of their starts.
    logs: Mutex<Vec<PathBuf>>,
}

impl Stage {
    /// A cluster without hosts and workers.
    pub(crate) fn set() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("agentry-cluster-")
            .tempdir()
            .unwrap();
        let devnet = Devnet::start(DevnetConfig {
            dir: dir.path().join("node"),
            block_time: Duration::from_millis(100),
            allocations: (1..=9).map(|byte| (address(byte), 1_000_000)).collect(),
            ..DevnetConfig::default()
        })
        .unwrap();
        let server = Server::start(&[]);
        let stage = Self {
            database: server.database(),
            server,
            node: NodeClient::new(&devnet.url(), NodeOptions::default()).unwrap(),
            devnet,
            dir,
            logs: Mutex::default(),
        };
        let dir = stage.configure("init", USER, stage.server.port());
        let init = binary::configured(&dir, &["cluster", "init", "--shards", "2"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&init.stderr);
        assert!(init.status.success(), "{told}");
        stage
    }

    /// The folder of a process, with its agents.toml. It reaches the database as this user, on this
    /// port.
    fn configure(&self, name: &str, user: &str, port: u16) -> PathBuf {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        let text = format!(
            "[chain]\nid = \"ait-devnet\"\nrpc = \"{node}\"\nstart = 0\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\
             [wallets]\nkeystore_dir = \"keystore\"\npassword_file = \"keystore/.password\"\n\
             [cluster]\nhost = \"{name}\"\n\
             database = \"postgresql://{user}@127.0.0.1:{port}/{database}?sslmode=disable\"\n\
             [tasks]\non_workers = [\"chat\"]\n\
             [[agent]]\nname = \"doer\"\nwallet = \"w1\"\n[[agent.behaviours]]\n\
             kind = \"tasks\"\nallow = [\"{boss}\"]\n[agent.behaviours.types.chat]\n\
             executor = \"command\"\nprogram = \"/bin/sh\"\nargs = ['-c', '{SCRIPT}']\n\
             env = {{ DIR = \"{shared}\" }}\nconcurrency = 4\ntime_limit = \"10m\"\nattempts = 2\n",
            node = self.devnet.url(),
            database = self.database,
            boss = address(2),
            shared = self.dir.path().display(),
        );
        fs::write(dir.join("agents.toml"), text).unwrap();
        dir
    }

    /// Starts a host, and waits until it has joined the cluster.
    pub(crate) fn host(&self, name: &str) -> Process {
        let dir = self.configure(name, USER, self.server.port());
        let keystore = dir.join("keystore");
        if !keystore.exists() {
            ensure_password_file(&keystore.join(".password")).unwrap();
            let secret = password::read(&keystore.join(".password")).unwrap();
            let seed = Seed::from_bytes([1; 32]);
            let store = WalletStore::new(Some(keystore), None);
            store
                .add(&"w1".parse().unwrap(), &seed, &address(1), &secret)
                .unwrap();
        }
        let host = self.spawn(name, &dir, &["run", "--stop-limit", "5s"]);
        until("the host has joined", || {
            host.log().contains("joined the cluster")
        });
        host
    }

    /// Starts a process with the configuration in a folder.
    fn spawn(&self, name: &str, dir: &Path, arguments: &[&str]) -> Process {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = binary::configured(dir, arguments);
        command
            .env("AGENTRY_LOG", "agentry=debug")
            // A machine that is busy for longer than a lease is no failure here.
            .env("AGENTRY_KERNEL_TIMER", "off");
        let mut logs = self.logs.lock().unwrap();
        let log = dir.join(format!("{name}-{}.log", logs.len()));
        logs.push(log.clone());
        Process::spawn(command, &log)
    }

    /// Starts a worker that reaches the database directly.
    pub(crate) fn worker(&self, name: &str) -> Process {
        self.worker_at(name, self.server.port(), &[])
    }

    /// Starts a worker that reaches the database on a port. It has no wallet and no password.
    pub(crate) fn worker_at(&self, name: &str, port: u16, arguments: &[&str]) -> Process {
        self.worker_as(name, (USER, port), arguments)
    }

    /// The same with the rights that docs/cluster.md gives to a role for workers.
    pub(crate) fn humble_worker(&self, name: &str) -> Process {
        let rights = "create role humble login; grant usage on schema agentry to humble; \
                      grant select on agentry.cluster to humble; \
                      grant select, update on agentry.job to humble";
        self.server.psql(&self.database, rights);
        self.worker_as(name, ("humble", self.server.port()), &[])
    }

    fn worker_as(&self, name: &str, (user, port): (&str, u16), arguments: &[&str]) -> Process {
        let dir = self.configure(name, user, port);
        let arguments = [&["worker", "--kinds", "chat", "--name", name], arguments].concat();
        let worker = self.spawn(name, &dir, &arguments);
        until("the worker takes tasks", || {
            worker.log().contains("taking tasks")
        });
        worker
    }

    /// Posts a job to the agent.
    pub(crate) fn submit(&self) -> TransactionHash {
        let job = KnownCommand::ExecuteAiJob(ExecuteAiJob {
            kind: "chat".parse().unwrap(),
            prompt: Some("hello".parse().unwrap()),
            model: None,
            params: None,
            deadline: None,
        });
        self.post(&job.to_payload(), None)
    }

    /// Posts that a job is of no use any more.
    pub(crate) fn cancel(&self, job: TransactionHash) {
        self.post(&KnownCommand::CancelJob.to_payload(), Some(job));
    }

    fn post(&self, payload: &Payload, re: Option<TransactionHash>) -> TransactionHash {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let header = Header {
            id: Some(MessageId::generate(SystemTime::now().into()).unwrap()),
            key: Some(key(2).public_key()),
            re,
            ..Header::default()
        };
        let signed = Transaction {
            dialect: Dialect::April2026,
            from: address(2),
            to: address(1),
            amount: Number::from(0_u64),
            fee: Number::from(10_u64),
            nonce: Number::from(NEXT.fetch_add(1, Ordering::Relaxed)),
            payload: compose(payload, Some(&header)).unwrap(),
            chain_id: "ait-devnet".parse().unwrap(),
        }
        .sign(&key(2));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(self.node.submit(&signed.body())).unwrap()
    }

    /// Lets the jobs end.
    pub(crate) fn open_the_gate(&self) {
        File::create(self.dir.path().join("gate")).unwrap();
    }

    /// The runs that have begun: the idempotency key of each.
    pub(crate) fn runs(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("runs")).unwrap_or_default();
        let keys = text.lines().filter_map(|line| line.split(' ').next());
        keys.map(ToOwned::to_owned).collect()
    }

    /// Whether a program of a job runs.
    pub(crate) fn has_programs(&self) -> bool {
        let text = fs::read_to_string(self.dir.path().join("runs")).unwrap_or_default();
        let pids = text.lines().filter_map(|line| line.split(' ').nth(1));
        // Its number may be another program's by now.
        let runs = |pid: &str| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains("AGENTRY_IDEMPOTENCY_KEY")
        };
        pids.into_iter().any(runs)
    }

    /// The ends of jobs that the agent has told on the chain: `JOB_COMPLETE` or `JOB_FAILED`.
    pub(crate) fn ends(&self) -> Vec<String> {
        let db = open(&self.devnet.chain_db());
        let sql = "SELECT payload FROM \"transaction\" WHERE sender = ?1 ORDER BY block_height, id";
        let mut statement = db.prepare(sql).unwrap();
        let payloads = statement
            .query_map([address(1).to_string()], |row| row.get::<_, String>(0))
            .unwrap();
        let ends = payloads.filter_map(|payload| {
            let payload = payload.unwrap();
            let known = ["JOB_COMPLETE", "JOB_FAILED"];
            known.into_iter().find(|end| payload.contains(end))
        });
        ends.map(ToOwned::to_owned).collect()
    }

    /// Waits until one job has completed, and sees that no other end follows. The rows in the database
    /// are gone then.
    pub(crate) fn completes_once(&self) {
        until("the job is completed on the chain", || {
            !self.ends().is_empty()
        });
        until("its rows are deleted", || self.rows().is_empty());
        let sql = "SELECT max(height) FROM block";
        let head = || -> i64 {
            let db = open(&self.devnet.chain_db());
            db.query_row(sql, [], |row| row.get(0)).unwrap()
        };
        let then = head();
        until("more blocks are made", || head() > then + 10);
        assert_eq!(self.ends(), ["JOB_COMPLETE"]);
    }

    /// The jobs in the database: attempt, state and worker.
    pub(crate) fn rows(&self) -> String {
        let sql =
            "select attempt, state, split_part(worker, ' ', 1) from agentry.job order by attempt";
        self.server.psql(&self.database, sql)
    }
}

/// Whether a worker runs a task.
pub(crate) fn is_at_work(worker: &Process) -> bool {
    worker.log().contains("running a task")
}

impl Drop for Stage {
    /// A failure prints the end of each log.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for path in self.logs.lock().unwrap().iter() {
            let log = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n  ");
            eprintln!("the end of {}:\n  {last}", path.display());
        }
    }
}
