//! `reload` and SIGHUP: agents are added, changed and removed while the others run.

use std::fs;

use serde_json::json;

use crate::host::{BASE, Host, agent, configure, eventually, pong, sent};
use crate::world::World;

fn pinger() -> String {
    agent("pinger", "one", "")
}

fn ponger(reply: &str) -> String {
    agent("ponger", "two", &pong("ping", reply))
}

fn greeter() -> String {
    agent("greeter", "three", &pong("hello", "world"))
}

/// How many transactions with this text an agent has in blocks.
fn mined(world: &World, name: &str, text: &str) -> usize {
    let text = json!(text).to_string();
    let stands = |(payload, state): &(String, String)| {
        *payload == text && (state == "mined" || state == "final")
    };
    sent(world, name).iter().filter(|one| stands(one)).count()
}

#[test]
fn a_signal_adds_an_agent_while_another_conversation_goes_on() {
    let world = World::new();
    let host = Host::start(&world, &[pinger(), ponger("pong")]);
    for round in 0..8 {
        host.tell("one", "ponger", "ping");
        if round == 3 {
            configure(&world, &[pinger(), ponger("pong"), greeter()]);
            host.signal("-HUP");
        }
    }
    host.logged("added agent greeter", 1);
    assert!(
        host.log()
            .contains("created a wallet for the embedded node")
    );
    assert_eq!(host.ask("one", "greeter", "hello"), "world");
    eventually("every pong in a block", || {
        mined(&world, "ponger", "pong") == 8
    });
    // Nothing is answered twice, nor by the wrong agent.
    assert_eq!(host.ask("one", "ponger", "ping"), "pong");
    assert_eq!(sent(&world, "ponger").len(), 9);
    assert_eq!(sent(&world, "greeter").len(), 1);
    host.stop();
}

#[test]
fn every_error_is_reported_and_nothing_is_applied() {
    let world = World::new();
    let host = Host::start(&world, &[pinger(), ponger("pong")]);
    let good = [pinger(), ponger("pang"), greeter()].concat();
    // Two errors in the file.
    let bad = agent("odd", "four", "{ kind = \"ponk\" }");
    configure(
        &world,
        &[good.clone(), bad, "[tasks]\nconcurrency = 0\n".to_owned()],
    );
    host.signal("-HUP");
    host.logged("the runtime continues with the previous one", 1);
    let log = host.log();
    assert!(
        log.contains("unknown kind \\\"ponk\\\"") || log.contains("unknown kind \"ponk\""),
        "{log}"
    );
    assert!(log.contains("`tasks.concurrency`"), "{log}");

    // A change that needs a restart, and a fleet whose folder does not exist.
    let fleet = "[[fleet]]\nname = \"crew\"\nkeystore_dir = \"crew\"\n\
                 password_file = \"crew/.password\"\nbehaviours = []\n";
    let tables = [
        good.clone(),
        fleet.to_owned(),
        "[tasks]\nconcurrency = 9\n".to_owned(),
    ];
    let refused = host.reload(&tables);
    assert_eq!(refused.code, 78, "{refused:?}");
    let told: serde_json::Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!(told["applied"], false);
    let reasons = told["reasons"].as_array().unwrap();
    assert_eq!(reasons.len(), 2, "{told}");
    let reason = |index: usize| reasons[index].as_str().unwrap();
    assert!(
        reason(0).contains("`tasks.concurrency` was 4 and is 9"),
        "{told}"
    );
    assert!(reason(1).contains("fleet crew"), "{told}");
    host.logged("the runtime continues with the previous one", 2);
    let shown = world.run(&["reload"]);
    shown.failed(78, "nothing was applied");
    assert!(shown.err.contains("tasks.concurrency"), "{shown:?}");

    // A wallet with a different password.
    fs::create_dir(world.path("crew")).unwrap();
    let create = [
        "create",
        "a",
        "--keystore",
        "crew",
        "--password-file",
        "wrong",
    ];
    world.wallet(&create).good();
    world.private("crew/.password", "another");
    let refused = host.reload(&[good.clone(), fleet.to_owned()]);
    assert_eq!(refused.code, 78, "{refused:?}");
    assert!(refused.out.contains("wrong password"), "{refused:?}");

    // Nothing was applied: not even the wallet was created.
    assert!(!world.path("keys/three.json").exists());
    assert_eq!(host.ask("one", "ponger", "ping"), "pong");

    let applied = host.reload(&[good]).json();
    assert_eq!(applied["applied"], true);
    assert_eq!(
        applied["agents"],
        json!({ "added": ["greeter"], "changed": ["ponger"], "removed": [] })
    );
    assert_eq!(host.ask("one", "ponger", "ping"), "pang");
    let again = world.run(&["reload"]);
    again.good();
    assert_eq!(again.out.trim(), "nothing has changed");
}

#[test]
fn a_changed_program_is_restarted_on_request() {
    let world = World::new();
    let helper = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("python/src");
    let write = |text: &str| {
        let program = format!(
            "import agentry.behaviour as agentry\n\
             class Answers(agentry.Behaviour):\n    \
                 def on_message(self, message, context):\n        \
                     return agentry.Effects().reply({text:?})\n\
             agentry.run(Answers())\n"
        );
        fs::write(world.path("bot.py"), program).unwrap();
    };
    let bot = format!(
        "{{ kind = \"process\", program = \"python3\", args = [\"bot.py\"], \
         env = {{ PYTHONPATH = {:?}, PYTHONDONTWRITEBYTECODE = \"1\" }} }}",
        helper.display().to_string()
    );
    write("one");
    let host = Host::start(&world, &[pinger(), agent("bot", "two", &bot)]);
    assert_eq!(host.ask("one", "bot", "hello"), "one");
    write("two");
    let nothing = world.run(&["reload"]);
    assert_eq!(nothing.good().out.trim(), "nothing has changed");
    assert_eq!(host.ask("one", "bot", "hello"), "one");

    let unknown = world.run(&["reload", "--restart", "bo"]);
    unknown.failed(78, "no agent and no fleet is called \"bo\"");
    let applied = world.run(&["reload", "--restart", "bot", "--json"]).json();
    assert_eq!(applied["restarted"], json!(["bot"]));
    assert_eq!(
        applied["agents"],
        json!({ "added": [], "changed": [], "removed": [] })
    );
    assert_eq!(host.ask("one", "bot", "hello"), "two");
    let again = world.run(&["reload", "--restart", "bot"]);
    assert_eq!(again.good().out.trim(), "restarted bot");
    host.stop();
}

#[test]
fn a_removed_agent_stops_acting_and_can_be_added_again() {
    let world = World::new();
    let host = Host::start(&world, &[pinger(), ponger("pong"), greeter()]);
    assert_eq!(host.ask("one", "greeter", "hello"), "world");
    let address = host.json(&["wallet", "show", "three", "--keystore", "keys"])["address"].clone();
    let address = address.as_str().unwrap();

    let contact = format!("[[contact]]\nname = \"gone\"\naddress = \"{address}\"\n");
    let applied = host.reload(&[pinger(), ponger("pong"), contact]).json();
    assert_eq!(
        applied["agents"],
        json!({ "added": [], "changed": [], "removed": ["greeter"] })
    );
    assert_eq!(applied["contacts"]["added"], json!(["gone"]));
    // Its name is a contact's now, and it is silent.
    host.tell("one", "gone", "hello");
    assert_eq!(host.ask("one", "ponger", "ping"), "pong");
    assert_eq!(sent(&world, "greeter").len(), 1);

    let applied = host.reload(&[pinger(), ponger("pong"), greeter()]).json();
    assert_eq!(applied["agents"]["added"], json!(["greeter"]));
    assert_eq!(applied["contacts"]["removed"], json!(["gone"]));
    assert_eq!(host.ask("one", "greeter", "hello"), "world");
    // Messages sent while it was removed are not answered.
    assert_eq!(sent(&world, "greeter").len(), 2);
    host.stop();
}

#[test]
fn a_fleet_adds_the_wallets_of_its_folder() {
    let world = World::new();
    let create = |name: &str| {
        let made = ["create", name, "--keystore", "crew"];
        world.wallet_json(&made)["address"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    create("a");
    world.private("crew/.password", crate::world::PASSWORD);
    let fleet = format!(
        "[[fleet]]\nname = \"crew\"\nkeystore_dir = \"crew\"\n\
         password_file = \"crew/.password\"\nbehaviours = [{}]\n",
        pong("ping", "aye")
    );
    let tables = [pinger(), fleet];
    let host = Host::start(&world, &tables);
    assert_eq!(host.ask("one", "crew/a", "ping"), "aye");

    let address = create("b");
    let applied = host.reload(&tables).json();
    assert_eq!(
        applied["agents"],
        json!({ "added": ["crew/b"], "changed": [], "removed": [] })
    );
    // It needs a balance to answer with.
    let paid = [
        "agent", "message", "--wallet", "one", "--to", &address, "ping", "--amount", "100",
    ];
    host.run(&paid).good();
    eventually("its answer", || mined(&world, "crew/b", "aye") == 1);

    fs::remove_file(world.path("crew/a.json")).unwrap();
    let applied = host.reload(&tables).json();
    assert_eq!(applied["agents"]["removed"], json!(["crew/a"]));
}

#[test]
fn changes_under_load_lose_nothing_and_repeat_nothing() {
    let world = World::new();
    let host = Host::start(&world, &[pinger(), ponger("pong-0")]);
    let mut pings = 0;
    for round in 1..=6 {
        for _ in 0..5 {
            host.tell("one", "ponger", "ping");
            pings += 1;
        }
        let mut tables = vec![pinger(), ponger(&format!("pong-{round}"))];
        if round % 2 == 0 {
            tables.push(greeter());
        }
        configure(&world, &tables);
        host.signal("-HUP");
        host.logged("the configuration was reloaded", round);
    }
    eventually("an answer to every ping", || {
        let all = sent(&world, "ponger");
        all.len() >= pings
            && all
                .iter()
                .all(|(_, state)| state == "mined" || state == "final")
    });
    assert_eq!(host.ask("one", "ponger", "ping"), "pong-6");
    let all = sent(&world, "ponger");
    assert_eq!(all.len(), pings + 1, "{all:?}");
    // Each is answered by the configuration of its time: no later answer precedes an earlier one.
    let texts: Vec<&String> = all.iter().map(|(payload, _)| payload).collect();
    assert!(texts.is_sorted(), "{texts:?}");
    host.stop();
}

#[test]
fn signed_transactions_are_mined_although_their_agent_was_removed() {
    let world = World::new();
    // A node that drops every other transaction.
    let faulty = BASE.replace("port = 0", "port = 0\nfaults = [\"silent-drop=0.5\"]");
    let write = |tables: &[String]| {
        world.private("agents.toml", &format!("{faulty}{}", tables.concat()));
    };
    write(&[pinger(), ponger("pong")]);
    let host = Host::begin(&world, "agents.toml");
    for _ in 0..8 {
        host.tell("one", "ponger", "ping");
    }
    eventually("every pong to be signed", || {
        let all = sent(&world, "ponger");
        all.len() == 8 && all.iter().all(|(_, state)| state != "queued")
    });
    write(&[pinger()]);
    let applied = world.run(&["reload"]);
    assert_eq!(applied.good().out.trim(), "removed agent ponger");
    eventually("every pong in a block", || {
        mined(&world, "ponger", "pong") == 8
    });
    host.stop();
}

/// The source that reads a node's database also sees messages of an agent that was added later.
#[test]
fn an_agent_is_added_beside_a_nodes_database() {
    let world = World::new();
    let silent = |name: &str, wallet: &str| agent(name, wallet, "");
    let tables = [pinger(), silent("a", "two"), silent("b", "three")];
    let node = Host::start(&world, &tables);
    let write = |tables: &[String]| {
        let text = format!(
            "[chain]\nid = \"ait-devnet\"\nrpc = \"{}\"\ndb = \"node/chain.db\"\n[store]\n\
             path = \"other.db\"\n[http]\nlisten = \"127.0.0.1:0\"\n[wallets]\n\
             keystore_dir = \"keys\"\npassword_file = \"keys/.password\"\n{}",
            node.node,
            tables.concat()
        );
        world.private("other.toml", &text);
    };
    write(&[ponger("pong")]);
    let host = Host::begin(&world, "other.toml");
    assert_eq!(node.ask("one", "a", "ping"), "pong");
    // A message sent before the agent is hosted is not answered.
    node.tell("one", "b", "hello");
    assert_eq!(node.ask("one", "a", "ping"), "pong");

    // A missing wallet is not created here, and its name is reported.
    write(&[ponger("pong"), greeter(), silent("none", "four")]);
    let refused = world.run(&["-c", "other.toml", "reload"]);
    refused.failed(78, "there is no wallet \"four\"");
    write(&[ponger("pong"), greeter()]);
    let applied = world.run(&["-c", "other.toml", "reload"]);
    assert_eq!(applied.good().out.trim(), "added agent greeter");
    assert_eq!(node.ask("one", "b", "hello"), "world");
    let db = rusqlite::Connection::open(world.path("other.db")).unwrap();
    let heard = "SELECT count(*) FROM inbox JOIN agent ON agent.id = agent WHERE name = 'greeter'";
    let heard: i64 = db.query_row(heard, [], |row| row.get(0)).unwrap();
    assert_eq!(heard, 1);
    host.stop();
}

#[test]
fn an_agent_with_another_wallet_is_another_agent() {
    let world = World::new();
    let host = Host::start(&world, &[pinger(), ponger("pong")]);
    assert_eq!(host.ask("one", "ponger", "ping"), "pong");
    let moved = agent("ponger", "three", &pong("ping", "pang"));
    let applied = host.reload(&[pinger(), moved]).json();
    assert_eq!(
        applied["agents"],
        json!({ "added": ["ponger"], "changed": [], "removed": ["ponger"] })
    );
    assert_eq!(host.ask("one", "ponger", "ping"), "pang");
    // With another name it is still the same agent.
    let renamed = agent("ponger-2", "three", &pong("ping", "pung"));
    let applied = host.reload(&[pinger(), renamed]).json();
    assert_eq!(applied["agents"]["changed"], json!(["ponger-2"]));
    assert_eq!(host.ask("one", "ponger-2", "ping"), "pung");
}

#[test]
fn without_a_runtime_there_is_nothing_to_change() {
    let world = World::new();
    configure(&world, &[pinger()]);
    world.run(&["reload"]).failed(69, "start `agentry run`");
}
