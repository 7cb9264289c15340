//! `coordinator`: what people are shown of messages that anybody can have written, and `doctor`.

use agentry_testbed::coordinator::{Coordinator, OddAnswer};

use crate::doctor::Report;
use crate::host::{Host, agent, eventually, pong};
use crate::world::World;

#[test]
fn messages_are_shown_as_unverified_and_steer_no_terminal() {
    let world = World::new();
    let mut coordinator = Coordinator::start();
    let tables = [
        coordinator.table("read_every = \"1s\""),
        agent("ponger", "one", &pong("ping", "pong")),
    ];
    let host = Host::start(&world, &tables);
    eventually("the agent is announced", || {
        host.json(&["coordinator", "status"])["registered"] == 1
    });
    let none = host.run(&["coordinator", "inbox"]);
    assert_eq!(
        (none.code, none.out.as_str()),
        (0, "no messages were found\n")
    );
    let status = host.json(&["coordinator", "status"]);
    let address = status["agents"][0]["address"].as_str().unwrap();
    coordinator.send(
        address,
        "ait1\u{1b}[2J",
        "hear\u{202e}me\nand more",
        "msg_1",
    );
    eventually("the message is found", || {
        host.json(&["coordinator", "status"])["agents"][0]["messages"] == 1
    });
    let inbox = host.run(&["coordinator", "inbox", "--agent", "ponger"]);
    assert_eq!(inbox.code, 0, "{inbox:#?}");
    assert!(inbox.out.contains("hear\\u{202e}me…"), "{inbox:#?}");
    assert!(inbox.out.contains("SAYS IT IS FROM"), "{inbox:#?}");
    assert!(inbox.out.ends_with("under any name\n"), "{inbox:#?}");
    assert!(!inbox.out.contains(['\u{1b}', '\u{202e}']), "{inbox:#?}");
    let one = &host.json(&["coordinator", "inbox"])["messages"][0];
    assert_eq!(one["verified"], false);
    let status = host.run(&["coordinator", "status"]);
    assert!(
        status.out.contains("1 of 1 agents are registered"),
        "{status:#?}"
    );

    let doctor = |state: &str, found: &str, fix: &str| {
        Report::of(&host.run(&["doctor", "--json"])).says("coordinator", state, found, fix);
    };
    doctor("ok", "answers", "");
    // It is asked by the runtime, too.
    coordinator
        .known()
        .next
        .extend((0..50).map(|_| OddAnswer::busy(600)));
    doctor("warning", "(429)", "`coordinator.requests`");
    coordinator.known().next.clear();
    coordinator.end();
    doctor("warning", "does not answer", "agents work without it");
}

#[test]
fn an_inbox_that_cannot_be_read_is_that_of_one_agent_alone() {
    let world = World::new();
    let coordinator = Coordinator::start();
    let tables = [
        coordinator.table("read_every = \"1s\""),
        agent("flooded", "one", &pong("ping", "pong")),
        agent("quiet", "two", &pong("ping", "pong")),
    ];
    let host = Host::start(&world, &tables);
    let agents = || host.json(&["coordinator", "status"])["agents"].clone();
    eventually("both agents are announced", || {
        agents()[1]["registered"] == true && agents()[0]["registered"] == true
    });
    let [flooded, quiet] = [0, 1].map(|at| agents()[at]["address"].as_str().unwrap().to_owned());
    let broken = OddAnswer::new(500, r#"{"status":"error"}"#);
    coordinator.known().odd_inboxes.insert(flooded, broken);
    let mut seen = agents();
    eventually("that is told", || {
        seen = agents();
        seen[0]["reason"] == "it answered 500 Internal Server Error"
    });
    assert!(seen[1]["reason"].is_null(), "{seen:#}");
    coordinator.send(&quiet, "hub", "hello", "msg_1");
    eventually("the other's inbox is read", || agents()[1]["messages"] == 1);
}

#[test]
fn without_a_coordinator_the_command_says_how_to_configure_one() {
    let world = World::new();
    for command in ["status", "inbox"] {
        let run = world.run(&["coordinator", command]);
        assert_eq!(run.code, 78, "{run:#?}");
        assert!(run.err.contains("[coordinator]"), "{run:#?}");
    }
    let url = ["--set", "coordinator.url=http://me:hunter2@127.0.0.1:1"];
    let run = world.run(&[&["coordinator", "status"][..], &url].concat());
    assert_ne!(run.code, 0);
    assert!(run.err.contains("no runtime serves"), "{run:#?}");
    for command in [&["doctor"][..], &["config", "show"]] {
        let run = world.run(&[command, &url].concat());
        let all = format!("{}{}", run.out, run.err);
        assert!(all.contains("http://me:***@127.0.0.1:1"), "{run:#?}");
        assert!(!all.contains("hunter2"), "{run:#?}");
    }
}
