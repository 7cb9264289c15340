//! The guide for authors matches the program: its examples, its keys, its schema.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agentry_behaviours::process::wire::{FromProgram, ToProgram, schema};
use serde_json::{Value, json};

use crate::support::{ask, build_in, examples as folder_of_examples, python, reply};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn page() -> String {
    fs::read_to_string(docs().join("process.md")).unwrap()
}

/// The fenced blocks of a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let page = page();
    let fence = format!("```{language}\n");
    page.split(&fence)
        .skip(1)
        .map(|rest| rest.split_once("```").unwrap().0.to_owned())
        .collect()
}

/// Every example of a line on the page.
fn examples() -> Vec<Value> {
    let read = |block: &String| {
        serde_json::Deserializer::from_str(block)
            .into_iter::<Value>()
            .map(|value| value.unwrap_or_else(|error| panic!("{error}: {block}")))
            .collect::<Vec<_>>()
    };
    blocks("json").iter().flat_map(read).collect()
}

#[test]
fn the_schema_is_current() {
    let path = docs().join("process.schema.json");
    let expected = schema().to_value();
    let found = fs::read_to_string(&path).unwrap_or_default();
    if serde_json::from_str::<Value>(&found).is_ok_and(|found| found == expected) {
        return;
    }
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(&path, format!("{expected:#}\n")).unwrap();
        return;
    }
    panic!(
        "docs/process.schema.json is not current; \
         `UPDATE=1 cargo test -p agentry-behaviours --test process` regenerates it"
    );
}

#[test]
fn every_example_conforms_to_the_protocol() {
    for example in examples() {
        let to = serde_json::from_value::<ToProgram>(example.clone());
        if let Ok(line) = &to {
            let written = serde_json::to_value(line).unwrap();
            assert_eq!(
                written, example,
                "it has a field that agentry does not write"
            );
        }
        let from = serde_json::from_value::<FromProgram>(example.clone());
        if let (Err(to), Err(from)) = (to, from) {
            panic!("neither to the program ({to}) nor from it ({from}): {example}");
        }
    }
}

/// The values that the schema allows for a tag, at any depth.
fn tags(value: &Value, tag: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            if let Some(Value::String(word)) = entries
                .get("properties")
                .and_then(|properties| properties.get(tag)?.get("const"))
            {
                found.insert(word.clone());
            }
            entries.values().for_each(|value| tags(value, tag, found));
        }
        Value::Array(items) => items.iter().for_each(|item| tags(item, tag, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The text values of a key, at any depth.
fn words(value: &Value, key: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            if let Some(Value::String(word)) = entries.get(key) {
                found.insert(word.clone());
            }
            entries.values().for_each(|value| words(value, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| words(item, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_line_event_and_effect_has_an_example() {
    let schema = schema().to_value();
    let examples = Value::Array(examples());
    for tag in ["type", "kind", "do"] {
        let (mut there, mut shown) = (BTreeSet::new(), BTreeSet::new());
        tags(&schema, tag, &mut there);
        words(&examples, tag, &mut shown);
        assert!(
            there.len() > 4,
            "the search in the schema is wrong: {there:?}"
        );
        let missing: Vec<_> = there.difference(&shown).collect();
        assert!(missing.is_empty(), "no example has {tag:?} {missing:?}");
    }
}

#[test]
fn every_key_is_on_the_page() {
    let settings = json!({ "program": "sh", "no-such-key": 1 });
    let error = build_in(Path::new(""), &settings).unwrap_err().to_string();
    let (_, known) = error.split_once("expected one of ").unwrap();
    let page = page();
    let mut seen = 0;
    for key in known.split('`').skip(1).step_by(2) {
        seen += 1;
        assert!(
            page.contains(&format!("\n| `{key}` | ")),
            "{key} is not on the page"
        );
    }
    assert_eq!(seen, 21, "{error}");
}

#[test]
fn the_example_by_hand_matches_the_page() {
    let script = blocks("sh").pop().unwrap();
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder_of_examples())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        blocks("json").pop().unwrap()
    );
}

#[tokio::test]
async fn the_examples_in_other_languages_run() {
    let folder = tempfile::tempdir().unwrap();
    let shell = folder.path().join("length.sh");
    fs::write(&shell, &blocks("sh")[0]).unwrap();
    let echo = folder.path().join("echo.py");
    fs::write(&echo, &blocks("python")[0]).unwrap();
    let program = |name: &str, path: &Path| {
        let settings = json!({
            "program": name,
            "args": [path.to_str().unwrap()],
            "env": { "PYTHONPATH": python().to_str().unwrap(), "PYTHONDONTWRITEBYTECODE": "1" },
        });
        build_in(folder.path(), &settings).unwrap()
    };
    let effects = ask(&program("python3", &echo), "héllo").await.unwrap();
    assert_eq!(reply(&effects), "héllo");

    let checked = Command::new("sh").arg("-n").arg(&shell).status().unwrap();
    assert!(checked.success());
    // This example needs jq, as the page says; these tests must not need it.
    if Command::new("jq").arg("--version").output().is_ok() {
        let behaviour = program("sh", &shell);
        for said in ["héllo", "a\nb"] {
            let effects = ask(&behaviour, said).await.unwrap();
            let expected = format!("{} characters", said.chars().count());
            assert_eq!(reply(&effects), expected);
        }
    }
}
