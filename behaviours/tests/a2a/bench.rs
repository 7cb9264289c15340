//! A scripted agent, and an executor that uses it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_sdk::protocol::{Seed, SigningKey};
use agentry_sdk::task::Ask;
use agentry_sdk::{AnyExecutor, Desk, Setup, Task, TaskError, TaskOutput, Tokens};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// How long a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The key of all jobs, and so the id of their conversation and first message.
pub(crate) const KEY: &str = "51ab51ab51ab51ab51ab51ab51ab51ab51ab51ab";

/// How an agent replies to a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Sends this, and closes the connection.
    Bytes(Vec<u8>),
    /// Sends the first text, and then the second until the client closes the connection.
    Endless(Vec<u8>, Vec<u8>),
    /// Sends this, and then nothing, without closing.
    Hang(Vec<u8>),
}

/// A request that an agent received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The request line and the headers.
    pub(crate) head: String,
    /// The body; null without one.
    pub(crate) body: Value,
}

impl Request {
    /// The method and the path.
    pub(crate) fn line(&self) -> &str {
        self.head.split(" HTTP/").next().unwrap()
    }

    /// The method of JSON-RPC.
    pub(crate) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

type Script = dyn Fn(&Request, &str) -> Reply + Send + Sync;

/// An agent on loopback.
pub(crate) struct Agent {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Agent {
    /// An agent that replies to each request as the script says, which also gets the agent's URL.
    pub(crate) async fn start(
        script: impl Fn(&Request, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (kept, base) = (Arc::clone(&requests), url.clone());
        let script: Arc<Script> = Arc::new(script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, base) = (Arc::clone(&kept), base.clone());
                tokio::spawn(serve(stream, Arc::clone(&script), base, kept));
            }
        });
        Self { url, requests }
    }

    /// An agent with a plain card, which replies to each operation of JSON-RPC as the script says;
    /// the script gets the number of the call of this operation, from 0.
    pub(crate) async fn scripted(
        streams: bool,
        script: impl Fn(&str, usize, &Value) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let calls = Mutex::new(std::collections::HashMap::<String, usize>::new());
        Self::start(move |request, url| {
            if request.line().starts_with("GET") {
                return json_of(&card(url, streams));
            }
            let method = request.method().to_owned();
            let mut calls = calls.lock().unwrap();
            let count = calls.entry(method.clone()).or_default();
            let number = *count;
            *count += 1;
            script(&method, number, &request.body["params"])
        })
        .await
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The operations of JSON-RPC that were called.
    pub(crate) fn methods(&self) -> Vec<String> {
        let requests = self.requests();
        let methods = requests.iter().map(|request| request.method().to_owned());
        methods.filter(|method| !method.is_empty()).collect()
    }

    /// The parameters of the calls of an operation.
    pub(crate) fn params(&self, method: &str) -> Vec<Value> {
        let requests = self.requests().into_iter();
        requests
            .filter(|request| request.method() == method)
            .map(|request| request.body["params"].clone())
            .collect()
    }

    /// Waits until an operation was called.
    pub(crate) async fn until_called(&self, method: &str) {
        let called = async {
            while !self.methods().iter().any(|called| called == method) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let called = tokio::time::timeout(PATIENCE, called).await;
        called.unwrap_or_else(|_| panic!("{method} is not called: {:?}", self.methods()));
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Script>,
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
) {
    let Some(request) = read_request(&mut stream).await else {
        return;
    };
    let reply = script(&request, &url);
    requests.lock().unwrap().push(request);
    // A client that has read enough closes the connection.
    match reply {
        Reply::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Reply::Endless(first, again) => {
            let mut sent = stream.write_all(&first).await;
            while sent.is_ok() {
                sent = stream.write_all(&again).await;
            }
        }
        Reply::Hang(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.read(&mut [0]).await;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.ok()?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if count == 0 {
                return None;
            }
            continue;
        };
        let length = head.to_ascii_lowercase().lines().find_map(|line| {
            let length = line.strip_prefix("content-length:")?;
            length.trim().parse::<usize>().ok()
        });
        if body.len() >= length.unwrap_or(0) {
            return Some(Request {
                head: head.to_owned(),
                body: serde_json::from_str(body).unwrap_or_default(),
            });
        }
    }
}

/// The head of a response that ends with the connection.
pub(crate) fn head(status: &str, kind: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\n\r\n")
}

pub(crate) fn response(status: &str, kind: &str, body: &str) -> Reply {
    Reply::Bytes((head(status, kind) + body).into_bytes())
}

pub(crate) fn json_of(body: &Value) -> Reply {
    response("200 OK", "application/json", &body.to_string())
}

/// An answer of JSON-RPC.
pub(crate) fn result(result: &Value) -> Reply {
    json_of(&json!({ "jsonrpc": "2.0", "id": 1, "result": result }))
}

/// An error of JSON-RPC.
pub(crate) fn error(code: i64, text: &str) -> Reply {
    json_of(&json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": code, "message": text } }))
}

/// The events of a stream, each a whole answer of JSON-RPC.
pub(crate) fn events(events: &[Value]) -> String {
    let line = |event: &Value| {
        let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": event });
        format!("data: {answer}\r\n\r\n")
    };
    events.iter().map(line).collect()
}

/// A stream of events that ends.
pub(crate) fn stream(of: &[Value]) -> Reply {
    response("200 OK", "text/event-stream", &events(of))
}

/// A task in a state, with an optional text of its status.
pub(crate) fn task(state: &str, text: Option<&str>, artifacts: &Value) -> Value {
    json!({
        "id": "t1", "contextId": KEY, "status": status(state, text), "artifacts": artifacts,
    })
}

pub(crate) fn status(state: &str, text: Option<&str>) -> Value {
    let mut status = json!({ "state": format!("TASK_STATE_{state}") });
    if let Some(text) = text {
        status["message"] = json!({
            "messageId": format!("m-{text}"), "role": "ROLE_AGENT", "parts": [{ "text": text }],
        });
    }
    status
}

pub(crate) fn status_update(state: &str, text: Option<&str>) -> Value {
    json!({ "statusUpdate": { "taskId": "t1", "contextId": KEY, "status": status(state, text) } })
}

pub(crate) fn artifact_update(text: &str, append: bool) -> Value {
    json!({ "artifactUpdate": {
        "taskId": "t1", "contextId": KEY, "append": append,
        "artifact": { "artifactId": "a", "parts": [{ "text": text }] },
    } })
}

/// The card of an agent.
pub(crate) fn card(url: &str, streams: bool) -> Value {
    json!({
        "name": "Gärtner", "description": "waters plants", "version": "1.0.0",
        "supportedInterfaces": [
            { "url": format!("{url}/rpc"), "protocolBinding": "JSONRPC", "protocolVersion": "1.0" },
        ],
        "capabilities": { "streaming": streams, "pushNotifications": false },
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
        "skills": [{ "id": "w", "name": "water", "description": "", "tags": ["garden"] }],
    })
}

/// A signing key, and its public key as in agents.toml.
pub(crate) fn signer(byte: u8) -> (SigningKey, String) {
    let key = SigningKey::from_seed(&Seed::from_bytes([byte; 32]));
    let public = key.public_key().to_string();
    (key, public)
}

/// The signature over the canonical form of a card.
pub(crate) fn signature(key: &SigningKey, protected: &Value, canonical: &str) -> Value {
    let protected = BASE64_URL_SAFE_NO_PAD.encode(protected.to_string());
    let payload = BASE64_URL_SAFE_NO_PAD.encode(canonical);
    let signature = key.sign_jws(format!("{protected}.{payload}").as_bytes());
    json!({
        "protected": protected,
        "signature": BASE64_URL_SAFE_NO_PAD.encode(signature),
    })
}

pub(crate) fn configured(url: &str, more: &Value) -> Result<Arc<dyn AnyExecutor>, String> {
    let mut settings = json!({ "url": url, "allow_private": true, "poll_every": "5ms" });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    let registry = agentry_behaviours::builtins();
    let settings = settings.as_object().unwrap().clone();
    let executor = Setup::new(Path::new(""), &registry).executor("a2a", settings);
    executor.map_err(|error| error.to_string())
}

/// A job.
pub(crate) fn job(input: Value) -> Task {
    Task {
        key: "0xkey".to_owned(),
        kind: "garden".to_owned(),
        input,
        deadline: None,
        agent: "worker".to_owned(),
        submitter: None,
        attempt: 1,
        idempotency_key: KEY.to_owned(),
        answers: Vec::new(),
        tokens: Tokens::default(),
    }
}

/// What an attempt reported: its progress, and the question with which it ended.
#[derive(Debug)]
pub(crate) struct Reported {
    pub(crate) notes: Vec<String>,
    pub(crate) question: Option<String>,
}

/// Runs an attempt as the runtime does: it ends with the first question that has no answer yet.
pub(crate) async fn attempt(
    executor: &Arc<dyn AnyExecutor>,
    task: &Task,
) -> (Option<Result<TaskOutput, TaskError>>, Reported) {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&notes);
    let (asks, mut asked) = mpsc::channel::<Ask>(1);
    let desk = Desk::new(move |_, note| kept.lock().unwrap().extend(note))
        .with_answers(&task.answers, move |ask| drop(asks.try_send(ask)));
    let run = async {
        tokio::select! {
            biased;
            Some(ask) = asked.recv() => (None, Some(ask.question)),
            result = executor.execute(task, &desk) => (Some(result), None),
        }
    };
    let run = tokio::time::timeout(PATIENCE, run).await;
    let (result, question) = run.expect("the attempt does not end");
    let notes = notes.lock().unwrap().clone();
    (result, Reported { notes, question })
}

/// The result of a job with a prompt.
pub(crate) async fn run(agent: &Agent, more: &Value) -> Result<TaskOutput, TaskError> {
    let executor = configured(&agent.url, more).unwrap();
    let (result, reported) = attempt(&executor, &job(json!({ "prompt": "water it" }))).await;
    result.unwrap_or_else(|| panic!("{reported:?}"))
}
