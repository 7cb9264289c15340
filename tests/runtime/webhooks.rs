//! What operators are told of, over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use agentry::ops::change::{self, StoreChange};
use agentry_core::commit::QueueTarget;
use agentry_core::rows::OutboxState;
use serde_json::Value;

use super::Stage;

/// A call: its headers, in lower case, and its body.
#[derive(Clone, Debug)]
struct Call {
    headers: Vec<(String, String)>,
    body: Value,
}

impl Call {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }
}

/// A receiver of calls, which answers with these states in turn, and then with 204.
struct Receiver {
    port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Receiver {
    fn answering(states: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&calls);
        // It ends with the process.
        std::thread::spawn(move || {
            let mut states = states.iter();
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut headers = Vec::new();
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                loop {
                    line.clear();
                    stream.read_line(&mut line).unwrap();
                    let Some((key, value)) = line.trim_end().split_once(": ") else {
                        break;
                    };
                    headers.push((key.to_lowercase(), value.to_owned()));
                }
                let mut call = Call {
                    headers,
                    body: Value::Null,
                };
                let length = call.header("content-length").parse().unwrap();
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                call.body = serde_json::from_slice(&body).unwrap();
                heard.lock().unwrap().push(call);
                let state = states.next().unwrap_or(&"204 No Content");
                let answer = format!(
                    "HTTP/1.1 {state}\r\ncontent-length: 0\r\nlocation: /\r\nconnection: close\r\n\r\n"
                );
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { port, calls }
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    fn table(&self, keys: &str) -> String {
        format!(
            "[[webhook]]\nname = \"pager\"\nurl = \"http://127.0.0.1:{}/secret-path\"\n\
             secret_file = \"keystore/hook\"\n{keys}",
            self.port
        )
    }
}

/// A stage with a webhook whose secret is in its file.
fn stage(behaviours: &str, keys: &str, receiver: &Receiver) -> Stage {
    let table = receiver.table("allow_private = true");
    Stage::with_files(behaviours, "", keys, &table, &[("keystore/hook", SECRET)])
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_told_in_order_again_after_a_refusal_and_again_after_a_restart() {
    let receiver = Receiver::answering(&["500 Internal Server Error", "302 Found"]);
    let behaviours = r#"{ kind = "moody" }, { kind = "pong", approve = ["reply"] }"#;
    let mut stage = stage(behaviours, "attempts = 1", &receiver);
    stage.say(2, "fail").await;
    stage
        .until("it is told, in vain", |_| !receiver.calls().is_empty())
        .await;
    stage.stop();
    stage.start();
    stage.say(2, "ping").await;
    stage
        .until("all is told", |_| {
            let calls = receiver.calls();
            calls.iter().any(|call| call.kind() == "approval_waiting")
        })
        .await;
    let calls = receiver.calls();
    let letters: Vec<_> = calls.iter().filter(|c| c.kind() == "dead_letter").collect();
    assert!(letters.len() >= 3, "two were refused: {calls:#?}");
    let first = letters[0];
    assert!(letters.iter().all(|call| call.body == first.body));
    let id = first.header("webhook-id");
    assert!(letters.iter().all(|call| call.header("webhook-id") == id));
    assert_eq!(first.body["data"]["subject"], "inbox/1");
    assert_eq!(first.body["data"]["agent"], "agent");
    assert!(first.header("webhook-signature").starts_with("v1,"));
    assert_eq!(calls.last().unwrap().kind(), "approval_waiting");
    let other = calls.last().unwrap();
    assert_ne!(other.header("webhook-id"), id);
    // What was delivered is not told again.
    stage.stop();
    stage.start();
    stage.say(2, "ping").await;
    stage
        .until("the next is told", |_| receiver.calls().len() > calls.len())
        .await;
    assert_eq!(receiver.calls().len(), calls.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_low_before_it_is_used_up_and_what_an_operator_drops_is_not_told() {
    super::budget::await_a_day().await;
    let receiver = Receiver::answering(&[]);
    let stage = stage(
        r#"{ kind = "pong" }"#,
        "daily_budget = 100\nfee = 10",
        &receiver,
    );
    for _ in 0..5 {
        let ping = super::budget::verified_ping(super::key(2).public_key());
        stage.send(2, ping).await;
    }
    // A stranger may cause a tenth.
    stage
        .until("some wait for a budget", |stage| {
            stage.outbox().iter().any(|item| item.waits_for_budget)
        })
        .await;
    stage
        .until("it is told", |_| !receiver.calls().is_empty())
        .await;
    let waiting = stage.outbox();
    let waiting = waiting.iter().filter(|item| item.waits_for_budget);
    for item in waiting {
        let row = item.id.split_once('/').unwrap().1.parse().unwrap();
        let target = QueueTarget::Outbox(agentry_core::OutboxId(row));
        let dropped = change::make(&stage.store, StoreChange::Drop(target)).await;
        dropped.unwrap();
    }
    stage
        .until("nothing waits", |stage| {
            let queued = OutboxState::Queued.as_str();
            stage.outbox().iter().all(|item| item.state != queued)
        })
        .await;
    let kinds: Vec<String> = receiver
        .calls()
        .iter()
        .map(|call| call.kind().to_owned())
        .collect();
    assert_eq!(kinds, ["budget_low"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_private_address_is_called_unless_it_is_allowed() {
    let receiver = Receiver::answering(&[]);
    let start = |url: &str, keys: &str, secret: &str| {
        let table = format!(
            "[[webhook]]\nname = \"pager\"\nurl = \"{url}\"\nsecret_file = \"keystore/hook\"\n{keys}"
        );
        let files = [("keystore/hook", secret)];
        Stage::try_with_files(r#"{ kind = "pong" }"#, "", "", &table, &files)
            .err()
            .map(|error| error.to_string())
    };
    for literal in [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://10.1.2.3/x",
        "https://0x7f.1/",
    ] {
        let refused = start(literal, "", SECRET).unwrap();
        assert!(refused.contains("not a public address"), "{refused}");
        assert!(!refused.contains(literal), "{refused}");
    }
    let short = start("https://example.com/", "", "whsec_c2hvcnQ=").unwrap();
    assert!(short.contains("openssl rand"), "{short}");
    assert!(!short.contains("c2hvcnQ"), "{short}");
    // A name that resolves to this machine is refused when it is called.
    let table = format!(
        "[[webhook]]\nname = \"pager\"\nurl = \"https://localhost:{}/\"\nsecret_file = \"keystore/hook\"\n",
        receiver.port
    );
    let stage = Stage::with_files(
        r#"{ kind = "pong", approve = ["reply"] }"#,
        "",
        "",
        &table,
        &[("keystore/hook", SECRET)],
    );
    stage.say(2, "ping").await;
    stage
        .until("the answer waits", |stage| !stage.outbox().is_empty())
        .await;
    stage.blocks(40).await;
    assert!(receiver.calls().is_empty());
}
