//! `agent register`, `withdraw`, `list` and `show`.

use std::time::{Duration, Instant};

use crate::host::{Host, agent, configure, pong};
use crate::world::World;

/// How long a test waits for an expected event.
const LONG: Duration = Duration::from_secs(180);

fn tables() -> [String; 2] {
    [
        agent("ponger", "two", &pong("ping", "pong")),
        agent("pinger", "one", ""),
    ]
}

#[test]
fn an_agent_is_announced_listed_shown_and_withdrawn() {
    let world = World::new();
    let host = Host::start(&world, &tables());

    let listed = host.json(&["agent", "list"]);
    assert_eq!(listed["agents"], serde_json::json!([]));
    let empty = host.run(&["agent", "list"]);
    let nobody = &empty.good().out;
    assert!(
        nobody.contains("no agent has been announced yet"),
        "{nobody}"
    );
    assert!(nobody.contains("covers the chain from block"), "{nobody}");
    host.run(&["agent", "show", "ponger"])
        .failed(66, "has no card in the directory");

    let registered = host.json(&[
        "agent",
        "register",
        "--agent",
        "ponger",
        "--name",
        "the-ponger",
        "--description",
        "answers\u{1b}[31m",
        "--capability",
        "talk",
        "--capability",
        "pong",
        "--expires",
        "1h",
        "--wait",
    ]);
    assert!(registered["height"].as_u64().is_some(), "{registered}");
    assert_eq!(registered["card"]["name"], "the-ponger");
    let address = registered["address"].as_str().unwrap();

    let listed = host.json(&["agent", "list"]);
    let card = &listed["agents"][0];
    assert_eq!(card["transaction"], registered["transaction"]);
    assert_eq!(card["capabilities"], serde_json::json!(["talk", "pong"]));
    assert_eq!(
        card["commands"],
        serde_json::json!(["PING"]),
        "what its behaviour declares"
    );
    assert_eq!(card["expired"], false);
    let count = |more: &[&str]| {
        let mut arguments = vec!["agent", "list"];
        arguments.extend(more);
        let listed = host.json(&arguments);
        listed["agents"].as_array().unwrap().len()
    };
    assert_eq!(count(&["--capability", "talk", "--capability", "pong"]), 1);
    assert_eq!(count(&["--capability", "talk", "--capability", "walk"]), 0);
    assert_eq!(count(&["--command", "PING", "--name", "the-ponger"]), 1);
    assert_eq!(count(&["--name", "ponger"]), 0);
    assert_eq!(count(&["--fresh", "1h"]), 1);
    let height = registered["height"].to_string();
    assert_eq!(count(&["--since-height", &height, "--all"]), 1);
    assert_eq!(count(&["--since-height", "1000000"]), 0);
    host.run(&["agent", "list", "--fresh", "1h", "--since-height", "1"])
        .failed(64, "cannot be used with");
    let table = host.run(&["agent", "list"]);
    assert!(table.good().out.contains("the-ponger"), "{table:?}");
    let none = host.run(&["agent", "list", "--capability", "walk"]);
    assert!(
        none.good()
            .out
            .contains("no agent in the directory matches")
    );

    for who in ["the-ponger", "ponger", address] {
        let shown = host.json(&["agent", "show", who]);
        assert_eq!(shown["card"]["transaction"], registered["transaction"]);
        assert_eq!(shown["hosted"], "ponger");
        assert_eq!(shown["same_name"], serde_json::json!([]));
        assert!(shown["card"]["enc_key"].as_str().is_some());
    }
    let shown = host.run(&["agent", "show", "the-ponger"]);
    let shown = &shown.good().out;
    assert!(
        shown.contains("renewal") && shown.contains("in 39m"),
        "{shown}"
    );
    assert!(
        !shown.contains('\u{1b}'),
        "no control character reaches the terminal"
    );

    // A name of the directory resolves to its address.
    let answered = host.json(&[
        "agent",
        "message",
        "--wallet",
        "one",
        "--to",
        "the-ponger",
        "ping",
        "--wait",
    ]);
    assert_eq!(answered["to"], *address);

    // The same name twice: the error lists both, and a contact resolves it.
    host.run(&[
        "agent",
        "register",
        "--wallet",
        "one",
        "--name",
        "the-ponger",
        "--wait",
    ])
    .good();
    let twice = host.run(&["agent", "show", "the-ponger"]);
    twice.failed(65, "2 agents in the directory are called");
    assert!(twice.err.contains(address), "{twice:?}");
    let shown = host.json(&["agent", "show", "pinger"]);
    assert_eq!(shown["same_name"], serde_json::json!([address]));
    let mut with_contact = tables().to_vec();
    with_contact.push(format!(
        "[[contact]]\nname = \"the-ponger\"\naddress = \"{address}\"\n"
    ));
    configure(&world, &with_contact);
    let shown = host.json(&["agent", "show", "the-ponger"]);
    assert_eq!(shown["address"], *address);
    assert_eq!(shown["contact"], "the-ponger");
    configure(&world, &tables());

    let withdrawn = host.json(&["agent", "withdraw", "--agent", "pinger", "--wait"]);
    assert!(withdrawn["height"].as_u64().is_some(), "{withdrawn}");
    assert_eq!(count(&[]), 1);
    host.run(&["agent", "show", "pinger"])
        .failed(66, "has no card in the directory");
    let withdrawn = host.run(&["agent", "withdraw", "--agent", "ponger"]);
    assert!(withdrawn.good().out.contains("no longer announced"));
    let deadline = Instant::now() + LONG;
    while count(&["--all"]) > 0 {
        assert!(Instant::now() < deadline, "it was never withdrawn");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_invalid_announcement_is_refused_with_advice() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let register = |more: &[&str]| {
        let mut arguments = vec!["agent", "register"];
        arguments.extend(more);
        host.run(&arguments)
    };
    register(&[]).failed(64, "--agent");
    register(&["--agent", "ponger", "--wallet", "two"]).failed(64, "cannot be used with");
    register(&["--agent", "nobody"]).failed(66, "is neither an address");
    register(&["--agent", "ponger", "--name", "ait1x"]).failed(65, "choose another with --name");
    register(&["--agent", "ponger", "--expires", "1s"])
        .failed(65, "the shortest life is one minute");
    register(&["--agent", "ponger", "--expires", "40d"]).failed(65, "within 30 days");
    register(&["--agent", "ponger", "--capability", "é"]).failed(65, "as a capability");
    register(&["--agent", "ponger", "--expires", "soon"]).failed(64, "write one such as");
    assert_eq!(
        host.json(&["agent", "list", "--all"])["agents"],
        serde_json::json!([])
    );
}

#[test]
fn without_a_runtime_the_error_says_what_to_start() {
    let world = World::new();
    configure(&world, &tables());
    for command in ["register", "withdraw"] {
        world
            .run(&["agent", command, "--agent", "ponger"])
            .failed(69, "start `agentry run` first");
    }
    world
        .run(&["agent", "list"])
        .failed(66, "start `agentry run` first");
    world
        .run(&["agent", "show", "ait1x"])
        .failed(66, "start `agentry run` first");
}
