//! The HTTP API of a running process, and attacks on it.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::host::{Host, agent, eventually, pong};
use crate::world::World;

/// Long enough for everything that the server does by itself.
const LONG: Duration = Duration::from_secs(120);

/// An agent that asks, one that works, and one whose answers wait for approval.
fn tables() -> [String; 3] {
    let types = "echo = { executor = \"command\", program = \"cat\" }";
    let worker = format!(
        "{{ kind = \"tasks\", allow = [\"asker\"], types = {{ {types} }} }}, {}, {{ kind = \"ack\" }}",
        pong("ping", "pong")
    );
    [
        agent("asker", "asker", &pong("hello", "hi")),
        agent("worker", "worker", &worker),
        agent("careful", "careful", &pong("ping", "pong")) + "approve = [\"reply\"]\n",
    ]
}

/// A runtime with these keys in `[http]`.
pub(crate) fn start<'a>(world: &'a World, keys: &str) -> Host<'a> {
    crate::host::configure(world, &tables());
    let path = world.path("agents.toml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("[http]\n", &format!("[http]\n{keys}\n"));
    world.private("agents.toml", &text);
    Host::begin(world, "agents.toml")
}

/// The secret of a new token.
pub(crate) fn token(host: &Host<'_>, name: &str, more: &[&str]) -> String {
    let mut all = vec!["token", "create", name];
    all.extend(more);
    let made = host.json(&all);
    made["secret"].as_str().unwrap().to_owned()
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks the status and the code of an error.
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(
            self.headers.contains("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["status"], status);
        assert!(
            problem["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
    }

    pub(crate) fn good(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }
}

/// The address of a server.
pub(crate) fn address(host: &Host<'_>) -> String {
    host.status.trim_start_matches("http://").to_owned()
}

fn connect(host: &Host<'_>) -> TcpStream {
    let stream = TcpStream::connect(address(host)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// Sends a request as it is written, and reads the response to its end.
fn exchange(host: &Host<'_>, request: &str) -> Response {
    let mut stream = connect(host);
    stream.write_all(request.as_bytes()).unwrap();
    read(&mut stream)
}

fn read(stream: &mut TcpStream) -> Response {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        // The server has ended the connection before it had read everything.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let (status, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = status.split(' ').nth(1).unwrap_or("0");
    Response {
        status: status.parse().unwrap(),
        headers: headers.to_lowercase(),
        body: body.to_owned(),
    }
}

/// A request with these headers.
pub(crate) fn call(
    host: &Host<'_>,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> Response {
    let host_header = format!("Host: {}", address(host));
    let named = headers.iter().any(|header| header.starts_with("Host:"));
    let mut all: Vec<&str> = headers.to_vec();
    if !named {
        all.push(&host_header);
    }
    let length = format!("Content-Length: {}", body.len());
    if !body.is_empty() {
        all.extend([length.as_str(), "Content-Type: application/json"]);
    }
    all.push("Connection: close");
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{}\r\n\r\n{body}",
        all.join("\r\n")
    );
    exchange(host, &request)
}

fn get(host: &Host<'_>, secret: &str, path: &str) -> Response {
    let bearer = format!("Authorization: Bearer {secret}");
    call(host, "GET", &format!("/api/v1{path}"), &[&bearer], "")
}

fn post(host: &Host<'_>, secret: &str, path: &str, body: &Value) -> Response {
    let bearer = format!("Authorization: Bearer {secret}");
    let path = format!("/api/v1{path}");
    call(host, "POST", &path, &[&bearer], &body.to_string())
}

#[test]
fn the_api_sends_and_follows_messages_and_tasks() {
    let world = World::new();
    let host = start(&world, "");
    let all = token(&host, "all", &["--allow", "read,send,operate"]);
    let keyed = |key: &str, body: Value| {
        let headers = [
            format!("Authorization: Bearer {all}"),
            format!("Idempotency-Key: {key}"),
        ];
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        call(
            &host,
            "POST",
            "/api/v1/messages",
            &headers,
            &body.to_string(),
        )
    };
    let ping = json!({ "from": "asker", "to": "worker", "text": "ping" });
    let sent = keyed("one", ping.clone()).good(202);
    assert_eq!(keyed("one", ping).good(202)["id"], sent["id"]);
    let other = json!({ "from": "asker", "to": "worker", "text": "other" });
    keyed("one", other).refused(409, "key_reused");

    let id = sent["id"].as_str().unwrap();
    let escaped = id.replace('/', "%2F");
    let reply = get(
        &host,
        &all,
        &format!("/messages/{escaped}/delivery?timeout_ms=60000"),
    );
    let reply = reply.good(200);
    assert_eq!(
        (&reply["complete"], &reply["answer"]["text"]),
        (&json!(true), &json!("pong"))
    );
    assert_eq!(reply["answer"]["authenticity"], "verified");
    for id in [id, &escaped, reply["transaction"].as_str().unwrap()] {
        let message = get(&host, &all, &format!("/messages/{id}")).good(200);
        assert_eq!(
            (&message["text"], &message["direction"]),
            (&json!("ping"), &json!("sent"))
        );
    }
    let inbox = get(&host, &all, "/messages?agent=worker&limit=1").good(200);
    assert_eq!(inbox["messages"][0]["text"], "ping");

    let task = json!({ "from": "asker", "to": "worker", "type": "echo", "prompt": "the prompt" });
    let task = post(&host, &all, "/tasks", &task).good(202);
    let id = task["id"].as_str().unwrap().replace('/', "%2F");
    let ended = get(&host, &all, &format!("/tasks/{id}?timeout_ms=60000")).good(200);
    assert_eq!(ended["state"], "completed");
    let result = post(&host, &all, &format!("/tasks/{id}/result"), &json!({})).good(200);
    assert!(result["text"].as_str().unwrap().contains("the prompt"));
    post(&host, &all, &format!("/tasks/{id}/cancel"), &json!({})).refused(409, "conflict");
    let work = get(&host, &all, "/work?agent=worker").good(200);
    let done = &work["tasks"][0];
    assert_eq!(
        (&done["state"], &done["type"]),
        (&json!("completed"), &json!("echo"))
    );
    let done = get(
        &host,
        &all,
        &format!("/work/{}", done["id"].as_str().unwrap()),
    )
    .good(200);
    assert_eq!(done["result"], result["text"]);
    let listed = get(&host, &all, "/tasks?state=completed").good(200);
    assert_eq!(listed["tasks"].as_array().unwrap().len(), 1);

    let status = get(&host, &all, "/status").good(200);
    assert_eq!(status["agents"].as_array().unwrap().len(), 3);
    assert_eq!(status["runtime"]["posting"], true);
    let found = get(&host, &all, "/agents/worker").good(200);
    assert_eq!(found["hosted"], "worker");
    assert!(get(&host, &all, "/agents").good(200)["agents"].is_array());
    assert!(get(&host, &all, "/queue?queue=outbox&part=all").good(200)["rows"].is_array());
    let resumed = post(&host, &all, "/queue/resume", &json!({})).good(200);
    assert_eq!(resumed["resumed"], false);
    assert!(post(&host, &all, "/reload", &json!({})).good(200)["agents"].is_object());

    // What waits for an operator.
    let ping = json!({ "from": "asker", "to": "careful", "text": "ping" });
    let sent = post(&host, &all, "/messages", &ping).good(202);
    let mut waits = Value::Null;
    eventually("an effect that waits for approval", || {
        waits = get(&host, &all, "/approvals").good(200)["approvals"][0].clone();
        !waits.is_null()
    });
    assert_eq!(
        (&waits["agent"], &waits["text"]),
        (&json!("careful"), &json!("pong"))
    );
    let path = format!("/approvals/{}", waits["id"].as_str().unwrap());
    let granted = post(&host, &all, &path, &json!({ "grant": true })).good(200);
    assert_eq!(granted["granted"], true);
    post(&host, &all, &path, &json!({ "grant": true })).refused(404, "not_found");
    let path = format!(
        "/messages/{}/delivery?timeout_ms=60000",
        sent["id"].as_str().unwrap()
    );
    assert_eq!(get(&host, &all, &path).good(200)["answer"]["text"], "pong");

    // What is not valid.
    for (path, body) in [
        ("/messages", json!({ "from": "asker", "to": "worker" })),
        (
            "/messages",
            json!({ "from": "asker", "to": "worker", "text": "x", "key": "k" }),
        ),
        (
            "/messages",
            json!({ "from": "asker", "to": "worker", "text": "x", "more": 1 }),
        ),
        (
            "/messages",
            json!({ "from": "asker", "to": 7, "text": "x" }),
        ),
        ("/messages", json!([1])),
        ("/messages?x=1", json!({})),
        (
            "/tasks",
            json!({ "from": "asker", "to": "worker", "type": "" }),
        ),
    ] {
        post(&host, &all, path, &body).refused(400, "invalid");
    }
    for path in [
        "/messages?agent=asker&limit=0",
        "/messages?limit=x",
        "/messages?nonsense=1",
    ] {
        get(&host, &all, path).refused(400, "invalid");
    }
    for path in [
        "/messages/inbox%2F999",
        "/tasks/nonsense",
        "/agents/nobody",
        "/nothing",
    ] {
        get(&host, &all, path).refused(404, "not_found");
    }
    let bearer = format!("Authorization: Bearer {all}");
    let wrong = call(&host, "DELETE", "/api/v1/messages", &[&bearer], "");
    wrong.refused(405, "invalid");
    assert!(wrong.headers.contains("allow: get, post"), "{wrong:?}");
    let text = format!(
        "POST /api/v1/messages HTTP/1.1\r\nHost: {}\r\n{bearer}\r\nContent-Type: text/plain\r\n\
         Content-Length: 2\r\nConnection: close\r\n\r\n{{}}",
        address(&host)
    );
    exchange(&host, &text).refused(415, "unsupported_media");

    // What needs no token; and what every response says.
    let document = call(&host, "GET", "/api/v1/openapi.json", &[], "").good(200);
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let written: Value = serde_json::from_str(&fs::read_to_string(page).unwrap()).unwrap();
    assert_eq!(document, written);
    let health = call(&host, "GET", "/health", &[], "");
    for header in [
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "x-frame-options: deny",
        "content-security-policy: default-src 'none'",
    ] {
        assert!(health.headers.contains(header), "{health:?}");
    }
    assert!(!host.log().contains(&all) && !host.log().contains("panicked"));
}

/// A stream of events.
struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    fn open(host: &Host<'_>, secret: &str, last_seen: Option<&str>) -> Self {
        let mut stream = connect(host);
        let last_seen = last_seen.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        write!(
            stream,
            "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {secret}\r\n{last_seen}\r\n",
            address(host)
        )
        .unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(lines.read_line(&mut head).unwrap(), 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.to_lowercase().contains("text/event-stream"), "{head}");
        Self { lines }
    }

    /// The next event: its id and its data; none at the end.
    fn next(&mut self) -> Option<(String, Value)> {
        let mut id = String::new();
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(found) = line.strip_prefix("id: ") {
                id = found.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((id, serde_json::from_str(data).unwrap()));
            }
        }
    }

    /// Reads until an event is as wanted.
    fn until(&mut self, is_wanted: impl Fn(&Value) -> bool) -> (String, Value) {
        loop {
            let (id, data) = self.next().expect("the stream goes on");
            if is_wanted(&data) {
                return (id, data);
            }
        }
    }
}

#[test]
fn events_tell_each_caller_of_its_own_agents_and_go_on_where_they_ended() {
    let world = World::new();
    let host = start(&world, "streams = 2");
    let mine = token(&host, "mine", &["--allow", "read,send", "--agent", "asker"]);
    let theirs = token(&host, "theirs", &["--agent", "worker"]);
    let mut events = Events::open(&host, &mine, None);
    let (first, ready) = events.next().unwrap();
    assert_eq!(ready, json!({ "event": "ready" }));
    let mut of_worker = Events::open(&host, &theirs, None);
    let busy = get(&host, &mine, "/events");
    busy.refused(503, "busy");

    let ping = json!({ "to": "worker", "text": "ping" });
    let sent = post(&host, &mine, "/messages", &ping).good(202);
    let (_, mined) =
        events.until(|event| event["event"] == "delivery" && event["state"] == "mined");
    assert_eq!(
        (&mined["id"], &mined["agent"]),
        (&sent["id"], &json!("asker"))
    );
    let (seen, answer) = events.until(|event| event["event"] == "message" && event["new"] == true);
    assert_eq!(answer["from"], mined["to"]);
    let (_, message) = of_worker.until(|event| event["event"] == "message");
    assert_eq!(message["agent"], "worker");
    let task = json!({ "to": "worker", "type": "echo" });
    post(&host, &mine, "/tasks", &task).good(202);
    of_worker.until(|event| event["event"] == "task" && event["state"] == "completed");
    drop(of_worker);
    // The stream of another agent had none of it: its next event is its own.
    drop(events);

    // The server learns that the clients have gone when it writes to them.
    let reopened = |last: &str| {
        let mut opened = None;
        eventually("a place for a stream", || {
            let busy = get(&host, &mine, "/status").status != 200;
            assert!(!busy);
            opened = std::panic::catch_unwind(|| Events::open(&host, &mine, Some(last))).ok();
            opened.is_some()
        });
        opened.unwrap()
    };
    let mut again = reopened(&seen);
    assert_eq!(again.next().unwrap().1["event"], "ready");
    let (id, next) = again.next().unwrap();
    let number = |id: &str| id.rsplit('-').next().unwrap().parse::<u64>().unwrap();
    assert!(number(&id) > number(&seen), "{next}");
    assert!(
        next["event"] != "missed" && next["agent"] == "asker",
        "{next}"
    );
    drop(again);
    let mut from_first = reopened(&first);
    assert_eq!(from_first.next().unwrap().1["event"], "ready");
    from_first.until(|event| event["id"] == sent["id"]);
    drop(from_first);
    let mut of_another_run = reopened("0000-7");
    assert_eq!(of_another_run.next().unwrap().1["event"], "ready");
    let missed = json!({ "event": "missed", "events": null });
    assert_eq!(of_another_run.next().unwrap().1, missed);

    // A token that is revoked ends its streams.
    host.run(&["token", "revoke", "mine"]).good();
    while of_another_run.next().is_some() {}
}

#[test]
fn pages_of_other_sites_reach_nothing() {
    let world = World::new();
    let host = start(&world, "allowed_hosts = [\"agents.example.com\"]");
    let all = token(&host, "all", &["--allow", "read,send"]);
    let bearer = format!("Authorization: Bearer {all}");
    let own = address(&host);
    let ping = json!({ "from": "asker", "to": "worker", "text": "ping" }).to_string();
    let paths = [
        "/health",
        "/metrics",
        "/api/v1/openapi.json",
        "/api/v1/status",
        "/api/v1/events",
    ];
    for foreign in [
        "Host: evil.example",
        "Host: evil.example:80",
        "Host: localhost.evil.example",
        "Host:",
    ] {
        for path in paths {
            call(&host, "GET", path, &[foreign, &bearer], "").refused(421, "not_allowed");
        }
        call(
            &host,
            "POST",
            "/api/v1/messages",
            &[foreign, &bearer],
            &ping,
        )
        .refused(421, "not_allowed");
    }
    for origin in [
        "http://evil.example",
        "null",
        "https://127.0.0.1",
        "http://localhost:1",
        "",
    ] {
        let origin = format!("Origin: {origin}");
        for path in paths {
            call(&host, "GET", path, &[&origin, &bearer], "").refused(403, "not_allowed");
        }
        let write = call(
            &host,
            "POST",
            "/api/v1/messages",
            &[&origin, &bearer],
            &ping,
        );
        write.refused(403, "not_allowed");
        let preflight = [
            &*origin,
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: authorization",
        ];
        let preflight = call(&host, "OPTIONS", "/api/v1/messages", &preflight, "");
        preflight.refused(403, "not_allowed");
        assert!(
            !preflight.headers.contains("access-control"),
            "{preflight:?}"
        );
    }
    let outbox = get(&host, &all, "/messages?agent=asker&direction=sent").good(200);
    assert_eq!(outbox["messages"], json!([]), "nothing was sent");
    // Its own pages, and those of a proxy that passes the allowed name on.
    let of_own = format!("Origin: http://{own}");
    call(&host, "GET", "/api/v1/status", &[&of_own, &bearer], "").good(200);
    let by_proxy = [
        "Host: agents.example.com",
        "Origin: https://agents.example.com",
        &bearer,
    ];
    call(&host, "POST", "/api/v1/messages", &by_proxy, &ping).good(202);
}

#[test]
fn a_token_allows_what_it_was_made_for_and_nothing_else() {
    let world = World::new();
    let host = start(&world, "");
    let ping = |from: &str, to: &str| json!({ "from": from, "to": to, "text": "ping" });
    let paths = [
        "/status",
        "/messages",
        "/tasks",
        "/agents",
        "/queue?queue=inbox",
        "/events",
    ];
    for wrong in ["", "agentry_0000", "x y"] {
        for path in paths {
            let refused = get(&host, wrong, path);
            refused.refused(401, "unauthenticated");
            assert!(
                refused.headers.contains("www-authenticate: bearer"),
                "{refused:?}"
            );
        }
    }
    for headers in [vec![], vec!["Authorization: Basic YTpi"]] {
        let refused = call(&host, "GET", "/api/v1/status", &headers, "");
        refused.refused(401, "unauthenticated");
    }
    // Rights.
    let reader = token(&host, "reader", &["--allow", "read"]);
    post(&host, &reader, "/messages", &ping("asker", "worker")).refused(403, "not_allowed");
    let job = json!({ "from": "asker", "to": "worker", "type": "echo" });
    post(&host, &reader, "/tasks", &job).refused(403, "not_allowed");
    post(&host, &reader, "/queue/resume", &json!({})).refused(403, "not_allowed");
    post(&host, &reader, "/reload", &json!({})).refused(403, "not_allowed");
    let sender = token(
        &host,
        "sender",
        &["--allow", "send", "--agent", "asker", "--to", "worker"],
    );
    for path in paths {
        get(&host, &sender, path).refused(403, "not_allowed");
    }
    // Recipients.
    post(&host, &sender, "/messages", &ping("asker", "asker")).refused(403, "not_allowed");
    post(&host, &sender, "/messages", &ping("asker", "worker")).good(202);
    let withdraw = json!({ "from": "asker", "to": "worker", "command": { "cmd": "WITHDRAW" } });
    post(&host, &sender, "/messages", &withdraw).refused(403, "not_allowed");
    // A budget: each message costs a fee of 10 AIT.
    let poor = token(&host, "poor", &["--allow", "send", "--daily-budget", "25"]);
    post(&host, &poor, "/messages", &ping("asker", "worker")).good(202);
    post(&host, &poor, "/messages", &ping("asker", "worker")).good(202);
    post(&host, &poor, "/messages", &ping("asker", "worker")).refused(429, "over_budget");
    post(&host, &poor, "/tasks", &job).refused(429, "over_budget");

    // Two principals: what is the other's looks like what does not exist.
    let mine = token(&host, "mine", &["--allow", "read,send", "--agent", "asker"]);
    let theirs = token(
        &host,
        "theirs",
        &["--allow", "read,send", "--agent", "worker"],
    );
    let sent = post(&host, &mine, "/messages", &ping("asker", "worker")).good(202);
    let task = post(&host, &mine, "/tasks", &job).good(202);
    let text = |value: &Value| value.as_str().unwrap().replace('/', "%2F");
    let (sent, task, result) = (
        text(&sent["id"]),
        text(&task["id"]),
        text(&task["result_id"]),
    );
    get(&host, &mine, &format!("/tasks/{task}?timeout_ms=60000")).good(200);
    let guesses = [
        format!("/messages/{sent}"),
        format!("/messages/{sent}/delivery"),
        format!("/tasks/{task}"),
        format!("/tasks/{result}"),
    ];
    let nothing = get(&host, &theirs, "/tasks/outbox%2F99999");
    for guess in &guesses {
        get(&host, &mine, guess).good(200);
        let hidden = get(&host, &theirs, guess);
        hidden.refused(404, "not_found");
        let (_, id) = guess.split_at("/tasks/".len());
        if guess.starts_with("/tasks") {
            let without = |response: &Response, id: &str| response.body.replace(id, "ID");
            let (id, none) = (id.replace("%2F", "/"), "outbox/99999");
            assert_eq!(without(&hidden, &id), without(&nothing, none));
        }
    }
    for action in ["cancel", "result"] {
        let path = format!("/tasks/{task}/{action}");
        post(&host, &theirs, &path, &json!({})).refused(404, "not_found");
    }
    post(&host, &theirs, "/messages", &ping("asker", "worker")).refused(404, "not_found");
    get(&host, &theirs, "/messages?agent=asker").refused(404, "not_found");
    assert_eq!(get(&host, &theirs, "/tasks").good(200)["tasks"], json!([]));
    // An end.
    get(&host, &mine, "/status").good(200);
    host.run(&["token", "revoke", "mine"]).good();
    get(&host, &mine, "/status").refused(401, "unauthenticated");
    let brief = token(&host, "brief", &["--valid-for", "1ms"]);
    eventually("the token to expire", || {
        get(&host, &brief, "/status").status == 401
    });
}

/// The memory of a process, in KiB.
fn memory(host: &Host<'_>) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn slow_and_large_requests_end() {
    let world = World::new();
    let host = start(&world, "");
    let all = token(&host, "all", &["--allow", "read,send"]);
    let before = memory(&host);
    let head = |more: &str| {
        format!(
            "POST /api/v1/messages HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {all}\r\n\
             Content-Type: application/json\r\n{more}\r\n\r\n",
            address(&host)
        )
    };
    // 100 MB, announced: refused before they are read.
    let mut stream = connect(&host);
    let announced = Instant::now();
    stream
        .write_all(head("Content-Length: 100000000").as_bytes())
        .unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 413");
    assert!(announced.elapsed() < Duration::from_secs(5));
    // A body without an end: the server keeps nothing of it, and ends the connection.
    let mut stream = connect(&host);
    stream
        .write_all(head("Transfer-Encoding: chunked").as_bytes())
        .unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let began = Instant::now();
    while stream.write_all(chunk.as_bytes()).is_ok() {
        assert!(began.elapsed() < LONG, "the server reads without an end");
    }
    // Without a token, nothing of a body is read.
    let mut stream = connect(&host);
    let anonymous = head("Content-Length: 100000000").replace("Bearer", "Basic");
    stream.write_all(anonymous.as_bytes()).unwrap();
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 401");
    assert!(
        memory(&host) < before + 64 * 1024,
        "{before} {}",
        memory(&host)
    );

    // A head that never ends, and a body that never ends.
    let mut stream = connect(&host);
    let began = Instant::now();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-")
        .unwrap();
    let slow = read(&mut stream);
    assert!(slow.status == 408 || slow.status == 0, "{slow:?}");
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    let mut stream = connect(&host);
    let began = Instant::now();
    stream
        .write_all(head("Content-Length: 100\r\nConnection: close").as_bytes())
        .unwrap();
    stream.write_all(b"{").unwrap();
    read(&mut stream).refused(408, "too_slow");
    assert!(
        began.elapsed() < Duration::from_secs(40),
        "{:?}",
        began.elapsed()
    );
    // A long head.
    let long = format!(
        "GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: {}\r\n\r\n",
        "a".repeat(1 << 20)
    );
    let mut stream = connect(&host);
    // The server may end the connection before all of it is written.
    let _ = stream.write_all(long.as_bytes());
    let mut refused = Vec::new();
    let _ = stream.read_to_end(&mut refused);
    assert!(!refused.starts_with(b"HTTP/1.1 200"), "{refused:?}");
    call(&host, "GET", "/health", &[], "").good(200);
}

#[test]
fn many_connections_and_those_who_do_not_read_end() {
    let world = World::new();
    let host = start(&world, "connections = 16");
    let files = || {
        fs::read_dir(format!("/proc/{}/fd", host.pid()))
            .unwrap()
            .count()
    };
    let before = files();
    // More than are served at a time, which say nothing.
    let idle: Vec<TcpStream> = (0..48).map(|_| connect(&host)).collect();
    let began = Instant::now();
    assert!(files() < before + 80, "{before} {}", files());
    call(&host, "GET", "/health", &[], "").good(200);
    assert!(began.elapsed() < LONG);
    drop(idle);
    // One that asks and does not read.
    let mut deaf = connect(&host);
    deaf.set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", address(&host));
    let requests = request.repeat(2_000);
    let mut stuck = false;
    for _ in 0..50 {
        if deaf.write_all(requests.as_bytes()).is_err() {
            stuck = true;
            break;
        }
    }
    assert!(
        stuck,
        "the server reads requests whose responses nobody reads"
    );
    let memory_then = memory(&host);
    call(&host, "GET", "/health", &[], "").good(200);
    let began = Instant::now();
    deaf.set_write_timeout(None).unwrap();
    // What was sent is still here; then the connection ends, without the rest.
    std::thread::sleep(Duration::from_secs(26));
    let mut rest = Vec::new();
    let _ = deaf.read_to_end(&mut rest);
    assert!(began.elapsed() < LONG);
    assert!(memory(&host) < memory_then + 64 * 1024);
    call(&host, "GET", "/health", &[], "").good(200);
}
