//! The circuit breaker: it limits requests to a node that is down.

use std::time::Duration;

use backon::ExponentialBackoff;

use crate::runtime::backoff;

/// The bounds of a pause before a probe. The longest is the most by which the runtime recovers later
/// than the node.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// How many consecutive answers may fail before the breaker opens. One failed answer of a node that
/// otherwise works is no reason to stop.
const TOLERATED: u32 = 3;

/// Open while the node is down: only probes are sent then, and nothing is posted.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    open: bool,
    /// The pauses before the next probes, if there was one since the node answered.
    pauses: Option<ExponentialBackoff>,
}

impl Breaker {
    /// Whether the breaker is open, so that nothing may be posted.
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Records that the node answered. Returns whether that closed the breaker.
    pub fn succeeded(&mut self) -> bool {
        self.failures = 0;
        self.pauses = None;
        std::mem::take(&mut self.open)
    }

    /// Records a missing or bad answer of the node. Returns whether that opened the breaker.
    pub fn failed(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures >= TOLERATED && self.trip()
    }

    /// Records that the node is unreachable or asks for a pause. Returns whether that opened the
    /// breaker.
    pub fn trip(&mut self) -> bool {
        !std::mem::replace(&mut self.open, true)
    }

    /// How long to wait before the next probe.
    pub fn next_pause(&mut self) -> Duration {
        let pauses = self.pauses.get_or_insert_with(|| backoff::between(PAUSE));
        pauses.next().unwrap_or_default()
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
        breaker.succeeded();
        assert!(!breaker.failed());
        assert!(!breaker.failed());
        assert!(breaker.failed());
        assert!(breaker.is_open());
        assert!(breaker.succeeded());
        assert!(!breaker.is_open());
    }

    #[test]
    fn pauses_grow_to_a_bound_and_reset() {
        let mut breaker = Breaker::default();
        breaker.trip();
        for least in [100, 200, 250, 250] {
            let pause = breaker.next_pause().as_millis();
            assert!((least..=2 * least).contains(&pause), "{pause}");
        }
        breaker.succeeded();
        assert!(breaker.next_pause() <= Duration::from_millis(200));
    }
}
