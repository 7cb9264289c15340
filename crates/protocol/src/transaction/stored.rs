//! The stored form: a transaction as a node keeps it.

use super::TransactionError;
use super::error::{address, number, required, string};
use super::unsigned::Fields;
use crate::address::Address;
use crate::hash::{MessageDigest, TransactionHash};
use crate::json::{Field, Json, JsonRef, Limits, Number, Style, write_object};
use crate::key::{PublicKey, Signature};

/// The chain that a node fills in.
const DEFAULT_CHAIN_ID: &str = "ait-mainnet";
/// The fee that a node fills in, in AIT.
const DEFAULT_FEE: i32 = 10;
/// The payload that a node fills in.
const DEFAULT_PAYLOAD: &str = "0x";

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

    /// Reads the stored form. `from`, `to` and `amount` are required. For other missing keys the
    /// node's defaults apply: `ait-mainnet`, fee 10, nonce 0, payload `"0x"`, no signature. Unknown
    /// keys are ignored, such as `type`, `public_key` and `tx_hash`.
    ///
    /// # Errors
    /// [`TransactionError`] names what is missing or wrong.
    pub fn from_json(object: JsonRef<'_>) -> Result<Self, TransactionError> {
        if !object.is_object() {
            return Err(TransactionError::NotAnObject);
        }
        let number_or = |field, default: i32| match object.get(field) {
            Some(value) => number(value, field),
            None => Ok(Number::from(default)),
        };
        let chain_id = match object.get("chain_id") {
            Some(value) => string(value, "chain_id")?.to_owned(),
            None => DEFAULT_CHAIN_ID.to_owned(),
        };
        let signature = match object.get("signature") {
            None => None,
            Some(value) if value.is_null() => None,
            Some(value) => match value.as_str() {
                Some(text) => Some(text.to_owned()),
                None => {
                    let (field, expected) = ("signature", "a string or null");
                    return Err(TransactionError::Type { field, expected });
                }
            },
        };
        Ok(Self {
            chain_id,
            from: address(object, "from")?,
            to: address(object, "to")?,
            amount: number(required(object, "amount")?, "amount")?,
            fee: number_or("fee", DEFAULT_FEE)?,
            nonce: number_or("nonce", 0)?,
            payload: match object.get("payload") {
                Some(value) => value.to_json(),
                None => Json::string(DEFAULT_PAYLOAD),
            },
            signature,
        })
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
        let signature = self.signature.as_deref().map_or(Field::Null, Field::Text);
        let [amount, chain_id, fee, from, nonce, payload, to] = self.fields().seven();
        let signature = ("signature", signature);
        write_object(
            Style::Compact,
            &[amount, chain_id, fee, from, nonce, payload, signature, to],
        )
    }

    /// The hash by which a node identifies it: SHA-256 of [`StoredTransaction::stored_text`]. It
    /// covers the signature as it is spelled.
    pub fn hash(&self) -> TransactionHash {
        TransactionHash::of(self.stored_text().as_bytes())
    }

    /// The identity of the message, however its signature is spelled: SHA-256 of the (eight-key)
    /// signing text.
    pub fn digest(&self) -> MessageDigest {
        MessageDigest::of(self.fields().signing_text().as_bytes())
    }

    /// Verifies the signature under a key, strictly: over the eight keys, then over the seven. It
    /// does not check that the key belongs to `from`: [`Address::matches`] does.
    pub fn verify(&self, key: &PublicKey) -> Verification {
        let Some(spelled) = &self.signature else {
            return Verification::Missing;
        };
        let Ok(signature) = spelled.parse::<Signature>() else {
            return Verification::Misspelled;
        };
        let fields = self.fields();
        if key.verify(fields.signing_text().as_bytes(), &signature) {
            Verification::Valid
        } else if key.verify(fields.signing_text_seven_keys().as_bytes(), &signature) {
            Verification::ValidSevenKeys
        } else {
            Verification::Invalid
        }
    }

    fn fields(&self) -> Fields<'_> {
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
