//! The dialect of a chain: what its wallets and nodes have to agree on, in one place.
//!
//! Nodes of AITBC of different times disagree on what is signed, hashed and posted, on which addresses a
//! key has, and on where a message stands. Transactions, addresses and
//! [`authenticity`](crate::authenticity) ask the [`Dialect`] for these, and know none of it themselves.
//! All of its functions are pure; what each dialect answers is in a module of its own.
//!
//! | question | answered by |
//! |---|---|
//! | what is signed, and how | [`Dialect::signing_text`], [`Dialect::sign`] |
//! | what is posted | [`Dialect::body`], [`Dialect::read_body`] |
//! | what a node keeps, and its hash | [`Dialect::stored_text`], [`Dialect::read_stored`], [`Dialect::hash`] |
//! | which message it is, and what it says | [`Dialect::digest`], [`Dialect::message`] |
//! | who sent it | `Dialect::examine` |
//! | which account an address is, and which keys wallets have | [`Dialect::address`], [`Dialect::key_type`] |
//! | what a user should start from | [`Dialect::default_fee`], [`Dialect::default_port`], [`Dialect::unit`] |
//!
//! The columns around a transaction are known to `agentry-chain`, and what a node checks to
//! `agentry-devnet`.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::address::{Address, AddressError, AddressForm};
use crate::amount::Amount;
use crate::authenticity::{Finding, Keys};
use crate::hash::{MessageDigest, TransactionHash};
use crate::json::{Json, JsonRef, Number};
use crate::key::{KeyType, PublicKey, Signature, SigningKey};
use crate::transaction::error::{address, number, required, string};
use crate::transaction::{
    Fields, SignedTransaction, StoredTransaction, Transaction, TransactionError, Verification,
};

pub(crate) mod april;
mod august;

/// A dialect of AITBC. Each function matches all of them, so that another one does not compile until
/// every function has an answer for it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Dialect {
    /// The nodes of April 2026. Ed25519 over spaced JSON; the posted body carries the key, and a
    /// node keeps the signature; the whole stored form is a row's payload; nonces are ignored.
    #[default]
    #[serde(rename = "aitbc-2026-04")]
    April2026,
    /// The nodes of August 2026. Recoverable secp256k1 signatures over the Keccak-256 of compact JSON;
    /// the chain keeps none of them, so messages carry one of their own; a row has columns; nonces are
    /// the account's counter.
    #[serde(rename = "aitbc-2026-08")]
    August2026,
}

impl Dialect {
    /// All dialects, the oldest first.
    pub const ALL: [Self; 2] = [Self::April2026, Self::August2026];

    /// Its name, as in `chain.dialect`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::April2026 => "aitbc-2026-04",
            Self::August2026 => "aitbc-2026-08",
        }
    }

    /// The dialect of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }

    /// The type of the keys that wallets have.
    pub const fn key_type(self) -> KeyType {
        match self {
            Self::April2026 => KeyType::Ed25519,
            Self::August2026 => KeyType::Secp256k1,
        }
    }

    /// What amounts and fees are counted in, in the plural.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::April2026 => "AIT",
            Self::August2026 => "compute-seconds",
        }
    }

    /// An amount, with its unit.
    pub fn amount(self, amount: impl fmt::Display) -> String {
        format!("{amount} {}", self.unit())
    }

    /// How many units are one AIT.
    pub const fn units_per_ait(self) -> u64 {
        match self {
            Self::April2026 => 1,
            Self::August2026 => 3_600,
        }
    }

    /// The fee that a wallet pays for a message unless it is told otherwise, in units. Nodes of August
    /// 2026 take messages for nothing, and there a stranger can have a fee debited several times, by
    /// spelling a pending signature in other ways.
    pub const fn default_fee(self) -> Amount {
        match self {
            Self::April2026 => Amount(10),
            Self::August2026 => Amount(0),
        }
    }

    /// The port of a node's RPC, unless it is configured otherwise.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::April2026 => 8006,
            Self::August2026 => 8202,
        }
    }

    /// The depth at which a block counts as final, unless it is configured otherwise. Nodes of August 2026
    /// do not reorganise their chain.
    pub const fn default_final_depth(self) -> u64 {
        match self {
            Self::April2026 => 10,
            Self::August2026 => 1,
        }
    }

    /// Whether a node counts the calls of each client, and refuses further ones for a while, unless it is
    /// started without such limits.
    pub const fn limits_calls(self) -> bool {
        match self {
            Self::April2026 => false,
            Self::August2026 => true,
        }
    }

    /// Whether a node mines a transaction only if its nonce is the account's counter.
    pub const fn counts_nonces(self) -> bool {
        match self {
            Self::April2026 => false,
            Self::August2026 => true,
        }
    }

    /// Whether a chain keeps the signatures of its transactions.
    pub const fn keeps_signatures(self) -> bool {
        match self {
            Self::April2026 => true,
            Self::August2026 => false,
        }
    }

    /// Whether messages state the key of their sender: where it follows neither from their signature nor
    /// from the chain.
    pub const fn states_keys(self) -> bool {
        match self {
            Self::April2026 => true,
            Self::August2026 => false,
        }
    }

    /// Whether the hash of a chain's block 0 follows from the chain's id.
    pub const fn derives_genesis(self) -> bool {
        match self {
            Self::April2026 => true,
            Self::August2026 => false,
        }
    }

    /// Whether wallets have addresses of this form.
    pub const fn has_form(self, form: AddressForm) -> bool {
        match self {
            Self::April2026 => matches!(form, AddressForm::Hex | AddressForm::Bech32),
            Self::August2026 => matches!(form, AddressForm::Hex),
        }
    }

    /// Reads what the chain carries as an address.
    ///
    /// # Errors
    /// As [`Address::from_chain`].
    pub fn address(self, text: &str) -> Result<Address, AddressError> {
        match self {
            Self::April2026 => Address::from_chain(text),
            Self::August2026 => Address::from_spelling(text),
        }
    }

    /// The account at an address that was read without the dialect: as it is spelled by those who write
    /// to it.
    pub fn account(self, address: &Address) -> Address {
        match self {
            Self::April2026 => address.clone(),
            // It is an address already.
            Self::August2026 => Address::from_spelling(address.as_str())
                .map_or_else(|_| address.clone(), Address::into_account),
        }
    }

    /// The text that is signed.
    pub fn signing_text(self, fields: Fields<'_>) -> String {
        match self {
            Self::April2026 => april::signing_text(fields),
            Self::August2026 => august::signing_text(fields),
        }
    }

    /// Signs a transaction, whose payload is still the message alone. The caller has to know that the
    /// key belongs to `from`: it is not checked.
    ///
    /// With a key of another type than [`key_type`](Self::key_type), no node accepts the result.
    pub fn sign(self, transaction: Transaction, key: &SigningKey) -> SignedTransaction {
        let transaction = match self {
            Self::April2026 => transaction,
            Self::August2026 => august::wrap(transaction, key),
        };
        let signature = key.sign(self.signing_text(transaction.fields()).as_bytes());
        SignedTransaction::new(transaction, Some(signature), Some(key.public_key()))
    }

    /// The message that a payload carries, as [`Envelope::read`](crate::Envelope::read) reads it.
    pub fn message(self, payload: &Json) -> Cow<'_, Json> {
        match self {
            Self::April2026 => Cow::Borrowed(payload),
            Self::August2026 => august::message(payload),
        }
    }

    /// The message that was signed, as it was drafted: what [`sign`](Self::sign) added to it is gone.
    pub fn draft(self, payload: &Json) -> Cow<'_, Json> {
        match self {
            Self::April2026 => Cow::Borrowed(payload),
            Self::August2026 => august::draft(payload),
        }
    }

    /// The type of a transaction that an agent signs.
    pub fn kind(self, amount: &Number) -> &'static str {
        match self {
            Self::April2026 => april::TYPE,
            Self::August2026 => august::kind(amount),
        }
    }

    /// Who sent a transaction, given the keys that are known of its sender; see
    /// [`examine`](crate::authenticity::examine).
    pub(crate) fn examine(self, transaction: &StoredTransaction, keys: Keys<'_>) -> Finding {
        match self {
            Self::April2026 => april::examine(transaction, keys),
            Self::August2026 => match august::signer(transaction) {
                Ok(_) => Finding::Signature(Verification::Valid),
                Err(finding) => finding,
            },
        }
    }

    /// The key with which the sender of a transaction has signed, where it follows from the signature.
    pub(crate) fn signer(self, transaction: &StoredTransaction) -> Option<PublicKey> {
        match self {
            Self::April2026 => None,
            Self::August2026 => august::signer(transaction).ok(),
        }
    }

    /// The identity of the message: SHA-256 of the signing text.
    pub fn digest(self, fields: Fields<'_>) -> MessageDigest {
        MessageDigest::of(self.signing_text(fields).as_bytes())
    }

    /// The body to post, in compact canonical JSON.
    pub fn body(self, signed: &SignedTransaction) -> String {
        match self {
            Self::April2026 => april::body(signed),
            Self::August2026 => august::body(signed),
        }
    }

    /// Reads a body back. All of its keys must be there; others are ignored. The signature is read,
    /// not verified.
    ///
    /// # Errors
    /// [`TransactionError`] names the key that is missing or wrong.
    pub fn read_body(self, body: JsonRef<'_>) -> Result<SignedTransaction, TransactionError> {
        if !body.is_object() {
            return Err(TransactionError::NotAnObject);
        }
        match self {
            Self::April2026 => april::read_body(body),
            Self::August2026 => august::read_body(body),
        }
    }

    /// The dialect in which this program wrote a body, or the text of a stored form. What others wrote
    /// does not show it.
    pub(crate) fn of_own(text: JsonRef<'_>) -> Self {
        let kind = text.get("type").and_then(JsonRef::as_str);
        let is_august = text.get("value").is_some() || kind.is_some_and(august::is_own_kind);
        if is_august {
            Self::August2026
        } else {
            Self::April2026
        }
    }

    /// What a node keeps, in the compact canonical text that it hashes, with the signature as it was
    /// spelled.
    pub fn stored_text(self, fields: Fields<'_>, signature: Option<&str>) -> String {
        match self {
            Self::April2026 => april::stored_text(fields, signature),
            Self::August2026 => august::stored_text(fields, signature),
        }
    }

    /// The hash by which a node identifies a transaction: SHA-256 of what it keeps.
    pub fn hash(self, fields: Fields<'_>, signature: Option<&str>) -> TransactionHash {
        TransactionHash::of(self.stored_text(fields, signature).as_bytes())
    }

    /// Reads what a node keeps. `from`, `to` and `amount` are required. For other missing keys the
    /// node's defaults apply. Unknown keys are ignored.
    ///
    /// # Errors
    /// [`TransactionError`] names what is missing or wrong.
    pub fn read_stored(self, object: JsonRef<'_>) -> Result<StoredTransaction, TransactionError> {
        if !object.is_object() {
            return Err(TransactionError::NotAnObject);
        }
        match self {
            Self::April2026 => april::read_stored(object),
            Self::August2026 => august::read_stored(object),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The transaction of a posted body, all of whose keys are there.
fn posted(dialect: Dialect, body: JsonRef<'_>) -> Result<Transaction, TransactionError> {
    Ok(Transaction {
        dialect,
        from: address(dialect, body, "from")?,
        to: address(dialect, body, "to")?,
        amount: number(required(body, "amount")?, "amount")?,
        fee: number(required(body, "fee")?, "fee")?,
        nonce: number(required(body, "nonce")?, "nonce")?,
        payload: required(body, "payload")?.to_json(),
        chain_id: string(required(body, "chain_id")?, "chain_id")?.parse()?,
    })
}

/// A number, or the one that a node fills in.
fn number_or(
    object: JsonRef<'_>,
    field: &'static str,
    default: i32,
) -> Result<Number, TransactionError> {
    match object.get(field) {
        Some(value) => number(value, field),
        None => Ok(Number::from(default)),
    }
}

/// A signature as it is stated: a string, or none.
fn signature(object: JsonRef<'_>) -> Result<Option<String>, TransactionError> {
    let Some(value) = object.get("signature").filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    match value.as_str() {
        Some(text) => Ok(Some(text.to_owned())),
        None => {
            let (field, expected) = ("signature", "a string or null");
            Err(TransactionError::Type { field, expected })
        }
    }
}

/// A signature of this type of key, in the spelling in which agents write it; `None` for another.
fn own_signature(spelled: &str, key_type: KeyType) -> Option<Signature> {
    let signature = spelled.parse::<Signature>().ok()?;
    (signature.key_type() == key_type).then_some(signature)
}
