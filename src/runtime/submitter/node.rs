//! Whether the node answers, and serves the right chain.
//!
//! A chain is identified by its block 0. The posting node is asked for it before the first POST,
//! after every outage, since another node may have taken its place, and from time to time. While
//! the node gives no valid answer, or shows another chain's block 0, a circuit breaker is open:
//! the node is probed, and nothing is posted to it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use agentry_chain::{NodeError, SubmitError};
use agentry_protocol::BlockHeight;
use backon::ExponentialBackoff;
use tokio::time::{sleep, timeout};

use super::Work;
use crate::runtime::backoff;

/// The bounds of a pause before a probe. The longest is the most by which the runtime recovers later
/// than the node.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// The longest pause that a node may request with 429. One answer with a huge value must not stop
/// all posting: after this pause the node is probed, and posting continues if it answers.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

/// How many consecutive answers may fail before the breaker opens. One failed answer of a node that
/// otherwise works is no reason to stop.
const TOLERATED: u32 = 3;

/// How often an answering node is asked which chain it serves: the longest time for which
/// transactions may be posted to a node that took its place unnoticed. It is one small request.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// The bounds on a POST's time limit, after which its outcome counts as unknown. The limit is one
/// block interval, clamped to these bounds. A late answer costs nothing, since a transaction that
/// the node may have accepted is followed; a node that hangs costs this long.
const POST_LIMITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Open while the node is down: only probes are sent then, and nothing is posted.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    open: bool,
    /// The pause before the first probe, if one was requested.
    requested: Option<Duration>,
    /// The pauses before the next probes, if there was one since the node answered.
    pauses: Option<ExponentialBackoff>,
}

impl Breaker {
    /// Whether the breaker is open, so that nothing may be posted.
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// The node answered a POST. While the breaker is open, that POST was sent before it opened.
    /// Only a probe closes the breaker, since a probe has seen which chain the node serves.
    fn answered(&mut self) {
        if !self.open {
            self.failures = 0;
        }
    }

    /// The node answers again.
    fn close(&mut self) {
        *self = Self::default();
    }

    /// Records a missing or bad answer of the node. Returns whether that opened the breaker.
    fn failed(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures >= TOLERATED && self.trip(None)
    }

    /// Records that the node is unreachable, or asks for a pause. Returns whether that opened the
    /// breaker.
    pub(super) fn trip(&mut self, pause: Option<Duration>) -> bool {
        let opened = !std::mem::replace(&mut self.open, true);
        if opened {
            self.requested = pause.map(|pause| pause.min(MAX_RETRY_AFTER));
        }
        opened
    }

    /// How long to wait before the next probe; `None` while the breaker is closed.
    fn next_pause(&mut self) -> Option<Duration> {
        if !self.open {
            return None;
        }
        let pauses = self.pauses.get_or_insert_with(|| backoff::between(PAUSE));
        self.requested.take().or_else(|| pauses.next())
    }
}

/// The observed interval between blocks.
#[derive(Debug)]
pub(super) struct BlockInterval {
    last: Option<(BlockHeight, Instant)>,
    interval: Duration,
}

impl Default for BlockInterval {
    fn default() -> Self {
        // The real node's block interval.
        Self {
            last: None,
            interval: Duration::from_secs(2),
        }
    }
}

impl BlockInterval {
    pub(super) fn observe(&mut self, height: BlockHeight) {
        let now = Instant::now();
        if let Some((before, then)) = self.last {
            let blocks = u32::try_from(height.0.saturating_sub(before.0)).unwrap_or(u32::MAX);
            if blocks > 0 {
                let one = now.duration_since(then) / blocks;
                // A moving average: the last interval counts for half.
                self.interval = (self.interval + one) / 2;
            }
        }
        self.last = Some((height, now));
    }

    /// How long a POST may take before its outcome counts as unknown.
    pub(super) fn post_limit(&self) -> Duration {
        self.interval.clamp(POST_LIMITS.0, POST_LIMITS.1)
    }
}

impl Work {
    /// Asks the node from time to time which chain it serves, and probes it while it is down.
    pub(super) async fn watch_node(self: Rc<Self>) {
        let (node, genesis) = (&self.settings.node, self.settings.genesis);
        // The block 0 that the node shows, if it is another chain's.
        let mut other_chain = None;
        loop {
            let pause = self.state().breaker.next_pause();
            match pause {
                Some(pause) => sleep(pause).await,
                None if timeout(CHECK_EVERY, self.node_failed.notified())
                    .await
                    .is_ok() =>
                {
                    continue;
                }
                None => {}
            }
            let limit = self.state().post_limit();
            let block_0 = timeout(limit, node.block_hash(BlockHeight(0))).await;
            match block_0.unwrap_or(Ok(None)) {
                Ok(Some(found)) if found == genesis => {
                    other_chain = None;
                    if pause.is_some() {
                        self.state().breaker.close();
                        tracing::info!(node.url = node.url(), "the node answers again");
                        self.shared.metrics.breaker(false);
                        self.go_on();
                    }
                }
                Ok(Some(found)) => {
                    if other_chain.replace(found) != Some(found) {
                        tracing::error!(
                            node.url = node.url(),
                            node.genesis = %found,
                            chain.genesis = %genesis,
                            "the node that transactions are posted to serves another chain; nothing is posted to it (correct [chain] submit in agents.toml)"
                        );
                    }
                    self.state().breaker.trip(None);
                    self.shared.metrics.breaker(true);
                }
                // The node is down. A node that takes its place is asked before anything is posted
                // to it.
                Err(NodeError::Connect { .. }) => self.node_is_down(None),
                Ok(None) | Err(_) => self.no_valid_answer(),
            }
        }
    }

    /// Opens the breaker if the answer to a POST shows that the node is down.
    pub(super) fn heed<T>(&self, answer: &Result<T, SubmitError>) {
        match answer {
            Ok(_) | Err(SubmitError::Rejected { .. }) => self.state().breaker.answered(),
            Err(SubmitError::NotSent { .. }) => self.node_is_down(None),
            Err(SubmitError::Busy { retry_after, .. }) => self.node_is_down(*retry_after),
            Err(SubmitError::Unknown { .. }) => self.no_valid_answer(),
        }
    }

    /// The node is unreachable, or asks for a pause.
    fn node_is_down(&self, pause: Option<Duration>) {
        let opened = self.state().breaker.trip(pause);
        self.report_breaker(opened);
    }

    /// The node gave no answer in time, or a bad one.
    fn no_valid_answer(&self) {
        let opened = self.state().breaker.failed();
        self.report_breaker(opened);
    }

    fn report_breaker(&self, opened: bool) {
        if opened {
            tracing::warn!(
                node.url = self.settings.node.url(),
                "the node gives no valid answer; posting waits for it"
            );
            self.shared.metrics.breaker(true);
            self.node_failed.notify_one();
            self.posts_changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_several_failures_in_a_row() {
        let mut breaker = Breaker::default();
        assert!(!breaker.failed());
        assert!(!breaker.failed());
        breaker.answered();
        assert!(!breaker.failed());
        assert!(!breaker.failed());
        assert!(breaker.failed());
        assert!(breaker.is_open());
        breaker.answered();
        assert!(breaker.is_open(), "only a probe closes it");
        breaker.close();
        assert!(!breaker.is_open());
    }

    #[test]
    fn pauses_grow_to_a_bound_and_reset() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.next_pause(), None);
        breaker.trip(None);
        for least in [100, 200, 250, 250] {
            let pause = breaker.next_pause().unwrap().as_millis();
            assert!((least..=2 * least).contains(&pause), "{pause}");
        }
        breaker.close();
        breaker.trip(Some(Duration::MAX));
        assert_eq!(breaker.next_pause(), Some(MAX_RETRY_AFTER));
        assert!(breaker.next_pause().unwrap() <= Duration::from_millis(200));
    }
}
