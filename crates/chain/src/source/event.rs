//! What a source delivers.

use agentry_protocol::{BlockHash, BlockHeight, StoredTransaction, TransactionHash};

use crate::node::Head;
use crate::source::Cursor;

/// How many bytes of transactions one read delivers, softly: whoever sends transactions of 1 MB
/// fills no reader's memory with as many of them as are asked for.
pub(crate) const BYTES_PER_READ: usize = 16 << 20;

/// The answer to one [`read`](crate::ChainSource::read).
#[derive(Debug, Clone)]
pub struct Batch {
    /// What happened, in order. A reader applies them and stores [`Batch::cursor`] in one step.
    pub events: Vec<ChainEvent>,
    /// The position after these events. To be stored even when there are none: it moves on.
    pub cursor: Cursor,
    /// The last block that has been read. None: none yet. Of a block that became a
    /// [gap](ChainEvent::Gap) before even its hash was known, the hash is all zeros here.
    pub read_through: Option<Head>,
    /// There is more to read at once.
    pub more: bool,
    /// How many blocks the chain that was read now is shorter than what was read of it before,
    /// although no block of it is another: a node that is behind, or one that was restored from an
    /// older copy. What was read stays read; reading goes on when the node has caught up.
    pub behind: u64,
}

/// Something that happened on the chain.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every event is a transaction"
)]
pub enum ChainEvent {
    /// A transaction that the interest wants. It may come again: (hash, height) tells.
    Transaction(ChainTransaction),
    /// Every transaction reported at a height above `above` is no longer on the chain: another block
    /// stands where one of those was that had been read. What stands there now follows. A chain that
    /// is merely shorter withdraws nothing; see [`Batch::behind`].
    Withdrawn {
        /// The highest block that still stands. None: none does, the chain was reset.
        above: Option<BlockHeight>,
        /// How many heights that had been read were withdrawn.
        depth: u64,
    },
    /// Transactions of a block that cannot be decoded. Their neighbours go on.
    Undecodable {
        /// The block that holds them.
        height: BlockHeight,
        /// How many there are.
        count: u64,
        /// The first ones: at least one, at most 500.
        first: Vec<Undecodable>,
    },
    /// A block that the source could not be given whole. Reading goes on; it is tried again.
    Gap {
        /// Which block.
        height: BlockHeight,
        /// Why: one line, bounded.
        reason: String,
    },
    /// An earlier gap can be read now; its transactions came just before, as late ones.
    GapFilled {
        /// Which block.
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

/// A transaction and where it stands.
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
    /// It came when its height had been passed already, so it is out of order.
    pub late: bool,
}
