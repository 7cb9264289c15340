//! A runtime in a process of its own, with a configuration and wallets that the test chooses.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agentry::wallet::{WalletStore, ensure_password_file, password};
use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::{Address, Seed, SigningKey};
use rustix::process::{Pid, Signal, kill_process};

use super::{http, until};

/// The key of a wallet whose seed is this byte.
pub(crate) fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

/// Its address.
pub(crate) fn address(byte: u8) -> Address {
    Address::from_public_key(&key(byte).public_key())
}

/// A node on which the wallets 1 to 3 have money.
pub(crate) fn devnet(dir: &Path) -> Devnet {
    Devnet::start(DevnetConfig {
        dir: dir.join("node"),
        block_time: Duration::from_millis(100),
        allocations: (1..=3).map(|byte| (address(byte), 1_000_000)).collect(),
        ..DevnetConfig::default()
    })
    .unwrap()
}

/// Writes agents.toml with these tables, and keystores of the wallets `w1` and so on.
pub(crate) fn configure(dir: &Path, node: &str, wallets: &[u8], tables: &str) {
    let keystore = dir.join("keystore");
    ensure_password_file(&keystore.join(".password")).unwrap();
    let secret = password::read(&keystore.join(".password")).unwrap();
    let store = WalletStore::new(Some(keystore), None);
    for byte in wallets {
        let (name, seed) = (format!("w{byte}"), Seed::from_bytes([*byte; 32]));
        let name = name.parse().unwrap();
        store.add(&name, &seed, &address(*byte), &secret).unwrap();
    }
    let text = format!(
        "[chain]\nid = \"ait-devnet\"\nrpc = \"{node}\"\nstart = 0\n\
         [http]\nlisten = \"127.0.0.1:0\"\n\
         [wallets]\nkeystore_dir = \"keystore\"\npassword_file = \"keystore/.password\"\n{tables}"
    );
    std::fs::write(dir.join("agents.toml"), text).unwrap();
}

/// The binary with the configuration in a folder, without the variables of this process's
/// environment that it reads.
pub(crate) fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentry"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("AGENTRY") || name.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .args(["--config", "agents.toml", "--json"])
        .current_dir(dir)
        .stdin(Stdio::null());
    command
}

/// The output of a command, which must succeed.
pub(crate) fn ask(dir: &Path, arguments: &[&str]) -> serde_json::Value {
    let output = command(dir, arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A runtime in a process of its own; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    status: u16,
    log: PathBuf,
}

impl Process {
    /// Starts it with the configuration in a folder, and waits until it hosts its agents.
    pub(crate) fn start(dir: &Path, variables: &[(&str, &str)]) -> Self {
        let log = dir.join("log");
        let mut child = command(dir, &["run"])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let told: serde_json::Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{}", std::fs::read_to_string(&log).unwrap()));
        let status = told["status"].as_str().unwrap();
        Self {
            child,
            status: status.rsplit_once(':').unwrap().1.parse().unwrap(),
            log,
        }
    }

    /// The value of a metric, 0 if it is not there.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = http::get(self.status, "/metrics").unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it as an operator does.
    pub(crate) fn stop(mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        until("it stops", || self.child.try_wait().unwrap().is_some());
        let status = self.child.wait().unwrap();
        let log = || std::fs::read_to_string(&self.log).unwrap();
        assert!(status.success(), "{}", log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
