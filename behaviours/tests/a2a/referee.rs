//! The executor with agents on the official SDK of A2A: `bash tests/referees/a2a/run`.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use agentry_sdk::Desk;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::bench::{KEY, PATIENCE, attempt, configured, job, signer};

/// The official SDK's agent, which ends with this.
struct Referee {
    base: String,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Referee {
    async fn start() -> Self {
        let python = std::env::var("A2A_PYTHON").expect("tests/referees/a2a/run sets A2A_PYTHON");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/referees/a2a/server.py");
        let key = signer(1).0;
        let mut child = Command::new(python)
            .arg(script)
            .env("A2A_SEED", BASE64_URL_SAFE_NO_PAD.encode([1; 32]))
            .env(
                "A2A_KEY",
                BASE64_URL_SAFE_NO_PAD.encode(key.public_key().as_bytes()),
            )
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let base = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        Self {
            base: base.unwrap().unwrap().expect("the agent starts"),
            lines,
            _child: child,
        }
    }

    /// The next thing that happened.
    async fn happened(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        line.expect("nothing happened").unwrap().expect("it ended")
    }

    fn settings() -> Value {
        json!({ "signed_by": [signer(1).1] })
    }

    fn executor(&self, card: &str) -> Arc<dyn agentry_sdk::AnyExecutor> {
        configured(&format!("{}/{card}", self.base), &Self::settings()).unwrap()
    }

    /// The text and the media type of a result, or the code of a failure.
    async fn done(&mut self, card: &str, prompt: &str) -> (String, Option<String>) {
        let task = job(json!({ "prompt": prompt }));
        let (result, reported) = attempt(&self.executor(card), &task).await;
        if card != "changed" {
            let message = format!("message {KEY} {KEY} {prompt}");
            assert_eq!(self.happened().await, message);
        }
        match result.unwrap_or_else(|| panic!("{reported:?}")) {
            Ok(output) => (output.text, output.media_type),
            Err(error) => (error.code().to_owned(), None),
        }
    }
}

#[tokio::test]
#[ignore = "needs a2a-sdk: `bash tests/referees/a2a/run`"]
async fn the_official_sdk_does_jobs() {
    let mut referee = Referee::start().await;
    let text = || Some("text/plain; charset=utf-8".to_owned());
    for card in ["rpc", "rest", "poll"] {
        for (prompt, expected, kind) in [
            ("water it", "green thumb", text()),
            (
                "data",
                r#"{"litres":2.0}"#,
                Some("application/json".to_owned()),
            ),
            ("message", "only words", text()),
            ("fail", "agent-failed", None),
            ("reject", "agent-rejected", None),
        ] {
            let found = referee.done(card, prompt).await;
            assert_eq!(found, (expected.to_owned(), kind), "{card} {prompt}");
            println!("{card}: {prompt}: {expected}");
        }
        // It asks, in one attempt, and goes on in another.
        let mut task = job(json!({ "prompt": "ask" }));
        let (result, reported) = attempt(&referee.executor(card), &task).await;
        assert!(result.is_none());
        assert_eq!(reported.question.as_deref(), Some("how much?"));
        // An agent that is only asked now and then may be past that.
        let digs = reported.notes.iter().any(|note| note == "digging");
        assert!(digs || card == "poll", "{reported:?}");
        assert_eq!(referee.happened().await, format!("message {KEY} {KEY} ask"));
        (task.attempt, task.answers) = (2, vec!["two".into()]);
        let (result, _) = attempt(&referee.executor(card), &task).await;
        assert_eq!(result.unwrap().unwrap().text, "so two", "{card}");
        assert_eq!(
            referee.happened().await,
            format!("message {KEY}-1 {KEY} two")
        );
        println!("{card}: ask: answered after a restart");
    }
}

#[tokio::test]
#[ignore = "needs a2a-sdk: `bash tests/referees/a2a/run`"]
async fn a_changed_card_of_the_official_sdk_is_refused() {
    let mut referee = Referee::start().await;
    let found = referee.done("changed", "water it").await;
    assert_eq!(found.0, "card-refused");
    println!("changed: card-refused");
}

#[tokio::test]
#[ignore = "needs a2a-sdk: `bash tests/referees/a2a/run`"]
async fn a_cut_stream_of_the_official_sdk_goes_on() {
    let mut referee = Referee::start().await;
    let task = job(json!({ "prompt": "water it" }));
    let (result, reported) = attempt(&referee.executor("cut"), &task).await;
    let output = result.unwrap_or_else(|| panic!("{reported:?}")).unwrap();
    assert_eq!(output.text, "green thumb");
    let mut happened = [referee.happened().await, referee.happened().await];
    happened.sort();
    assert_eq!(happened[0], "cut");
    println!("cut: the result of the same task");
}

#[tokio::test]
#[ignore = "needs a2a-sdk: `bash tests/referees/a2a/run`"]
async fn the_official_sdk_cancels_a_task_whose_job_is_over() {
    let mut referee = Referee::start().await;
    for card in ["rpc", "rest", "poll"] {
        let executor = referee.executor(card);
        let (begun, mut began) = tokio::sync::mpsc::unbounded_channel();
        let desk = Desk::new(move |_, note| drop(begun.send(note)));
        let its = desk.clone();
        let running = tokio::spawn(async move {
            let task = job(json!({ "prompt": "slow" }));
            executor.execute(&task, &its).await
        });
        let at_work = async { while began.recv().await.unwrap().as_deref() != Some("digging") {} };
        tokio::time::timeout(PATIENCE, at_work).await.unwrap();
        desk.end();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        assert_eq!(
            referee.happened().await,
            format!("message {KEY} {KEY} slow")
        );
        assert!(referee.happened().await.starts_with("canceled "), "{card}");
        println!("{card}: canceled");
    }
}
