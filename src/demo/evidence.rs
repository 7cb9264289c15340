//! Searching the chain for the conversation, and the evidence that was found.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use agentry_chain::{BlockWalk, HeadPoll, NodeClient, NodeError};
use agentry_protocol::{BlockHash, BlockHeight, StoredTransaction, TransactionHash};
use serde::Serialize;

/// Time limit of one request before the node is asked again.
const LOOK: Duration = Duration::from_secs(2);

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
    /// When the block was made, as reported by the node, in milliseconds since the epoch.
    pub made_at: Option<u64>,
}

/// Position of a transaction on the chain.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// Its hash.
    pub hash: String,
    /// The block's height.
    pub height: u64,
    /// The block's hash.
    pub block: String,
}

impl From<&Found> for Standing {
    fn from(found: &Found) -> Self {
        Self {
            hash: found.hash.to_string(),
            height: found.height.0,
            block: found.block_hash.to_string(),
        }
    }
}

/// One message of the conversation.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    /// Description.
    pub what: String,
    /// Its position on the chain.
    #[serde(rename = "transaction")]
    pub standing: Standing,
    /// Time from the start until it was found, in milliseconds.
    pub after_ms: u64,
}

/// Evidence of a conversation.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    /// All messages, in order.
    pub said: Vec<Said>,
    /// The ping.
    pub ping: Standing,
    /// The pong.
    pub pong: Standing,
    /// Address of the agent that pinged.
    pub pinger: String,
    /// Address of the agent that answered.
    pub ponger: String,
    /// The nodes.
    pub nodes: Vec<String>,
    /// Time from the request to send the ping until the pinger's own node showed the pong.
    pub round_trip_ms: u64,
    /// Duration of the whole demonstration.
    pub total_ms: u64,
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
        let made_at = block.made_at_ms();
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
