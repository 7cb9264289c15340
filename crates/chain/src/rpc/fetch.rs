//! Fetching blocks from a node that may refuse some of them.

use std::sync::atomic::{AtomicU64, Ordering};

use agentry_protocol::{BlockHash, BlockHeight};

use crate::node::{Head, NodeClient, NodeError, RawBlock};
use crate::source::milliseconds;

/// After so many blocks in a row that cannot be given, and none that can, the node is taken to be ill.
const HOPELESS: usize = 16;

/// The calls that a source makes, counted.
#[derive(Debug)]
pub(super) struct Fetch {
    node: NodeClient,
    requests: AtomicU64,
}

/// Blocks of a range.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) blocks: Vec<RawBlock>,
    /// Their transactions were asked for.
    pub(super) with_rows: bool,
    /// Heights of which the node says nothing, not even whether there is a block.
    pub(super) unknown: Vec<u64>,
}

impl Fetch {
    pub(super) fn new(node: NodeClient) -> Self {
        Self {
            node,
            requests: AtomicU64::new(0),
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn node(&self) -> &NodeClient {
        &self.node
    }

    fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) async fn head(&self) -> Result<Option<Head>, NodeError> {
        self.count();
        self.node.head().await
    }

    pub(super) async fn block(&self, height: u64) -> Result<Option<RawBlock>, NodeError> {
        self.count();
        self.node.raw_block(BlockHeight(height)).await
    }

    /// The hash of one block. None: there is no such block.
    pub(super) async fn hash(&self, height: u64) -> Result<Option<BlockHash>, NodeError> {
        Ok(self.header(height).await?.map(|head| head.hash))
    }

    /// A block without its transactions, which the node may be unable to write.
    pub(super) async fn header(&self, height: u64) -> Result<Option<Head>, NodeError> {
        let blocks = self.ask(height, height, false).await?;
        Ok(blocks.into_iter().next().map(|block| block.head))
    }

    /// When a block was made. None: there is no such block, or it does not say.
    pub(super) async fn time(&self, height: u64) -> Result<Option<u64>, NodeError> {
        let blocks = self.ask(height, height, false).await?;
        Ok(blocks
            .first()
            .and_then(|block| milliseconds(&block.timestamp)))
    }

    async fn ask(&self, from: u64, to: u64, rows: bool) -> Result<Vec<RawBlock>, NodeError> {
        self.count();
        self.node
            .raw_blocks(BlockHeight(from), BlockHeight(to), rows)
            .await
    }

    /// The blocks from one height to another, all that the node has. A node that cuts its answers
    /// short is asked for the rest.
    pub(super) async fn all(&self, from: u64, to: u64, rows: bool) -> Result<Range, NodeError> {
        let mut blocks: Vec<RawBlock> = Vec::new();
        let mut next = from;
        loop {
            let part = self.ask(next, to, rows).await?;
            let last = part.last().map(|block| block.head.height.0);
            blocks.extend(part);
            match last {
                Some(last) if last < to => next = last + 1,
                _ => {
                    return Ok(Range {
                        blocks,
                        with_rows: rows,
                        unknown: Vec::new(),
                    });
                }
            }
        }
    }

    /// The same, in whatever way the node can give them: without transactions, or in pieces around
    /// the blocks that it cannot give at all. `gaps`: where such blocks are already known.
    pub(super) async fn all_somehow(
        &self,
        from: u64,
        to: u64,
        gaps: &[u64],
    ) -> Result<Range, NodeError> {
        match self.all(from, to, true).await {
            Err(error) if may_be_one_block(&error) => {}
            answer => return answer,
        }
        match self.all(from, to, false).await {
            Err(error) if may_be_one_block(&error) => self.pieces(from, to, gaps, error).await,
            answer => answer,
        }
    }

    /// Halves the range until the blocks that the node cannot give stand alone. A node that gives
    /// none at all is ill, which is found out within a few calls.
    async fn pieces(
        &self,
        from: u64,
        to: u64,
        gaps: &[u64],
        mut last: NodeError,
    ) -> Result<Range, NodeError> {
        let unknown: Vec<u64> = gaps
            .iter()
            .copied()
            .filter(|gap| (from..=to).contains(gap))
            .collect();
        // What lies between the gaps, the lowest piece on top.
        let mut pieces = Vec::new();
        let mut start = from;
        for gap in &unknown {
            if start < *gap {
                pieces.push((start, gap - 1));
            }
            start = gap.saturating_add(1);
        }
        if start <= to {
            pieces.push((start, to));
        }
        pieces.reverse();
        let mut range = Range {
            blocks: Vec::new(),
            with_rows: false,
            unknown,
        };
        let mut failures = 0;
        while let Some((from, to)) = pieces.pop() {
            match self.all(from, to, false).await {
                Ok(piece) => range.blocks.extend(piece.blocks),
                Err(error) if !may_be_one_block(&error) => return Err(error),
                Err(error) if from == to => {
                    range.unknown.push(from);
                    last = error;
                    failures += 1;
                    if range.blocks.is_empty() && failures >= HOPELESS {
                        return Err(last);
                    }
                }
                Err(_) => {
                    let middle = from + (to - from) / 2;
                    pieces.extend([(middle + 1, to), (from, middle)]);
                }
            }
        }
        // Where all that failed was known to, there is nothing to complain of.
        if range.blocks.is_empty() && failures > 0 {
            Err(last)
        } else {
            Ok(range)
        }
    }

    /// As many blocks from `from` on, at most through `to`, as the node can give with their
    /// transactions: the range is halved while it fails. An error: not even the first one.
    pub(super) async fn first_of(
        &self,
        from: u64,
        mut to: u64,
    ) -> Result<Vec<RawBlock>, NodeError> {
        loop {
            match self.ask(from, to, true).await {
                Ok(blocks) => return Ok(blocks),
                Err(error) if may_be_one_block(&error) && from < to => to = from + (to - from) / 2,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether a failure may be the fault of one block within the range, or of the range's size, rather
/// than of the node.
pub(super) fn may_be_one_block(error: &NodeError) -> bool {
    match error {
        NodeError::TooLarge { .. } | NodeError::Unreadable { .. } | NodeError::Timeout { .. } => {
            true
        }
        NodeError::Status { status, .. } => *status >= 500 || matches!(status, 400 | 413 | 422),
        _ => false,
    }
}
