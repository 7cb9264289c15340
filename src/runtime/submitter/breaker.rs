//! The circuit breaker: it limits requests to a node that is down.

use std::time::Duration;

/// The pause before the first probe. It doubles with each probe that fails.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between probes: the most by which the runtime recovers later than the node.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// How many consecutive answers may fail before the breaker opens. One failed answer of a node that
/// otherwise works is no reason to stop.
const TOLERATED: u32 = 3;

/// Open while the node is down: only probes are sent then, and nothing is posted.
#[derive(Debug)]
pub struct Breaker {
    failures: u32,
    open: bool,
    pause: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 0,
            open: false,
            pause: MIN_PAUSE,
        }
    }
}

impl Breaker {
    /// Whether the breaker is open, so that nothing may be posted.
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Records that the node answered. Returns whether that closed the breaker.
    pub fn succeeded(&mut self) -> bool {
        self.failures = 0;
        self.pause = MIN_PAUSE;
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
        let pause = self.pause;
        self.pause = (pause * 2).min(MAX_PAUSE);
        pause
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
        let pauses: Vec<u128> = (0..5).map(|_| breaker.next_pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 500, 500]);
        breaker.succeeded();
        assert_eq!(breaker.next_pause(), MIN_PAUSE);
    }
}
