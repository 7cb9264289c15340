//! One transaction as a node shows it, before it is parsed.
//!
//! A row has one of two forms: with its columns beside the stored form (blocks-range, and the
//! metadata of a follower's blocks: `{tx_hash, sender, recipient, payload: stored form, …}`), or as
//! the stored form itself with a `tx_hash` added (blocks/{height}).

use std::borrow::Cow;

use agentry_protocol::json::Limits;
use agentry_protocol::{StoredTransaction, TransactionHash};

use crate::node::one_line;
use crate::raw;

/// A transaction that has been split off the text around it but not parsed.
#[derive(Debug, Clone)]
pub(crate) struct Row<'a> {
    /// The chain's `tx_hash`, where it is well formed.
    pub(crate) hash: Option<TransactionHash>,
    /// Sender and recipient as the row's columns name them. None: a column is missing or empty, and
    /// only the stored form names them.
    pub(crate) pair: Option<(Cow<'a, str>, Cow<'a, str>)>,
    /// The text of the stored form.
    pub(crate) text: Cow<'a, [u8]>,
}

impl<'a> Row<'a> {
    /// Reads a row from a JSON text.
    pub(crate) fn cut(text: &'a [u8]) -> Self {
        let Ok(object) = raw::Object::parse(text) else {
            return Self {
                hash: None,
                pair: None,
                text: text.into(),
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
        let column = |key| object.string(key).filter(|text| !text.is_empty());
        let pair = match (column(from), column(to)) {
            (Some(from), Some(to)) => Some((from, to)),
            _ => None,
        };
        let text = match object.get("payload") {
            Some(payload) if !stored => match raw::string(payload) {
                Some(Cow::Borrowed(inner)) => inner.as_bytes().into(),
                Some(Cow::Owned(inner)) => inner.into_bytes().into(),
                None => payload.into(),
            },
            _ => text.into(),
        };
        Self { hash, pair, text }
    }

    /// Parses the transaction.
    pub(crate) fn decode(&self) -> Result<(TransactionHash, StoredTransaction), String> {
        decode(self.hash, &self.text)
    }
}

/// Parses a stored form. Its identity is `hash`, else the hash of the parsed transaction.
pub(crate) fn decode(
    hash: Option<TransactionHash>,
    text: &[u8],
) -> Result<(TransactionHash, StoredTransaction), String> {
    let stored = StoredTransaction::parse(text, Limits::default())
        .map_err(|error| one_line(&error.to_string()))?;
    Ok((hash.unwrap_or_else(|| stored.hash()), stored))
}
