//! The stored form: a transaction as a node keeps it.

use super::{Fields, TransactionError};
use crate::address::Address;
use crate::dialect::DIALECT;
use crate::hash::{MessageDigest, TransactionHash};
use crate::json::{Json, JsonRef, Limits, Number};
use crate::key::PublicKey;

/// A transaction as a node keeps it: without `type` and `public_key`, and with its signature as it
/// was spelled. Anyone may have posted it; only [`StoredTransaction::verify`] shows who signed it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredTransaction {
    /// The chain that it names. A node also mines transactions that name another one.
    pub chain_id: String,
    /// The sender that it names.
    pub from: Address,
    /// The recipient.
    pub to: Address,
    /// In AIT. A node checks neither type nor sign.
    pub amount: Number,
    /// In AIT.
    pub fee: Number,
    /// The transaction's own nonce, not the account's counter.
    pub nonce: Number,
    /// The message.
    pub payload: Json,
    /// The signature, if any, as it was spelled.
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
    /// Not 128 lower-case hexadecimal digits; it does not count, even if it would verify.
    Misspelled,
}

impl Verification {
    /// Whether the key's owner signed the transaction.
    pub fn is_valid(self) -> bool {
        matches!(self, Self::Valid | Self::ValidSevenKeys)
    }
}

impl StoredTransaction {
    /// Reads the stored form; see [`StoredTransaction::from_json`].
    ///
    /// # Errors
    /// [`TransactionError`] names what is missing or wrong.
    pub fn parse(text: &[u8], limits: Limits) -> Result<Self, TransactionError> {
        Self::from_json(Json::parse(text, limits)?.root())
    }

    /// Reads the stored form; see [`Dialect::read_stored`](crate::Dialect::read_stored).
    ///
    /// # Errors
    /// [`TransactionError`] names what is missing or wrong.
    pub fn from_json(object: JsonRef<'_>) -> Result<Self, TransactionError> {
        DIALECT.read_stored(object)
    }

    /// The stored form as JSON.
    pub fn to_json(&self) -> Json {
        Json::object([
            ("amount", Json::number(&self.amount)),
            ("chain_id", Json::string(self.chain_id.as_str())),
            ("fee", Json::number(&self.fee)),
            ("from", Json::string(self.from.as_str())),
            ("nonce", Json::number(&self.nonce)),
            ("payload", self.payload.clone()),
            (
                "signature",
                self.signature
                    .as_deref()
                    .map_or_else(Json::null, Json::string),
            ),
            ("to", Json::string(self.to.as_str())),
        ])
    }

    /// The stored form in the compact canonical text, which the node hashes.
    pub fn stored_text(&self) -> String {
        DIALECT.stored_text(self.fields(), self.signature.as_deref())
    }

    /// The signing text; see [`Transaction::signing_text`](crate::Transaction::signing_text).
    pub fn signing_text(&self) -> String {
        DIALECT.signing_text(self.fields())
    }

    /// The signing text of one older client: the same without `type`.
    pub fn signing_text_seven_keys(&self) -> String {
        DIALECT.signing_text_seven_keys(self.fields())
    }

    /// The hash by which a node identifies it: SHA-256 of [`StoredTransaction::stored_text`]. It
    /// covers the signature as it is spelled.
    pub fn hash(&self) -> TransactionHash {
        DIALECT.hash(self.fields(), self.signature.as_deref())
    }

    /// The identity of the message, however its signature is spelled: SHA-256 of the (eight-key)
    /// signing text.
    pub fn digest(&self) -> MessageDigest {
        DIALECT.digest(self.fields())
    }

    /// Verifies the signature under a key, strictly: over the eight keys, then over the seven. It
    /// does not check that the key belongs to `from`: [`Address::matches`] does.
    pub fn verify(&self, key: &PublicKey) -> Verification {
        DIALECT.verify(self.fields(), self.signature.as_deref(), key)
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
        }
    }
}
