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

use std::collections::HashSet;

use agentry_protocol::{BlockHeight, TransactionHash};

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

/// The block since which a transaction is missing in the mempool, if it is.
///
/// The mark is cleared, as with [`Mark::default`], when the transaction is posted again, and when
/// blocks are withdrawn: the blocks that were read are no longer the canonical ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(Option<BlockHeight>);

impl Mark {
    /// Processes a look that began after the transaction's POST had ended. Returns whether the
    /// transaction is absent; its mark is cleared then.
    pub fn look(&mut self, look: &Look, hash: &TransactionHash) -> bool {
        if look.mempool.contains(hash) {
            self.0 = None;
            return false;
        }
        let is_absent = self.0.is_some_and(|mark| look.read_through > mark);
        if is_absent {
            self.0 = None;
        } else {
            // The head may be below: of another branch, which the source has not read yet.
            self.0.get_or_insert(look.head.max(look.read_through));
        }
        is_absent
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
        assert!(!Mark::default().look(&look(&[], 9, 9), &hash(1)));
    }

    #[test]
    fn absence_needs_the_source_past_the_marked_head() {
        let mut mark = Mark::default();
        assert!(!mark.look(&look(&[], 9, 9), &hash(1)));
        assert!(
            !mark.look(&look(&[], 10, 9), &hash(1)),
            "the source is still at h"
        );
        assert!(mark.look(&look(&[], 10, 10), &hash(1)));
        assert!(
            !mark.look(&look(&[], 11, 11), &hash(1)),
            "the proof starts over"
        );
    }

    #[test]
    fn being_seen_in_the_mempool_restarts_the_proof() {
        let mut mark = Mark::default();
        mark.look(&look(&[], 9, 9), &hash(1));
        assert!(!mark.look(&look(&[1], 10, 10), &hash(1)));
        assert!(!mark.look(&look(&[], 11, 11), &hash(1)));
        assert!(mark.look(&look(&[], 12, 12), &hash(1)));
    }

    #[test]
    fn a_shorter_branch_must_be_read_first() {
        let mut mark = Mark::default();
        // It is in a block of the branch that ends at 2; the source has read 3 blocks of another one.
        assert!(!mark.look(&look(&[], 2, 3), &hash(1)));
        assert!(!mark.look(&look(&[], 2, 3), &hash(1)));
        assert!(mark.look(&look(&[], 4, 4), &hash(1)));
    }

    #[test]
    fn a_node_ahead_of_the_source_waits_for_it() {
        let mut mark = Mark::default();
        mark.look(&look(&[], 50, 9), &hash(1));
        assert!(!mark.look(&look(&[], 51, 50), &hash(1)));
        assert!(mark.look(&look(&[], 52, 51), &hash(1)));
    }
}
