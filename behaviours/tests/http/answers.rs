//! Requests, and answers that are accepted.

use std::sync::{Arc, Mutex};

use agentry_sdk::Desk;
use serde_json::{Value, json};

use crate::bench::{
    END, Reply, Server, asked, configured, executor, head, piece, response, run_at, run_input,
    stream, whole,
};

/// The body of the only request for a job with this input.
async fn request(settings: &Value, input: Value) -> Value {
    let server = Server::start([whole("yes")]).await;
    let executor = executor(&server, settings);
    run_input(executor.as_ref(), input).await.unwrap();
    let requests = server.requests();
    let [request] = requests.as_slice() else {
        panic!("{requests:?}");
    };
    assert!(
        request
            .head
            .starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    request.body.clone()
}

#[tokio::test]
async fn the_request_contains_what_the_job_sets_and_the_operator_allows() {
    let user = json!({ "role": "user", "content": "hello" });
    let usage = json!({ "include_usage": true });
    for (settings, input, expected) in [
        (
            json!({}),
            json!({ "prompt": "hello" }),
            json!({
                "model": "small", "messages": [user], "stream": true, "stream_options": usage
            }),
        ),
        (
            json!({ "system": "Be brief.", "max_tokens": 9, "temperature": 0.5, "stream": false }),
            json!({ "prompt": "hello", "params": {} }),
            json!({
                "model": "small", "stream": false, "max_tokens": 9, "temperature": 0.5,
                "messages": [{ "role": "system", "content": "Be brief." }, user]
            }),
        ),
        (
            json!({
                "models": ["large"], "max_tokens": 9, "temperature": 0.5,
                "params": ["temperature", "seed", "max_tokens"]
            }),
            json!({
                "prompt": "hello", "model": "large",
                "params": { "temperature": 1, "seed": 7, "max_tokens": 5 }
            }),
            json!({
                "model": "large", "stream": true, "max_tokens": 5, "temperature": 1, "seed": 7,
                "messages": [user], "stream_options": usage
            }),
        ),
        (
            json!({ "max_tokens": 9, "params": ["max_tokens"] }),
            json!({ "prompt": "hello", "model": "small", "params": { "max_tokens": 1000 } }),
            json!({
                "model": "small", "messages": [user], "stream": true, "max_tokens": 9,
                "stream_options": usage
            }),
        ),
    ] {
        assert_eq!(request(&settings, input).await, expected, "{settings}");
    }
}

#[tokio::test]
async fn a_stream_is_joined_and_its_pieces_report_progress() {
    let reports = Arc::<Mutex<Vec<(f64, Option<String>)>>>::default();
    let kept = Arc::clone(&reports);
    let desk = Desk::new(move |part, note| kept.lock().unwrap().push((part, note)));
    let events = format!(": hi\n\n{}{}{END}", piece("hé"), piece("llo"));
    let server = Server::start([stream(&events)]).await;
    let executor = executor(&server, &json!({ "max_tokens": 4 }));
    let output = run_at(executor.as_ref(), json!({ "prompt": "hello" }), &desk).await;
    assert_eq!(output.unwrap().text, "héllo");
    let note = |text: &str| Some(text.to_owned());
    assert_eq!(
        *reports.lock().unwrap(),
        [(0.25, note("2 characters")), (0.5, note("5 characters"))]
    );
}

#[tokio::test]
async fn every_usual_format_of_an_answer_is_accepted() {
    let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n";
    let usage = "data: {\"choices\":[],\"usage\":{\"total_tokens\":5}}\n\n";
    let other = "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"no\"}}]}\n\n";
    let ended =
        "data: {\"choices\":[{\"delta\":{\"content\":\"!\"},\"finish_reason\":\"stop\"}]}\n\n";
    let crlf = format!("{}{END}", piece("hello")).replace('\n', "\r\n");
    for (reply, expected) in [
        (whole("hello"), "hello"),
        (
            stream(&format!("{role}{}{usage}{END}", piece("hello"))),
            "hello",
        ),
        (stream(&format!("{}{other}{END}", piece("hello"))), "hello"),
        (stream(&crlf), "hello"),
        // An end without [DONE]; also without an end of line.
        (stream(&format!("{}{ended}", piece("hello"))), "hello!"),
        (
            stream(format!("{}{ended}", piece("hello")).trim_end()),
            "hello!",
        ),
        (stream(&format!("{}data: [DONE]", piece("hello"))), "hello"),
        // Data after the end is ignored.
        (
            stream(&format!("{}{END}data: nonsense\n\n", piece("hello"))),
            "hello",
        ),
        // A stream ends with [DONE], even if the server leaves it open.
        (
            Reply::Hang((head("200 OK", "text/event-stream") + &piece("hello") + END).into_bytes()),
            "hello",
        ),
        (
            response(
                "200 OK",
                "application/json",
                r#"{"error":null,"choices":[{"message":{"content":"hello"}}]}"#,
            ),
            "hello",
        ),
    ] {
        assert_eq!(asked(reply, &json!({})).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_job_that_is_not_allowed_sends_no_request() {
    let server = Server::start([whole("yes")]).await;
    let executor = executor(&server, &json!({ "params": ["seed", "max_tokens"] }));
    for (input, code, told) in [
        (json!({}), "bad-request", "needs a prompt"),
        (json!({ "prompt": 5 }), "bad-request", "needs a prompt"),
        (
            json!({ "prompt": "x", "model": "large" }),
            "model-not-allowed",
            "\"large\" is not allowed",
        ),
        (
            json!({ "prompt": "x", "params": { "seed": 1, "tools": [] } }),
            "bad-request",
            "\"tools\" cannot be set",
        ),
        (
            json!({ "prompt": "x", "params": { "max_tokens": -1 } }),
            "bad-request",
            "max_tokens",
        ),
    ] {
        let error = run_input(executor.as_ref(), input).await.unwrap_err();
        assert_eq!(error.code(), code);
        assert!(
            !error.is_transient() && error.public().contains(told),
            "{error}"
        );
    }
    assert!(server.requests().is_empty());
}

#[test]
fn invalid_settings_are_refused() {
    let url = "http://127.0.0.1:1";
    for (url, settings, expected) in [
        ("", json!({}), "`url` is not a URL"),
        (
            "http://a:b@h/",
            json!({}),
            "`url` contains a user name or a password",
        ),
        (url, json!({ "model": "" }), "the model \"\": it is empty"),
        (url, json!({ "models": ["a\nb"] }), "is not allowed there"),
        (url, json!({ "modell": "x" }), "unknown field `modell`"),
        (url, json!({ "params": ["stream"] }), "which no job may set"),
        (url, json!({ "temperature": 3 }), "`temperature` is 3"),
        (url, json!({ "max_tokens": 0 }), "`max_tokens` is 0"),
        (
            url,
            json!({ "key_file": "a", "key_env": "B" }),
            "both `key_file` and `key_env`",
        ),
        (
            url,
            json!({ "max_response_bytes": "1GiB" }),
            "`max_response_bytes` is 1GiB",
        ),
        (url, json!({ "idle_timeout": "0s" }), "`idle_timeout` is 0s"),
        (
            url,
            json!({ "connect_timeout": "2days" }),
            "`connect_timeout` is 2days",
        ),
    ] {
        let error = configured(url, &settings).unwrap_err();
        assert!(error.contains(expected), "{settings}: {error}");
    }
}
