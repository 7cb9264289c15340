//! Why a command that is known by its name cannot be understood.

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
    /// The parameter; within an object, that of the object, such as `error.code`.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: CommandFault,
}

/// What is wrong with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandFault {
    /// It must be there.
    #[error("is missing")]
    Missing,
    /// It is of another type.
    #[error("is not {expected}")]
    Type {
        /// What it should be.
        expected: &'static str,
    },
    /// It is a text that is too long, or holds what cannot stand there.
    #[error("cannot be taken: {0}")]
    Bound(#[from] BoundError),
    /// There are too many items in it.
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
    /// It is none of the words that can stand there.
    #[error("is none of: {expected}")]
    Word {
        /// Those that can.
        expected: &'static str,
    },
    /// It is no transaction hash.
    #[error("names no transaction: {0}")]
    Hash(#[from] HashError),
    /// It is no message id.
    #[error("is no message id: {0}")]
    Id(#[from] MessageIdError),
    /// It is no key.
    #[error("is no key: {0}")]
    Key(#[from] KeyError),
    /// It is no base64url without padding.
    #[error("is not base64url without padding")]
    Base64,
    /// Decoded, it has another length than it must.
    #[error("has {found} bytes, not {expected}")]
    Length {
        /// How many it has.
        found: usize,
        /// How many it must have, in words.
        expected: &'static str,
    },
    /// It contradicts the result that it comes with.
    #[error("does not fit the result that it comes with")]
    Contradiction,
}
