//! The tokens of those who may call the runtime from outside.

use agentry_protocol::{Amount, ContentHash};

use crate::state::table::Row;
use crate::token::{self, TokenName};

/// A token, and what its holder has spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token.
    pub token: token::Token,
    /// The last day on which its holder has spent something: days since the epoch, UTC.
    pub day: u64,
    /// What its holder has spent on that day, in AIT: amounts and fees.
    pub spent: Amount,
}

/// How a token is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Index {
    /// By its name.
    Name(TokenName),
    /// By the SHA-256 of its secret.
    Secret(ContentHash),
}

impl Row for Token {
    type Key = TokenName;
    type Index = Index;

    fn key(&self) -> TokenName {
        self.token.name.clone()
    }

    fn indexes(&self) -> Vec<Index> {
        vec![
            Index::Name(self.token.name.clone()),
            Index::Secret(self.token.secret),
        ]
    }
}
