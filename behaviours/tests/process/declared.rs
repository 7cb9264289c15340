//! What a program declares about itself.

use std::collections::BTreeMap;
use std::path::Path;

use agentry_behaviours::process::declare::{DeclareError, Program};
use agentry_sdk::{Missed, Schedule, Starts};
use serde_json::{Value, json};

use crate::support::{build, build_in, examples, message, python, with};

/// A program that declares this and does nothing else, in a folder with the file.
fn declaring(folder: &Path, declaration: &Value) -> Value {
    std::fs::write(folder.join("agent.json"), declaration.to_string()).unwrap();
    json!({ "program": "sh", "args": ["-c", "exit 0"], "declared": "agent.json" })
}

fn whole() -> Value {
    json!({
        "protocol": 1,
        "commands": {
            "GREET": { "type": "object", "properties": { "name": { "type": "string" } } },
            "BARE": {},
        },
        "texts": true,
        "answers": true,
        "starts": "once",
        "schedules": [
            { "name": "tidy", "when": { "every_ms": 60_000 } },
            { "name": "report", "when": { "cron": { "expression": "@daily", "zone": "UTC" } },
              "missed": "skip" },
        ],
        "capabilities": ["greeting"],
        "tasks": { "poem": { "attempts": 7 }, "song": {} },
    })
}

#[test]
fn a_declaration_has_the_place_of_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let settings = declaring(folder.path(), &whole());
    let settings = with(settings, "capabilities", json!(["singing", "greeting"]));
    let settings = with(settings, "tasks", json!({ "song": { "attempts": 2 } }));
    let behaviour = build_in(folder.path(), &settings).unwrap();
    assert_eq!(behaviour.commands(), ["BARE", "GREET"]);
    let schema = whole()["commands"]["GREET"].clone();
    assert_eq!(behaviour.schemas(), [("GREET".to_owned(), schema)]);
    assert_eq!(behaviour.capabilities(), ["greeting", "singing"]);
    assert_eq!(behaviour.starts(), Starts::Once);
    assert_eq!(
        behaviour.schedules(),
        [
            Schedule::every("tidy", std::time::Duration::from_secs(60)),
            Schedule::cron("report", "@daily")
                .zone("UTC")
                .missed(Missed::Skip),
        ]
    );
    // What the operator says about a task counts more.
    let attempts = |kind: &str| behaviour.task_limits(kind).attempts;
    assert_eq!((attempts("poem"), attempts("song")), (7, 2));
    assert!(behaviour.executes("poem") && !behaviour.executes("dance"));
    for (payload, shown) in [
        ("\"hello\"", true),
        (r#"{"cmd":"GREET"}"#, true),
        (r#"{"cmd":"OTHER"}"#, false),
        ("[1]", false),
    ] {
        assert_eq!(behaviour.accepts(&message(payload)), shown, "{payload}");
    }
    assert_eq!(behaviour.content()["commands"]["BARE"], json!({}));
}

#[test]
fn a_program_may_declare_that_it_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let behaviour = build_in(
        folder.path(),
        &declaring(folder.path(), &json!({ "protocol": 1 })),
    );
    let behaviour = behaviour.unwrap();
    assert!(!behaviour.accepts(&message("\"hello\"")));
    assert!(!behaviour.accepts(&message(r#"{"cmd":"GREET"}"#)));
}

#[test]
fn a_wrong_declaration_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let many: BTreeMap<String, Value> = (0..65).map(|i| (format!("C{i}"), json!({}))).collect();
    for (declaration, told) in [
        (json!({}), "missing field `protocol`"),
        (json!({ "protocol": 2 }), "agentry speaks version 1"),
        (
            json!({ "protocol": 1, "comands": {} }),
            "unknown field `comands`",
        ),
        (
            json!({ "protocol": 1, "commands": { "": {} } }),
            "command \"\"",
        ),
        (
            json!({ "protocol": 1, "commands": { "A": 1 } }),
            "invalid type",
        ),
        (
            json!({ "protocol": 1, "commands": many }),
            "65 commands; at most 64",
        ),
        (
            json!({ "protocol": 1, "capabilities": [""] }),
            "capability \"\"",
        ),
        (
            json!({ "protocol": 1, "tasks": { "t": { "attempts": 0 } } }),
            "task \"t\"",
        ),
        (
            json!({ "protocol": 1, "starts": "often" }),
            "unknown variant `often`",
        ),
    ] {
        let settings = declaring(folder.path(), &declaration);
        let error = build_in(folder.path(), &settings).unwrap_err().to_string();
        assert!(error.starts_with("`declared` "), "{error}");
        assert!(error.contains(told), "{told}: {error}");
    }
    let settings = declaring(folder.path(), &whole());
    for key in ["commands", "texts", "answers", "starts"] {
        let value = match key {
            "commands" => json!(["A"]),
            "starts" => json!("once"),
            _ => json!(true),
        };
        let error = build_in(folder.path(), &with(settings.clone(), key, value)).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("`{key}` is what")),
            "{error}"
        );
    }
    std::fs::write(
        folder.path().join("agent.json"),
        vec![b' '; (256 << 10) + 1],
    )
    .unwrap();
    let error = build_in(folder.path(), &settings).unwrap_err().to_string();
    assert!(error.contains("more than 262144 bytes"), "{error}");
    std::fs::remove_file(folder.path().join("agent.json")).unwrap();
    let error = build_in(folder.path(), &settings).unwrap_err().to_string();
    assert!(error.contains("`agentry dev` writes this file"), "{error}");
}

#[tokio::test]
async fn the_files_of_the_examples_are_what_their_programs_declare() {
    let mut programs = 0;
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        let file = path.with_extension("json");
        if path.extension().is_none_or(|ending| ending != "py") || !file.exists() {
            continue;
        }
        let settings = json!({
            "program": "python3",
            "args": [path.to_str().unwrap()],
            "declared": file.to_str().unwrap(),
            "env": { "PYTHONPATH": python().to_str().unwrap(), "PYTHONDONTWRITEBYTECODE": "1" },
        });
        build(&settings);
        let settings = settings.as_object().unwrap().clone();
        let program = Program::new(settings, Path::new("")).unwrap();
        assert_eq!(program.file(), Some(&*file));
        let printed = program.declare().await.unwrap();
        let printed = String::from_utf8(printed).unwrap();
        assert_eq!(
            printed,
            std::fs::read_to_string(&file).unwrap(),
            "{}",
            file.display()
        );
        programs += 1;
    }
    assert!(programs > 0);
}

#[tokio::test]
async fn a_program_that_does_not_declare_itself_is_named() {
    let ask = async |script: &str| {
        let settings = json!({
            "program": "sh", "args": ["-c", script], "declared": "a.json", "start_timeout": "1s",
        });
        let settings = settings.as_object().unwrap().clone();
        let program = Program::new(settings, Path::new("")).unwrap();
        program.declare().await.unwrap_err()
    };
    let failed = ask("echo why >&2; exit 3").await;
    assert!(matches!(failed, DeclareError::Failed { .. }), "{failed}");
    assert!(
        failed.to_string().contains("exit status: 3):\nwhy"),
        "{failed}"
    );
    let other = ask("echo hello").await;
    assert!(matches!(other, DeclareError::Invalid { .. }), "{other}");
    let endless = ask("while :; do echo x; done").await;
    assert!(
        matches!(
            endless,
            DeclareError::Failed { .. } | DeclareError::Invalid { .. }
        ),
        "{endless}"
    );
    let slow = ask("exec sleep 1000").await;
    assert!(matches!(slow, DeclareError::Slow { .. }), "{slow}");
    let none = json!({ "program": "sh" }).as_object().unwrap().clone();
    assert_eq!(Program::new(none, Path::new("")).unwrap().file(), None);
}
