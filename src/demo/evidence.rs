//! What is looked for on the chain, and what was found.

use std::time::{Duration, Instant};

use agentry_chain::{BlockWalk, NodeClient, NodeError};
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
    poll: Duration,
    wanted: impl Fn(&Found) -> bool,
) -> Result<Option<Found>, NodeError> {
    let mut next = from;
    while Instant::now() < deadline {
        match tokio::time::timeout(LOOK, look(node, next, &wanted)).await {
            Ok(Ok((Some(found), _))) => return Ok(Some(found)),
            // The last block is looked at again: a follower's fills up.
            Ok(Ok((None, head))) => next = head,
            Ok(Err(error)) if !error.is_transient() => return Err(error),
            // The node is away, or hangs: it is asked again.
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(poll).await;
    }
    Ok(None)
}

async fn look(
    node: &NodeClient,
    from: BlockHeight,
    wanted: impl Fn(&Found) -> bool,
) -> Result<(Option<Found>, BlockHeight), NodeError> {
    let Some(head) = node.head().await? else {
        return Ok((None, from));
    };
    if head.height < from {
        return Ok((None, from));
    }
    let found = all(node, from, head.height, wanted).await?;
    Ok((found.into_iter().next(), head.height))
}
