//! Programs that behave well, and their input and environment.

use agentry_sdk::{Task, TaskError};
use serde_json::{Value, json};

use crate::Test;
use crate::bench::{Bench, command, task};

pub(crate) const TESTS: &[Test] = &[
    ("the_output_is_the_result", the_output_is_the_result),
    ("the_job_is_on_standard_input", the_job_is_on_standard_input),
    ("the_environment_is_clean", the_environment_is_clean),
    (
        "each_run_works_in_an_empty_folder",
        each_run_works_in_an_empty_folder,
    ),
    (
        "arguments_are_passed_without_a_shell",
        arguments_are_passed_without_a_shell,
    ),
    ("progress_is_reported", progress_is_reported),
    (
        "the_exit_code_decides_the_result",
        the_exit_code_decides_the_result,
    ),
    ("unread_input_is_not_an_error", unread_input_is_not_an_error),
    ("invalid_settings_are_refused", invalid_settings_are_refused),
    (
        "values_of_variables_are_not_shown",
        values_of_variables_are_not_shown,
    ),
];

fn output(bench: &Bench, script: &str) -> String {
    let executor = bench.shell(script, &json!({}));
    bench.run(executor.as_ref(), &task()).unwrap().text
}

fn failure(bench: &Bench, script: &str) -> TaskError {
    let executor = bench.shell(script, &json!({}));
    bench.run(executor.as_ref(), &task()).unwrap_err()
}

fn the_output_is_the_result() {
    let bench = Bench::new();
    assert_eq!(output(&bench, "printf 'h\\303\\251llo\\n'"), "héllo\n");
    assert_eq!(output(&bench, "true"), "");
    let settings = json!({ "media_type": "application/json" });
    let executor = bench.shell("echo {}", &settings);
    let output = bench.run(executor.as_ref(), &task()).unwrap();
    assert_eq!(output.media_type.as_deref(), Some("application/json"));
    bench.assert_nothing_is_left();
}

fn the_job_is_on_standard_input() {
    let bench = Bench::new();
    let given: Value = serde_json::from_str(&output(&bench, "cat")).unwrap();
    assert_eq!(
        given,
        json!({
            "key": "0xkey", "type": "sort", "prompt": "hello", "params": { "n": 5 },
            "submitter": "ait1sender", "attempt": 1, "deadline_ms": 99
        })
    );
}

fn the_environment_is_clean() {
    let bench = Bench::new();
    let executor = bench.executor(&json!({
        "program": "env",
        "env": { "SECRET": "s3cret", "LANG": "C", "AGENTRY_IDEMPOTENCY_KEY": "none" },
        "pass_env": ["CARGO_MANIFEST_DIR", "AGENTRY_NO_SUCH_VARIABLE"],
    }));
    let environment = bench.run(executor.as_ref(), &task()).unwrap().text;
    let mut names: Vec<&str> = environment
        .lines()
        .map(|line| line.split_once('=').unwrap().0)
        .collect();
    names.sort_unstable();
    // Cargo sets this variable for tests; it is missing if the binary is run by hand.
    names.retain(|name| *name != "CARGO_MANIFEST_DIR");
    assert_eq!(
        names,
        [
            "AGENTRY_IDEMPOTENCY_KEY",
            "AGENTRY_TEST_MARKER",
            "HOME",
            "LANG",
            "PATH",
            "SECRET",
            "TMPDIR"
        ]
    );
    let key = format!("AGENTRY_IDEMPOTENCY_KEY={}\n", task().idempotency_key);
    assert!(environment.contains(&key), "{environment}");
    assert!(environment.contains("LANG=C\n") && environment.contains("SECRET=s3cret\n"));
    let passed = environment.contains("CARGO_MANIFEST_DIR=");
    assert_eq!(passed, std::env::var_os("CARGO_MANIFEST_DIR").is_some());
}

fn each_run_works_in_an_empty_folder() {
    let bench = Bench::new();
    let script = "ls -A; touch here; mkdir -p deep/er; pwd; echo $HOME; echo $TMPDIR; umask";
    let first = output(&bench, script);
    let lines: Vec<&str> = first.lines().collect();
    let [work, home, tmpdir, umask] = lines.as_slice() else {
        panic!("it is not empty: {first}");
    };
    assert!(
        work == home && home == tmpdir && umask.ends_with("77"),
        "{first}"
    );
    assert!(
        work.starts_with(bench.scratch().to_str().unwrap()),
        "{first}"
    );
    assert_ne!(output(&bench, script), first);
    bench.assert_nothing_is_left();
}

fn arguments_are_passed_without_a_shell() {
    let bench = Bench::new();
    let arguments = ["$HOME; `id`", "*", "", "'a\"b"];
    let mut settings = json!({ "program": "printf", "args": ["%s|"] });
    settings["args"]
        .as_array_mut()
        .unwrap()
        .extend(arguments.map(Value::from));
    let executor = bench.executor(&settings);
    let output = bench.run(executor.as_ref(), &task()).unwrap();
    assert_eq!(
        output.text,
        arguments.map(|text| format!("{text}|")).concat()
    );
}

fn progress_is_reported() {
    let bench = Bench::new();
    let script = "echo progress 0.5 half of it >&2; echo noise >&2; echo progress 1 >&2; echo done";
    assert_eq!(output(&bench, script), "done\n");
    assert_eq!(
        bench.reports(),
        [(0.5, Some("half of it".to_owned())), (1.0, None)]
    );
}

fn the_exit_code_decides_the_result() {
    let bench = Bench::new();
    for (script, code, again) in [
        ("exit 75", "temporary", true),
        ("exit 1", "exit", false),
        ("echo secret >&2; exit 3", "exit", false),
        ("kill -KILL $$", "killed", false),
        ("kill -TERM $$", "killed", false),
        ("printf '\\377'", "bad-output", false),
    ] {
        let error = failure(&bench, script);
        assert_eq!(
            (error.code(), error.is_transient()),
            (code, again),
            "{script}"
        );
        // The program's output is for the operator only.
        assert!(!error.public().contains("secret"), "{}", error.public());
    }
    bench.assert_nothing_is_left();
}

fn unread_input_is_not_an_error() {
    let bench = Bench::new();
    let large = Task {
        input: json!({ "prompt": "x".repeat(900_000) }),
        ..task()
    };
    let executor = bench.shell("exec <&-; echo done", &json!({}));
    let output = bench.run(executor.as_ref(), &large).unwrap();
    assert_eq!(output.text, "done\n");
    let executor = bench.shell("wc -c", &json!({}));
    let output = bench.run(executor.as_ref(), &large).unwrap();
    let counted: usize = output.text.trim().parse().unwrap();
    assert!(counted > 900_000, "{counted}");
}

fn invalid_settings_are_refused() {
    for (settings, expected) in [
        (json!({}), "missing field `program`"),
        (json!({ "program": "" }), "`program` is empty"),
        (
            json!({ "program": "no-such-program" }),
            "\"no-such-program\" is not in /usr/local/bin",
        ),
        (
            json!({ "program": "./no-such-file" }),
            "no-such-file does not exist or is not an executable file",
        ),
        (
            json!({ "program": "/etc/passwd" }),
            "not an executable file",
        ),
        (json!({ "program": "/usr" }), "not an executable file"),
        (
            json!({ "program": "sh", "env": { "PATH": "/nowhere" } }),
            "\"sh\" is not in /nowhere",
        ),
        (json!({ "program": "sh", "arg": [] }), "unknown field `arg`"),
        (json!({ "program": "sh", "args": ["\0"] }), "NUL"),
        (
            json!({ "program": "sh", "env": { "A=B": "" } }),
            "not a valid name of a variable",
        ),
        (
            json!({ "program": "sh", "pass_env": [""] }),
            "not a valid name of a variable",
        ),
        (
            json!({ "program": "sh", "memory": "1KiB" }),
            "`memory` is 1KiB",
        ),
        (
            json!({ "program": "sh", "processes": 0 }),
            "`processes` is 0",
        ),
        (
            json!({ "program": "sh", "max_output": "1GiB" }),
            "`max_output` is 1GiB",
        ),
        (json!({ "program": "sh", "cpu": "10ms" }), "`cpu` is 10ms"),
        (
            json!({ "program": "sh", "open_files": 1 }),
            "`open_files` is 1",
        ),
        (
            json!({ "program": "sh", "media_type": "" }),
            "`media_type`: it is empty",
        ),
    ] {
        let error = command(&settings).unwrap_err();
        assert!(error.contains(expected), "{settings}: {error}");
    }
}

fn values_of_variables_are_not_shown() {
    let executor = command(&json!({ "program": "sh", "env": { "KEY": "s3cret" } })).unwrap();
    let shown = format!("{executor:?}");
    assert!(
        shown.contains("KEY") && !shown.contains("s3cret"),
        "{shown}"
    );
}
