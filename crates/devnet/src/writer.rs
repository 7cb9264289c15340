//! [`BlockWriter`]: writes blocks to a chain.db directly, many thousand transactions in one commit.

use std::time::Instant;

use agentry_protocol::{BlockHeight, ChainId, Dialect, StoredTransaction};
use rusqlite::{Connection, TransactionBehavior};

use crate::chain::blocks::{self, BlockRow, TransactionRow};
use crate::chain::{ChainError, Doing as _, schema};
use crate::clock;
use crate::config::DevnetConfig;
use crate::dialect;
use crate::error::DevnetError;
use crate::handle::{lock_directory, open_chain};
use crate::rules::MAX_BLOCK_TRANSACTIONS;

/// Writes blocks as a node does, without its rules: signatures, balances and duplicates are not
/// checked, and no account changes. For measurements and tests that need more transactions than
/// can be posted.
#[derive(Debug)]
pub struct BlockWriter {
    db: Connection,
    id: ChainId,
    dialect: Dialect,
}

impl BlockWriter {
    /// Opens the chain in a node's folder, and creates it with its allocations if there is none.
    /// A node may be started on it afterwards; both may then write blocks.
    ///
    /// # Errors
    /// As [`Devnet::start`](crate::Devnet::start), as far as the databases are concerned.
    pub fn open(config: &DevnetConfig) -> Result<Self, DevnetError> {
        // Held until the chain is complete.
        let _lock = lock_directory(&config.dir)?;
        let chain = open_chain(config)?;
        Ok(Self {
            db: chain.db,
            id: chain.id,
            dialect: config.dialect,
        })
    }

    /// The height of the newest block, whoever wrote it.
    ///
    /// # Errors
    /// The database fails.
    pub fn height(&self) -> Result<BlockHeight, ChainError> {
        let head = blocks::head(&self.db, self.id.as_str())?;
        head.map(|head| BlockHeight(head.height))
            .ok_or(ChainError::Empty)
    }

    /// Adds these transactions in full blocks, all in one commit; without any, one empty block.
    /// Returns the time of the commit.
    ///
    /// # Errors
    /// The database fails, or a transaction is on the chain already.
    pub fn add(
        &mut self,
        transactions: impl IntoIterator<Item = StoredTransaction>,
    ) -> Result<Instant, ChainError> {
        const DOING: &str = "writing blocks";
        // The head cannot move while this holds the lock.
        let writing = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .doing(DOING)?;
        let mut head = blocks::head(&writing, self.id.as_str())?.ok_or(ChainError::Empty)?;
        let mut transactions = transactions.into_iter().peekable();
        loop {
            let block = transactions.by_ref().take(MAX_BLOCK_TRANSACTIONS);
            head = insert(&writing, &self.id, self.dialect, &head, block)?;
            if transactions.peek().is_none() {
                break;
            }
        }
        writing.commit().doing(DOING)?;
        Ok(Instant::now())
    }

    /// Like [`add`](Self::add), for millions of them: without durability, and with most indexes
    /// built afterwards. Nobody else may have the chain open.
    ///
    /// # Errors
    /// As [`add`](Self::add). The file is unusable afterwards.
    pub fn add_in_bulk(
        &mut self,
        transactions: impl IntoIterator<Item = StoredTransaction>,
    ) -> Result<(), ChainError> {
        const FAST: &str = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
            PRAGMA cache_size = -1000000;
            DROP INDEX ix_transaction_created_at; DROP INDEX ix_transaction_tx_hash;
            DROP INDEX ix_transaction_block_height; DROP INDEX ix_transaction_chain_id;";
        const USUAL: &str = "PRAGMA cache_size = -2000; PRAGMA synchronous = NORMAL;";
        self.db.execute_batch(FAST).doing("preparing the chain")?;
        self.add(transactions)?;
        schema::complete_chain(&self.db)?;
        self.db.execute_batch(USUAL).doing("completing the chain")
    }

    /// Reads every transaction row, as plain SQL does. Returns how many there are, and the size in
    /// bytes of their stored forms together.
    ///
    /// # Errors
    /// The database fails.
    pub fn read_all(&self) -> Result<(u64, u64), ChainError> {
        let read = || -> rusqlite::Result<(u64, u64)> {
            let mut all = self.db.prepare_cached(
                "SELECT tx_hash, block_height, sender, recipient, payload FROM \"transaction\"",
            )?;
            let mut found = all.query([])?;
            let (mut rows, mut bytes) = (0, 0);
            while let Some(row) = found.next()? {
                for column in [0, 2, 3] {
                    row.get_ref(column)?.as_str()?;
                }
                rows += 1;
                bytes += row.get_ref(4)?.as_str()?.len() as u64;
            }
            Ok((rows, bytes))
        };
        read().doing("reading all transactions")
    }
}

/// Writes the block after `parent`, and returns it.
fn insert(
    db: &Connection,
    id: &ChainId,
    dialect: Dialect,
    parent: &BlockRow,
    transactions: impl Iterator<Item = StoredTransaction>,
) -> Result<BlockRow, ChainError> {
    let now = clock::db_text(clock::now_micros());
    let height = parent.height + 1;
    let mut hashes = Vec::new();
    for transaction in transactions {
        let row = dialect::row(&transaction, transaction.hash().to_string(), &now);
        let row = TransactionRow {
            height: Some(height),
            ..row
        };
        blocks::insert_row(db, id.as_str(), &row)?;
        hashes.push(row.hash);
    }
    let hashes = hashes.iter().map(String::as_str);
    let (block, _) = BlockRow::after(dialect, parent, id, &parent.proposer, &now, hashes);
    blocks::insert(db, id.as_str(), &block)?;
    Ok(block)
}
