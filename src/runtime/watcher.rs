//! ChainWatcher: the position on the chain.
//!
//! The watcher guarantees that every transaction of the canonical chain that concerns a hosted
//! wallet is handed to the router at least once and in order, and that its stored position moves
//! only together with the transactions found before it. It has one reading in progress at a time:
//! while the router and the store are busy, nothing more is read, so a long chain never fills the
//! memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use agentry_chain::{Batch, ChainEvent, ChainSource, Cursor, SourceError};
use agentry_core::Commit;
use agentry_protocol::BlockHeight;
use agentry_protocol::header::MAX_ID_AHEAD_MS;
use agentry_store::read;
use backon::ExponentialBackoff;

use super::Shared;
use super::backoff;
use super::lag::Lag;
use super::metrics::Metrics;
use super::registry::AgentRegistry;
use super::router::Route;
use super::submitter::ChainNews;

/// The most transactions that one reading may return. It bounds the memory for a reading (a
/// transaction has at most 1 MB, and normally far less) and the size of a commit.
const BATCH: usize = 500;

/// How long a position that moved over nothing of interest may stay unstored. A crash costs reading
/// those blocks again; a commit costs an fsync for every block of a quiet chain.
const POSITION_LAG: Duration = Duration::from_secs(1);

/// The same in a cluster, where each of many shards commits for itself, over the network.
const POSITION_LAG_OF_SHARD: Duration = Duration::from_secs(10);

/// The bounds of a pause after a failed reading. The longest is the most by which the watcher recovers
/// later than the node.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// How long a reading may take before the chain counts as unreadable. The source continues to wait:
/// it can tell a slow node from one that is down.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a watcher that waits for the chain to change shows that it has not hung.
const BEAT: Duration = Duration::from_secs(1);

/// How often the time of the newest block is read while it agrees with the local clock: the clock
/// advances by itself in between.
const TIME_EVERY: Duration = Duration::from_secs(60);

/// The bounds of the pause between two such readings while the local clock is ahead.
const TIME_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// How far the local clock may be ahead of a block that was just made, in milliseconds.
const CLOCK_AHEAD_MS: u64 = 2_000;

/// The actor; see the module documentation.
pub struct ChainWatcher {
    shared: Shared,
    registry: AgentRegistry,
    router: Recipient<Route>,
    submitter: Recipient<ChainNews>,
    state: Option<(Box<dyn ChainSource>, Cursor)>,
}

impl std::fmt::Debug for ChainWatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChainWatcher").finish_non_exhaustive()
    }
}

impl ChainWatcher {
    /// A watcher that continues reading from `cursor`.
    pub fn new(
        shared: Shared,
        registry: AgentRegistry,
        router: Recipient<Route>,
        submitter: Recipient<ChainNews>,
        source: Box<dyn ChainSource>,
        cursor: Cursor,
    ) -> Self {
        Self {
            shared,
            registry,
            router,
            submitter,
            state: Some((source, cursor)),
        }
    }
}

impl Actor for ChainWatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some((source, cursor)) = self.state.take() else {
            return;
        };
        let watch = Watch {
            shared: self.shared.clone(),
            registry: self.registry.clone(),
            router: self.router.clone(),
            submitter: self.submitter.clone(),
            source,
            cursor,
            stored: Instant::now(),
            pauses: backoff::between(PAUSE),
            time: TimeReading::default(),
            lag: Lag::default(),
        };
        ctx.spawn(watch.run().into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

/// Shows that the watcher waits, and does not hang, for as long as this is polled.
async fn beat(metrics: &Metrics) {
    loop {
        tokio::time::sleep(BEAT).await;
        metrics.watcher_moved();
    }
}

struct Watch {
    shared: Shared,
    registry: AgentRegistry,
    router: Recipient<Route>,
    submitter: Recipient<ChainNews>,
    source: Box<dyn ChainSource>,
    cursor: Cursor,
    stored: Instant,
    pauses: ExponentialBackoff,
    time: TimeReading,
    lag: Lag,
}

/// The last reading of a block's time.
#[derive(Debug, Default)]
struct TimeReading {
    /// The height of that block.
    of: Option<BlockHeight>,
    /// When it was read.
    at: Option<Instant>,
    /// The pause before the next reading.
    pause: Duration,
    /// The pauses after that.
    pauses: Option<ExponentialBackoff>,
    /// Whether the log has reported that the local clock is ahead.
    told: bool,
}

impl Watch {
    async fn run(mut self) {
        self.watch().await;
        self.shared.metrics.watcher_ended();
    }

    async fn watch(&mut self) {
        let mut stopping = self.shared.stopping.clone();
        while !self.shared.is_stopping() {
            self.shared.metrics.watcher_moved();
            let Some(read) = self.read().await else {
                continue;
            };
            let more = match read {
                Ok(batch) => {
                    self.pauses = backoff::between(PAUSE);
                    self.shared.metrics.source_up(true);
                    let (now, metrics) = (Instant::now(), &self.shared.metrics);
                    self.lag.saw(batch.behind, now, metrics);
                    let more = batch.more;
                    let read = batch.read_through.as_ref().map(|head| head.height);
                    let withdrawn = batch
                        .events
                        .iter()
                        .any(|event| matches!(event, ChainEvent::Withdrawn { .. }));
                    if let Some(height) = read {
                        // First: messages in this batch are examined, and may expire, by that time.
                        self.read_time(height, more).await;
                    }
                    if !self.hand_over(batch).await {
                        continue;
                    }
                    self.shared.catch_up.read(read, withdrawn, more);
                    more
                }
                Err(error) => {
                    self.report(&error);
                    if matches!(error, SourceError::OtherChain { .. }) {
                        self.halt(&error).await;
                    }
                    let pause = self.pauses.next().unwrap_or_default();
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = stopping.changed() => {}
                    }
                    continue;
                }
            };
            if !more {
                let metrics = &self.shared.metrics;
                tokio::select! {
                    () = self.source.changed() => {}
                    _ = stopping.changed() => {}
                    () = beat(metrics) => {}
                }
            }
        }
    }

    /// Reads the next batch. `None`: the process was asked to stop.
    async fn read(&mut self) -> Option<Result<Batch, SourceError>> {
        let mut stopping = self.shared.stopping.clone();
        let reading = self
            .source
            .read(&self.cursor, Arc::new(self.registry.clone()), BATCH);
        let mut reading = std::pin::pin!(reading);
        if let Ok(read) = tokio::time::timeout(PATIENCE, reading.as_mut()).await {
            return Some(read);
        }
        if self.shared.metrics.source_up(false) {
            tracing::warn!(?PATIENCE, "the node does not answer; waiting for it");
        }
        tokio::select! {
            read = reading => Some(read),
            _ = stopping.wait_for(|stopping| *stopping) => None,
        }
    }

    /// Reports the time of the newest block to the clock: often while it confirms less than the
    /// local clock shows.
    async fn read_time(&mut self, height: BlockHeight, more: bool) {
        let clock = &self.shared.clock;
        let is_ahead = clock.unconfirmed_ms() > CLOCK_AHEAD_MS;
        let pause = if is_ahead {
            self.time.pause
        } else {
            TIME_EVERY
        };
        // During catch-up, transactions are distinguished from later ones by their time.
        let is_urgent = is_ahead && !self.shared.catch_up.is_done();
        let is_early = !is_urgent && self.time.at.is_some_and(|at| at.elapsed() < pause);
        if is_early || self.time.of == Some(height) {
            return;
        }
        self.time.of = Some(height);
        self.time.at = Some(Instant::now());
        match tokio::time::timeout(PATIENCE, self.source.time(height)).await {
            Ok(Ok(Some(made_at))) => clock.block_made_at(made_at),
            Ok(Ok(None)) => tracing::debug!(block.height = height.0, "a block states no time"),
            Ok(Err(error)) => tracing::debug!(%error, "cannot read the time of a block"),
            Err(_) => tracing::debug!("cannot read the time of a block: no answer in time"),
        }
        let ahead = clock.unconfirmed_ms();
        self.shared.metrics.clock_ahead(ahead);
        if ahead <= CLOCK_AHEAD_MS {
            self.time.pauses = None;
        }
        let pauses = &mut self.time.pauses;
        let pauses = pauses.get_or_insert_with(|| backoff::between(TIME_PAUSE));
        self.time.pause = pauses.next().unwrap_or_default();
        // The time of block 0 was fixed with the chain, however much later the chain began.
        if ahead > MAX_ID_AHEAD_MS && !more && height.0 > 0 && !self.time.told {
            self.time.told = true;
            tracing::warn!(
                ahead.ms = ahead,
                "the local clock is ahead of the chain's blocks: nothing is pruned or expires before blocks confirm the time"
            );
        } else if ahead <= CLOCK_AHEAD_MS && std::mem::take(&mut self.time.told) {
            tracing::info!("the local clock agrees with the chain's blocks again");
        }
    }

    /// Gives a reading to the router and waits until it is stored. Returns whether it was stored;
    /// if not, the same blocks are read again.
    async fn hand_over(&mut self, batch: Batch) -> bool {
        let moved = batch.cursor != self.cursor;
        if !moved && batch.events.is_empty() {
            return true;
        }
        let lag = match self.shared.lease.is_of_cluster() {
            true => POSITION_LAG_OF_SHARD,
            false => POSITION_LAG,
        };
        let due = self.stored.elapsed() >= lag;
        let store_position = !batch.events.is_empty() || due;
        let cursor = batch.cursor.clone();
        let route = Route {
            batch,
            store_position,
        };
        match self.router.send(route).await {
            Ok(Ok(())) => {
                self.cursor = cursor;
                if store_position {
                    self.stored = Instant::now();
                }
                return true;
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "blocks read from the chain could not be stored; reading them again");
            }
            Err(MailboxError::Closed | MailboxError::Timeout) => {}
        }
        tokio::time::sleep(self.pauses.next().unwrap_or_default()).await;
        false
    }

    /// The chain was replaced by another: nothing is posted to the new one until an operator
    /// resumes posting.
    async fn halt(&self, error: &SourceError) {
        match self.shared.store.read(read::identity).await {
            Ok(identity) if identity.halted.is_some() => return,
            Ok(_) => {}
            Err(error) => return tracing::error!(%error, "cannot read whether posting is stopped"),
        }
        let reason = error.to_string();
        // Immediately: posting must not continue while the store is busy.
        if let Err(error) = self
            .shared
            .store
            .commit_now(Commit::Halt {
                reason: reason.clone(),
            })
            .await
        {
            tracing::error!(%error, "cannot store that posting is stopped");
        }
        let news = ChainNews {
            halted: Some(reason),
            ..ChainNews::default()
        };
        if self.submitter.send(news).await.is_err() {
            tracing::debug!("the submitter has ended; it reads the store when it restarts");
        }
    }

    /// Logs a failed reading: the first of a series as a warning, the others at debug level.
    fn report(&self, error: &SourceError) {
        if self.shared.metrics.source_up(false) {
            tracing::warn!(%error, "the chain cannot be read; trying again");
        } else {
            tracing::debug!(%error, "the chain still cannot be read");
        }
    }
}
