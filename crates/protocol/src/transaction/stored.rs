//! The stored form: a transaction as a node keeps it.

use std::borrow::Cow;

use super::{Fields, TransactionError};
use crate::address::Address;
use crate::dialect::{Dialect, april};
use crate::hash::{MessageDigest, TransactionHash};
use crate::json::{Json, JsonRef, Limits, Number};
use crate::key::{PublicKey, Signature};
use crate::message::Envelope;

/// A transaction as a node keeps it, and perhaps shows it. Anyone may have posted it; only
/// [`examine`](crate::authenticity::examine) shows who signed it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredTransaction {
    /// The dialect of the chain that it was read from.
    pub dialect: Dialect,
    /// Its type; the only one there is, where the chain keeps none.
    pub kind: Cow<'static, str>,
    /// The chain that it names. A node also mines transactions that name another one.
    pub chain_id: String,
    /// The sender that it names.
    pub from: Address,
    /// The recipient.
    pub to: Address,
    /// In the [unit](Dialect::unit) of the dialect. Not every node checks type and sign.
    pub amount: Number,
    /// In the same unit.
    pub fee: Number,
    /// The transaction's own nonce, not the account's counter.
    pub nonce: Number,
    /// The message, or what carries it: see [`StoredTransaction::message`].
    pub payload: Json,
    /// The signature, if it is known, as it was spelled.
    pub signature: Option<String>,
}

/// The result of verifying a signature under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verification {
    /// Valid, over the eight keys.
    Valid,
    /// Valid, over the seven keys that one older client signs.
    ValidSevenKeys,
    /// Not valid under the key.
    Invalid,
    /// There is no signature.
    Missing,
    /// Not spelled as [`Signature`](crate::Signature) is; it does not count, even if it would verify.
    Misspelled,
}

impl Verification {
    /// Whether the key's owner signed the transaction.
    pub fn is_valid(self) -> bool {
        matches!(self, Self::Valid | Self::ValidSevenKeys)
    }
}

impl StoredTransaction {
    /// Reads back what [`stored_text`](Self::stored_text) wrote, or the stored form of a node of April
    /// 2026. What a chain of another dialect carries is read by [`StoredTransaction::read`].
    ///
    /// # Errors
    /// [`TransactionError`] names what is missing or wrong.
    pub fn parse(text: &[u8], limits: Limits) -> Result<Self, TransactionError> {
        Self::from_json(Json::parse(text, limits)?.root())
    }

    /// [`parse`](Self::parse), of JSON.
    ///
    /// # Errors
    /// [`TransactionError`] names what is missing or wrong.
    pub fn from_json(object: JsonRef<'_>) -> Result<Self, TransactionError> {
        Dialect::of_own(object).read_stored(object)
    }

    /// Reads the stored form of a chain of this dialect; see [`Dialect::read_stored`].
    ///
    /// # Errors
    /// [`TransactionError`] names what is missing or wrong.
    pub fn read(dialect: Dialect, text: &[u8], limits: Limits) -> Result<Self, TransactionError> {
        dialect.read_stored(Json::parse(text, limits)?.root())
    }

    /// The message that it carries, as [`Envelope::read`](crate::Envelope::read) reads it.
    pub fn message(&self) -> Cow<'_, Json> {
        self.dialect.message(&self.payload)
    }

    /// Its message, taken apart.
    pub fn envelope(&self) -> Envelope {
        Envelope::read(&self.message())
    }

    /// The stored form as JSON.
    pub fn to_json(&self) -> Json {
        // It was JSON before.
        Json::parse(self.stored_text().as_bytes(), Limits::NONE).unwrap_or_else(|_| Json::null())
    }

    /// The stored form in the compact canonical text, which the node hashes.
    pub fn stored_text(&self) -> String {
        self.dialect
            .stored_text(self.fields(), self.signature.as_deref())
    }

    /// The signing text; see [`Transaction::signing_text`](crate::Transaction::signing_text).
    pub fn signing_text(&self) -> String {
        self.dialect.signing_text(self.fields())
    }

    /// The signing text of one older client of April 2026: the same without `type`.
    pub fn signing_text_seven_keys(&self) -> String {
        april::signing_text_seven_keys(self.fields())
    }

    /// The hash by which a node identifies it: SHA-256 of [`StoredTransaction::stored_text`]. It
    /// covers the signature as it is spelled: without it, this is another one.
    pub fn hash(&self) -> TransactionHash {
        self.dialect.hash(self.fields(), self.signature.as_deref())
    }

    /// The identity of the message, however its signature is spelled: SHA-256 of the signing text.
    pub fn digest(&self) -> MessageDigest {
        self.dialect.digest(self.fields())
    }

    /// The key with which `from` has signed, where it follows from a signature: see
    /// [`Dialect::states_keys`].
    pub fn signer(&self) -> Option<PublicKey> {
        self.dialect.signer(self)
    }

    /// The key that has made its signature, as nodes of August 2026 read it: in any spelling that
    /// [`Signature::recover_any`] reads. Whether it belongs to `from` is not checked. `None` if the
    /// signature is not known, or none.
    pub fn recovered(&self) -> Option<PublicKey> {
        let spelled = self.signature.as_deref()?;
        Signature::recover_any(self.signing_text().as_bytes(), spelled)
    }

    /// Whether the owner of a key has signed it, as far as that can be seen.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        match self.dialect.states_keys() {
            true => self.verify(key).is_valid(),
            false => self.signer().as_ref() == Some(key),
        }
    }

    /// Verifies the signature under a key as chains of April 2026 have it, strictly: over the eight keys,
    /// then over the seven. It does not check that the key belongs to `from`: [`Address::matches`] does.
    pub fn verify(&self, key: &PublicKey) -> Verification {
        april::verify(self.fields(), self.signature.as_deref(), key)
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
            chain_id: &self.chain_id,
            kind: &self.kind,
        }
    }
}
