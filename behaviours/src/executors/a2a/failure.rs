//! The failures of a job that another agent does, and what the submitter is told.

use std::error::Error;
use std::time::Duration;

use agentry_sdk::TaskError;
use reqwest::StatusCode;

use crate::net::NotPublic;
use crate::net::reasons;

/// Why there is no result. The text is for the log and contains no secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The job is invalid.
    #[error("{0}")]
    BadRequest(String),
    /// The key cannot be read.
    #[error("reading the key: {0}")]
    NoKey(String),
    /// The HTTP client cannot be set up.
    #[error("setting up the client: {0}")]
    Client(String),
    /// The agent is in a private network.
    #[error("{}", NotPublic)]
    Private,
    /// The card cannot be trusted or used.
    #[error("the agent's card is refused: {0}")]
    Card(String),
    /// No connection could be made.
    #[error("connecting: {0}")]
    Unreachable(String),
    /// The agent sent nothing for too long.
    #[error("the agent sent nothing for {}", humantime::format_duration(*.0))]
    Silent(Duration),
    /// The connection was lost.
    #[error("the connection was lost: {0}")]
    Interrupted(String),
    /// The status says that the request failed.
    #[error("status {status}: {detail:?}")]
    Status { status: StatusCode, detail: String },
    /// The agent refuses the request.
    #[error("the agent refuses: {0:?}")]
    Refused(String),
    /// The agent failed at the request.
    #[error("the agent reports an error: {0:?}")]
    Told(String),
    /// The agent does not know the task, or no longer.
    #[error("the agent does not know the task: {0:?}")]
    Lost(String),
    /// The answer is not one of A2A.
    #[error("the answer is not one of A2A: {0}")]
    BadAnswer(String),
    /// The result is too long.
    #[error("the result is longer than {0} bytes")]
    TooLong(usize),
    /// There is no result.
    #[error("the agent completed the task without a result")]
    Empty,
    /// The agent failed.
    #[error("the agent says that the task failed: {0:?}")]
    Failed(String),
    /// The agent refused the task.
    #[error("the agent rejected the task: {0:?}")]
    Rejected(String),
    /// The agent canceled the task.
    #[error("the agent canceled the task: {0:?}")]
    Canceled(String),
    /// The agent demands another authentication.
    #[error("the agent demands authentication: {0:?}")]
    AuthRequired(String),
}

impl Failure {
    /// The HTTP client could not be set up.
    pub(super) fn client(error: reqwest::Error) -> Self {
        Self::Client(reasons(error))
    }

    /// A request could not be sent.
    pub(super) fn sending(error: reqwest::Error) -> Self {
        if is_private(&error) {
            Self::Private
        } else if error.is_connect() || error.is_timeout() {
            Self::Unreachable(reasons(error))
        } else {
            Self::Interrupted(reasons(error))
        }
    }

    /// An answer could not be read.
    pub(super) fn reading(error: reqwest::Error) -> Self {
        Self::Interrupted(reasons(error))
    }

    /// The same failure, with a function applied to the texts that come from the agent.
    pub(super) fn map_text(self, shown: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Card(text) => Self::Card(shown(&text)),
            Self::Interrupted(text) => Self::Interrupted(shown(&text)),
            Self::Status { status, detail } => Self::Status {
                status,
                detail: shown(&detail),
            },
            Self::Refused(text) => Self::Refused(shown(&text)),
            Self::Told(text) => Self::Told(shown(&text)),
            Self::Lost(text) => Self::Lost(shown(&text)),
            Self::BadAnswer(text) => Self::BadAnswer(shown(&text)),
            Self::Failed(text) => Self::Failed(shown(&text)),
            Self::Rejected(text) => Self::Rejected(shown(&text)),
            Self::Canceled(text) => Self::Canceled(shown(&text)),
            Self::AuthRequired(text) => Self::AuthRequired(shown(&text)),
            other => other,
        }
    }

    /// The machine-readable code.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad-request",
            Self::NoKey(_) => "no-key",
            Self::Private => "private-address",
            Self::Card(_) => "card-refused",
            Self::Client(_) | Self::Unreachable(_) => "unreachable",
            Self::Silent(_) => "silent",
            Self::Interrupted(_) => "connection-lost",
            Self::Status { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS => {
                "rate-limited"
            }
            Self::Status { status, .. } if *status == StatusCode::SERVICE_UNAVAILABLE => {
                "unavailable"
            }
            Self::Status { status, .. } if is_transient(*status) => "service-error",
            Self::Status { .. } | Self::Refused(_) => "refused",
            Self::Told(_) => "service-error",
            Self::Lost(_) => "task-lost",
            Self::BadAnswer(_) => "bad-answer",
            Self::TooLong(_) => "too-long",
            Self::Empty => "empty",
            Self::Failed(_) => "agent-failed",
            Self::Rejected(_) => "agent-rejected",
            Self::Canceled(_) => "agent-canceled",
            Self::AuthRequired(_) => "auth-required",
        }
    }

    /// Whether another attempt may succeed. An agent that has ended a task does not take it up again,
    /// and the same message would find the same task.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::Silent(_)
            | Self::Interrupted(_)
            | Self::Told(_)
            | Self::Lost(_) => true,
            Self::Status { status, .. } => is_transient(*status),
            Self::BadRequest(_)
            | Self::NoKey(_)
            | Self::Client(_)
            | Self::Private
            | Self::Card(_)
            | Self::Refused(_)
            | Self::BadAnswer(_)
            | Self::TooLong(_)
            | Self::Empty
            | Self::Failed(_)
            | Self::Rejected(_)
            | Self::Canceled(_)
            | Self::AuthRequired(_) => false,
        }
    }

    /// Whether the agent has ended the task.
    pub(super) const fn is_of_ended_task(&self) -> bool {
        matches!(
            self,
            Self::Failed(_) | Self::Rejected(_) | Self::Canceled(_) | Self::Empty
        )
    }

    /// The failure of the job. The submitter is told what they can do about it, and nothing else
    /// about the agent.
    pub(super) fn into_task_error(self) -> TaskError {
        let public = match &self {
            Self::BadRequest(reason) => reason.clone(),
            Self::NoKey(_) | Self::Client(_) | Self::Private | Self::Card(_) => {
                "the agent cannot use the agent that does the job".to_owned()
            }
            Self::Unreachable(_) => "the agent that does the job cannot be reached".to_owned(),
            Self::Silent(_) => "the agent that does the job did not respond in time".to_owned(),
            Self::Interrupted(_) => {
                "the connection to the agent that does the job was lost".to_owned()
            }
            Self::Status { status, .. } => {
                format!("the agent that does the job answered with status {status}")
            }
            Self::Refused(_) => "the agent that does the job refused the request".to_owned(),
            Self::Told(_) => "the agent that does the job reported an error".to_owned(),
            Self::Lost(_) => "the agent that does the job lost it".to_owned(),
            Self::BadAnswer(_) => "the answer of the agent that does the job is invalid".to_owned(),
            Self::TooLong(limit) => format!("the result is longer than {limit} bytes"),
            Self::Empty => "the agent that does the job gave no result".to_owned(),
            Self::Failed(_) => "the agent that does the job failed".to_owned(),
            Self::Rejected(_) => "the agent that does the job rejected it".to_owned(),
            Self::Canceled(_) => "the agent that does the job canceled it".to_owned(),
            Self::AuthRequired(_) => {
                "the agent that does the job demands an authentication".to_owned()
            }
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

fn is_transient(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS
        )
}

fn is_private(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(reason) = source {
        if reason.is::<NotPublic>() {
            return true;
        }
        source = reason.source();
    }
    false
}
