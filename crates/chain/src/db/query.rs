//! Every statement that is run on the database.
//!
//! All of them are seeks on the node's own indexes, or scans by row id from a mark on. The unary
//! `+` before a column keeps SQLite from choosing that column's index: without statistics it takes
//! `chain_id = ?` for the most selective one, and would scan the whole chain.

use std::borrow::Cow;
use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row as SqlRow, params};
use sha2::{Digest as _, Sha256};

use agentry_protocol::{BlockHash, BlockHeight, Dialect, Json, TransactionHash};

use super::value::{integer, text, to_sql, unsigned};
use crate::dialect::{self, COLUMNS, Form};
use crate::node::{Head, block_identity};
use crate::source::{HashPrint, Mark};

/// The largest stored form, or payload, that is loaded: the chain's limit is 1 MB.
const LARGEST_PAYLOAD: i64 = 4 << 20;
/// The largest metadata that is loaded. A block holds at most 1 MB of transactions; with their
/// columns and JSON's escapes that becomes a few MB.
const LARGEST_METADATA: i64 = 16 << 20;

/// A column that is loaded only if it is as short as hashes, addresses and numbers are: any column
/// of SQLite can hold up to 2 GB, whatever its type. A longer value counts as empty.
macro_rules! short {
    ($column:literal) => {
        concat!(
            "CASE WHEN octet_length(",
            $column,
            ") <= 256 THEN ",
            $column,
            " END"
        )
    };
}

/// The columns that are loaded of a block; of its metadata only the length.
const BLOCK: &str = concat!(
    "id, ",
    short!("height"),
    ", ",
    short!("hash"),
    ", ",
    short!("tx_count"),
    ", octet_length(block_metadata)"
);

/// The columns that tell whether a transaction is wanted.
const PAIR: &str = concat!("id, ", short!("sender"), ", ", short!("recipient"));

/// The columns that a transaction's mark is made from.
const MARK: &str = concat!("id, ", short!("tx_hash"), ", ", short!("block_height"));

/// A row of `block`, with only the length of its metadata.
#[derive(Debug, Clone)]
pub(super) struct BlockRow {
    pub(super) id: i64,
    pub(super) head: Head,
    pub(super) metadata_bytes: i64,
}

impl BlockRow {
    pub(super) fn height(&self) -> u64 {
        self.head.height.0
    }

    pub(super) fn print(&self) -> HashPrint {
        HashPrint::from(&self.head.hash)
    }

    /// The mark of this row.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            id: self.id,
            print: print(self.head.hash.as_bytes(), self.height()),
        }
    }
}

/// What tells whether a row of `"transaction"` is wanted, as SQLite holds it.
#[derive(Debug)]
pub(super) struct PairRow<'a> {
    pub(super) id: i64,
    pub(super) sender: Cow<'a, str>,
    pub(super) recipient: Cow<'a, str>,
}

/// A summary of a block's transactions that needs none of their content.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Summary {
    count: i64,
    lowest: i64,
    highest: i64,
    total: f64,
}

impl Summary {
    pub(super) fn add(&mut self, id: i64) {
        self.lowest = if self.count == 0 {
            id
        } else {
            self.lowest.min(id)
        };
        self.highest = self.highest.max(id);
        self.total += id as f64;
        self.count += 1;
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count.unsigned_abs()
    }

    pub(super) fn highest_id(&self) -> Option<i64> {
        (self.count > 0).then_some(self.highest)
    }

    /// The digest by which it is noticed that rows were added to a block later.
    pub(super) fn digest(&self, block: &BlockRow) -> u64 {
        let mut hasher = Sha256::new();
        for number in [self.count, self.lowest, self.highest, block.metadata_bytes] {
            hasher.update(number.to_be_bytes());
        }
        hasher.update(self.total.to_bits().to_be_bytes());
        hasher.update(block.head.tx_count.to_be_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize()[..8]);
        u64::from_be_bytes(first)
    }
}

fn print(name: &[u8], height: u64) -> u32 {
    let mut hasher = Sha256::new();
    hasher.update(height.to_be_bytes());
    hasher.update(name);
    let mut first = [0; 4];
    first.copy_from_slice(&hasher.finalize()[..4]);
    u32::from_be_bytes(first)
}

/// The database in one snapshot, and the chain in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    pub(super) connection: &'a Connection,
    pub(super) chain: &'a str,
    pub(super) dialect: Dialect,
}

type Answer<T> = rusqlite::Result<T>;

impl<'a> Query<'a> {
    fn prepare(&self, sql: &str) -> Answer<CachedStatement<'a>> {
        self.connection.prepare_cached(sql)
    }

    /// A number that differs when another connection has committed.
    pub(super) fn data_version(&self) -> Answer<i64> {
        self.prepare("PRAGMA data_version")?
            .query_row([], |row| row.get(0))
    }

    /// Whether the node has made its tables yet.
    pub(super) fn has_tables(&self) -> Answer<bool> {
        let sql = "SELECT COUNT(*) FROM sqlite_schema \
                   WHERE type = 'table' AND name IN ('block', 'transaction')";
        self.prepare(sql)?
            .query_row([], |row| row.get::<_, i64>(0))
            .map(|count| count == 2)
    }

    /// Whether the table of transactions has a column for their type.
    pub(super) fn has_type_column(&self) -> Answer<bool> {
        let sql = "SELECT COUNT(*) FROM pragma_table_info('transaction') WHERE name = 'type'";
        self.prepare(sql)?
            .query_row([], |row| row.get::<_, i64>(0))
            .map(|count| count > 0)
    }

    pub(super) fn head(&self) -> Answer<Option<BlockRow>> {
        Ok(self.blocks_down_from(u64::MAX, 1)?.pop())
    }

    pub(super) fn block(&self, height: u64) -> Answer<Option<BlockRow>> {
        Ok(self.blocks(height, height, 1)?.pop())
    }

    /// The blocks from one height to another, ascending.
    pub(super) fn blocks(&self, from: u64, to: u64, limit: usize) -> Answer<Vec<BlockRow>> {
        let sql = format!(
            "SELECT {BLOCK} FROM block \
             WHERE chain_id = ?1 AND height BETWEEN ?2 AND ?3 ORDER BY height LIMIT ?4"
        );
        let mut statement = self.prepare(&sql)?;
        let limit = to_sql(limit as u64);
        let rows = statement.query(params![self.chain, to_sql(from), to_sql(to), limit])?;
        collect(rows, block_row)
    }

    /// When the block at a height was made, as the node spells it.
    pub(super) fn time(&self, height: u64) -> Answer<Option<String>> {
        let sql = concat!(
            "SELECT ",
            short!("timestamp"),
            " FROM block WHERE chain_id = ?1 AND height = ?2"
        );
        self.prepare(sql)?
            .query_row(params![self.chain, to_sql(height)], |row| {
                Ok(text(row.get_ref(0)?).into_owned())
            })
            .optional()
    }

    /// At most `limit` blocks at or below a height, descending.
    pub(super) fn blocks_down_from(&self, height: u64, limit: usize) -> Answer<Vec<BlockRow>> {
        let sql = format!(
            "SELECT {BLOCK} FROM block \
             WHERE chain_id = ?1 AND height BETWEEN 0 AND ?2 ORDER BY height DESC LIMIT ?3"
        );
        let mut statement = self.prepare(&sql)?;
        let rows = statement.query(params![self.chain, to_sql(height), to_sql(limit as u64)])?;
        collect(rows, block_row)
    }

    /// The next blocks of any chain by row id, after `id`: the id, and the block if it belongs to
    /// this chain.
    pub(super) fn blocks_after_id(
        &self,
        id: i64,
        limit: usize,
    ) -> Answer<Vec<(i64, Option<BlockRow>)>> {
        let sql =
            format!("SELECT {BLOCK}, chain_id = ?1 FROM block WHERE id > ?2 ORDER BY id LIMIT ?3");
        let mut statement = self.prepare(&sql)?;
        let rows = statement.query(params![self.chain, id, to_sql(limit as u64)])?;
        collect(rows, |row| {
            let ours = integer(row.get_ref(5)?) == Some(1);
            Ok(Some((
                row.get(0)?,
                if ours { block_row(row)? } else { None },
            )))
        })
    }

    /// The mark of the block row with this id.
    pub(super) fn block_mark(&self, id: i64) -> Answer<Option<Mark>> {
        let sql = concat!(
            "SELECT ",
            short!("height"),
            ", ",
            short!("hash"),
            " FROM block WHERE id = ?1"
        );
        let mark = self.prepare(sql)?.query_row([id], |row| {
            let height = unsigned(row.get_ref(0)?).unwrap_or(u64::MAX);
            let hash = block_identity(&text(row.get_ref(1)?));
            Ok(Mark {
                id,
                print: print(hash.as_bytes(), height),
            })
        });
        mark.optional()
    }

    /// The highest row id of blocks, of any chain.
    pub(super) fn last_block_id(&self) -> Answer<i64> {
        self.prepare("SELECT MAX(id) FROM block")?
            .query_row([], |row| Ok(integer(row.get_ref(0)?).unwrap_or_default()))
    }

    /// A block's metadata. None: it has none, or it is too long to be read.
    pub(super) fn metadata(&self, id: i64) -> Answer<Option<Vec<u8>>> {
        let sql = "SELECT CASE WHEN octet_length(block_metadata) <= ?2 THEN block_metadata END \
                   FROM block WHERE id = ?1";
        let found = self
            .prepare(sql)?
            .query_row(params![id, LARGEST_METADATA], bytes)
            .optional()?;
        Ok(found.flatten())
    }

    /// Hands each transaction of a height to `take`, in order, and returns their summary.
    pub(super) fn transactions(
        &self,
        height: u64,
        mut take: impl FnMut(&PairRow<'_>) -> Answer<()>,
    ) -> Answer<Summary> {
        let sql = format!(
            "SELECT {PAIR} FROM \"transaction\" \
             WHERE block_height = ?1 AND +chain_id = ?2 ORDER BY id"
        );
        let mut statement = self.prepare(&sql)?;
        let mut rows = statement.query(params![to_sql(height), self.chain])?;
        let mut summary = Summary::default();
        while let Some(row) = rows.next()? {
            let row = pair_row(row)?;
            summary.add(row.id);
            take(&row)?;
        }
        Ok(summary)
    }

    /// Hands one transaction to `take`, if there is one with this row id.
    pub(super) fn transaction(
        &self,
        id: i64,
        take: impl FnOnce(&PairRow<'_>) -> Answer<()>,
    ) -> Answer<()> {
        let sql = format!("SELECT {PAIR} FROM \"transaction\" WHERE id = ?1");
        self.prepare(&sql)?
            .query_row([id], |row| take(&pair_row(row)?))
            .optional()
            .map(Option::unwrap_or_default)
    }

    /// The mark of the transaction row with this id.
    pub(super) fn transaction_mark(&self, id: i64) -> Answer<Option<Mark>> {
        let sql = format!("SELECT {MARK} FROM \"transaction\" WHERE id = ?1");
        let found = self.prepare(&sql)?.query_row([id], mark).optional()?;
        Ok(found.map(|(mark, _)| mark))
    }

    /// The next transactions of any chain by row id, after `id`: the id, and the height if the row
    /// belongs to this chain and has one.
    pub(super) fn transactions_after_id(
        &self,
        id: i64,
        limit: usize,
    ) -> Answer<Vec<(i64, Option<u64>)>> {
        let sql = concat!(
            "SELECT id, ",
            short!("block_height"),
            ", chain_id = ?1 FROM \"transaction\" WHERE id > ?2 ORDER BY id LIMIT ?3"
        );
        let mut statement = self.prepare(sql)?;
        let rows = statement.query(params![self.chain, id, to_sql(limit as u64)])?;
        collect(rows, |row| {
            let ours = integer(row.get_ref(2)?) == Some(1);
            let height = unsigned(row.get_ref(1)?).filter(|_| ours);
            Ok(Some((row.get(0)?, height)))
        })
    }

    /// The highest row id of transactions, of any chain, with its height.
    pub(super) fn last_transaction(&self) -> Answer<Option<(Mark, u64)>> {
        let sql = format!("SELECT {MARK} FROM \"transaction\" ORDER BY id DESC LIMIT 1");
        self.prepare(&sql)?.query_row([], mark).optional()
    }

    /// The summary of each block's transactions, from one height to another, from their row ids. A
    /// block without any is left out.
    pub(super) fn summaries(&self, from: u64, to: u64) -> Answer<HashMap<u64, Summary>> {
        let sql = "SELECT block.height, \"transaction\".id FROM block CROSS JOIN \"transaction\" \
                   ON block_height = height AND +\"transaction\".chain_id = ?1 \
                   WHERE block.chain_id = ?1 AND height BETWEEN ?2 AND ?3 \
                   ORDER BY height, \"transaction\".id";
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(params![self.chain, to_sql(from), to_sql(to)])?;
        let mut summaries = HashMap::<_, Summary>::new();
        while let Some(row) = rows.next()? {
            if let Some(height) = unsigned(row.get_ref(0)?) {
                summaries.entry(height).or_default().add(row.get(1)?);
            }
        }
        Ok(summaries)
    }

    /// The summary of a height's transactions.
    pub(super) fn summary(&self, height: u64) -> Answer<Summary> {
        let found = self.summaries(height, height)?.remove(&height);
        Ok(found.unwrap_or_default())
    }

    /// A transaction's `tx_hash`, where it is well formed, and where it is read from. None: its payload is
    /// not text, or too long to be read.
    pub(super) fn stored(
        &self,
        id: i64,
    ) -> Answer<(Option<TransactionHash>, Option<Form<'static>>)> {
        if dialect::has_columns(self.dialect) {
            return self.columns(id);
        }
        let sql = concat!(
            "SELECT CASE WHEN octet_length(payload) <= ?2 THEN payload END, ",
            short!("tx_hash"),
            " FROM \"transaction\" WHERE id = ?1"
        );
        self.prepare(sql)?
            .query_row(params![id, LARGEST_PAYLOAD], |row| {
                let hash = text(row.get_ref(1)?).parse().ok();
                Ok((hash, bytes(row)?.map(|text| Form::Stored(text.into()))))
            })
    }

    fn columns(&self, id: i64) -> Answer<(Option<TransactionHash>, Option<Form<'static>>)> {
        let sql = concat!(
            "SELECT CASE WHEN octet_length(payload) <= ?2 THEN payload END, ",
            short!("tx_hash"),
            ", ",
            short!("chain_id"),
            ", ",
            short!("sender"),
            ", ",
            short!("recipient"),
            ", ",
            short!("value"),
            ", ",
            short!("fee"),
            ", ",
            short!("nonce"),
            ", ",
            short!("type"),
            " FROM \"transaction\" WHERE id = ?1"
        );
        self.prepare(sql)?
            .query_row(params![id, LARGEST_PAYLOAD], |row| {
                let hash = text(row.get_ref(1)?).parse().ok();
                let Some(payload) = bytes(row)? else {
                    return Ok((hash, None));
                };
                let mut columns = Vec::with_capacity(COLUMNS.len());
                let (mut payload, mut at) = (Some(payload), 2);
                for (name, key) in COLUMNS {
                    let json = match name {
                        "payload" => payload.take(),
                        _ => {
                            let value = row.get_ref(at)?;
                            at += 1;
                            match name {
                                "value" | "fee" | "nonce" => {
                                    integer(value).map(|number| number.to_string().into_bytes())
                                }
                                _ => Some(Json::string(text(value)).to_compact().into_bytes()),
                            }
                        }
                    };
                    columns.extend(json.map(|json| (key, Cow::Owned(json))));
                }
                Ok((hash, Some(Form::Columns(columns))))
            })
    }
}

/// All rows for which `read` returns a value.
fn collect<T>(
    mut rows: rusqlite::Rows<'_>,
    mut read: impl FnMut(&SqlRow<'_>) -> Answer<Option<T>>,
) -> Answer<Vec<T>> {
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.extend(read(row)?);
    }
    Ok(found)
}

/// A block. None: its height is not a height.
fn block_row(row: &SqlRow<'_>) -> Answer<Option<BlockRow>> {
    let Some(height) = unsigned(row.get_ref(1)?) else {
        return Ok(None);
    };
    let hash: BlockHash = block_identity(&text(row.get_ref(2)?));
    Ok(Some(BlockRow {
        id: row.get(0)?,
        head: Head {
            height: BlockHeight(height),
            hash,
            tx_count: unsigned(row.get_ref(3)?).unwrap_or_default(),
        },
        metadata_bytes: integer(row.get_ref(4)?).unwrap_or_default(),
    }))
}

fn pair_row<'a>(row: &'a SqlRow<'_>) -> Answer<PairRow<'a>> {
    Ok(PairRow {
        id: row.get(0)?,
        sender: text(row.get_ref(1)?),
        recipient: text(row.get_ref(2)?),
    })
}

/// A transaction's mark, and its height.
fn mark(row: &SqlRow<'_>) -> Answer<(Mark, u64)> {
    let id = row.get(0)?;
    let height = unsigned(row.get_ref(2)?).unwrap_or(u64::MAX);
    let print = print(text(row.get_ref(1)?).as_bytes(), height);
    Ok((Mark { id, print }, height))
}

fn bytes(row: &SqlRow<'_>) -> Answer<Option<Vec<u8>>> {
    use rusqlite::types::ValueRef;
    Ok(match row.get_ref(0)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
        // A payload that is a bare number or null is stored in the column as such.
        ValueRef::Integer(number) => Some(number.to_string().into_bytes()),
        ValueRef::Real(_) | ValueRef::Null => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys and indexes of the node's schema.
    const SCHEMA: &str = r#"
        CREATE TABLE block (id INTEGER PRIMARY KEY, chain_id, height, hash UNIQUE, parent_hash,
            proposer, timestamp, tx_count, state_root, block_metadata, UNIQUE (chain_id, height));
        CREATE INDEX ix_block_height ON block (height);
        CREATE TABLE "transaction" (id INTEGER PRIMARY KEY, chain_id, tx_hash, block_height, sender,
            recipient, payload, created_at, nonce, value, fee, status, timestamp, tx_metadata,
            UNIQUE (chain_id, tx_hash));
        CREATE INDEX ix_transaction_created_at ON "transaction" (created_at);
        CREATE INDEX ix_transaction_tx_hash ON "transaction" (tx_hash);
        CREATE INDEX ix_transaction_block_height ON "transaction" (block_height);
        CREATE INDEX ix_transaction_chain_id ON "transaction" (chain_id);"#;

    /// How many instructions of SQLite's virtual machine `job` takes, in thousands.
    fn effort(connection: &mut Connection, job: impl FnOnce(Query<'_>)) -> usize {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let each = move || {
            counter.fetch_add(1, Ordering::SeqCst);
            false
        };
        connection.progress_handler(1_000, Some(each)).unwrap();
        job(Query {
            connection,
            chain: "ait-test",
            dialect: Dialect::April2026,
        });
        connection
            .progress_handler(1_000, None::<fn() -> bool>)
            .unwrap();
        count.load(Ordering::SeqCst)
    }

    #[test]
    fn no_statement_walks_the_chain() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        let fill = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 49999) \
                    INSERT INTO block (chain_id, height, hash, tx_count, block_metadata) \
                    SELECT 'ait-test', i, 'b' || i, 1, 'x' FROM n; \
                    INSERT INTO \"transaction\" (chain_id, tx_hash, block_height, sender, recipient, \
                    payload) SELECT 'ait-test', 't' || height, height, 'a', 'b', '{}' FROM block";
        connection.execute_batch(fill).unwrap();
        let effort = effort(&mut connection, |query| {
            assert!(query.has_tables().unwrap());
            assert_eq!(query.head().unwrap().unwrap().height(), 49_999);
            assert_eq!(query.block(25_000).unwrap().unwrap().height(), 25_000);
            assert!(query.time(25_000).unwrap().is_some());
            assert_eq!(query.blocks(49_936, 49_999, 500).unwrap().len(), 64);
            assert_eq!(query.blocks_down_from(25_000, 64).unwrap().len(), 64);
            assert_eq!(query.last_block_id().unwrap(), 50_000);
            assert!(query.block_mark(30_000).unwrap().is_some());
            assert!(query.metadata(30_000).unwrap().is_some());
            assert_eq!(query.blocks_after_id(49_990, 100).unwrap().len(), 10);
            assert_eq!(query.transactions(25_000, |_| Ok(())).unwrap().count(), 1);
            query.transaction(25_000, |_| Ok(())).unwrap();
            assert!(query.transaction_mark(25_000).unwrap().is_some());
            assert_eq!(query.transactions_after_id(49_990, 100).unwrap().len(), 10);
            assert_eq!(query.last_transaction().unwrap().unwrap().1, 49_999);
            assert_eq!(query.summaries(25_000, 25_063).unwrap().len(), 64);
            assert!(query.stored(25_000).unwrap().1.is_some());
        });
        // A scan of 50,000 rows takes at least 50,000 instructions.
        assert!(effort < 20, "{effort} thousand instructions");
    }

    #[test]
    fn summaries_are_those_of_the_rows() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        let fill = "INSERT INTO \"transaction\" (id, chain_id, tx_hash, block_height) VALUES \
                    (3, 'ait-test', 'a', 1), (9, 'ait-test', 'b', 1), (10, 'other', 'c', 1), \
                    (11, 'ait-test', 'd', 2), (12, 'ait-test', 'e', 3); \
                    INSERT INTO block (chain_id, height, hash) VALUES ('ait-test', 1, 'a'), \
                    ('ait-test', 2, 'b'), ('other', 2, 'c'), ('ait-test', 4, 'd')";
        connection.execute_batch(fill).unwrap();
        let query = Query {
            connection: &connection,
            chain: "ait-test",
            dialect: Dialect::April2026,
        };
        let summary = |height| query.transactions(height, |_| Ok(())).unwrap();
        assert_eq!(summary(1).highest_id(), Some(9));
        let all = [(1, summary(1)), (2, summary(2))].into();
        assert_eq!(query.summaries(0, 9).unwrap(), all);
        assert_eq!(query.summary(4).unwrap(), Summary::default());
    }
}
