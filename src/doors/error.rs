//! Why an operation was not carried out.

use std::fmt;

use agentry_store::StoreError;
use schemars::JsonSchema;
use serde::Serialize;

use crate::ops::OperationError;
use crate::ops::approvals::ApprovalError;
use crate::ops::change::ChangeError;
use crate::ops::delivery::DeliveryError;
use crate::ops::queues::list::RowError;
use crate::ops::tasks::TaskError;
use crate::ops::tasks::fetch::FetchError;
use crate::ops::who::WhoError;
use crate::runtime::control::ControlError;
use crate::runtime::presence::NotHere;

/// Why an operation was not carried out, for programs. The words do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is not valid: sent again, it is refused again.
    Invalid,
    /// The request is too large.
    TooLarge,
    /// The request did not arrive in time.
    TooSlow,
    /// The body of the request is not JSON.
    UnsupportedMedia,
    /// The request names no caller, or one that is not known.
    Unauthenticated,
    /// The caller may not do this.
    NotAllowed,
    /// There is no such thing, or the caller may not see it.
    NotFound,
    /// The running runtime does not host the agent.
    NotHosted,
    /// The message must be sealed, and the recipient's encryption key is not known.
    NoRecipientKey,
    /// The daily budget of the caller's token does not suffice.
    OverBudget,
    /// The recipient offers no such job.
    NotOffered,
    /// The key was used for another request.
    KeyReused,
    /// What is to be changed is not in a state in which that is possible.
    Conflict,
    /// The configuration was read and not applied.
    NotApplied,
    /// The agent that did a job does not send its result, or not the one that it announced.
    NoResult,
    /// It was not done in time; it may still come.
    TimedOut,
    /// Too much is going on: try again later.
    Busy,
    /// The runtime is not running, or cannot do this now: try again later.
    Unavailable,
    /// The store or the runtime has a fault.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 19] = [
        Self::Invalid,
        Self::TooLarge,
        Self::TooSlow,
        Self::UnsupportedMedia,
        Self::Unauthenticated,
        Self::NotAllowed,
        Self::NotFound,
        Self::NotHosted,
        Self::NoRecipientKey,
        Self::OverBudget,
        Self::NotOffered,
        Self::KeyReused,
        Self::Conflict,
        Self::NotApplied,
        Self::NoResult,
        Self::TimedOut,
        Self::Busy,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::UnsupportedMedia => "unsupported_media",
            Self::Unauthenticated => "unauthenticated",
            Self::NotAllowed => "not_allowed",
            Self::NotFound => "not_found",
            Self::NotHosted => "not_hosted",
            Self::NoRecipientKey => "no_recipient_key",
            Self::OverBudget => "over_budget",
            Self::NotOffered => "not_offered",
            Self::KeyReused => "key_reused",
            Self::Conflict => "conflict",
            Self::NotApplied => "not_applied",
            Self::NoResult => "no_result",
            Self::TimedOut => "timed_out",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The status of an HTTP response with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::TooLarge => 413,
            Self::TooSlow => 408,
            Self::UnsupportedMedia => 415,
            Self::Unauthenticated => 401,
            Self::NotAllowed => 403,
            Self::NotFound => 404,
            Self::NotHosted
            | Self::NoRecipientKey
            | Self::NotOffered
            | Self::KeyReused
            | Self::Conflict
            | Self::NotApplied => 409,
            Self::OverBudget => 429,
            Self::Internal => 500,
            Self::NoResult => 502,
            Self::Busy | Self::Unavailable => 503,
            Self::TimedOut => 504,
        }
    }

    /// Whether the same request may be carried out later.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::TimedOut | Self::Busy | Self::Unavailable)
    }
}

/// Why an operation was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorError {
    code: ErrorCode,
    message: String,
    detail: Option<String>,
}

impl DoorError {
    /// An error with a message that every caller may see.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            detail: None,
        }
    }

    /// The request is not valid.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// There is no such thing, or the caller may not see it.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is no {what}"))
    }

    /// Adds what only the operator may see, such as paths and the names of the configuration.
    pub fn with_detail(self, detail: impl fmt::Display) -> Self {
        Self {
            detail: Some(detail.to_string()),
            ..self
        }
    }

    /// The reason, for programs.
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// What only the operator may see of the reason, if there is more than the message.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    fn internal(detail: impl fmt::Display) -> Self {
        Self::new(
            ErrorCode::Internal,
            "the runtime has a fault; its log tells more",
        )
        .with_detail(detail)
    }

    /// This machine's copy of the shard of an agent cannot be used now.
    pub(super) fn copy(detail: impl fmt::Display) -> Self {
        let message = "this host has no up-to-date copy of what is asked for yet; ask again";
        Self::new(ErrorCode::Unavailable, message).with_detail(detail)
    }

    pub(super) fn unavailable(detail: impl fmt::Display) -> Self {
        Self::new(ErrorCode::Unavailable, "the runtime cannot do this now").with_detail(detail)
    }
}

impl fmt::Display for DoorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DoorError {}

impl From<StoreError> for DoorError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing { .. } => Self::unavailable(error),
            error => Self::internal(error),
        }
    }
}

impl From<NotHere> for DoorError {
    fn from(error: NotHere) -> Self {
        Self::copy(error)
    }
}

impl From<tokio::task::JoinError> for DoorError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(error)
    }
}

impl From<WhoError> for DoorError {
    fn from(error: WhoError) -> Self {
        let detail = error.to_string();
        match error {
            WhoError::Address { .. } | WhoError::Form { .. } => Self::invalid(detail),
            WhoError::Unknown { name, .. } => {
                Self::not_found(format_args!("agent or contact called {name:?}"))
                    .with_detail(detail)
            }
            WhoError::NotOwn { name, .. } => {
                Self::not_found(format_args!("hosted agent called {name:?}")).with_detail(detail)
            }
            WhoError::Several { name, .. } => {
                let message = format!("{name:?} means several addresses; use the address");
                Self::invalid(message).with_detail(detail)
            }
            WhoError::Announced(_) => Self::invalid(detail),
            WhoError::NoAddress(_) | WhoError::Wallet(_) => {
                Self::new(ErrorCode::NotFound, "the address of this name is not known")
                    .with_detail(detail)
            }
            WhoError::Store(error) => error.into(),
            WhoError::Runtime(error) => error.into(),
        }
    }
}

impl From<ControlError> for DoorError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Refused(error) => error.into(),
            ControlError::NotRunning { .. } => {
                Self::new(ErrorCode::Unavailable, "no runtime is running").with_detail(error)
            }
            ControlError::Silent { .. } | ControlError::Broken { .. } => Self::new(
                ErrorCode::TimedOut,
                "the runtime did not answer; whether it carried out the request is unknown",
            )
            .with_detail(error),
            error => Self::unavailable(error),
        }
    }
}

impl From<OperationError> for DoorError {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::Later(_) => Self::unavailable(error),
            OperationError::NoRecipientKey(reason) => Self::new(ErrorCode::NoRecipientKey, reason),
            OperationError::Invalid(reason) => Self::invalid(reason),
            OperationError::TokenBudget(_) => Self::new(ErrorCode::OverBudget, error.to_string()),
            OperationError::NotHosted(_) => Self::new(
                ErrorCode::NotHosted,
                "the running runtime does not host this agent",
            )
            .with_detail(error),
            OperationError::NoMessage(_) => Self::new(ErrorCode::NotFound, error.to_string()),
            OperationError::NotApplied(_) => Self::new(ErrorCode::NotApplied, error.to_string()),
        }
    }
}

impl From<DeliveryError> for DoorError {
    fn from(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Deleted(outbox) => {
                Self::not_found(format_args!("message outbox/{outbox}"))
            }
            DeliveryError::Store(error) => error.into(),
            DeliveryError::Node(error) => Self::unavailable(error),
        }
    }
}

impl From<TaskError> for DoorError {
    fn from(error: TaskError) -> Self {
        let message = error.to_string();
        match error {
            TaskError::Unknown { id, .. } => {
                Self::not_found(format_args!("task {id:?}")).with_detail(message)
            }
            TaskError::Ended { .. } | TaskError::NotSigned(_) | TaskError::NotAsking { .. } => {
                Self::new(ErrorCode::Conflict, message)
            }
            TaskError::Answer(_) => Self::invalid(message),
            TaskError::Fetch(error) => error.into(),
            TaskError::NotOffered { missing, .. } => {
                let shown = format!("the recipient {missing}; nothing was sent");
                Self::new(ErrorCode::NotOffered, shown).with_detail(message)
            }
            TaskError::Who(error) => error.into(),
            TaskError::Runtime(error) => error.into(),
            TaskError::Store(error) => error.into(),
        }
    }
}

impl From<FetchError> for DoorError {
    fn from(error: FetchError) -> Self {
        let code = match &error {
            FetchError::NoResult { .. } | FetchError::TooLong { .. } => ErrorCode::Conflict,
            FetchError::Refused { .. } | FetchError::Other(_) | FetchError::NotSent { .. } => {
                ErrorCode::NoResult
            }
            FetchError::Closed(_) => ErrorCode::Unavailable,
            FetchError::Late { .. } => ErrorCode::TimedOut,
        };
        Self::new(code, error.to_string())
    }
}

impl From<RowError> for DoorError {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Id(_) | RowError::Forged(_) => Self::invalid(error.to_string()),
            RowError::Missing { id, .. } => Self::not_found(format_args!("row {id}")),
            RowError::Store(error) => error.into(),
        }
    }
}

impl From<ChangeError> for DoorError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Runtime(error) => error.into(),
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<ApprovalError> for DoorError {
    fn from(error: ApprovalError) -> Self {
        match error {
            ApprovalError::Id(_) | ApprovalError::Reason(_) => Self::invalid(error.to_string()),
            ApprovalError::Missing { id, .. } => {
                Self::not_found(format_args!("effect {id} that waits for approval"))
            }
            ApprovalError::Change(error) => error.into(),
            ApprovalError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_codes_are_those_that_are_written() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!((400..600).contains(&code.status()));
        }
    }

    #[test]
    fn paths_are_the_operators_alone() {
        let path = std::path::PathBuf::from("/secret/agentry.db");
        let error = DoorError::from(StoreError::Missing { path });
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(error.detail().unwrap().contains("secret"));
    }
}
