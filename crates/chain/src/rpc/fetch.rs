//! Fetching blocks from a node that may be slow, and may refuse some of them.
//!
//! There is one request at a time. A request that takes long is not cancelled and sent again: a
//! node with one thread would work on both. While it is under way, the node is asked for its head
//! from time to time. If it does not answer that either, it is busy or unreachable. If it does, the
//! request was lost or is too large: then it is cancelled, and the next one asks for less and waits
//! longer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_protocol::{BlockHash, BlockHeight, Timestamp};
use reqwest::Method;
use tokio::time::{Instant, timeout};

use super::meter::{Cost, MAX_WAIT, Meter, Rest};
use crate::dialect;
use crate::node::{Head, NodeClient, NodeError, Wanted};
use crate::source::{Interest, read_time};

pub(super) use crate::node::RawBlock;

/// After this many unservable blocks in a row, and no servable one, the node counts as failing.
const MAX_UNSERVABLE: usize = 16;

/// The call that shows a range of blocks.
const RANGE: &str = "/rpc/blocks-range";

/// How long the node may take to answer with its head while a request is under way, at first and at
/// most. Each unanswered poll waits in the node's queue, so polls become rarer.
const PROBE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));

/// The calls that a source makes, counted and timed.
#[derive(Debug)]
pub(super) struct Fetch {
    node: NodeClient,
    /// The same, for calls whose turn was waited for.
    direct: NodeClient,
    requests: AtomicU64,
    meter: Mutex<Meter>,
    /// Whether blocks that are fetched alone name their parent, as far as is known.
    links: AtomicBool,
}

/// The result of fetching a range of blocks.
#[derive(Debug, Default)]
pub(super) struct Headers {
    pub(super) blocks: Vec<RawBlock>,
    /// Heights for which the node does not even say whether there is a block.
    pub(super) unknown: Vec<u64>,
}

impl Headers {
    pub(super) fn get(&self, height: u64) -> Option<&Head> {
        let at = self
            .blocks
            .binary_search_by_key(&height, |block| block.head.height.0)
            .ok()?;
        self.blocks.get(at).map(|block| &block.head)
    }
}

impl Fetch {
    pub(super) fn new(node: NodeClient, page: u64) -> Self {
        Self {
            direct: node.paced_by_caller(),
            node,
            requests: AtomicU64::new(0),
            meter: Mutex::new(Meter::new(page)),
            links: AtomicBool::new(true),
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn node(&self) -> &NodeClient {
        &self.node
    }

    pub(super) fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many old blocks may be requested now for one purpose; 0: none.
    pub(super) fn old_blocks(&self, rest: &mut Rest, head: BlockHash) -> u64 {
        let fits = match self.node.has_spare_calls(RANGE) {
            true => self.meter().fits(self.node.spare_time()),
            false => 0,
        };
        rest.allows(fits, head, Instant::now())
    }

    /// Whether a block that is fetched alone names its parent. A follower's blocks do not.
    pub(super) fn links(&self) -> bool {
        self.links.load(Ordering::Relaxed)
    }

    pub(super) fn has_no_links(&self) {
        self.links.store(false, Ordering::Relaxed);
    }

    /// Whether a cancelled request had already waited so long that a longer wait would not help.
    pub(super) fn waited_long_enough(&self, error: &NodeError) -> bool {
        matches!(error, NodeError::Timeout { .. }) && self.meter().wait_limit() >= MAX_WAIT / 2
    }

    /// Sends one request, when it is its turn, and waits for its answer.
    async fn ask<T>(
        &self,
        path: &str,
        cost: Cost,
        request: impl Future<Output = Result<T, NodeError>>,
    ) -> Result<T, NodeError> {
        self.node.turn(&Method::GET, path).await?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let mut wait_limit = self.meter().wait_limit();
        let mut pause = PROBE.0;
        let mut request = std::pin::pin!(request);
        let answer = loop {
            if let Ok(answer) = timeout(wait_limit, request.as_mut()).await {
                break answer;
            }
            self.requests.fetch_add(1, Ordering::Relaxed);
            let probe = tokio::select! {
                answer = request.as_mut() => break answer,
                probe = timeout(pause, self.node.head()) => probe,
            };
            // Any answer shows that the node is up; a failed connection does not.
            let answers = match probe {
                Ok(Ok(_) | Err(NodeError::Status { .. } | NodeError::Unreadable { .. })) => true,
                Ok(Err(_)) | Err(_) => false,
            };
            if answers {
                self.meter().lost(cost);
                return Err(NodeError::Timeout {
                    call: format!("GET {path}"),
                    node: self.node.url().to_owned(),
                });
            }
            wait_limit = pause;
            pause = (pause * 2).min(PROBE.1);
        };
        match &answer {
            Ok(_) => self.meter().answered(cost, began.elapsed()),
            Err(NodeError::TooLarge { .. }) => self.meter().too_large(cost),
            Err(_) => {}
        }
        answer
    }

    pub(super) async fn head(&self) -> Result<Option<Head>, NodeError> {
        self.ask("/rpc/head", Cost::Small, self.direct.head()).await
    }

    /// The path of the call that shows one block.
    pub(super) fn block_path(&self, height: u64) -> String {
        match dialect::shows_blocks_alone(self.node.configured_dialect()) {
            true => format!("/rpc/blocks/{height}"),
            false => RANGE.to_owned(),
        }
    }

    pub(super) async fn block(
        &self,
        height: u64,
        interest: &dyn Interest,
    ) -> Result<Option<RawBlock>, NodeError> {
        let path = self.block_path(height);
        let request = self.direct.raw_block(BlockHeight(height), interest);
        self.ask(&path, Cost::Rows(1), request).await
    }

    /// The hash of one block. None: there is no such block.
    pub(super) async fn hash(&self, height: u64) -> Result<Option<BlockHash>, NodeError> {
        Ok(self.header(height).await?.map(|head| head.hash))
    }

    /// A block without its transactions, which the node may be unable to serialize.
    pub(super) async fn header(&self, height: u64) -> Result<Option<Head>, NodeError> {
        let blocks = self.range(height, height, Wanted::Headers).await?;
        Ok(blocks.into_iter().next().map(|block| block.head))
    }

    /// When a block was made. None: there is no such block, or it does not say.
    pub(super) async fn time(&self, height: u64) -> Result<Option<Timestamp>, NodeError> {
        let blocks = self.range(height, height, Wanted::Headers).await?;
        Ok(blocks.first().and_then(|block| read_time(&block.timestamp)))
    }

    async fn range(
        &self,
        from: u64,
        to: u64,
        wanted: Wanted<'_>,
    ) -> Result<Vec<RawBlock>, NodeError> {
        let count = to.saturating_sub(from).saturating_add(1);
        let cost = match wanted {
            Wanted::Headers => Cost::Headers(count),
            Wanted::Rows(_) => Cost::Rows(count),
        };
        let (start, end) = (BlockHeight(from), BlockHeight(to));
        let request = self.direct.raw_blocks(start, end, wanted);
        self.ask(RANGE, cost, request).await
    }

    /// The blocks from `from` through at most `to`, with their transactions, as many as one request
    /// should ask for and at least two. The range is halved while it fails. An error means that not
    /// even the first block could be fetched.
    pub(super) async fn first_of(
        &self,
        from: u64,
        to: u64,
        interest: &dyn Interest,
    ) -> Result<Vec<RawBlock>, NodeError> {
        let size = self.meter().size(true).max(2);
        let mut to = to.min(from.saturating_add(size - 1));
        loop {
            match self.range(from, to, Wanted::Rows(interest)).await {
                Ok(blocks) => return Ok(blocks),
                Err(error) if may_be_one_block(&error) && from < to => to = from + (to - from) / 2,
                Err(error) => return Err(error),
            }
        }
    }

    /// A few blocks with their transactions, in one request.
    pub(super) async fn few(
        &self,
        from: u64,
        to: u64,
        interest: &dyn Interest,
    ) -> Result<Vec<RawBlock>, NodeError> {
        self.range(from, to, Wanted::Rows(interest)).await
    }

    /// All headers that the node has from one height to another, a piece at a time, skipping the
    /// blocks that it cannot serve at all. `gaps`: the heights of such blocks that are already
    /// known. A node that serves no header is failing, which shows after a few calls.
    pub(super) async fn headers(
        &self,
        from: u64,
        to: u64,
        gaps: &[u64],
    ) -> Result<Headers, NodeError> {
        let mut found = Headers {
            blocks: Vec::new(),
            unknown: gaps
                .iter()
                .copied()
                .filter(|gap| (from..=to).contains(gap))
                .collect(),
        };
        match self.piece(from, to, &mut found).await {
            Ok(()) => {
                found.unknown.clear();
                return Ok(found);
            }
            Err(error) if may_be_one_block(&error) => found.blocks.clear(),
            Err(error) => return Err(error),
        }
        // The pieces between the gaps, the lowest one on top.
        let mut pieces = Vec::new();
        let mut start = from;
        for gap in &found.unknown {
            if start < *gap {
                pieces.push((start, gap - 1));
            }
            start = gap.saturating_add(1);
        }
        if start <= to {
            pieces.push((start, to));
        }
        pieces.reverse();
        let (mut failures, mut last) = (0, None);
        while let Some((from, to)) = pieces.pop() {
            let known = found.blocks.len();
            match self.piece(from, to, &mut found).await {
                Ok(()) => {}
                Err(error) if !may_be_one_block(&error) => return Err(error),
                Err(error) if from == to => {
                    found.unknown.push(from);
                    failures += 1;
                    if found.blocks.is_empty() && failures >= MAX_UNSERVABLE {
                        return Err(error);
                    }
                    last = Some(error);
                }
                Err(_) => {
                    found.blocks.truncate(known);
                    let middle = from + (to - from) / 2;
                    pieces.extend([(middle + 1, to), (from, middle)]);
                }
            }
        }
        match last {
            Some(error) if found.blocks.is_empty() => Err(error),
            // If only known gaps failed, there is no new failure to report.
            _ => Ok(found),
        }
    }

    /// The headers of a piece, in as many requests as it takes. A node that truncates its answers
    /// is asked for the rest.
    async fn piece(&self, from: u64, to: u64, found: &mut Headers) -> Result<(), NodeError> {
        let mut next = from;
        while next <= to {
            let size = self.meter().size(false);
            let end = to.min(next.saturating_add(size - 1));
            let blocks = self.range(next, end, Wanted::Headers).await?;
            let Some(last) = blocks.last().map(|block| block.head.height.0) else {
                return Ok(());
            };
            found.blocks.extend(blocks);
            next = last.saturating_add(1);
        }
        Ok(())
    }
}

/// Whether a failure may be caused by one block of the range, or by the range's size, rather than
/// by the node.
pub(super) fn may_be_one_block(error: &NodeError) -> bool {
    match error {
        NodeError::TooLarge { .. } | NodeError::Unreadable { .. } => true,
        NodeError::Status { status, .. } => *status >= 500 || matches!(status, 400 | 413 | 422),
        _ => false,
    }
}
