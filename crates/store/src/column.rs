//! Reads a column's value as its type. An impossible value is an error that names the column. It is
//! never read as something else, because the runtime would act on a damaged store.

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Error, Result, Row};

use agentry_protocol::untrusted::printable;
use agentry_protocol::{
    Amount, Json, Limits, MessageId, PublicKey, SignedTransaction, Timestamp, TransactionHash,
};

/// How much of a value an error shows, in characters.
const SHOWN: usize = 40;

/// A column holds an impossible value.
#[derive(Debug, thiserror::Error)]
#[error("column {column:?} {what}")]
pub(super) struct Undecodable {
    column: String,
    what: String,
}

/// The error for a column of a row; `what` says what is wrong with its value.
pub(super) fn undecodable(row: &Row<'_>, column: usize, what: String) -> Error {
    let (name, kind) = (row.as_ref().column_name(column), row.get_ref(column));
    let column_name = name.map_or_else(|_| column.to_string(), str::to_owned);
    let error = Undecodable {
        column: column_name,
        what,
    };
    let kind = kind.map_or(Type::Null, |value| value.data_type());
    Error::FromSqlConversionFailure(column, kind, Box::new(error))
}

/// The value of a key as text, whatever its type.
pub(super) fn shown(row: &Row<'_>, column: usize) -> String {
    match row.get_ref(column) {
        Ok(ValueRef::Integer(id)) => id.to_string(),
        Ok(ValueRef::Text(text)) => printable(&String::from_utf8_lossy(text), 80),
        Ok(ValueRef::Blob(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        _ => "of an unknown key".to_owned(),
    }
}

/// A text, parsed.
pub(super) fn text<T, E: std::fmt::Display>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> std::result::Result<T, E>,
) -> Result<T> {
    let value = match row.get_ref(column)? {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes)
            .map_err(|error| undecodable(row, column, format!("is not a text: {error}")))?,
        other => {
            let what = format!("holds {:?}, not a text", other.data_type());
            return Err(undecodable(row, column, what));
        }
    };
    parse(value).map_err(|error| {
        let what = format!(
            "cannot be read back: {}",
            printable(&error.to_string(), 200)
        );
        undecodable(row, column, what)
    })
}

/// Like [`text`], for a column that may be NULL.
pub(super) fn optional_text<T, E: std::fmt::Display>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> std::result::Result<T, E>,
) -> Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => text(row, column, parse).map(Some),
    }
}

/// A word of a fixed set.
pub(super) fn word<T>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T> {
    text(row, column, |word| {
        parse(word).ok_or_else(|| format!("{:?} is not one of its words", printable(word, SHOWN)))
    })
}

/// The bytes of a hash, a key or an id.
pub(super) fn bytes<const N: usize, T>(
    row: &Row<'_>,
    column: usize,
    make: impl FnOnce([u8; N]) -> T,
) -> Result<T> {
    let what = match row.get_ref(column)? {
        ValueRef::Blob(bytes) => match bytes.try_into() {
            Ok(bytes) => return Ok(make(bytes)),
            Err(_) => format!("holds {} bytes, not {N}", bytes.len()),
        },
        other => format!("holds {:?}, not bytes", other.data_type()),
    };
    Err(undecodable(row, column, what))
}

/// Like [`bytes`], for a column that may be NULL.
pub(super) fn optional_bytes<const N: usize, T>(
    row: &Row<'_>,
    column: usize,
    make: impl FnOnce([u8; N]) -> T,
) -> Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => bytes(row, column, make).map(Some),
    }
}

/// A transaction's hash, as text.
pub(super) fn hash(row: &Row<'_>, column: usize) -> Result<String> {
    bytes(row, column, hash_text)
}

/// Like [`hash`], for a column that may be NULL.
pub(super) fn optional_hash(row: &Row<'_>, column: usize) -> Result<Option<String>> {
    optional_bytes(row, column, hash_text)
}

fn hash_text(bytes: [u8; 32]) -> String {
    TransactionHash::from_bytes(bytes).to_string()
}

/// The payload of a transaction: the column `payload` of the outbox or, once it is signed, that in the
/// column after it, which is `body`.
pub(super) fn payload(row: &Row<'_>, column: usize) -> Result<Json> {
    let json = |text: &str| Json::parse(text.as_bytes(), Limits::NONE);
    if row.get_ref(column)? != ValueRef::Null {
        return text(row, column, json);
    }
    let body = text(row, column + 1, json)?;
    let payload = SignedTransaction::draft_in(body.root());
    payload.ok_or_else(|| undecodable(row, column + 1, "has no payload".to_owned()))
}

/// A public key.
pub(super) fn public_key(row: &Row<'_>, column: usize) -> Result<PublicKey> {
    let bytes = row.get_ref(column)?.as_blob()?;
    PublicKey::from_slice(bytes)
        .map_err(|error| undecodable(row, column, format!("cannot be read back: {error}")))
}

/// The id in a message's header; `None` if it has none.
pub(super) fn message_id(row: &Row<'_>, column: usize) -> Result<Option<MessageId>> {
    optional_bytes(row, column, MessageId::from_bytes)?
        .transpose()
        .map_err(|error| undecodable(row, column, format!("cannot be read back: {error}")))
}

/// A non-negative number.
pub(super) fn natural(row: &Row<'_>, column: usize) -> Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value)
        .map_err(|_| undecodable(row, column, format!("holds {value}, which is negative")))
}

/// An amount of money.
pub(super) fn amount(row: &Row<'_>, column: usize) -> Result<Amount> {
    natural(row, column).map(Amount)
}

/// A point in time.
pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    natural(row, column).map(Timestamp::new)
}

/// Like [`time`], for a column that may be NULL.
pub(super) fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    Ok(optional_natural(row, column)?.map(Timestamp::new))
}

/// Like [`natural`], for a column that may be NULL.
pub(super) fn optional_natural(row: &Row<'_>, column: usize) -> Result<Option<u64>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => natural(row, column).map(Some),
    }
}
