//! What differs between nodes of different dialects: what they check, which rows they keep, what they
//! answer. No other module of this crate knows a dialect by name, but for the tables of `chain.db`
//! ([`schema`](crate::chain::schema)). What nodes of August 2026 check is in `august`; what those of April
//! 2026 check is in [`rules`](crate::rules).

pub(crate) mod august;

use agentry_protocol::{BlockHash, ChainId, Dialect, Json, JsonRef, Limits, StoredTransaction};

use crate::chain::Chain;
use crate::chain::blocks::{BlockRow, TransactionRow};
use crate::config::DevnetConfig;
use crate::fault::Faults;
use crate::rules::{self, Posted, Refusal};

/// Reads a posted body and makes all checks that need no state.
pub(crate) fn read(body: &[u8], config: &DevnetConfig, faults: &Faults) -> Result<Posted, Refusal> {
    match config.dialect {
        Dialect::April2026 => rules::read(body, config, faults),
        Dialect::August2026 => Ok(Posted {
            stored: august::read(body, config)?,
            verified: true,
        }),
    }
}

/// Checks a transaction against the chain and the mempool, and accepts it. Returns its hash.
pub(crate) fn admit(
    chain: &mut Chain,
    posted: Posted,
    config: &DevnetConfig,
    faults: &Faults,
) -> Result<String, Refusal> {
    match config.dialect {
        Dialect::April2026 => rules::admit(chain, posted, config, faults),
        Dialect::August2026 => august::admit(chain, posted.stored, config, faults),
    }
}

/// Whether a node checks a transaction again when it makes a block, as `august::mine` does.
pub(crate) const fn checks_at_block(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => false,
        Dialect::August2026 => true,
    }
}

/// Whether a block takes the transactions of one fee by their hashes, and not by age and nonce.
pub(crate) const fn orders_by_hash(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => false,
        Dialect::August2026 => true,
    }
}

/// Whether a block has its proposer's signature.
pub(crate) const fn signs_blocks(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => false,
        Dialect::August2026 => true,
    }
}

/// How many pending transactions are shown at most, to whoever asks for so many, and names the chain or
/// does not.
pub(crate) fn shown_pending(dialect: Dialect, limit: i64, names_chain: bool) -> usize {
    match dialect {
        Dialect::April2026 => usize::try_from(limit).unwrap_or(0),
        // It has a mempool for each chain, and shows none unless it is named.
        Dialect::August2026 if !names_chain => 0,
        Dialect::August2026 => usize::try_from(limit).unwrap_or(usize::MAX),
    }
}

/// Whether an account is shown under any of its spellings, and one that is not known is an error.
pub(crate) const fn knows_accounts(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => false,
        Dialect::August2026 => true,
    }
}

/// Whether a node has calls for transactions of its own, which show rows; else they are this crate's.
pub(crate) const fn shows_rows(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => false,
        Dialect::August2026 => true,
    }
}

/// Whether a node pushes its blocks. Others do not have these calls.
pub(crate) const fn pushes_blocks(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => false,
        Dialect::August2026 => true,
    }
}

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
    BlockRow {
        signature: signs_blocks(dialect).then(|| august::sign_block(hash.as_bytes())),
        ..block
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
                ("sender", Json::string(row.sender.as_str())),
                ("recipient", Json::string(row.recipient.as_str())),
                ("value", Json::integer(row.value.into())),
                ("fee", Json::integer(row.fee.into())),
                ("nonce", Json::integer(row.nonce.into())),
                ("payload", payload),
                ("type", Json::string(kind)),
            ]);
            return incoming(dialect, object.root());
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
