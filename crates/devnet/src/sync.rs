//! Copying blocks from one node to another: with blocks-range of the one and importBlock of the
//! other.

use agentry_chain::{NodeClient, NodeError};
use agentry_protocol::{BlockHeight, Json, JsonError, JsonRef, Limits};

/// How many blocks are read at once.
const PAGE: u64 = 100;

/// The progress of a [`sync`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncProgress {
    /// The height of the block that was imported last.
    pub height: BlockHeight,
    /// The height up to which blocks are copied.
    pub target: BlockHeight,
    /// How many blocks were imported so far.
    pub imported: u64,
}

/// The result of a [`sync`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncReport {
    /// The first height that was missing; `None` if none was.
    pub from: Option<BlockHeight>,
    /// The height that both nodes have now.
    pub through: Option<BlockHeight>,
    /// How many blocks were imported.
    pub imported: u64,
    /// How many transactions those blocks count.
    pub transactions: u64,
    /// The blocks whose transactions the source could not write as JSON: they were imported without
    /// them.
    pub without_transactions: Vec<BlockHeight>,
}

/// Why a [`sync`] stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The node that is read from failed.
    #[error("reading from {node}: {source}")]
    From {
        /// Its URL.
        node: String,
        /// The reason.
        source: NodeError,
    },
    /// The node that is written to failed.
    #[error("importing block {height} into {node}: {source}")]
    To {
        /// Its URL.
        node: String,
        /// The block.
        height: BlockHeight,
        /// The reason.
        source: NodeError,
    },
    /// The nodes' heads cannot be compared.
    #[error("reading from {node}: {source}")]
    ToHead {
        /// The URL of the node that is written to.
        node: String,
        /// The reason.
        source: NodeError,
    },
    /// The nodes are on different chains.
    #[error(
        "{from} and {to} are on different chains: block 0 is {theirs} on the first, {ours} on the second. Nothing was imported"
    )]
    OtherChain {
        /// The URL that is read from.
        from: String,
        /// Its block 0.
        theirs: String,
        /// The URL that is written to.
        to: String,
        /// Its block 0.
        ours: String,
    },
    /// One node cannot write a block, and the other imports no block above it without it.
    #[error(
        "{from} cannot serve block {height}: {source}; and {to} does not import it without its transactions: {refused}. {imported} blocks were imported before it; copy the chain's database instead"
    )]
    Unservable {
        /// The URL that is read from.
        from: String,
        /// The block.
        height: BlockHeight,
        /// The reason why it cannot be read.
        source: NodeError,
        /// The URL that is written to.
        to: String,
        /// The reason why it was not imported.
        refused: NodeError,
        /// How many blocks were imported before.
        imported: u64,
    },
    /// The nodes are on different branches of a chain.
    #[error(
        "fork at height {height}: {from} has block {theirs}, {to} has {ours}; {imported} blocks were imported before it. Nothing above can be imported: reset the one that is wrong"
    )]
    Fork {
        /// A height at which they differ.
        height: BlockHeight,
        /// The URL that is read from.
        from: String,
        /// Its block there.
        theirs: String,
        /// The URL that is written to.
        to: String,
        /// Its block there.
        ours: String,
        /// How many blocks were imported before.
        imported: u64,
    },
    /// The node that is read from sent a malformed block.
    #[error("reading a block from {node}: {reason}")]
    Block {
        /// The URL that is read from.
        node: String,
        /// The reason.
        reason: String,
    },
    /// The node that is read from does not have a block below its head.
    #[error("{node} does not return block {height}, although its head is above it")]
    Missing {
        /// The URL that is read from.
        node: String,
        /// The block.
        height: BlockHeight,
    },
}

impl SyncError {
    /// Whether the same call may succeed later without intervention.
    pub fn is_transient(&self) -> bool {
        match self {
            SyncError::From { source, .. }
            | SyncError::To { source, .. }
            | SyncError::ToHead { source, .. } => source.is_transient(),
            SyncError::Fork { .. }
            | SyncError::OtherChain { .. }
            | SyncError::Unservable { .. }
            | SyncError::Block { .. }
            | SyncError::Missing { .. } => false,
        }
    }
}

/// Imports into `to` the blocks that it lacks and `from` has, in order of height. `chain_id` is
/// written into each posted block as `chainId`: AITBC's importBlock stores a block without it under
/// `ait-mainnet`.
///
/// A block that `from` cannot write with its transactions is imported without them, if `to` accepts
/// that, and listed in the report.
///
/// # Errors
/// A failing node, another chain, or a fork: a height at which both have different blocks. Blocks
/// that were imported before stay.
pub async fn sync(
    from: &NodeClient,
    to: &NodeClient,
    chain_id: &agentry_protocol::ChainId,
    mut progress: impl FnMut(SyncProgress),
) -> Result<SyncReport, SyncError> {
    let reading = |source| SyncError::From {
        node: from.url().to_owned(),
        source,
    };
    let mut report = SyncReport {
        from: None,
        through: None,
        imported: 0,
        transactions: 0,
        without_transactions: Vec::new(),
    };
    let Some(target) = from.head().await.map_err(reading)? else {
        return Ok(report);
    };
    let ours = to.head().await.map_err(|source| SyncError::ToHead {
        node: to.url().to_owned(),
        source,
    })?;
    let mut next = BlockHeight(0);
    let mut size = PAGE;
    if let Some(ours) = ours {
        let common = ours.height.min(target.height);
        compare_chains(from, to).await?;
        compare(from, to, common).await?;
        report.through = Some(common);
        next = ours.height.next();
    }
    while next <= target.height {
        let end = BlockHeight(next.0.saturating_add(size - 1)).min(target.height);
        let blocks = match from.blocks_range_raw(next, end).await {
            Ok(blocks) => blocks,
            // One block that the node cannot write makes the whole range fail.
            Err(error) if may_be_one_block(&error) && next < end => {
                size = (size / 2).max(1);
                continue;
            }
            Err(error) if may_be_one_block(&error) => {
                bare(from, to, next, chain_id, error, &report).await?;
                report.from.get_or_insert(next);
                report.through = Some(next);
                report.imported += 1;
                report.without_transactions.push(next);
                progress(SyncProgress {
                    height: next,
                    target: target.height,
                    imported: report.imported,
                });
                next = next.next();
                continue;
            }
            Err(error) => return Err(reading(error)),
        };
        size = (size * 2).min(PAGE);
        if blocks.is_empty() {
            return Err(SyncError::Missing {
                node: from.url().to_owned(),
                height: next,
            });
        }
        for text in blocks {
            let block = Outgoing::read(&text, chain_id).map_err(|reason| SyncError::Block {
                node: from.url().to_owned(),
                reason,
            })?;
            if block.height != next {
                return Err(SyncError::Missing {
                    node: from.url().to_owned(),
                    height: next,
                });
            }
            let outcome = to
                .import_block(&block.body)
                .await
                .map_err(|source| SyncError::To {
                    node: to.url().to_owned(),
                    height: next,
                    source,
                })?;
            if outcome.hash != block.hash {
                return Err(SyncError::Fork {
                    height: next,
                    from: from.url().to_owned(),
                    theirs: block.hash,
                    to: to.url().to_owned(),
                    ours: outcome.hash,
                    imported: report.imported,
                });
            }
            report.from.get_or_insert(next);
            report.through = Some(next);
            report.imported += u64::from(!outcome.already_exists);
            report.transactions += block.tx_count;
            progress(SyncProgress {
                height: next,
                target: target.height,
                imported: report.imported,
            });
            next = next.next();
        }
    }
    Ok(report)
}

/// Imports a block without its transactions, which the source cannot write. `error`: why it cannot.
async fn bare(
    from: &NodeClient,
    to: &NodeClient,
    height: BlockHeight,
    chain_id: &agentry_protocol::ChainId,
    error: NodeError,
    report: &SyncReport,
) -> Result<(), SyncError> {
    let failed = |source| SyncError::From {
        node: from.url().to_owned(),
        source,
    };
    let headers = from.headers_raw(height, height).await;
    let Some(text) = headers.ok().and_then(|headers| headers.into_iter().next()) else {
        return Err(failed(error));
    };
    let block = Outgoing::read(&text, chain_id).map_err(|reason| SyncError::Block {
        node: from.url().to_owned(),
        reason,
    })?;
    match to.import_block(&block.body).await {
        Ok(_) => Ok(()),
        Err(refused) => Err(SyncError::Unservable {
            from: from.url().to_owned(),
            height,
            source: error,
            to: to.url().to_owned(),
            refused,
            imported: report.imported,
        }),
    }
}

/// Whether a failure may be caused by one block, or by the size of the range.
fn may_be_one_block(error: &NodeError) -> bool {
    error.is_server_error() || matches!(error, NodeError::TooLarge { .. })
}

/// Checks that both nodes have the same block 0.
async fn compare_chains(from: &NodeClient, to: &NodeClient) -> Result<(), SyncError> {
    let genesis = |blocks: Vec<agentry_chain::Block>| blocks.first().map(|block| block.hash);
    let first = BlockHeight(0);
    let theirs = from.headers(first, first).await;
    let theirs = theirs.map(genesis).map_err(|source| SyncError::From {
        node: from.url().to_owned(),
        source,
    })?;
    let ours = to.headers(first, first).await;
    let ours = ours.map(genesis).map_err(|source| SyncError::ToHead {
        node: to.url().to_owned(),
        source,
    })?;
    match (theirs, ours) {
        (Some(theirs), Some(ours)) if theirs != ours => Err(SyncError::OtherChain {
            from: from.url().to_owned(),
            theirs: theirs.to_string(),
            to: to.url().to_owned(),
            ours: ours.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Checks that both nodes have the same block at a height that both have.
async fn compare(from: &NodeClient, to: &NodeClient, height: BlockHeight) -> Result<(), SyncError> {
    let reading = |source| SyncError::From {
        node: from.url().to_owned(),
        source,
    };
    // Read without their transactions, which a node may be unable to write.
    let theirs = from.headers(height, height).await.map_err(reading)?;
    let ours = to.headers(height, height).await;
    let ours = ours.map_err(|source| SyncError::ToHead {
        node: to.url().to_owned(),
        source,
    })?;
    match (theirs.first(), ours.first()) {
        (Some(theirs), Some(ours)) if theirs.hash != ours.hash => Err(SyncError::Fork {
            height,
            from: from.url().to_owned(),
            theirs: theirs.hash.to_string(),
            to: to.url().to_owned(),
            ours: ours.hash.to_string(),
            imported: 0,
        }),
        (None, _) => Err(SyncError::Missing {
            node: from.url().to_owned(),
            height,
        }),
        _ => Ok(()),
    }
}

/// A block to be posted to importBlock.
struct Outgoing {
    height: BlockHeight,
    hash: String,
    tx_count: u64,
    body: String,
}

impl Outgoing {
    fn read(text: &str, chain_id: &agentry_protocol::ChainId) -> Result<Outgoing, String> {
        let limits = Limits {
            max_bytes: usize::MAX,
            ..Limits::default()
        };
        let json =
            Json::parse(text.as_bytes(), limits).map_err(|error: JsonError| error.to_string())?;
        let root = json.root();
        let text = |key| root.get(key).and_then(JsonRef::as_str).map(str::to_owned);
        let height = root
            .get("height")
            .and_then(JsonRef::as_u64)
            .ok_or("it has no height")?;
        let hash = text("hash").ok_or("it has no hash")?;
        let shown = root.get("transactions").map_or(0, JsonRef::len) as u64;
        let tx_count = root
            .get("tx_count")
            .and_then(JsonRef::as_u64)
            .unwrap_or(shown);
        let mut members: Vec<(String, Json)> = root
            .entries()
            .map(|(key, value)| (key.to_owned(), value.to_json()))
            .collect();
        members.retain(|(key, _)| key != "chainId");
        members.push(("chainId".to_owned(), Json::string(chain_id.as_str())));
        // importBlock uses other names for these.
        for (theirs, its) in [("parent_hash", "parentHash"), ("proposer", "miner")] {
            if let (Some(value), None) = (text(theirs), root.get(its)) {
                members.push((its.to_owned(), Json::string(value)));
            }
        }
        let body = Json::object(members).to_compact();
        Ok(Outgoing {
            height: BlockHeight(height),
            hash,
            tx_count,
            body,
        })
    }
}
