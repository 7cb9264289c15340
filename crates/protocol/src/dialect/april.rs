//! The dialect of April 2026.

use super::{Dialect, number_or, own_signature, posted, signature};
use crate::authenticity::{Finding, Keys};
use crate::json::{Field, Json, JsonRef, Style, write_object};
use crate::key::PublicKey;
use crate::transaction::error::{address, number, required, string};
use crate::transaction::{
    Fields, SignedTransaction, StoredTransaction, TransactionError, Verification,
};

const DIALECT: Dialect = Dialect::April2026;
/// The only type of transaction that an agent signs.
pub(super) const TYPE: &str = "transfer";
/// The chain that a node fills in.
const DEFAULT_CHAIN_ID: &str = "ait-mainnet";
/// The fee that a node fills in, in AIT.
const DEFAULT_FEE: i32 = 10;
/// The payload that a node fills in.
const DEFAULT_PAYLOAD: &str = "0x";

/// The eight keys in the spaced canonical text.
pub(super) fn signing_text(fields: Fields<'_>) -> String {
    let [amount, chain_id, fee, from, nonce, payload, to] = fields.seven();
    let kind = ("type", Field::Text(TYPE));
    write_object(
        Style::Spaced,
        &[amount, chain_id, fee, from, nonce, payload, to, kind],
    )
}

/// The signing text of one older client: the same without `type`.
pub(crate) fn signing_text_seven_keys(fields: Fields<'_>) -> String {
    write_object(Style::Spaced, &fields.seven())
}

/// Verifies a signature under a key, strictly: over the eight keys, then over the seven.
pub(crate) fn verify(fields: Fields<'_>, signature: Option<&str>, key: &PublicKey) -> Verification {
    let Some(spelled) = signature else {
        return Verification::Missing;
    };
    let Some(signature) = own_signature(spelled, DIALECT.key_type()) else {
        return Verification::Misspelled;
    };
    if key.verify(signing_text(fields).as_bytes(), &signature) {
        Verification::Valid
    } else if key.verify(signing_text_seven_keys(fields).as_bytes(), &signature) {
        Verification::ValidSevenKeys
    } else {
        Verification::Invalid
    }
}

/// A signature under a key that is bound to `from`.
pub(super) fn examine(transaction: &StoredTransaction, keys: Keys<'_>) -> Finding {
    if let Some(key) = keys.stated {
        if keys.known != Some(key) && !transaction.from.matches(key) {
            return Finding::ForeignKey;
        }
        let verification = transaction.verify(key);
        if verification.is_valid() || keys.known.is_none_or(|known| known == key) {
            return Finding::Signature(verification);
        }
    }
    match keys.known {
        Some(key) => Finding::Signature(transaction.verify(key)),
        None => Finding::NoKey,
    }
}

/// The eight keys, `signature` and `public_key`.
pub(super) fn body(signed: &SignedTransaction) -> String {
    let signature = signed.signature().map(ToString::to_string);
    let public_key = signed.public_key().map(|key| key.to_string());
    let signature = signature.as_deref().map_or(Field::Null, Field::Text);
    let public_key = public_key.as_deref().map_or(Field::Null, Field::Text);
    let [amount, chain_id, fee, from, nonce, payload, to] = signed.transaction().fields().seven();
    let public_key = ("public_key", public_key);
    let signature = ("signature", signature);
    let kind = ("type", Field::Text(TYPE));
    write_object(
        Style::Compact,
        &[
            amount, chain_id, fee, from, nonce, payload, public_key, signature, to, kind,
        ],
    )
}

pub(super) fn read_body(body: JsonRef<'_>) -> Result<SignedTransaction, TransactionError> {
    if string(required(body, "type")?, "type")? != TYPE {
        return Err(TransactionError::Type {
            field: "type",
            expected: "\"transfer\"",
        });
    }
    let transaction = posted(DIALECT, body)?;
    let signature = string(required(body, "signature")?, "signature")?.parse()?;
    let public_key = string(required(body, "public_key")?, "public_key")?.parse()?;
    Ok(SignedTransaction::new(
        transaction,
        Some(signature),
        Some(public_key),
    ))
}

/// The eight keys without `type`, and the signature.
pub(super) fn stored_text(fields: Fields<'_>, signature: Option<&str>) -> String {
    let signature = ("signature", signature.map_or(Field::Null, Field::Text));
    let [amount, chain_id, fee, from, nonce, payload, to] = fields.seven();
    write_object(
        Style::Compact,
        &[amount, chain_id, fee, from, nonce, payload, signature, to],
    )
}

/// The node's defaults: `ait-mainnet`, fee 10, nonce 0, payload `"0x"`, no signature.
pub(super) fn read_stored(object: JsonRef<'_>) -> Result<StoredTransaction, TransactionError> {
    let chain_id = match object.get("chain_id") {
        Some(value) => string(value, "chain_id")?.to_owned(),
        None => DEFAULT_CHAIN_ID.to_owned(),
    };
    Ok(StoredTransaction {
        dialect: DIALECT,
        kind: TYPE.into(),
        chain_id,
        signature: signature(object)?,
        from: address(DIALECT, object, "from")?,
        to: address(DIALECT, object, "to")?,
        amount: number(required(object, "amount")?, "amount")?,
        fee: number_or(object, "fee", DEFAULT_FEE)?,
        nonce: number_or(object, "nonce", 0)?,
        payload: match object.get("payload") {
            Some(value) => value.to_json(),
            None => Json::string(DEFAULT_PAYLOAD),
        },
    })
}
