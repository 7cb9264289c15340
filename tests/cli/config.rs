//! `config`, and the configuration of other commands.

use crate::world::World;

const TEN: &str = r#"[chain]
id = ""
rpc = "nowhere"
final_depth = 0
nonce = "random"
[store]
retention = "long"
[http]
listen = "0.0.0.0:80"
[wallets]
keystore_dir = "k"
pasword_file = "p"
[[agent]]
name = "a"
fee = "much"
behaviours = [{ kind = "pongg" }, { kind = "pong", replay = "x" }]
"#;

#[test]
fn ten_errors_are_ten_lines() {
    let world = World::new();
    world.private("agents.toml", TEN);
    let run = world.run(&["config", "check"]);
    run.failed(78, "10 errors");
    let lines: Vec<_> = run
        .err
        .lines()
        .filter(|line| line.contains("agents.toml:"))
        .collect();
    assert_eq!(lines.len(), 10, "{}", run.err);
    let numbers: Vec<usize> = lines
        .iter()
        .map(|line| line.split("agents.toml:").nth(1).unwrap())
        .map(|rest| rest.split(':').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(numbers, [2, 3, 4, 5, 7, 9, 12, 15, 16, 16]);
    for part in [
        "did you mean `password_file`?",
        "did you mean `pong`?",
        "`replay`",
    ] {
        assert!(run.err.contains(part), "{part} is not in {}", run.err);
    }
}

#[test]
fn the_built_in_configuration_is_used_without_a_file() {
    let world = World::new();
    let checked = world.json(&["config", "check"]);
    assert_eq!(checked["file"], "built-in agents.toml");
    assert_eq!(
        (&checked["agents"], &checked["ok"]),
        (&2.into(), &true.into())
    );
    world
        .run(&["config", "check", "-c", "nowhere.toml"])
        .failed(66, "nowhere.toml");
}

#[test]
fn each_value_is_shown_with_its_origin() {
    let world = World::new();
    let text = "[chain]\nid = \"x\"\nrpc = \"http://user:hunter2@node:1\"\n";
    world.private("agents.toml", text);
    let mut command = world.command(&[
        "config",
        "show",
        "--json",
        "--set",
        "store.path=/tmp/flag.db",
    ]);
    let output = command
        .env("AGENTRY__CHAIN__FINAL_DEPTH", "7")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && !text.contains("hunter2"),
        "{text}"
    );
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    let setting = |key: &str| {
        let setting = &shown["settings"][key];
        format!("{} {}", setting["value"], setting["origin"])
    };
    assert_eq!(setting("chain.id"), r#""x" "agents.toml:2:6""#);
    assert_eq!(
        setting("chain.final_depth"),
        r#"7 "environment AGENTRY__CHAIN__FINAL_DEPTH""#
    );
    assert_eq!(
        setting("store.path"),
        r#""/tmp/flag.db" "flag --set store.path""#
    );
    assert_eq!(setting("chain.nonce"), r#""timestamp" "default""#);
    assert_eq!(
        setting("chain.rpc"),
        r#""http://user:***@node:1" "agents.toml:3:7""#
    );
    let table = world.run(&["config", "show"]);
    assert!(table.good().out.contains("agents.toml:2:6"), "{table:?}");
    // Also in a deep folder, and with a long value.
    let deep = world.path(&"folder/".repeat(20));
    std::fs::create_dir_all(&deep).unwrap();
    let long = "x".repeat(150);
    let file = deep.join("agents.toml");
    let behaviour = format!("[{{ kind = \"pong\", reply = \"{long}\" }}]");
    let config = format!(
        "[chain]\nid = \"x\"\n[wallets]\nkeystore_dir = \"k\"\n[[agent]]\nname = \"a\"\n\
         behaviours = {behaviour}\n"
    );
    std::fs::write(&file, config).unwrap();
    let mut command = world.command(&["config", "show", "-c", file.to_str().unwrap()]);
    let shown = String::from_utf8(command.env("COLUMNS", "180").output().unwrap().stdout).unwrap();
    let mut lines = shown.lines();
    assert_eq!(lines.next(), file.to_str());
    for line in lines {
        assert!(line.chars().count() <= 100, "{line}");
    }
    // No part of a value is lost, neither there nor in a pipe.
    let joined: String = shown.split_whitespace().collect();
    assert!(joined.matches('x').count() >= 150, "{shown}");
    let piped = world.run(&["config", "show", "-c", file.to_str().unwrap()]);
    assert!(piped.good().out.contains(&long), "{piped:#?}");
}

#[test]
fn flags_are_also_checked() {
    let world = World::new();
    world
        .run(&["config", "check", "--set", "chain.rcp=x"])
        .failed(78, "did you mean `rpc`?");
    world
        .run(&["config", "check", "--set", "rpc=x"])
        .failed(64, "chain.rpc=x");
}
