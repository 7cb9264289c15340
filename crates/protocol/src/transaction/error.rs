//! Why a text is not a transaction.

use crate::address::AddressError;
use crate::block::ChainIdError;
use crate::json::{JsonError, JsonRef, Number};
use crate::key::{KeyError, SignatureError};

/// Why a transaction could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// The text is not JSON.
    #[error("the transaction cannot be parsed: {0}")]
    Json(#[from] JsonError),
    /// The JSON is not an object.
    #[error("a transaction has to be a json object")]
    NotAnObject,
    /// A key that every transaction has is missing.
    #[error("the transaction has no {field:?}")]
    Missing {
        /// The key.
        field: &'static str,
    },
    /// The value of a key has the wrong type.
    #[error("the transaction's {field:?} is not {expected}")]
    Type {
        /// The key.
        field: &'static str,
        /// The expected type.
        expected: &'static str,
    },
    /// `from` or `to` is not an address that a chain may carry.
    #[error("the transaction's {field:?} is not an address: {reason}")]
    Address {
        /// The key.
        field: &'static str,
        /// The reason.
        reason: AddressError,
    },
    /// `chain_id` is not a chain id.
    #[error("the transaction's \"chain_id\" is not valid: {0}")]
    ChainId(#[from] ChainIdError),
    /// `signature` is misspelled.
    #[error("the transaction's signature is misspelled: {0}")]
    Signature(#[from] SignatureError),
    /// `public_key` is not a public key.
    #[error("the transaction's \"public_key\" is not a key: {0}")]
    PublicKey(#[from] KeyError),
}

/// The value of a required key.
pub(crate) fn required<'a>(
    object: JsonRef<'a>,
    field: &'static str,
) -> Result<JsonRef<'a>, TransactionError> {
    object.get(field).ok_or(TransactionError::Missing { field })
}

/// A value that must be a string.
pub(crate) fn string<'a>(
    value: JsonRef<'a>,
    field: &'static str,
) -> Result<&'a str, TransactionError> {
    value.as_str().ok_or(TransactionError::Type {
        field,
        expected: "a string",
    })
}

/// A value that must be a number.
pub(crate) fn number(value: JsonRef<'_>, field: &'static str) -> Result<Number, TransactionError> {
    value.as_number().ok_or(TransactionError::Type {
        field,
        expected: "a number",
    })
}

/// A key that must hold an address.
pub(crate) fn address(
    dialect: crate::Dialect,
    object: JsonRef<'_>,
    field: &'static str,
) -> Result<crate::Address, TransactionError> {
    dialect
        .address(string(required(object, field)?, field)?)
        .map_err(|reason| TransactionError::Address { field, reason })
}
