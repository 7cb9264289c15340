//! What may go wrong, and what the asker is told of it.

use std::error::Error;
use std::time::Duration;

use agentry_sdk::TaskError;
use reqwest::StatusCode;

/// Why there is no answer. Its text is for the log; no part of it is secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The job cannot be asked.
    #[error("{0}")]
    BadParameters(String),
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
    /// The answer tells of an error.
    #[error("it tells of an error: {0:?}")]
    Told(String),
    /// The answer is no chat completion.
    #[error("it is no chat completion: {0}")]
    BadAnswer(String),
    /// The answer is too long.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
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

    /// A word for programs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::BadParameters(_) => "bad-parameters",
            Self::ModelNotAllowed(_) => "model-not-allowed",
            Self::NoKey(_) => "no-key",
            Self::Client(_) | Self::Unreachable(_) => "unreachable",
            Self::Silent(_) => "silent",
            Self::Interrupted(_) => "interrupted",
            Self::Status { status, .. } if is_busy(*status) => "busy",
            Self::Status { status, .. } if is_transient(*status) => "service-error",
            Self::Status { .. } => "refused",
            Self::Told(_) => "service-error",
            Self::BadAnswer(_) => "bad-answer",
            Self::TooLong(_) => "too-long",
        }
    }

    /// Whether another attempt may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::BadParameters(_)
            | Self::ModelNotAllowed(_)
            | Self::NoKey(_)
            | Self::Client(_)
            | Self::BadAnswer(_)
            | Self::TooLong(_) => false,
            Self::Unreachable(_) | Self::Silent(_) | Self::Interrupted(_) | Self::Told(_) => true,
            Self::Status { status, .. } => is_transient(*status),
        }
    }

    /// For how long the service wants to be left alone.
    pub(super) fn pause(&self) -> Option<Duration> {
        match self {
            Self::Status {
                status,
                retry_after,
                ..
            } if is_busy(*status) => *retry_after,
            _ => None,
        }
    }

    /// What the asker is told: what he can mend, and else nothing of the service or of us.
    pub(super) fn for_asker(&self) -> TaskError {
        let message = match self {
            Self::BadParameters(reason) => reason.clone(),
            Self::ModelNotAllowed(model) => format!("the model {model:?} is not allowed here"),
            Self::NoKey(_) | Self::Client(_) => "the service cannot be asked from here".to_owned(),
            Self::Unreachable(_) => "the service cannot be reached".to_owned(),
            Self::Silent(_) => "the service was silent for too long".to_owned(),
            Self::Interrupted(_) => "the connection to the service broke".to_owned(),
            Self::Status { status, .. } => format!("the service answered with status {status}"),
            Self::Told(_) => "the service reported an error".to_owned(),
            Self::BadAnswer(_) => "the service's answer is no chat completion".to_owned(),
            Self::TooLong(limit) => format!("the service's answer is longer than {limit} bytes"),
        };
        if self.is_transient() {
            TaskError::transient(self.code(), message)
        } else {
            TaskError::permanent(self.code(), message)
        }
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    )
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
