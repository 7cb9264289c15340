//! An unsigned transaction, as a wallet signs it.

use super::SignedTransaction;
use crate::address::Address;
use crate::block::ChainId;
use crate::dialect::DIALECT;
use crate::hash::MessageDigest;
use crate::json::{Field, Json, Number};
use crate::key::SigningKey;

/// A transaction before it is signed. Its `type` is always `transfer`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// The sender, who pays.
    pub from: Address,
    /// The recipient of the amount and of the message.
    pub to: Address,
    /// The transferred amount, in AIT. A message usually transfers 0.
    pub amount: Number,
    /// The fee that `from` pays in addition, in AIT. No account receives it.
    pub fee: Number,
    /// Customarily milliseconds since the epoch; on later nodes the account's counter.
    pub nonce: Number,
    /// The message.
    pub payload: Json,
    /// The chain that it is for.
    pub chain_id: ChainId,
}

impl Transaction {
    /// The signing text: the eight keys in the spaced canonical text.
    pub fn signing_text(&self) -> String {
        DIALECT.signing_text(self.fields())
    }

    /// The signing text of one older client: the same without `type`.
    pub fn signing_text_seven_keys(&self) -> String {
        DIALECT.signing_text_seven_keys(self.fields())
    }

    /// The identity of the message, however often it is posted and however its signature is
    /// spelled: SHA-256 of the signing text.
    pub fn digest(&self) -> MessageDigest {
        DIALECT.digest(self.fields())
    }

    /// Signs it. The caller has to know that the key belongs to `from`: it is not checked.
    pub fn sign(self, key: &SigningKey) -> SignedTransaction {
        let signature = DIALECT.sign(self.fields(), key);
        SignedTransaction::new(self, signature, key.public_key())
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
}

impl<'a> Fields<'a> {
    /// In canonical order.
    pub(crate) fn seven(self) -> [(&'static str, Field<'a>); 7] {
        [
            ("amount", Field::Number(self.amount)),
            ("chain_id", Field::Text(self.chain_id)),
            ("fee", Field::Number(self.fee)),
            ("from", Field::Text(self.from.as_str())),
            ("nonce", Field::Number(self.nonce)),
            ("payload", Field::Json(self.payload.root())),
            ("to", Field::Text(self.to.as_str())),
        ]
    }
}
