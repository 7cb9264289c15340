//! The exchange with a service, within limits of size and time.

use std::future::Future;
use std::time::{Duration, SystemTime};

use agentry_sdk::Desk;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName};
use reqwest::{Client, Response, StatusCode};

use super::answer::{Answer, DETAIL, Whole};
use super::failure::Failure;
use super::pause;
use super::refused::Refused;
use super::request::Request;
use super::settings::Service;
use crate::executors::key::Key;
use crate::executors::lines::{BYTE_ORDER_MARK, Data, Form, Lines};

/// The most bytes that one byte of text takes in JSON: `\u001f`.
const ESCAPED: usize = 6;

/// The most bytes in an object besides the text: ids, names, counts, the probabilities of tokens.
const ENVELOPE: usize = 64 << 10;

/// The most bytes of a stream for one byte of text. A piece of four bytes has an envelope of about
/// 250 bytes, and the model's reasoning is sent too.
const STREAMED: usize = 256;

/// The most bytes of the body of an error response that are read.
const REFUSAL: usize = 16 << 10;

/// The name of a request: a service that has seen it answers as it did before.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Sends the request of a task and reads the answer.
pub(super) async fn ask(
    client: &Client,
    service: &Service,
    asked: &Request<'_>,
    key: Option<&Key>,
    desk: &Desk,
) -> Result<Whole, Failure> {
    let task = asked.task;
    let mut request = client
        .post(service.url.clone())
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "text/event-stream, application/json")
        // A string of structured fields (RFC 9651); its digits need no escape.
        .header(IDEMPOTENCY_KEY, format!("\"{}\"", task.idempotency_key))
        .body(asked.body.clone());
    if let Some(header) = key.and_then(Key::bearer) {
        request = request.header(AUTHORIZATION, header);
    }
    let idle = service.idle_timeout;
    let response = in_time(idle, request.send()).await?;
    let mut response = response.map_err(Failure::sending)?;
    if response.status() != StatusCode::OK {
        return Err(refusal(response, key, idle).await);
    }
    let kind = content_type(response.headers());
    let mut answer = Answer::new(service.max_response_bytes, asked.has_tools);
    let read = match kind.as_str() {
        "text/event-stream" => {
            stream(Form::Events, &mut response, &mut answer, service, desk).await
        }
        // Ollama's own API.
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
            stream(Form::Lines, &mut response, &mut answer, service, desk).await
        }
        kind if kind == "application/json" || kind.ends_with("+json") => {
            whole(&mut response, &mut answer, service).await
        }
        other => Err(Failure::BadAnswer(format!("its media type is {other:?}"))),
    };
    // They cost, whatever the answer is good for.
    if let Some(tokens) = answer.tokens(asked.prompt_tokens) {
        desk.used(tokens);
    }
    if let Some(count) = answer.wrong_count() {
        tracing::warn!(
            agent = %task.agent, kind = %task.kind, task = %task.key, host = service.host(),
            count = shown(count, key), "the model service reports an impossible number of tokens; \
             it is estimated instead"
        );
    }
    let answer = read.and_then(|done| answer.end(done, service.on_length));
    answer.map_err(|failure| failure.map_text(|text| shown(text, key)))
}

/// Waits for the service, with a time limit.
async fn in_time<T>(idle: Duration, answer: impl Future<Output = T>) -> Result<T, Failure> {
    let answer = tokio::time::timeout(idle, answer).await;
    answer.map_err(|_| Failure::Silent(idle))
}

async fn chunk(
    response: &mut Response,
    idle: Duration,
) -> Result<Option<impl AsRef<[u8]> + use<>>, Failure> {
    let chunk = in_time(idle, response.chunk()).await?;
    chunk.map_err(Failure::reading)
}

/// The media type in a header, without its parameters.
fn content_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = value.unwrap_or_default().split(';').next();
    kind.unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads an answer in one object. Returns whether it is complete.
async fn whole(
    response: &mut Response,
    answer: &mut Answer,
    service: &Service,
) -> Result<bool, Failure> {
    let max = service.max_response_bytes;
    let mut body = Vec::new();
    while let Some(chunk) = chunk(response, service.idle_timeout).await? {
        let chunk = chunk.as_ref();
        if body.len() + chunk.len() > max.saturating_mul(ESCAPED).saturating_add(ENVELOPE) {
            return Err(Failure::TooLong(max));
        }
        body.extend_from_slice(chunk);
    }
    answer.take(body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body))?;
    Ok(true)
}

/// Reads an answer in pieces. Returns whether the stream has ended with its end marker.
async fn stream(
    form: Form,
    response: &mut Response,
    answer: &mut Answer,
    service: &Service,
    desk: &Desk,
) -> Result<bool, Failure> {
    let max = service.max_response_bytes;
    let mut lines = Lines::new(form, max.saturating_mul(ESCAPED).saturating_add(ENVELOPE));
    let mut left = max.saturating_mul(STREAMED).saturating_add(ENVELOPE);
    loop {
        let chunk = match chunk(response, service.idle_timeout).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            // The answer is complete, so an error after its end does not matter.
            Err(_) if answer.has_ended() => break,
            Err(failure) => return Err(failure),
        };
        let chunk = chunk.as_ref();
        left = left.checked_sub(chunk.len()).ok_or(Failure::TooLong(max))?;
        let items = lines.take(chunk);
        for data in items.map_err(|error| Failure::BadAnswer(error.to_string()))? {
            match data {
                Data::Done => return Ok(true),
                Data::Error(text) => return Err(told(&text)),
                Data::Object(object) => {
                    if answer.take(&object)? {
                        report(answer, service, desk);
                    }
                }
            }
        }
    }
    let mut done = false;
    for data in lines.last() {
        match data {
            Data::Done => done = true,
            Data::Error(text) => return Err(told(&text)),
            // A line without its end may be cut off, and may not be an object for that reason.
            Data::Object(object) => match answer.take(&object) {
                Ok(_) => {}
                Err(Failure::BadAnswer(_)) if answer.has_ended() => {}
                Err(Failure::BadAnswer(reason)) => return Err(Failure::Interrupted(reason)),
                Err(failure) => return Err(failure),
            },
        }
    }
    Ok(done)
}

/// The failure for an error in a stream.
fn told(text: &[u8]) -> Failure {
    Failure::told(text, String::from_utf8_lossy(text).into_owned())
}

fn report(answer: &Answer, service: &Service, desk: &Desk) {
    let part = service.max_tokens.map_or(0.0, |tokens| {
        f64::from(answer.pieces()) / f64::from(tokens.max(1))
    });
    // Only the service can say that the answer is complete.
    let part = part.min(0.99);
    let characters = answer.characters();
    desk.progress(part, Some(format!("{characters} characters")));
}

/// The failure for a status other than 200.
async fn refusal(mut response: Response, key: Option<&Key>, idle: Duration) -> Failure {
    let status = response.status();
    let retry_after = pause::asked(response.headers(), SystemTime::now());
    let mut body = Vec::new();
    // A body that is cut off cannot be parsed; then only the status counts.
    while let Ok(Some(chunk)) = chunk(&mut response, idle).await {
        let room = REFUSAL.saturating_sub(body.len());
        if room == 0 {
            break;
        }
        body.extend(chunk.as_ref().iter().take(room));
    }
    let detail = shown(&String::from_utf8_lossy(&body), key);
    match Refused::with_status(status, &body) {
        Some(refused) => Failure::Refused {
            refused,
            detail: format!("status {}: {detail}", status.as_u16()),
        },
        None => Failure::Status {
            status,
            retry_after,
            detail,
        },
    }
}

/// The beginning of a service's text, without the API key.
fn shown(text: &str, key: Option<&Key>) -> String {
    let text = key.map_or_else(|| text.to_owned(), |key| key.redact(text));
    text.chars().take(DETAIL).collect()
}
