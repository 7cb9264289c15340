//! Whether the chain, as it is read now, is behind what was read of it before.
//!
//! Several nodes behind one address, or a node that was restored from an older copy, show a shorter
//! chain without any other block. That is waited out: nothing is withdrawn, posting goes on, and
//! messages are read on once the node has caught up. It is told only when it lasts, since nodes of
//! different heights take turns in answering.

use std::time::{Duration, Instant};

use super::metrics::Metrics;

/// How long the node may be behind before it is told of, and the runtime is not ready.
const TOLERATED: Duration = Duration::from_secs(10);

/// After so long it is told of again, as what it most likely is by then.
const LONG: Duration = Duration::from_secs(600);

/// How far behind the node is, and since when.
#[derive(Debug, Default)]
pub(super) struct Lag {
    since: Option<Instant>,
    told: Told,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    #[default]
    Nothing,
    Behind,
    Long,
}

impl Lag {
    /// The chain was read, and is so many blocks behind; 0: it is not.
    pub(super) fn saw(&mut self, behind: u64, now: Instant, metrics: &Metrics) {
        if behind == 0 {
            if self.told > Told::Nothing {
                tracing::info!("the node has caught up with what was read of its chain before");
            }
            *self = Self::default();
            metrics.behind(0, true);
            return;
        }
        let lasts = now.saturating_duration_since(*self.since.get_or_insert(now));
        if lasts >= TOLERATED && self.told < Told::Behind {
            self.told = Told::Behind;
            tracing::warn!(
                behind.blocks = behind,
                "the node shows a shorter chain than was read before, and no other block; waiting \
                 until it has caught up"
            );
        }
        if lasts >= LONG && self.told < Told::Long {
            self.told = Told::Long;
            tracing::error!(
                behind.blocks = behind,
                "the node has been behind what was read of its chain for ten minutes; was it restored \
                 from an old copy, or does it not follow its leader? Nothing that is new is read \
                 until it has caught up, or shows other blocks"
            );
        }
        metrics.behind(behind, self.told == Told::Nothing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(metrics: &Metrics) -> (bool, u64) {
        metrics.source_up(true);
        let condition = metrics.condition();
        assert_eq!(condition.ready, condition.caught_up);
        (condition.caught_up, condition.behind)
    }

    #[test]
    fn a_node_that_is_behind_for_long_is_told_of_and_a_short_lag_is_not() {
        let metrics = Metrics::new();
        let mut lag = Lag::default();
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        lag.saw(0, began, &metrics);
        assert_eq!(ready(&metrics), (true, 0));
        // Two nodes take turns.
        for second in 1..=60 {
            lag.saw(if second % 2 == 0 { 0 } else { 3 }, after(second), &metrics);
            assert!(ready(&metrics).0);
        }
        for (second, is_ready) in [(61, true), (70, true), (71, false), (700, false)] {
            lag.saw(14, after(second), &metrics);
            assert_eq!(ready(&metrics), (is_ready, 14), "{second}");
        }
        assert_eq!(lag.told, Told::Long);
        lag.saw(0, after(701), &metrics);
        assert_eq!(ready(&metrics), (true, 0));
    }
}
