//! A runtime is found through every path of its store, and is reported missing only if none is
//! running.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use crate::host::{BASE, Host, agent, pong};
use crate::world::World;

/// A store whose path alone is longer than the maximum length of a socket's address.
fn long() -> String {
    format!("{}/{}/agentry.db", "d".repeat(100), "e".repeat(100))
}

#[test]
fn a_runtime_is_found_by_every_path_of_its_store() {
    let file = format!("{}.db", "f".repeat(200));
    for store in [long(), file] {
        let world = World::new();
        let base = BASE.replace("path = \"agentry.db\"", &format!("path = \"{store}\""));
        let agents = [
            agent("asker", "one", ""),
            agent("ponger", "two", &pong("ping", "pong")),
        ];
        world.private("agents.toml", &format!("{base}{}", agents.concat()));
        let absolute = format!("store.path={}", world.path(&store).display());
        let command = world.command(&["--set", &absolute, "run", "--json"]);
        let host = Host::spawn(&world, command);

        let folder = Path::new(&store).parent().unwrap();
        symlink(world.path("").join(folder), world.path("folder")).unwrap();
        symlink(world.path(&store), world.path("link.db")).unwrap();
        symlink("link.db", world.path("link-to-link.db")).unwrap();
        let name = Path::new(&store).file_name().unwrap().to_str().unwrap();
        for path in [
            store.clone(),
            format!("./{store}"),
            world.path(&store).display().to_string(),
            format!("folder/{name}"),
            "link.db".to_owned(),
            world.path("link-to-link.db").display().to_string(),
        ] {
            let set = format!("store.path={path}");
            let answered = host.json(&[
                "agent", "message", "--wallet", "one", "--to", "ponger", "ping", "--wait", "--set",
                &set,
            ]);
            assert_eq!(answered["answer"]["text"], "pong", "{path}");
            assert_ne!(
                answered["outbox"],
                Value::Null,
                "{path}: it bypassed the runtime"
            );
            let second = world.run(&["run", "--set", &set]);
            second.failed(75, "in use by another agentry");
        }
        let doctor = host.run(&["doctor"]);
        assert_eq!(doctor.code, 0, "{doctor:?}");
        host.stop();
    }
}

/// A link to a file that does not exist yet names the same store as that file.
#[test]
fn a_store_that_is_made_through_a_link_is_found_through_both_names() {
    let world = World::new();
    fs::create_dir(world.path("data")).unwrap();
    symlink("data/real.db", world.path("agentry.db")).unwrap();
    let agents = [
        agent("asker", "one", ""),
        agent("a", "two", &pong("ping", "pong")),
    ];
    let host = Host::start(&world, &agents);
    assert!(world.path("data/real.db.sock").exists());
    let set = ["--set", "store.path=data/real.db"];
    let answered = host.json(&[
        "agent", "message", "--wallet", "one", "--to", "a", "ping", "--wait", set[0], set[1],
    ]);
    assert_ne!(answered["outbox"], Value::Null);
    host.stop();
}

#[test]
fn a_path_that_no_database_can_have_is_a_configuration_error() {
    let world = World::new();
    let long = vec!["p".repeat(200); 3].join("/");
    world.private("agents.toml", &BASE.replace("agentry.db", &long));
    for arguments in [&["config", "check"][..], &["run"], &["doctor"]] {
        let run = world.run(arguments);
        assert_eq!(run.code, 78, "{run:?}");
        let told = format!("{}{}", run.out, run.err);
        assert!(told.contains("`store.path` is longer than"), "{told}");
    }
}

/// The holder of the lock may sign, so a command must not sign beside it.
#[test]
fn an_unreachable_runtime_is_not_reported_as_missing() {
    let world = World::new();
    let host = Host::start(&world, &[agent("a", "one", &pong("ping", "pong"))]);
    host.stop();
    let devnet = agentry_devnet::Devnet::start(agentry_devnet::DevnetConfig {
        dir: world.path("node"),
        port: 0,
        chain_id: "ait-devnet".parse().unwrap(),
        ..Default::default()
    })
    .unwrap();
    let node = format!("chain.rpc={}", devnet.url());
    let lock = File::options()
        .write(true)
        .open(world.path("agentry.db.lock"))
        .unwrap();
    lock.lock().unwrap();
    let to = "ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7";
    for arguments in [
        &["agent", "message", "--wallet", "one", "--to", to, "x"][..],
        &["agent", "register", "--agent", "a"],
        &[
            "task", "submit", "--wallet", "one", "--to", to, "--type", "t", "--prompt", "x",
        ],
        &["queue", "retry", "--all"],
        &["queue", "resume"],
        &["reload"],
    ] {
        let mut all = arguments.to_vec();
        all.extend(["--set", &node]);
        let run = world.run(&all);
        assert_eq!(run.code, 69, "{arguments:?}: {run:?}");
        assert!(run.err.contains("has the store open"), "{run:?}");
        assert!(!run.err.contains("no runtime"), "{run:?}");
    }
    // Nothing was signed beside it.
    let sent = world.json(&["chain", "mempool", "--set", &node]);
    assert!(!sent.to_string().contains(to), "{sent}");
    // The lock is free again: now no runtime is running.
    drop(lock);
    let run = world.run(&["reload"]);
    assert!(run.err.contains("no runtime"), "{run:?}");
}
