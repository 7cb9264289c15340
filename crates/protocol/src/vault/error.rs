//! Why a vault cannot be used.

use crate::json::JsonError;

/// Why a vault could not be read, opened or made. None shows anything secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The text is not JSON.
    #[error("the vault cannot be parsed: {0}")]
    Json(#[from] JsonError),
    /// The JSON is not a vault.
    #[error("the file is not a vault: it has no \"agentry_vault\"")]
    NotAVault,
    /// A key occurs twice.
    #[error("the vault has a key twice")]
    DuplicateKeys,
    /// The vault has another version.
    #[error("the vault is of version {found}, and this program reads version 1")]
    Version {
        /// The version, truncated to 40 characters.
        found: String,
    },
    /// A field is missing or not valid.
    #[error("the vault's {field:?} {reason}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// The reason, as the end of a sentence.
        reason: &'static str,
    },
    /// A field of a wallet is missing or not valid.
    #[error("the vault's wallet {index} is damaged: its {field:?} {reason}")]
    Wallet {
        /// The wallet's position, from 1.
        index: usize,
        /// The field.
        field: &'static str,
        /// The reason, as the end of a sentence.
        reason: &'static str,
    },
    /// The number of rounds is out of range.
    #[error("the vault's \"rounds\" are out of range: 1 to 10000000 are accepted")]
    Rounds,
    /// A wallet's name is not valid.
    #[error("a wallet's name has 1 to 128 bytes and no control characters")]
    Name,
    /// Two wallets have the same name.
    #[error("two wallets of the vault are named {name:?}")]
    Twice {
        /// The name.
        name: String,
    },
    /// There are too many wallets.
    #[error("a vault holds at most 100000 wallets; pack several vaults")]
    TooMany,
    /// A seed does not belong to the address given for it.
    #[error("the seed of wallet {name:?} does not belong to its address")]
    Mismatch {
        /// The wallet's name.
        name: String,
    },
    /// The password is wrong, or the salt or the check value was altered.
    #[error("wrong password (or the vault's salt or check value was altered)")]
    WrongPassword,
    /// A wallet does not open, though the password is right.
    #[error("wallet {name:?} of the vault was altered, or belongs to another vault")]
    Altered {
        /// The wallet's name.
        name: String,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes to pack a vault with")]
    Random,
    /// The cipher refused to seal.
    #[error("a wallet could not be sealed")]
    Seal,
}

impl VaultError {
    /// Whether another password might work.
    pub fn is_wrong_password(&self) -> bool {
        matches!(self, Self::WrongPassword)
    }
}
