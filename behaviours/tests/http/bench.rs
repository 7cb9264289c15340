//! A scripted server, and an executor that uses it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_sdk::{AnyExecutor, Desk, Setup, Task, TaskError, TaskOutput, Tokens};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a server replies to a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Sends this, and closes the connection.
    Bytes(Vec<u8>),
    /// Sends the first text, and then the second until the client closes the connection.
    Endless(Vec<u8>, Vec<u8>),
    /// Sends this, and then nothing, without closing.
    Hang(Vec<u8>),
}

/// A server on loopback. It sends its replies in turn, and then repeats the last one.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// A request that a server received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The request line and the headers.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: Value,
}

/// The head of a response that ends with the connection. `kind` may be followed by other headers.
pub(crate) fn head(status: &str, kind: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\n\r\n")
}

pub(crate) fn response(status: &str, kind: &str, body: &str) -> Reply {
    Reply::Bytes((head(status, kind) + body).into_bytes())
}

/// A chat completion in one object.
pub(crate) fn whole(text: &str) -> Reply {
    let body = json!({
        "id": "x", "object": "chat.completion",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text },
                      "finish_reason": "stop" }],
        "usage": { "total_tokens": 5 }
    });
    response(
        "200 OK",
        "application/json; charset=utf-8",
        &body.to_string(),
    )
}

/// A piece of a stream, as one event.
pub(crate) fn piece(text: &str) -> String {
    let piece = json!({ "object": "chat.completion.chunk",
        "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] });
    format!("data: {piece}\n\n")
}

/// The events with which a stream ends.
pub(crate) const END: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

pub(crate) fn stream(events: &str) -> Reply {
    response("200 OK", "text/event-stream", events)
}

impl Server {
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (kept, replies) = (Arc::clone(&requests), Vec::from_iter(replies));
        tokio::spawn(async move {
            let mut served = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let reply = replies.get(served).or(replies.last()).unwrap().clone();
                served += 1;
                tokio::spawn(serve(stream, reply, Arc::clone(&kept)));
            }
        });
        Self { url, requests }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, reply: Reply, requests: Arc<Mutex<Vec<Request>>>) {
    let request = read_request(&mut stream).await;
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

async fn read_request(stream: &mut TcpStream) -> Request {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(count > 0, "no request: {text}");
            continue;
        };
        let length = head.to_ascii_lowercase().lines().find_map(|line| {
            let length = line.strip_prefix("content-length:")?;
            length.trim().parse::<usize>().ok()
        });
        if body.len() >= length.unwrap_or(0) {
            return Request {
                head: head.to_owned(),
                body: serde_json::from_str(body).unwrap(),
            };
        }
    }
}

/// An executor that uses a server, with more settings.
pub(crate) fn executor(server: &Server, more: &Value) -> Arc<dyn AnyExecutor> {
    configured(&server.url, more).unwrap()
}

pub(crate) fn configured(url: &str, more: &Value) -> Result<Arc<dyn AnyExecutor>, String> {
    let mut settings = json!({ "url": url, "model": "small" });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    let registry = agentry_behaviours::builtins();
    let settings = settings.as_object().unwrap().clone();
    let executor = Setup::new(Path::new(""), &registry).executor("http", settings);
    executor.map_err(|error| error.to_string())
}

/// A job with this input.
pub(crate) fn task(input: Value) -> Task {
    Task {
        key: "0xkey".to_owned(),
        kind: "chat".to_owned(),
        input,
        deadline: None,
        agent: "worker".to_owned(),
        submitter: None,
        attempt: 1,
        idempotency_key: "51ab".repeat(10),
        answers: Vec::new(),
        tokens: Tokens::default(),
    }
}

/// The result of a job with this input.
pub(crate) async fn run_input(
    executor: &dyn AnyExecutor,
    input: Value,
) -> Result<TaskOutput, TaskError> {
    run_at(executor, input, &Desk::new(|_, _| {})).await
}

pub(crate) async fn run_at(
    executor: &dyn AnyExecutor,
    input: Value,
    desk: &Desk,
) -> Result<TaskOutput, TaskError> {
    let task = task(input);
    let run = tokio::time::timeout(PATIENCE, executor.execute(&task, desk));
    run.await.expect("the run does not end")
}

/// The result of a job with a prompt, with a server that sends these replies.
pub(crate) async fn asked(reply: Reply, more: &Value) -> Result<String, TaskError> {
    let server = Server::start([reply]).await;
    let executor = executor(&server, more);
    let output = run_input(executor.as_ref(), json!({ "prompt": "hello" })).await;
    output.map(|output| output.text)
}
