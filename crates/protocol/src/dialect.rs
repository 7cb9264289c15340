//! The dialect of a chain: what its wallets and nodes have to agree on, in one place.
//!
//! Nodes of AITBC of different times disagree on what is signed, hashed and posted, and on which
//! addresses a key has. Transactions, addresses and [`authenticity`](crate::authenticity) ask the
//! [`Dialect`] for these, and know none of it themselves. All of its functions are pure.
//!
//! | question | answered by |
//! |---|---|
//! | what is signed, and how it is verified | [`Dialect::signing_text`], [`Dialect::sign`], [`Dialect::verify`] |
//! | what is posted | [`Dialect::body`], [`Dialect::read_body`] |
//! | what a node keeps, and its hash | [`Dialect::stored_text`], [`Dialect::read_stored`], [`Dialect::hash`] |
//! | which message it is | [`Dialect::digest`] |
//! | the addresses of a key | [`Dialect::addresses`], [`Dialect::has_address`] |
//!
//! Where a message stands is the same in the one dialect that there is: the `payload` is the message
//! itself. The columns around a stored form are known to `agentry-chain`.

use crate::address::{Address, BECH32_LENGTH, HEX_LENGTH};
use crate::hash::{MessageDigest, TransactionHash};
use crate::json::{Field, Json, JsonRef, Number, Style, write_object};
use crate::key::{PublicKey, Signature, SigningKey};
use crate::transaction::error::{address, number, required, string};
use crate::transaction::{Fields, StoredTransaction, Transaction, TransactionError, Verification};

/// The only type of transaction that an agent signs.
const TYPE: &str = "transfer";
/// The chain that a node fills in.
const DEFAULT_CHAIN_ID: &str = "ait-mainnet";
/// The fee that a node fills in, in AIT.
const DEFAULT_FEE: i32 = 10;
/// The payload that a node fills in.
const DEFAULT_PAYLOAD: &str = "0x";

/// The dialect of the chains that this version works with. It is named here alone: with a second
/// one, a transaction says which one it is in, from where it is read or drafted.
pub(crate) const DIALECT: Dialect = Dialect::April2026;

/// A dialect of AITBC. The first line of each function takes it apart, so that another dialect does
/// not compile until every function has an answer for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The nodes of April 2026. Ed25519 over spaced JSON; the posted body carries the key, and a
    /// node keeps the signature; the whole stored form is a row's payload; nonces are ignored.
    April2026,
}

impl Dialect {
    /// The text that is signed: the eight keys in the spaced canonical text.
    pub fn signing_text(self, fields: Fields<'_>) -> String {
        let Self::April2026 = self;
        let [amount, chain_id, fee, from, nonce, payload, to] = fields.seven();
        let kind = ("type", Field::Text(TYPE));
        write_object(
            Style::Spaced,
            &[amount, chain_id, fee, from, nonce, payload, to, kind],
        )
    }

    /// The signing text of one older client: the same without `type`.
    pub fn signing_text_seven_keys(self, fields: Fields<'_>) -> String {
        let Self::April2026 = self;
        write_object(Style::Spaced, &fields.seven())
    }

    /// Signs. The caller has to know that the key belongs to `from`: it is not checked.
    pub fn sign(self, fields: Fields<'_>, key: &SigningKey) -> Signature {
        key.sign(self.signing_text(fields).as_bytes())
    }

    /// Verifies a signature under a key, strictly: over the eight keys, then over the seven.
    pub fn verify(
        self,
        fields: Fields<'_>,
        signature: Option<&str>,
        key: &PublicKey,
    ) -> Verification {
        let Some(spelled) = signature else {
            return Verification::Missing;
        };
        let Ok(signature) = spelled.parse::<Signature>() else {
            return Verification::Misspelled;
        };
        if key.verify(self.signing_text(fields).as_bytes(), &signature) {
            Verification::Valid
        } else if key.verify(self.signing_text_seven_keys(fields).as_bytes(), &signature) {
            Verification::ValidSevenKeys
        } else {
            Verification::Invalid
        }
    }

    /// The identity of the message: SHA-256 of the (eight-key) signing text.
    pub fn digest(self, fields: Fields<'_>) -> MessageDigest {
        MessageDigest::of(self.signing_text(fields).as_bytes())
    }

    /// The body to post: compact canonical JSON of the eight keys, `signature` and `public_key`.
    pub fn body(self, fields: Fields<'_>, signature: &Signature, public_key: &PublicKey) -> String {
        let Self::April2026 = self;
        let (signature, public_key) = (signature.to_string(), public_key.to_string());
        let [amount, chain_id, fee, from, nonce, payload, to] = fields.seven();
        let public_key = ("public_key", Field::Text(&public_key));
        let signature = ("signature", Field::Text(&signature));
        let kind = ("type", Field::Text(TYPE));
        write_object(
            Style::Compact,
            &[
                amount, chain_id, fee, from, nonce, payload, public_key, signature, to, kind,
            ],
        )
    }

    /// Reads a body back. All ten keys must be there; others are ignored. The signature is read,
    /// not verified.
    ///
    /// # Errors
    /// [`TransactionError`] names the key that is missing or wrong.
    pub fn read_body(
        self,
        body: JsonRef<'_>,
    ) -> Result<(Transaction, Signature, PublicKey), TransactionError> {
        let Self::April2026 = self;
        if !body.is_object() {
            return Err(TransactionError::NotAnObject);
        }
        if string(required(body, "type")?, "type")? != TYPE {
            return Err(TransactionError::Type {
                field: "type",
                expected: "\"transfer\"",
            });
        }
        let transaction = Transaction {
            from: address(body, "from")?,
            to: address(body, "to")?,
            amount: number(required(body, "amount")?, "amount")?,
            fee: number(required(body, "fee")?, "fee")?,
            nonce: number(required(body, "nonce")?, "nonce")?,
            payload: required(body, "payload")?.to_json(),
            chain_id: string(required(body, "chain_id")?, "chain_id")?.parse()?,
        };
        let signature = string(required(body, "signature")?, "signature")?.parse()?;
        let public_key = string(required(body, "public_key")?, "public_key")?.parse()?;
        Ok((transaction, signature, public_key))
    }

    /// What a node keeps, in the compact canonical text that it hashes: the eight keys without
    /// `type`, and the signature as it was spelled.
    pub fn stored_text(self, fields: Fields<'_>, signature: Option<&str>) -> String {
        let Self::April2026 = self;
        let signature = ("signature", signature.map_or(Field::Null, Field::Text));
        let [amount, chain_id, fee, from, nonce, payload, to] = fields.seven();
        write_object(
            Style::Compact,
            &[amount, chain_id, fee, from, nonce, payload, signature, to],
        )
    }

    /// The hash by which a node identifies a transaction: SHA-256 of what it keeps.
    pub fn hash(self, fields: Fields<'_>, signature: Option<&str>) -> TransactionHash {
        TransactionHash::of(self.stored_text(fields, signature).as_bytes())
    }

    /// Reads what a node keeps. `from`, `to` and `amount` are required. For other missing keys the
    /// node's defaults apply: `ait-mainnet`, fee 10, nonce 0, payload `"0x"`, no signature. Unknown
    /// keys are ignored, such as `type`, `public_key` and `tx_hash`.
    ///
    /// # Errors
    /// [`TransactionError`] names what is missing or wrong.
    pub fn read_stored(self, object: JsonRef<'_>) -> Result<StoredTransaction, TransactionError> {
        let Self::April2026 = self;
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
        Ok(StoredTransaction {
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

    /// All addresses of a key: the hex form, which a new wallet gets, and the bech32 form.
    pub fn addresses(self, key: &PublicKey) -> [Address; 2] {
        let Self::April2026 = self;
        [
            Address::from_public_key(key),
            Address::bech32_from_public_key(key),
        ]
    }

    /// Whether a key has this address, in this spelling.
    pub fn has_address(self, key: &PublicKey, address: &Address) -> bool {
        let Self::April2026 = self;
        match address.as_str().len() {
            HEX_LENGTH => *address == Address::from_public_key(key),
            BECH32_LENGTH => *address == Address::bech32_from_public_key(key),
            _ => false,
        }
    }
}
