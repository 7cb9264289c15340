//! Why a call to a node failed, and what is known about a transaction whose POST failed.

use std::time::Duration;

use crate::dialect::Refusal;

/// Why a call to a node failed. No variant shows credentials of the node's URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The URL cannot be that of a node.
    #[error("reading the node's URL {url:?}: {reason}; write it like http://127.0.0.1:8006")]
    Url {
        /// The URL, without credentials.
        url: String,
        /// The reason.
        reason: String,
    },
    /// The HTTP client cannot be built.
    #[error("building the HTTP client: {reason}")]
    Client {
        /// The reason.
        reason: String,
    },
    /// No connection: nothing was sent.
    #[error("{call}: connecting to {node}: {reason}; is the node running?")]
    Connect {
        /// The call, as method and path.
        call: String,
        /// The node's URL.
        node: String,
        /// The error of the system.
        reason: String,
    },
    /// No connection, because the TLS handshake failed: nothing was sent.
    #[error("{call}: connecting to {node}: {reason}; {fix}")]
    Tls {
        /// The call, as method and path.
        call: String,
        /// The node's URL.
        node: String,
        /// The reason.
        reason: String,
        /// The suggested fix.
        fix: &'static str,
    },
    /// The answer took too long.
    #[error("{call}: {node} did not answer in time")]
    Timeout {
        /// The call, as method and path.
        call: String,
        /// The node's URL.
        node: String,
    },
    /// The connection broke.
    #[error("{call}: talking to {node}: {reason}")]
    Transport {
        /// The call, as method and path.
        call: String,
        /// The node's URL.
        node: String,
        /// The reason.
        reason: String,
    },
    /// The answer is larger than the limit.
    #[error("{call}: the answer of {node} is larger than {limit} bytes; no more of it is read")]
    TooLarge {
        /// The call, as method and path.
        call: String,
        /// The node's URL.
        node: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The node answered with an error status.
    #[error("{call}: {node} answered {status}: {detail}")]
    Status {
        /// The call, as method and path.
        call: String,
        /// The node's URL.
        node: String,
        /// The HTTP status.
        status: u16,
        /// The node's own words: one line of at most 500 characters.
        detail: String,
        /// How long the node asks the client to wait.
        retry_after: Option<Duration>,
    },
    /// The node limits how often it is asked, and asks for a pause.
    #[error("{call}: {node} has been asked too often, and asks for a pause of {} s", wait.as_secs())]
    Paused {
        /// The call, as method and path.
        call: String,
        /// The node's URL.
        node: String,
        /// The rest of the pause.
        wait: Duration,
    },
    /// The node does not know the call.
    #[error("{call}: {node} has no such call; it is an older node")]
    Unsupported {
        /// The call, as method and path.
        call: String,
        /// The node's URL.
        node: String,
    },
    /// The answer cannot be understood.
    #[error("{call}: reading the answer of {node}: {reason}")]
    Unreadable {
        /// The call, as method and path.
        call: String,
        /// The node's URL.
        node: String,
        /// The reason.
        reason: String,
    },
    /// The mempool could not be read whole, so no transaction can be called absent from it.
    #[error("reading the whole mempool of {node}: {reason}")]
    Incomplete {
        /// The node's URL.
        node: String,
        /// The reason.
        reason: String,
    },
}

impl NodeError {
    /// Whether the same call may succeed later without intervention.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Timeout { .. }
            | Self::Transport { .. }
            | Self::Incomplete { .. }
            | Self::Paused { .. }
            | Self::Unreadable { .. } => true,
            Self::Status { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            Self::Url { .. }
            | Self::Client { .. }
            | Self::TooLarge { .. }
            | Self::Unsupported { .. } => false,
        }
    }

    /// How long the node asks to be left alone, if that is why the call failed.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        match self {
            Self::Paused { wait, .. } => Some(*wait),
            Self::Status {
                status: 429,
                retry_after,
                ..
            } => *retry_after,
            _ => None,
        }
    }

    /// Whether the node says that the requested item does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status: 404, .. })
    }

    /// Whether the node itself failed to answer (5xx), rather than the connection.
    #[must_use]
    pub fn is_server_error(&self) -> bool {
        matches!(self, Self::Status { status: 500.., .. })
    }

    /// A suggested fix, where one is known beyond the text of the error.
    #[must_use]
    pub fn fix(&self) -> Option<&'static str> {
        match self {
            Self::Tls { fix, .. } => Some(fix),
            _ => None,
        }
    }

    /// Whether the node was not reached at all: nothing was sent.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Tls { .. })
    }
}

/// What is known about a transaction whose POST did not succeed. It decides what may be done with
/// the signed bytes: a transaction that may have been accepted counts as accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The node refused it, and says why. The same bytes will be refused again.
    #[error("posting a transaction: the node refused it with {status}: {detail}")]
    Rejected {
        /// The HTTP status: 400 and 422 come from the node itself; 401, 403, 404, 405, 413 and 415
        /// from a proxy in front of it.
        status: u16,
        /// The node's words: one line of at most 500 characters.
        detail: String,
        /// What these words mean.
        refusal: Refusal,
    },
    /// The bytes never left this process.
    #[error("posting a transaction: it was not sent: {reason}")]
    NotSent {
        /// The reason.
        reason: String,
    },
    /// The node did not accept it, because it is overloaded or was asked too often; or it was not sent,
    /// because the node would have been asked too often.
    #[error("posting a transaction: the node is busy")]
    Busy {
        /// How long it asks the client to wait.
        retry_after: Option<Duration>,
    },
    /// The node may have accepted it.
    #[error("posting a transaction: it may or may not have been accepted: {reason}")]
    Unknown {
        /// The reason.
        reason: String,
    },
}

impl SubmitError {
    /// Whether the transaction may be in the node's mempool despite the error.
    #[must_use]
    pub fn may_have_been_taken(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// Why the node refused it. `None`: it did not.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Rejected { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// Whether posting again later may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Rejected { .. })
    }
}
