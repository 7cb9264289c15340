//! Fetching blocks from a node that may be slow, and may refuse some of them.
//!
//! There is one request at a time. One that takes long is not given up and sent again: a node with
//! one thread would work on both. It is waited for, and meanwhile the node is asked for its head now
//! and then. While it does not answer that either, it is busy, or away. Once it does, the request is
//! lost, or too large: then it is given up, and the next one asks for less and has more patience.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_protocol::{BlockHash, BlockHeight};
use tokio::time::{Instant, timeout};

use super::meter::{Cost, MAX_PATIENCE, Meter, Rest};
use crate::node::{Head, NodeClient, NodeError, Wanted};
use crate::source::{Interest, milliseconds};

pub(super) use crate::node::RawBlock;

/// After so many blocks in a row that cannot be given, and none that can, the node is taken to be ill.
const HOPELESS: usize = 16;

/// How long the node may take to say its head while a request is under way, at first and at most.
/// Each question that it leaves unanswered waits in its queue, so they become fewer.
const PROBE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));

/// The calls that a source makes, counted and timed.
#[derive(Debug)]
pub(super) struct Fetch {
    node: NodeClient,
    requests: AtomicU64,
    meter: Mutex<Meter>,
    /// Whether blocks by themselves name the one before them, so far as is known.
    links: AtomicBool,
}

/// Blocks of a range.
#[derive(Debug, Default)]
pub(super) struct Headers {
    pub(super) blocks: Vec<RawBlock>,
    /// Heights of which the node says nothing, not even whether there is a block.
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

    /// How many old blocks may be asked for now, by one sort of look at them; 0: none.
    pub(super) fn old_blocks(&self, rest: &mut Rest, head: BlockHash) -> u64 {
        let fits = self.meter().fits(self.node.spare_time());
        rest.allows(fits, head, Instant::now())
    }

    /// Whether a block by itself names the one before it. A follower's do not.
    pub(super) fn links(&self) -> bool {
        self.links.load(Ordering::Relaxed)
    }

    pub(super) fn has_no_links(&self) {
        self.links.store(false, Ordering::Relaxed);
    }

    /// Whether a request that was given up had been waited for so long that longer waits are no help.
    pub(super) fn was_patient(&self, error: &NodeError) -> bool {
        matches!(error, NodeError::Timeout { .. }) && self.meter().patience() >= MAX_PATIENCE / 2
    }

    /// Sends one request and waits for its answer.
    async fn ask<T>(
        &self,
        call: &str,
        cost: Cost,
        request: impl Future<Output = Result<T, NodeError>>,
    ) -> Result<T, NodeError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let mut patience = self.meter().patience();
        let mut pause = PROBE.0;
        let mut request = std::pin::pin!(request);
        let answer = loop {
            if let Ok(answer) = timeout(patience, request.as_mut()).await {
                break answer;
            }
            self.requests.fetch_add(1, Ordering::Relaxed);
            let probe = tokio::select! {
                answer = request.as_mut() => break answer,
                probe = timeout(pause, self.node.head()) => probe,
            };
            // Whatever it says, it answers; but one that cannot be reached does not.
            let answers = match probe {
                Ok(Ok(_) | Err(NodeError::Status { .. } | NodeError::Unreadable { .. })) => true,
                Ok(Err(_)) | Err(_) => false,
            };
            if answers {
                self.meter().lost(cost);
                return Err(NodeError::Timeout {
                    call: call.to_owned(),
                    node: self.node.url().to_owned(),
                });
            }
            patience = pause;
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
        self.ask("GET /rpc/head", Cost::Small, self.node.head())
            .await
    }

    pub(super) async fn block(
        &self,
        height: u64,
        interest: &dyn Interest,
    ) -> Result<Option<RawBlock>, NodeError> {
        let call = format!("GET /rpc/blocks/{height}");
        let request = self.node.raw_block(BlockHeight(height), interest);
        self.ask(&call, Cost::Rows(1), request).await
    }

    /// The hash of one block. None: there is no such block.
    pub(super) async fn hash(&self, height: u64) -> Result<Option<BlockHash>, NodeError> {
        Ok(self.header(height).await?.map(|head| head.hash))
    }

    /// A block without its transactions, which the node may be unable to write.
    pub(super) async fn header(&self, height: u64) -> Result<Option<Head>, NodeError> {
        let blocks = self.range(height, height, Wanted::Headers).await?;
        Ok(blocks.into_iter().next().map(|block| block.head))
    }

    /// When a block was made. None: there is no such block, or it does not say.
    pub(super) async fn time(&self, height: u64) -> Result<Option<u64>, NodeError> {
        let blocks = self.range(height, height, Wanted::Headers).await?;
        Ok(blocks
            .first()
            .and_then(|block| milliseconds(&block.timestamp)))
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
        let request = self.node.raw_blocks(start, end, wanted);
        self.ask("GET /rpc/blocks-range", cost, request).await
    }

    /// As many blocks from `from` on, at most through `to`, as one request should bring with their
    /// transactions, but room for two. The range is halved while it fails. An error: not even the
    /// first one.
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

    /// The headers from one height to another, all that the node has, a piece at a time and around
    /// the blocks that it cannot give at all. `gaps`: where such blocks are already known. A node that
    /// gives none is ill, which is found out within a few calls.
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
        // What lies between the gaps, the lowest piece on top.
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
                    if found.blocks.is_empty() && failures >= HOPELESS {
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
            // Where all that failed was known to, there is nothing to complain of.
            _ => Ok(found),
        }
    }

    /// The headers of a stretch, in as many requests as it takes. A node that cuts its answers short
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

/// Whether a failure may be the fault of one block within the range, or of the range's size, rather
/// than of the node.
pub(super) fn may_be_one_block(error: &NodeError) -> bool {
    match error {
        NodeError::TooLarge { .. } | NodeError::Unreadable { .. } => true,
        NodeError::Status { status, .. } => *status >= 500 || matches!(status, 400 | 413 | 422),
        _ => false,
    }
}
