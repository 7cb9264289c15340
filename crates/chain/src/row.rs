//! One transaction as a node shows it, before it is parsed.
//!
//! A row has one of two forms: with its columns (blocks-range, and the metadata of a follower's blocks:
//! `{tx_hash, sender, recipient, payload, …}`), or as the stored form itself, perhaps with a `tx_hash`
//! added (blocks/{height}, the mempool). What its columns hold depends on the dialect.

use std::borrow::Cow;

use agentry_protocol::{Dialect, StoredTransaction, TransactionHash};

use crate::dialect::{self, Form};
use crate::raw;

/// A transaction that has been split off the text around it but not parsed.
#[derive(Debug, Clone)]
pub(crate) struct Row<'a> {
    dialect: Dialect,
    /// The chain's `tx_hash`, where it is well formed.
    pub(crate) hash: Option<TransactionHash>,
    /// The accounts of sender and recipient as the row's columns name them. None: a column is missing or
    /// empty, and only the stored form names them.
    pub(crate) pair: Option<(Cow<'a, str>, Cow<'a, str>)>,
    form: Form<'a>,
}

impl<'a> Row<'a> {
    /// Reads a row from a JSON text.
    pub(crate) fn cut(dialect: Dialect, text: &'a [u8]) -> Self {
        let Ok(object) = raw::Object::parse(text) else {
            return Self {
                dialect,
                hash: None,
                pair: None,
                form: Form::Stored(text.into()),
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
            Some(dialect::account(dialect, text))
        };
        let pair = match (column(from), column(to)) {
            (Some(from), Some(to)) => Some((from, to)),
            _ => None,
        };
        let form = match object.get("payload") {
            _ if stored => Form::Stored(text.into()),
            _ if dialect::has_columns(dialect) => {
                let column = |(name, key)| Some((key, Cow::Borrowed(object.get(name)?)));
                Form::Columns(dialect::COLUMNS.into_iter().filter_map(column).collect())
            }
            Some(payload) => Form::Stored(match raw::string(payload) {
                Some(Cow::Borrowed(inner)) => inner.as_bytes().into(),
                Some(Cow::Owned(inner)) => inner.into_bytes().into(),
                None => payload.into(),
            }),
            None => Form::Stored(text.into()),
        };
        Self {
            dialect,
            hash,
            pair,
            form,
        }
    }

    /// The length of the text that is parsed.
    pub(crate) fn bytes(&self) -> usize {
        self.form.bytes()
    }

    /// Parses the transaction.
    pub(crate) fn decode(&self) -> Result<(TransactionHash, StoredTransaction), String> {
        dialect::decode(self.dialect, self.hash, &self.form)
    }
}
