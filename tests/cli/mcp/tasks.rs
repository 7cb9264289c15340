//! Tasks, and their questions.

use serde_json::{Value, json};

use super::client::{BOTH, Client, Revision};
use super::tables;
use crate::host::{Host, eventually};
use crate::world::World;

fn with_tasks() -> Value {
    json!({"extensions": {"io.modelcontextprotocol/tasks": {}}, "elicitation": {}})
}

/// Looks at a task until it is as expected.
fn until(host: &mut Client, id: &Value, status: &str) -> Value {
    let mut last = Value::Null;
    eventually(status, || {
        last = host.request("tasks/get", json!({"taskId": id})).unwrap();
        last["status"] == status
    });
    last
}

#[test]
fn a_job_is_a_task_of_the_protocol_where_the_host_has_them() {
    let world = World::new();
    let runtime = Host::start(&world, &tables());
    let submit = |host: &mut Client, kind: &str| {
        let created = host.result("submit_task", json!({"to": "worker", "type": kind}));
        assert_eq!(created["resultType"], "task", "{created:#}");
        created["taskId"].clone()
    };
    let mut host = Client::able(&world, Revision::New, with_tasks(), &["--agent", "helper"]);
    let id = submit(&mut host, "echo");
    let done = until(&mut host, &id, "completed");
    assert_eq!(done["result"]["isError"], false, "{done:#}");
    assert_eq!(done["result"]["structuredContent"]["state"], "completed");

    // A job that failed is a call that ended with an error.
    let id = submit(&mut host, "fail");
    let done = until(&mut host, &id, "completed");
    assert_eq!(done["result"]["isError"], true, "{done:#}");
    assert_eq!(done["result"]["structuredContent"]["state"], "failed");

    let id = submit(&mut host, "slow");
    until(&mut host, &id, "working");
    eventually("the job is signed", || {
        host.request("tasks/cancel", json!({"taskId": id})).is_ok()
    });
    until(&mut host, &id, "cancelled");
    host.request("tasks/cancel", json!({"taskId": id})).unwrap();

    // A task outlives its connection.
    let id = submit(&mut host, "asks");
    host.stop();
    let mut host = Client::able(&world, Revision::New, with_tasks(), &["--agent", "helper"]);
    let asking = until(&mut host, &id, "input_required");
    let question = &asking["inputRequests"]["input-1"];
    assert_eq!(question["method"], "elicitation/create", "{asking:#}");
    let params = &question["params"];
    let message = params["message"].as_str().unwrap();
    assert!(message.contains("\n> how many?"), "it is quoted: {message}");
    assert_eq!(
        params["requestedSchema"]["properties"]["answer"]["type"],
        "integer"
    );
    for refused in [json!({"action": "decline"}), json!("nonsense"), json!({})] {
        let responses = json!({"input-1": refused, "other": {}});
        let update = json!({"taskId": id, "inputResponses": responses});
        host.request("tasks/update", update).unwrap();
    }
    until(&mut host, &id, "input_required");
    let answer = json!({"input-1": {"action": "accept", "content": {"answer": 3}}});
    host.request(
        "tasks/update",
        json!({"taskId": id, "inputResponses": answer}),
    )
    .unwrap();
    let done = until(&mut host, &id, "completed");
    let result = done["result"]["structuredContent"]["result"]["text"]
        .as_str()
        .unwrap();
    assert!(result.contains(r#""answers":[3]"#), "{result}");

    let unknown = host
        .request("tasks/get", json!({"taskId": "outbox/999"}))
        .unwrap_err();
    assert_eq!(unknown["code"], -32602, "{unknown}");
    // Nobody else sees it.
    let mut other = Client::able(&world, Revision::New, with_tasks(), &["--agent", "mute"]);
    for (method, more) in [
        ("tasks/get", json!({})),
        ("tasks/update", json!({"inputResponses": {}})),
        ("tasks/cancel", json!({})),
    ] {
        let mut params = more;
        params["taskId"] = id.clone();
        let hidden = other.request(method, params).unwrap_err();
        assert_eq!(hidden["code"], -32602, "{method}: {hidden}");
    }
    host.stop();
    runtime.stop();
}

#[test]
fn a_question_is_answered_by_the_user_while_the_call_waits() {
    let world = World::new();
    let runtime = Host::start(&world, &tables());
    let arguments = || json!({"to": "worker", "type": "asks", "wait_ms": 60_000});
    let is_answered = |job: &Value| {
        assert_eq!(job["state"], "completed", "{job:#}");
        let result = job["result"]["text"].as_str().unwrap();
        assert!(result.contains(r#""answers":[4]"#), "{result}");
    };
    let forms = json!({"elicitation": {}});
    let mut host = Client::able(&world, Revision::Old, forms.clone(), &["--agent", "helper"]);
    host.user = Some(json!({"action": "accept", "content": {"answer": 4}}));
    let job = host.tool("submit_task", arguments());
    is_answered(&job);
    host.stop();

    let mut host = Client::able(&world, Revision::New, forms, &["--agent", "helper"]);
    let asked = host.result("submit_task", arguments());
    assert_eq!(asked["resultType"], "input_required", "{asked:#}");
    assert!(asked["inputRequests"]["input-1"].is_object(), "{asked:#}");
    let again = json!({
        "name": "submit_task",
        "arguments": arguments(),
        "inputResponses": {"input-1": {"action": "accept", "content": {"answer": 4}}},
        "requestState": asked["requestState"],
    });
    let done = host.request("tools/call", again).unwrap();
    is_answered(&done["structuredContent"]);
    let jobs = runtime.json(&["task", "list"]);
    assert_eq!(
        jobs["jobs"].as_array().unwrap().len(),
        2,
        "one for each host: {jobs:#}"
    );
    host.stop();
    runtime.stop();
}

#[test]
fn a_question_is_answered_without_asking_the_user_by_a_tool() {
    let world = World::new();
    let runtime = Host::start(&world, &tables());
    for revision in BOTH {
        let mut host = Client::start(&world, revision, &["--agent", "helper"]);
        let arguments = json!({"to": "worker", "type": "asks", "wait_ms": 60_000});
        let job = host.tool("submit_task", arguments);
        assert_eq!(job["state"], "input-required", "{job:#}");
        assert_eq!(job["input"]["question"], "how many?");
        let id = &job["id"];
        for (wrong, part) in [
            (json!({"to": "worker", "answers_task": id}), "both or none"),
            (
                json!({"to": "ponger", "answers_task": id, "answer": 5}),
                "nothing was sent",
            ),
            (
                json!({"to": "worker", "answers_task": "outbox/999", "answer": 5}),
                "not_found",
            ),
            (
                json!({"to": "worker", "answers_task": id, "answer": 5, "text": "x"}),
                "unknown field",
            ),
        ] {
            let refused = host.refused("send_message", wrong);
            assert!(refused.contains(part), "{refused}");
        }
        let sent = host.tool(
            "send_message",
            json!({"to": "worker", "answers_task": id, "answer": 5}),
        );
        assert_eq!(sent["to"], job["to"]);
        let done = host.tool("get_task", json!({"id": id, "timeout_ms": 60_000}));
        assert_eq!(done["state"], "completed", "{done:#}");
        let result = done["result"]["text"].as_str().unwrap();
        assert!(result.contains(r#""answers":[5]"#), "{result}");
        host.stop();
    }
    runtime.stop();
}
