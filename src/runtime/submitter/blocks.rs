//! The last check before bytes are posted again: the blocks themselves.
//!
//! A source skips blocks that it could not read whole: a node may count transactions in a block
//! whose rows it writes later or has lost (docs/hazards.md#hazard-4, docs/hazards.md#hazard-5). The
//! source has not seen a transaction in such a block, and the mempool does not contain it, although
//! it is mined. So the posting node is asked for the blocks that may contain it, and the
//! transaction counts as absent only if each of these blocks shows as many transactions as it
//! counts.

use std::collections::{BTreeSet, HashMap};

use agentry_chain::{Block, NodeClient, NodeError};
use agentry_protocol::{BlockHash, BlockHeight, TransactionHash};

/// How many blocks below the head are examined: the depth to which every source notices late rows.
/// Below it only the source's gaps are in doubt.
const WINDOW: u64 = 64;

/// How many blocks are requested at a time.
const PIECE: u64 = 8;

/// The transactions that the posting node's blocks show.
#[derive(Debug, Default)]
pub struct Blocks {
    standing: HashMap<TransactionHash, (BlockHeight, BlockHash)>,
    /// The blocks that the node does not show whole.
    doubtful: BTreeSet<BlockHeight>,
    requests: u32,
}

impl Blocks {
    /// Reads the blocks above `since` through `head`: the last 64 of them, and below these the ones
    /// that the source knows as gaps.
    ///
    /// # Errors
    /// The node cannot be queried at all.
    pub async fn read(
        node: &NodeClient,
        since: BlockHeight,
        head: BlockHeight,
        gaps: impl IntoIterator<Item = BlockHeight>,
    ) -> Result<Self, NodeError> {
        let start = since.next().max(head.saturating_sub(WINDOW - 1));
        let mut blocks = Self::default();
        if start > head {
            return Ok(blocks);
        }
        let below = gaps
            .into_iter()
            .filter(|gap| (since.next()..start).contains(gap));
        let mut single: BTreeSet<BlockHeight> = below.collect();
        single.extend((start.0..=head.0).map(BlockHeight));
        let mut next = start;
        while next <= head {
            // A few at a time: a node with one thread serves nobody else meanwhile.
            let end = BlockHeight(next.0.saturating_add(PIECE - 1)).min(head);
            blocks.requests += 1;
            match node.blocks_range(next, end).await {
                Ok(range) => {
                    for block in range {
                        if blocks.take(&block) {
                            single.remove(&block.height);
                        }
                    }
                }
                // One block that cannot be serialised, or is too large, makes the range fail.
                Err(error) if error.is_server_error() || is_too_large(&error) => {}
                Err(error) => return Err(error),
            }
            next = end.next();
        }
        for height in single {
            blocks.requests += 1;
            let whole = match node.block(height).await {
                Ok(Some(block)) => blocks.take(&block),
                Ok(None) => false,
                Err(error) if error.is_server_error() || is_too_large(&error) => false,
                Err(error) => return Err(error),
            };
            if !whole {
                blocks.doubtful.insert(height);
            }
        }
        Ok(blocks)
    }

    /// Adds a block's transactions. Returns whether the block shows all that it counts.
    fn take(&mut self, block: &Block) -> bool {
        let shown = block.transactions.as_deref().unwrap_or_default();
        let place = (block.height, block.hash);
        self.standing
            .extend(shown.iter().filter_map(|one| Some((one.hash?, place))));
        block.is_whole()
    }

    /// In how many requests they were read.
    pub const fn requests(&self) -> u32 {
        self.requests
    }

    /// The block that contains a transaction, if one shows it.
    pub fn place(&self, hash: TransactionHash) -> Option<(BlockHeight, BlockHash)> {
        self.standing.get(&hash).copied()
    }

    /// Whether a transaction that was signed when the head was at `since` is certainly in none of
    /// the blocks.
    pub fn lack(&self, hash: TransactionHash, since: BlockHeight) -> bool {
        !self.standing.contains_key(&hash) && self.doubtful.range(since.next()..).next().is_none()
    }
}

fn is_too_large(error: &NodeError) -> bool {
    matches!(error, NodeError::TooLarge { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(byte: u8) -> TransactionHash {
        format!("0x{}", hex::encode([byte; 32])).parse().unwrap()
    }

    fn block(height: u64, tx_count: u64, shown: Option<&[u8]>) -> Block {
        Block {
            height: BlockHeight(height),
            hash: BlockHash::from_bytes([0; 32]),
            parent_hash: None,
            proposer: String::new(),
            timestamp: String::new(),
            tx_count,
            transactions: shown.map(|hashes| {
                let one = |byte: &u8| agentry_chain::BlockTransaction {
                    hash: Some(hash(*byte)),
                    stored: Err(String::new()),
                };
                hashes.iter().map(one).collect()
            }),
            unlisted: 0,
        }
    }

    #[test]
    fn a_block_is_whole_when_it_shows_all_that_it_counts() {
        let mut blocks = Blocks::default();
        assert!(blocks.take(&block(1, 0, None)));
        assert!(blocks.take(&block(2, 1, Some(&[1]))));
        assert!(!blocks.take(&block(3, 1, None)));
        assert!(!blocks.take(&block(4, 2, Some(&[2]))));
        assert_eq!(
            blocks.place(hash(1)).map(|place| place.0),
            Some(BlockHeight(2))
        );
        assert!(!blocks.lack(hash(1), BlockHeight(0)));
        assert!(!blocks.lack(hash(2), BlockHeight(0)));
        assert!(blocks.lack(hash(3), BlockHeight(0)));
    }

    #[test]
    fn a_doubtful_block_keeps_its_possible_transactions_in_doubt() {
        let blocks = Blocks {
            doubtful: [BlockHeight(7)].into(),
            ..Blocks::default()
        };
        assert!(!blocks.lack(hash(1), BlockHeight(6)));
        assert!(blocks.lack(hash(1), BlockHeight(7)));
    }
}
