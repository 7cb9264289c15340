//! The pauses between the attempts at something that fails. They double, with jitter: what failed
//! together is not tried again together.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The bounds of the pauses between the attempts at an event or a task.
const ATTEMPTS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));

/// Endless pauses from the shortest to the longest, which is at least twice the shortest.
pub(crate) fn between((shortest, longest): (Duration, Duration)) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(shortest)
        // Jitter adds at most as much again.
        .with_max_delay(longest / 2)
        .with_jitter()
        .without_max_times()
        .build()
}

/// The pause before the next attempt at an event or a task, after this many have failed.
pub(super) fn after(failed: u32) -> Duration {
    // The 16th pause is already one of the longest.
    let earlier = failed.saturating_sub(1).min(16);
    between(ATTEMPTS).nth(earlier as usize).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        for (failed, least) in [(0, 500), (1, 500), (2, 1_000), (5, 8_000), (60, 150_000)] {
            let pause = after(failed).as_millis();
            assert!((least..=2 * least).contains(&pause), "{failed}: {pause}");
        }
    }
}
