//! What is looked for on the chain, and what was found.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use agentry_chain::{BlockWalk, HeadPoll, NodeClient, NodeError};
use agentry_protocol::{BlockHash, BlockHeight, StoredTransaction, TransactionHash};
use serde::Serialize;

/// How long a look may take before the node is asked again.
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
    /// When the block was made, as the node says, in milliseconds since the epoch.
    pub made_at: Option<u64>,
}

/// Where a transaction stands.
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

/// Something that was said.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    /// What.
    pub what: String,
    /// Where it stands.
    #[serde(rename = "transaction")]
    pub standing: Standing,
    /// How long after the beginning it was found there, in milliseconds.
    pub after_ms: u64,
}

/// The proof of a conversation.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    /// All of it, in order.
    pub said: Vec<Said>,
    /// The ping.
    pub ping: Standing,
    /// The pong.
    pub pong: Standing,
    /// Who pinged.
    pub pinger: String,
    /// Who answered.
    pub ponger: String,
    /// The nodes.
    pub nodes: Vec<String>,
    /// From the order to send the ping until the pinger's own node showed the pong.
    pub round_trip_ms: u64,
    /// From the beginning to the end.
    pub total_ms: u64,
}

/// All transactions in blocks `from ..= to` that `wanted` picks. Blocks that the node cannot serve are
/// passed over.
///
/// # Errors
/// The node cannot be asked.
pub async fn all(
    node: &NodeClient,
    from: BlockHeight,
    to: BlockHeight,
    wanted: impl Fn(&Found) -> bool,
) -> Result<Vec<Found>, NodeError> {
    stretch(&mut BlockWalk::new(node), from, to, wanted).await
}

/// The same as a part of a longer walk, which remembers what was passed over.
///
/// # Errors
/// The node cannot be asked.
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
            // What cannot be read is nothing that was said here.
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

/// Waits until a transaction that `wanted` picks stands in a block from `from` on.
///
/// # Errors
/// The node cannot be asked, for a reason that does not pass.
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

/// Follows a chain as its blocks come, from one block on. A node has to serve others, too: it is asked
/// as often as its blocks come, and for what may have come late only while it has time to spare.
#[derive(Debug)]
pub struct Follow {
    poll: HeadPoll,
    /// The block that is looked at next.
    next: BlockHeight,
    /// What was found in it already.
    known: HashSet<TransactionHash>,
}

impl Follow {
    /// One that has looked at nothing yet.
    #[must_use]
    pub fn new(node: NodeClient, from: BlockHeight) -> Self {
        Self {
            poll: HeadPoll::new(node),
            next: from,
            known: HashSet::new(),
        }
    }

    /// The transactions that `wanted` picks, and that were not found before. A node that is away, or
    /// hangs, shows none; it is asked again.
    ///
    /// # Errors
    /// The node cannot be asked, for a reason that does not pass.
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
        // The last block is looked at again: a follower's fills up.
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
