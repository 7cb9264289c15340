//! An unsigned transaction, as a wallet signs it.

use super::SignedTransaction;
use crate::address::Address;
use crate::block::ChainId;
use crate::hash::MessageDigest;
use crate::json::{Field, Json, Number, Style, write_object};
use crate::key::SigningKey;

/// The only type of transaction that an agent signs.
pub(super) const TYPE: &str = "transfer";

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
        self.fields().signing_text()
    }

    /// The signing text of one older client: the same without `type`.
    pub fn signing_text_seven_keys(&self) -> String {
        self.fields().signing_text_seven_keys()
    }

    /// The identity of the message, however often it is posted and however its signature is
    /// spelled: SHA-256 of the signing text.
    pub fn digest(&self) -> MessageDigest {
        MessageDigest::of(self.signing_text().as_bytes())
    }

    /// Signs it. The caller has to know that the key belongs to `from`: it is not checked.
    pub fn sign(self, key: &SigningKey) -> SignedTransaction {
        let signature = key.sign(self.signing_text().as_bytes());
        SignedTransaction::new(self, signature, key.public_key())
    }

    fn fields(&self) -> Fields<'_> {
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

/// The seven values that every form of a transaction shares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) from: &'a Address,
    pub(super) to: &'a Address,
    pub(super) amount: &'a Number,
    pub(super) fee: &'a Number,
    pub(super) nonce: &'a Number,
    pub(super) payload: &'a Json,
    pub(super) chain_id: &'a str,
}

impl<'a> Fields<'a> {
    pub(super) fn signing_text(self) -> String {
        let [amount, chain_id, fee, from, nonce, payload, to] = self.seven();
        let kind = ("type", Field::Text(TYPE));
        write_object(
            Style::Spaced,
            &[amount, chain_id, fee, from, nonce, payload, to, kind],
        )
    }

    pub(super) fn signing_text_seven_keys(self) -> String {
        write_object(Style::Spaced, &self.seven())
    }

    /// In canonical order.
    pub(super) fn seven(self) -> [(&'static str, Field<'a>); 7] {
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

/// For the signed form, which is a sibling.
pub(super) fn fields(transaction: &Transaction) -> Fields<'_> {
    transaction.fields()
}
