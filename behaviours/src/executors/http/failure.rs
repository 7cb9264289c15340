//! What may go wrong, and what the asker is told of it.

use std::error::Error;
use std::time::Duration;

use agentry_sdk::TaskError;
use reqwest::StatusCode;

use super::refused::Refused;

/// The model had more to say than it was allowed: the code of a failure, or the mark of a result.
pub(super) const LENGTH: &str = "length";

/// Why there is no answer. Its text is for the log; no part of it is secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The job cannot be asked.
    #[error("{0}")]
    BadRequest(String),
    /// The job wants a model that is not allowed.
    #[error("the job asks for the model {0:?}, which is not among `model` and `models`")]
    ModelNotAllowed(String),
    /// The key cannot be read.
    #[error("the service's key: {0}")]
    NoKey(String),
    /// Nothing can be asked at all.
    #[error("setting up the client: {0}")]
    Client(String),
    /// No connection.
    #[error("connecting: {0}")]
    Unreachable(String),
    /// Nothing came for too long.
    #[error("nothing came for {}", humantime::format_duration(*.0))]
    Silent(Duration),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Interrupted(String),
    /// The status is not 200.
    #[error("status {status}: {detail:?}")]
    Status {
        status: StatusCode,
        retry_after: Option<Duration>,
        detail: String,
    },
    /// The service refuses for good, whatever its status says.
    #[error("{}: {detail:?}", refused.public())]
    Refused { refused: Refused, detail: String },
    /// The answer tells of an error.
    #[error("it tells of an error: {0:?}")]
    Told(String),
    /// The answer is no chat completion.
    #[error("it is no chat completion: {0}")]
    BadAnswer(String),
    /// The answer is too long.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// The model had more to say than it was allowed.
    #[error("the model was cut off: it had more to say than it was allowed")]
    Length,
    /// A filter of the service stepped in.
    #[error("a content filter of the service stepped in")]
    Filtered,
    /// The model refused.
    #[error("the model refused")]
    Refusal,
    /// The model wants a tool to be called, and has none.
    #[error("the model asks for a tool in place of an answer")]
    ToolCall,
    /// The model said nothing.
    #[error("the answer is empty")]
    Empty,
    /// The service gave the answer up.
    #[error("the service gave the answer up: {0:?}")]
    Aborted(String),
}

impl Failure {
    /// The client could not be made.
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

    /// An answer, or a part of one, tells of an error: `body` is what came, `detail` what it says.
    pub(super) fn told(body: &[u8], detail: String) -> Self {
        match Refused::in_body(body) {
            Some(refused) => Self::Refused { refused, detail },
            None => Self::Told(detail),
        }
    }

    /// The same failure, with what the service's own words become.
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

    /// A word for programs.
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

    /// Whether the service has too much to do, or its model is being loaded; within, for how long
    /// it asks to be left alone, if it says so.
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

    /// The failure of the job. The asker is told what they can do about it, and else nothing of
    /// the service or of us.
    pub(super) fn into_task_error(self) -> TaskError {
        let public = match &self {
            Self::BadRequest(reason) => reason.clone(),
            Self::ModelNotAllowed(model) => format!("the model {model:?} is not allowed here"),
            Self::NoKey(_) | Self::Client(_) => "the service cannot be asked from here".to_owned(),
            Self::Unreachable(_) => "the service cannot be reached".to_owned(),
            Self::Silent(_) => "the service was silent for too long".to_owned(),
            Self::Interrupted(_) => "the connection to the service broke".to_owned(),
            Self::Status { status, .. } => format!("the service answered with status {status}"),
            Self::Refused { refused, .. } => refused.public().to_owned(),
            Self::Told(_) => "the service reported an error".to_owned(),
            Self::BadAnswer(_) => "the service's answer is no chat completion".to_owned(),
            Self::TooLong(limit) => format!("the service's answer is longer than {limit} bytes"),
            Self::Length => "the model had more to say than it is allowed here".to_owned(),
            Self::Filtered => "a content filter kept the answer back".to_owned(),
            Self::Refusal => "the model refused".to_owned(),
            Self::ToolCall => "the model asked for a tool, and has none here".to_owned(),
            Self::Empty => "the model said nothing".to_owned(),
            Self::Aborted(_) => "the service gave the answer up".to_owned(),
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

/// Whether a status says that the service will answer later: too many requests, a model that is
/// being loaded, a service that is overloaded (529, which has no name).
fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 503 | 529)
}

fn is_transient(status: StatusCode) -> bool {
    is_busy(status) || status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT
}

/// An error of reqwest's with all its reasons, and without the URL.
fn reasons(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        text.push_str(": ");
        text.push_str(&reason.to_string());
        source = reason.source();
    }
    text
}
