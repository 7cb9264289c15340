//! When to poll the head again.
//!
//! Blocks arrive at a steady pace, so the time of the next one can be predicted: each wait is half
//! of the time left until then, and afterwards half of the time by which the block is late. On a
//! chain with a block every two seconds that makes about eight polls for each block, most of them
//! just before it arrives. A node that limits how often it is asked is asked once a second.

use std::time::Duration;

use agentry_protocol::BlockHeight;
use tokio::time::Instant;

use crate::dialect::Tempo;

/// Besides the configured minimum, each wait is at least this many times as long as an answer
/// takes.
const TIMES_AN_ANSWER: u32 = 5;

/// The observed pace of a chain's blocks.
#[derive(Debug)]
pub(crate) struct Pace {
    shortest: Duration,
    /// The longest wait: when a stopped chain continues, it is noticed at most this much later.
    longest: Duration,
    last: Option<(BlockHeight, Instant)>,
    interval: Duration,
}

impl Pace {
    /// `shortest`: the shortest wait that is configured.
    pub(crate) fn new(tempo: Tempo, shortest: Duration) -> Self {
        Self {
            shortest: shortest.max(tempo.shortest),
            longest: tempo.longest,
            last: None,
            interval: tempo.block,
        }
    }

    /// The head was seen at this height.
    pub(crate) fn saw(&mut self, height: Option<BlockHeight>, now: Instant) {
        let Some(height) = height else { return };
        match self.last {
            Some((before, _)) if before == height => return,
            Some((before, then)) if before < height => {
                let blocks = u32::try_from(height.0 - before.0).unwrap_or(u32::MAX);
                let one = now.saturating_duration_since(then) / blocks;
                // A moving average: half of it is the last block's.
                self.interval = (self.interval + one) / 2;
            }
            _ => {}
        }
        self.last = Some((height, now));
    }

    /// How long to wait before the head is polled again; `answer` is how long an answer takes.
    pub(crate) fn wait(&self, answer: Duration, now: Instant) -> Duration {
        let shortest = self.shortest.max(answer * TIMES_AN_ANSWER);
        let Some((_, last)) = self.last else {
            return shortest;
        };
        let since = now.saturating_duration_since(last);
        let away = self.interval.abs_diff(since);
        (away / 2).clamp(shortest, shortest.max(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use agentry_protocol::Dialect;

    use super::*;
    use crate::dialect::tempo;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_head_is_asked_for_a_few_times_a_block_and_just_before_it_comes() {
        let mut pace = Pace::new(tempo(Dialect::April2026, false), 50 * MS);
        let began = Instant::now();
        let (mut now, mut asked, mut late) = (began, 0, Duration::ZERO);
        for number in 0..100_u32 {
            let due = began + number * 2_000 * MS;
            while now < due {
                now += pace.wait(2 * MS, now);
                asked += 1;
            }
            late = late.max(now.duration_since(due));
            pace.saw(Some(BlockHeight(number.into())), now);
        }
        assert!(asked <= 1_000, "{asked} in 200 s");
        assert!(late <= 60 * MS, "{late:?}");
        // A chain that has stopped is polled rarely, but at least this often.
        assert_eq!(pace.wait(2 * MS, now + 60_000 * MS), 500 * MS);
        // A node whose answers take long is polled less often.
        assert_eq!(pace.wait(200 * MS, now + 2_000 * MS), 1_000 * MS);
    }

    #[test]
    fn fast_blocks_are_followed() {
        let mut pace = Pace::new(tempo(Dialect::April2026, false), 50 * MS);
        let began = Instant::now();
        for number in 0..50_u32 {
            let at = began + number * 100 * MS;
            pace.saw(Some(BlockHeight(number.into())), at);
        }
        let last = began + 4_900 * MS;
        assert_eq!(pace.wait(MS, last), 50 * MS);
        // A withdrawal does not change the pace.
        pace.saw(Some(BlockHeight(3)), last + 100 * MS);
        assert_eq!(pace.wait(MS, last + 100 * MS), 50 * MS);
    }
}
