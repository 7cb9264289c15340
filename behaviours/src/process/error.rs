//! The errors of a program.

use std::time::Duration;

use agentry_sdk::{BehaviourError, NameError, TaskError};

use super::wire::{MAX_EVENT_BYTES, MAX_LINE_BYTES, PROTOCOL};

/// Why a program ended or was killed. It is started again when it is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The operating system did not start it.
    #[error("could not be started: {0}")]
    Unstarted(String),
    /// It did not say `ready` in time.
    #[error("did not say it is ready within {0:?} of its start")]
    NotReady(Duration),
    /// It uses another version of the protocol.
    #[error("uses version {0} of the protocol; this agentry uses version {PROTOCOL}")]
    Version(u32),
    /// It ended.
    #[error("ended ({0})")]
    Exited(String),
    /// It closed its standard output without ending.
    #[error("closed its standard output")]
    Closed,
    /// It closed its standard input, or its pipes failed.
    #[error("cannot be reached: {0}")]
    Broken(String),
    /// It wrote a line that is too long.
    #[error("wrote a line of more than {MAX_LINE_BYTES} bytes")]
    Overlong,
    /// It wrote a line that the protocol does not have.
    #[error("wrote a line that is not part of the protocol ({reason}): {line}")]
    Garbage {
        /// The reason.
        reason: String,
        /// The beginning of the line.
        line: String,
    },
    /// It answered nothing after a time limit.
    #[error("hung: it answered nothing for {0:?} after the time limit of a run")]
    Hung(Duration),
    /// It is no longer needed.
    #[error("is no longer needed")]
    Dropped,
}

/// Why a run of a program, or a task of it, failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProcessError {
    /// The program ended before it answered.
    #[error("the program {0}")]
    Ended(#[from] End),
    /// The program is not running, and it is too early to start it again.
    #[error("the program {end}; it is started again in {again:?}")]
    Resting {
        /// Why it is not running.
        end: End,
        /// The time until it may be started again.
        again: Duration,
    },
    /// The program reported a failure.
    #[error("{message}")]
    Failed {
        /// The program's message.
        message: String,
        /// Whether another attempt may succeed.
        transient: bool,
        /// The text for the sender or submitter.
        public: Option<String>,
        /// For a task: a machine-readable code.
        code: Option<String>,
    },
    /// The event is larger than the largest line.
    #[error(
        "the event and the state are {0} bytes as a line; at most {MAX_EVENT_BYTES} are written to \
         a program: reduce the state"
    )]
    TooLarge(usize),
    /// The answer is invalid.
    #[error("the program's answer cannot be read: {0}")]
    Answer(String),
    /// One effect cannot be carried out.
    #[error("effect {index} of the program's answer: {reason}")]
    Effect {
        /// The position of the effect, from 0.
        index: usize,
        /// The reason.
        reason: String,
    },
    /// The name in an effect cannot be resolved to an address.
    #[error("effect {index} of the program's answer: {error}")]
    Name {
        /// The position of the effect, from 0.
        index: usize,
        /// The error of the lookup.
        error: NameError,
    },
}

impl ProcessError {
    /// Whether another attempt may succeed.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Ended(_) | Self::Resting { .. } => true,
            Self::Failed { transient, .. } => *transient,
            Self::TooLarge(_) | Self::Answer(_) | Self::Effect { .. } => false,
            // The name may appear in the directory later.
            Self::Name { error, .. } => matches!(error, NameError::Unknown(_)),
        }
    }
}

impl From<ProcessError> for BehaviourError {
    fn from(error: ProcessError) -> Self {
        let reason = error.to_string();
        let failed = if error.is_transient() {
            Self::transient(reason)
        } else {
            Self::permanent(reason)
        };
        match error {
            ProcessError::Failed {
                public: Some(public),
                ..
            } => failed.with_public(public),
            _ => failed,
        }
    }
}

impl From<ProcessError> for TaskError {
    fn from(error: ProcessError) -> Self {
        let code = match &error {
            ProcessError::Failed {
                code: Some(code), ..
            } => code.clone(),
            ProcessError::Failed { .. } => "failed".to_owned(),
            _ => "program".to_owned(),
        };
        let reason = error.to_string();
        let failed = if error.is_transient() {
            Self::transient(code, reason)
        } else {
            Self::permanent(code, reason)
        };
        match error {
            ProcessError::Failed {
                public: Some(public),
                ..
            } => failed.with_public(public),
            _ => failed.with_public("the program that does this task failed"),
        }
    }
}
