//! The same over HTTP, with tokens.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::tables;
use crate::host::Host;
use crate::world::World;

/// How long a test waits for the server.
const LONG: Duration = Duration::from_secs(90);

/// A client with a token.
struct Client<'a> {
    runtime: &'a Host<'a>,
    secret: String,
    last: u64,
}

#[derive(Debug)]
struct Response {
    status: u16,
    /// In lower case.
    headers: String,
    body: String,
}

impl Response {
    /// The messages in it, however they are sent.
    fn messages(&self) -> Vec<Value> {
        if self.headers.contains("content-type: application/json") {
            return vec![serde_json::from_str(&self.body).unwrap()];
        }
        let data = self
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "));
        let data = data.filter(|data| !data.trim().is_empty());
        data.map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.headers
            .lines()
            .find_map(|line| line.strip_prefix(&prefix))
    }
}

impl<'a> Client<'a> {
    /// A client with a new token.
    fn new(runtime: &'a Host<'a>, name: &str, limits: &[&str]) -> Self {
        let mut all = vec!["token", "create", name];
        all.extend(limits);
        let made = runtime.json(&all);
        Self {
            runtime,
            secret: made["secret"].as_str().unwrap().to_owned(),
            last: 0,
        }
    }

    /// Begins an exchange.
    fn open(&self, headers: &[String], body: &str) -> TcpStream {
        let address = self.runtime.status.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut all = headers.to_vec();
        let host = format!("Host: {address}");
        let usual = [
            host,
            format!("Authorization: Bearer {}", self.secret),
            "Accept: application/json, text/event-stream".to_owned(),
            "Content-Type: application/json".to_owned(),
            format!("Content-Length: {}", body.len()),
            "Connection: close".to_owned(),
        ];
        for header in usual {
            let name = header.split(':').next().unwrap();
            if !headers
                .iter()
                .any(|given| given.starts_with(&format!("{name}:")))
            {
                all.push(header);
            }
        }
        let head = all.join("\r\n");
        // A server that refuses early does not read all of it.
        drop(write!(stream, "POST /mcp HTTP/1.1\r\n{head}\r\n\r\n{body}"));
        stream
    }

    fn exchange(&self, headers: &[String], body: &str) -> Response {
        let mut stream = self.open(headers, body);
        let mut answer = Vec::new();
        // A connection that is reset has said what there was.
        drop(stream.read_to_end(&mut answer));
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let (status, headers) = head.split_once("\r\n").unwrap_or((head, ""));
        let headers = headers.to_lowercase();
        let body = match headers.contains("transfer-encoding: chunked") {
            true => dechunked(body),
            false => body.to_owned(),
        };
        Response {
            status: status.split(' ').nth(1).unwrap_or("0").parse().unwrap(),
            headers,
            body,
        }
    }

    /// A request of revision 2026-07-28, and its headers.
    fn request(&mut self, method: &str, mut params: Value) -> (Vec<String>, String) {
        self.last += 1;
        let mut headers = vec![
            "Mcp-Protocol-Version: 2026-07-28".to_owned(),
            format!("Mcp-Method: {method}"),
        ];
        if let Some(name) = params
            .get("name")
            .or(params.get("uri"))
            .and_then(Value::as_str)
        {
            headers.push(format!("Mcp-Name: {name}"));
        }
        let meta = &mut params["_meta"];
        meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
        let message =
            json!({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params});
        (headers, message.to_string())
    }

    /// The messages that answer a request; the last is its response.
    fn call(&mut self, method: &str, params: Value) -> Vec<Value> {
        let (headers, body) = self.request(method, params);
        let response = self.exchange(&headers, &body);
        let messages = response.messages();
        assert_eq!(messages.last().unwrap()["id"], self.last, "{response:?}");
        messages
    }

    fn result(&mut self, tool: &str, arguments: &Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        let answer = self.call("tools/call", params).pop().unwrap();
        answer["result"].clone()
    }

    fn tool(&mut self, tool: &str, arguments: &Value) -> Value {
        let result = self.result(tool, arguments);
        assert_eq!(result["isError"], false, "{tool}: {result:#}");
        result["structuredContent"].clone()
    }

    fn refused(&mut self, tool: &str, arguments: &Value) -> String {
        let result = self.result(tool, arguments);
        assert_eq!(result["isError"], true, "{tool}: {result:#}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }
}

fn dechunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        // The last chunk may be missing if the server has ended the stream.
        let Some(chunk) = rest.get(..size) else { break };
        text.push_str(chunk);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    text
}

/// The usual headers of a session of revision 2025-11-25.
fn session(id: &str) -> [String; 2] {
    [
        "Mcp-Protocol-Version: 2025-11-25".to_owned(),
        format!("Mcp-Session-Id: {id}"),
    ]
}

/// Begins a session.
fn initialize(client: &Client<'_>) -> Response {
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    });
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    client.exchange(&[], &hello.to_string())
}

#[test]
fn a_client_with_a_token_talks_in_both_revisions() {
    let world = World::new();
    let runtime = Host::start(&world, &tables());
    let limits = ["--allow", "read,send", "--agent", "helper"];
    let mut client = Client::new(&runtime, "talk", &limits);

    // Revision 2026-07-28 has no sessions.
    let listed = client.call("tools/list", json!({})).pop().unwrap();
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 10);
    let sent = client.tool("send_message", &json!({"to": "ponger", "text": "ping"}));
    let wait = json!({"id": sent["id"], "timeout_ms": 60_000});
    let delivery = client.tool("wait_for_reply", &wait);
    assert_eq!(delivery["answer"]["text"], "pong");
    let silent = client.tool("send_message", &json!({"to": "mute", "text": "ping"}));
    let params = json!({
        "name": "wait_for_reply",
        "arguments": {"id": silent["id"], "timeout_ms": 3_000},
        "_meta": {"progressToken": "waiting"},
    });
    let messages = client.call("tools/call", params);
    assert_eq!(
        messages[0]["method"], "notifications/progress",
        "{messages:#?}"
    );
    assert!(messages.len() >= 3, "{messages:#?}");

    // Before, there was one.
    let welcome = initialize(&client);
    assert_eq!(welcome.status, 200, "{welcome:?}");
    let id = welcome.header("mcp-session-id").unwrap().to_owned();
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let listed = client.exchange(&session(&id), &list);
    let tools = listed.messages().pop().unwrap()["result"]["tools"].clone();
    assert_eq!(tools.as_array().unwrap().len(), 10, "{listed:?}");
    runtime.stop();
}

#[test]
fn a_token_gives_what_it_says_and_no_more() {
    let world = World::new();
    let runtime = Host::start(&world, &tables());
    let mut reader = Client::new(
        &runtime,
        "reader",
        &["--allow", "read", "--agent", "helper"],
    );
    let listed = reader.call("tools/list", json!({})).pop().unwrap();
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 7);
    let message = json!({"to": "ponger", "text": "ping"});
    let refused = reader.refused("send_message", &message);
    assert!(refused.starts_with("not_allowed: "), "{refused}");

    let limits = [
        "--allow",
        "read,send",
        "--agent",
        "helper",
        "--to",
        "ponger",
        "--daily-budget",
        "25",
    ];
    let mut limited = Client::new(&runtime, "limited", &limits);
    let first = limited.tool("send_message", &message);
    let refused = limited.refused("send_message", &json!({"to": "mute", "text": "ping"}));
    assert!(refused.starts_with("not_allowed: "), "{refused}");
    let refused = limited.refused("submit_task", &json!({"to": "worker", "type": "echo"}));
    assert!(refused.starts_with("not_allowed: "), "{refused}");
    limited.tool("send_message", &message);
    let refused = limited.refused("send_message", &message);
    assert!(refused.contains("budget"), "{refused}");
    // Paths are for the operator alone.
    let refused = limited.refused("read_inbox", &json!({"agent": "mute"}));
    assert!(
        refused.starts_with("not_found: ") && !refused.contains(".db"),
        "{refused}"
    );

    let mut other = Client::new(
        &runtime,
        "other",
        &["--allow", "read,send", "--agent", "mute"],
    );
    for (tool, arguments) in [
        ("get_message", json!({"id": first["id"]})),
        ("wait_for_reply", json!({"id": first["id"]})),
        ("get_task", json!({"id": first["id"]})),
        ("read_inbox", json!({"agent": "helper"})),
        (
            "send_message",
            json!({"from": "helper", "to": "ponger", "text": "ping"}),
        ),
    ] {
        let refused = other.refused(tool, &arguments);
        assert!(refused.starts_with("not_found: "), "{tool}: {refused}");
    }
    // The session of one token is nothing to another.
    let welcome = initialize(&limited);
    let id = welcome.header("mcp-session-id").unwrap();
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    assert_eq!(limited.exchange(&session(id), &list).status, 200);
    assert_eq!(other.exchange(&session(id), &list).status, 404);
    runtime.stop();
}

#[test]
fn what_is_not_admitted_is_refused_before_the_protocol() {
    let world = World::new();
    let runtime = Host::start(&world, &tables());
    let mut client = Client::new(&runtime, "one", &["--allow", "read"]);
    let (usual, body) = client.request("tools/list", json!({}));
    let with = |header: &str| [usual.as_slice(), &[header.to_owned()]].concat();
    for (header, status) in [
        ("Authorization: Bearer wrong", 401),
        ("Authorization: Basic b25lOm9uZQ==", 401),
        ("Host: evil.example", 421),
        ("Origin: http://evil.example", 403),
        ("Content-Length: 104857600", 413),
        ("Content-Type: text/plain", 415),
        ("Accept: text/html", 406),
    ] {
        let refused = client.exchange(&with(header), &body);
        assert_eq!(refused.status, status, "{header}: {refused:?}");
        assert!(!refused.body.contains("inputSchema"), "{header}");
    }
    let nobody = client.exchange(&with("Authorization: Bearer "), &body);
    assert!(nobody.header("www-authenticate").is_some(), "{nobody:?}");
    // Sixteen sessions, and no more.
    for _ in 0..16 {
        assert_eq!(initialize(&client).status, 200);
    }
    assert_eq!(initialize(&client).status, 503);

    // A stream ends with its token.
    let uri = "agentry://inbox/helper";
    let wanted = json!({"notifications": {"resourceSubscriptions": [uri]}});
    let (headers, body) = client.request("subscriptions/listen", wanted);
    let mut lines = BufReader::new(client.open(&headers, &body)).lines();
    let is_told = |line: &str, method: &str| line.contains(method);
    let begun = "notifications/subscriptions/acknowledged";
    assert!(lines.by_ref().any(|line| is_told(&line.unwrap(), begun)));
    runtime.tell("mute", "helper", "news");
    let updated = "notifications/resources/updated";
    assert!(lines.by_ref().any(|line| is_told(&line.unwrap(), updated)));
    runtime.run(&["token", "revoke", "one"]).good();
    // It reads to the end.
    assert!(lines.all(|line| line.is_ok()));
    let (usual, body) = client.request("tools/list", json!({}));
    assert_eq!(client.exchange(&usual, &body).status, 401);
    runtime.stop();
}
