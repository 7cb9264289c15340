//! Programs that misbehave. None of them may affect more than the events that it had not answered.

use std::path::Path;
use std::sync::Arc;

use agentry_sdk::AnyBehaviour;
use serde_json::{Value, json};

use crate::support::{ask, ask_patiently, ask_until, build, gone, lines, reply, sh, with};

/// Checks that a run fails transiently with this error.
async fn fails(behaviour: &Arc<dyn AnyBehaviour>, expected: &str) {
    let error = ask(behaviour, "hello").await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains(expected), "{error}");
}

/// The settings with a file in `FILE`, for a program to write to.
fn with_file(settings: Value, file: &Path) -> Value {
    with(settings, "env", json!({ "FILE": file.to_str().unwrap() }))
}

/// A program that runs this script at its first start, and answers after later starts. Each start
/// writes the process id as a line of `FILE`.
fn bad_once(script: &str, file: &Path) -> Value {
    let script = format!(
        r#"
        echo $$ >> "$FILE"
        if [ $(wc -l < "$FILE") = 1 ]; then
            {script}
        fi
        ready
        while event; do answer good; done
        "#
    );
    with_file(sh(&script), file)
}

#[tokio::test]
async fn it_ends_at_once() {
    fails(&build(&sh("exit 3")), "ended (exit status: 3)").await;
    fails(&build(&sh("kill -9 $$")), "ended (signal: 9").await;
    fails(&build(&sh("ready; exit 0")), "ended (exit status: 0)").await;
}

#[tokio::test]
async fn it_is_not_started_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("starts");
    let settings = with_file(sh(r#"echo started >> "$FILE"; exit 1"#), &file);
    let settings = with(settings, "restart_min", "30m");
    let behaviour = build(&with(settings, "restart_max", "1h"));
    fails(&behaviour, "ended (exit status: 1)").await;
    for _ in 0..20 {
        fails(&behaviour, "ended (exit status: 1); it is started again in").await;
    }
    assert_eq!(lines(&file, 1).await.len(), 1);
}

#[tokio::test]
async fn it_never_gets_ready() {
    let settings = with(sh("exec sleep 1000"), "start_timeout", "300ms");
    fails(&build(&settings), "did not say it is ready within 300ms").await;
}

#[tokio::test]
async fn it_speaks_another_version() {
    let settings = sh(r#"echo '{"type":"ready","protocol":2}'; exec sleep 1000"#);
    fails(&build(&settings), "uses version 2 of the protocol").await;
}

#[tokio::test]
async fn it_answers_before_it_is_ready() {
    let settings = sh(r#"echo '{"type":"effects","id":1,"effects":[]}'; exec sleep 1000"#);
    fails(&build(&settings), "it must say `ready` first").await;
}

#[tokio::test]
async fn it_writes_garbage() {
    for (line, expected) in [
        ("Hello, world!", "not part of the protocol"),
        ("[1, 2]", "not part of the protocol"),
        (r#"{"type":"dance"}"#, "unknown variant `dance`"),
        (r#"{"type":"ready","protocol":1}"#, "it said `ready` before"),
        (r#"{"type":"effects","effects":[]}"#, "missing field `id`"),
        (
            r#"{"type":"log","message":"x","lvl":"info"}"#,
            "unknown field `lvl`",
        ),
    ] {
        let script = format!("ready; event; echo '{line}'; exec sleep 1000");
        fails(&build(&sh(&script)), expected).await;
    }
    let bytes = r#"ready; event; printf '\377\376\033[2J\n'; exec sleep 1000"#;
    let behaviour = build(&sh(bytes));
    let error = ask(&behaviour, "hello").await.unwrap_err().to_string();
    assert!(!error.contains('\u{1b}'), "{error:?}");
}

#[tokio::test]
async fn its_lines_are_nested_without_end() {
    let script = r#"
        ready; event
        printf '{"type":"effects","id":%s,"effects":' $id
        i=0; while [ $i -lt 20000 ]; do printf '[[[[['; i=$((i+1)); done; echo
        exec sleep 1000
    "#;
    fails(&build(&sh(script)), "nests deeper than 128 levels").await;
}

#[tokio::test]
async fn it_floods_its_output() {
    // Before it is ready, and instead of an answer; with and without line feeds.
    fails(
        &build(&sh("exec head -c 100000000 /dev/zero")),
        "line of more than",
    )
    .await;
    fails(
        &build(&sh("ready; event; exec head -c 100000000 /dev/zero")),
        "line of more than",
    )
    .await;
    fails(
        &build(&sh("ready; event; exec yes")),
        "not part of the protocol",
    )
    .await;
}

#[tokio::test]
async fn it_floods_the_log() {
    let script = r#"
        ready; event
        yes '{"type":"log","message":"all is well"}' | head -n 100000
        yes 'and here too' | head -c 100000000 >&2
        head -c 100000000 /dev/zero >&2
        answer done
        while event; do answer again; done
    "#;
    let behaviour = build(&sh(script));
    assert_eq!(reply(&ask(&behaviour, "hello").await.unwrap()), "done");
    assert_eq!(reply(&ask(&behaviour, "hello").await.unwrap()), "again");
}

#[tokio::test]
async fn it_answers_with_an_endless_line() {
    let script = r#"
        ready; event
        printf '{"type":"effects","id":%s,"effects":[{"do":"reply","text":"' $id
        head -c 5000000 /dev/zero | tr '\0' x
        echo '"}]}'
        exec sleep 1000
    "#;
    fails(&build(&sh(script)), "line of more than").await;
}

#[tokio::test]
async fn it_dies_in_the_middle_of_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lives");
    let behaviour = build(&bad_once("ready; event; kill -9 $$", &file));
    fails(&behaviour, "ended (signal: 9").await;
    assert_eq!(reply(&ask(&behaviour, "hello").await.unwrap()), "good");
    assert_eq!(lines(&file, 2).await.len(), 2);
}

#[tokio::test]
async fn it_answers_and_ends() {
    // The answer before its end counts, and it is started again for the next event.
    let behaviour = build(&sh("ready; event; answer once"));
    for _ in 0..3 {
        assert_eq!(reply(&ask_until(&behaviour, "hello").await), "once");
    }
}

#[tokio::test]
async fn it_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lives");
    let behaviour = build(&bad_once("ready; event; trap '' TERM; sleep 1000", &file));
    assert_eq!(reply(&ask_patiently(&behaviour, "hello").await), "good");
    gone(&lines(&file, 2).await[0]).await;
}

#[tokio::test]
async fn it_never_reads() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lives");
    let behaviour = build(&bad_once("ready; sleep 1000", &file));
    // More than a pipe can hold.
    let said = "x".repeat(100_000);
    assert_eq!(reply(&ask_patiently(&behaviour, &said).await), "good");
    gone(&lines(&file, 2).await[0]).await;
}

#[tokio::test]
async fn it_closes_its_pipes() {
    fails(
        &build(&sh("ready; event; exec >&-; exec sleep 1000")),
        "closed its standard output",
    )
    .await;
    fails(
        &build(&sh("exec <&-; ready; exec sleep 1000")),
        "closed its standard input",
    )
    .await;
}

#[tokio::test]
async fn it_leaves_a_child_that_holds_the_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("child");
    let script = r#"ready; event; sleep 1000 & echo $! >> "$FILE"; exit 0"#;
    let behaviour = build(&with_file(sh(script), &file));
    fails(&behaviour, "ended (exit status: 0)").await;
    gone(&lines(&file, 1).await[0]).await;
}

#[tokio::test]
async fn it_looks_up_without_reading_the_answers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lives");
    let question = r#"{"type":"resolve","id":1,"name":"nobody"}"#;
    let script = format!("ready; event; yes '{question}' | head -c 100000000; answer bad");
    let behaviour = build(&bad_once(&script, &file));
    assert_eq!(reply(&ask_patiently(&behaviour, "hello").await), "good");
    gone(&lines(&file, 2).await[0]).await;
}

#[tokio::test]
async fn it_answers_what_it_was_not_asked() {
    let script = r#"
        ready
        while event; do
            echo '{"type":"effects","id":99999,"effects":[]}'
            echo '{"type":"error","id":99999,"message":"x"}'
            echo '{"type":"progress","id":99999,"progress":1e300}'
            echo ''
            answer first
            answer second
        done
    "#;
    let behaviour = build(&sh(script));
    for _ in 0..3 {
        assert_eq!(reply(&ask(&behaviour, "hello").await.unwrap()), "first");
    }
}

#[tokio::test]
async fn it_asks_for_what_there_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lives");
    for (effects, expected) in [
        (r#"[{"do":"dance"}]"#, "unknown variant `dance`"),
        (r#"[{"do":"reply","txt":"x"}]"#, "unknown field `txt`"),
        (r#"[{"do":"reply"}]"#, "either a `text` or a `command`"),
        (
            r#"[{"do":"reply","text":"x","command":{"cmd":"X"}}]"#,
            "either a `text` or",
        ),
        (
            r#"[{"do":"reply","command":{"name":"X"}}]"#,
            "needs a `cmd`",
        ),
        (
            r#"[{"do":"reply","command":{"cmd":"X","n":36893488147419103232}}]"#,
            "`effects[0].command.n` has more than 64 bits",
        ),
        (
            r#"[{"do":"reply","text":"x","amount":-1}]"#,
            "invalid value: integer `-1`",
        ),
        (
            r#"[{"do":"reply","text":"x","thread":""}]"#,
            "`thread`: it is empty",
        ),
        (
            r#"[{"do":"reply","text":"a"},{"do":"send","to":"ait1 b","text":"x"}]"#,
            "effect 1",
        ),
        (r#"[{"do":"set_state","key":"k"}]"#, "missing field `value`"),
        ("7", "invalid type"),
    ] {
        let script = format!(
            r#"
            echo $$ >> "$FILE"
            ready; event
            printf '{{"type":"effects","id":%s,"effects":%s}}\n' $id '{effects}'
            while event; do answer good; done
            "#
        );
        let _ = std::fs::remove_file(&file);
        let behaviour = build(&with_file(sh(&script), &file));
        let error = ask(&behaviour, "hello").await.unwrap_err();
        assert!(!error.is_transient(), "{error}");
        assert!(error.to_string().contains(expected), "{effects}: {error}");
        // Only that run failed: the program is still running.
        assert_eq!(reply(&ask(&behaviour, "hello").await.unwrap()), "good");
        assert_eq!(lines(&file, 1).await.len(), 1);
    }
}

#[tokio::test]
async fn it_is_told_to_end_and_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = r#"
        trap '' TERM INT HUP
        echo $$ >> "$FILE"
        ready; event; answer done
        while :; do sleep 1000; done
    "#;
    let behaviour = build(&with_file(sh(script), &file));
    assert_eq!(reply(&ask(&behaviour, "hello").await.unwrap()), "done");
    drop(behaviour);
    gone(&lines(&file, 1).await[0]).await;
}

#[test]
fn it_ends_with_the_runtime_and_is_there_on_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let script = r#"
        echo $$ >> "$FILE"
        ready; event; answer done
        while :; do sleep 1000; done
    "#;
    let behaviour = build(&with_file(sh(script), &file));
    for life in 0..2 {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let effects = runtime.block_on(ask(&behaviour, "hello")).unwrap();
        assert_eq!(reply(&effects), "done");
        runtime.shutdown_background();
        let after = tokio::runtime::Runtime::new().unwrap();
        after.block_on(async {
            gone(&lines(&file, life + 1).await[life]).await;
        });
    }
}
