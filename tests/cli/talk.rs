//! `agent message` and `agent messages`: sending, the stages that follow, and the stages that are
//! not reached.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use agentry::wallet::WalletStore;
use agentry_chain::{NodeClient, NodeOptions};
use agentry_protocol::{
    DecryptionKey, Dialect, Header, Number, Password, Payload, Seed, SigningKey, Transaction,
    message,
};
use serde_json::Value;

use crate::world::{Run, World};

/// How long a test waits for an expected event.
const LONG: Duration = Duration::from_secs(60);

/// An agent that acknowledges and answers, and one without behaviours, on an embedded node.
const BOTH: &str = r#"
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
name = "pinger"
wallet = "one"
behaviours = []
[[agent]]
name = "ponger"
wallet = "two"
behaviours = [{ kind = "ack" }, { kind = "pong" }]
"#;

/// A runtime that is stopped when this is dropped.
struct Host {
    child: Child,
    /// Kept open, so that the runtime can continue to print.
    _stdout: BufReader<ChildStdout>,
    node: String,
}

impl Host {
    fn start(world: &World, config: &str) -> Self {
        let mut child = world
            .command(&["-c", config, "run", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).expect("the runtime reports its start");
        let node = told["node"].as_str().unwrap().to_owned();
        Self {
            child,
            _stdout: stdout,
            node,
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A world in which both agents are hosted.
fn both() -> (World, Host) {
    let world = World::new();
    world.private("agents.toml", BOTH);
    let host = Host::start(&world, "agents.toml");
    (world, host)
}

impl World {
    /// `agent message` from the pinger's wallet, with these further arguments.
    fn say(&self, arguments: &[&str]) -> Run {
        let mut all = vec!["agent", "message", "--wallet", "one"];
        all.extend(arguments);
        self.run(&all)
    }

    fn say_json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        self.say(&all).json()
    }

    /// The list of `agent messages`, with these further arguments.
    fn talk(&self, arguments: &[&str]) -> Vec<Value> {
        let mut all = vec!["agent", "messages", "--json"];
        all.extend(arguments);
        let listed = self.run(&all).json();
        listed["messages"].as_array().unwrap().clone()
    }

    /// Lists messages until the list is as expected.
    fn talk_until(&self, arguments: &[&str], fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + LONG;
        loop {
            let lines = self.talk(arguments);
            if fits(&lines) {
                return lines;
            }
            assert!(Instant::now() < deadline, "timed out: {lines:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn address(&self, wallet: &str) -> String {
        self.unlocked(wallet).0
    }

    /// The address of a wallet of the embedded node, and the key to seal messages to it with.
    fn unlocked(&self, wallet: &str) -> (String, String) {
        let password = std::fs::read_to_string(self.path("keys/.password")).unwrap();
        let password = Password::new(password.trim_end().to_owned());
        let store = WalletStore::new(Some(self.path("keys")), None);
        let unlocked = store.find(wallet).unwrap().unlock(&password).unwrap();
        let key = DecryptionKey::from_seed(&unlocked.seed).encryption_key();
        (unlocked.address.to_string(), key.to_string())
    }
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|one| one.as_str().unwrap()).collect()
}

fn stages(told: &Value) -> Vec<&str> {
    let stages = told["stages"].as_array().unwrap().iter();
    stages
        .map(|stage| stage["stage"].as_str().unwrap())
        .collect()
}

/// Checks the exit code, and returns the printed report.
fn report(run: &Run, code: i32) -> Value {
    assert_eq!(run.code, code, "{run:#?}");
    assert_eq!(run.out.lines().count(), 1, "{run:#?}");
    serde_json::from_str(&run.out).unwrap()
}

#[test]
fn an_acknowledgment_is_awaited_stage_by_stage() {
    let (world, _host) = both();
    let told = world.say_json(&[
        "--to",
        "ponger",
        "ping",
        "--thread",
        "t1",
        "--ack",
        "done",
        "--wait=answer",
    ]);
    assert_eq!(told["complete"], true, "{told:#}");
    assert_eq!(
        names(&told["came"]),
        ["sent", "accepted", "mined", "received", "done", "answered"]
    );
    assert_eq!(names(&told["missing"]), Vec::<&str>::new());
    assert_eq!(told["receipt"]["state"], "done");
    assert_eq!(told["receipt"]["wanted"], "done");
    assert_eq!(told["answer"]["text"], "pong");
    assert_eq!(told["answer"]["authenticity"], "verified");
    assert_eq!(told["answer"]["sealed"], false);
    let stages = told["stages"].as_array().unwrap();
    for stage in stages {
        assert!(stage["after_ms"].is_u64(), "{stage}");
        let by = match stage["stage"].as_str().unwrap() {
            "sent" => "runtime",
            "accepted" => "node",
            "mined" => "chain",
            _ => "recipient",
        };
        assert_eq!(stage["by"], by, "{stage}");
        assert!(stage["transaction"].as_str().unwrap().starts_with("0x"));
    }
    let of = |name: &str| stages.iter().find(|one| one["stage"] == name).unwrap();
    assert_eq!(of("mined")["height"], told["height"]);
    assert!(of("received")["height"].as_u64() > told["height"].as_u64());

    // For people: one line per stage.
    let shown = world.say(&["--to", "ponger", "ping", "--ack", "received", "--wait"]);
    shown.good();
    let words: Vec<&str> = shown
        .out
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(words.get(..3).unwrap(), ["sent", "accepted", "mined"]);
    // The answer and the acknowledgment arrive in any order.
    assert!(words.contains(&"received"), "{shown:#?}");

    // The conversation is in the chain's order, and in no other thread.
    let lines = world.talk_until(&["--agent", "pinger", "--thread", "t1"], |lines| {
        lines.len() == 4
    });
    assert_eq!(lines[0]["direction"], "sent");
    assert_eq!(lines[0]["message_id"], told["message_id"]);
    assert_eq!(lines[0]["ack"], "done");
    assert_eq!(lines[0]["receipt"]["state"], "done");
    assert_eq!(lines[0]["text"], "ping");
    let heights: Vec<u64> = lines
        .iter()
        .map(|l| l["height"].as_u64().unwrap())
        .collect();
    assert!(heights.is_sorted(), "{heights:?}");
    for answer in &lines[1..] {
        assert_eq!(answer["direction"], "received");
        assert_eq!(answer["re"], told["transaction"]);
        assert_eq!(answer["thread"], "t1");
    }
    let sent = world.talk(&["--agent", "ponger", "--thread", "t1", "--sent"]);
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|one| one["direction"] == "sent"));
    let heard = world.talk(&["--agent", "ponger", "--received", "--from", "pinger"]);
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[0]["authenticity"], "verified");
    assert_eq!(heard[0]["state"], "handled");
    assert_eq!(world.talk(&["--agent", "ponger", "--limit", "1"]).len(), 1);
    assert!(world.talk(&["--agent", "ponger", "--forged"]).is_empty());
    assert_eq!(
        (&lines[0]["from_name"], &lines[0]["to_name"]),
        (&"pinger".into(), &"ponger".into())
    );
    assert!(
        lines
            .iter()
            .all(|line| line["seen_at"].as_u64() > Some(1_700_000_000_000))
    );
    assert_eq!(lines[0]["amount"], 0);
    let newest = world.run(&[
        "agent", "messages", "--agent", "pinger", "--limit", "1", "--json",
    ]);
    assert_eq!(newest.json()["more"], true);
    let shown = world.run(&["agent", "messages", "--agent", "pinger", "--thread", "t1"]);
    let text = &shown.good().out;
    // Time, direction, and the name of the other side.
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("20") && first.contains("Z  "), "{text}");
    assert!(first.contains("to   ponger  ping"), "{text}");
    assert!(
        text.contains("asks for done") && text.contains("receipt done"),
        "{text}"
    );
}

#[test]
fn missing_stages_are_reported() {
    let (world, _host) = both();
    // No runtime hosts this address.
    let nobody = format!("ait1{}", "0".repeat(40));
    let run = world.say(&[
        "--to",
        &nobody,
        "hello",
        "--ack",
        "done",
        "--within",
        "100ms",
        "--resends",
        "1",
        "--wait",
        "--json",
    ]);
    let told = report(&run, 75);
    assert!(run.err.contains("sent 2 times"), "{run:#?}");
    assert_eq!(told["complete"], false);
    assert_eq!(told["receipt"]["state"], "unacknowledged");
    assert_eq!(told["resends"], 1);
    assert_eq!(names(&told["missing"]), ["received", "done"]);
    assert!(stages(&told).contains(&"resent"), "{told:#}");
    assert!(stages(&told).contains(&"unacknowledged"), "{told:#}");
    let sent = world.talk(&["--agent", "pinger", "--sent"]);
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1]["resend_of"], sent[0]["id"]);
    assert_eq!(sent[1]["message_id"], sent[0]["message_id"]);

    // The time limit comes first; the runtime continues.
    let run = world.say(&[
        "--to",
        &nobody,
        "hello",
        "--wait",
        "--timeout",
        "5s",
        "--json",
    ]);
    let told = report(&run, 75);
    assert!(run.err.contains("not reached: answered"), "{run:#?}");
    assert!(run.err.contains("queue show outbox/3"), "{run:#?}");
    assert!(run.err.contains("the runtime continues"), "{run:#?}");
    assert_eq!(names(&told["came"]), ["sent", "accepted", "mined"]);
    assert_eq!(told["answer"], Value::Null);
    let mined = world.say_json(&["--to", &nobody, "hello", "--wait=mined"]);
    assert_eq!(mined["complete"], true);
}

#[test]
fn an_expired_or_refused_message_ends_the_wait() {
    let (world, _host) = both();
    let run = world.say(&[
        "--to",
        "ponger",
        "ping",
        "--expires",
        "1ms",
        "--ack",
        "done",
        "--wait",
        "--json",
    ]);
    let told = report(&run, 75);
    assert_eq!(told["receipt"]["state"], "expired", "{told:#}");
    assert!(names(&told["missing"]).contains(&"done"));
    let run = world.say(&[
        "--to",
        "ponger",
        "nobody takes this",
        "--ack",
        "done",
        "--wait",
        "--json",
    ]);
    let told = report(&run, 65);
    assert!(run.err.contains("refused it"), "{run:#?}");
    assert_eq!(told["receipt"]["state"], "rejected");
    assert!(stages(&told).contains(&"rejected"));
}

#[test]
fn a_message_that_no_behaviour_takes_has_a_note() {
    let (world, _host) = both();
    let sent = world.say_json(&["--to", "ponger", "nobody takes this", "--wait=mined"]);
    let handled = |lines: &[Value]| lines.iter().any(|one| one["state"] == "handled");
    let lines = world.talk_until(&["--agent", "ponger", "--received"], handled);
    assert_eq!(lines[0]["transaction"], sent["transaction"]);
    assert_eq!(lines[0]["reason"], "no behaviour takes it");
    let id = lines[0]["id"].as_str().unwrap();
    let shown = world.run(&["queue", "show", id]);
    assert!(
        shown.good().out.contains("no behaviour takes it"),
        "{shown:#?}"
    );
}

#[test]
fn a_message_over_the_budget_is_reported_at_once() {
    let world = World::new();
    let poor = "behaviours = []\ndaily_budget = 100";
    world.private("agents.toml", &BOTH.replace("behaviours = []", poor));
    let _host = Host::start(&world, "agents.toml");
    let began = Instant::now();
    let dear = ["--to", "ponger", "ping", "--amount", "200"];
    world.say(&dear).failed(
        75,
        "queued as outbox/1, and not signed yet: it waits for a larger budget",
    );
    let waited = world.say(&[&dear[..], &["--wait", "--timeout", "2s"]].concat());
    assert_eq!(waited.code, 75, "{waited:#?}");
    assert!(
        waited
            .out
            .contains("queued    it waits for a larger budget"),
        "{waited:#?}"
    );
    assert!(began.elapsed() < LONG, "it waited for the time limit");
}

#[test]
fn names_are_resolved_if_they_are_unambiguous() {
    let (world, _host) = both();
    world
        .say(&["--to", "pongerr", "ping"])
        .failed(66, "pongerr");
    for agent in ["pinger", "ponger"] {
        let name = format!("{agent}-of-the-directory");
        world
            .run(&[
                "agent", "register", "--agent", agent, "--name", &name, "--wait",
            ])
            .good();
    }
    let told = world.say_json(&["--to", "ponger-of-the-directory", "ping", "--wait"]);
    assert_eq!(told["answer"]["text"], "pong");
    assert_eq!(told["to"], world.address("two"));
    for agent in ["pinger", "ponger"] {
        world
            .run(&[
                "agent", "register", "--agent", agent, "--name", "twin", "--wait",
            ])
            .good();
    }
    let run = world.say(&["--to", "twin", "ping"]);
    assert_eq!(run.code, 65, "{run:#?}");
    for wallet in ["one", "two"] {
        assert!(run.err.contains(&world.address(wallet)), "{run:#?}");
    }
}

#[test]
fn a_sealed_ping_is_answered_sealed_and_opened() {
    let (world, host) = both();
    let sealed = ["--to", "ponger", "ping", "--seal", "--wait", "--json"];
    let run = world.say(&sealed);
    run.failed(75, "--recipient-key");
    for agent in ["pinger", "ponger"] {
        world
            .run(&["agent", "register", "--agent", agent, "--wait"])
            .good();
    }
    let told = world.say(&sealed).json();
    assert_eq!(told["answer"]["text"], "pong", "{told:#}");
    assert_eq!(told["answer"]["sealed"], true);
    // The runtime opens what was received; only the recipient can open what was sent.
    let lines = world.talk(&["--agent", "pinger"]);
    let ping = lines
        .iter()
        .find(|one| one["transaction"] == told["transaction"])
        .unwrap();
    assert_eq!(
        (&ping["sealed"], &ping["text"]),
        (&true.into(), &Value::Null)
    );
    let re = |one: &&Value| one["re"] == told["transaction"];
    let pong = lines.iter().find(re).unwrap();
    assert_eq!(
        (&pong["sealed"], &pong["text"]),
        (&true.into(), &"pong".into())
    );
    let shown = world.run(&["agent", "messages", "--agent", "pinger"]);
    assert!(shown.good().out.contains("(sealed)"), "{shown:#?}");
    drop(host);
    // Without a runtime it stays sealed.
    let lines = world.talk(&["--agent", "pinger", "--received"]);
    let pong = lines.iter().find(re).unwrap();
    assert_eq!(pong["text"], Value::Null);
    assert!(pong["closed"].as_str().unwrap().contains("no runtime"));
}

#[test]
fn a_wallet_that_no_runtime_hosts_sends_directly() {
    let (world, host) = both();
    // With another store: no runtime hosts the wallet there.
    let other = BOTH.replace("agentry.db", "other.db").replace(
        "id = \"ait-devnet\"",
        &format!("id = \"ait-devnet\"\nrpc = \"{}\"", host.node),
    );
    let (devnet, wallets) = (
        other.find("[devnet]").unwrap(),
        other.find("[wallets]").unwrap(),
    );
    let other = format!("{}{}", &other[..devnet], &other[wallets..]);
    let (address, key) = world.unlocked("two");
    let contact =
        format!("[[contact]]\nname = \"friend\"\naddress = \"{address}\"\nenc_key = \"{key}\"\n");
    world.private("other.toml", &format!("{other}{contact}"));
    for agent in ["pinger", "ponger"] {
        world
            .run(&["agent", "register", "--agent", agent, "--wait"])
            .good();
    }
    let own = ["-c", "other.toml", "--to", "friend"];
    let with = |more: &[&'static str]| {
        let mut all = own.to_vec();
        all.extend(more);
        all
    };
    world
        .say(&with(&["ping", "--ack", "done"]))
        .failed(69, "needs a running runtime");
    let told = world.say_json(&with(&[
        "ping",
        "--thread",
        "t2",
        "--expires",
        "10m",
        "--wait",
    ]));
    assert_eq!(told["outbox"], Value::Null);
    assert_eq!(told["answer"]["text"], "pong");
    assert_eq!(told["answer"]["authenticity"], "verified");
    assert_eq!(
        names(&told["came"]),
        ["sent", "accepted", "mined", "answered"]
    );
    let told = world.say_json(&with(&["ping", "--seal", "--wait"]));
    assert_eq!(told["answer"]["text"], "pong", "{told:#}");
    assert_eq!(told["answer"]["sealed"], true);
    // The same conversation, read from the chain.
    let lines = world.talk(&["-c", "other.toml", "--agent", "pinger", "--thread", "t2"]);
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["direction"], &lines[0]["text"]),
        (&"sent".into(), &"ping".into())
    );
    assert_eq!(
        (&lines[1]["direction"], &lines[1]["text"]),
        (&"received".into(), &"pong".into())
    );
    assert_eq!(lines[1]["authenticity"], "verified");
    assert_eq!(lines[1]["state"], Value::Null);
}

#[test]
fn a_message_is_sent_again_until_its_recipient_is_there_and_acts_once() {
    // Both wallets are created and funded.
    let (world, host) = both();
    drop(host);
    let ponger = BOTH.rfind("[[agent]]").unwrap();
    world.private("agents.toml", &BOTH[..ponger]);
    let host = Host::start(&world, "agents.toml");
    let devnet = BOTH.find("[devnet]").unwrap();
    let wallets = BOTH.find("[wallets]").unwrap();
    let receiver = format!("{}{}", &BOTH[..devnet], &BOTH[wallets..])
        .replace("agentry.db", "receiver.db")
        .replace(
            "id = \"ait-devnet\"",
            &format!("id = \"ait-devnet\"\nrpc = \"{}\"\nstart = 0", host.node),
        );
    let pinger = receiver.find("[[agent]]").unwrap();
    let ponger = receiver.rfind("[[agent]]").unwrap();
    let receiver = format!("{}{}", &receiver[..pinger], &receiver[ponger..]);
    world.private("receiver.toml", &receiver);
    let address = world.address("two");
    let waiting = world
        .command(&[
            "agent",
            "message",
            "--wallet",
            "one",
            "--to",
            &address,
            "ping",
            "--ack",
            "done",
            "--within",
            "200ms",
            "--resends",
            "200",
            "--wait=answer",
            "--json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let resent = |lines: &[Value]| lines.iter().any(|one| one["resend_of"].is_string());
    world.talk_until(&["--agent", "pinger", "--sent"], resent);
    let _receiver = Host::start(&world, "receiver.toml");
    let told = Run::of(waiting.wait_with_output().unwrap()).json();
    assert_eq!(told["receipt"]["state"], "done", "{told:#}");
    assert_eq!(told["answer"]["text"], "pong");
    assert!(told["resends"].as_u64() >= Some(1), "{told:#}");
    let pongs = |lines: &[Value]| lines.iter().filter(|one| one["text"] == "pong").count();
    let lines = world.talk(&["-c", "receiver.toml", "--agent", "ponger", "--sent"]);
    assert_eq!(pongs(&lines), 1, "{lines:#?}");
    let heard = world.talk(&["-c", "receiver.toml", "--agent", "ponger", "--received"]);
    assert_eq!(
        heard.len(),
        1,
        "one message, in however many transactions: {heard:#?}"
    );
}

#[test]
fn new_messages_are_followed_and_escaped() {
    let (world, _host) = both();
    let mut follower = world
        .command(&["agent", "messages", "--agent", "ponger", "--follow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    world
        .say(&["--to", "ponger", "ping\u{1b}[31m\u{202e}", "--wait=mined"])
        .good();
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("ping\\u{1b}[31m\\u{202e}"), "{line}");
    let notes = lines.next().unwrap().unwrap();
    assert!(notes.contains("verified"), "{notes}");
    world.say(&["--to", "ponger", "ping", "--wait"]).good();
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("from") && line.ends_with("ping"), "{line}");
    lines.next().unwrap().unwrap();
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("to") && line.ends_with("pong"), "{line}");
    drop(follower.kill());
    drop(follower.wait());
}

#[test]
fn forged_messages_are_kept_apart() {
    let (world, host) = both();
    let (one, two) = (world.address("one"), world.address("two"));
    // In the name of the pinger, signed by somebody else.
    let forger = SigningKey::from_seed(&Seed::from_bytes([9; 32]));
    let header = Header {
        key: Some(forger.public_key()),
        ..Header::default()
    };
    let transaction = Transaction {
        dialect: Dialect::April2026,
        from: one.parse().unwrap(),
        to: two.parse().unwrap(),
        amount: Number::from(0_u64),
        fee: Number::from(10_u64),
        nonce: Number::from(1_u64),
        payload: message::compose(&Payload::Text("ping".to_owned()), Some(&header)).unwrap(),
        chain_id: "ait-devnet".parse().unwrap(),
    };
    // A node that receives no key verifies no signature.
    let body = transaction.sign(&forger).body();
    let mut body: Value = serde_json::from_str(&body).unwrap();
    body.as_object_mut().unwrap().remove("public_key").unwrap();
    let body = body.to_string();
    let posting = async {
        let node = NodeClient::new(&host.node, NodeOptions::default()).unwrap();
        node.submit(&body).await.unwrap()
    };
    tokio::runtime::Runtime::new().unwrap().block_on(posting);
    let forged = world.talk_until(&["--agent", "ponger", "--forged"], |lines| {
        !lines.is_empty()
    });
    assert_eq!(forged.len(), 1);
    assert_eq!(forged[0]["authenticity"], "forged");
    assert_eq!(
        (&forged[0]["from"], &forged[0]["text"]),
        (&one.into(), &"ping".into())
    );
    assert!(world.talk(&["--agent", "ponger"]).is_empty());
    assert!(world.talk(&["--agent", "pinger"]).is_empty());
    // It is also kept apart when only the chain is read.
    let other = BOTH.replace("agentry.db", "other.db").replace(
        "id = \"ait-devnet\"",
        &format!("id = \"ait-devnet\"\nrpc = \"{}\"", host.node),
    );
    world.private("other.toml", &other);
    let other = ["-c", "other.toml", "--agent", "ponger"];
    assert!(world.talk(&other).is_empty());
    let forged = world.talk(&[&other[..], &["--forged"]].concat());
    assert_eq!(forged.len(), 1);
    assert_eq!(forged[0]["authenticity"], "forged");
}

#[test]
fn a_chat_sends_each_line_and_prints_its_answer() {
    let world = World::new();
    world.private("agents.toml", BOTH);
    let _host = Host::start(&world, "agents.toml");
    let lines = world.run_with_input(&["agent", "chat", "ponger"], b"ping\n\n  ping \n");
    assert_eq!((lines.code, lines.err.as_str()), (0, ""), "{}", lines.out);
    assert_eq!(lines.out, "ponger: pong\nponger: pong\n");
    // Both are in one conversation, and what an answer says is printed whole.
    let chat = [
        "agent", "chat", "ponger", "--wallet", "one", "--thread", "t", "--json",
    ];
    let lines = world.run_with_input(&chat, b"ping");
    let told: Value = serde_json::from_str(&lines.out).unwrap();
    assert_eq!(
        (
            &told["said"],
            &told["thread"],
            &told["answer"],
            &told["authenticity"]
        ),
        (
            &"ping".into(),
            &"t".into(),
            &"pong".into(),
            &"verified".into()
        )
    );
    let said = world.talk(&["--agent", "ponger"]);
    let threads: Vec<_> = said
        .iter()
        .map(|message| message["thread"].as_str().unwrap())
        .collect();
    // Two messages and their answers, and one more.
    assert_eq!(threads.len(), 6);
    assert!(threads[0].starts_with("chat-") && threads[..4].iter().all(|one| *one == threads[0]));
    assert_eq!(threads[4..], ["t", "t"]);
    // A text that nobody answers.
    let silent = ["agent", "chat", "ponger", "--timeout", "1s"];
    world
        .run_with_input(&silent, b"hello")
        .failed(75, "no answer within 1s");
    // Nobody is left who could talk.
    let lonely = BOTH.replace("name = \"pinger\"", "name = \"extra\"");
    let lonely = format!("{lonely}[[agent]]\nname = \"third\"\nwallet = \"three\"\n");
    world.private("more.toml", &lonely);
    world
        .run(&["-c", "more.toml", "agent", "chat", "ponger"])
        .failed(64, "--wallet: agents.toml has extra, third");
}

#[test]
fn invalid_arguments_are_refused_before_anything_is_sent() {
    let world = World::new();
    world.private("agents.toml", BOTH);
    let to = ["--to", "ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7"];
    let with = |more: &[&'static str]| {
        let mut all = to.to_vec();
        all.extend(more);
        all
    };
    let refused = [
        (with(&["ping", "--command"]), "is not a command"),
        (with(&[r#"{"cmd":"ACK"}"#, "--command"]), "status"),
        (with(&["ping", "--within", "5s"]), "--ack"),
        (with(&["ping", "--recipient-key", "00"]), "--recipient-key"),
        (with(&["ping", "--thread", "two words\n"]), "--thread"),
        (with(&["ping", "--ack", "soon"]), "received"),
    ];
    for (arguments, part) in refused {
        world.say(&arguments).failed(64, part);
    }
    world
        .run(&["agent", "messages", "--agent", "x", "--sent", "--forged"])
        .failed(64, "cannot be used with");
}
