//! The dialect of August 2026.
//!
//! A payload is an object that holds the amount, and the message is in it:
//!
//! | message | payload |
//! |---|---|
//! | a string: a plain text, or a command | `{"amount": n, "message": "…"}` |
//! | a text with a header | `{"amount": n, "message": "…", "msg": {…}}` |
//! | a text that reads like a command | `{"amount": n, "text": "…"}`, perhaps with `msg` |
//!
//! Other clients of that time write and show `message`, so they can read every text, and a node never
//! finds its own keys (`type`, `to`) in one of ours.
//!
//! The chain keeps no signatures. So a message that has a header carries one in it, `sig`: secp256k1 over
//! [`inner_text`]. It counts only beside an id: whoever copies a message into another transaction copies
//! its id, too, and a message is acted on once.

use std::borrow::Cow;

use super::{Dialect, number_or, own_signature, posted, signature};
use crate::authenticity::Finding;
use crate::header::HEADER_KEY;
use crate::json::{Field, Json, JsonRef, Number, Style, write_object};
use crate::key::{PublicKey, Signature, SigningKey};
use crate::payload::Payload;
use crate::transaction::error::{address, number, required, string};
use crate::transaction::{
    Fields, SignedTransaction, StoredTransaction, Transaction, TransactionError, Verification,
};

const DIALECT: Dialect = Dialect::August2026;
/// The type of a message, which transfers nothing.
const MESSAGE: &str = "MESSAGE";
/// The type of a transaction that transfers something.
const TRANSFER: &str = "TRANSFER";
/// The key of the transaction's amount in a payload.
const AMOUNT: &str = "amount";
/// The key of the signature in a header.
const SIG: &str = "sig";
/// The fee that a node fills in, in compute-seconds.
const DEFAULT_FEE: i32 = 36;
/// What separates a signature of a message from one of a transaction, whose text begins with `{`.
const DOMAIN: &str = "agentry/1 message\n";

pub(super) fn kind(amount: &Number) -> &'static str {
    if amount.as_u64() == Some(0) {
        MESSAGE
    } else {
        TRANSFER
    }
}

/// Whether an agent signs transactions of this type.
pub(super) fn is_own_kind(kind: &str) -> bool {
    matches!(kind, MESSAGE | TRANSFER)
}

/// The eight keys in the compact canonical text; addresses as they are spelled.
pub(super) fn signing_text(fields: Fields<'_>) -> String {
    let [amount, chain_id, fee, from, nonce, payload, to] = fields.seven();
    let kind = ("type", Field::Text(fields.kind));
    write_object(
        Style::Compact,
        &[amount, chain_id, fee, from, nonce, payload, to, kind],
    )
}

/// The eight keys and the signature.
pub(super) fn body(signed: &SignedTransaction) -> String {
    let spelled = signed.signature().map(ToString::to_string);
    let fields = signed.transaction().fields();
    let [amount, chain_id, fee, from, nonce, payload, to] = fields.seven();
    let spelled = spelled.as_deref().map_or(Field::Null, Field::Text);
    let kind = ("type", Field::Text(fields.kind));
    write_object(
        Style::Compact,
        &[
            amount,
            chain_id,
            fee,
            from,
            nonce,
            payload,
            ("signature", spelled),
            to,
            kind,
        ],
    )
}

pub(super) fn read_body(body: JsonRef<'_>) -> Result<SignedTransaction, TransactionError> {
    let transaction = posted(DIALECT, body)?;
    if string(required(body, "type")?, "type")? != kind(&transaction.amount) {
        return Err(TransactionError::Type {
            field: "type",
            expected: "\"MESSAGE\" without an amount, or \"TRANSFER\" with one",
        });
    }
    required(body, "signature")?;
    let signature = signature(body)?
        .map(|spelled| spelled.parse())
        .transpose()?;
    Ok(SignedTransaction::new(transaction, signature, None))
}

/// The eight keys, the signature, and the amount once more as `value`.
pub(super) fn stored_text(fields: Fields<'_>, signature: Option<&str>) -> String {
    let [amount, chain_id, fee, from, nonce, payload, to] = fields.seven();
    let signature = ("signature", signature.map_or(Field::Null, Field::Text));
    let kind = ("type", Field::Text(fields.kind));
    let value = ("value", Field::Number(fields.amount));
    write_object(
        Style::Compact,
        &[
            amount, chain_id, fee, from, nonce, payload, signature, to, kind, value,
        ],
    )
}

/// The node's defaults: fee 36, nonce 0, payload `{}`, type `TRANSFER`. The chain id has none here: only
/// the node knows its own.
pub(super) fn read_stored(object: JsonRef<'_>) -> Result<StoredTransaction, TransactionError> {
    Ok(StoredTransaction {
        dialect: DIALECT,
        kind: match object.get("type") {
            Some(value) => string(value, "type")?.to_owned().into(),
            None => TRANSFER.into(),
        },
        chain_id: string(required(object, "chain_id")?, "chain_id")?.to_owned(),
        signature: signature(object)?,
        from: address(DIALECT, object, "from")?,
        to: address(DIALECT, object, "to")?,
        amount: number(required(object, "amount")?, "amount")?,
        fee: number_or(object, "fee", DEFAULT_FEE)?,
        nonce: number_or(object, "nonce", 0)?,
        payload: match object.get("payload") {
            Some(value) => value.to_json(),
            None => Json::object::<&str>([]),
        },
    })
}

/// The message that a payload carries.
pub(super) fn message(payload: &Json) -> Cow<'_, Json> {
    let root = payload.root();
    let Some(text) = root.get("message").filter(|text| text.as_str().is_some()) else {
        return Cow::Borrowed(payload);
    };
    let message = text.to_json();
    let header = root.get(HEADER_KEY).filter(|header| !header.is_null());
    Cow::Owned(match (Payload::read(&message), header) {
        (Payload::Text(_), Some(header)) => {
            Json::object([("text", message), (HEADER_KEY, header.to_json())])
        }
        _ => message,
    })
}

/// The payload that carries a message.
fn carry(message: &Json, amount: &Number) -> Json {
    let root = message.root();
    let amount = (AMOUNT, Json::number(amount));
    let text = root.get("text").filter(|text| text.as_str().is_some());
    if let Some(text) = text.map(JsonRef::to_json)
        && matches!(Payload::read(&text), Payload::Text(_))
        && let Some(header) = root.get(HEADER_KEY)
    {
        return Json::object([amount, ("message", text), (HEADER_KEY, header.to_json())]);
    }
    if root.is_object() {
        return Json::object(std::iter::once(amount).chain(without(root, AMOUNT)));
    }
    Json::object([amount, ("message", message.clone())])
}

/// Puts the message of a transaction into its payload, signed if it has a header.
pub(super) fn wrap(transaction: Transaction, key: &SigningKey) -> Transaction {
    let message = match Headed::read(&transaction.payload) {
        Some(headed) => {
            let text = inner_text(transaction.fields(), &headed.body);
            headed.with_signature(&key.sign(text.as_bytes()))
        }
        None => transaction.payload.clone(),
    };
    Transaction {
        payload: carry(&message, &transaction.amount),
        ..transaction
    }
}

/// The message that a payload carries, without its signature.
pub(super) fn draft(payload: &Json) -> Cow<'_, Json> {
    let message = message(payload);
    match Headed::read(&message) {
        Some(headed) if headed.signature.is_some() => Cow::Owned(headed.written()),
        _ => message,
    }
}

/// A message with a header.
struct Headed {
    /// Whether it stands in a string, as a command does.
    is_string: bool,
    /// Without a signature.
    body: Json,
    /// The signature that it had, as it is spelled.
    signature: Option<Json>,
    has_id: bool,
}

impl Headed {
    /// Takes a message apart; `None` if it has no header.
    fn read(message: &Json) -> Option<Self> {
        let (is_string, body) = match message.root().as_str() {
            Some(_) => {
                // A text in a string has no header.
                let Payload::Command(command) = Payload::read(message) else {
                    return None;
                };
                (true, command.body)
            }
            // In a payload the amount stands beside the text; it is the transaction's.
            None => (false, Json::object(without(message.root(), AMOUNT))),
        };
        if message.has_duplicate_keys() || body.has_duplicate_keys() {
            return None;
        }
        let header = body
            .root()
            .get(HEADER_KEY)
            .filter(|header| header.is_object())?;
        let bare = Json::object(without(header, SIG));
        Some(Self {
            is_string,
            signature: header
                .get(SIG)
                .filter(|sig| !sig.is_null())
                .map(JsonRef::to_json),
            has_id: header.get("id").is_some_and(|id| !id.is_null()),
            body: with_header(&body, bare),
        })
    }

    fn with_signature(self, signature: &Signature) -> Json {
        let header = self.body.root().get(HEADER_KEY);
        let fields = header.into_iter().flat_map(JsonRef::entries);
        let fields = fields.map(|(key, value)| (key, value.to_json()));
        let sig = (SIG, Json::string(signature.to_string()));
        let body = with_header(&self.body, Json::object(fields.chain([sig])));
        Self { body, ..self }.written()
    }

    /// The message again.
    fn written(self) -> Json {
        match self.is_string {
            true => Json::string(self.body.to_compact()),
            false => self.body,
        }
    }
}

/// An object with another header.
fn with_header(body: &Json, header: Json) -> Json {
    let others = without(body.root(), HEADER_KEY);
    Json::object(others.chain([(HEADER_KEY, header)]))
}

/// The entries of an object, without those of one key.
fn without<'a>(object: JsonRef<'a>, key: &'static str) -> impl Iterator<Item = (&'a str, Json)> {
    let others = object.entries().filter(move |(name, _)| *name != key);
    others.map(|(name, value)| (name, value.to_json()))
}

/// What the signature of a message is over: `agentry/1 message`, a line feed, and the compact canonical
/// JSON of the transaction's `amount`, `chain_id`, `from` and `to` (the accounts, spelled `ait1` and in
/// lower case), and of the message as an object, without `sig`.
fn inner_text(fields: Fields<'_>, body: &Json) -> String {
    let object = write_object(
        Style::Compact,
        &[
            ("amount", Field::Number(fields.amount)),
            ("chain_id", Field::Text(fields.chain_id)),
            ("from", Field::Text(fields.from.as_str())),
            ("message", Field::Json(body.root())),
            ("to", Field::Text(fields.to.as_str())),
        ],
    );
    format!("{DOMAIN}{object}")
}

/// The key of the sender, if it has signed: the signature in the header; without one, that of the
/// transaction, which is known only while it is pending.
pub(super) fn signer(transaction: &StoredTransaction) -> Result<PublicKey, Finding> {
    let fields = transaction.fields();
    let message = message(fields.payload);
    let headed = Headed::read(&message).filter(|headed| headed.has_id);
    let recovered = if let Some(headed) = headed
        && let Some(spelled) = &headed.signature
    {
        let spelled = spelled.root().as_str();
        let signature = spelled.and_then(|spelled| own_signature(spelled, DIALECT.key_type()));
        let Some(signature) = signature else {
            return Err(Finding::Signature(Verification::Misspelled));
        };
        signature.recover(inner_text(fields, &headed.body).as_bytes())
    } else {
        if transaction.signature.is_none() {
            return Err(Finding::Unsigned);
        }
        transaction.recovered()
    };
    match recovered {
        Some(key) if fields.from.matches(&key) => Ok(key),
        Some(_) => Err(Finding::ForeignKey),
        None => Err(Finding::Signature(Verification::Invalid)),
    }
}
