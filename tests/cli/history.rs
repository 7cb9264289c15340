//! `agent history`: what an agent did, as one list.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::host::{Host, agent, eventually, pong};
use crate::world::World;

/// How long a test waits for an expected line.
const LONG: Duration = Duration::from_secs(120);

/// An agent that asks, and one that answers, acknowledges and runs tasks.
fn tables() -> [String; 2] {
    let types = "echo = { executor = \"command\", program = \"cat\" }, \
                 bad = { executor = \"command\", program = \"false\", attempts = 1 }";
    let worker = format!(
        "{}, {{ kind = \"ack\" }}, {{ kind = \"tasks\", allow = [\"asker\"], types = {{ {types} }} }}",
        pong("ping", "pong")
    );
    [
        agent("asker", "asker", &pong("hello", "hi")),
        agent("worker", "worker", &worker),
    ]
}

/// The events of a history, each with its row.
fn events(page: &Value) -> Vec<(String, String)> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
    let entries = page["history"].as_array().unwrap().iter();
    entries
        .map(|entry| (text(entry, "event"), text(entry, "id")))
        .collect()
}

fn has(page: &Value, event: &str) -> bool {
    events(page).iter().any(|(found, _)| found == event)
}

#[test]
fn a_history_tells_what_an_agent_did_with_and_without_a_runtime() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let sent = [
        "agent",
        "message",
        "--wallet",
        "asker",
        "--to",
        "worker",
        "ping",
        "--ack",
        "done",
        "--wait=outcome",
    ];
    host.run(&sent).good();
    for kind in ["echo", "bad"] {
        let job = [
            "task", "submit", "--wallet", "asker", "--to", "worker", "--type", kind, "--prompt",
            "hello", "--wait",
        ];
        host.run(&job);
    }
    let of = |who: &str| host.json(&["agent", "history", who]);
    eventually("everything has happened", || {
        has(&of("worker"), "task-failed") && has(&of("asker"), "done")
    });
    let worker = of("worker");
    for event in ["arrived", "handled", "requested", "posted", "mined"] {
        assert!(has(&worker, event), "{event}: {worker:#}");
    }
    for event in ["task-accepted", "task-completed"] {
        assert!(has(&worker, event), "{event}: {worker:#}");
    }
    let entries = worker["history"].as_array().unwrap();
    let times: Vec<u64> = entries
        .iter()
        .map(|e| e["happened_at"].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted(), "{worker:#}");
    // The answer follows from the message.
    let ping = entries
        .iter()
        .find(|entry| entry["event"] == "arrived" && entry["text"] == "ping")
        .unwrap();
    let answer = entries
        .iter()
        .find(|entry| entry["event"] == "requested" && entry["text"] == "pong")
        .unwrap();
    assert_eq!(answer["follows"], ping["id"], "{worker:#}");
    assert_eq!(answer["other_name"], "asker");

    // Page by page, it is the same.
    let all = events(&worker);
    let mut paged = Vec::new();
    let mut before: Option<String> = None;
    loop {
        let mut call = vec!["agent", "history", "worker", "--limit", "4"];
        if let Some(place) = &before {
            call.extend(["--before", place]);
        }
        let page = host.json(&call);
        let mut these = events(&page);
        these.append(&mut paged);
        paged = these;
        before = page["older"].as_str().map(str::to_owned);
        assert_eq!(page["more"], before.is_some());
        if before.is_none() {
            break;
        }
    }
    // More may have happened meanwhile, at the end.
    assert_eq!(paged.get(..all.len()), Some(all.as_slice()));

    // People see the same, and nothing that has not happened.
    let told = host.run(&["agent", "history", "worker"]);
    let told = &told.good().out;
    for part in [
        "arrived",
        "ping",
        "task of type echo",
        "after inbox/",
        "task-failed",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    host.stop();

    // The store alone tells it.
    let stopped = world.json(&["agent", "history", "worker"]);
    assert_eq!(events(&stopped).get(..all.len()), Some(all.as_slice()));
    let none = world.json(&["agent", "history", "worker", "--since", "0s"]);
    assert_eq!(none["history"], Value::Array(Vec::new()), "{none:#}");
    let told = world.run(&["agent", "history", "worker", "--since", "0s"]);
    assert!(told.good().out.contains("nothing has happened"));
    let stranger = "ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7";
    let unknown = world.run(&["agent", "history", stranger]);
    assert_eq!(unknown.code, 66, "{unknown:?}");
    let wrong = world.run(&["agent", "history", "worker", "--before", "yesterday"]);
    assert_eq!(wrong.code, 64, "{wrong:?}");
}

#[test]
fn a_history_is_followed() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let node = format!("chain.rpc={}", host.node);
    let mut follower = world
        .command(&[
            "agent", "history", "worker", "--follow", "--json", "--set", &node,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    host.tell("asker", "worker", "ping");
    let stdout = BufReader::new(follower.stdout.take().unwrap());
    let (lines, printed) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stdout.lines() {
            if line.is_ok_and(|line| lines.send(line).is_err()) {
                return;
            }
        }
    });
    let mut seen = Vec::new();
    loop {
        let line = printed.recv_timeout(LONG).unwrap();
        let entry: Value = serde_json::from_str(&line).unwrap();
        crate::forms::check(&["agent", "history", "--follow"], &entry);
        seen.push((entry["event"].clone(), entry["id"].clone()));
        if entry["event"] == "mined" {
            break;
        }
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
    for (number, entry) in seen.iter().enumerate() {
        assert!(!seen[..number].contains(entry), "twice: {seen:?}");
    }
    for event in ["arrived", "handled", "requested", "posted", "mined"] {
        assert!(
            seen.iter().any(|(found, _)| found == event),
            "{event}: {seen:?}"
        );
    }
    host.stop();
}
