//! `examples/other-language`, an agent in Python that is written only from the page: it produces the
//! same bytes, and talks with a runtime.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use agentry_protocol::{Address, Seed};
use serde_json::Value;

use super::vectors::vector;
use crate::page::top;

/// The wallet of the agent in Python.
const SEED: [u8; 32] = [0x42; 32];

const CONFIGURATION: &str = r#"
[chain]
id = "ait-devnet"
[store]
path = "agentry.db"
[http]
listen = "127.0.0.1:0"
[devnet]
block_time = "50ms"
port = 0
[wallets]
keystore_dir = "keys"
password_file = "keys/.password"
[[agent]]
name = "worker"
behaviours = [{ kind = "pong" }, { kind = "ack" }, { kind = "status" }]
"#;

fn folder() -> PathBuf {
    top().join("examples/other-language")
}

/// The output of a Python program, which must succeed.
fn python(program: &str, arguments: &[&str]) -> String {
    let output = Command::new("python3")
        .args(["-B", "-c", program])
        .args(arguments)
        .current_dir(folder())
        .output()
        .expect("this test needs python3 in PATH");
    said(&output)
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:#?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn it_produces_the_same_bytes() {
    let program = r#"
import json, sys, agent, primitives
sent, sealed = (json.loads(text) for text in sys.argv[1:])
seed = bytes.fromhex(sent["seed"])
signature = primitives.sign(seed, agent.spaced(sent["transaction"])).hex()
kept = {key: sent["transaction"][key] for key in agent.SIGNED} | {"signature": signature}
assert signature == sent["signature"]
assert agent.hashlib.sha256(agent.compact(kept)).hexdigest() == sent["transaction_hash"][2:]
assert agent.is_verified(kept, agent.read(kept["payload"])[2])
assert not agent.is_verified({**kept, "amount": 1}, agent.read(kept["payload"])[2])

private = agent.decryption_key(bytes.fromhex(sealed["recipient_seed"]))
assert private.hex() == sealed["decryption_key"]
assert primitives.x25519(private).hex() == sealed["encryption_key"]
assert agent.binding(sealed).decode() == sealed["associated_data"]
enc, ct = agent.seal(
    bytes.fromhex(sealed["encryption_key"]), sealed["plaintext"].encode(),
    sealed["associated_data"].encode(), bytes.fromhex(sealed["ephemeral_ikm"]))
body = json.loads(sealed["body"])
assert (agent.to_base64(enc), agent.to_base64(ct)) == (body["enc"], body["ct"])
print("same")
"#;
    let arguments = ["json transaction", "json sealed"].map(|name| vector(name).to_string());
    let [sent, sealed] = &arguments;
    assert_eq!(python(program, &[sent, sealed]).trim(), "same");
}

/// The table of payloads, read by the agent in Python.
#[test]
fn it_reads_payloads_as_on_the_page() {
    let program = r#"
import json, sys, agent
def twice(pairs):
    return agent.no_key_twice(pairs)
for payload in sys.argv[1:]:
    try:
        print(agent.read(json.loads(payload, object_pairs_hook=twice))[0])
    except KeyError:
        print("opaque")
"#;
    let rows = super::section("Reading a payload").table("payload");
    let payloads: Vec<String> = rows.iter().map(|row| super::code(&row[0])).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let read = python(program, &payloads);
    let expected: Vec<&str> = rows.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(read.lines().collect::<Vec<_>>(), expected);
}

/// A runtime that is stopped when this is dropped.
struct Runtime {
    folder: tempfile::TempDir,
    child: Child,
    /// Kept open, so that the runtime can keep printing.
    _stdout: BufReader<ChildStdout>,
    node: String,
}

impl Runtime {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("agents.toml"), CONFIGURATION).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut child = agentry(folder.path(), &["run", "--json"])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).expect("the runtime reports that it hosts");
        let node = told["node"].as_str().unwrap().to_owned();
        Self {
            folder,
            child,
            _stdout: stdout,
            node,
        }
    }

    fn run(&self, arguments: &[&str]) -> String {
        said(&agentry(self.folder.path(), arguments).output().unwrap())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn agentry(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentry"));
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AGENTRY") {
            command.env_remove(name);
        }
    }
    command
}

#[test]
fn it_talks_with_a_runtime() {
    let runtime = Runtime::start();
    let me = Address::from_public_key(&Seed::from_bytes(SEED).public_key());
    runtime.run(&["agent", "register", "--agent", "worker", "--wait"]);
    let card: Value =
        serde_json::from_str(&runtime.run(&["agent", "show", "worker", "--json"])).unwrap();
    let (address, enc_key) = (card["address"].as_str(), card["card"]["enc_key"].as_str());
    // Without money, the agent cannot send.
    let endowment = [
        "agent",
        "message",
        "--wallet",
        "worker",
        "--to",
        me.as_str(),
        "--amount",
        "1000",
        "--wait=mined",
        "some money",
    ];
    runtime.run(&endowment);
    let output = Command::new("python3")
        .args(["-B", "agent.py", &runtime.node])
        .args([address.unwrap(), enc_key.unwrap()])
        .env("SEED", hex::encode(SEED))
        .current_dir(folder())
        .output()
        .expect("this test needs python3 in PATH");
    let said = said(&output);
    assert_eq!(said.lines().count(), 10, "{said}");
}
