//! Why a running runtime did not carry out an operation.

use agentry_core::InboxId;
use agentry_core::state::Refusal;
use agentry_store::StoreError;
use serde::{Deserialize, Serialize};

use super::send::SendError;
use crate::runtime::compose::ComposeError;

/// Why a running runtime did not carry out an operation. It crosses the control socket, so it holds
/// the cause as a text; the variant is what callers decide by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationError {
    /// Not done now; it may be done later.
    #[error("{0}")]
    Later(String),
    /// Not sent: the message must be sealed, and the recipient's encryption key is not known.
    #[error("{0}")]
    NoRecipientKey(String),
    /// Not done, and never will be: the request is not valid.
    #[error("{0}")]
    Invalid(String),
    /// Not sent: the daily budget of the caller's token does not suffice.
    #[error("{0}; nothing was sent")]
    TokenBudget(String),
    /// The wallet or agent, as it was requested, is not hosted.
    #[error(
        "{0} is not hosted by the running runtime; `agentry queue stats` lists the agents that are"
    )]
    NotHosted(String),
    /// There is no such message.
    #[error("there is no message inbox/{0}")]
    NoMessage(InboxId),
    /// The configuration was read and not applied, for every one of these reasons.
    #[error("nothing was applied\n{}", .0.join("\n"))]
    NotApplied(Vec<String>),
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> Self {
        let reason = error.to_string();
        match error {
            StoreError::Token(Refusal::TokenBudget { .. }) => Self::TokenBudget(reason),
            StoreError::Token(_) => Self::Invalid(reason),
            _ => Self::Later(reason),
        }
    }
}

impl From<SendError> for OperationError {
    fn from(error: SendError) -> Self {
        let reason = error.to_string();
        match error {
            SendError::Compose(ComposeError::NoRecipientKey { .. }) => Self::NoRecipientKey(reason),
            SendError::Compose(error) if !error.is_transient() => Self::Invalid(reason),
            SendError::Store(error) => error.into(),
            SendError::Compose(_) | SendError::Sign(_) => Self::Later(reason),
        }
    }
}
