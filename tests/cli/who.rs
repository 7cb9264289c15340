//! Every option that names an agent or a wallet accepts the same names.

use serde_json::Value;

use crate::host::{BASE, Host, agent, pong};
use crate::world::World;

/// Two agents whose wallets have other names, one agent of a fleet, and a contact.
fn tables() -> String {
    let base = BASE.replace("keys/.password", "password");
    let contact = "[[contact]]\nname = \"friend\"\naddress = \
                   \"ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7\"\n";
    let fleet = "[[fleet]]\nname = \"crowd\"\nkeystore_dir = \"crowd\"\nbehaviours = [{ kind = \
                 \"pong\" }]\n";
    [
        base,
        agent("asker", "w-asker", &pong("ping", "pong")),
        agent("worker", "w-worker", &pong("ping", "pong")),
        fleet.to_owned(),
        contact.to_owned(),
    ]
    .concat()
}

fn world() -> World {
    let world = World::new();
    let in_crowd = ["create", "one", "--keystore", "crowd"];
    world.wallet(&in_crowd).good();
    world.private("agents.toml", &tables());
    world
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} of {value:#}"))
}

#[test]
fn each_name_and_both_address_forms_resolve_to_the_agent() {
    let world = world();
    let host = Host::begin(&world, "agents.toml");
    let register = [
        "agent", "register", "--agent", "worker", "--name", "boss", "--wait",
    ];
    host.run(&register).good();
    let wallet = world.wallet_json(&["show", "w-worker", "--unlock"]);
    let hex = text(&wallet, "address_hex");
    let names = [
        "worker",
        "w-worker",
        "boss",
        hex,
        text(&wallet, "address_bech32"),
    ];
    for name in names {
        let sent = host.json(&[
            "agent", "message", "--wallet", name, "--to", "asker", "ping", "--wait",
        ]);
        assert_eq!(
            (text(&sent, "from"), text(&sent["answer"], "text")),
            (hex, "pong")
        );
        let job = [
            "task", "submit", "--wallet", name, "--to", "asker", "--type", "x",
        ];
        let job = host.json(&[&job[..], &["--anyway"]].concat());
        assert_eq!(text(&job, "from"), hex);
        for option in ["--agent", "--wallet"] {
            let card = host.json(&["agent", "register", option, name, "--name", "boss"]);
            assert_eq!(
                (text(&card, "agent"), text(&card, "address")),
                ("worker", hex)
            );
        }
        let stats = host.json(&["queue", "stats", "--agent", name]);
        assert_eq!(text(&stats["agents"][0], "agent"), "worker", "{name}");
        let listed = host.json(&["queue", "list", "outbox", "--settled", "--agent", name]);
        let transactions = listed["transactions"].as_array().unwrap();
        assert!(!transactions.is_empty(), "{name}");
        assert!(transactions.iter().all(|one| one["from"] == hex));
        let heard = host.run(&[
            "agent",
            "messages",
            "--agent",
            name,
            "--limit",
            "1",
            "--received",
        ]);
        assert!(heard.good().out.contains("pong"), "{name}: {heard:#?}");
        let none = host.json(&["queue", "retry", "--all", "--agent", name]);
        assert_eq!(none["changed"], 0);
        let replayed = host.run(&["replay", "--from", "0", "--agent", name, "--differing"]);
        assert!(matches!(replayed.code, 0 | 1), "{name}: {replayed:#?}");
        // A balance belongs to the exact form of an address.
        if name != names[4] {
            let account = host.json(&["chain", "account", name]);
            assert_eq!(text(&account, "address"), hex);
            let to = [
                "agent", "message", "--wallet", "asker", "--to", name, "ping", "--wait",
            ];
            let answered = host.json(&to);
            assert_eq!(text(&answered["answer"], "text"), "pong", "{name}");
            let sent = [
                "agent", "messages", "--agent", "asker", "--from", name, "--limit", "1",
            ];
            assert!(host.run(&sent).good().out.contains("pong"), "{name}");
        }
    }
    // Other agents are found by their own names.
    let contact = host.json(&["chain", "account", "friend"]);
    assert!(text(&contact, "address").starts_with("ait1d04ab"));
    let of_fleet = host.json(&["queue", "stats", "--agent", "crowd/one"]);
    assert_eq!(text(&of_fleet["agents"][0], "agent"), "crowd/one");
    host.run(&[
        "agent", "message", "--wallet", "friend", "--to", "asker", "x",
    ])
    .failed(66, "is a contact");
}

#[test]
fn a_name_that_means_several_addresses_is_refused_with_all_of_them() {
    let world = world();
    let host = Host::begin(&world, "agents.toml");
    // Another wallet has the agent's name.
    let other = world.wallet_json(&["create", "asker"]);
    let own = world.wallet_json(&["show", "w-asker"]);
    for command in [
        &[
            "agent", "message", "--wallet", "worker", "--to", "asker", "x",
        ][..],
        &[
            "agent", "message", "--wallet", "asker", "--to", "worker", "x",
        ],
        &["agent", "register", "--agent", "asker"],
        &["queue", "list", "--agent", "asker"],
        &["chain", "account", "asker"],
    ] {
        let run = host.run(command);
        run.failed(65, "agent asker is");
        for address in [text(&other, "address"), text(&own, "address")] {
            assert!(run.err.contains(address), "{run:#?}");
        }
    }
    // The address is unambiguous.
    host.json(&["queue", "list", "--agent", text(&own, "address")]);
}
