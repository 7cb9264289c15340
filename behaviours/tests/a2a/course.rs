//! The course of jobs with agents that keep to the protocol.

use std::sync::Arc;

use agentry_sdk::Desk;
use serde_json::{Value, json};

use crate::bench::{
    Agent, KEY, PATIENCE, Reply, artifact_update, attempt, card, configured, error, events, head,
    job, json_of, result, run, status_update, stream, task,
};

#[tokio::test]
async fn a_stream_reports_progress_and_its_artifacts_are_the_result() {
    let agent = Agent::scripted(true, |method, _, _| {
        assert_eq!(method, "SendStreamingMessage");
        stream(&[
            json!({ "task": task("SUBMITTED", None, &json!([])) }),
            status_update("WORKING", Some("digging")),
            artifact_update("green ", false),
            artifact_update("thumb", true),
            status_update("COMPLETED", None),
        ])
    })
    .await;
    let executor = configured(&agent.url, &json!({})).unwrap();
    let input = json!({ "prompt": "water it", "params": { "litres": 2 } });
    let (result, reported) = attempt(&executor, &job(input)).await;
    let output = result.unwrap().unwrap();
    assert_eq!(output.text, "green thumb");
    assert_eq!(
        output.media_type.as_deref(),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(reported.notes[..2], ["submitted", "digging"]);
    assert!(reported.notes[2].ends_with(" bytes"), "{reported:?}");
    let request = agent.requests().pop().unwrap();
    assert_eq!(request.line(), "POST /rpc");
    assert_eq!(request.header("a2a-version"), Some("1.0"));
    let message = &request.body["params"]["message"];
    assert_eq!(
        *message,
        json!({
            "messageId": KEY, "contextId": KEY, "role": "ROLE_USER",
            "parts": [
                { "text": "water it", "mediaType": "text/plain" },
                { "data": { "litres": 2 }, "mediaType": "application/json" },
            ],
        })
    );
}

#[tokio::test]
async fn an_agent_that_does_not_stream_is_asked_how_far_it_is() {
    let agent = Agent::scripted(false, |method, number, params| match (method, number) {
        ("SendMessage", 0) => {
            assert_eq!(params["configuration"]["returnImmediately"], true);
            result(&json!({ "task": task("SUBMITTED", None, &json!([])) }))
        }
        ("GetTask", 0 | 1) => result(&task("WORKING", Some("digging"), &json!([]))),
        ("GetTask", _) => {
            let artifacts = json!([{ "artifactId": "a", "parts": [{ "data": [1, 2] }] }]);
            result(&task("COMPLETED", None, &artifacts))
        }
        other => panic!("{other:?}"),
    })
    .await;
    let output = run(&agent, &json!({})).await.unwrap();
    assert_eq!(output.text, "[1,2]");
    assert_eq!(output.media_type.as_deref(), Some("application/json"));
    assert_eq!(agent.methods().len(), 4);
    assert_eq!(agent.params("GetTask")[0]["id"], "t1");
}

#[tokio::test]
async fn rest_is_spoken_with_a_tenant() {
    let agent = Agent::start(|request, url| match request.line() {
        "GET /garden/.well-known/agent-card.json" => {
            let mut card = card(url, true);
            card["supportedInterfaces"] = json!([
                { "url": format!("{url}/g"), "protocolBinding": "GRPC", "protocolVersion": "1.0" },
                { "url": format!("{url}/garden/"), "protocolBinding": "HTTP+JSON",
                  "protocolVersion": "1.0", "tenant": "ten/ant" },
            ]);
            json_of(&card)
        }
        "POST /garden/ten%2Fant/message:stream" => {
            let event = json!({ "task": task("WORKING", None, &json!([])) });
            let event = format!("data: {event}\n\n");
            crate::bench::response("200 OK", "text/event-stream", &event)
        }
        "GET /garden/ten%2Fant/tasks/t1?historyLength=0" => {
            json_of(&task("WORKING", None, &json!([])))
        }
        "GET /garden/ten%2Fant/tasks/t1:subscribe" => {
            let event = status_update("COMPLETED", Some("wet"));
            let event = format!("data: {event}\n\n");
            crate::bench::response("200 OK", "text/event-stream", &event)
        }
        other => panic!("{other}"),
    })
    .await;
    let executor = configured(&format!("{}/garden", agent.url), &json!({})).unwrap();
    let (result, _) = attempt(&executor, &job(json!({ "prompt": "water it" }))).await;
    assert_eq!(result.unwrap().unwrap().text, "wet");
}

#[tokio::test]
async fn a_message_in_place_of_a_task_is_the_result() {
    let said = json!({ "message": { "messageId": "m", "role": "ROLE_AGENT",
        "parts": [{ "text": "it is " }, { "text": "wet" }] } });
    for streams in [false, true] {
        let said = said.clone();
        let agent = Agent::scripted(streams, move |_, _, _| {
            if streams {
                stream(std::slice::from_ref(&said))
            } else {
                result(&said)
            }
        })
        .await;
        assert_eq!(run(&agent, &json!({})).await.unwrap().text, "it is wet");
    }
}

/// An agent that asks two questions, and remembers what it was told.
async fn curious(streams: bool, lists: bool) -> Agent {
    let said = std::sync::Mutex::new(Vec::<Value>::new());
    Agent::scripted(streams, move |method, _, params| {
        let mut said = said.lock().unwrap();
        let now = |said: &[Value]| match said.len() {
            1 => task("INPUT_REQUIRED", Some("how much?"), &json!([])),
            2 => task("INPUT_REQUIRED", Some("and when?"), &json!([])),
            _ => {
                let texts: Vec<String> = said
                    .iter()
                    .map(|said| said["parts"][0].to_string())
                    .collect();
                task("COMPLETED", Some(&texts.join(" ")), &json!([]))
            }
        };
        match method {
            "SendMessage" | "SendStreamingMessage" => {
                let message = &params["message"];
                // An agent knows a message that it has.
                if !said
                    .iter()
                    .any(|known| known["messageId"] == message["messageId"])
                {
                    said.push(message.clone());
                }
                let event = json!({ "task": now(&said) });
                if streams {
                    stream(&[event])
                } else {
                    result(&event)
                }
            }
            "ListTasks" if lists => {
                assert_eq!(params["contextId"], KEY);
                let mut task = now(&said);
                task["history"] = said.clone().into();
                result(&json!({ "tasks": [task] }))
            }
            "ListTasks" => error(-32601, "no such method"),
            "GetTask" => result(&now(&said)),
            other => panic!("{other}"),
        }
    })
    .await
}

#[tokio::test]
async fn a_question_of_the_agent_is_one_of_the_job_also_after_a_restart() {
    for (streams, lists) in [(true, true), (false, true), (true, false), (false, false)] {
        let agent = curious(streams, lists).await;
        let mut task = job(json!({ "prompt": "water it" }));
        for (question, answer) in [
            ("how much?", json!({ "litres": 2 })),
            ("and when?", json!("today")),
        ] {
            // Each attempt is of a new process.
            let executor = configured(&agent.url, &json!({})).unwrap();
            let (result, reported) = attempt(&executor, &task).await;
            assert!(result.is_none());
            assert_eq!(reported.question.as_deref(), Some(question));
            task.answers.push(answer);
            task.attempt += 1;
        }
        let executor = configured(&agent.url, &json!({})).unwrap();
        let (result, _) = attempt(&executor, &task).await;
        let text = result.unwrap().unwrap().text;
        assert!(text.contains("water it"), "{text}");
        assert!(text.contains(r#""data":{"litres":2}"#), "{text}");
        assert!(text.contains("today"), "{text}");
        let name = if streams {
            "SendStreamingMessage"
        } else {
            "SendMessage"
        };
        let answers: Vec<Value> = agent
            .params(name)
            .into_iter()
            .map(|params| params["message"].clone())
            .filter(|message| message["messageId"] != KEY)
            .collect();
        let last = answers.last().unwrap();
        assert_eq!(last["messageId"], format!("{KEY}-2"));
        assert_eq!(
            (&last["taskId"], &last["contextId"]),
            (&json!("t1"), &json!(KEY))
        );
        if lists {
            assert_eq!(
                answers.len(),
                2,
                "an answer that was given is not given again"
            );
            let sent = agent.params(name).len();
            assert_eq!(sent, 3, "the first message is not sent again");
        }
    }
}

#[tokio::test]
async fn a_question_that_was_answered_is_not_asked_again() {
    // The agent still shows its old status when it is asked after the answer.
    let agent = Agent::scripted(false, |method, number, _| match (method, number) {
        ("SendMessage", _) | ("GetTask", 0 | 1) => {
            let task = task("INPUT_REQUIRED", Some("how much?"), &json!([]));
            match method {
                "GetTask" => result(&task),
                _ => result(&json!({ "task": task })),
            }
        }
        ("GetTask", _) => result(&task("COMPLETED", Some("wet"), &json!([]))),
        ("ListTasks", _) => error(-32004, "unsupported"),
        other => panic!("{other:?}"),
    })
    .await;
    let executor = configured(&agent.url, &json!({})).unwrap();
    let mut task = job(json!({ "prompt": "water it" }));
    task.answers.push("2 l".into());
    task.attempt = 2;
    let (result, reported) = attempt(&executor, &task).await;
    assert_eq!(reported.question, None);
    assert_eq!(result.unwrap().unwrap().text, "wet");
}

#[tokio::test]
async fn a_further_attempt_goes_on_with_the_task() {
    let agent = Agent::scripted(true, |method, _, _| match method {
        "ListTasks" => {
            let other = json!({ "id": "t0", "contextId": "another" });
            result(&json!({ "tasks": [other, task("WORKING", None, &json!([]))] }))
        }
        "GetTask" => result(&task("WORKING", None, &json!([]))),
        "SubscribeToTask" => stream(&[
            json!({ "task": task("WORKING", None, &json!([])) }),
            status_update("COMPLETED", Some("wet")),
        ]),
        other => panic!("{other}"),
    })
    .await;
    let executor = configured(&agent.url, &json!({})).unwrap();
    let mut again = job(json!({ "prompt": "water it" }));
    again.attempt = 2;
    let (result, _) = attempt(&executor, &again).await;
    assert_eq!(result.unwrap().unwrap().text, "wet");
    assert_eq!(agent.methods(), ["ListTasks", "GetTask", "SubscribeToTask"]);
}

#[tokio::test]
async fn the_end_of_a_task_says_whether_another_attempt_helps() {
    for (state, code) in [
        ("FAILED", "agent-failed"),
        ("REJECTED", "agent-rejected"),
        ("CANCELED", "agent-canceled"),
        ("AUTH_REQUIRED", "auth-required"),
    ] {
        let agent = Agent::scripted(false, move |method, _, _| match method {
            "SendMessage" => {
                result(&json!({ "task": task(state, Some("s3cret reason"), &json!([])) }))
            }
            "CancelTask" => result(&task("CANCELED", None, &json!([]))),
            other => panic!("{other}"),
        })
        .await;
        let error = run(&agent, &json!({})).await.unwrap_err();
        assert_eq!((error.code(), error.is_transient()), (code, false));
        assert!(error.message().contains("s3cret reason"));
        assert!(!error.public().contains("s3cret"), "{}", error.public());
        let is_left = agent.methods().contains(&"CancelTask".to_owned());
        assert_eq!(
            is_left,
            state == "AUTH_REQUIRED",
            "an open task is canceled"
        );
    }
}

/// Starts a job with an agent that works for ever, and ends the attempt as the runtime does.
async fn interrupted(is_over: bool) -> Agent {
    let agent = Agent::scripted(true, |method, _, _| match method {
        "SendStreamingMessage" => {
            let begun = events(&[json!({ "task": task("WORKING", None, &json!([])) })]);
            Reply::Hang((head("200 OK", "text/event-stream") + &begun).into_bytes())
        }
        "CancelTask" => result(&task("CANCELED", None, &json!([]))),
        other => panic!("{other}"),
    })
    .await;
    let executor = configured(&agent.url, &json!({})).unwrap();
    let (begun, mut began) = tokio::sync::mpsc::unbounded_channel();
    let desk = Desk::new(move |_, note| drop(begun.send(note)));
    let its = desk.clone();
    let executor = Arc::clone(&executor);
    let task = job(json!({ "prompt": "water it" }));
    let running = tokio::spawn(async move { executor.execute(&task, &its).await });
    let note = tokio::time::timeout(PATIENCE, began.recv()).await.unwrap();
    assert_eq!(note.unwrap().as_deref(), Some("working"));
    if is_over {
        desk.end();
    }
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    agent
}

#[tokio::test]
async fn a_job_that_is_over_cancels_the_task_and_another_does_not() {
    let agent = interrupted(true).await;
    agent.until_called("CancelTask").await;
    assert_eq!(agent.params("CancelTask")[0]["id"], "t1");

    // The process ends, or the attempt took too long: the next attempt goes on.
    let agent = interrupted(false).await;
    // Whatever the drop would have started comes before this.
    let canceled = agent.until_called("CancelTask");
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(300), canceled).await;
    assert!(quiet.is_err(), "{:?}", agent.methods());
}

#[tokio::test]
async fn a_job_is_part_of_its_trace() {
    let agent = Agent::scripted(false, |method, _, _| match method {
        "SendMessage" => result(&json!({ "task": task("COMPLETED", Some("wet"), &json!([])) })),
        other => panic!("{other}"),
    })
    .await;
    let executor = configured(&agent.url, &json!({})).unwrap();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let calls = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&calls);
    let desk = Desk::new(|_, _| {}).with_trace(trace.parse().unwrap(), move |call, end| {
        kept.lock().unwrap().push((call, end.error));
    });
    let job = job(json!({ "prompt": "water it" }));
    executor.execute(&job, &desk).await.unwrap();
    let [_, message] = agent.requests().try_into().unwrap();
    assert_eq!(message.header("traceparent"), Some(trace));
    let calls = calls.lock().unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].0.operation, &calls[0].1), ("invoke_agent", &None));
    assert_eq!(calls[0].0.host, "127.0.0.1");
}

#[tokio::test]
async fn a_job_without_content_or_with_a_model_is_refused() {
    let agent = Agent::scripted(false, |_, _, _| panic!("nobody asks")).await;
    let executor = configured(&agent.url, &json!({})).unwrap();
    for input in [json!({}), json!({ "prompt": "x", "model": "m" })] {
        let (result, _) = attempt(&executor, &job(input)).await;
        let error = result.unwrap().unwrap_err();
        assert_eq!((error.code(), error.is_transient()), ("bad-request", false));
    }
}
