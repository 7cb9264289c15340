//! Searches the chain on behalf of a command: in the node's database if one is configured, else
//! over RPC. A search over RPC skips blocks that the node cannot serve, and has a time limit.

use std::time::{Duration, Instant};

use agentry_chain::{
    BlockWalk, ChainDb, ChainDbOptions, ChainEvent, ChainSource, Interest, SourceError, Start,
};
use agentry_protocol::BlockHeight;

use crate::config::ChainConfig;
use crate::demo::evidence::Found;

/// Time limit of a search over RPC. A node with a long chain takes 50 ms for each block.
const LONGEST: Duration = Duration::from_secs(60);

/// How many missing blocks a message lists.
const NAMED: usize = 10;

/// How many transactions are read at a time.
const BATCH: usize = 500;

/// Reads everything that matches `interest` from the database, starting at block `from`, oldest
/// first. Returns the last block that was read.
///
/// # Errors
/// The database cannot be read.
pub(super) async fn in_db(
    chain: &ChainConfig,
    from: BlockHeight,
    interest: &dyn Interest,
    mut take: impl FnMut(Found),
) -> Result<Option<BlockHeight>, SourceError> {
    let Some(path) = &chain.db else {
        return Ok(None);
    };
    let mut source = ChainDb::open(path, chain.id.clone(), ChainDbOptions::default())?;
    let mut cursor = source.begin(Start::Height(from)).await?;
    loop {
        let batch = source.read(&cursor, interest, BATCH).await?;
        let mut time = None;
        for event in batch.events {
            if let ChainEvent::Transaction(found) = event {
                let made_at = match time {
                    Some((height, made_at)) if height == found.height => made_at,
                    _ => source.time(found.height).await?,
                };
                time = Some((found.height, made_at));
                take(Found {
                    made_at,
                    hash: found.hash,
                    stored: found.stored,
                    height: found.height,
                    block_hash: found.block_hash,
                });
            }
        }
        cursor = batch.cursor;
        if !batch.more {
            return Ok(batch.read_through.map(|head| head.height));
        }
    }
}

/// Ranges of blocks from the newest down, until the time limit is reached.
#[derive(Debug)]
pub(super) struct Downward {
    next: Option<BlockHeight>,
    lowest: BlockHeight,
    until: Instant,
}

impl Downward {
    pub(super) fn new(highest: BlockHeight, lowest: BlockHeight) -> Self {
        Self {
            next: Some(highest).filter(|highest| *highest >= lowest),
            lowest,
            until: Instant::now() + LONGEST,
        }
    }

    /// The next range, as long as one request may be.
    pub(super) fn next(&mut self, walk: &BlockWalk<'_>) -> Option<(BlockHeight, BlockHeight)> {
        let to = self.next.filter(|_| Instant::now() < self.until)?;
        let from = to.saturating_sub(walk.size() - 1).max(self.lowest);
        self.next = from.checked_sub(1).filter(|next| *next >= self.lowest);
        Some((from, to))
    }

    /// The highest block that was not searched because the time limit was reached.
    pub(super) fn left(&self) -> Option<BlockHeight> {
        self.next
    }
}

/// Describes the blocks that were skipped; `None` if there were none.
pub(super) fn missing(walk: &BlockWalk<'_>) -> Option<String> {
    let mut heights = walk.missing().to_vec();
    heights.sort_unstable();
    heights.dedup();
    let count = heights.len();
    let named: Vec<String> = heights
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    let more = count.saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    (count > 0).then(|| {
        format!(
            "the node cannot serve {count} of the blocks whole: {}{more}; set [chain] db to read them from its database",
            named.join(", ")
        )
    })
}
