//! A runtime in its own process, whose configuration changes while it runs.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{Run, World};

/// How long a test waits for an expected event.
const LONG: Duration = Duration::from_secs(180);

/// The beginning of every configuration here: an embedded node at any free port, and its wallets.
pub(crate) const BASE: &str = r#"
[chain]
id = "ait-devnet"
[store]
path = "agentry.db"
[http]
listen = "127.0.0.1:0"
[devnet]
block_time = "50ms"
port = 0
dir = "node"
[wallets]
keystore_dir = "keys"
password_file = "keys/.password"
[defaults]
per_sender_rate = "unlimited"
"#;

/// An agent's table.
pub(crate) fn agent(name: &str, wallet: &str, behaviours: &str) -> String {
    format!("[[agent]]\nname = \"{name}\"\nwallet = \"{wallet}\"\nbehaviours = [{behaviours}]\n")
}

/// A behaviour that answers one text with another.
pub(crate) fn pong(trigger: &str, reply: &str) -> String {
    format!("{{ kind = \"pong\", trigger = \"{trigger}\", reply = \"{reply}\" }}")
}

/// A runtime that is stopped when this is dropped.
pub(crate) struct Host<'a> {
    world: &'a World,
    child: Child,
    /// Kept open, so that the runtime can continue to print.
    _stdout: BufReader<ChildStdout>,
    log: PathBuf,
    pub(crate) node: String,
    /// The URL of its status port.
    pub(crate) status: String,
}

impl<'a> Host<'a> {
    /// Starts it in `world` with [`BASE`] and these tables.
    pub(crate) fn start(world: &'a World, tables: &[String]) -> Self {
        configure(world, tables);
        Self::begin(world, "agents.toml")
    }

    /// Starts a runtime with this configuration.
    pub(crate) fn begin(world: &'a World, config: &str) -> Self {
        Self::spawn(world, world.command(&["-c", config, "run", "--json"]))
    }

    /// Starts a runtime with this command, which ends with `run --json`.
    pub(crate) fn spawn(world: &'a World, mut command: Command) -> Self {
        let log = world.path("agents.toml.log");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).expect("the runtime reports its start");
        crate::forms::check(&["run"], &told);
        let text = |key: &str| told[key].as_str().unwrap().to_owned();
        let (node, status) = (text("node"), text("status"));
        Self {
            world,
            child,
            _stdout: stdout,
            log,
            node,
            status,
        }
    }

    /// Runs a command beside the runtime.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let node = format!("chain.rpc={}", self.node);
        let mut all = arguments.to_vec();
        all.extend(["--set", &node]);
        self.world.run(&all)
    }

    /// Runs a command beside the runtime with `--json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let printed = self.run(&all).json();
        crate::forms::check(&all, &printed);
        printed
    }

    /// Writes another configuration, and applies it with `agentry reload`.
    pub(crate) fn reload(&self, tables: &[String]) -> Run {
        configure(self.world, tables);
        // The same configuration layers as the runtime's.
        self.world.run(&["reload", "--json"])
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended, and returns its exit status.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Sends a signal to it.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args([signal, &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits until its log contains this text the given number of times.
    pub(crate) fn logged(&self, part: &str, times: usize) {
        eventually(&format!("{times} × {part:?} in the log"), || {
            self.log()
                .lines()
                .filter(|line| line.contains(part))
                .count()
                >= times
        });
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Sends a message and waits for the answer.
    pub(crate) fn ask(&self, from: &str, to: &str, text: &str) -> String {
        let asked = [
            "agent", "message", "--wallet", from, "--to", to, text, "--wait",
        ];
        let answered = self.json(&asked);
        answered["answer"]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("an answer: {answered}"))
            .to_owned()
    }

    /// Sends a message.
    pub(crate) fn tell(&self, from: &str, to: &str, text: &str) {
        self.run(&["agent", "message", "--wallet", from, "--to", to, text])
            .good();
    }

    /// Asks it to stop, and waits until it has ended.
    pub(crate) fn stop(mut self) {
        self.signal("-TERM");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Writes a configuration.
pub(crate) fn configure(world: &World, tables: &[String]) {
    world.private("agents.toml", &format!("{BASE}{}", tables.concat()));
}

/// The texts that a wallet's agent has sent or will send, each with its state, in the order of the
/// outbox.
pub(crate) fn sent(world: &World, agent: &str) -> Vec<(String, String)> {
    let db = rusqlite::Connection::open(world.path("agentry.db")).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    let mut statement = db
        .prepare(
            "SELECT coalesce(payload, body -> '$.payload'), state FROM outbox
             WHERE agent = (SELECT max(id) FROM agent WHERE name = ?1) ORDER BY id",
        )
        .unwrap();
    let rows = statement.query_map([agent], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// Waits until the condition holds.
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
