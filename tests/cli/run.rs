//! `run`, `agent` and `queue`: a runtime in its own process, on its embedded node, and everything
//! that can go wrong at its start.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use crate::host::{Host, agent, pong};
use crate::world::World;

/// A configuration on an embedded node at any free port. The agents find the node through
/// `[devnet]`; other commands receive its URL as an option.
const CONFIG: &str = r#"
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
[[agent]]
name = "ponger"
wallet = "two"
behaviours = [{ kind = "pong" }]
[[agent]]
name = "pinger"
wallet = "one"
behaviours = []
"#;

/// A runtime that is stopped when this is dropped.
struct Runtime {
    child: Child,
    /// Kept open, so that the runtime can continue to print.
    _stdout: BufReader<ChildStdout>,
    node: String,
}

impl Runtime {
    fn start(world: &World) -> Self {
        let mut child = world
            .command(&["run", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).expect("the runtime reports its start");
        assert_eq!(told["agents"], 2);
        let node = told["node"].as_str().unwrap().to_owned();
        Self {
            child,
            _stdout: stdout,
            node,
        }
    }

    /// `--set` for commands that query its node.
    fn at_node(&self) -> [String; 2] {
        ["--set".to_owned(), format!("chain.rpc={}", self.node)]
    }

    fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn world() -> World {
    let world = World::new();
    world.private("agents.toml", CONFIG);
    world
}

/// A configuration beside [`CONFIG`], for the node of a running runtime.
fn plain(world: &World, node: &str, chain: &str, wallet: &str) {
    let text = format!(
        "[chain]\nid = \"{chain}\"\nrpc = \"{node}\"\n[store]\npath = \"other.db\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[wallets]\nkeystore_dir = \"keys\"\n\
         password_file = \"keys/.password\"\n[[agent]]\nname = \"ponger\"\nwallet = \"{wallet}\"\n\
         behaviours = [{{ kind = \"pong\" }}]\n"
    );
    world.private("other.toml", &text);
}

#[test]
fn a_ping_is_sent_answered_and_looked_up() {
    let world = world();
    let runtime = Runtime::start(&world);
    plain(&world, &runtime.node, "ait-devnet", "two");
    // The store belongs to the runtime, and the node is given: the message goes through the
    // runtime.
    let ask = ["-c", "other.toml", "--set", "store.path=agentry.db"];
    let with = |arguments: &[&str]| -> Value {
        let mut all = arguments.to_vec();
        all.extend(ask);
        world.json(&all)
    };
    let answered = with(&[
        "agent", "message", "--wallet", "one", "--to", "ponger", "ping", "--wait",
    ]);
    assert_eq!(answered["answer"]["text"], "pong");
    assert_eq!(
        answered["outbox"], 1,
        "it went through the runtime's outbox"
    );

    let listed = with(&["queue", "list", "--settled"]);
    let ping = &listed["messages"][0];
    assert_eq!(
        (&ping["state"], &ping["authenticity"]),
        (&"handled".into(), &"verified".into())
    );
    assert_eq!(listed["transactions"].as_array().unwrap().len(), 2);
    let shown = with(&["queue", "show", "outbox/2"]);
    assert_eq!(shown["payload"], "\"pong\"");
    assert_eq!(shown["transaction"], answered["answer"]["transaction"]);
    let heard = with(&["agent", "messages", "--agent", "ponger", "--received"]);
    let heard = &heard["messages"][0];
    assert_eq!(
        (&heard["text"], &heard["transaction"]),
        (&"ping".into(), &answered["transaction"])
    );

    assert_eq!(with(&["queue", "retry", "--all"])["changed"], 0);
    assert_eq!(with(&["queue", "resume"])["resumed"], false);
    let mut nothing = vec!["queue", "drop", "inbox/1"];
    nothing.extend(ask);
    world.run(&nothing).failed(66, "nothing was changed");
    nothing[2] = "inbox";
    world.run(&nothing).failed(64, "is not an id of a queue");
    assert_eq!(runtime.terminate(), Some(0));

    world
        .run(&["queue", "show", "inbox/99"])
        .failed(66, "there is no inbox/99");
    // The ping; and the pong, if the pinger handled it before the end.
    let handled = &world.json(&["queue", "list"])["counts"]["inbox"]["handled"];
    assert!(handled.as_u64() >= Some(1), "{handled}");
}

#[test]
fn a_first_start_on_a_new_chain_logs_no_warning() {
    let world = World::new();
    let agents = [
        agent("pinger", "one", ""),
        agent("ponger", "two", &pong("ping", "pong")),
    ];
    let host = Host::start(&world, &agents);
    assert_eq!(host.ask("one", "ponger", "ping"), "pong");
    let log = host.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    host.stop();
}

#[test]
fn a_wallet_that_is_not_hosted_sends_directly() {
    let world = world();
    let runtime = Runtime::start(&world);
    plain(&world, &runtime.node, "ait-devnet", "two");
    let password = world.path("keys/.password");
    let password = password.to_str().unwrap();
    world
        .run(&[
            "wallet",
            "create",
            "guest",
            "--keystore",
            "keys",
            "--password-file",
            password,
        ])
        .good();
    let guest = [
        "agent", "message", "--wallet", "guest", "--to", "ponger", "ping",
    ];
    let mut poor = guest.to_vec();
    poor.extend(["-c", "other.toml"]);
    world.run(&poor).failed(65, "no account");

    let mut rich = vec![
        "agent", "message", "--wallet", "one", "--to", "ponger", "ping", "--wait",
    ];
    rich.extend(["-c", "other.toml"]);
    let answered = world.json(&rich);
    assert_eq!(answered["answer"]["text"], "pong");
    assert_eq!(
        answered["outbox"],
        Value::Null,
        "no runtime has other.db open"
    );
    let set = runtime.at_node();
    let lost = ["chain", "head", &set[0], &set[1], "-c", "other.toml"];
    world.run(&lost).good();
}

#[test]
fn a_second_runtime_on_the_same_store_is_refused() {
    let world = world();
    let _runtime = Runtime::start(&world);
    world.run(&["run"]).failed(75, "in use by another agentry");
}

#[test]
fn a_port_that_is_in_use_is_named() {
    let world = world();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("http.listen={}", taken.local_addr().unwrap());
    world
        .run(&["--set", &listen, "run"])
        .failed(69, "Another process has the port");
    let port = format!("devnet.port={}", taken.local_addr().unwrap().port());
    let rpc = format!("chain.rpc=http://{}", taken.local_addr().unwrap());
    let run = world.run(&["--set", &port, "--set", &rpc, "run"]);
    assert_eq!(run.code, 69, "{run:?}");
    assert!(run.err.contains("the port is in use"), "{run:?}");
}

#[test]
fn a_node_of_another_chain_is_refused() {
    let world = world();
    let runtime = Runtime::start(&world);
    plain(&world, &runtime.node, "ait-mainnet", "two");
    let run = world.run(&["-c", "other.toml", "run"]);
    assert_eq!(run.code, 78, "{run:?}");
    assert!(
        run.err.contains("does not serve chain ait-mainnet"),
        "{run:?}"
    );
    assert!(run.err.contains("ait-devnet"), "{run:?}");
    drop(runtime);
    let other = ["--set", "chain.id=ait-mainnet", "run"];
    let run = world.run(&other);
    assert_eq!(run.code, 78, "{run:?}");
    assert!(run.err.contains("belongs to chain ait-devnet"), "{run:?}");
}

#[test]
fn a_wallet_that_cannot_be_used_stops_the_start() {
    let world = world();
    let runtime = Runtime::start(&world);
    plain(&world, &runtime.node, "ait-devnet", "three");
    let run = ["-c", "other.toml", "run"];
    world.run(&run).failed(66, "there is no wallet \"three\"");

    plain(&world, &runtime.node, "ait-devnet", "two");
    let wrong = ["-c", "other.toml", "run", "--password-file", "wrong"];
    world.run(&wrong).failed(77, "wrong password");

    world.private("keys/two.json", "{ \"crypto\": ");
    let damaged = world.run(&run);
    assert_eq!(damaged.code, 65, "{damaged:?}");
    assert!(damaged.err.contains("two.json"), "{damaged:?}");
}

#[test]
fn a_store_of_a_newer_version_stops_the_start() {
    let world = world();
    drop(Runtime::start(&world));
    let db = rusqlite::Connection::open(world.path("agentry.db")).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    world.run(&["run"]).failed(78, "has version 99");
    world.run(&["queue", "list"]).failed(78, "has version 99");
}

#[test]
fn commands_without_a_store_or_a_node_say_what_to_start() {
    let world = world();
    world
        .run(&["queue", "list"])
        .failed(66, "start `agentry run` first");
    world
        .run(&["queue", "resume"])
        .failed(66, "start `agentry run` first");
    // The port of a closed listener: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    plain(&world, &format!("http://{free}"), "ait-devnet", "two");
    let message = [
        "-c",
        "other.toml",
        "agent",
        "message",
        "--wallet",
        "one",
        "--to",
        "ponger",
        "x",
    ];
    world.run(&message).failed(66, "no wallet \"two\"");
}

#[test]
fn a_demonstration_prints_its_evidence() {
    let world = World::new();
    // The demonstration must pass on a node that drops one transaction in five.
    let fault = ["--fault", "silent-drop=0.2"];
    let evidence = world.json(&["demo", "--block-time", "50ms", fault[0], fault[1]]);
    let height = |name: &str| evidence[name]["height"].as_u64().unwrap();
    assert!(height("pong") > height("ping"));
    assert!(evidence["ping"]["hash"].as_str().unwrap().starts_with("0x"));
    assert_eq!(evidence["nodes"].as_array().unwrap().len(), 2);
    let said: Vec<&str> = evidence["said"]
        .as_array()
        .unwrap()
        .iter()
        .map(|said| said["what"].as_str().unwrap())
        .collect();
    let of = |part: &str| said.iter().filter(|what| what.starts_with(part)).count();
    for (part, count) in [
        ("registration", 2),
        ("messaging", 4),
        ("retrieval", 4),
        ("task", 4),
    ] {
        assert_eq!(of(part), count, "{said:?}");
    }
    world
        .run(&["demo", "--block-time", "1ms"])
        .failed(64, "the shortest is 50ms");
    world
        .run(&["demo", "--node", "http://127.0.0.1:1"])
        .failed(64, "--wallet");
}
