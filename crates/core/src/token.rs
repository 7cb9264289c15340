//! Tokens: who may call the runtime from outside, and what the holder of each may do.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use agentry_protocol::{Address, Amount, ContentHash, Timestamp};
use serde::{Deserialize, Serialize};

/// The longest name of a token, in bytes.
pub const NAME_MAX: usize = 64;

/// The name of a token: 1 to 64 lower-case letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenName(String);

/// A text is not the name of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenNameError;

impl fmt::Display for TokenNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a token's name has 1 to {NAME_MAX} lower-case letters, digits, -, _ and ."
        )
    }
}

impl std::error::Error for TokenNameError {}

impl TokenName {
    /// The name as a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TokenName {
    type Error = TokenNameError;

    fn try_from(text: String) -> Result<Self, TokenNameError> {
        let is_part =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        let is_name = (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(is_part);
        if is_name {
            Ok(Self(text))
        } else {
            Err(TokenNameError)
        }
    }
}

impl FromStr for TokenName {
    type Err = TokenNameError;

    fn from_str(text: &str) -> Result<Self, TokenNameError> {
        text.to_owned().try_into()
    }
}

impl From<TokenName> for String {
    fn from(name: TokenName) -> Self {
        name.0
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the holder of a token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Read messages, tasks and the directory.
    pub read: bool,
    /// Send messages and jobs, and cancel and answer them.
    pub send: bool,
    /// Change the queues, decide on approvals, and reload the configuration.
    pub operate: bool,
}

/// A token. The secret itself is stored nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its name.
    pub name: TokenName,
    /// SHA-256 of its secret.
    pub secret: ContentHash,
    /// The hosted wallets that its holder may use; all if `None`.
    pub agents: Option<BTreeSet<Address>>,
    /// What its holder may do.
    pub rights: Rights,
    /// The addresses to which its holder may send; all if `None`.
    pub recipients: Option<BTreeSet<Address>>,
    /// What its holder may spend on a day (UTC), in AIT: amounts and fees. No limit of its own if
    /// `None`; the budgets of the wallets count in any case.
    pub daily_budget: Option<Amount>,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

impl Token {
    /// Whether it is valid: it has not expired.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }
}
