//! Tasks that a program does.

use std::sync::{Arc, Mutex};

use agentry_sdk::{Desk, Task, TaskError, Tokens};
use serde_json::{Value, json};

use crate::support::{address, ask, build, gone, lines, python_program, reply, sh, with};

fn task(kind: &str) -> Task {
    Task {
        key: "k".to_owned(),
        kind: kind.to_owned(),
        input: json!({ "words": ["one", "two"] }),
        deadline: None,
        agent: "worker".to_owned(),
        submitter: Some(address("ait1sender")),
        attempt: 1,
        idempotency_key: "51ab".repeat(10),
        answers: Vec::new(),
        tokens: Tokens::default(),
    }
}

fn no_desk() -> Desk {
    Desk::new(|_, _| {})
}

fn worker() -> Value {
    python_program(
        r#"
import agentry.behaviour as agentry, os, time
class Worker(agentry.Behaviour):
    def on_message(self, message, context):
        return agentry.Effects().reply(str(os.getpid()))
    def execute(self, task, desk):
        if task.kind == "join":
            desk.progress(0.5, "half")
            desk.used(10, 2)
            desk.used(1, 3)
            return " ".join(task.input["words"])
        if task.kind == "typed":
            return agentry.Output("<p>", "text/html")
        if task.kind == "transient":
            raise agentry.Transient("not now")
        if task.kind == "bug":
            raise ValueError("oops")
        if task.kind == "long":
            while not desk.canceled:
                time.sleep(0.01)
            raise agentry.Transient("canceled")
        return super().execute(task, desk)
agentry.run(Worker())
"#,
    )
}

#[tokio::test]
async fn a_program_does_tasks() {
    let behaviour = build(&worker());
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let desk = Desk::new(move |progress, note| telling.lock().unwrap().push((progress, note)));

    let output = behaviour.execute(&task("join"), &desk).await.unwrap();
    assert_eq!(output.text, "one two");
    assert_eq!(
        output.media_type.as_deref(),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(*told.lock().unwrap(), [(0.5, Some("half".to_owned()))]);
    let (input, output) = (11, 5);
    assert_eq!(desk.tokens(), Tokens { input, output });
    let output = behaviour.execute(&task("typed"), &desk).await.unwrap();
    assert_eq!(output.media_type.as_deref(), Some("text/html"));

    let failed = |kind: &'static str| {
        let behaviour = Arc::clone(&behaviour);
        async move {
            behaviour
                .execute(&task(kind), &no_desk())
                .await
                .unwrap_err()
        }
    };
    let away = "the program that does this task failed";
    let none = "this behaviour executes no tasks";
    for (kind, expected) in [
        (
            "transient",
            TaskError::transient("failed", "Transient: not now").with_public(away),
        ),
        // Others are told nothing about an exception.
        (
            "bug",
            TaskError::transient("failed", "ValueError: oops").with_public(away),
        ),
        (
            "unknown",
            TaskError::permanent("no-executor", format!("TaskFailed: {none}")).with_public(none),
        ),
    ] {
        assert_eq!(failed(kind).await, expected);
    }
}

#[tokio::test]
async fn a_canceled_task_ends_and_events_go_on_beside_it() {
    let behaviour = build(&worker());
    let (long, desk) = (task("long"), no_desk());
    let mut running = Box::pin(behaviour.execute(&long, &desk));
    let pid = tokio::select! {
        ended = &mut running => panic!("the task ended: {ended:?}"),
        effects = ask(&behaviour, "beside it") => reply(&effects.unwrap()).to_owned(),
    };
    drop(running);
    // The program answered the canceled task, so it is not considered hung: the same process still
    // runs after more than the grace period.
    for _ in 0..5 {
        let output = behaviour.execute(&task("join"), &no_desk()).await.unwrap();
        assert_eq!(output.text, "one two");
        assert_eq!(reply(&ask(&behaviour, "still").await.unwrap()), pid);
    }
}

#[tokio::test]
async fn an_answer_of_the_wrong_type_fails_the_run() {
    let script = r#"
        ready
        event; answer "an event's answer"
        event; printf '{"type":"output","id":%s,"text":"x"}\n' $id
        event; printf '{"type":"effects","id":%s,"effects":[]}\n' $id
    "#;
    let behaviour = build(&sh(script));
    ask(&behaviour, "hello").await.unwrap();
    let error = ask(&behaviour, "hello").await.unwrap_err();
    assert!(
        !error.is_transient()
            && error
                .to_string()
                .contains("the answer to a task is `output`")
    );
    let error = behaviour.execute(&task("x"), &no_desk()).await.unwrap_err();
    assert_eq!(error.code(), "program");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn the_submitter_of_a_task_is_not_told_the_programs_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = r#"echo $$ > "$FILE"; ready; event; echo 'the secret is 42'; sleep 1000"#;
    let behaviour = build(&with(
        sh(script),
        "env",
        json!({ "FILE": file.to_str().unwrap() }),
    ));
    let error = behaviour.execute(&task("x"), &no_desk()).await.unwrap_err();
    assert!(error.is_transient());
    assert_eq!(error.code(), "program");
    assert_eq!(error.public(), "the program that does this task failed");
    assert!(error.message().contains("the secret is 42"), "{error}");
    gone(&lines(&file, 1).await[0]).await;
}
