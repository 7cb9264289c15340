//! The chain's state: chain.db and mempool.db, changed by one writer at a time.
//!
//! A block, its transaction rows and its account changes are one SQLite transaction on chain.db;
//! the mempool's deletions follow in the other file. A crash in between leaves mined transactions
//! in mempool.db, and [`Chain::open`] removes them, so nothing is mined twice.

pub(crate) mod accounts;
pub(crate) mod blocks;
mod error;
pub(crate) mod mempool;
pub(crate) mod schema;

use std::path::Path;

use agentry_protocol::{BlockHeight, ChainId, Dialect, block_hash};

use rusqlite::Connection;

pub use error::ChainError;
pub(crate) use error::Doing;

use crate::clock;
use crate::dialect;
use accounts::{Credit, Transfer};
use blocks::{BlockRow, TransactionRow};
use mempool::{Mempool, Pending};

/// The `parent_hash` of genesis.
pub(crate) const GENESIS_PARENT: &str = "0x00";

/// The writer of chain.db and mempool.db.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) id: ChainId,
    pub(crate) dialect: Dialect,
    pub(crate) db: Connection,
    pub(crate) pool: Mempool,
    /// The sum of all credits, on a node that grants them.
    credited: i64,
    /// Rows that the fault `late-rows` holds back, each block's with the height at which they are
    /// written.
    late: Vec<(u64, Vec<TransactionRow>)>,
}

impl Chain {
    /// Opens both databases, and removes transactions from the mempool that are already mined.
    /// `Err(Ok(id))` means that the directory holds another chain.
    pub(crate) fn open(
        dir: &Path,
        id: &ChainId,
        dialect: Dialect,
    ) -> Result<Chain, Result<String, ChainError>> {
        let db = schema::open_chain(&dir.join("chain.db"), dialect).map_err(Err)?;
        if let Some(other) = blocks::other_chain(&db, id.as_str()).map_err(Err)? {
            return Err(Ok(other));
        }
        let credited = accounts::credited(&db).map_err(Err)?;
        let pool = Mempool::open(&dir.join("mempool.db"), id.as_str()).map_err(Err)?;
        let mut chain = Chain {
            id: id.clone(),
            dialect,
            db,
            pool,
            credited,
            late: Vec::new(),
        };
        chain.drop_mined_from_pool().map_err(Err)?;
        Ok(chain)
    }

    fn drop_mined_from_pool(&mut self) -> Result<(), ChainError> {
        let mut mined = Vec::new();
        for pending in self.pool.iter() {
            if blocks::is_mined(&self.db, self.id.as_str(), &pending.hash)? {
                mined.push(pending.hash.clone());
            }
        }
        if !mined.is_empty() {
            tracing::info!(
                count = mined.len(),
                "removed mempool rows that were mined before the last stop"
            );
            self.pool.remove(&mined)?;
        }
        Ok(())
    }

    /// The head, if there is a block.
    pub(crate) fn head(&self) -> Result<Option<BlockRow>, ChainError> {
        blocks::head(&self.db, self.id.as_str())
    }

    /// Creates genesis and the first credits, unless there are blocks already.
    pub(crate) fn begin(
        &mut self,
        credits: &[(String, i64)],
        proposer: &str,
    ) -> Result<(), ChainError> {
        if self.head()?.is_some() {
            return Ok(());
        }
        let hash = block_hash(
            &self.id,
            BlockHeight(0),
            GENESIS_PARENT,
            clock::GENESIS_ISO,
            [],
        );
        let identity = hash;
        let genesis = BlockRow {
            height: 0,
            hash: hash.to_string(),
            parent_hash: GENESIS_PARENT.to_owned(),
            proposer: proposer.to_owned(),
            timestamp: clock::db_from_iso(clock::GENESIS_ISO).unwrap_or_default(),
            tx_count: 0,
            state_root: None,
            metadata: None,
            signature: None,
        };
        let now = clock::db_text(clock::now_micros());
        let transaction = self.db.unchecked_transaction().doing("making genesis")?;
        let genesis = dialect::signed(self.dialect, genesis, &identity);
        blocks::insert(&transaction, self.id.as_str(), &genesis)?;
        for (address, amount) in credits {
            accounts::credit(&transaction, self.id.as_str(), None, address, *amount, &now)?;
        }
        transaction.commit().doing("making genesis")?;
        self.credited += credits.iter().map(|(_, amount)| amount).sum::<i64>();
        Ok(())
    }

    /// Credits an account with new coins.
    pub(crate) fn credit(&mut self, address: &str, amount: u64) -> Result<i64, ChainError> {
        let left = i64::MAX - self.credited;
        let amount = i64::try_from(amount)
            .ok()
            .filter(|amount| (1..=left).contains(amount))
            .ok_or(ChainError::Credit { amount, left })?;
        let now = clock::db_text(clock::now_micros());
        let transaction = self
            .db
            .unchecked_transaction()
            .doing("crediting an account")?;
        accounts::credit(&transaction, self.id.as_str(), None, address, amount, &now)?;
        transaction.commit().doing("crediting an account")?;
        self.credited += amount;
        Ok(accounts::get(&self.db, self.id.as_str(), address)?
            .unwrap_or_default()
            .balance)
    }

    /// Holds rows back until a height.
    pub(crate) fn hold_rows(&mut self, until: u64, rows: Vec<TransactionRow>) {
        self.late.push((until, rows));
    }

    /// Writes the rows that were held back until a height at most (all with `None`).
    pub(crate) fn release_rows(&mut self, height: Option<u64>) -> Result<(), ChainError> {
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(until, _)| height.is_none_or(|height| *until <= height));
        self.late = later;
        if due.is_empty() {
            return Ok(());
        }
        let written = self.write_late(&due);
        if written.is_err() {
            // They stay held back and are not lost.
            self.late.extend(due);
        }
        written
    }

    fn write_late(&self, due: &[(u64, Vec<TransactionRow>)]) -> Result<(), ChainError> {
        let transaction = self.db.unchecked_transaction().doing("writing late rows")?;
        let now = clock::db_text(clock::now_micros());
        for row in due.iter().flat_map(|(_, rows)| rows) {
            // While it was held back, nothing showed that it was mined: it may have been posted,
            // and mined, again.
            if blocks::is_mined(&transaction, self.id.as_str(), &row.hash)? {
                continue;
            }
            let row = TransactionRow {
                created_at: now.clone(),
                ..row.clone()
            };
            blocks::insert_row(&transaction, self.id.as_str(), &row)?;
        }
        transaction.commit().doing("writing late rows")
    }

    /// Reverts every block above a height: rows are deleted and transfers reverted. The orphaned
    /// transactions go back to the mempool, or are lost. Returns how many blocks were reverted.
    pub(crate) fn roll_back_to(
        &mut self,
        height: u64,
        keep_orphans: bool,
    ) -> Result<u64, ChainError> {
        self.release_rows(None)?;
        let head = self.head()?.ok_or(ChainError::Empty)?;
        let id = self.id.as_str();
        let mut orphans = Vec::new();
        let now = clock::db_text(clock::now_micros());
        let transaction = self.db.unchecked_transaction().doing("reverting blocks")?;
        for height in (height.saturating_add(1)..=head.height).rev() {
            let mut rows = blocks::rows(&transaction, id, height)?;
            rows.reverse();
            for row in rows {
                let transfer = Transfer {
                    sender: &row.sender,
                    recipient: &row.recipient,
                    value: row.value,
                    fee: row.fee,
                };
                accounts::undo(&transaction, id, transfer, &now)?;
                match dialect::stored(&self.id, self.dialect, &row) {
                    Ok(stored) => {
                        let digest = stored.digest().to_string();
                        let verified = accounts::mined_digest(&transaction, &digest)?
                            .is_some_and(|mined| mined.verified);
                        accounts::delete_digest(&transaction, &row.hash, &digest)?;
                        orphans.push(Pending::new(stored, verified, seconds_now()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, hash = row.hash, "an orphaned row is not a transaction; it is lost");
                    }
                }
            }
        }
        blocks::delete_above(&transaction, id, height)?;
        // Oldest first, so that they keep their order among equal fees. They go into the mempool
        // before the commit: after a crash in between they are still mined, and `open` removes
        // them.
        orphans.reverse();
        let hashes: Vec<_> = orphans.iter().map(|orphan| orphan.hash.clone()).collect();
        if keep_orphans {
            self.pool.add_all(orphans)?;
        }
        if let Err(error) = transaction.commit().doing("reverting blocks") {
            if keep_orphans {
                self.pool.remove(&hashes)?;
            }
            return Err(error);
        }
        Ok(head.height.saturating_sub(height))
    }

    /// Adds a leader's new credits to the accounts.
    pub(crate) fn repeat_credits(&self, credits: &[Credit], now: &str) -> Result<(), ChainError> {
        for credit in credits {
            accounts::credit(
                &self.db,
                self.id.as_str(),
                Some(credit.id),
                &credit.address,
                credit.amount,
                now,
            )?;
        }
        Ok(())
    }
}

/// Unix time in seconds, as mempool.db keeps it.
pub(crate) fn seconds_now() -> f64 {
    clock::now_micros() as f64 / 1e6
}
