//! Why a keystore file cannot be used.

use crate::address::AddressError;
use crate::json::JsonError;
use crate::key::KeyError;

/// Why a keystore file could not be read, unlocked or made. None shows anything secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// The file is not JSON.
    #[error("the keystore file cannot be parsed: {0}")]
    Json(#[from] JsonError),
    /// The JSON is not an object.
    #[error("the keystore file is not a json object")]
    NotAnObject,
    /// A key occurs twice: two readers could read different values.
    #[error("the keystore file has a key twice")]
    DuplicateKeys,
    /// A field is missing.
    #[error("the keystore file has no {field:?}")]
    Missing {
        /// The path of the field.
        field: &'static str,
    },
    /// The value of a field is not valid.
    #[error("the keystore file's {field:?} {reason}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// The reason, as the end of a sentence.
        reason: &'static str,
    },
    /// The stated address is not an address.
    #[error("the keystore file's \"address\" is damaged: {0}")]
    Address(AddressError),
    /// The stated public key is not a key.
    #[error("the keystore file's \"public_key\" is damaged: {0}")]
    PublicKey(KeyError),
    /// A field names something that is not supported.
    #[error("the keystore file's {field:?} is {found:?}, which is not supported ({supported} is)")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// The name, truncated to 40 characters.
        found: String,
        /// The supported value.
        supported: &'static str,
    },
    /// The number of rounds is out of range.
    #[error("the keystore file's {field:?} is out of range: 1 to 10000000 rounds are accepted")]
    Rounds {
        /// The field.
        field: &'static str,
    },
    /// The password is wrong, or the encrypted part was altered.
    #[error("wrong password (or the encrypted part of the keystore file was altered)")]
    WrongPassword,
    /// The seed does not belong to the address or key that the file states (or to the given
    /// address).
    #[error("the seed does not belong to the {field:?} that the keystore states")]
    Mismatch {
        /// The field.
        field: &'static str,
    },
    /// The password is too short for AITBC's command line.
    #[error(
        "aitbc's command line opens no wallet whose password has fewer than 8 characters; choose a longer one"
    )]
    ShortPassword,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes to encrypt a keystore with")]
    Random,
}

impl KeystoreError {
    /// Whether another password might work.
    pub fn is_wrong_password(&self) -> bool {
        matches!(self, Self::WrongPassword)
    }
}
