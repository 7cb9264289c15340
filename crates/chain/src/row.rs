//! One transaction as a node shows it, before it is parsed.
//!
//! A row has one of three forms: with its columns beside the stored form (blocks-range of April 2026, and
//! the metadata of a follower's blocks: `{tx_hash, sender, recipient, payload: stored form, …}`), as
//! the stored form itself with a `tx_hash` added (blocks/{height}; without it, a mempool's), or as
//! columns alone (blocks-range of August 2026).

use std::borrow::Cow;

use agentry_protocol::{Dialect, StoredTransaction, TransactionHash};

use crate::dialect;
use crate::raw;

/// A transaction that has been split off the text around it but not parsed.
#[derive(Debug, Clone)]
pub(crate) struct Row<'a> {
    /// The chain's `tx_hash`, where it is well formed.
    pub(crate) hash: Option<TransactionHash>,
    /// Sender and recipient, the accounts that the row's columns name. None: a column is missing or empty, and
    /// only the stored form names them.
    pub(crate) pair: Option<(Cow<'a, str>, Cow<'a, str>)>,
    /// The text of the stored form, or of the columns.
    pub(crate) text: Cow<'a, [u8]>,
    dialect: Dialect,
}

impl<'a> Row<'a> {
    /// Reads a row from a JSON text.
    pub(crate) fn cut(text: &'a [u8], dialect: Dialect) -> Self {
        let Ok(object) = raw::Object::parse(text) else {
            return Self {
                hash: None,
                pair: None,
                text: text.into(),
                dialect,
            };
        };
        let hash = object.string("tx_hash").and_then(|text| text.parse().ok());
        // A row with columns has neither key, and a stored form always has both. Its own `payload`
        // may be anything, so looking at that first would let a message forge a transaction.
        let stored = object.get("from").is_some() || object.get("to").is_some();
        let (from, to) = if stored {
            ("from", "to")
        } else {
            ("sender", "recipient")
        };
        let column = |key| {
            let text = object.string(key).filter(|text| !text.is_empty())?;
            Some(match dialect::account(dialect, &text) {
                Cow::Borrowed(_) => text,
                Cow::Owned(account) => Cow::Owned(account),
            })
        };
        let pair = match (column(from), column(to)) {
            (Some(from), Some(to)) => Some((from, to)),
            _ => None,
        };
        let text = match object.get("payload") {
            Some(payload) if !stored && dialect::payload_is_transaction(dialect) => {
                match raw::string(payload) {
                    Some(Cow::Borrowed(inner)) => inner.as_bytes().into(),
                    Some(Cow::Owned(inner)) => inner.into_bytes().into(),
                    None => payload.into(),
                }
            }
            _ => text.into(),
        };
        Self {
            hash,
            pair,
            text,
            dialect,
        }
    }

    /// Parses the transaction.
    pub(crate) fn decode(&self) -> Result<(TransactionHash, StoredTransaction), String> {
        dialect::decode(self.dialect, self.hash, &self.text)
    }
}
