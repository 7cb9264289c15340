//! Searches the chain: in the node's database if one is configured, else over RPC. A search over RPC
//! skips blocks that the node cannot serve.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_chain::{
    BlockWalk, ChainDb, ChainDbOptions, ChainEvent, ChainSource, HeadPoll, Interest, NodeClient,
    NodeError, SourceError, Start,
};
use agentry_protocol::{BlockHash, BlockHeight, StoredTransaction, Timestamp, TransactionHash};

use crate::config::{ChainConfig, masked};

/// Time limit of a search over RPC. A node with a long chain takes 50 ms for each block.
const LONGEST: Duration = Duration::from_secs(60);

/// How many missing blocks a message lists.
const NAMED: usize = 10;

/// How many transactions are read at a time.
const BATCH: usize = 500;

/// Time limit of one request before the node is asked again.
const LOOK: Duration = Duration::from_secs(2);

/// A node's URL is not valid.
#[derive(Debug, thiserror::Error)]
#[error("the node {url}: {source}")]
pub struct UrlError {
    /// The URL, with its password masked.
    url: String,
    /// The problem with it.
    source: NodeError,
}

/// A client of the node at a URL, of this chain.
///
/// # Errors
/// The URL is not valid.
pub fn node(url: &str, chain: &ChainConfig) -> Result<NodeClient, UrlError> {
    NodeClient::new(url, chain.node_options()).map_err(|source| UrlError {
        url: masked(url),
        source,
    })
}

/// A transaction on the chain.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its hash.
    pub hash: TransactionHash,
    /// The transaction.
    pub stored: StoredTransaction,
    /// The block's height.
    pub height: BlockHeight,
    /// The block's hash.
    pub block_hash: BlockHash,
    /// When the block was made, as reported by the node.
    pub made_at: Option<Timestamp>,
}

/// Reads everything that matches `interest` from the database, starting at block `from`, oldest
/// first. Returns the last block that was read.
///
/// # Errors
/// The database cannot be read.
pub async fn in_db(
    chain: &ChainConfig,
    from: BlockHeight,
    interest: Arc<dyn Interest>,
    mut take: impl FnMut(Found),
) -> Result<Option<BlockHeight>, SourceError> {
    let Some(path) = &chain.db else {
        return Ok(None);
    };
    let mut source = ChainDb::open(path, chain.id.clone(), ChainDbOptions::of(chain.dialect))?;
    let mut cursor = source.begin(Start::Height(from)).await?;
    loop {
        let batch = source.read(&cursor, Arc::clone(&interest), BATCH).await?;
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

/// Ranges of blocks from the newest down, for a minute at most.
#[derive(Debug)]
pub struct Downward {
    next: Option<BlockHeight>,
    lowest: BlockHeight,
    until: Instant,
}

impl Downward {
    /// The ranges from `highest` down to `lowest`.
    pub fn new(highest: BlockHeight, lowest: BlockHeight) -> Self {
        Self {
            next: Some(highest).filter(|highest| *highest >= lowest),
            lowest,
            until: Instant::now() + LONGEST,
        }
    }

    /// The next range, as long as one request may be.
    pub fn next(&mut self, walk: &BlockWalk<'_>) -> Option<(BlockHeight, BlockHeight)> {
        let to = self.next.filter(|_| Instant::now() < self.until)?;
        let from = to.saturating_sub(walk.size() - 1).max(self.lowest);
        self.next = from.checked_sub(1).filter(|next| *next >= self.lowest);
        Some((from, to))
    }

    /// The highest block that was not searched because the time limit was reached.
    pub fn left(&self) -> Option<BlockHeight> {
        self.next
    }
}

/// Describes the blocks that were skipped; `None` if there were none.
pub fn missing(walk: &BlockWalk<'_>) -> Option<String> {
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

/// All transactions in blocks `from ..= to` that `wanted` accepts. Blocks that the node cannot
/// serve are skipped.
///
/// # Errors
/// The node cannot be queried.
pub async fn all(
    node: &NodeClient,
    from: BlockHeight,
    to: BlockHeight,
    wanted: impl Fn(&Found) -> bool,
) -> Result<Vec<Found>, NodeError> {
    stretch(&mut BlockWalk::new(node), from, to, wanted).await
}

/// The same as a part of a longer scan, which keeps track of skipped blocks.
///
/// # Errors
/// The node cannot be queried.
pub async fn stretch(
    walk: &mut BlockWalk<'_>,
    from: BlockHeight,
    to: BlockHeight,
    wanted: impl Fn(&Found) -> bool,
) -> Result<Vec<Found>, NodeError> {
    let mut found = Vec::new();
    for block in walk.stretch(from, to).await? {
        let made_at = block.made_at();
        for transaction in block.transactions.into_iter().flatten() {
            // A transaction that cannot be read is not part of the conversation.
            let (Some(hash), Ok(stored)) = (transaction.hash, transaction.stored) else {
                continue;
            };
            let one = Found {
                hash,
                stored,
                height: block.height,
                block_hash: block.hash,
                made_at,
            };
            if wanted(&one) {
                found.push(one);
            }
        }
    }
    Ok(found)
}

/// Waits until a transaction that `wanted` accepts is in a block at or above `from`.
///
/// # Errors
/// The node cannot be queried, for a reason that is not temporary.
pub async fn wait(
    node: &NodeClient,
    from: BlockHeight,
    deadline: Instant,
    wanted: impl Fn(&Found) -> bool,
) -> Result<Option<Found>, NodeError> {
    let mut follow = Follow::new(node.clone(), from);
    while Instant::now() < deadline {
        if let Some(found) = follow.look(&wanted).await?.into_iter().next() {
            return Ok(Some(found));
        }
        follow.wait().await;
    }
    Ok(None)
}

/// Follows a chain from one block on. The node also serves others, so it is asked no more often
/// than blocks come, and late content of blocks is requested only while the node is idle.
#[derive(Debug)]
pub struct Follow {
    poll: HeadPoll,
    /// The next block to read.
    next: BlockHeight,
    /// Transactions already found in it.
    known: HashSet<TransactionHash>,
}

impl Follow {
    /// A new reader that has read nothing yet.
    #[must_use]
    pub fn new(node: NodeClient, from: BlockHeight) -> Self {
        Self {
            poll: HeadPoll::new(node),
            next: from,
            known: HashSet::new(),
        }
    }

    /// The transactions that `wanted` accepts and that were not found before. A node that is down
    /// or hangs returns none; it is asked again.
    ///
    /// # Errors
    /// The node cannot be queried, for a reason that is not temporary.
    pub async fn look(&mut self, wanted: impl Fn(&Found) -> bool) -> Result<Vec<Found>, NodeError> {
        match tokio::time::timeout(LOOK, self.blocks(wanted)).await {
            Ok(Err(error)) if !error.is_transient() => Err(error),
            Ok(Ok(found)) => Ok(found),
            Ok(Err(_)) | Err(_) => Ok(Vec::new()),
        }
    }

    async fn blocks(&mut self, wanted: impl Fn(&Found) -> bool) -> Result<Vec<Found>, NodeError> {
        let head = self.poll.head().await?;
        let Some(head) = head.filter(|head| head.height >= self.next) else {
            return Ok(Vec::new());
        };
        let mut found = all(self.poll.node(), self.next, head.height, wanted).await?;
        self.poll.read(&head);
        // The last block is read again: a follower receives its transactions later.
        self.next = head.height;
        let in_last = found.iter().filter(|one| one.height == head.height);
        let last = in_last.map(|one| one.hash).collect();
        found.retain(|one| !self.known.contains(&one.hash));
        self.known = last;
        Ok(found)
    }

    /// Waits until there may be more.
    pub async fn wait(&self) {
        self.poll.wait().await;
    }
}
