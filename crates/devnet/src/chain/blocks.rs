//! Blocks and their transaction rows.

use agentry_protocol::{BlockHash, BlockHeight, ChainId, Dialect, block_hash, isoformat};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use super::error::{ChainError, Doing as _};
use crate::dialect;

/// A row of `block`.
#[derive(Clone, Debug)]
pub(crate) struct BlockRow {
    pub(crate) height: u64,
    pub(crate) hash: String,
    pub(crate) parent_hash: String,
    pub(crate) proposer: String,
    /// As it is written in the database.
    pub(crate) timestamp: String,
    pub(crate) tx_count: u64,
    pub(crate) state_root: Option<String>,
    pub(crate) metadata: Option<String>,
    /// The proposer's signature, where blocks have one.
    pub(crate) signature: Option<String>,
}

impl BlockRow {
    /// The block after `parent`, made at `now` (as the database writes it), with the transactions that
    /// have these hashes; and its hash.
    pub(crate) fn after<'a>(
        dialect: Dialect,
        parent: &Self,
        chain: &ChainId,
        proposer: &str,
        now: &str,
        hashes: impl ExactSizeIterator<Item = &'a str>,
    ) -> (Self, BlockHash) {
        let (height, tx_count) = (parent.height + 1, hashes.len() as u64);
        let (above, time) = (BlockHeight(height), isoformat(now));
        let hash = block_hash(chain, above, &parent.hash, &time, hashes);
        let row = Self {
            height,
            hash: hash.to_string(),
            parent_hash: parent.hash.clone(),
            proposer: proposer.to_owned(),
            timestamp: now.to_owned(),
            tx_count,
            state_root: None,
            metadata: None,
            signature: None,
        };
        (dialect::signed(dialect, row, &hash), hash)
    }
}

const BLOCK: &str =
    "height, hash, parent_hash, proposer, timestamp, tx_count, state_root, block_metadata";

/// The columns of a table that are read: these, and one more, or null if the table does not have it.
fn columns(
    db: &Connection,
    table: &str,
    known: &str,
    more: &'static str,
) -> Result<String, ChainError> {
    let mut has = db
        .prepare_cached("SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2")
        .doing("reading the tables")?;
    let has = has.exists([table, more]).doing("reading the tables")?;
    Ok(format!("{known}, {}", if has { more } else { "NULL" }))
}

fn block_row(row: &Row<'_>) -> rusqlite::Result<BlockRow> {
    Ok(BlockRow {
        height: unsigned(row.get(0)?),
        hash: row.get(1)?,
        parent_hash: row.get(2)?,
        proposer: row.get(3)?,
        timestamp: row.get(4)?,
        tx_count: unsigned(row.get(5)?),
        state_root: row.get(6)?,
        metadata: row.get(7)?,
        signature: row.get(8)?,
    })
}

/// A height or count as the database keeps it; one above 2^63 - 1 matches nothing there.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The block with the greatest height.
pub(crate) fn head(db: &Connection, chain: &str) -> Result<Option<BlockRow>, ChainError> {
    let columns = columns(db, "block", BLOCK, "signature")?;
    db.prepare_cached(&format!(
        "SELECT {columns} FROM block WHERE chain_id = ?1 ORDER BY height DESC LIMIT 1"
    ))
    .and_then(|mut statement| statement.query_row([chain], block_row).optional())
    .doing("reading the head")
}

/// The block at a height.
pub(crate) fn at(
    db: &Connection,
    chain: &str,
    height: u64,
) -> Result<Option<BlockRow>, ChainError> {
    Ok(range(db, chain, height, height)?.pop())
}

/// The blocks from one height to another, both included.
pub(crate) fn range(
    db: &Connection,
    chain: &str,
    start: u64,
    end: u64,
) -> Result<Vec<BlockRow>, ChainError> {
    let columns = columns(db, "block", BLOCK, "signature")?;
    db.prepare_cached(&format!(
        "SELECT {columns} FROM block
         WHERE chain_id = ?1 AND height >= ?2 AND height <= ?3 ORDER BY height"
    ))
    .and_then(|mut statement| {
        statement
            .query_map(params![chain, signed(start), signed(end)], block_row)?
            .collect()
    })
    .doing("reading blocks")
}

/// Adds a block.
pub(crate) fn insert(db: &Connection, chain: &str, block: &BlockRow) -> Result<(), ChainError> {
    let (height, tx_count) = (signed(block.height), signed(block.tx_count));
    let values: [&dyn ToSql; _] = [
        &chain,
        &height,
        &block.hash,
        &block.parent_hash,
        &block.proposer,
        &block.timestamp,
        &tx_count,
        &block.state_root,
        &block.metadata,
    ];
    let signature = ("signature", block.signature.as_ref());
    insert_into(db, "block", BLOCK, &values, signature).doing("writing a block")
}

/// Adds a row to a table: these columns, after that of the chain, and one more if it has a value. A table
/// of an older node lacks that one.
fn insert_into(
    db: &Connection,
    table: &str,
    columns: &str,
    values: &[&dyn ToSql],
    (more, value): (&str, Option<&String>),
) -> rusqlite::Result<()> {
    let mut columns = format!("chain_id, {columns}");
    let mut values = values.to_vec();
    if let Some(value) = &value {
        columns = format!("{columns}, {more}");
        values.push(value);
    }
    let places = vec!["?"; values.len()].join(", ");
    let sql = format!("INSERT INTO \"{table}\" ({columns}) VALUES ({places})");
    db.prepare_cached(&sql)?.execute(values.as_slice())?;
    Ok(())
}

/// A row of `transaction`.
#[derive(Clone, Debug)]
pub(crate) struct TransactionRow {
    pub(crate) id: i64,
    pub(crate) hash: String,
    pub(crate) height: Option<u64>,
    pub(crate) sender: String,
    pub(crate) recipient: String,
    /// As JSON text: the stored form, or, where its parts have columns, the transaction's payload.
    pub(crate) payload: String,
    pub(crate) created_at: String,
    /// The account's counter after this transaction; where a node checks nonces, the transaction's.
    pub(crate) nonce: i64,
    pub(crate) value: i64,
    pub(crate) fee: i64,
    pub(crate) status: String,
    pub(crate) timestamp: Option<String>,
    pub(crate) metadata: Option<String>,
    /// Its type, where the chain keeps it.
    pub(crate) kind: Option<String>,
}

const ROW: &str = "tx_hash, block_height, sender, recipient, payload, created_at, nonce, value, fee, status, timestamp, tx_metadata";

fn transaction_row(row: &Row<'_>) -> rusqlite::Result<TransactionRow> {
    Ok(TransactionRow {
        id: row.get(0)?,
        hash: row.get(1)?,
        height: row.get::<_, Option<i64>>(2)?.map(unsigned),
        sender: row.get(3)?,
        recipient: row.get(4)?,
        payload: row.get(5)?,
        created_at: row.get(6)?,
        nonce: row.get(7)?,
        value: row.get(8)?,
        fee: row.get(9)?,
        status: row.get(10)?,
        timestamp: row.get(11)?,
        metadata: row.get(12)?,
        kind: row.get(13)?,
    })
}

/// Adds a transaction row; its `id` is given by SQLite.
pub(crate) fn insert_row(
    db: &Connection,
    chain: &str,
    row: &TransactionRow,
) -> Result<(), ChainError> {
    let height = row.height.map(signed);
    let values: [&dyn ToSql; _] = [
        &chain,
        &row.hash,
        &height,
        &row.sender,
        &row.recipient,
        &row.payload,
        &row.created_at,
        &row.nonce,
        &row.value,
        &row.fee,
        &row.status,
        &row.timestamp,
        &row.metadata,
    ];
    let kind = ("type", row.kind.as_ref());
    insert_into(db, "transaction", ROW, &values, kind).doing("writing a transaction")
}

/// The rows of one block, in order.
pub(crate) fn rows(
    db: &Connection,
    chain: &str,
    height: u64,
) -> Result<Vec<TransactionRow>, ChainError> {
    let columns = columns(db, "transaction", ROW, "type")?;
    db.prepare_cached(&format!(
        "SELECT id, {columns} FROM \"transaction\"
         WHERE chain_id = ?1 AND block_height = ?2 ORDER BY id"
    ))
    .and_then(|mut statement| {
        statement
            .query_map(params![chain, signed(height)], transaction_row)?
            .collect()
    })
    .doing("reading a block's transactions")
}

/// A page of an address's transactions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) limit: u64,
    pub(crate) offset: u64,
    pub(crate) newest_first: bool,
}

/// The rows that an address sent or received; without an address, all rows.
pub(crate) fn rows_of(
    db: &Connection,
    chain: &str,
    address: Option<&str>,
    page: Page,
) -> Result<Vec<TransactionRow>, ChainError> {
    let order = if page.newest_first { "DESC" } else { "ASC" };
    let columns = columns(db, "transaction", ROW, "type")?;
    db.prepare_cached(&format!(
        "SELECT id, {columns} FROM \"transaction\"
         WHERE chain_id = ?1 AND (?2 IS NULL OR sender = ?2 OR recipient = ?2)
         ORDER BY block_height {order}, id {order} LIMIT ?3 OFFSET ?4"
    ))
    .and_then(|mut statement| {
        statement
            .query_map(
                params![chain, address, signed(page.limit), signed(page.offset)],
                transaction_row,
            )?
            .collect()
    })
    .doing("reading an address's transactions")
}

/// The row with a hash.
pub(crate) fn row(
    db: &Connection,
    chain: &str,
    hash: &str,
) -> Result<Option<TransactionRow>, ChainError> {
    let columns = columns(db, "transaction", ROW, "type")?;
    db.prepare_cached(&format!(
        "SELECT id, {columns} FROM \"transaction\" WHERE chain_id = ?1 AND tx_hash = ?2"
    ))
    .and_then(|mut statement| {
        statement
            .query_row([chain, hash], transaction_row)
            .optional()
    })
    .doing("looking for a transaction")
}

/// Whether a hash is mined.
pub(crate) fn is_mined(db: &Connection, chain: &str, hash: &str) -> Result<bool, ChainError> {
    db.prepare_cached("SELECT 1 FROM \"transaction\" WHERE chain_id = ?1 AND tx_hash = ?2")
        .and_then(|mut statement| statement.exists([chain, hash]))
        .doing("looking for a mined transaction")
}

/// Deletes every block above a height, with its rows. The ids become free, and SQLite uses them
/// again.
pub(crate) fn delete_above(db: &Connection, chain: &str, height: u64) -> Result<(), ChainError> {
    for sql in [
        "DELETE FROM \"transaction\" WHERE chain_id = ?1 AND block_height > ?2",
        "DELETE FROM block WHERE chain_id = ?1 AND height > ?2",
    ] {
        db.execute(sql, params![chain, signed(height)])
            .doing("deleting blocks")?;
    }
    Ok(())
}

/// The id of another chain in this database, if it has blocks of that chain and none of this one.
pub(crate) fn other_chain(db: &Connection, chain: &str) -> Result<Option<String>, ChainError> {
    db.query_row("SELECT chain_id FROM block WHERE NOT EXISTS (SELECT 1 FROM block WHERE chain_id = ?1) LIMIT 1", [chain], |row| {
        row.get(0)
    })
    .optional()
    .doing("reading the database's chain id")
}
