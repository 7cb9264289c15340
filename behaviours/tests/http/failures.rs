//! Services that fail.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpListener;

use crate::bench::{
    END, Reply, Server, asked, configured, executor, head, piece, response, run_input, stream,
    whole,
};

fn status(status: &str, more: &str) -> Reply {
    response(
        status,
        &format!("application/json{more}"),
        r#"{"error":"why"}"#,
    )
}

#[tokio::test]
async fn the_status_decides_whether_to_try_again() {
    for (line, code, again) in [
        ("429 Too Many Requests", "rate-limited", true),
        ("503 Service Unavailable", "unavailable", true),
        ("529 Overloaded", "unavailable", true),
        ("409 Conflict", "unavailable", true),
        ("500 Internal Server Error", "service-error", true),
        ("502 Bad Gateway", "service-error", true),
        ("408 Request Timeout", "service-error", true),
        ("400 Bad Request", "refused", false),
        ("401 Unauthorized", "refused", false),
        ("404 Not Found", "refused", false),
        ("204 No Content", "refused", false),
        ("302 Found", "refused", false),
    ] {
        let settings = json!({ "retry_after_max": "0s" });
        let error = asked(status(line, ""), &settings).await.unwrap_err();
        assert_eq!(
            (error.code(), error.is_transient()),
            (code, again),
            "{line}"
        );
        // The service's text is for the operator; 204 has no body.
        assert!(
            error.message().contains("why") || line.starts_with("204"),
            "{error}"
        );
        assert!(!error.public().contains("why"), "{}", error.public());
        assert!(error.public().contains(&line[..3]), "{}", error.public());
    }
}

#[tokio::test]
async fn a_permanent_refusal_is_final_at_once() {
    let quota = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
    let model =
        r#"{"error":{"code":"model_not_found","message":"No available channel for model m"}}"#;
    let json = |status: &str, body: &str| {
        let kind = "application/json\r\nRetry-After: 1";
        response(status, kind, body)
    };
    for (reply, code) in [
        (json("429 Too Many Requests", quota), "quota-exhausted"),
        (json("402 Payment Required", "{}"), "quota-exhausted"),
        (json("503 Service Unavailable", model), "model-not-found"),
        (json("404 Not Found", model), "model-not-found"),
        (json("200 OK", quota), "quota-exhausted"),
        (
            stream(&format!("{}data: {quota}\n\n", piece("hello"))),
            "quota-exhausted",
        ),
        (
            stream(&format!("event: error\ndata: {quota}\n\n")),
            "quota-exhausted",
        ),
    ] {
        let server = Server::start([reply, whole("yes")]).await;
        let service = executor(&server, &json!({}));
        let run = run_input(service.as_ref(), json!({ "prompt": "hello" }));
        let error = run.await.unwrap_err();
        assert_eq!((error.code(), error.is_transient()), (code, false));
        assert_eq!(server.requests().len(), 1, "it is not asked again");
        assert!(!error.public().contains("exceeded"), "{}", error.public());
    }
    // A temporary limit is waited for, even if its text resembles that of a permanent one.
    let passes = r#"[{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED"}}]"#;
    let server = Server::start([json("429 Too Many Requests", passes), whole("yes")]).await;
    let service = executor(&server, &json!({}));
    let run = run_input(service.as_ref(), json!({ "prompt": "hello" }));
    assert_eq!(run.await.unwrap().text, "yes");
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let elsewhere = Server::start([whole("stolen")]).await;
    let moved = status(
        "307 Temporary Redirect",
        &format!("\r\nLocation: {}", elsewhere.url),
    );
    let error = asked(moved, &json!({})).await.unwrap_err();
    assert_eq!(error.code(), "refused");
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn the_pause_that_a_busy_service_asks_for_is_observed() {
    let busy = status("429 Too Many Requests", "\r\nRetry-After: 1");
    let server = Server::start([busy, whole("yes")]).await;
    let service = executor(&server, &json!({}));
    let began = Instant::now();
    let output = run_input(service.as_ref(), json!({ "prompt": "hello" })).await;
    assert_eq!(output.unwrap().text, "yes");
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn the_pause_that_a_busy_service_asks_for_is_limited() {
    let ask = |pause: &'static str| async move {
        let busy = status(
            "503 Service Unavailable",
            &format!("\r\nRetry-After: {pause}"),
        );
        let server = Server::start([busy]).await;
        let settings = json!({ "retry_after_max": "2s", "idle_timeout": "5s" });
        let service = executor(&server, &settings);
        let error = run_input(service.as_ref(), json!({ "prompt": "hello" }))
            .await
            .unwrap_err();
        assert_eq!((error.code(), error.is_transient()), ("unavailable", true));
        server.requests().len()
    };
    // After 0 s, 2 s and possibly 4 s: a pause of an hour is cut, a third one does not fit.
    let (hour, forever) = tokio::join!(ask("3600"), ask("99999999999999999999999"));
    assert!((2..=3).contains(&hour) && (2..=3).contains(&forever));

    // An operator can turn the pauses off.
    let settings = json!({ "retry_after_max": "0s" });
    let server = Server::start([status("429 Too Many Requests", "\r\nRetry-After: 0")]).await;
    let service = executor(&server, &settings);
    let run = run_input(service.as_ref(), json!({ "prompt": "hello" }));
    assert_eq!(run.await.unwrap_err().code(), "rate-limited");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_model_that_is_still_loading_is_waited_for() {
    let loading = response(
        "503 Service Unavailable",
        "application/json",
        r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
    );
    let server = Server::start([loading.clone(), loading, whole("yes")]).await;
    let service = executor(&server, &json!({}));
    let output = run_input(service.as_ref(), json!({ "prompt": "hello" })).await;
    assert_eq!(output.unwrap().text, "yes");
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn an_unreachable_service_is_tried_again_later() {
    // A port that was free a moment ago, without a listener.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let service = configured(&url, &json!({})).unwrap();
    let error = run_input(service.as_ref(), json!({ "prompt": "hello" }))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "unreachable");
    assert!(
        error.is_transient() && !error.public().contains("127"),
        "{error}"
    );
}

#[tokio::test]
async fn a_silent_service_is_an_error_after_the_idle_timeout() {
    let idle = json!({ "idle_timeout": "50ms" });
    let begun = (head("200 OK", "text/event-stream") + &piece("hello")).into_bytes();
    let half = (head("200 OK", "application/json") + "{\"choices\":[").into_bytes();
    for bytes in [Vec::new(), b"HTTP/1.1 200 OK\r\n".to_vec(), begun, half] {
        let error = asked(Reply::Hang(bytes), &idle).await.unwrap_err();
        assert_eq!(error.code(), "silent");
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn an_interrupted_answer_is_tried_again() {
    let piece = piece("hello");
    let short = |kind: &str, body: &str| {
        let kind = format!("{kind}\r\nContent-Length: 1000");
        response("200 OK", &kind, body)
    };
    for reply in [
        Reply::Bytes(Vec::new()),
        Reply::Bytes(b"HTTP/1.1 200".to_vec()),
        stream(&piece),
        stream(&piece[..piece.len() - 10]),
        stream(""),
        short("text/event-stream", &piece),
        short("application/json", "{"),
    ] {
        let error = asked(reply, &json!({})).await.unwrap_err();
        assert_eq!(error.code(), "connection-lost");
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn an_error_in_the_answer_is_a_failure() {
    let object = r#"{"error":{"message":"the model crashed","code":500}}"#;
    for reply in [
        response("200 OK", "application/json", object),
        stream(&format!("{}data: {object}\n\n{END}", piece("hello"))),
        stream("data: {\"error\":\"the model crashed\"}\n\n"),
    ] {
        let error = asked(reply, &json!({})).await.unwrap_err();
        assert_eq!(error.code(), "service-error");
        assert!(
            error.is_transient() && !error.public().contains("crashed"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_not_a_chat_completion_is_refused() {
    let deep = "[".repeat(100_000);
    for reply in [
        response("200 OK", "text/html", "<html>"),
        response("200 OK", "text/html; x=application/json", "{}"),
        response("200 OK", "application/json", ""),
        response("200 OK", "application/json", "{}"),
        response("200 OK", "application/json", "[1]"),
        response("200 OK", "application/json", r#"{"choices":"yes"}"#),
        response(
            "200 OK",
            "application/json",
            r#"{"choices":[{"message":{"content":5}}]}"#,
        ),
        response("200 OK", "application/json", &deep),
        stream("data: hello\n\n"),
        stream("data: {\"choices\":{}}\n\n"),
        stream(&format!("data: {deep}\n\n")),
    ] {
        let error = asked(reply, &json!({})).await.unwrap_err();
        assert_eq!(error.code(), "bad-answer");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn the_size_of_an_answer_is_limited() {
    let bound = json!({ "max_response_bytes": 1000, "idle_timeout": "30s" });
    let exact = "x".repeat(1000);
    assert_eq!(asked(whole(&exact), &bound).await.unwrap(), exact);
    // Each byte of the text takes six bytes in JSON.
    let escaped = "\u{1}".repeat(1000);
    assert_eq!(asked(whole(&escaped), &bound).await.unwrap(), escaped);
    let pieces = piece("xxxxx").repeat(200) + END;
    assert_eq!(asked(stream(&pieces), &bound).await.unwrap(), exact);

    let endless = |kind: &str, first: &str, again: &str| {
        let first = head("200 OK", kind) + first;
        Reply::Endless(first.into_bytes(), again.repeat(100).into_bytes())
    };
    let text = piece("xxxxx");
    let empty = piece("");
    for (reply, code) in [
        (whole(&"x".repeat(1001)), "too-long"),
        (stream(&(piece("xxxxx").repeat(201) + END)), "too-long"),
        (endless("text/event-stream", "", &text), "too-long"),
        (endless("text/event-stream", "", &empty), "too-long"),
        (
            endless("text/event-stream", "", ": still there\n"),
            "too-long",
        ),
        (endless("text/event-stream", "", "\n"), "too-long"),
        (
            endless("text/event-stream", "data: ", "xxxxxxxxxx"),
            "bad-answer",
        ),
        (
            endless("application/json", "{\"choices\":\"", "xxxxxxxxxx"),
            "too-long",
        ),
    ] {
        let error = asked(reply, &bound).await.unwrap_err();
        assert_eq!(error.code(), code);
        assert!(!error.is_transient());
    }
    // The body of an error response that never ends is read only as far as the log needs.
    let first = head("400 Bad Request", "text/plain").into_bytes();
    let error = asked(Reply::Endless(first, vec![b'x'; 1000]), &bound)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "refused");
    // Headers that never end are not read completely either.
    let first = b"HTTP/1.1 200 OK\r\n".to_vec();
    let error = asked(Reply::Endless(first, b"x: yyyyyyyy\r\n".repeat(50)), &bound)
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error}");
}
