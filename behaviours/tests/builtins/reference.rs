//! docs/behaviours.md documents exactly the keys of each kind and executor.

use std::collections::BTreeSet;
use std::path::Path;

use agentry_sdk::{Registry, Setup};
use serde_json::json;

const PAGE: &str = include_str!("../../../docs/behaviours.md");

/// The keys in the tables `| key | default | …` of the section with this start of the heading.
fn described(heading: &str) -> Vec<BTreeSet<String>> {
    let (_, section) = PAGE.split_once(&format!("\n{heading}")).unwrap();
    let mut tables = Vec::new();
    let mut open: Option<BTreeSet<String>> = None;
    for line in section.lines().take_while(|line| !line.starts_with("##")) {
        match (&mut open, line.strip_prefix("| `")) {
            (None, _) if line.starts_with("| key | default |") => open = Some(BTreeSet::new()),
            (Some(keys), Some(row)) => {
                keys.insert(row.split_once('`').unwrap().0.to_owned());
            }
            (Some(_), None) if !line.starts_with('|') => tables.extend(open.take()),
            _ => {}
        }
    }
    tables.extend(open);
    tables
}

/// The known keys that an error about an unknown key lists.
fn known(error: &str) -> BTreeSet<String> {
    let (_, expected) = error
        .split_once("expected ")
        .unwrap_or_else(|| panic!("{error}"));
    let words = expected.split('`').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

fn registry() -> Registry {
    agentry_behaviours::builtins()
}

fn keys_of_kind(kind: &str) -> BTreeSet<String> {
    let settings = json!({ "no such key": 1 }).as_object().unwrap().clone();
    let error = registry().build(kind, settings, Path::new("")).unwrap_err();
    known(&error.to_string())
}

fn keys_of_executor(kind: &str) -> BTreeSet<String> {
    let settings = json!({ "no such key": 1 }).as_object().unwrap().clone();
    let registry = registry();
    let error = Setup::new(Path::new(""), &registry).executor(kind, settings);
    known(&error.unwrap_err().to_string())
}

#[test]
fn every_key_is_described_and_no_other() {
    for kind in ["pong", "ack", "status"] {
        assert_eq!(
            described(&format!("## `{kind}`")),
            [keys_of_kind(kind)],
            "{kind}"
        );
    }
    for kind in registry().executors() {
        let found = described(&format!("### `{kind}`"));
        assert_eq!(found, [keys_of_executor(kind)], "{kind}");
    }
    // A type of job has the executor's keys and those of every type.
    let settings = json!({
        "allow": ["*"], "types": { "chat": { "executor": "http", "no such key": 1 } }
    });
    let settings = settings.as_object().unwrap().clone();
    let error = registry()
        .build("tasks", settings, Path::new(""))
        .unwrap_err();
    let of_types = &known(&error.to_string()) - &keys_of_executor("http");
    assert_eq!(described("## `tasks`"), [keys_of_kind("tasks"), of_types]);
}

#[test]
fn every_key_of_llm_is_described_and_no_other() {
    let in_table = |table: &str| {
        let settings =
            json!({ "model": { "url": "http://h", "model": "m" }, table: { "no such key": 1 } });
        let settings = settings.as_object().unwrap().clone();
        let error = registry().build("llm", settings, Path::new(""));
        known(&error.unwrap_err().to_string())
    };
    let settings = json!({
        "model": { "url": "http://h", "model": "m" },
        "tools": { "a": { "executor": "command", "program": "true", "parameters": {} } },
    });
    let settings = settings.as_object().unwrap().clone();
    let error = registry().build("llm", settings, Path::new(""));
    let missing = error.unwrap_err().to_string();
    assert!(missing.contains("`description`"), "{missing}");
    let of_tools = ["description", "parameters", "trusted", "public"];
    let of_tools = of_tools.map(str::to_owned).into_iter().collect();
    assert_eq!(
        described("## `llm`"),
        [
            keys_of_kind("llm"),
            of_tools,
            in_table("limits"),
            in_table("memory")
        ]
    );
}

#[test]
fn every_kind_is_described() {
    for kind in registry().kinds() {
        assert!(PAGE.contains(&format!("\n| [`{kind}`](")), "{kind}");
    }
}
