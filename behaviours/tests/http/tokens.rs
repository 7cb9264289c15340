//! The tokens of an answer.

use agentry_sdk::{Desk, Tokens};
use serde_json::{Value, json};

use crate::bench::{END, Reply, Server, executor, piece, response, run_at, stream, whole};

/// The tokens of a job whose prompt has 9 bytes, and the code of its failure.
async fn used(reply: Reply) -> (Tokens, Option<String>) {
    let server = Server::start([reply]).await;
    let desk = Desk::new(|_, _| {});
    let executor = executor(&server, &json!({}));
    let run = run_at(executor.as_ref(), json!({ "prompt": "how often" }), &desk);
    let code = run.await.err().map(|error| error.code().to_owned());
    (desk.tokens(), code)
}

fn tokens(input: u64, output: u64) -> Tokens {
    Tokens { input, output }
}

/// A stream of two pieces, with this usage at its end.
fn counted(usage: &Value) -> Reply {
    let last = json!({ "choices": [], "usage": usage });
    let end = END.replace("data: [DONE]", &format!("data: {last}\n\ndata: [DONE]"));
    stream(&format!("{}{}{end}", piece("hello "), piece("you")))
}

#[tokio::test]
async fn the_tokens_are_those_that_the_service_reports() {
    let usage = json!({ "prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46 });
    let object = json!({
        "choices": [{ "message": { "content": "hello" }, "finish_reason": "stop" }],
        "usage": usage
    });
    let ollama = "{\"message\":{\"content\":\"hello\"},\"done\":false}\n\
                  {\"message\":{\"content\":\"\"},\"done\":true,\"prompt_eval_count\":12,\"eval_count\":34}\n";
    // vLLM can report them with every piece; the last report counts.
    let first = json!({ "choices": [], "usage": { "prompt_tokens": 12, "completion_tokens": 1 } });
    let twice = format!("data: {first}\n\n{}data: {object}\n\n{END}", piece("a"));
    for reply in [
        counted(&usage),
        response("200 OK", "application/json", &object.to_string()),
        response("200 OK", "application/x-ndjson", ollama),
        stream(&twice),
    ] {
        assert_eq!(used(reply).await, (tokens(12, 34), None));
    }
}

#[tokio::test]
async fn tokens_that_are_not_reported_are_estimated() {
    let estimate = tokens(3, 3);
    for usage in [
        Value::Null,
        json!({}),
        json!([1, 2]),
        json!("many"),
        json!({ "total_tokens": 46 }),
        json!({ "prompt_tokens": -1, "completion_tokens": -34 }),
        json!({ "prompt_tokens": 1.5, "completion_tokens": "34" }),
        json!({ "prompt_tokens": 1_000_000_001, "completion_tokens": u64::MAX }),
        json!({ "prompt_tokens": 1e300, "completion_tokens": { "a": [] } }),
    ] {
        assert_eq!(used(counted(&usage)).await, (estimate, None), "{usage}");
    }
    let half = json!({ "prompt_tokens": 12, "completion_tokens": null });
    assert_eq!(used(counted(&half)).await.0, tokens(12, 3));
}

#[tokio::test]
async fn an_answer_that_completes_no_job_is_counted_too() {
    let usage = json!({ "prompt_tokens": 12, "completion_tokens": 34 });
    let object = |message: Value, reason: &str| {
        let body = json!({
            "choices": [{ "message": message, "finish_reason": reason }], "usage": usage
        });
        response("200 OK", "application/json", &body.to_string())
    };
    for (reply, code) in [
        (object(json!({ "content": "hel" }), "length"), "length"),
        (object(json!({ "content": "" }), "stop"), "empty"),
        (object(json!({ "refusal": "no" }), "stop"), "refusal"),
    ] {
        assert_eq!(used(reply).await, (tokens(12, 34), Some(code.to_owned())));
    }
    // The connection is lost within the answer: what came is estimated.
    let broken = stream(&piece("hello you"));
    let lost = Some("connection-lost".to_owned());
    assert_eq!(used(broken).await, (tokens(3, 3), lost));
    // No answer came.
    let error = response("500 Internal Server Error", "application/json", "{}");
    let failed = Some("service-error".to_owned());
    assert_eq!(used(error).await, (Tokens::default(), failed));
}

#[tokio::test]
async fn a_service_that_refuses_stream_options_is_asked_without_them() {
    let refused = response(
        "400 Bad Request",
        "application/json",
        r#"{"error":{"message":"Unrecognized request argument supplied: stream_options"}}"#,
    );
    let server = Server::start([refused, whole("one"), whole("two")]).await;
    let service = executor(&server, &json!({}));
    for expected in ["one", "two"] {
        let desk = Desk::new(|_, _| {});
        let run = run_at(service.as_ref(), json!({ "prompt": "hello" }), &desk);
        assert_eq!(run.await.unwrap().text, expected);
        assert_eq!(desk.tokens(), tokens(2, 1));
    }
    let asked = server.requests();
    let asked = asked.iter().map(|request| &request.body["stream_options"]);
    let usage = json!({ "include_usage": true });
    // It is asked once; the next job knows.
    assert_eq!(
        asked.collect::<Vec<_>>(),
        [&usage, &Value::Null, &Value::Null]
    );
}

#[tokio::test]
async fn a_refusal_that_only_quotes_stream_options_changes_nothing() {
    let refused = response(
        "400 Bad Request",
        "application/json",
        r#"{"error":{"message":"the prompt \"stream_options\" is not allowed"}}"#,
    );
    let server = Server::start([refused.clone(), refused, whole("yes")]).await;
    let service = executor(&server, &json!({}));
    for expected in [Some("refused"), None] {
        let desk = Desk::new(|_, _| {});
        let run = run_at(service.as_ref(), json!({ "prompt": "hello" }), &desk);
        let code = run.await.err().map(|error| error.code().to_owned());
        assert_eq!(code.as_deref(), expected);
    }
    let asked = server.requests();
    let has_options = asked
        .iter()
        .map(|request| request.body["stream_options"].is_object());
    assert_eq!(has_options.collect::<Vec<_>>(), [true, false, true]);
}
