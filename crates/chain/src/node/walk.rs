//! Iterating over the blocks of a node that may not serve all of them, for commands that search.

use std::time::{Duration, Instant};

use agentry_protocol::BlockHeight;

use crate::node::{Block, NodeClient, NodeError};

/// How long one request should take: other clients of the node wait that long.
const TARGET: Duration = Duration::from_millis(250);

/// The most blocks of one request.
const MOST: u64 = 100;

/// After this many unservable blocks in a row, and no servable one, the node counts as failing.
const MAX_UNSERVABLE: u32 = 16;

/// A walk through the blocks of one node, a few at a time, that skips those it cannot serve.
#[derive(Debug)]
pub struct BlockWalk<'a> {
    node: &'a NodeClient,
    size: u64,
    missing: Vec<BlockHeight>,
    failures: u32,
    last_good: bool,
}

impl<'a> BlockWalk<'a> {
    /// A walk that has sent no request yet.
    #[must_use]
    pub fn new(node: &'a NodeClient) -> Self {
        Self {
            node,
            size: 8,
            missing: Vec::new(),
            failures: 0,
            last_good: false,
        }
    }

    /// How many blocks one request should ask for now.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The blocks that the node could not serve, or served incompletely.
    #[must_use]
    pub fn missing(&self) -> &[BlockHeight] {
        &self.missing
    }

    /// The blocks from one height to another that the node can serve, in ascending order.
    ///
    /// # Errors
    /// The node cannot be reached, or serves none of many blocks.
    pub async fn stretch(
        &mut self,
        from: BlockHeight,
        to: BlockHeight,
    ) -> Result<Vec<Block>, NodeError> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut next = from;
        while next <= to {
            let end = BlockHeight(next.0.saturating_add(self.size - 1)).min(to);
            let began = Instant::now();
            match self.node.blocks_range(next, end).await {
                Ok(range) => {
                    self.took(began.elapsed(), next, end);
                    // A range may end early, and may lack blocks.
                    let last = range.last().map(|block| block.height);
                    let through = match last {
                        Some(last) if last < end && range.len() > 1 => last,
                        _ => end,
                    };
                    let mut range = range.into_iter().peekable();
                    for height in (next.0..=through.0).map(BlockHeight) {
                        match range.next_if(|block| block.height == height) {
                            Some(block) if block.is_whole() => blocks.push(block),
                            shown => blocks.extend(self.single(height, shown).await?),
                        }
                    }
                    next = through.next();
                }
                Err(error) if may_be_one_block(&error) && next < end => {
                    self.size = (self.size / 2).max(1);
                }
                Err(error) if may_be_one_block(&error) => {
                    match self.single(next, None).await {
                        Ok(block) => blocks.extend(block),
                        Err(other) => return Err(other),
                    }
                    if self.failures >= MAX_UNSERVABLE && !self.last_good {
                        return Err(error);
                    }
                    next = next.next();
                    self.size = (self.size * 2).min(MOST);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(blocks)
    }

    /// Fetches one block alone; `shown` is what a range showed of it.
    async fn single(
        &mut self,
        height: BlockHeight,
        shown: Option<Block>,
    ) -> Result<Option<Block>, NodeError> {
        let single = match self.node.block(height).await {
            Ok(single) => single,
            Err(error) if may_be_one_block(&error) => None,
            Err(error) => return Err(error),
        };
        let count = |block: &Block| block.transactions.as_ref().map_or(0, Vec::len);
        let block = match (single, shown) {
            (Some(single), Some(shown)) if count(&shown) > count(&single) => Some(shown),
            (Some(single), _) => Some(single),
            (None, shown) => shown,
        };
        if block.as_ref().is_some_and(Block::is_whole) {
            self.failures = 0;
            self.last_good = true;
        } else {
            self.failures += 1;
            self.missing.push(height);
        }
        Ok(block)
    }

    fn took(&mut self, took: Duration, from: BlockHeight, to: BlockHeight) {
        self.failures = 0;
        self.last_good = true;
        let count = u32::try_from(to.0 - from.0 + 1).unwrap_or(u32::MAX);
        let fits = TARGET.as_micros() / (took / count).as_micros().max(1);
        self.size = u64::try_from(fits)
            .unwrap_or(MOST)
            .clamp(1, (self.size * 2).min(MOST));
    }
}

/// Whether a failure may be caused by one block, or by the size of the range.
fn may_be_one_block(error: &NodeError) -> bool {
    error.is_server_error()
        || matches!(
            error,
            NodeError::TooLarge { .. } | NodeError::Unreadable { .. } | NodeError::Timeout { .. }
        )
}
