//! The failures of a request, and what the submitter of the job is told.

use std::time::Duration;

use agentry_sdk::TaskError;
use reqwest::StatusCode;

use super::refused::Refused;
use super::request::STREAM_OPTIONS;
use crate::net::reasons;

/// The code for an answer that reached the limit of tokens: of a failure, or of an incomplete
/// result.
pub(super) const LENGTH: &str = "length";

/// Why there is no answer. The text is for the log and contains no secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The job is invalid.
    #[error("{0}")]
    BadRequest(String),
    /// The job requests a model that is not allowed.
    #[error("the job requests the model {0:?}, which is neither `model` nor in `models`")]
    ModelNotAllowed(String),
    /// The API key cannot be read.
    #[error("reading the API key: {0}")]
    NoKey(String),
    /// The HTTP client cannot be set up.
    #[error("setting up the client: {0}")]
    Client(String),
    /// No connection could be made.
    #[error("connecting: {0}")]
    Unreachable(String),
    /// The service sent nothing for too long.
    #[error("the service sent nothing for {}", humantime::format_duration(*.0))]
    Silent(Duration),
    /// The connection was lost.
    #[error("the connection was lost: {0}")]
    Interrupted(String),
    /// The status is not 200.
    #[error("status {status}: {detail:?}")]
    Status {
        status: StatusCode,
        retry_after: Option<Duration>,
        detail: String,
    },
    /// The service refuses permanently, whatever its status is.
    #[error("{}: {detail:?}", refused.public())]
    Refused { refused: Refused, detail: String },
    /// The answer is an error.
    #[error("the answer is an error: {0:?}")]
    Told(String),
    /// The answer is not a chat completion.
    #[error("the answer is not a chat completion: {0}")]
    BadAnswer(String),
    /// The answer is too long.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The model reached its limit of tokens.
    #[error("the model reached its limit of tokens before the answer was complete")]
    Length,
    /// A content filter of the service blocked the answer.
    #[error("a content filter of the service blocked the answer")]
    Filtered,
    /// The model refused.
    #[error("the model refused")]
    Refusal,
    /// The model requested a tool call, but has no tools.
    #[error("the model requested a tool call instead of answering")]
    ToolCall,
    /// The answer has no text.
    #[error("the answer is empty")]
    Empty,
    /// The service aborted the answer.
    #[error("the service aborted the answer: {0:?}")]
    Aborted(String),
}

impl Failure {
    /// The HTTP client could not be set up.
    pub(super) fn client(error: reqwest::Error) -> Self {
        Self::Client(reasons(error))
    }

    /// A request could not be sent.
    pub(super) fn sending(error: reqwest::Error) -> Self {
        if error.is_connect() || error.is_timeout() {
            Self::Unreachable(reasons(error))
        } else {
            Self::Interrupted(reasons(error))
        }
    }

    /// An answer could not be read.
    pub(super) fn reading(error: reqwest::Error) -> Self {
        Self::Interrupted(reasons(error))
    }

    /// The failure for an answer, or a part of one, that is an error: `body` is the received data,
    /// `detail` the text of the error.
    pub(super) fn told(body: &[u8], detail: String) -> Self {
        match Refused::in_body(body) {
            Some(refused) => Self::Refused { refused, detail },
            None => Self::Told(detail),
        }
    }

    /// The same failure, with a function applied to the texts that come from the service.
    pub(super) fn map_text(self, shown: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Told(text) => Self::Told(shown(&text)),
            Self::Refused { refused, detail } => Self::Refused {
                refused,
                detail: shown(&detail),
            },
            Self::BadAnswer(text) => Self::BadAnswer(shown(&text)),
            Self::Interrupted(text) => Self::Interrupted(shown(&text)),
            Self::Aborted(text) => Self::Aborted(shown(&text)),
            other => other,
        }
    }

    /// The machine-readable code.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad-request",
            Self::ModelNotAllowed(_) => "model-not-allowed",
            Self::NoKey(_) => "no-key",
            Self::Client(_) | Self::Unreachable(_) => "unreachable",
            Self::Silent(_) => "silent",
            Self::Interrupted(_) => "connection-lost",
            Self::Status { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS => {
                "rate-limited"
            }
            Self::Status { status, .. } if is_busy(*status) => "unavailable",
            Self::Status { status, .. } if is_transient(*status) => "service-error",
            Self::Status { .. } => "refused",
            Self::Refused { refused, .. } => refused.code(),
            Self::Told(_) => "service-error",
            Self::BadAnswer(_) => "bad-answer",
            Self::TooLong(_) => "too-long",
            Self::Length => LENGTH,
            Self::Filtered => "filtered",
            Self::Refusal => "refusal",
            Self::ToolCall => "tool-call",
            Self::Empty => "empty",
            Self::Aborted(_) => "aborted",
        }
    }

    /// Whether another attempt may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::BadRequest(_)
            | Self::ModelNotAllowed(_)
            | Self::NoKey(_)
            | Self::Client(_)
            | Self::Refused { .. }
            | Self::BadAnswer(_)
            | Self::TooLong(_)
            | Self::Length
            | Self::Filtered
            | Self::Refusal
            | Self::ToolCall => false,
            Self::Unreachable(_)
            | Self::Silent(_)
            | Self::Interrupted(_)
            | Self::Told(_)
            | Self::Empty
            | Self::Aborted(_) => true,
            Self::Status { status, .. } => is_transient(*status),
        }
    }

    /// Some if the service is overloaded or still loads its model; the inner value is the pause
    /// that it asks for, if any.
    pub(super) fn busy(&self) -> Option<Option<Duration>> {
        match self {
            Self::Status {
                status,
                retry_after,
                ..
            } if is_busy(*status) => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether the service refuses the request because it does not know `stream_options`.
    pub(super) fn names_stream_options(&self) -> bool {
        match self {
            Self::Status { status, detail, .. } => {
                matches!(status.as_u16(), 400 | 422) && detail.contains(STREAM_OPTIONS)
            }
            _ => false,
        }
    }

    /// The failure of the job. The submitter is told what they can do about it, and nothing else
    /// about the service or this agent.
    pub(super) fn into_task_error(self) -> TaskError {
        let public = match &self {
            Self::BadRequest(reason) => reason.clone(),
            Self::ModelNotAllowed(model) => format!("the model {model:?} is not allowed here"),
            Self::NoKey(_) | Self::Client(_) => "the agent cannot use the service".to_owned(),
            Self::Unreachable(_) => "the service cannot be reached".to_owned(),
            Self::Silent(_) => "the service did not respond in time".to_owned(),
            Self::Interrupted(_) => "the connection to the service was lost".to_owned(),
            Self::Status { status, .. } => format!("the service answered with status {status}"),
            Self::Refused { refused, .. } => refused.public().to_owned(),
            Self::Told(_) => "the service reported an error".to_owned(),
            Self::BadAnswer(_) => "the service's answer is not a chat completion".to_owned(),
            Self::TooLong(limit) => format!("the service's answer is longer than {limit} bytes"),
            Self::Length => "the model reached this agent's limit of tokens".to_owned(),
            Self::Filtered => "a content filter blocked the answer".to_owned(),
            Self::Refusal => "the model refused".to_owned(),
            Self::ToolCall => "the model requested a tool call, and there are no tools".to_owned(),
            Self::Empty => "the model's answer is empty".to_owned(),
            Self::Aborted(_) => "the service aborted the answer".to_owned(),
        };
        let (code, reason) = (self.code(), self.to_string());
        let error = if self.is_transient() {
            TaskError::transient(code, reason)
        } else {
            TaskError::permanent(code, reason)
        };
        error.with_public(public)
    }
}

/// Whether a status means that the service may answer later: too many requests, a model that is
/// still loading, an overloaded service (529, which has no name), a request with the same
/// idempotency key that is still being answered (409).
fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 409 | 429 | 503 | 529)
}

fn is_transient(status: StatusCode) -> bool {
    is_busy(status) || status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT
}
