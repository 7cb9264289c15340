//! What goes wrong with a program.

use std::time::Duration;

use agentry_sdk::{BehaviourError, NameError, TaskError};

use super::wire::{MAX_EVENT_BYTES, MAX_LINE_BYTES, PROTOCOL};

/// Why one life of a program ended. It is started again when it is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The operating system did not start it.
    #[error("could not be started: {0}")]
    Unstarted(String),
    /// It did not say `ready` in time.
    #[error("did not say it is ready within {0:?} of its start")]
    NotReady(Duration),
    /// It speaks another version.
    #[error("speaks version {0} of the protocol; this agentry speaks {PROTOCOL}")]
    Version(u32),
    /// It ended.
    #[error("ended ({0})")]
    Exited(String),
    /// It closed its standard output and went on.
    #[error("closed its standard output")]
    Closed,
    /// It closed its standard input, or its pipes failed.
    #[error("cannot be spoken to: {0}")]
    Broken(String),
    /// A line without an end.
    #[error("wrote a line of more than {MAX_LINE_BYTES} bytes")]
    Overlong,
    /// A line that is none of the protocol.
    #[error("wrote a line that is not of the protocol ({reason}): {line}")]
    Garbage {
        /// What is wrong with it.
        reason: String,
        /// How it begins.
        line: String,
    },
    /// It answered nothing.
    #[error("hung: it answered nothing for {0:?} after the time of a run was over")]
    Hung(Duration),
    /// Nobody needs it any more.
    #[error("is not needed any more")]
    Dropped,
}

/// Why a run of a program, or a task of it, failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProcessError {
    /// The program's life ended before it answered.
    #[error("the program {0}")]
    Ended(#[from] End),
    /// The program is not running, and it is too early to start it again.
    #[error("the program {end}; it is started again in {again:?}")]
    Resting {
        /// Why it is not running.
        end: End,
        /// When it may be started.
        again: Duration,
    },
    /// The program says that it failed.
    #[error("{message}")]
    Failed {
        /// In its words.
        message: String,
        /// Whether another attempt may succeed.
        transient: bool,
        /// What others may be told.
        public: Option<String>,
        /// Of a task: a word for programs.
        code: Option<String>,
    },
    /// The event is larger than what is written to a program.
    #[error(
        "the event and the state are {0} bytes as a line; at most {MAX_EVENT_BYTES} are written to \
         a program: keep less state"
    )]
    TooLarge(usize),
    /// The answer names no effects that can be carried out.
    #[error("the program's answer cannot be read: {0}")]
    Answer(String),
    /// One effect cannot be carried out.
    #[error("effect {index} of the program's answer: {reason}")]
    Effect {
        /// Which, from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// One effect goes to a name that is no address.
    #[error("effect {index} of the program's answer: {error}")]
    Name {
        /// Which, from 0.
        index: usize,
        /// Why.
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
            // The directory may come to know the name.
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
