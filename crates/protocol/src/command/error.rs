//! Why a command with a known name cannot be read.

use crate::bounded::BoundError;
use crate::hash::HashError;
use crate::header::MessageIdError;
use crate::key::KeyError;

/// Why the parameters of a known command are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {cmd}'s {field:?} {reason}")]
pub struct CommandError {
    /// The command.
    pub cmd: &'static str,
    /// The parameter; within an object, its path, such as `error.code`.
    pub field: &'static str,
    /// The reason.
    pub reason: CommandFault,
}

/// What is wrong with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandFault {
    /// It is required.
    #[error("is missing")]
    Missing,
    /// It has the wrong type.
    #[error("is not {expected}")]
    Type {
        /// The expected type.
        expected: &'static str,
    },
    /// It is a text that is too long, or has a character that is not allowed.
    #[error("cannot be accepted: {0}")]
    Bound(#[from] BoundError),
    /// It has too many items.
    #[error("has {found} items, over the limit of {limit}")]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// It is an object that is too large.
    #[error("has {found} bytes as json, over the limit of {limit}")]
    TooLarge {
        /// Its length.
        found: usize,
        /// The longest it may be.
        limit: usize,
    },
    /// It is not one of the allowed words.
    #[error("is not one of: {expected}")]
    Word {
        /// The allowed words.
        expected: &'static str,
    },
    /// It is not a transaction hash.
    #[error("is not a transaction hash: {0}")]
    Hash(#[from] HashError),
    /// It is not a message id.
    #[error("is not a message id: {0}")]
    Id(#[from] MessageIdError),
    /// It is not a key.
    #[error("is not a key: {0}")]
    Key(#[from] KeyError),
    /// It is not base64url without padding.
    #[error("is not base64url without padding")]
    Base64,
    /// It has the wrong length after decoding.
    #[error("has {found} bytes, not {expected}")]
    Length {
        /// How many it has.
        found: usize,
        /// How many it must have, in words.
        expected: &'static str,
    },
    /// It contradicts the result in the same command.
    #[error("does not match the result in the same command")]
    Contradiction,
}
