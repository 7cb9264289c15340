//! A second node, for blocks that the first one does not show whole.
//!
//! A follower that was fed through importBlock has blocks without their transactions (hazard 4 in
//! `docs/hazards.md`); the node that transactions are posted to has them. Its answer is used only
//! if it is on the same chain, by block 0, and only for a block with the hash that the first node
//! names.

use agentry_protocol::{BlockHash, BlockHeight};

use crate::node::{Head, NodeClient, RawBlock, Wanted};
use crate::source::Interest;

/// The second node, and what is known about its chain.
#[derive(Debug)]
pub(super) struct Second {
    node: NodeClient,
    /// Its block 0. None: it has not been asked yet, or did not answer.
    genesis: Option<BlockHash>,
    was_refused: bool,
}

impl Second {
    pub(super) fn new(node: NodeClient) -> Self {
        Self {
            node,
            genesis: None,
            was_refused: false,
        }
    }

    /// A block as this node shows it. None: it does not have it, or is on another chain.
    pub(super) async fn block(
        &mut self,
        head: &Head,
        genesis: &BlockHash,
        interest: &dyn Interest,
    ) -> Option<RawBlock> {
        if self.genesis.is_none() {
            let first = BlockHeight(0);
            let asked = self.node.raw_blocks(first, first, Wanted::Headers).await;
            self.genesis = Some(asked.ok()?.first()?.head.hash);
        }
        if self.genesis != Some(*genesis) {
            if !std::mem::replace(&mut self.was_refused, true) {
                tracing::warn!(
                    chain.node = self.node.url(),
                    "the node that transactions are posted to is on another chain than the node \
                     that is read; incomplete blocks are not completed from it"
                );
            }
            return None;
        }
        let block = self.node.raw_block(head.height, interest).await.ok()??;
        (block.head.hash == head.hash).then_some(block)
    }
}
