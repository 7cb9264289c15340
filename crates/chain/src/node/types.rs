//! The types of a node's answers.

use std::collections::HashSet;

use agentry_protocol::{
    Address, BlockHash, BlockHeight, Nonce, StoredTransaction, Timestamp, TransactionHash,
};

/// The newest block of a chain, or any block known by its header alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its height; block 0 is the genesis.
    pub height: BlockHeight,
    /// Its hash.
    pub hash: BlockHash,
    /// How many transactions the block counts. It may show fewer (hazard 4 in `docs/hazards.md`).
    pub tx_count: u64,
}

/// A block as a node shows it.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its height.
    pub height: BlockHeight,
    /// Its hash.
    pub hash: BlockHash,
    /// The hash of the block before it. None: the call does not say (blocks-range), the node does
    /// not know (a follower), or it is the genesis, whose parent `0x00` is not a hash.
    pub parent_hash: Option<BlockHash>,
    /// Who proposed it; empty where the node does not say.
    pub proposer: String,
    /// When, as the node spells it (ISO 8601, UTC without an offset).
    pub timestamp: String,
    /// How many transactions the block counts.
    pub tx_count: u64,
    /// The transactions that the node shows. None: it sent no such field (nodes before 2026-04-10).
    pub transactions: Option<Vec<BlockTransaction>>,
    /// How many more it shows that are not listed here: unreadable ones beyond the first 500, and
    /// all beyond 16 MiB.
    pub unlisted: u64,
}

impl Block {
    /// Whether the node shows all transactions that the block counts, and all are listed here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let listed = self.transactions.as_ref().map_or(0, Vec::len) as u64;
        self.unlisted == 0 && listed >= self.tx_count
    }
}

impl Block {
    /// When it was made. None: the node's time cannot be read.
    #[must_use]
    pub fn made_at(&self) -> Option<Timestamp> {
        crate::source::read_time(&self.timestamp)
    }
}

/// One transaction of a [`Block`].
#[derive(Debug, Clone)]
pub struct BlockTransaction {
    /// Its hash: the node's `tx_hash` where that is well formed, else the stored form's, or the digest
    /// where the signature is unknown. None: neither could be read.
    pub hash: Option<TransactionHash>,
    /// The transaction, or the reason why it cannot be read.
    pub stored: Result<StoredTransaction, String>,
}

/// The state of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its address.
    pub address: Address,
    /// Its balance in the [unit](agentry_protocol::Dialect::unit) of the dialect, saturated to 128 bits. It can be negative after hostile
    /// transactions.
    pub balance: i128,
    /// The account's counter of mined transactions.
    pub nonce: Nonce,
    /// False: the chain has never seen the address.
    pub exists: bool,
}

/// The content of a mempool.
#[derive(Debug, Clone)]
pub struct Mempool {
    /// The pending transactions that can be decoded, with their signatures, highest fee first.
    pub transactions: Vec<StoredTransaction>,
    /// The hashes of all of them.
    pub hashes: HashSet<TransactionHash>,
    /// How many the node listed, undecodable ones included.
    pub count: u64,
    /// How many of those could not be decoded.
    pub undecodable: u64,
    /// Whether this is the whole mempool: the node listed fewer than the limit.
    pub complete: bool,
}

/// A transaction looked up by its hash (later nodes only).
#[derive(Debug, Clone)]
pub struct FoundTransaction {
    /// The requested hash.
    pub hash: TransactionHash,
    /// The block that holds it. None: still pending, or the node does not say.
    pub height: Option<BlockHeight>,
    /// Its status, as the node spells it.
    pub status: Option<String>,
    /// The transaction, where the answer carries it.
    pub stored: Option<StoredTransaction>,
}

/// The result of importing a block into a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOutcome {
    /// The height under which the node stored it.
    pub height: BlockHeight,
    /// Its hash, as the node spells it.
    pub hash: String,
    /// Whether the node already had it.
    pub already_exists: bool,
}

/// What a node reports about itself. None of it proves which chain it serves: a chain is identified
/// by the hash of its block 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// `ok` when the node is healthy.
    pub status: String,
    /// Not to be trusted: defaults to `ait-devnet` on every node.
    pub supported_chains: Vec<String>,
    /// Who proposes blocks there.
    pub proposer_id: Option<String>,
}
