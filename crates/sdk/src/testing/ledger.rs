//! The simulated chain: a pool of posted transactions, and blocks.

use agentry_protocol::{BlockHeight, MessageDigest, TransactionHash};

use super::builder::Written;

/// A transaction.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) hash: TransactionHash,
    pub(super) digest: MessageDigest,
    pub(super) written: Written,
}

impl Transaction {
    pub(super) fn new(written: Written) -> Self {
        let digest = written.stored.digest();
        Self {
            hash: TransactionHash::of(digest.as_bytes()),
            digest,
            written,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Posted transactions that are not in a block.
    pub(super) pool: Vec<Transaction>,
    /// The blocks, from block 1.
    blocks: Vec<Vec<Transaction>>,
}

impl Ledger {
    pub(super) fn height(&self) -> BlockHeight {
        BlockHeight(u64::try_from(self.blocks.len()).unwrap_or(u64::MAX))
    }

    pub(super) fn post(&mut self, transaction: Transaction) {
        self.pool.push(transaction);
    }

    /// Mines the whole pool into a block. A transaction that is in a block already is left out:
    /// the chain contains each hash only once.
    pub(super) fn mine(&mut self) -> Vec<Transaction> {
        let mut block: Vec<Transaction> = Vec::new();
        for transaction in std::mem::take(&mut self.pool) {
            if !self.holds(transaction.hash)
                && block.iter().all(|other| other.hash != transaction.hash)
            {
                block.push(transaction);
            }
        }
        self.blocks.push(block.clone());
        block
    }

    /// Removes the last blocks and returns them, lowest first.
    pub(super) fn withdraw(&mut self, blocks: usize) -> Vec<Vec<Transaction>> {
        let keep = self.blocks.len().saturating_sub(blocks);
        self.blocks.split_off(keep)
    }

    /// Appends a block.
    pub(super) fn append(&mut self, block: Vec<Transaction>) {
        self.blocks.push(block);
    }

    pub(super) fn holds(&self, hash: TransactionHash) -> bool {
        self.transactions()
            .any(|transaction| transaction.hash == hash)
    }

    pub(super) fn find(&self, hash: TransactionHash) -> Option<&Transaction> {
        self.transactions()
            .chain(&self.pool)
            .find(|transaction| transaction.hash == hash)
    }

    pub(super) fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.blocks.iter().flatten()
    }
}
