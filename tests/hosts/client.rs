//! A client of a host.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout};

use serde_json::{Value, json};

use crate::cluster::Cluster;
use agentry_testbed::PATIENCE;

/// A client of one host, with a token.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: String,
    secret: String,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Response {
    pub(crate) fn good(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.body
    }
}

impl Client {
    pub(crate) fn new(cluster: &Cluster, host: usize, secret: &str) -> Self {
        Self {
            address: cluster.url(host).trim_start_matches("http://").to_owned(),
            secret: secret.to_owned(),
        }
    }

    /// Sends a request; what comes back is read from the stream.
    fn open(&self, method: &str, path: &str, headers: &[String], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut all = vec![
            format!("{method} {path} HTTP/1.0"),
            format!("Host: {}", self.address),
            format!("Authorization: Bearer {}", self.secret),
            "A2A-Version: 1.0".to_owned(),
            "Accept: application/json, text/event-stream".to_owned(),
        ];
        if !body.is_empty() {
            all.push("Content-Type: application/json".to_owned());
            all.push(format!("Content-Length: {}", body.len()));
        }
        all.extend_from_slice(headers);
        write!(stream, "{}\r\n\r\n{body}", all.join("\r\n")).unwrap();
        stream
    }

    fn exchange(&self, method: &str, path: &str, headers: &[String], body: &str) -> Response {
        let mut answer = String::new();
        let mut stream = self.open(method, path, headers, body);
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        // The last event of a stream, if it is one.
        let mut data = body.lines().filter_map(|line| line.strip_prefix("data: "));
        let body = data.next_back().unwrap_or(body);
        let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        Response { status, body }
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.exchange("GET", &format!("/api/v1{path}"), &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.exchange("POST", &format!("/api/v1{path}"), &[], &body.to_string())
    }

    /// The card of an agent.
    pub(crate) fn card(&self, agent: &str) -> Value {
        let path = format!("/a2a/{agent}/.well-known/agent-card.json");
        self.exchange("GET", &path, &[], "").good(200)
    }

    /// A call of A2A: its result.
    pub(crate) fn a2a(&self, agent: &str, method: &str, params: &Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        let answer = self.exchange("POST", &format!("/a2a/{agent}"), &[], &call.to_string());
        let answer = answer.good(200);
        assert!(answer["error"].is_null(), "{answer}");
        answer["result"].clone()
    }

    /// A call of a tool over MCP: whether it failed, and its result.
    pub(crate) fn tool(&self, tool: &str, arguments: &Value) -> (bool, Value) {
        let revision = "2026-07-28";
        let headers = [
            format!("Mcp-Protocol-Version: {revision}"),
            "Mcp-Method: tools/call".to_owned(),
            format!("Mcp-Name: {tool}"),
        ];
        let call = json!({
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {
                "name": tool,
                "arguments": arguments,
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": revision,
                    "io.modelcontextprotocol/clientCapabilities": {},
                },
            },
        });
        let answer = self.exchange("POST", "/mcp", &headers, &call.to_string());
        let result = answer.good(200)["result"].clone();
        let failed = result["isError"] == true;
        match failed {
            true => (true, result["content"][0]["text"].clone()),
            false => (false, result["structuredContent"].clone()),
        }
    }

    /// The events of this client's agents, from now on.
    pub(crate) fn events(&self) -> Events {
        let stream = self.open("GET", "/api/v1/events", &[], "");
        let mut events = Events(BufReader::new(stream));
        assert_eq!(events.next()["event"], "ready");
        events
    }
}

/// A stream of events.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    /// The data of the next event.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            let mut line = String::new();
            let read = self.0.read_line(&mut line).unwrap();
            assert!(read > 0, "the stream has ended");
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    /// The next event of this name.
    pub(crate) fn next_named(&mut self, name: &str) -> Value {
        loop {
            let event = self.next();
            if event["event"] == name {
                return event;
            }
        }
    }

    /// The next event that is wanted, if nothing is missed before it.
    pub(crate) fn until(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next();
            assert_ne!(event["event"], "missed");
            if is(&event) {
                return event;
            }
        }
    }
}

/// The host of a language model that has started `agentry mcp`.
pub(crate) struct Stdio {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    last: u64,
}

impl Drop for Stdio {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Stdio {
    pub(crate) fn start(cluster: &Cluster, host: usize, arguments: &[&str]) -> Self {
        let mut child = cluster
            .prepare(host, arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdio = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            last: 0,
        };
        let client = json!({ "name": "test", "version": "1" });
        let hello =
            json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        stdio.ask("initialize", &hello);
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        writeln!(stdio.input, "{ready}").unwrap();
        stdio
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        let call = json!({ "jsonrpc": "2.0", "id": self.last, "method": method, "params": params });
        writeln!(self.input, "{call}").unwrap();
        loop {
            let mut line = String::new();
            assert!(
                self.output.read_line(&mut line).unwrap() > 0,
                "it has ended"
            );
            let answer: Value = serde_json::from_str(&line).unwrap();
            if answer["id"] == self.last {
                return answer["result"].clone();
            }
        }
    }

    /// The result of a tool.
    pub(crate) fn tool(&mut self, tool: &str, arguments: &Value) -> Value {
        let called = self.ask(
            "tools/call",
            &json!({ "name": tool, "arguments": arguments }),
        );
        assert_eq!(called["isError"], false, "{called}");
        called["structuredContent"].clone()
    }
}
