//! The API key: its sources, and the places where it must never appear.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

use serde_json::json;

use crate::bench::{Server, configured, executor, response, run_input, whole};

const KEY: &str = "sk-s3cret-0123456789";

/// A file with this content.
fn key_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test]
async fn the_key_is_read_for_each_job_and_sent() {
    let file = key_file(&format!("{KEY}\n"));
    let server = Server::start([whole("yes")]).await;
    let service = executor(&server, &json!({ "key_file": file.path() }));
    run_input(service.as_ref(), json!({ "prompt": "hello" }))
        .await
        .unwrap();
    std::fs::write(file.path(), "another").unwrap();
    run_input(service.as_ref(), json!({ "prompt": "hello" }))
        .await
        .unwrap();
    let requests = server.requests();
    let sent: Vec<&str> = requests
        .iter()
        .flat_map(|request| request.head.lines())
        .filter_map(|line| line.strip_prefix("authorization: "))
        .collect();
    assert_eq!(sent, [format!("Bearer {KEY}"), "Bearer another".to_owned()]);

    // Without a key no header is sent. The variable is one that cargo and every shell set.
    let service = executor(&server, &json!({}));
    run_input(service.as_ref(), json!({ "prompt": "hello" }))
        .await
        .unwrap();
    assert!(!server.requests()[2].head.contains("authorization"));
    let path = std::env::var("PATH").unwrap();
    let service = executor(&server, &json!({ "key_env": "PATH" }));
    run_input(service.as_ref(), json!({ "prompt": "hello" }))
        .await
        .unwrap();
    assert!(
        server.requests()[3]
            .head
            .contains(&format!("Bearer {path}"))
    );
}

#[tokio::test]
async fn an_unreadable_key_is_reported_to_the_operator_only() {
    let server = Server::start([whole("yes")]).await;
    let (empty, lines) = (key_file(" \n"), key_file("one\ntwo\n"));
    let long = key_file(&"x".repeat(1 << 20));
    for settings in [
        json!({ "key_file": "/no/such/file" }),
        json!({ "key_file": "/" }),
        json!({ "key_file": empty.path() }),
        json!({ "key_file": lines.path() }),
        json!({ "key_file": long.path() }),
        json!({ "key_env": "AGENTRY_NO_SUCH_VARIABLE" }),
    ] {
        let service = executor(&server, &settings);
        let error = run_input(service.as_ref(), json!({ "prompt": "hello" }))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "no-key", "{settings}");
        assert!(!error.is_transient());
        assert_eq!(error.public(), "the agent cannot use the service");
    }
    assert!(server.requests().is_empty());
}

thread_local! {
    /// The log of this thread; each test has its own thread.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes log entries to the buffer of their thread.
struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging for the whole process: with logging on some threads only, others could turn it
/// off.
fn begin_to_log() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(|| Log)
            .init();
    });
}

/// The log of this thread since the last call.
fn logged() -> String {
    String::from_utf8(LOGGED.take()).unwrap()
}

#[tokio::test]
async fn nothing_shows_the_key() {
    begin_to_log();
    let file = key_file(KEY);
    let settings = json!({ "key_file": file.path() });
    let told = format!("{{\"error\":\"Incorrect API key provided: {KEY}\"}}");
    for reply in [
        response("401 Unauthorized", "application/json", &told),
        response("200 OK", "application/json", &told),
        response("200 OK", "text/event-stream", &format!("data: {told}\n\n")),
    ] {
        let server = Server::start([reply]).await;
        let service = executor(&server, &settings);
        let error = run_input(service.as_ref(), json!({ "prompt": "hello" }))
            .await
            .unwrap_err();
        assert!(server.requests()[0].head.contains(KEY));
        let log = logged();
        assert!(log.contains("Incorrect API key provided: [key]"), "{log}");
        for shown in [&log, &format!("{error:?} {error}"), &format!("{service:?}")] {
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
    let service = configured("http://127.0.0.1:1", &settings).unwrap();
    run_input(service.as_ref(), json!({ "prompt": "hello" }))
        .await
        .unwrap_err();
    let log = logged();
    assert!(
        log.contains("connecting") && !log.contains("s3cret"),
        "{log}"
    );
}
