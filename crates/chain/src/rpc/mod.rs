//! [`RpcSource`]: the source that reads over a node's RPC.
//!
//! | module | what it is for |
//! |---|---|
//! | `fetch` | fetching blocks from a node that may be slow, and may refuse some of them |
//! | `meter` | the cost of requests, and how many old blocks may be requested |
//! | `turn` | one read: deliver what is new, try the gaps again |
//! | `fork` | where the chain diverges from the blocks that were read |
//! | `sweep`, `digest` | transactions that were added late to the last blocks that were read |
//! | `gaps`, `second` | blocks that could not be read: when to try them again, and another node that may have them |
//!
//! A read costs one small request while nothing changes, and one more, for the new block alone,
//! when the head has moved by one. Old blocks are read again from time to time, and only while all
//! requests of the process have used less than a sixteenth of the node's time; but always one under
//! each new head. Where the node limits how often it is asked, requests wait for their turn, and a pause
//! that it asks for is waited out: it is no failure of a read.

mod digest;
mod fetch;
mod fork;
mod gaps;
mod heads;
mod meter;
mod second;
mod sweep;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use agentry_protocol::{BlockHash, BlockHeight, ChainId, Dialect, Timestamp};
use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use self::digest::{HEADER, entry};
use self::fetch::{Fetch, RawBlock};
use self::gaps::Gaps;
use self::heads::HeadView;
use self::second::Second;
use self::sweep::Sweep;
use self::turn::{Part, Read, Turn};
use crate::node::{Head, NodeClient, NodeError, Pace};
use crate::source::{
    Batch, ChainEvent, ChainSource, Cursor, Exemption, Interest, Kind, Nature, Origin, SourceError,
    Start, Trail,
};

pub use self::heads::SharedHead;

/// The options of an [`RpcSource`].
#[derive(Debug, Clone)]
pub struct RpcOptions {
    /// The shortest time between two polls of the head, used while a block is due; that of the node's
    /// dialect, if it is longer. At other times the head is polled less often, but at least every
    /// 500 ms. Default 250 ms.
    pub poll: Duration,
    /// The most new blocks that one request asks for, at least 1. It asks for as many as keep the
    /// node busy for a quarter of a second. Default 64.
    pub page: u64,
    /// How often a block must fail, while others are served, before it becomes a gap. Default 3.
    pub tries: u32,
    /// The shortest time that a gap waits before it is tried again. The waits double, with jitter.
    /// Default 1 s.
    pub gap_wait: Duration,
    /// The longest of these waits, at least twice the shortest. Default 10 minutes.
    pub longest_gap_wait: Duration,
    /// The time between the starts of two passes over the last 64 blocks, which search for late
    /// transactions. Default 2 s. A pass takes longer on a slow node.
    pub sweep_every: Duration,
}

impl Default for RpcOptions {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(250),
            page: 64,
            tries: 3,
            gap_wait: Duration::from_secs(1),
            longest_gap_wait: Duration::from_secs(600),
            sweep_every: Duration::from_secs(2),
        }
    }
}

/// A node's RPC as a [`ChainSource`].
#[derive(Debug)]
pub struct RpcSource {
    fetch: Fetch,
    second: Option<Second>,
    chain: ChainId,
    options: RpcOptions,
    gaps: Gaps,
    sweep: Sweep,
    pace: Pace,
    /// The last returned position, and what is known about it.
    last: Option<Last>,
    /// Block 0 has been compared with the cursor's.
    genesis_is_known: bool,
    next_poll: Instant,
    heads: HeadView,
}

#[derive(Debug)]
struct Last {
    head: Head,
    cursor: Cursor,
    /// All new blocks under that head have been read.
    is_done: bool,
    behind: u64,
    /// Blocks that were fetched and not yet delivered.
    ahead: Vec<RawBlock>,
}

impl RpcSource {
    /// The chain of a node. Nothing is sent yet.
    #[must_use]
    pub fn new(node: NodeClient, chain: ChainId, mut options: RpcOptions) -> Self {
        let tempo = node.tempo();
        options.poll = options.poll.max(tempo.shortest);
        options.page = options.page.clamp(1, 10_000);
        Self {
            fetch: Fetch::new(node, options.page),
            second: None,
            chain,
            gaps: Gaps::new(options.gap_wait, options.longest_gap_wait),
            sweep: Sweep::new(),
            pace: Pace::new(tempo, options.poll),
            options,
            last: None,
            genesis_is_known: false,
            next_poll: Instant::now(),
            heads: HeadView::of(SharedHead::default()),
        }
    }

    /// Asks for the head together with the other sources of the same node that share it.
    #[must_use]
    pub fn sharing(mut self, head: &SharedHead) -> Self {
        self.heads = HeadView::of(head.clone());
        self
    }

    /// Completes blocks that the node does not show whole from another node, if that one is on the
    /// same chain (by its block 0) and has a block of the same hash.
    #[must_use]
    pub fn completed_from(mut self, node: NodeClient) -> Self {
        self.second = Some(Second::new(node));
        self
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &NodeClient {
        self.fetch.node()
    }

    /// The chain that the node is assumed to serve. The node itself does not say: compare
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

    fn set_next_poll(&mut self) {
        let now = Instant::now();
        self.next_poll = now + self.pace.wait(self.fetch.meter().small(), now);
    }

    /// Ends a read that could not begin. A pause that the node asks for is no failure: nothing is read
    /// until it is over.
    fn rest(&mut self, cursor: &Cursor, error: SourceError) -> Result<Batch, SourceError> {
        let Some(pause) = pause(&error) else {
            return Err(error);
        };
        self.next_poll = Instant::now() + pause;
        let behind = self.last.as_ref().map_or(0, |last| last.behind);
        Ok(batch(Vec::new(), cursor.clone(), false, behind))
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
            is_networked: true,
            exemptions: &[Exemption::LateRowsBelowWindow, Exemption::Gaps],
        }
    }

    async fn dialect(&mut self) -> Result<Option<Dialect>, SourceError> {
        Ok(self.fetch.node().dialect().await?)
    }

    async fn genesis(&mut self) -> Result<Option<BlockHash>, SourceError> {
        self.block_0().await
    }

    async fn head(&mut self) -> Result<Option<Head>, SourceError> {
        Ok(self.fetch.head().await?)
    }

    async fn time(&mut self, height: BlockHeight) -> Result<Option<Timestamp>, SourceError> {
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
        // The first blocks tell another run of the chain from this one.
        let first = match window.min(2).checked_sub(1) {
            Some(last) => self.fetch.headers(0, last, &[]).await?.blocks,
            None => Vec::new(),
        };
        let range = self.fetch.headers(window, below, &[]).await?;
        for block in first.into_iter().chain(range.blocks) {
            cursor.trail.push(entry(&block.head, HEADER));
            cursor.tip = Some(block.head);
        }
        Ok(cursor)
    }

    async fn read(
        &mut self,
        cursor: &Cursor,
        interest: Arc<dyn Interest>,
        limit: usize,
    ) -> Result<Batch, SourceError> {
        let before = cursor;
        let mut cursor = cursor.clone();
        let head = self.heads.head(self.options.poll, self.fetch.head()).await;
        let head = match head {
            Ok(head) => head,
            Err(error) => return self.rest(before, error.into()),
        };
        self.pace
            .saw(head.as_ref().map(|head| head.height), Instant::now());
        self.set_next_poll();
        let Some(head) = head else {
            // No block yet, or none any more: the chain is unknown until its first block.
            let behind = cursor.next_height();
            return Ok(batch(Vec::new(), cursor, false, behind));
        };
        if !self.genesis_is_known {
            match self.block_0().await {
                Ok(genesis) => compare_genesis(&mut cursor, genesis)?,
                Err(error) => return self.rest(before, error),
            }
            self.genesis_is_known = true;
        }
        if cursor.kind != Kind::Rpc {
            cursor.kind = Kind::Rpc;
            cursor.trail.set_digests(HEADER);
        }
        let last = self.last.take().filter(|last| last.cursor == *before);
        let is_settled = last
            .as_ref()
            .is_some_and(|last| last.is_done && last.head == head);
        let behind = last.as_ref().map_or(0, |last| last.behind);
        let ahead = last.filter(|last| last.head.height <= head.height);
        let mut turn = Turn {
            fetch: &self.fetch,
            second: &mut self.second,
            gaps: &mut self.gaps,
            options: &self.options,
            interest: &*interest,
            head: &head,
            limit: limit.max(1),
            cursor,
            events: Vec::new(),
            bytes: 0,
            ahead: ahead.map(|last| last.ahead).unwrap_or_default(),
            behind,
            began: Instant::now(),
        };
        let read = turn.read(is_settled, &mut self.sweep).await;
        let Turn {
            events,
            cursor,
            ahead,
            behind,
            ..
        } = turn;
        let (part, more) = match read {
            Ok(Read { part, more }) => (part, more),
            // What was read is kept; the rest comes when the node may be asked again.
            Err(error) if let Some(pause) = pause(&error) => {
                self.next_poll = Instant::now() + pause;
                (Part::Waiting, false)
            }
            // The events that were read are kept; a persistent error will occur again.
            Err(_) if cursor != *before || !events.is_empty() => (Part::Waiting, true),
            Err(error) => return Err(error),
        };
        self.last = Some(Last {
            head,
            cursor: cursor.clone(),
            is_done: part == Part::Done,
            behind,
            ahead,
        });
        Ok(batch(events, cursor, more, behind))
    }

    fn is_over_its_share(&self) -> bool {
        self.node().spare_time().is_zero()
    }

    async fn changed(&mut self) {
        tokio::select! {
            () = sleep_until(self.next_poll) => {}
            () = self.heads.changed() => {}
        }
        self.set_next_poll();
    }
}

/// Compares block 0 with the cursor's: once for each source, and whenever no other block matches.
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

/// The pause that the node asks for, if that is why it was not read.
fn pause(error: &SourceError) -> Option<Duration> {
    match error {
        SourceError::Node(NodeError::Paused { wait, .. }) => Some(*wait),
        _ => None,
    }
}

fn batch(events: Vec<ChainEvent>, cursor: Cursor, more: bool, behind: u64) -> Batch {
    Batch {
        events,
        read_through: cursor.tip.clone(),
        cursor,
        more,
        behind,
    }
}
