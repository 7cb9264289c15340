//! What reading and posting need to know of a chain's dialect.
//!
//! | | April 2026 | August 2026 |
//! |---|---|---|
//! | a row of the chain | its payload is the whole stored form | a column for each part, and no signature |
//! | an address | its text | an account in any of its spellings |
//! | a row without a well-formed hash | has that of its stored form | is known by its digest |
//! | a call | is about the node's own chain | names the chain, or answers for none |
//! | one block | `blocks/{height}` shows it whole | only `blocks-range` shows senders |
//! | an unknown account | has zeros | is a 404 |
//! | the calls of one client | any number | 200 a minute for each function |

use std::borrow::Cow;

use agentry_protocol::json::{Json, Limits};
use agentry_protocol::{Dialect, StoredTransaction, TransactionHash};

use crate::node::one_line;
use crate::raw::Object;

/// How many calls of one function are made in a minute, below what a node allows.
const CALLS_A_MINUTE: usize = 190;

/// The key of a block that nodes of August 2026 show, and of their tables.
const SIGNATURE: &str = "signature";
/// The column of transactions that nodes of August 2026 have.
pub(crate) const TYPE: &str = "type";

/// The account that a text is, where the chain knows it in several spellings.
pub(crate) fn account(dialect: Dialect, text: &str) -> Cow<'_, str> {
    match dialect {
        Dialect::April2026 => Cow::Borrowed(text),
        Dialect::August2026 => match dialect.address(text) {
            Ok(address) if address.as_str() != text => Cow::Owned(address.as_str().to_owned()),
            _ => Cow::Borrowed(text),
        },
    }
}

/// Whether a row of this shape holds its transaction in its payload.
pub(crate) const fn payload_is_transaction(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => true,
        Dialect::August2026 => false,
    }
}

/// Whether one block alone is asked for as a range.
pub(crate) const fn only_ranges_are_whole(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => false,
        Dialect::August2026 => true,
    }
}

/// Whether calls have to name the chain.
pub(crate) const fn names_chain(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => false,
        Dialect::August2026 => true,
    }
}

/// Whether a 404 for an account means that the chain does not know it.
pub(crate) const fn denies_accounts(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => false,
        Dialect::August2026 => true,
    }
}

/// How many calls of one function may be made in a minute; `None`: any number.
pub(crate) const fn calls_a_minute(dialect: Dialect) -> Option<usize> {
    match dialect {
        Dialect::April2026 => None,
        Dialect::August2026 => Some(CALLS_A_MINUTE),
    }
}

/// The columns of a row, each with the key of a stored form.
const COLUMNS: [(&str, &str); 8] = [
    ("chain_id", "chain_id"),
    ("sender", "from"),
    ("recipient", "to"),
    ("value", "amount"),
    ("fee", "fee"),
    ("nonce", "nonce"),
    ("payload", "payload"),
    (TYPE, "type"),
];

/// The names of the columns that a transaction is read from, in the order in which [`of_columns`] takes
/// them.
pub(crate) fn columns() -> impl Iterator<Item = &'static str> {
    COLUMNS.into_iter().map(|(column, _)| column)
}

/// Reads a transaction from the columns of a row, each as JSON; a column that is null counts as missing.
pub(crate) fn of_columns(
    dialect: Dialect,
    hash: Option<TransactionHash>,
    values: impl IntoIterator<Item = Option<Json>>,
) -> Result<(TransactionHash, StoredTransaction), String> {
    let entries = COLUMNS.into_iter().zip(values);
    let entries = entries.filter_map(|((_, key), value)| Some((key, value?)));
    let object = Json::object(entries.filter(|(_, value)| !value.root().is_null()));
    identified(hash, dialect.read_stored(object.root()))
}

/// Parses a transaction: a stored form, or, unless its payload is one, a row with columns. Its identity is
/// `hash`, else what the dialect computes.
pub(crate) fn decode(
    dialect: Dialect,
    hash: Option<TransactionHash>,
    text: &[u8],
) -> Result<(TransactionHash, StoredTransaction), String> {
    let json =
        Json::parse(text, Limits::default()).map_err(|error| one_line(&error.to_string()))?;
    let root = json.root();
    if !payload_is_transaction(dialect) && root.get("sender").is_some() {
        let values =
            columns().map(|column| root.get(column).map(agentry_protocol::JsonRef::to_json));
        return of_columns(dialect, hash, values);
    }
    identified(hash, dialect.read_stored(root))
}

fn identified(
    hash: Option<TransactionHash>,
    read: Result<StoredTransaction, agentry_protocol::TransactionError>,
) -> Result<(TransactionHash, StoredTransaction), String> {
    let stored = read.map_err(|error| one_line(&error.to_string()))?;
    let computed = || match stored.dialect.keeps_signatures() || stored.signature.is_some() {
        true => stored.hash(),
        // Its hash covers a signature that nobody shows.
        false => TransactionHash::from_bytes(*stored.digest().as_bytes()),
    };
    Ok((hash.unwrap_or_else(computed), stored))
}

/// The dialect of a node, by one of its blocks as `blocks-range` shows it.
pub(crate) fn of_block(block: &Object<'_>) -> Dialect {
    match block.get(SIGNATURE) {
        Some(_) => Dialect::August2026,
        None => Dialect::April2026,
    }
}

/// The dialect of a database, by the columns of its transactions.
pub(crate) fn of_table<'a>(mut columns: impl Iterator<Item = &'a str>) -> Dialect {
    match columns.any(|column| column == TYPE) {
        true => Dialect::August2026,
        false => Dialect::April2026,
    }
}
