//! Agents that break the protocol, and networks that break.

use serde_json::{Value, json};

use crate::bench::{
    Agent, Reply, artifact_update, configured, error, events, head, json_of, response, result, run,
    status_update, stream, task,
};

/// The code of the failure with an agent that answers each message with this, and whether another
/// attempt may help.
async fn failure(streams: bool, reply: Reply, more: &Value) -> (String, bool) {
    let agent = Agent::scripted(streams, move |method, _, _| match method {
        "CancelTask" => result(&task("CANCELED", None, &json!([]))),
        _ => reply.clone(),
    })
    .await;
    let error = run(&agent, more).await.unwrap_err();
    (error.code().to_owned(), error.is_transient())
}

fn is(code: &str, transient: bool) -> (String, bool) {
    (code.to_owned(), transient)
}

#[tokio::test]
async fn refusals_are_told_apart() {
    for (reply, code, transient) in [
        (error(-32602, "invalid"), "refused", false),
        (error(-32009, "version"), "refused", false),
        (error(-32603, "internal"), "service-error", true),
        (error(-32001, "which task?"), "task-lost", true),
        (response("401 Who", "text/plain", "x"), "refused", false),
        (response("429 Slow", "text/plain", ""), "rate-limited", true),
        (response("503 Busy", "text/plain", ""), "unavailable", true),
        (
            response(
                "400 Bad",
                "application/json",
                r#"{"error":{"code":400,"details":[{"reason":"TASK_NOT_FOUND"}]}}"#,
            ),
            "task-lost",
            true,
        ),
        (
            response("200 OK", "application/json", "{}"),
            "bad-answer",
            false,
        ),
        (
            response("200 OK", "application/json", "x"),
            "bad-answer",
            false,
        ),
        (result(&json!(7)), "bad-answer", false),
        (
            result(&json!({ "task": { "id": "" } })),
            "bad-answer",
            false,
        ),
        (
            result(&json!({ "task": { "id": ".." } })),
            "bad-answer",
            false,
        ),
        (
            result(&json!({ "task": task("COMPLETED", None, &json!([])) })),
            "empty",
            false,
        ),
    ] {
        let found = failure(false, reply.clone(), &json!({})).await;
        assert_eq!(found, is(code, transient));
        // The same, where a stream is expected.
        let found = failure(true, reply, &json!({})).await;
        assert_eq!(found, is(code, transient));
    }
    let nothing = failure(false, result(&json!({})), &json!({})).await;
    assert_eq!(nothing, is("bad-answer", false));
}

#[tokio::test]
async fn an_event_of_another_task_is_refused() {
    let other = json!({ "statusUpdate": { "taskId": "t2", "contextId": "c",
        "status": { "state": "TASK_STATE_COMPLETED" } } });
    let working = json!({ "task": task("WORKING", None, &json!([])) });
    let found = failure(true, stream(&[working, other]), &json!({})).await;
    assert_eq!(found, is("bad-answer", false));
}

#[tokio::test]
async fn a_huge_result_is_refused_and_its_task_canceled() {
    let more = json!({ "max_response_bytes": "64KiB" });
    let piece = events(&[artifact_update(&"x".repeat(1000), true)]);
    let chunk = Reply::Endless(
        head("200 OK", "text/event-stream").into_bytes(),
        piece.into_bytes(),
    );
    let line = Reply::Endless(
        (head("200 OK", "text/event-stream") + "data: ").into_bytes(),
        vec![b'x'; 4096],
    );
    let body = Reply::Endless(
        (head("200 OK", "application/json") + "\"").into_bytes(),
        vec![b'x'; 4096],
    );
    assert_eq!(failure(true, line, &more).await, is("too-long", false));
    assert_eq!(failure(false, body, &more).await, is("too-long", false));

    let agent = Agent::scripted(true, move |method, _, _| match method {
        "CancelTask" => result(&task("CANCELED", None, &json!([]))),
        _ => chunk.clone(),
    })
    .await;
    let error = run(&agent, &more).await.unwrap_err();
    assert_eq!(error.code(), "too-long");
    assert_eq!(agent.methods(), ["SendStreamingMessage", "CancelTask"]);
}

#[tokio::test]
async fn a_cut_stream_is_subscribed_to_again() {
    let agent = Agent::scripted(true, |method, number, _| match (method, number) {
        ("SendStreamingMessage", _) => {
            // The second event is cut off.
            let all = events(&[
                json!({ "task": task("WORKING", None, &json!([])) }),
                artifact_update("lost", false),
            ]);
            response("200 OK", "text/event-stream", &all[..all.len() - 20])
        }
        ("GetTask", _) => result(&task(
            "WORKING",
            None,
            &json!([{ "artifactId": "a", "parts": [{ "text": "green " }] }]),
        )),
        ("SubscribeToTask", 0) => response("503 Busy", "text/plain", ""),
        ("SubscribeToTask", 1) => stream(&[status_update("WORKING", Some("digging"))]),
        ("SubscribeToTask", _) => stream(&[
            artifact_update("thumb", true),
            status_update("COMPLETED", None),
        ]),
        other => panic!("{other:?}"),
    })
    .await;
    let output = run(&agent, &json!({})).await.unwrap();
    assert_eq!(output.text, "green thumb");
    let methods = agent.methods();
    let sent = methods
        .iter()
        .filter(|method| *method == "SendStreamingMessage");
    assert_eq!(
        sent.count(),
        1,
        "the message is not sent again: {methods:?}"
    );
}

#[tokio::test]
async fn an_agent_that_says_nothing_is_given_up() {
    let more = json!({ "idle_timeout": "200ms" });
    let hang = Reply::Hang(Vec::new());
    assert_eq!(failure(true, hang.clone(), &more).await, is("silent", true));
    assert_eq!(failure(false, hang, &more).await, is("silent", true));

    // It falls silent while it is at work.
    let agent = Agent::scripted(true, |method, _, _| match method {
        "SendStreamingMessage" => {
            let begun = events(&[json!({ "task": task("WORKING", None, &json!([])) })]);
            Reply::Hang((head("200 OK", "text/event-stream") + &begun).into_bytes())
        }
        "GetTask" => Reply::Hang(Vec::new()),
        other => panic!("{other}"),
    })
    .await;
    let error = run(&agent, &more).await.unwrap_err();
    assert_eq!((error.code(), error.is_transient()), ("silent", true));
}

#[tokio::test]
async fn an_agent_that_is_away_for_a_moment_is_waited_for() {
    let agent = Agent::scripted(false, |method, number, _| match (method, number) {
        ("SendMessage", _) => result(&json!({ "task": task("WORKING", None, &json!([])) })),
        ("GetTask", 0) => Reply::Bytes(Vec::new()),
        ("GetTask", 1) => response("502 Gate", "text/plain", ""),
        ("GetTask", _) => result(&task("COMPLETED", Some("wet"), &json!([]))),
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(run(&agent, &json!({})).await.unwrap().text, "wet");

    let url = "http://127.0.0.1:1";
    let executor = configured(url, &json!({ "idle_timeout": "50ms" })).unwrap();
    let task = crate::bench::job(json!({ "prompt": "water it" }));
    let (result, _) = crate::bench::attempt(&executor, &task).await;
    let error = result.unwrap().unwrap_err();
    assert_eq!((error.code(), error.is_transient()), ("unreachable", true));
}

#[tokio::test]
async fn a_broken_stream_before_the_task_is_known_can_be_tried_again() {
    for reply in [
        response("200 OK", "text/event-stream", ""),
        response("200 OK", "text/event-stream", ": only a comment\n\n"),
    ] {
        assert_eq!(
            failure(true, reply, &json!({})).await,
            is("connection-lost", true)
        );
    }
    let told = response(
        "200 OK",
        "text/event-stream",
        "event: error\ndata: out of memory\n\n",
    );
    assert_eq!(
        failure(true, told, &json!({})).await,
        is("service-error", true)
    );
}

#[tokio::test]
async fn the_key_goes_to_the_interface_alone_and_is_shown_nowhere() {
    const SECRET: &str = "k-s3cret-0123456789";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{SECRET}\n")).unwrap();
    for (header, more, sent) in [
        ("authorization", json!({}), format!("Bearer {SECRET}")),
        (
            "x-api-key",
            json!({ "key_header": "X-API-Key" }),
            SECRET.to_owned(),
        ),
    ] {
        let agent = Agent::scripted(false, |_, _, _| {
            error(-32602, &format!("wrong key {SECRET}"))
        })
        .await;
        let mut settings = more;
        settings["key_file"] = file.path().to_str().unwrap().into();
        let error = run(&agent, &settings).await.unwrap_err();
        let [card, message] = agent.requests().try_into().unwrap();
        assert!(!card.head.contains(SECRET));
        assert_eq!(message.header(header), Some(sent.as_str()));
        assert!(error.message().contains("wrong key [key]"), "{error}");
        let executor = configured(&agent.url, &settings).unwrap();
        for shown in [format!("{error:?}"), format!("{executor:?}")] {
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
    for settings in [
        json!({ "key_file": "a", "key_env": "B" }),
        json!({ "key_header": "X-API-Key" }),
        json!({ "key_env": "B", "key_header": "no header" }),
        json!({ "signed_by": ["00"] }),
        json!({ "poll_every": "0s" }),
    ] {
        assert!(
            configured("http://127.0.0.1:1", &settings).is_err(),
            "{settings}"
        );
    }
    let missing = json!({ "key_file": "/no/such/file" });
    let agent = Agent::start(|_, _| json_of(&json!({}))).await;
    assert_eq!(run(&agent, &missing).await.unwrap_err().code(), "no-key");
    assert!(agent.requests().is_empty());
}

#[tokio::test]
async fn hostile_texts_are_cut() {
    let long = "x".repeat(100_000);
    let agent = Agent::scripted(true, move |_, _, _| {
        stream(&[
            json!({ "task": task("WORKING", Some(&long), &json!([])) }),
            status_update("INPUT_REQUIRED", Some(&long)),
        ])
    })
    .await;
    let executor = configured(&agent.url, &json!({})).unwrap();
    let task = crate::bench::job(json!({ "prompt": "water it" }));
    let (_, reported) = crate::bench::attempt(&executor, &task).await;
    assert_eq!(reported.notes[0].len(), 500);
    assert_eq!(reported.question.unwrap().len(), 4096);
}
