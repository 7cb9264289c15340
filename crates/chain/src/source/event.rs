//! The events that a source delivers.

use agentry_protocol::{BlockHash, BlockHeight, StoredTransaction, TransactionHash};

use crate::node::Head;
use crate::source::Cursor;

/// About how many bytes of transactions one read delivers: so a sender of 1 MB transactions cannot
/// fill a reader's memory with as many of them as the reader asks for.
pub(crate) const BYTES_PER_READ: usize = 16 << 20;

/// The result of one [`read`](crate::ChainSource::read).
#[derive(Debug, Clone)]
pub struct Batch {
    /// The events, in order. A reader applies them and stores [`Batch::cursor`] in one step.
    pub events: Vec<ChainEvent>,
    /// The position after these events. It has to be stored even if there are none: it still moves.
    pub cursor: Cursor,
    /// The last block that has been read. None: none yet. Of a block that became a
    /// [gap](ChainEvent::Gap) before even its hash was known, the hash is all zeros here.
    pub read_through: Option<Head>,
    /// There is more to read at once.
    pub more: bool,
    /// By how many blocks the chain is shorter than before, although none of its blocks was
    /// replaced: the node is behind, or was restored from an older copy. Nothing is withdrawn;
    /// reading continues when the node has caught up.
    pub behind: u64,
}

/// Something that happened on the chain.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every event is a transaction"
)]
pub enum ChainEvent {
    /// A transaction that the interest wants. It may be delivered again: (hash, height) identifies
    /// it.
    Transaction(ChainTransaction),
    /// Every transaction reported at a height above `above` is no longer on the chain: a block that
    /// had been read was replaced by another. The new blocks' transactions follow. A chain that is
    /// only shorter withdraws nothing; see [`Batch::behind`].
    Withdrawn {
        /// The highest block that is still on the chain. None: there is none, the chain was reset.
        above: Option<BlockHeight>,
        /// How many heights that had been read were withdrawn.
        depth: u64,
    },
    /// Transactions of a block that cannot be decoded. The block's other transactions are
    /// delivered.
    Undecodable {
        /// The block that holds them.
        height: BlockHeight,
        /// How many there are.
        count: u64,
        /// The first ones: at least one, at most 500.
        first: Vec<Undecodable>,
    },
    /// A block that the source could not read whole. Reading continues; the block is tried again.
    Gap {
        /// The block.
        height: BlockHeight,
        /// Why: one line, bounded.
        reason: String,
    },
    /// An earlier gap has been read; its transactions were delivered just before, as late ones.
    GapFilled {
        /// The block.
        height: BlockHeight,
    },
}

/// A transaction that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// Its hash, where the chain names one.
    pub hash: Option<TransactionHash>,
    /// What is wrong with it: one line, bounded.
    pub reason: String,
}

/// A transaction and its place on the chain.
#[derive(Debug, Clone)]
pub struct ChainTransaction {
    /// Its identity: the chain's `tx_hash` where that is well formed, else the stored form's hash.
    pub hash: TransactionHash,
    /// The transaction itself.
    pub stored: StoredTransaction,
    /// The block that holds it.
    pub height: BlockHeight,
    /// That block's hash.
    pub block_hash: BlockHash,
    /// Whether its height had already been read when it appeared: it is out of order.
    pub late: bool,
}
