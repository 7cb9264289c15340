//! An unsigned transaction, as a wallet signs it.

use super::SignedTransaction;
use crate::address::Address;
use crate::block::ChainId;
use crate::dialect::{Dialect, april};
use crate::hash::MessageDigest;
use crate::json::{Field, Json, Number};
use crate::key::SigningKey;

/// A transaction before it is signed. Its `type` follows from the dialect and the amount.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// The dialect of the chain that it is for.
    pub dialect: Dialect,
    /// The sender, who pays.
    pub from: Address,
    /// The recipient of the amount and of the message.
    pub to: Address,
    /// The transferred amount, in the [unit](Dialect::unit) of the dialect. A message usually transfers 0.
    pub amount: Number,
    /// The fee that `from` pays in addition, in the same unit. No account receives it.
    pub fee: Number,
    /// Customarily milliseconds since the epoch; on later nodes the account's counter.
    pub nonce: Number,
    /// The message; once it is signed, what carries it.
    pub payload: Json,
    /// The chain that it is for.
    pub chain_id: ChainId,
}

impl Transaction {
    /// The signing text, of a transaction that was signed.
    pub fn signing_text(&self) -> String {
        self.dialect.signing_text(self.fields())
    }

    /// The signing text of one older client of April 2026: the same without `type`.
    pub fn signing_text_seven_keys(&self) -> String {
        april::signing_text_seven_keys(self.fields())
    }

    /// The identity of the message, however often it is posted and however its signature is
    /// spelled: SHA-256 of the signing text. Of a transaction that was signed.
    pub fn digest(&self) -> MessageDigest {
        self.dialect.digest(self.fields())
    }

    /// Signs it; see [`Dialect::sign`].
    pub fn sign(self, key: &SigningKey) -> SignedTransaction {
        self.dialect.sign(self, key)
    }

    /// What it states.
    pub fn fields(&self) -> Fields<'_> {
        Fields {
            from: &self.from,
            to: &self.to,
            amount: &self.amount,
            fee: &self.fee,
            nonce: &self.nonce,
            payload: &self.payload,
            chain_id: self.chain_id.as_str(),
            kind: self.dialect.kind(&self.amount),
        }
    }
}

/// What every form of a transaction states, borrowed from one of them.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    /// The sender.
    pub from: &'a Address,
    /// The recipient.
    pub to: &'a Address,
    /// The transferred amount.
    pub amount: &'a Number,
    /// The fee.
    pub fee: &'a Number,
    /// The transaction's own nonce.
    pub nonce: &'a Number,
    /// The message.
    pub payload: &'a Json,
    /// The chain that it is for.
    pub chain_id: &'a str,
    /// Its type.
    pub kind: &'a str,
}

impl<'a> Fields<'a> {
    /// In canonical order.
    pub(crate) fn seven(self) -> [(&'static str, Field<'a>); 7] {
        [
            ("amount", Field::Number(self.amount)),
            ("chain_id", Field::Text(self.chain_id)),
            ("fee", Field::Number(self.fee)),
            ("from", Field::Text(self.from.spelled())),
            ("nonce", Field::Number(self.nonce)),
            ("payload", Field::Json(self.payload.root())),
            ("to", Field::Text(self.to.spelled())),
        ]
    }
}
