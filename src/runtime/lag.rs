//! Detects a chain that is behind the blocks already read.
//!
//! Several nodes behind one address, or a node that was restored from an older copy, can show a
//! shorter chain without any differing block. The runtime waits: nothing is withdrawn, posting
//! continues, and reading resumes once the node has caught up. The log reports it only when it
//! lasts, since nodes of different heights may answer in turn.

use std::time::{Duration, Instant};

use super::metrics::Metrics;

/// How long the node may be behind before the log reports it and the runtime is not ready.
const TOLERATED: Duration = Duration::from_secs(10);

/// After this long the log reports it again, with the most likely cause.
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
    /// The chain was read and is this many blocks behind; 0 means that it is not behind.
    pub(super) fn saw(&mut self, behind: u64, now: Instant, metrics: &Metrics) {
        if behind == 0 {
            if self.told > Told::Nothing {
                tracing::info!("the node has caught up with the blocks already read");
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
                "the node's chain is shorter than the part already read, with no differing block; \
                 waiting until it has caught up"
            );
        }
        if lasts >= LONG && self.told < Told::Long {
            self.told = Told::Long;
            tracing::error!(
                behind.blocks = behind,
                "the node has been behind the blocks already read for ten minutes; was it restored \
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
    fn a_long_lag_is_reported_and_a_short_one_is_not() {
        let metrics = Metrics::new();
        let mut lag = Lag::default();
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        lag.saw(0, began, &metrics);
        assert_eq!(ready(&metrics), (true, 0));
        // Two nodes answer in turn.
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
