//! The host's side of a connection to `agentry mcp`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;

/// How long a test waits for a message.
const LONG: Duration = Duration::from_secs(60);

/// The revisions of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revision {
    /// 2025-11-25: a connection begins with `initialize`.
    Old,
    /// 2026-07-28: each request says what the host can do.
    New,
}

pub(crate) const BOTH: [Revision; 2] = [Revision::Old, Revision::New];

/// A host.
pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    revision: Revision,
    capabilities: Value,
    last: u64,
    /// What the user answers to the requests of an old server.
    pub(crate) user: Option<Value>,
    /// The notifications that came, and the requests.
    pub(crate) told: Vec<Value>,
}

impl Client {
    pub(crate) fn start(world: &World, revision: Revision, arguments: &[&str]) -> Self {
        Self::able(world, revision, json!({}), arguments)
    }

    /// A host with these capabilities.
    pub(crate) fn able(
        world: &World,
        revision: Revision,
        capabilities: Value,
        arguments: &[&str],
    ) -> Self {
        let mut all = vec!["mcp"];
        all.extend(arguments);
        let mut child = world
            .command(&all)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                // The test may have ended.
                drop(sender.send(line.unwrap()));
            }
        });
        let mut client = Self {
            stdin: child.stdin.take(),
            child,
            lines,
            revision,
            capabilities,
            last: 0,
            user: None,
            told: Vec::new(),
        };
        if revision == Revision::Old {
            let host = json!({"name": "test", "version": "1"});
            let hello = json!({
                "protocolVersion": "2025-11-25",
                "capabilities": client.capabilities,
                "clientInfo": host,
            });
            let welcome = client.request("initialize", hello).unwrap();
            assert_eq!(welcome["protocolVersion"], "2025-11-25");
            client.notify("notifications/initialized", json!({}));
        }
        client
    }

    fn write(&mut self, message: &Value) {
        self.line(&message.to_string());
    }

    /// Sends a line as it is.
    pub(crate) fn line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }

    pub(crate) fn notify(&mut self, method: &str, params: Value) {
        let mut message = json!({"jsonrpc": "2.0", "method": method});
        message["params"] = params;
        self.write(&message);
    }

    /// Sends a request, and returns its id.
    pub(crate) fn begin(&mut self, method: &str, mut params: Value) -> u64 {
        if self.revision == Revision::New {
            let meta = &mut params["_meta"];
            meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            meta["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
            meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "1"});
        }
        self.last += 1;
        let id = self.last;
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    /// The next message, if one comes in time.
    pub(crate) fn next(&mut self, within: Duration) -> Option<Value> {
        let line = self.lines.recv_timeout(within).ok()?;
        let message: Value = serde_json::from_str(&line).expect("nothing but the protocol");
        assert_eq!(message["jsonrpc"], "2.0", "{message}");
        if message["method"] == "elicitation/create" {
            let user = self.user.clone().expect("nobody may be asked");
            self.write(&json!({"jsonrpc": "2.0", "id": message["id"], "result": user}));
        }
        Some(message)
    }

    /// The response to a request.
    pub(crate) fn response(&mut self, id: u64) -> Result<Value, Value> {
        loop {
            let message = self.next(LONG).expect("a message");
            if message.get("method").is_some() || message["id"] != id {
                self.told.push(message);
                continue;
            }
            return match message.get("error") {
                Some(error) => Err(error.clone()),
                None => Ok(message["result"].clone()),
            };
        }
    }

    pub(crate) fn request(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        let id = self.begin(method, params);
        self.response(id)
    }

    /// The result of a tool, whatever it is.
    pub(crate) fn result(&mut self, tool: &str, arguments: Value) -> Value {
        let mut params = json!({"name": tool});
        params["arguments"] = arguments;
        self.request("tools/call", params).unwrap()
    }

    /// The structured content of a tool that succeeds.
    pub(crate) fn tool(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.result(tool, arguments);
        assert_ne!(result["isError"], true, "{tool}: {result:#}");
        let content = result["structuredContent"].clone();
        assert!(content.is_object(), "{tool}: {result:#}");
        let text = result["content"][0]["text"].as_str().unwrap();
        let written: Value = serde_json::from_str(text).unwrap();
        assert_eq!(written, content, "the text says the same");
        content
    }

    /// The text of a tool that fails.
    pub(crate) fn refused(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.result(tool, arguments);
        assert_eq!(result["isError"], true, "{tool}: {result:#}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// Waits until a notification has come that is as expected.
    pub(crate) fn until(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let Some(message) = self.next(LONG) else {
                panic!("no such notification came, only {:#?}", self.told);
            };
            if is(&message) {
                return message;
            }
            self.told.push(message);
        }
    }

    /// Sends a message, and returns its id.
    pub(crate) fn send(&mut self, message: Value) -> String {
        let sent = self.tool("send_message", message);
        sent["id"].as_str().unwrap().to_owned()
    }

    /// Closes its side, and checks that the server ends by itself.
    pub(crate) fn stop(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
        assert!(
            self.lines.recv_timeout(LONG).is_err(),
            "nothing is left over"
        );
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
