//! [`RpcSource`]: the source that reads over a node's RPC.
//!
//! | module | what it is for |
//! |---|---|
//! | `fetch` | fetching blocks from a node that may refuse some of them |
//! | `turn` | one read: verify, deliver what is new, try the gaps again |
//! | `window` | checking the last blocks that were read: forks, and what came late to them |
//! | `gaps` | blocks that could not be read, and when to try them again |
//!
//! A read costs one small request while nothing changes. When the head has changed it costs one call
//! more, of the last 64 blocks and what is new.

mod fetch;
mod gaps;
mod turn;
mod window;

use std::time::Duration;

use agentry_protocol::{BlockHash, BlockHeight, ChainId};
use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use self::fetch::Fetch;
use self::gaps::Gaps;
use self::turn::{Part, Turn, UNREAD, digest, entry};
use crate::node::{Head, NodeClient, RawBlock};
use crate::source::{
    Batch, ChainEvent, ChainSource, Cursor, Exemption, Interest, Kind, Nature, Origin, SourceError,
    Start, Trail,
};

/// How an [`RpcSource`] reads.
#[derive(Debug, Clone)]
pub struct RpcOptions {
    /// How often [`changed`](ChainSource::changed) has the head asked for. Default 250 ms.
    pub poll: Duration,
    /// How many new blocks are asked for at a time, at least 1. Default 64.
    pub page: u64,
    /// How often a block must fail, while others are served, before it becomes a gap. Default 3.
    pub tries: u32,
    /// How long a new gap waits before it is tried again; each wait is twice the one before.
    /// Default 5 s.
    pub gap_wait: Duration,
    /// The longest of these waits. Default 10 minutes.
    pub longest_gap_wait: Duration,
}

impl Default for RpcOptions {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(250),
            page: 64,
            tries: 3,
            gap_wait: Duration::from_secs(5),
            longest_gap_wait: Duration::from_secs(600),
        }
    }
}

/// A node's RPC as a [`ChainSource`].
#[derive(Debug)]
pub struct RpcSource {
    fetch: Fetch,
    chain: ChainId,
    options: RpcOptions,
    gaps: Gaps,
    /// The position that was returned last, and the head that it was read under.
    last: Option<Last>,
    /// Block 0 has been compared with the cursor's.
    genesis_is_known: bool,
    next_poll: Instant,
}

#[derive(Debug)]
struct Last {
    head: Head,
    cursor: Cursor,
    /// What of that read is left: Done is nothing, More only new blocks.
    part: Part,
    /// Blocks that were fetched and not yet delivered.
    ahead: Vec<RawBlock>,
}

impl RpcSource {
    /// The chain of a node. Nothing is sent yet.
    #[must_use]
    pub fn new(node: NodeClient, chain: ChainId, mut options: RpcOptions) -> Self {
        options.page = options.page.clamp(1, 10_000);
        Self {
            fetch: Fetch::new(node),
            chain,
            gaps: Gaps::new(options.gap_wait, options.longest_gap_wait),
            options,
            last: None,
            genesis_is_known: false,
            next_poll: Instant::now(),
        }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &NodeClient {
        self.fetch.node()
    }

    /// The chain that the node is taken to serve. It does not say so itself: compare
    /// [`genesis`](ChainSource::genesis).
    #[must_use]
    pub fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// How many requests have been sent.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.fetch.requests()
    }

    async fn block_0(&self) -> Result<Option<BlockHash>, SourceError> {
        Ok(self.fetch.hash(0).await?)
    }
}

#[async_trait]
impl ChainSource for RpcSource {
    fn nature(&self) -> Nature {
        Nature {
            name: "rpc",
            exemptions: &[Exemption::LateRowsBelowWindow, Exemption::Gaps],
        }
    }

    async fn genesis(&mut self) -> Result<Option<BlockHash>, SourceError> {
        self.block_0().await
    }

    async fn head(&mut self) -> Result<Option<Head>, SourceError> {
        Ok(self.fetch.head().await?)
    }

    async fn time(&mut self, height: BlockHeight) -> Result<Option<u64>, SourceError> {
        Ok(self.fetch.time(height.0).await?)
    }

    async fn begin(&mut self, start: Start) -> Result<Cursor, SourceError> {
        let head = self.fetch.head().await?;
        let height = head.as_ref().map(|head| head.height.0);
        let origin = match start {
            Start::Head => Origin {
                height: height.map_or(0, |height| height.saturating_add(1)),
                lowers: true,
            },
            Start::Height(height) => Origin {
                height: height.0,
                lowers: false,
            },
        };
        let mut cursor = Cursor::new(Kind::Rpc, origin);
        let Some(height) = height else {
            return Ok(cursor);
        };
        cursor.genesis = self.block_0().await?;
        let Some(below) = origin.height.checked_sub(1).map(|below| below.min(height)) else {
            return Ok(cursor);
        };
        let window = Trail::window_start(below);
        if let Some(hash) = cursor.genesis.filter(|_| window > 0) {
            let height = BlockHeight(0);
            cursor.trail.push(entry(
                &Head {
                    height,
                    hash,
                    tx_count: 0,
                },
                UNREAD,
            ));
        }
        let range = self.fetch.all_somehow(window, below, &[]).await?;
        for block in range.blocks {
            let digest = if range.with_rows {
                digest(&block)
            } else {
                UNREAD
            };
            cursor.trail.push(entry(&block.head, digest));
            cursor.tip = Some(block.head);
        }
        Ok(cursor)
    }

    async fn read(
        &mut self,
        cursor: &Cursor,
        interest: &dyn Interest,
        limit: usize,
    ) -> Result<Batch, SourceError> {
        let mut cursor = cursor.clone();
        let Some(head) = self.fetch.head().await? else {
            // No block yet, or none any more: what stands on the chain will be known with the first.
            return Ok(batch(Vec::new(), cursor, false));
        };
        if !self.genesis_is_known {
            compare_genesis(&mut cursor, self.block_0().await?)?;
            self.genesis_is_known = true;
        }
        let last = self.last.take();
        let last = last.filter(|last| last.cursor == cursor && last.head == head);
        let (left, ahead) = last.map(|last| (last.part, last.ahead)).unzip();
        cursor.kind = Kind::Rpc;
        let mut turn = Turn {
            fetch: &self.fetch,
            gaps: &mut self.gaps,
            options: &self.options,
            interest,
            head: &head,
            limit: limit.max(1),
            cursor,
            events: Vec::new(),
            bytes: 0,
            ahead: ahead.unwrap_or_default(),
        };
        let mut part = Part::Done;
        let mut verified = true;
        if left.is_none_or(|left| left == Part::Waiting) {
            part = turn.verify().await?;
            verified = part == Part::Done;
        }
        if part == Part::Done && left != Some(Part::Done) {
            part = turn.fresh().await?;
        }
        turn.retry().await?;
        let Turn {
            events,
            cursor,
            ahead,
            ..
        } = turn;
        if verified {
            self.last = Some(Last {
                head,
                cursor: cursor.clone(),
                part,
                ahead,
            });
        }
        Ok(batch(events, cursor, part == Part::More))
    }

    async fn changed(&mut self) {
        sleep_until(self.next_poll).await;
        self.next_poll = Instant::now() + self.options.poll;
    }
}

/// Compares block 0 with the cursor's: once for each source, and whenever nothing else has matched.
fn compare_genesis(cursor: &mut Cursor, now: Option<BlockHash>) -> Result<(), SourceError> {
    match (cursor.genesis, now) {
        (Some(expected), Some(found)) if expected != found => {
            return Err(SourceError::OtherChain { expected, found });
        }
        (None, Some(found)) if cursor.tip.is_some() => cursor.genesis = Some(found),
        _ => {}
    }
    Ok(())
}

fn batch(events: Vec<ChainEvent>, cursor: Cursor, more: bool) -> Batch {
    Batch {
        events,
        read_through: cursor.tip.clone(),
        cursor,
        more,
    }
}
