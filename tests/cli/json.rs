//! The `--json` output of every command, checked against the page that documents it. Other tests of
//! the command line also check their output: see `World::json`.

use std::collections::BTreeSet;

use agentry::cli::Cli;
use clap::{Command, CommandFactory};
use serde_json::Value;

use crate::forms::{check, fits, forms, section};
use crate::host::{Host, agent, eventually, pong};
use crate::world::World;
use agentry_testbed::coordinator::Coordinator;

/// The words of every command that has no subcommands.
fn leaves(command: &Command, words: &str, found: &mut BTreeSet<String>) {
    let words = format!("{words} {}", command.get_name()).trim().to_owned();
    let mut inner = command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
        .peekable();
    if inner.peek().is_none() {
        found.insert(words);
        return;
    }
    for one in inner {
        leaves(one, &words, found);
    }
}

#[test]
fn every_command_has_its_form_and_every_field_its_kind() {
    let mut commands = BTreeSet::new();
    leaves(&Cli::command(), "", &mut commands);
    // A shell's script is not JSON.
    commands.remove("agentry completions");
    // It writes pages.
    commands.remove("agentry man");
    // It speaks the protocol of its host.
    commands.remove("agentry mcp");
    // Its answers are JSON by themselves.
    commands.remove("agentry simulate");
    for command in &commands {
        assert!(
            forms().contains_key(command),
            "{command} is not in docs/json.md"
        );
    }
    for (heading, form) in forms() {
        for (name, holds) in &form.fields {
            let name = name.trim_end_matches('?');
            let is_time = holds.starts_with("time");
            assert_eq!(
                name.ends_with("_at"),
                is_time,
                "{heading}: {name} holds {holds}"
            );
            assert!(
                !name.ends_with("_ms") || holds == "integer",
                "{heading}: {name}"
            );
            let is_money = ["amount", "fee", "balance"].contains(&name);
            assert!(!is_money || holds.starts_with("AIT"), "{heading}: {name}");
        }
        // A form with fields does not accept null.
        if heading.starts_with("agentry ") && !form.fields.is_empty() {
            assert!(fits(heading, &Value::Null).is_err(), "{heading}");
        }
    }
}

#[test]
fn every_command_prints_the_documented_form() {
    let world = World::new();
    let cat = "{ kind = \"tasks\", allow = [\"asker\"], types = { cat = { executor = \"command\", \
               program = \"cat\" }, slow = { executor = \"command\", program = \"sleep\", args = \
               [\"600\"] }, asks = { executor = \"command\", program = \"sh\", args = [\"-c\", \
               '''grep -q answers || { echo 'ask {\"question\":\"?\"}' >&2; exec sleep 600; }'''] } } }, { kind = \"ack\" }, { kind = \"pong\" }";
    let coordinator = Coordinator::start();
    let tables = [
        coordinator.table("read_every = \"1s\""),
        agent("asker", "asker", &pong("ping", "pong")),
        agent("worker", "worker", cat),
        agent(
            "careful",
            "careful",
            "{ kind = \"pong\", approve = [\"reply\", \"start_task\"] }",
        ),
    ];
    let host = Host::start(&world, &tables);
    let mut seen: BTreeSet<&str> = [
        "agentry run",
        "agentry demo",
        "agentry devnet",
        "agentry bench",
        // With a database: `cluster` and `moving`.
        "agentry cluster init",
        "agentry cluster status",
        "agentry cluster drain",
        "agentry cluster resume",
        "agentry cluster import",
        "agentry cluster export",
        "agentry worker",
    ]
    .into();
    // Each output is checked against the page when the command runs.
    let mut ask = |arguments: &[&str]| {
        seen.insert(section(arguments).unwrap());
        host.json(arguments)
    };
    let to = [
        "agent", "message", "--wallet", "asker", "--to", "worker", "ping",
    ];
    ask(&to);
    ask(&["agent", "register", "--agent", "worker", "--wait"]);
    ask(&[
        &to[..],
        &["--ack", "done", "--thread", "t", "--wait=answer"],
    ]
    .concat());
    let job = [
        "task", "submit", "--wallet", "asker", "--to", "worker", "--type",
    ];
    let sent = ask(&[&job[..], &["cat", "--prompt", "hi", "--deadline", "1h"]].concat());
    let id = sent["id"].as_str().unwrap().to_owned();
    ask(&["task", "wait", &id]);
    ask(&["task", "show", &id]);
    let done = ask(&["task", "list", "--executing"]);
    let task = done["tasks"][0]["id"].as_str().unwrap().to_owned();
    ask(&["task", "show", &task]);
    ask(&["task", "list"]);
    let slow = ask(&[&job[..], &["slow"]].concat());
    ask(&["task", "cancel", slow["id"].as_str().unwrap()]);
    let asks = ask(&[&job[..], &["asks"]].concat());
    let asked = asks["id"].as_str().unwrap();
    eventually("its question", || {
        host.json(&["task", "show", asked])["state"] == "input-required"
    });
    ask(&["task", "answer", asked, "yes"]);
    ask(&["task", "fetch", &id]);
    ask(&["agent", "list"]);
    ask(&["agent", "show", "worker"]);
    let said = ask(&["agent", "messages", "--agent", "asker", "--sent"]);
    ask(&["queue", "list", "--settled", "--agent", "asker"]);
    for row in ["inbox/1", "outbox/1"] {
        ask(&["queue", "show", row]);
    }
    for _ in 0..2 {
        host.json(&[
            "agent", "message", "--wallet", "asker", "--to", "careful", "ping",
        ]);
    }
    eventually("two answers that wait", || {
        host.json(&["approvals", "list"])["waiting"] == 2
    });
    let held = ask(&["approvals", "list", "--agent", "careful"]);
    let held = [0, 1].map(|at| held["approvals"][at]["id"].as_str().unwrap().to_owned());
    ask(&["approvals", "show", &held[0]]);
    ask(&["approvals", "grant", &held[0]]);
    ask(&["approvals", "deny", &held[1], "--reason", "no"]);
    let limits = ["--agent", "asker", "--to", "worker", "--daily-budget", "5"];
    ask(&[
        &["token", "create", "reader", "--valid-for", "1d"],
        &limits[..],
    ]
    .concat());
    ask(&["token", "list"]);
    ask(&["token", "revoke", "reader"]);
    ask(&["queue", "stats"]);
    ask(&["queue", "retry", "--all"]);
    ask(&["queue", "drop", "--all"]);
    ask(&["queue", "resume"]);
    ask(&["chain", "head"]);
    ask(&["chain", "block", "1"]);
    ask(&["chain", "mempool"]);
    ask(&["chain", "account", "asker"]);
    ask(&[
        "chain",
        "transaction",
        said["messages"][0]["transaction"].as_str().unwrap(),
    ]);
    let node = host.node.clone();
    ask(&["chain", "sync", "--from", &node, "--to", &node]);
    ask(&["config", "check"]);
    ask(&["config", "show"]);
    ask(&["doctor"]);
    eventually("the agents are announced", || {
        host.json(&["coordinator", "status"])["registered"] == 3
    });
    let announced = ask(&["coordinator", "status"]);
    let asker = announced["agents"][0]["address"].as_str().unwrap();
    coordinator.send(asker, "anybody", "a\u{1b}[2Jb", "msg_1");
    eventually("its message is found", || {
        let inbox = host.json(&["coordinator", "inbox", "--agent", "asker"]);
        !inbox["messages"].as_array().unwrap().is_empty()
    });
    ask(&["coordinator", "inbox", "--limit", "1"]);
    ask(&["agent", "withdraw", "--agent", "worker", "--wait"]);
    let reloaded = host.reload(&tables).json();
    check(&["reload"], &reloaded);
    seen.insert("agentry reload");
    // One object per line.
    let replayed = host.run(&["replay", "--from", "0", "--agent", "worker", "--json"]);
    let mut lines: Vec<Value> = replayed
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    check(&["replay"], &lines.pop().unwrap());
    assert!(!lines.is_empty());
    for line in &lines {
        fits("replayed event", line).unwrap_or_else(|wrong| panic!("{wrong}: {line:#}"));
    }
    seen.insert("agentry replay");
    for message in said["messages"].as_array().unwrap() {
        check(&["agent", "messages", "--follow"], message);
    }
    seen.insert("agentry agent messages --follow");
    let history = host.json(&["agent", "history", "worker"]);
    seen.insert("agentry agent history");
    for entry in history["history"].as_array().unwrap() {
        check(&["agent", "history", "--follow"], entry);
    }
    seen.insert("agentry agent history --follow");
    host.json(&["ui", "--print"]);
    seen.insert("agentry ui");
    let node = format!("chain.rpc={}", host.node);
    let chat = [
        "agent", "chat", "worker", "--wallet", "asker", "--json", "--set", &node,
    ];
    let chat = world.run_with_input(&chat, b"ping").json();
    assert_eq!(chat["answer"], "pong");
    check(&["agent", "chat"], &chat);
    seen.insert("agentry agent chat");
    // Without a runtime.
    let stored = r#"{"amount":1,"chain_id":"c","fee":1,"from":"a","nonce":1,"payload":"x","signature":null,"to":"b"}"#;
    world.private("transaction.json", stored);
    let mut alone = |arguments: &[&str]| {
        seen.insert(section(arguments).unwrap());
        match arguments[0] {
            "wallet" => world.wallet_json(&arguments[1..]),
            _ => world.json(arguments),
        }
    };
    alone(&["tx", "inspect", "transaction.json"]);
    alone(&["new", "--python", "greeter"]);
    let keys = ["--keystore", "other"];
    let wallet = |words: &[&'static str]| [&["wallet"], words, &keys[..]].concat();
    alone(&wallet(&["create", "a"]));
    alone(&wallet(&["create", "b", "--count", "2"]));
    alone(&wallet(&["rename", "a", "c"]));
    alone(&wallet(&["show", "c"]));
    alone(&wallet(&["list"]));
    alone(&wallet(&["export", "c", "--output", "c.json"]));
    alone(&wallet(&["import", "d", "c.json"]));
    alone(&wallet(&["pack", "vault"]));
    alone(&wallet(&["delete", "d", "--yes"]));
    // The tests of `dev` check each line of it.
    seen.insert("agentry dev");
    let all: BTreeSet<&str> = forms()
        .keys()
        .map(String::as_str)
        .filter(|heading| heading.starts_with("agentry "))
        .collect();
    assert_eq!(seen, all);
}
