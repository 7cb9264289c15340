//! Requests to an agent and its answers, within limits of size and time.

use std::future::Future;
use std::sync::Arc;

use agentry_sdk::protocol::{PublicKey, Trace};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::card::{self, Binding, Interface};
use super::failure::Failure;
use super::settings::{Limits, Peer};
use super::wire::{Event, RemoteTask, Tasks};
use crate::executors::key::Key;
use crate::executors::lines::{Data, Form, Lines};
use crate::net;

/// The most bytes of a card.
const CARD: usize = 256 << 10;

/// The most bytes that one byte of text takes in JSON: `\u001f`.
const ESCAPED: usize = 6;

/// The most bytes of an answer besides the result: ids, statuses, and the messages of a task.
const ENVELOPE: usize = 1 << 20;

/// The most bytes of the body of an error response that are read.
const REFUSAL: usize = 16 << 10;

/// The longest text of an agent that is logged, in characters.
const DETAIL: usize = 500;

/// The most messages of a task that are asked for: its own, and twice those that it can exchange
/// about its questions.
const HISTORY: u32 = 100;

/// The version of the protocol that requests follow.
const A2A_VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("a2a-version"),
    HeaderValue::from_static("1.0"),
);

/// The trace that a request is part of (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The codes and reasons of errors that say more than that a request was refused.
mod error {
    pub(super) const TASK_NOT_FOUND: (i64, &str) = (-32001, "TASK_NOT_FOUND");
    pub(super) const INTERNAL: (i64, &str) = (-32603, "INTERNAL_ERROR");
}

/// What an agent is asked to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation<'a> {
    /// Takes a message; if it streams, it answers with all that follows.
    Send(&'a Value, bool),
    /// Tells how far a task is.
    Get(&'a str),
    /// Tells the tasks of a conversation.
    List(&'a str),
    /// Tells from now on how far a task is.
    Subscribe(&'a str),
    /// Stops a task.
    Cancel(&'a str),
}

/// An agent whose card was read.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    client: Client,
    interface: Interface,
    key: Option<Arc<Key>>,
    key_header: HeaderName,
    limits: Limits,
    /// The trace that the job is part of.
    trace: Option<Trace>,
}

/// The client with which an agent is reached.
pub(super) fn client(peer: &Peer) -> Result<Client, Failure> {
    let client = if peer.allow_private {
        net::client(peer.limits.connect)
    } else {
        net::public_client(peer.limits.connect)
    };
    client.build().map_err(Failure::client)
}

impl Connection {
    /// Reads the agent's card, and the key that it asks for.
    pub(super) async fn open(
        client: &Client,
        peer: &Peer,
        trace: Option<Trace>,
    ) -> Result<Self, Failure> {
        let key = peer.key.read().await.map_err(Failure::NoKey)?;
        let interface = read_card(client, &peer.card, &peer.signed_by, peer.limits).await?;
        Ok(Self {
            client: client.clone(),
            interface,
            key: key.map(Arc::new),
            key_header: peer.key_header.clone(),
            limits: peer.limits,
            trace,
        })
    }

    /// Whether the agent streams.
    pub(super) const fn streams(&self) -> bool {
        self.interface.streams
    }

    /// A message, whose answer is not a stream.
    pub(super) async fn send(&self, message: &Value) -> Result<Event, Failure> {
        self.call(Operation::Send(message, false)).await
    }

    pub(super) async fn get(&self, task: &str) -> Result<RemoteTask, Failure> {
        self.call(Operation::Get(task)).await
    }

    pub(super) async fn list(&self, context: &str) -> Result<Vec<RemoteTask>, Failure> {
        let found: Tasks = self.call(Operation::List(context)).await?;
        Ok(found.tasks)
    }

    pub(super) async fn cancel(&self, task: &str) -> Result<(), Failure> {
        let _: RemoteTask = self.call(Operation::Cancel(task)).await?;
        Ok(())
    }

    /// An operation whose answer is a stream.
    pub(super) async fn stream(&self, operation: Operation<'_>) -> Result<Events<'_>, Failure> {
        let response = self.response(operation).await.map_err(|f| self.shown(f))?;
        let is_stream = content_type(&response) == "text/event-stream";
        let most = self.most();
        Ok(Events {
            connection: self,
            response: Some(response),
            lines: is_stream.then(|| Lines::new(Form::Events, most)),
            found: Vec::new().into_iter(),
        })
    }

    async fn call<T: DeserializeOwned>(&self, operation: Operation<'_>) -> Result<T, Failure> {
        let answer = async {
            let mut response = self.response(operation).await?;
            let body = body(&mut response, self.most(), self.limits).await?;
            self.read(&body)
        };
        answer.await.map_err(|failure| self.shown(failure))
    }

    /// Sends a request, and returns the answer if its status is one of success.
    async fn response(&self, operation: Operation<'_>) -> Result<Response, Failure> {
        let mut request = self.request(operation)?;
        let (name, version) = A2A_VERSION;
        request = request.header(name, version);
        if let Some(trace) = self.trace {
            request = request.header(TRACEPARENT, trace.to_string());
        }
        if let Some(value) = self.key.as_deref().and_then(|key| self.key_value(key)) {
            request = request.header(&self.key_header, value);
        }
        let response = in_time(self.limits, request.send()).await?;
        let mut response = response.map_err(Failure::sending)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = beginning(&mut response, self.limits).await;
        Err(refusal(status, &body))
    }

    fn key_value(&self, key: &Key) -> Option<HeaderValue> {
        if self.key_header == reqwest::header::AUTHORIZATION {
            key.bearer()
        } else {
            key.plain()
        }
    }

    fn request(&self, operation: Operation<'_>) -> Result<RequestBuilder, Failure> {
        let request = match self.interface.binding {
            Binding::JsonRpc => self.rpc(operation),
            Binding::Rest => self.rest(operation)?,
        };
        let accept = match operation {
            Operation::Send(_, true) | Operation::Subscribe(_) => "text/event-stream",
            _ => "application/json, application/a2a+json",
        };
        Ok(request.header(ACCEPT, accept))
    }

    fn rpc(&self, operation: Operation<'_>) -> RequestBuilder {
        let (method, mut params) = match operation {
            Operation::Send(message, true) => ("SendStreamingMessage", sending(message)),
            Operation::Send(message, false) => ("SendMessage", sending(message)),
            Operation::Get(id) => ("GetTask", json!({ "id": id, "historyLength": 0 })),
            Operation::List(context) => (
                "ListTasks",
                json!({ "contextId": context, "historyLength": HISTORY }),
            ),
            Operation::Subscribe(id) => ("SubscribeToTask", json!({ "id": id })),
            Operation::Cancel(id) => ("CancelTask", json!({ "id": id })),
        };
        if !self.interface.tenant.is_empty() {
            params["tenant"] = self.interface.tenant.as_str().into();
        }
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        with_json(
            self.client.post(self.interface.url.clone()),
            "application/json",
            &body,
        )
    }

    fn rest(&self, operation: Operation<'_>) -> Result<RequestBuilder, Failure> {
        let (method, path, body) = match operation {
            Operation::Send(message, streams) => {
                let path = if streams {
                    "message:stream"
                } else {
                    "message:send"
                };
                (Method::POST, vec![path.to_owned()], Some(sending(message)))
            }
            Operation::Get(id) => (Method::GET, vec!["tasks".to_owned(), id.to_owned()], None),
            Operation::List(_) => (Method::GET, vec!["tasks".to_owned()], None),
            Operation::Subscribe(id) => {
                let path = vec!["tasks".to_owned(), format!("{id}:subscribe")];
                (Method::GET, path, None)
            }
            Operation::Cancel(id) => {
                let path = vec!["tasks".to_owned(), format!("{id}:cancel")];
                (Method::POST, path, Some(json!({})))
            }
        };
        let mut url = self.interface.url.clone();
        let tenant = Some(&self.interface.tenant).filter(|tenant| !tenant.is_empty());
        url.path_segments_mut()
            .map_err(|()| Failure::Card("the URL of its interface has no path".to_owned()))?
            .pop_if_empty()
            .extend(tenant.into_iter().chain(&path));
        match operation {
            Operation::Get(_) => {
                url.query_pairs_mut().append_pair("historyLength", "0");
            }
            Operation::List(context) => {
                url.query_pairs_mut()
                    .append_pair("contextId", context)
                    .append_pair("historyLength", &HISTORY.to_string());
            }
            _ => {}
        }
        let request = self.client.request(method, url);
        Ok(match body {
            Some(body) => with_json(request, "application/a2a+json", &body),
            None => request,
        })
    }

    /// Reads an answer, or an item of a stream.
    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Failure> {
        let invalid = |error: serde_json::Error| Failure::BadAnswer(error.to_string());
        let mut body: Value = serde_json::from_slice(body).map_err(invalid)?;
        if let Some(failure) = told(&body) {
            return Err(failure);
        }
        if self.interface.binding == Binding::JsonRpc {
            let Some(result) = body.get_mut("result") else {
                return Err(Failure::BadAnswer("it has no result".to_owned()));
            };
            body = result.take();
        }
        T::deserialize(body).map_err(invalid)
    }

    /// The most bytes of an answer, or of an item of a stream.
    const fn most(&self) -> usize {
        let escaped = self.limits.response_bytes.saturating_mul(ESCAPED);
        escaped.saturating_add(ENVELOPE)
    }

    /// A failure without the key, whose text is short enough for the log.
    pub(super) fn shown(&self, failure: Failure) -> Failure {
        failure.map_text(|text| {
            let text = match &self.key {
                Some(key) => key.redact(text),
                None => text.to_owned(),
            };
            text.chars().take(DETAIL).collect()
        })
    }
}

/// A stream of events about a task.
pub(super) struct Events<'a> {
    connection: &'a Connection,
    /// None at the end.
    response: Option<Response>,
    /// None if the answer is not a stream: then it is one event, or an error.
    lines: Option<Lines>,
    found: std::vec::IntoIter<Data>,
}

impl Events<'_> {
    /// The next event; none at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Failure> {
        let next = self.read().await;
        next.map_err(|failure| self.connection.shown(failure))
    }

    async fn read(&mut self) -> Result<Option<Event>, Failure> {
        let connection = self.connection;
        loop {
            match self.found.next() {
                Some(Data::Object(object)) => return connection.read(&object).map(Some),
                Some(Data::Error(text)) => {
                    let told = serde_json::from_slice(&text).ok().as_ref().and_then(told);
                    let text = || Failure::Told(String::from_utf8_lossy(&text).into_owned());
                    return Err(told.unwrap_or_else(text));
                }
                Some(Data::Done) => continue,
                None => {}
            }
            let Some(response) = &mut self.response else {
                return Ok(None);
            };
            let Some(lines) = &mut self.lines else {
                let body = body(response, connection.most(), connection.limits).await?;
                self.response = None;
                return connection.read(&body).map(Some);
            };
            let chunk = in_time(connection.limits, response.chunk()).await?;
            let Some(chunk) = chunk.map_err(Failure::reading)? else {
                // An event without its end may be cut off.
                self.response = None;
                continue;
            };
            let found = lines.take(&chunk);
            let found = found.map_err(|_| Failure::TooLong(connection.limits.response_bytes))?;
            self.found = found.into_iter();
        }
    }
}

async fn read_card(
    client: &Client,
    url: &Url,
    keys: &[PublicKey],
    limits: Limits,
) -> Result<Interface, Failure> {
    let (name, version) = A2A_VERSION;
    let request = client.get(url.clone()).header(ACCEPT, "application/json");
    let response = in_time(limits, request.header(name, version).send()).await?;
    let mut response = response.map_err(Failure::sending)?;
    let status = response.status();
    if status != StatusCode::OK {
        let detail = beginning(&mut response, limits).await;
        let detail = String::from_utf8_lossy(&detail)
            .chars()
            .take(DETAIL)
            .collect();
        return Err(Failure::Status { status, detail });
    }
    let body = body(&mut response, CARD, limits)
        .await
        .map_err(|failure| match failure {
            Failure::TooLong(_) => Failure::Card(format!("it is longer than {CARD} bytes")),
            other => other,
        })?;
    let read = card::read(&body, url, keys);
    read.map_err(|reason| Failure::Card(reason.chars().take(DETAIL).collect()))
}

/// The parameters of a message. An answer that is not a stream comes at once, and holds no messages
/// of the past.
fn sending(message: &Value) -> Value {
    json!({
        "message": message,
        "configuration": { "returnImmediately": true, "historyLength": 0 },
    })
}

fn with_json(request: RequestBuilder, kind: &'static str, body: &Value) -> RequestBuilder {
    request
        .header(CONTENT_TYPE, kind)
        .body(body.to_string().into_bytes())
}

/// Waits for the agent, with a time limit.
async fn in_time<T>(limits: Limits, answer: impl Future<Output = T>) -> Result<T, Failure> {
    let answer = tokio::time::timeout(limits.idle, answer).await;
    answer.map_err(|_| Failure::Silent(limits.idle))
}

async fn body(response: &mut Response, most: usize, limits: Limits) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = in_time(limits, response.chunk())
        .await?
        .map_err(Failure::reading)?
    {
        if body.len() + chunk.len() > most {
            return Err(Failure::TooLong(limits.response_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The beginning of a body, as far as it comes.
async fn beginning(response: &mut Response, limits: Limits) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Ok(Some(chunk))) = in_time(limits, response.chunk()).await {
        let room = REFUSAL.saturating_sub(body.len());
        if room == 0 {
            break;
        }
        body.extend(chunk.iter().take(room));
    }
    body
}

/// The media type of an answer, without its parameters.
fn content_type(response: &Response) -> String {
    let value = response.headers().get(CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    let kind = value.unwrap_or_default().split(';').next();
    kind.unwrap_or_default().trim().to_ascii_lowercase()
}

/// The failure for a status that is none of success.
fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let told = serde_json::from_slice(body).ok().as_ref().and_then(told);
    match told {
        // What the status says is more precise than that there was an error.
        Some(failure @ (Failure::Lost(_) | Failure::Refused(_))) if status.is_client_error() => {
            match status.as_u16() {
                408 | 409 | 429 => Failure::Status {
                    status,
                    detail: failure.to_string(),
                },
                _ => failure,
            }
        }
        _ => Failure::Status {
            status,
            detail: String::from_utf8_lossy(body).into_owned(),
        },
    }
}

/// The failure in an answer that is an error, of JSON-RPC or of REST (google.rpc.Status).
fn told(body: &Value) -> Option<Failure> {
    let error = body.get("error").filter(|error| !error.is_null())?;
    let text = error.to_string();
    let code = error.get("code").and_then(Value::as_i64);
    let details = error.get("details").and_then(Value::as_array);
    let reasons = details.into_iter().flatten().filter_map(|detail| {
        let reason = detail.get("reason")?;
        reason.as_str()
    });
    let reasons: Vec<&str> = reasons.collect();
    let is = |(number, name)| code == Some(number) || reasons.contains(&name);
    Some(if is(error::TASK_NOT_FOUND) {
        Failure::Lost(text)
    } else if is(error::INTERNAL) || code.is_some_and(|code| (500..600).contains(&code)) {
        Failure::Told(text)
    } else {
        Failure::Refused(text)
    })
}
