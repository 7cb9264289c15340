//! The keys in agents.toml: which messages a program is shown, its environment, and which settings
//! are refused.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use agentry_sdk::protocol::TransactionHash;
use agentry_sdk::{Answered, Authenticity, BuildError, Effects, Event};
use serde_json::{Value, json};

use crate::support::{
    ask, build, build_in, context, message, python_program, reply, sh, text, with,
};

#[test]
fn the_filter_decides_what_is_shown() {
    let hello = "\"hello\"";
    let greet = r#"{"cmd":"GREET","name":"Ada"}"#;
    let other = r#"{"cmd":"OTHER"}"#;
    let opaque = "[1,2,3]";
    let asked = format!(
        r#"{{"text":"x","msg":{{"v":1,"re":"{}"}}}}"#,
        TransactionHash::of(b"question")
    );
    for (keys, shown) in [
        (json!({}), vec![hello, greet, other, opaque]),
        (json!({ "texts": true }), vec![hello]),
        (json!({ "commands": ["GREET"] }), vec![greet]),
        (
            json!({ "commands": ["GREET"], "texts": true }),
            vec![hello, greet],
        ),
        (json!({ "commands": [], "texts": true }), vec![hello]),
        (
            json!({ "answers": true }),
            vec![hello, greet, other, opaque],
        ),
    ] {
        let mut settings = sh("exit 0");
        let all = settings.as_object_mut().unwrap();
        all.extend(keys.as_object().unwrap().clone());
        let behaviour = build(&settings);
        let watcher = build(&with(settings, "watches", true));
        for payload in [hello, greet, other, opaque] {
            let message = message(payload);
            let expected = shown.contains(&payload);
            assert_eq!(behaviour.accepts(&message), expected, "{keys}: {payload}");
            assert!(!behaviour.watches(&message));
            assert_eq!(watcher.watches(&message), expected, "{keys}: {payload}");
        }
        // It is an answer, but to no known message: acting on it could go on forever.
        let mut answer = message(&asked);
        assert!(!behaviour.accepts(&answer));
        answer.answers = Some(Answered {
            transaction: TransactionHash::of(b"question"),
            behaviour: Some("process".to_owned()),
            label: None,
        });
        assert_eq!(behaviour.accepts(&answer), keys.get("answers").is_some());
    }
}

#[tokio::test]
async fn answers_to_other_behaviours_are_not_shown() {
    // A program that fails every run.
    let behaviour = build(&with(sh("exit 1"), "answers", true));
    let mut answer = message("\"hello\"");
    let mut answered = Answered {
        transaction: TransactionHash::of(b"question"),
        behaviour: Some("another".to_owned()),
        label: None,
    };
    for other in [Some("another".to_owned()), None] {
        answered.behaviour = other;
        answer.answers = Some(answered.clone());
        let event = Event::Message(Arc::new(answer.clone()));
        let effects = behaviour.on_event(&event, &context()).await;
        assert_eq!(effects, Ok(Effects::none()));
    }
    answered.behaviour = Some("process".to_owned());
    answer.answers = Some(answered);
    let event = Event::Message(Arc::new(answer));
    assert!(behaviour.on_event(&event, &context()).await.is_err());
}

#[test]
fn without_a_tokio_runtime_a_run_fails_without_a_panic() {
    let behaviour = build(&sh("exit 1"));
    let run = async { behaviour.on_event(&text("hello"), &context()).await };
    let error = agentry_sdk::testing::block_on(run).unwrap_err();
    assert!(error.is_transient());
    assert!(
        error.to_string().contains("could not be started"),
        "{error}"
    );
}

#[test]
fn a_command_that_json_parsers_cannot_read_is_shown_as_opaque() {
    let behaviour = build(&with(sh("exit 0"), "commands", json!(["GREET"])));
    let nested = |depth: usize| {
        format!(
            r#"{{"cmd":"GREET","x":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    for (payload, accepted) in [
        (nested(63), true),
        (nested(64), false),
        (nested(10_000), false),
        (
            r#"{"cmd":"GREET","n":18446744073709551615}"#.to_owned(),
            true,
        ),
        (
            r#"{"cmd":"GREET","n":18446744073709551616}"#.to_owned(),
            false,
        ),
        (
            format!(r#"{{"cmd":"GREET","n":{}}}"#, "9".repeat(5_000)),
            false,
        ),
        (r#"{"cmd":"GREET","cmd":"GREET"}"#.to_owned(), false),
    ] {
        let message = message(&payload);
        assert_eq!(behaviour.accepts(&message), accepted, "{payload:.60}");
    }
}

#[test]
fn what_is_demanded_and_announced_is_configured() {
    let plain = build(&json!({ "program": "sh" }));
    assert_eq!(plain.demands(), Authenticity::Verified);
    assert!(!plain.demands_seal());
    assert!(plain.commands().is_empty() && plain.capabilities().is_empty());
    let behaviour = build(&json!({
        "program": "sh",
        "demands": "unverified",
        "demands_seal": true,
        "commands": ["GREET", "BYE"],
        "capabilities": ["greeting"],
        "tasks": { "render": { "concurrency": 4, "time": "1h", "progress_every": "5s" } },
    }));
    assert_eq!(behaviour.demands(), Authenticity::Unverified);
    assert!(behaviour.demands_seal());
    assert_eq!(behaviour.commands(), ["GREET", "BYE"]);
    assert_eq!(behaviour.capabilities(), ["greeting"]);
    let limits = behaviour.task_limits("render");
    assert_eq!((limits.concurrency, limits.attempts), (4, 3));
    assert_eq!(limits.time.as_secs(), 3600);
    assert_eq!(
        behaviour.task_limits("other"),
        agentry_sdk::TaskLimits::default()
    );
}

#[test]
fn invalid_settings_are_refused_with_a_fix() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plain.sh"), "#!/bin/sh\n").unwrap();
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    for (settings, expected) in [
        (json!({}), "missing field `program`"),
        (json!({ "program": "" }), "`program` is empty"),
        (json!({ "program": "./missing.py" }), "No such file"),
        (json!({ "program": "./folder" }), "is not a file"),
        (json!({ "program": "./plain.sh" }), "chmod +x"),
        (
            json!({ "program": "no-such-program-here" }),
            "is not in PATH",
        ),
        (
            json!({ "program": "sh", "directory": "missing" }),
            "is not a folder",
        ),
        (json!({ "program": "sh", "arg": [] }), "unknown field `arg`"),
        (
            json!({ "program": "sh", "commands": [] }),
            "no message would reach",
        ),
        (
            json!({ "program": "sh", "texts": false }),
            "no message would reach",
        ),
        (
            json!({ "program": "sh", "demands": "forged" }),
            "unknown variant `forged`",
        ),
        (
            json!({ "program": "sh", "in_flight": 0 }),
            "`in_flight` is 0; it must be from 1 to 256",
        ),
        (json!({ "program": "sh", "grace": "0s" }), "`grace` is 0s"),
        (
            json!({ "program": "sh", "start_timeout": "2h" }),
            "`start_timeout` is 2h",
        ),
        (
            json!({ "program": "sh", "start_timeout": 5 }),
            "a duration in quotes",
        ),
        (
            json!({ "program": "sh", "restart_min": "1m", "restart_max": "1s" }),
            "`restart_min` is longer than `restart_max`",
        ),
        (
            json!({ "program": "sh", "env": { "A=B": "c" } }),
            "`env` has a name",
        ),
        (json!({ "program": "sh", "args": ["a\0b"] }), "zero byte"),
        (
            json!({ "program": "sh", "tasks": { "x": { "attempts": 0 } } }),
            "`tasks.x`",
        ),
    ] {
        match build_in(folder.path(), &settings) {
            Err(BuildError::Settings(reason)) => {
                assert!(reason.contains(expected), "{settings}: {reason}");
            }
            Err(BuildError::Refused(error)) => {
                assert!(error.0.contains(expected), "{settings}: {}", error.0);
            }
            other => panic!("{settings}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_environment_is_clean() {
    let script = r#"ready; event; answer "$SPOKEN|$PATH|$(env | cut -d= -f1 | tr '\n' ' ')""#;
    let env = json!({ "SPOKEN": "a b; $HOME" });
    let behaviour = build(&with(sh(script), "env", env));
    let effects = ask(&behaviour, "hello").await.unwrap();
    let [spoken, path, names] = reply(&effects).split('|').collect::<Vec<_>>()[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(spoken, "a b; $HOME");
    assert_eq!(path, std::env::var("PATH").unwrap());
    // Cargo sets many variables for this test; the shell sets the last four.
    let expected = [
        "HOME", "LANG", "PATH", "SPOKEN", "PWD", "OLDPWD", "SHLVL", "_",
    ];
    for name in names.split_whitespace() {
        assert!(expected.contains(&name), "{name} got through");
    }
}

#[tokio::test]
async fn arguments_are_passed_without_a_shell() {
    let mut settings = python_program(
        "import agentry.behaviour as agentry, json, sys
class Tells(agentry.Behaviour):
    def on_message(self, message, context):
        return agentry.Effects().reply(json.dumps(sys.argv[1:]))
agentry.run(Tells())",
    );
    let arguments = ["$HOME", "`id`", "a b", "; exit 1", "*", ""];
    let given = settings["args"].as_array_mut().unwrap();
    given.extend(arguments.map(Value::from));
    let effects = ask(&build(&settings), "hello").await.unwrap();
    assert_eq!(
        reply(&effects),
        json!(arguments).to_string().replace(',', ", ")
    );
}

#[tokio::test]
async fn paths_are_relative_to_agents_toml() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("bin")).unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let program = folder.path().join("bin/it");
    let script = "#!/bin/sh
        read -r hello; echo '{\"type\":\"ready\",\"protocol\":1}'
        read -r event
        printf '{\"type\":\"effects\",\"id\":1,\"effects\":[{\"do\":\"reply\",\"text\":\"%s\"}]}\\n' \"$(pwd -P)\"
        read -r more";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    for (directory, expected) in [(None, ""), (Some("data"), "data")] {
        let settings = json!({ "program": "bin/it", "directory": directory });
        let behaviour = build_in(folder.path(), &settings).unwrap();
        let effects = crate::support::ask_until(&behaviour, "where").await;
        let expected = folder.path().canonicalize().unwrap().join(expected);
        assert_eq!(Path::new(reply(&effects)), expected);
    }
}

#[test]
fn nothing_secret_is_shown() {
    let behaviour = build(&json!({
        "program": "sh",
        "args": ["--password=hunter2"],
        "env": { "TOKEN": "hunter2" },
        "settings": { "key": "hunter2" },
    }));
    let shown = format!("{behaviour:?}");
    assert!(
        shown.contains("TOKEN") && !shown.contains("hunter2"),
        "{shown}"
    );
}
