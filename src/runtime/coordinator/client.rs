//! The calls of the coordinator that are made, each bounded in size and time. None needs a login. What an
//! answer says is used only where it cannot be avoided.

use std::time::Duration;

use agentry_behaviours::net;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::listing::{LIMIT, Listing, ListingReader};

/// How long a request may take, with its answer.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The longest answer to anything but a look into an inbox, in bytes.
const ANSWER_MAX: usize = 64 << 10;

/// The pause after a 429 that does not say how long: the coordinator counts the requests of a minute.
const PAUSE: Duration = Duration::from_secs(60);

/// The longest pause that is kept because the coordinator asks for it.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Why a call has failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CoordinatorCallError {
    /// There is no answer, or only a part of one.
    #[error("it does not answer: {reason}")]
    Silent {
        /// The request did not get through; it is not only that the answer is late or breaks off.
        is_unreachable: bool,
        /// Why.
        reason: String,
    },
    /// There were too many requests.
    #[error("it asks for a pause of {} s (429)", .0.as_secs())]
    Busy(Duration),
    /// It does not know the agent or the message.
    #[error("it does not know what was named (404)")]
    Unknown,
    /// It has answered with another status.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// It has answered something that it should not.
    #[error("{0}")]
    Other(String),
}

impl CoordinatorCallError {
    /// Whether the cause is likely the coordinator's and not the agent's that the call was about.
    pub(super) fn is_general(&self) -> bool {
        match self {
            Self::Silent { is_unreachable, .. } => *is_unreachable,
            Self::Busy(_) => true,
            Self::Unknown | Self::Status(_) | Self::Other(_) => false,
        }
    }

    /// Whether a repetition may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Silent { .. } | Self::Busy(_) => true,
            Self::Status(status) => status.is_server_error(),
            Self::Unknown | Self::Other(_) => false,
        }
    }

    /// Its label in the metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Silent { .. } => "no_answer",
            Self::Busy(_) => "rate_limited",
            Self::Unknown => "unknown",
            Self::Status(_) => "refused",
            Self::Other(_) => "unreadable",
        }
    }
}

impl From<reqwest::Error> for CoordinatorCallError {
    fn from(error: reqwest::Error) -> Self {
        Self::Silent {
            is_unreachable: error.is_connect() || (error.is_request() && !error.is_timeout()),
            reason: net::reasons(error),
        }
    }
}

/// The coordinator at a URL. `Debug` would show its password, so there is none.
pub(super) struct CoordinatorClient {
    client: Client,
    base: Url,
}

impl CoordinatorClient {
    /// # Errors
    /// The HTTP client cannot be made.
    pub(super) fn new(base: Url) -> Result<Self, reqwest::Error> {
        let client = net::client(TIME_LIMIT).timeout(TIME_LIMIT).build()?;
        Ok(Self { client, base })
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // An http URL has a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn post(&self, path: &[&str]) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    /// Registers an agent, or changes what is registered of it.
    pub(super) async fn register(&self, announcement: &Value) -> Result<(), CoordinatorCallError> {
        let request = self
            .post(&["v1", "agents", "register"])
            .header(CONTENT_TYPE, "application/json")
            .body(announcement.to_string());
        succeeded(request).await
    }

    /// Keeps an agent alive. If it is [unknown](CoordinatorCallError::Unknown), it has to be registered
    /// again.
    pub(super) async fn heartbeat(&self, agent: &str) -> Result<(), CoordinatorCallError> {
        let path = ["v1", "agents", agent, "heartbeat"];
        known(succeeded(self.post(&path)).await)
    }

    /// Marks a message as read.
    pub(super) async fn mark_read(&self, message: &str) -> Result<(), CoordinatorCallError> {
        let path = ["api", "v1", "agent", "messages", "id", message, "read"];
        known(succeeded(self.post(&path)).await)
    }

    /// The newest messages to an agent.
    pub(super) async fn inbox(&self, agent: &str) -> Result<Listing, CoordinatorCallError> {
        let path = ["api", "v1", "agent", "messages", "inbox"];
        let mut url = self.url(&path);
        url.query_pairs_mut()
            .append_pair("agent_id", agent)
            .append_pair("limit", &LIMIT.to_string());
        let mut response = answered(self.client.get(url)).await?;
        let other = |error: String| CoordinatorCallError::Other(error);
        let mut reading = ListingReader::new();
        let mut is_whole = true;
        while let Some(chunk) = response.chunk().await? {
            let wants_more = reading.feed(&chunk);
            let wants_more = wants_more
                .map_err(|error| other(format!("its answer cannot be split: {error}")))?;
            if !wants_more {
                is_whole = false;
                break;
            }
        }
        let listing = reading.finish(is_whole);
        listing.map_err(|error| other(error.to_string()))
    }
}

/// The answer to a request, if its status is one of success.
async fn answered(request: RequestBuilder) -> Result<Response, CoordinatorCallError> {
    let response = request.send().await?;
    match response.status() {
        status if status.is_success() => Ok(response),
        StatusCode::TOO_MANY_REQUESTS => Err(CoordinatorCallError::Busy(pause(&response))),
        status => Err(CoordinatorCallError::Status(status)),
    }
}

/// How long to make no more requests.
fn pause(response: &Response) -> Duration {
    let asked = response.headers().get(RETRY_AFTER);
    let seconds = asked.and_then(|text| text.to_str().ok()?.trim().parse().ok());
    let pause = seconds.map_or(PAUSE, Duration::from_secs);
    pause.clamp(Duration::from_secs(1), PAUSE_MAX)
}

/// The result of a call that names something: 404 means that the coordinator does not know it. Elsewhere
/// it means that there is no coordinator at the URL.
fn known(result: Result<(), CoordinatorCallError>) -> Result<(), CoordinatorCallError> {
    match result {
        Err(CoordinatorCallError::Status(StatusCode::NOT_FOUND)) => {
            Err(CoordinatorCallError::Unknown)
        }
        result => result,
    }
}

/// Makes a request whose answer says whether it has succeeded.
async fn succeeded(request: RequestBuilder) -> Result<(), CoordinatorCallError> {
    #[derive(Deserialize)]
    struct Answer {
        status: String,
    }
    let mut response = answered(request).await?;
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if text.len() + chunk.len() > ANSWER_MAX {
            return Err(CoordinatorCallError::Other(
                "its answer is too long".to_owned(),
            ));
        }
        text.extend_from_slice(&chunk);
    }
    match serde_json::from_slice::<Answer>(&text) {
        Ok(answer) if answer.status == "success" => Ok(()),
        Ok(_) => Err(CoordinatorCallError::Other(
            "its answer is not of success".to_owned(),
        )),
        Err(_) => Err(CoordinatorCallError::Other(
            "its answer is not that of an agent coordinator".to_owned(),
        )),
    }
}
