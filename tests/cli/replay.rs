//! `replay`: behaviours run on a chain with a real conversation.

use serde_json::Value;

use crate::host::{Host, agent, configure, eventually, pong, sent};
use crate::world::{Run, World};

fn pinger() -> String {
    agent("pinger", "one", "")
}

fn ponger(reply: &str) -> String {
    agent("ponger", "two", &pong("ping", reply))
}

/// The lines of a run: each report, and the summary.
fn lines(run: &Run) -> (Vec<Value>, Value) {
    let mut lines: Vec<Value> = run
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    let last = lines.pop().expect("a summary");
    (lines, last["summary"].clone())
}

fn marks(reports: &[Value]) -> Vec<&str> {
    reports
        .iter()
        .flat_map(|report| report["sends"].as_array().unwrap())
        .map(|one| one["mark"].as_str().unwrap())
        .collect()
}

fn settled(world: &World, name: &str, count: usize) {
    eventually("all answers in blocks", || {
        let all = sent(world, name);
        let stands = |(_, state): &(String, String)| state == "mined" || state == "final";
        all.len() == count && all.iter().all(stands)
    });
}

/// A chain on which three pings were answered, by a runtime that has ended.
fn conversation(world: &World, tables: &[String]) {
    let host = Host::start(world, tables);
    for _ in 0..3 {
        assert_eq!(host.ask("one", "ponger", "ping"), "pong");
    }
    host.tell("one", "ponger", "what?");
    settled(world, "ponger", 3);
    eventually("the last question to be seen", || {
        let db = rusqlite::Connection::open(world.path("agentry.db")).unwrap();
        let handled = "SELECT count(*) FROM inbox WHERE state = 'handled'";
        db.query_row(handled, [], |row| row.get::<_, i64>(0))
            .is_ok_and(|count| count == 7)
    });
    host.stop();
}

#[test]
fn the_same_behaviours_would_do_the_same_again() {
    let world = World::new();
    let tables = [pinger(), ponger("pong")];
    conversation(&world, &tables);
    let before = std::fs::read(world.path("agentry.db")).unwrap();

    let run = world.run(&["replay", "--from", "0", "--json"]);
    assert_eq!(run.code, 0, "{run:?}");
    let (reports, summary) = lines(&run);
    assert_eq!(marks(&reports), ["same"; 3], "{run:?}");
    assert_eq!(summary["messages"], 4, "{summary}");
    assert_eq!(reports[0]["text"], "ping");
    assert_eq!(reports[0]["sends"][0]["would"]["text"], "pong");
    let question = &reports[0]["height"].as_u64();
    let answer = &reports[0]["sends"][0]["did"]["height"].as_u64();
    assert!(question < answer, "{run:?}");
    assert_eq!(reports[3]["notes"][0], "no behaviour takes it");
    assert_eq!(before, std::fs::read(world.path("agentry.db")).unwrap());

    // Without a store, everything is found on the chain alone.
    let other = ["--set", "store.path=none.db"];
    let run = world.run(&["replay", "--from", "0", other[0], other[1]]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.out.contains("same 3, differs 0, missing 0, extra 0"),
        "{run:?}"
    );
    assert!(!world.path("none.db").exists());
}

#[test]
fn a_different_and_a_missing_reply_are_reported() {
    let world = World::new();
    conversation(&world, &[pinger(), ponger("pong")]);

    configure(&world, &[pinger(), ponger("pang")]);
    let run = world.run(&["replay", "--from", "0", "--json"]);
    assert_eq!(run.code, 1, "{run:?}");
    let (reports, summary) = lines(&run);
    assert_eq!(marks(&reports), ["differs"; 3]);
    assert_eq!(reports[0]["sends"][0]["would"]["text"], "pang");
    assert_eq!(reports[0]["sends"][0]["did"]["text"], "pong");
    assert_eq!(summary["differs"], 3);

    // It would answer another question, and not the one that it did answer.
    let curious = agent("ponger", "two", &pong("what?", "that"));
    configure(&world, &[pinger(), curious]);
    let run = world.run(&["replay", "--from", "0", "--json"]);
    assert_eq!(run.code, 1, "{run:?}");
    let (reports, _) = lines(&run);
    assert_eq!(
        marks(&reports),
        ["extra", "extra", "extra", "missing"],
        "{run:?}"
    );
    let run = world.run(&["replay", "--from", "0", "--differing"]);
    assert!(run.out.contains("would send  → "), "{run:?}");
    assert!(
        run.out.contains("\"that\"") && run.out.contains("did send    → "),
        "{run:?}"
    );
}

#[test]
fn one_agent_and_a_range_of_blocks_are_selected() {
    let world = World::new();
    let loud = agent("pinger", "one", &pong("pong", "thanks"));
    conversation(&world, &[pinger(), ponger("pong")]);
    configure(&world, &[loud, ponger("pong")]);
    let with = |arguments: &[&str]| {
        let mut all = vec!["replay", "--json"];
        all.extend(arguments);
        world.run(&all)
    };
    // The pinger would now say thanks; the ponger acts as it did.
    let all = with(&["--from", "0"]);
    assert_eq!(all.code, 1, "{all:?}");
    let one = with(&["--from", "0", "--agent", "ponger"]);
    assert_eq!(one.code, 0, "{one:?}");
    let (reports, _) = lines(&one);
    assert!(
        reports.iter().all(|report| report["agent"] == "ponger"),
        "{one:?}"
    );

    let heights: Vec<u64> = reports
        .iter()
        .map(|report| report["height"].as_u64().unwrap())
        .collect();
    let (from, to) = (heights[1].to_string(), heights[1].to_string());
    let part = with(&["--from", &from, "--to", &to, "--agent", "ponger"]);
    assert_eq!(part.code, 0, "{part:?}");
    let (reports, summary) = lines(&part);
    // Its answer is in a later block, and is found there.
    assert_eq!(marks(&reports), ["same"], "{part:?}");
    assert_eq!(summary["to"].as_u64(), Some(heights[1]));

    // Before the conversation began.
    let empty = with(&["--from", "0", "--to", "0", "--agent", "ponger"]);
    assert_eq!(empty.code, 0, "{empty:?}");
    let (reports, summary) = lines(&empty);
    assert!(reports.is_empty(), "{empty:?}");
    assert_eq!(summary["messages"], 0);

    world
        .run(&["replay", "--from", "100000000"])
        .failed(66, "is beyond the chain's head");
    world
        .run(&["replay", "--from", "9", "--to", "3"])
        .failed(64, "--to 3 is below --from 9");
    world
        .run(&["replay", "--from", "0", "--agent", "nobody"])
        .failed(66, "\"nobody\" is neither an address");
}

#[test]
fn a_missing_chain_is_reported() {
    let world = World::new();
    configure(&world, &[pinger(), ponger("pong")]);
    let create = ["create", "two", "--password-file", "password"];
    world.wallet(&create).good();
    world
        .run(&["replay", "--from", "0"])
        .failed(66, "the chain has no block yet");
}

/// Headers, requested acknowledgments and commands, read over the node's RPC.
#[test]
fn conversations_with_headers_are_followed_over_rpc() {
    let world = World::new();
    let acker = agent(
        "ponger",
        "two",
        &format!("{{ kind = \"ack\" }}, {}", pong("ping", "pong")),
    );
    let tables = [pinger(), acker.clone()];
    let host = Host::start(&world, &tables);
    for name in ["pinger", "ponger"] {
        host.run(&["agent", "register", "--agent", name, "--wait"])
            .good();
    }
    let ask = |more: &[&str]| {
        let mut all = vec!["agent", "message", "--wallet", "one", "--to", "ponger"];
        all.extend(more);
        all.push("--wait");
        host.json(&all)
    };
    ask(&["ping", "--ack", "done", "--thread", "t1"]);
    ask(&["ping", "--seal", "--ack", "received"]);
    // Its card, RECEIVED, pong and DONE, and RECEIVED and pong.
    settled(&world, "ponger", 6);

    let text = format!(
        "[chain]\nid = \"ait-devnet\"\nrpc = \"{}\"\n[store]\npath = \"none.db\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[wallets]\nkeystore_dir = \"keys\"\n\
         password_file = \"keys/.password\"\n{acker}",
        host.node
    );
    world.private("other.toml", &text);
    let with = |arguments: &[&str]| {
        let mut all = vec!["-c", "other.toml", "replay", "--from", "0", "--json"];
        all.extend(arguments);
        world.run(&all)
    };
    let closed = with(&[]);
    assert_eq!(closed.code, 0, "{closed:?}");
    let (reports, summary) = lines(&closed);
    // RECEIVED, pong and DONE for the first; the content of the sealed one is unknown.
    assert_eq!(&marks(&reports)[..3], ["same"; 3], "{closed:?}");
    assert_eq!(
        (&summary["closed"], &summary["not_compared"]),
        (&1.into(), &2.into())
    );
    assert_eq!(reports[1]["text"], Value::Null);

    let opened = with(&["--open-sealed"]);
    assert_eq!(opened.code, 0, "{opened:?}");
    let (reports, summary) = lines(&opened);
    assert_eq!(marks(&reports), ["same"; 5], "{opened:?}");
    assert_eq!(summary["closed"], 0);
    assert_eq!(reports[1]["text"], "ping");
    with(&["--open-sealed", "--password-file", "wrong"]).failed(77, "wrong password");
}

/// Statuses, jobs, and a message that expired.
#[test]
fn tasks_are_reported_and_their_results_not_compared() {
    let world = World::new();
    let worker = agent(
        "ponger",
        "two",
        "{ kind = \"ack\" }, { kind = \"status\" }, { kind = \"tasks\", allow = [\"pinger\"], \
         types = { text = { executor = \"command\", program = \"cat\" } } }",
    );
    let host = Host::start(&world, &[pinger(), worker]);
    let say = |more: &[&str]| {
        let mut all = vec!["agent", "message", "--wallet", "one", "--to", "ponger"];
        all.extend(more);
        host.run(&all).good();
    };
    say(&["{\"cmd\":\"STATUS_REPORT\"}", "--wait"]);
    // On a busy machine it expires before it is even signed, and is not sent.
    let late = [
        "agent",
        "message",
        "--wallet",
        "one",
        "--to",
        "ponger",
        "too late",
        "--expires",
        "1ms",
        "--ack",
        "received",
    ];
    eventually("a message is sent that expires on its way", || {
        let run = host.run(&late);
        let is_sent = run.code == 0;
        assert!(is_sent || run.err.contains("expired before"), "{run:?}");
        is_sent
    });
    let job = [
        "task", "submit", "--wallet", "one", "--to", "ponger", "--type", "text", "--prompt",
        "hello", "--wait",
    ];
    host.run(&job).good();
    settled(&world, "ponger", 3);
    host.stop();

    let run = world.run(&["replay", "--from", "0", "--json"]);
    assert_eq!(run.code, 0, "{run:?}");
    let (reports, summary) = lines(&run);
    assert_eq!(marks(&reports), ["same", "same", "not-compared"], "{run:?}");
    assert_eq!(reports[1]["notes"][0], "it had expired");
    let note = reports[2]["notes"][0].as_str().unwrap();
    assert!(
        note.starts_with("would start task") && note.ends_with("of type text"),
        "{note}"
    );
    assert_eq!(
        (&summary["expired"], &summary["tasks"]),
        (&1.into(), &1.into())
    );

    // The sender is no longer allowed: the executed task would be refused.
    let stricter = agent(
        "ponger",
        "two",
        "{ kind = \"ack\" }, { kind = \"status\" }, { kind = \"tasks\", allow = [\"ponger\"], \
         types = { text = { executor = \"command\", program = \"cat\" } } }",
    );
    configure(&world, &[pinger(), stricter]);
    let run = world.run(&["replay", "--from", "0", "--json", "--differing"]);
    assert_eq!(run.code, 1, "{run:?}");
    let (reports, summary) = lines(&run);
    assert_eq!(reports.len(), 1, "{run:?}");
    let did = &reports[0]["sends"][0]["did"]["text"];
    assert!(did.as_str().unwrap().contains("JOB_COMPLETE"), "{run:?}");
    assert_eq!(summary["tasks"], 0);
}
