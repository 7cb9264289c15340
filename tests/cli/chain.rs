//! `devnet` and `chain`, on real nodes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::{
    Address, ChainId, Dialect, Json, Number, Seed, SignedTransaction, SigningKey, Transaction,
};
use serde_json::Value;

use crate::world::World;

/// A node run by the binary; it is stopped when this is dropped.
struct Node {
    child: Child,
    url: String,
}

impl Node {
    fn start(world: &World, dir: &str, more: &[&str]) -> Self {
        let mut arguments = vec![
            "devnet",
            "--dir",
            dir,
            "--port",
            "0",
            "--block-time",
            "50ms",
            "--json",
        ];
        arguments.extend(more);
        let mut command = world.command(&arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let told: Value = serde_json::from_str(&line).expect("the node prints its url");
        crate::forms::check(&["devnet"], &told);
        Self {
            child,
            url: told["url"].as_str().unwrap().to_owned(),
        }
    }

    /// Asks the node to stop as a service manager does, and returns its exit code.
    fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let killed = std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap();
        assert!(killed.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Repeats until it returns a value, for a minute at most.
fn eventually<T>(what: &str, mut try_it: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = try_it() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signed(nonce: u64) -> (Address, SignedTransaction) {
    let seed = Seed::from_bytes([0x11; 32]);
    let key = SigningKey::from_seed(&seed);
    let from = Address::from_public_key(&key.public_key());
    let transaction = Transaction {
        dialect: Dialect::April2026,
        from: from.clone(),
        to: from.clone(),
        amount: Number::from(0_u64),
        fee: Number::from(10_u64),
        nonce: Number::from(nonce),
        payload: Json::string("ping \u{1b}[31m"),
        chain_id: "ait-devnet".parse::<ChainId>().unwrap(),
    };
    (from, transaction.sign(&key))
}

fn post(url: &str, body: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let node = agentry_chain::NodeClient::new(url, agentry_chain::NodeOptions::default()).unwrap();
    runtime.block_on(node.submit(body)).unwrap();
}

#[test]
fn a_node_is_queried() {
    let world = World::new();
    let (address, transaction) = signed(1);
    let fund = format!("{address}=1_000");
    let node = Node::start(&world, "node", &["--fund", &fund]);
    let chain = |arguments: &[&str]| {
        let mut all = vec!["chain"];
        all.extend(arguments);
        all.extend(["--node", &node.url]);
        world.run(&all)
    };
    let json = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.push("--json");
        chain(&all).json()
    };
    let account = json(&["account", address.as_str()]);
    assert_eq!(
        (&account["balance"], &account["exists"]),
        (&1000.into(), &true.into())
    );
    let genesis = json(&["block", "0"]);
    assert_eq!(
        (&genesis["height"], &genesis["parent_hash"]),
        (&0.into(), &Value::Null)
    );

    post(&node.url, &transaction.body());
    let hash = transaction.hash().to_string();
    let mined = eventually("the transaction's block", || {
        let run = chain(&["transaction", &hash, "--json"]);
        if run.code != 0 {
            return None;
        }
        Some(run.json()).filter(|found| found["height"].is_u64())
    });
    assert_eq!(mined["transaction"]["payload"], "ping \u{1b}[31m");
    assert_eq!(mined["transaction"]["fee"], 10);
    let height = mined["height"].to_string();
    let block = json(&["block", &height]);
    assert_eq!(block["transactions"][0]["hash"], hash.as_str());
    assert!(json(&["head"])["height"].as_u64() >= mined["height"].as_u64());
    assert_eq!(json(&["mempool"])["complete"], true);
    assert_eq!(json(&["account", address.as_str()])["balance"], 990);

    for arguments in [
        &["head"][..],
        &["block", &height],
        &["transaction", &hash],
        &["mempool"],
        &["account", address.as_str()],
    ] {
        let run = chain(arguments);
        assert!(
            run.good().out.chars().all(|c| c == '\n' || !c.is_control()),
            "{run:?}"
        );
    }
    chain(&["block", "999999999"]).failed(66, "its newest block is");
    let unknown = format!("0x{}", "0".repeat(64));
    chain(&["transaction", &unknown, "--blocks", "5"]).failed(66, "--blocks");
    assert_eq!(node.terminate(), Some(0));
}

#[test]
fn an_older_node_is_searched_and_a_chain_is_copied() {
    let world = World::new();
    let (address, transaction) = signed(2);
    let fund = format!("{address}=1000");
    let faults = ["--fund", &fund, "--fault", "no-transaction-endpoints"];
    let node = Node::start(&world, "old", &faults);
    post(&node.url, &transaction.body());
    let hash = transaction.hash().to_string();
    eventually("finding it by search", || {
        let run = world.run(&["chain", "transaction", &hash, "--node", &node.url, "--json"]);
        (run.code == 0 && run.json()["height"].is_u64()).then_some(())
    });
    // A follower of a leader that does not exist makes no blocks of its own.
    let copy = Node::start(&world, "copy", &["--follow", "http://127.0.0.1:9"]);
    let sync = [
        "chain",
        "sync",
        "--from",
        &node.url,
        "--to",
        &copy.url,
        "--chain-id",
        "ait-devnet",
    ];
    let report = world.json(&sync);
    assert!(report["transactions"].as_u64() >= Some(1), "{report}");
    let found = world.json(&["chain", "transaction", &hash, "--node", &copy.url]);
    assert_eq!(found["status"], "mined", "{found}");
}

/// A block that the node cannot serialize is always answered with 503.
#[test]
fn a_block_that_the_node_cannot_serve_hides_no_other() {
    let world = World::new();
    let node = Devnet::start(DevnetConfig {
        dir: world.path("node"),
        faults: ["no-transaction-endpoints", "unreadable-block=2"]
            .map(|fault| fault.parse().unwrap())
            .into_iter()
            .collect(),
        automatic: false,
        ..DevnetConfig::default()
    })
    .unwrap();
    let mut hashes = Vec::new();
    for nonce in 1..=3 {
        let (address, transaction) = signed(nonce);
        node.fund(&address, 1_000).unwrap();
        post(&node.url(), &transaction.body());
        assert_eq!(node.mine().unwrap().height.0, nonce);
        hashes.push(transaction.hash().to_string());
    }
    let (address, _) = signed(1);
    let base = format!("[chain]\nid = \"ait-devnet\"\nrpc = \"{}\"\n", node.url());
    world.private("agents.toml", &base);
    world.private("db.toml", &format!("{base}db = \"node/chain.db\"\n"));
    let skipped = "cannot serve 1 of the blocks whole: 2";

    for (hash, height) in [(&hashes[0], 1), (&hashes[2], 3)] {
        let found = world.json(&["chain", "transaction", hash]);
        assert_eq!(found["height"], height, "{found}");
    }
    let hidden = world.run(&["chain", "transaction", &hashes[1]]);
    hidden.failed(66, skipped);
    let found = world.json(&["-c", "db.toml", "chain", "transaction", &hashes[1]]);
    assert_eq!(found["height"], 2, "{found}");

    let heights = |listed: &Value| -> Vec<u64> {
        let messages = listed["messages"].as_array().unwrap();
        messages
            .iter()
            .map(|message| message["height"].as_u64().unwrap())
            .collect()
    };
    let talk = ["agent", "messages", "--agent", address.as_str(), "--json"];
    let listed = world.run(&talk);
    assert_eq!(heights(&listed.json()), [1, 3], "{listed:?}");
    assert!(listed.err.contains(skipped), "{listed:?}");
    let listed = world.run(&[&["-c", "db.toml"], &talk[..]].concat());
    assert_eq!(heights(&listed.json()), [1, 2, 3], "{listed:?}");
    assert!(!listed.err.contains("cannot serve"), "{listed:?}");

    // The block's header is available.
    let block = world.json(&["chain", "block", "2"]);
    assert_eq!(block["tx_count"], 1, "{block}");
    assert_eq!(block["transactions"], Value::Null, "{block}");
    let block = world.run(&["chain", "block", "2"]);
    assert!(block.good().out.contains("cannot show"), "{block:?}");

    let copy = Node::start(&world, "copy", &["--follow", "http://127.0.0.1:9"]);
    // The other node accepts no block that lacks transactions.
    let sync = ["chain", "sync", "--from", &node.url(), "--to", &copy.url];
    let copied = world.run(&sync);
    copied.failed(65, "cannot serve block 2");
    assert!(
        copied.err.contains("copy the chain's database instead"),
        "{copied:?}"
    );
    node.faults().clear("unreadable-block");
    assert_eq!(world.json(&sync)["through_height"], 3);
}

#[test]
fn a_demonstration_on_a_follower_without_transactions_says_why_it_fails() {
    let world = World::new();
    let mut leads = Vec::new();
    for name in ["a", "b"] {
        let made = world.wallet_json(&["create", name]);
        let address = made["address"].as_str().unwrap();
        leads.extend(["--fund".to_owned(), format!("{address}=10000")]);
    }
    let leads: Vec<&str> = leads.iter().map(String::as_str).collect();
    let leader = Node::start(&world, "leader", &leads);
    let bare = [
        "--follow",
        &leader.url,
        "--fault",
        "import-loses-transactions",
    ];
    let follower = Node::start(&world, "follower", &bare);
    world.private(
        "agents.toml",
        "[chain]\nid = \"ait-devnet\"\n[wallets]\nkeystore_dir = \"keys\"\n",
    );
    let demo = [
        "demo",
        "--node",
        &leader.url,
        "--node",
        &follower.url,
        "--wallet",
        "a",
        "--wallet",
        "b",
        "--password-file",
        "password",
        "--timeout",
        "10m",
    ];
    let run = world.run(&demo);
    assert_eq!(run.code, 69, "{run:#?}");
    assert!(
        run.err.contains(&format!("{} shows block ", follower.url)),
        "{run:#?}"
    );
    assert!(run.err.contains("without its transactions"), "{run:#?}");
    // The next run notices it at the first look.
    let again = world.run(&demo);
    assert_eq!(again.code, 69, "{again:#?}");
    assert!(!again.out.contains("is announced"), "{again:#?}");
}

#[test]
fn typing_errors_are_reported_before_any_request() {
    let world = World::new();
    let chain = |arguments: &[&str]| {
        world.run(&[&["chain", "--node", "http://127.0.0.1:9"][..], arguments].concat())
    };
    let typed = "ait1d04ab232742bb4ab3a1368bd4615e4e6d0224abx";
    chain(&["account", typed]).failed(64, "is not an address");
    chain(&["transaction", "0x12"]).failed(64, "64 hexadecimal digits");
    chain(&["block", "-1"]).failed(64, "-1");
    world
        .run(&["chain", "head", "--node", "127.0.0.1:8006"])
        .failed(64, "http://127.0.0.1:8006");
    let fund = format!("{typed}=5");
    world.run(&["devnet", "--fund", &fund]).failed(64, "ait1");
    world.run(&["devnet", "--fault", "rain"]).failed(64, "rain");
    world
        .run(&["devnet", "--block-time", "1ms"])
        .failed(64, "50ms");
    assert!(!world.path("devnet").exists());
    chain(&["head"]).failed(69, "is the node running?");
    chain(&["account", "nobody", "--keystore", "keys"]).failed(66, "no wallet");
}

#[test]
fn two_nodes_do_not_share_a_folder() {
    let world = World::new();
    let _node = Node::start(&world, "node", &[]);
    world
        .run(&["devnet", "--dir", "node", "--port", "0"])
        .failed(75, "in use");
}
