//! What differs between nodes of different dialects: which rows they keep. What those of August 2026 check
//! is in `august`; what those of April 2026 check is in [`rules`](crate::rules), whose rest holds for both.

pub(crate) mod august;

use agentry_protocol::{BlockHash, ChainId, Dialect, Json, JsonRef, Limits, StoredTransaction};

use crate::chain::blocks::{BlockRow, TransactionRow};

/// The row of a transaction that is mined at this time.
pub(crate) fn row(stored: &StoredTransaction, hash: String, now: &str) -> TransactionRow {
    let row = TransactionRow {
        id: 0,
        hash,
        height: None,
        sender: stored.from.spelled().to_owned(),
        recipient: stored.to.spelled().to_owned(),
        payload: String::new(),
        created_at: now.to_owned(),
        nonce: 0,
        value: 0,
        fee: 0,
        status: "confirmed".to_owned(),
        timestamp: Some(now.to_owned()),
        metadata: None,
        kind: None,
    };
    match stored.dialect {
        Dialect::April2026 => TransactionRow {
            payload: stored.stored_text(),
            ..row
        },
        Dialect::August2026 => TransactionRow {
            payload: stored.payload.to_compact(),
            nonce: stored.nonce.as_i64().unwrap_or_default(),
            value: stored.amount.as_i64().unwrap_or_default(),
            fee: stored.fee.as_i64().unwrap_or_default(),
            timestamp: Some(format!("{now}+00:00")),
            kind: Some(stored.kind.clone().into_owned()),
            ..row
        },
    }
}

/// A block as its proposer keeps it, signed where blocks are.
pub(crate) fn signed(dialect: Dialect, block: BlockRow, hash: &BlockHash) -> BlockRow {
    match dialect {
        Dialect::April2026 => block,
        Dialect::August2026 => BlockRow {
            signature: Some(august::sign_block(hash.as_bytes())),
            ..block
        },
    }
}

/// The transaction of a row. Where the chain keeps no signatures, it has none.
pub(crate) fn stored(
    chain: &ChainId,
    dialect: Dialect,
    row: &TransactionRow,
) -> Result<StoredTransaction, String> {
    let json = |text: &str| Json::parse(text.as_bytes(), Limits::default());
    let payload = json(&row.payload).map_err(|error| error.to_string())?;
    let read = match dialect {
        Dialect::April2026 => dialect.read_stored(payload.root()),
        Dialect::August2026 => {
            let kind = row.kind.as_deref().unwrap_or_default();
            let object = Json::object([
                ("chain_id", Json::string(chain.as_str())),
                ("from", Json::string(row.sender.as_str())),
                ("to", Json::string(row.recipient.as_str())),
                ("amount", Json::integer(row.value.into())),
                ("fee", Json::integer(row.fee.into())),
                ("nonce", Json::integer(row.nonce.into())),
                ("payload", payload),
                ("type", Json::string(kind)),
            ]);
            dialect.read_stored(object.root())
        }
    };
    read.map_err(|error| error.to_string())
}

/// The transaction in a row of another node's block: a stored form, or the columns of one.
pub(crate) fn incoming(dialect: Dialect, row: JsonRef<'_>) -> Result<StoredTransaction, String> {
    let read = match dialect {
        Dialect::August2026 if row.get("sender").is_some() => {
            let column = |name| row.get(name).map_or_else(Json::null, JsonRef::to_json);
            let object = Json::object([
                ("chain_id", column("chain_id")),
                ("from", column("sender")),
                ("to", column("recipient")),
                ("amount", column("value")),
                ("fee", column("fee")),
                ("nonce", column("nonce")),
                ("payload", column("payload")),
                ("type", column("type")),
            ]);
            dialect.read_stored(object.root())
        }
        // A row of blocks-range has the stored form under `payload`; blocks/{height} has its members at the
        // top, beside `tx_hash`.
        Dialect::April2026 if row.get("sender").is_some() => {
            let payload = row.get("payload").ok_or("it has no payload")?;
            dialect.read_stored(payload)
        }
        Dialect::April2026 | Dialect::August2026 => dialect.read_stored(row),
    };
    read.map_err(|error| error.to_string())
}
