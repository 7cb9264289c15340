//! Agents on the chain as A2A agents: the bindings, streams, questions, cards, and who may see what.

mod push;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::host::{Host, agent, pong};
use crate::http::{Response, address, call, token};
use crate::world::World;

/// Long enough for everything that happens by itself.
const LONG: Duration = Duration::from_secs(120);

/// A gateway's wallets, agents that work and one that talks; and agents that nobody may reach.
fn tables() -> [String; 5] {
    let slow = "slow = { executor = \"command\", program = \"sleep\", args = [\"600\"] }";
    let cat = "cat = { executor = \"command\", program = \"cat\" }";
    let asks = "asks = { executor = \"command\", program = \"sh\", args = [\"-c\", \
                '''if grep -q answers; then echo thanks; else \
                echo 'ask {\"question\":\"which one?\",\"schema\":{\"type\":\"string\"}}' >&2; exec sleep 600; fi'''] }";
    let worker = |types: &str| {
        format!(
            "{{ kind = \"tasks\", allow = [\"gateway\", \"other\"], types = {{ {types} }} }}, {{ kind = \"ack\" }}"
        )
    };
    [
        "[a2a]\nagents = [\"worker\", \"several\", \"talker\"]\nfrom = \"gateway\"\nseal = false\n"
            .to_owned(),
        agent("gateway", "gateway", &pong("hello", "hi")),
        agent("other", "other", &pong("hello", "hi")),
        agent("worker", "worker", &worker(cat))
            + &agent(
                "several",
                "several",
                &worker(&format!("{cat}, {slow}, {asks}")),
            ),
        agent(
            "talker",
            "talker",
            &format!("{}, {{ kind = \"ack\" }}", pong("ping", "pong")),
        ),
    ]
}

/// A client with a token.
struct Client<'a> {
    host: &'a Host<'a>,
    secret: String,
}

impl<'a> Client<'a> {
    fn new(host: &'a Host<'a>, name: &str, more: &[&str]) -> Self {
        let all = [&["--allow", "read,send"], more].concat();
        let secret = token(host, name, &all);
        Self { host, secret }
    }

    fn headers(&self) -> [String; 2] {
        [
            format!("Authorization: Bearer {}", self.secret),
            "A2A-Version: 1.0".to_owned(),
        ]
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Response {
        let headers = self.headers();
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        call(self.host, method, path, &headers, body)
    }

    /// A call of JSON-RPC: its result, or its error.
    fn rpc(&self, agent: &str, method: &str, params: &Value) -> Result<Value, Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        let answer = self.request("POST", &format!("/a2a/{agent}"), &body.to_string());
        let mut answer = answer.good(200);
        assert_eq!(
            (&answer["jsonrpc"], &answer["id"]),
            (&json!("2.0"), &json!(7))
        );
        match answer["error"].take() {
            Value::Null => Ok(answer["result"].take()),
            error => Err(error),
        }
    }

    fn send(&self, agent: &str, message: &Value) -> Result<Value, Value> {
        self.rpc(agent, "SendMessage", &json!({ "message": message }))
    }

    /// The data of each event of a stream, until it ends. `first` is called once the first is here.
    fn stream(&self, path: &str, body: &str, first: impl FnOnce()) -> Vec<Value> {
        let mut stream = TcpStream::connect(address(self.host)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            address(self.host),
            self.headers().join("\r\n"),
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let lines = BufReader::new(stream).lines().map(Result::unwrap);
        let data = lines.filter_map(|line| Some(line.strip_prefix("data: ")?.to_owned()));
        let mut events = data.map(|data| serde_json::from_str(&data).unwrap());
        let mut all: Vec<Value> = events.next().into_iter().collect();
        first();
        all.extend(events);
        all
    }
}

fn text(id: &str, text: &str) -> Value {
    json!({ "messageId": id, "role": "ROLE_USER", "parts": [{ "text": text }] })
}

/// A message that asks for a job of this type.
fn typed(id: &str, kind: &str) -> Value {
    let mut message = text(id, "hello");
    message["metadata"] = json!({ "agentry/type": kind });
    message
}

fn state(task: &Value) -> &str {
    task["status"]["state"].as_str().unwrap_or_default()
}

#[test]
fn a_message_is_a_job_or_a_talk_and_is_carried_out_once() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let client = Client::new(&host, "client", &[]);
    let mut message = text("m-1", "hello");
    message["contextId"] = json!("our-talk");
    let done = client.send("worker", &message).unwrap();
    let task = &done["task"];
    assert_eq!(state(task), "TASK_STATE_COMPLETED", "{task:#}");
    assert_eq!(task["contextId"], "our-talk");
    let result = &task["artifacts"][0]["parts"][0]["text"];
    assert!(result.as_str().unwrap().contains("hello"), "{task:#}");
    assert_eq!(task["history"][0]["parts"][0]["text"], "hello");
    // The same message is the same task; another one with its id is refused.
    let again = client.send("worker", &message).unwrap();
    assert_eq!(again["task"]["id"], task["id"]);
    let other = client.send("worker", &text("m-1", "other")).unwrap_err();
    assert_eq!(other["code"], -32602, "{other}");
    let id = task["id"].as_str().unwrap();
    let found = client
        .rpc("worker", "GetTask", &json!({ "id": id }))
        .unwrap();
    assert_eq!(found["id"], task["id"]);
    let listed = client.rpc("worker", "ListTasks", &json!({ "contextId": "our-talk" }));
    let listed = listed.unwrap();
    assert_eq!(listed["tasks"].as_array().unwrap().len(), 1, "{listed:#}");
    assert_eq!(listed["tasks"][0]["artifacts"], Value::Null);
    // It is a task of this agent only.
    let elsewhere = client
        .rpc("several", "GetTask", &json!({ "id": id }))
        .unwrap_err();
    assert_eq!(elsewhere["code"], -32001);
    // An agent that does no jobs answers messages.
    let said = client.send("talker", &text("m-2", "ping")).unwrap();
    assert_eq!(said["message"]["parts"][0]["text"], "pong", "{said:#}");
    assert_eq!(
        said["message"]["metadata"]["agentry/authenticity"],
        "verified"
    );
    let mut silent = json!({ "message": text("m-3", "something else") });
    silent["configuration"] = json!({ "returnImmediately": true });
    let silent = client.rpc("talker", "SendMessage", &silent).unwrap();
    assert_eq!(state(&silent["task"]), "TASK_STATE_WORKING", "{silent:#}");
    let id = silent["task"]["id"].as_str().unwrap();
    let found = client
        .rpc("talker", "GetTask", &json!({ "id": id }))
        .unwrap();
    assert_eq!(found["id"], silent["task"]["id"]);
}

#[test]
fn a_task_asks_is_canceled_and_is_watched() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let client = Client::new(&host, "client", &[]);
    // Which of several types is meant must be said.
    let unclear = client.send("several", &text("m-0", "hello")).unwrap_err();
    assert!(
        unclear["message"]
            .as_str()
            .unwrap()
            .contains("asks, cat, slow"),
        "{unclear}"
    );
    let asked = client.send("several", &typed("m-1", "asks")).unwrap();
    let task = &asked["task"];
    assert_eq!(state(task), "TASK_STATE_INPUT_REQUIRED", "{task:#}");
    let parts = &task["status"]["message"]["parts"];
    assert_eq!(parts[0]["text"], "which one?");
    assert_eq!(parts[1]["data"]["schema"]["type"], "string");
    let id = task["id"].as_str().unwrap();
    let mut answer = text("m-2", "the left one");
    answer["taskId"] = json!(id);
    let done = client.send("several", &answer).unwrap();
    assert_eq!(state(&done["task"]), "TASK_STATE_COMPLETED", "{done:#}");
    assert_eq!(done["task"]["artifacts"][0]["parts"][0]["text"], "thanks\n");
    // It waits for nothing any more.
    let late = client.send("several", &answer).unwrap_err();
    assert_eq!(late["code"], -32004, "{late}");
    let late = client
        .rpc("several", "CancelTask", &json!({ "id": id }))
        .unwrap_err();
    assert_eq!(late["code"], -32002, "{late}");
    let late = client
        .rpc("several", "SubscribeToTask", &json!({ "id": id }))
        .unwrap_err();
    assert_eq!(late["code"], -32004, "{late}");
    // A stream over REST, which another client ends by canceling the task over JSON-RPC.
    let mut slow = json!({ "message": typed("m-3", "slow") });
    slow["configuration"] = json!({ "returnImmediately": true });
    let begun = client.rpc("several", "SendMessage", &slow).unwrap();
    let id = begun["task"]["id"].as_str().unwrap().to_owned();
    let path = format!("/a2a/several/tasks/{id}:subscribe");
    let updates = client.stream(&path, "", || {
        let canceled = client.rpc("several", "CancelTask", &json!({ "id": id }));
        let canceled = canceled.unwrap();
        assert_eq!(state(&canceled), "TASK_STATE_CANCELED", "{canceled:#}");
    });
    assert_eq!(updates[0]["task"]["id"], json!(id), "{updates:#?}");
    let last = &updates.last().unwrap()["statusUpdate"];
    assert_eq!(
        last["status"]["state"], "TASK_STATE_CANCELED",
        "{updates:#?}"
    );
    // A stream of JSON-RPC has whole responses.
    let params = json!({ "message": text("m-4", "hello") });
    let body = json!({
        "jsonrpc": "2.0", "id": "s", "method": "SendStreamingMessage", "params": params,
    });
    let updates = client.stream("/a2a/worker", &body.to_string(), || ());
    assert!(
        updates
            .iter()
            .all(|one| one["id"] == "s" && one["jsonrpc"] == "2.0")
    );
    let kinds: Vec<&String> = updates
        .iter()
        .flat_map(|one| one["result"].as_object().unwrap().keys())
        .collect();
    assert_eq!(kinds[0], "task");
    assert!(
        kinds.iter().any(|kind| *kind == "artifactUpdate"),
        "{kinds:?}"
    );
    let last = &updates.last().unwrap()["result"]["statusUpdate"]["status"];
    assert_eq!(last["state"], "TASK_STATE_COMPLETED");
}

#[test]
fn nobody_sees_the_tasks_of_others_and_what_is_wrong_is_told() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let one = Client::new(&host, "one", &["--agent", "gateway"]);
    let two = Client::new(&host, "two", &["--agent", "other", "--to", "talker"]);
    let task = one.send("worker", &text("m-1", "hello")).unwrap()["task"].take();
    let id = &task["id"];
    for method in ["GetTask", "CancelTask", "SubscribeToTask"] {
        let refused = two.rpc("worker", method, &json!({ "id": id })).unwrap_err();
        assert_eq!(refused["code"], -32001, "{method}: {refused}");
    }
    let mut answer = text("m-2", "hello");
    answer["taskId"] = id.clone();
    assert_eq!(two.send("worker", &answer).unwrap_err()["code"], -32001);
    let listed = two.rpc("worker", "ListTasks", &json!({})).unwrap();
    assert_eq!(listed["tasks"], json!([]));
    // Its token names the recipients.
    let path = "/a2a/worker/message:send";
    let body = json!({ "message": text("m-3", "hello") }).to_string();
    let refused = two.request("POST", path, &body);
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(refused.json()["error"]["status"], "PERMISSION_DENIED");
    // Agents that are not named do not exist, and nobody without a token learns which do.
    let missing = one.request("POST", "/a2a/other/message:send", &body);
    assert_eq!(missing.status, 404);
    for agent in ["worker", "other", "nobody"] {
        let path = format!("/a2a/{agent}");
        let refused = call(&host, "POST", &path, &["A2A-Version: 1.0"], &body);
        assert_eq!(refused.status, 401, "{refused:?}");
        assert!(refused.headers.contains("www-authenticate: bearer"));
    }
    let bearer = one.headers()[0].clone();
    let old = call(&host, "POST", "/a2a/worker", &[&bearer], &body).good(200);
    assert_eq!(old["error"]["code"], -32009, "{old}");
    for (body, code) in [
        ("{", -32700),
        ("[]", -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"GetTask"}"#, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"GetTask"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"GetTask"}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"Steal"}"#, -32601),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"CreateTaskPushNotificationConfig"}"#,
            -32602,
        ),
    ] {
        let refused = one.request("POST", "/a2a/worker", body).good(200);
        assert_eq!(refused["error"]["code"], code, "{body}: {refused}");
    }
    let file = json!({ "messageId": "f", "role": "ROLE_USER", "parts": [{ "url": "http://x/" }] });
    assert_eq!(one.send("worker", &file).unwrap_err()["code"], -32005);
    let large = "x".repeat(3 << 20);
    assert_eq!(one.request("POST", "/a2a/worker", &large).status, 413);
}

#[test]
fn a_stream_ends_when_its_token_is_revoked() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let client = Client::new(&host, "client", &[]);
    let body = json!({ "message": typed("m-1", "slow") }).to_string();
    let events = client.stream("/a2a/several/message:stream", &body, || {
        host.json(&["token", "revoke", "client"]);
    });
    assert!(
        events
            .iter()
            .all(|one| one["statusUpdate"]["status"]["state"] != "TASK_STATE_CANCELED")
    );
}

#[test]
fn a_card_is_signed_by_the_agents_wallet() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let path = "/a2a/worker/.well-known/agent-card.json";
    let card = call(&host, "GET", path, &[], "").good(200);
    assert_eq!(card["name"], "worker");
    let url = format!("{}/a2a/worker", host.status);
    let bindings = card["supportedInterfaces"].as_array().unwrap();
    assert!(
        bindings
            .iter()
            .all(|one| one["url"] == url && one["protocolVersion"] == "1.0")
    );
    assert_eq!(card["skills"][0]["id"], "cat");
    assert!(
        card["description"]
            .as_str()
            .unwrap()
            .contains("public chain")
    );
    let signature = &card["signatures"][0];
    let wallet = world.json(&[
        "wallet",
        "show",
        "worker",
        "--keystore",
        "keys",
        "--password-file",
        "keys/.password",
    ]);
    let key: agentry_protocol::PublicKey = wallet["public_key"].as_str().unwrap().parse().unwrap();
    let verified = |card: &Value| {
        use base64::Engine as _;
        use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
        let signed = agentry_behaviours::executors::a2a::signed_bytes(card);
        let protected = signature["protected"].as_str().unwrap();
        let text = format!("{protected}.{}", BASE64.encode(signed));
        let bytes = BASE64
            .decode(signature["signature"].as_str().unwrap())
            .unwrap();
        let signature = agentry_protocol::Signature::from_bytes(bytes.try_into().unwrap());
        key.verify(text.as_bytes(), &signature)
    };
    assert!(verified(&card));
    let mut changed = card.clone();
    changed["supportedInterfaces"][0]["url"] = json!("https://evil.example/a2a/worker");
    assert!(!verified(&changed));
    let hidden = call(
        &host,
        "GET",
        "/a2a/other/.well-known/agent-card.json",
        &[],
        "",
    );
    assert_eq!(hidden.status, 404);
    // Another site cannot make a browser call, whatever it knows.
    let rebound = call(&host, "GET", path, &["Host: evil.example"], "");
    assert_eq!(rebound.status, 421);
}
