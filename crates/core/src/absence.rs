//! When a transaction may be posted again.
//!
//! Posting a mined transaction again destroys a block of a real node (docs/hazards.md#hazard-2). So
//! bytes are posted a second time only when they are *absent*: the posting node's whole mempool
//! lacks them; its head, read afterwards, is h; the source has read the canonical chain through h +
//! 1 without them; and the mempool still lacks them. Between draining the mempool and committing
//! the block a transaction is in neither place; the second look covers that interval.
//!
//! If the head is below what the source has read, h is the latter: the node is behind, or on
//! another branch. In reading one more block the source notices the branch.
//!
//! A look is a round: one whole mempool and one head. A round's look at the mempool is the second
//! look for transactions that an earlier round marked, and the first for all others.

use std::collections::{HashMap, HashSet};

use agentry_protocol::{BlockHeight, TransactionHash};

use crate::OutboxId;

/// One look at the node to which transactions are posted.
#[derive(Debug)]
pub struct Look {
    /// Every transaction in its mempool.
    pub mempool: HashSet<TransactionHash>,
    /// The node's head, read after the mempool.
    pub head: BlockHeight,
    /// The last block that the source had read *before* the mempool was queried.
    pub read_through: BlockHeight,
}

/// The marks of transactions that were not seen in the mempool, each with the block since which it
/// is missing.
#[derive(Debug, Default)]
pub struct Marks(HashMap<OutboxId, BlockHeight>);

impl Marks {
    /// Processes one look. `posted` are the transactions whose POST had ended before the look
    /// began. Returns the transactions that are absent, and removes their marks.
    pub fn look(
        &mut self,
        look: &Look,
        posted: impl IntoIterator<Item = (OutboxId, TransactionHash)>,
    ) -> Vec<OutboxId> {
        let mut absent = Vec::new();
        for (id, hash) in posted {
            if look.mempool.contains(&hash) {
                self.0.remove(&id);
                continue;
            }
            match self.0.get(&id) {
                Some(mark) if look.read_through > *mark => {
                    self.0.remove(&id);
                    absent.push(id);
                }
                Some(_) => {}
                None => {
                    // The head may be below: of another branch, which the source has not read yet.
                    self.0.insert(id, look.head.max(look.read_through));
                }
            }
        }
        absent
    }

    /// The transaction needs no proof any more: it was mined, failed, or is posted again.
    pub fn remove(&mut self, id: OutboxId) {
        self.0.remove(&id);
    }

    /// Blocks were withdrawn: the blocks that were read are no longer the canonical ones.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(byte: u8) -> TransactionHash {
        TransactionHash::from_bytes([byte; 32])
    }

    fn look(mempool: &[u8], head: u64, read_through: u64) -> Look {
        Look {
            mempool: mempool.iter().map(|byte| hash(*byte)).collect(),
            head: BlockHeight(head),
            read_through: BlockHeight(read_through),
        }
    }

    #[test]
    fn one_look_proves_nothing() {
        let mut marks = Marks::default();
        assert!(
            marks
                .look(&look(&[], 9, 9), [(OutboxId(1), hash(1))])
                .is_empty()
        );
    }

    #[test]
    fn absence_needs_the_source_past_the_marked_head() {
        let one = [(OutboxId(1), hash(1))];
        let mut marks = Marks::default();
        assert!(marks.look(&look(&[], 9, 9), one).is_empty());
        assert!(
            marks.look(&look(&[], 10, 9), one).is_empty(),
            "the source is still at h"
        );
        assert_eq!(marks.look(&look(&[], 10, 10), one), [OutboxId(1)]);
    }

    #[test]
    fn being_seen_in_the_mempool_restarts_the_proof() {
        let one = [(OutboxId(1), hash(1))];
        let mut marks = Marks::default();
        marks.look(&look(&[], 9, 9), one);
        assert!(marks.look(&look(&[1], 10, 10), one).is_empty());
        assert!(marks.look(&look(&[], 11, 11), one).is_empty());
        assert_eq!(marks.look(&look(&[], 12, 12), one), [OutboxId(1)]);
    }

    #[test]
    fn a_withdrawal_restarts_every_proof() {
        let one = [(OutboxId(1), hash(1))];
        let mut marks = Marks::default();
        marks.look(&look(&[], 9, 9), one);
        marks.clear();
        assert!(marks.look(&look(&[], 10, 10), one).is_empty());
    }

    #[test]
    fn a_shorter_branch_must_be_read_first() {
        let one = [(OutboxId(1), hash(1))];
        let mut marks = Marks::default();
        // It is in a block of the branch that ends at 2; the source has read 3 blocks of another one.
        assert!(marks.look(&look(&[], 2, 3), one).is_empty());
        assert!(marks.look(&look(&[], 2, 3), one).is_empty());
        assert_eq!(marks.look(&look(&[], 4, 4), one), [OutboxId(1)]);
    }

    #[test]
    fn a_node_ahead_of_the_source_waits_for_it() {
        let one = [(OutboxId(1), hash(1))];
        let mut marks = Marks::default();
        marks.look(&look(&[], 50, 9), one);
        assert!(marks.look(&look(&[], 51, 50), one).is_empty());
        assert_eq!(marks.look(&look(&[], 52, 51), one), [OutboxId(1)]);
    }
}
