//! The cost of requests: how large the next one may be, and how many old blocks may be requested.
//!
//! A real node answers with one thread, and takes 5 to 55 ms for each block of a range, more on a
//! longer chain. So the answers are timed. A range is only as long as keeps the node busy for a
//! quarter of a second. New blocks are always requested; old blocks wait while all requests of the
//! process have used more than their share of the node's time ([`NodeClient::spare_time`]). But one
//! old block may be requested under each new head, regardless of the share: so each block is read
//! again before it leaves the window, even if blocks arrive faster than a busy node can be asked.
//!
//! [`NodeClient::spare_time`]: crate::NodeClient::spare_time

use std::time::Duration;

use agentry_protocol::BlockHash;
use tokio::time::Instant;

/// How long one request should keep the node busy: requests of others wait that long behind it.
const TARGET: Duration = Duration::from_millis(250);

/// How many blocks the first range has: at 55 ms a block, no more than the target.
const FIRST_SIZE: u64 = 4;

/// How long a request may take at first before the node is polled to see whether it is up.
pub(super) const MIN_WAIT: Duration = Duration::from_secs(1);

/// The upper limit of that time.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);

/// While the head does not move, one old block may be requested after this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The kind of a request, by its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    /// Something small: the head.
    Small,
    /// This many blocks with their transactions.
    Rows(u64),
    /// This many blocks without them. Some nodes look the transactions up anyway.
    Headers(u64),
}

/// The measurements.
#[derive(Debug)]
pub(super) struct Meter {
    page: u64,
    rows: Rate,
    headers: Rate,
    small: Duration,
    wait_limit: Duration,
}

/// The time that a block takes, and how many are requested at a time.
#[derive(Debug, Clone, Copy)]
struct Rate {
    cost: Duration,
    size: u64,
}

impl Rate {
    const NEW: Self = Self {
        cost: Duration::ZERO,
        size: FIRST_SIZE,
    };

    fn took(&mut self, blocks: u64, took: Duration, page: u64) {
        let one = took / u32::try_from(blocks.max(1)).unwrap_or(u32::MAX);
        // A moving average: half of it is the last answer's.
        self.cost = if self.cost.is_zero() {
            one
        } else {
            (self.cost + one) / 2
        };
        let grown = if blocks >= self.size {
            self.size.saturating_mul(2)
        } else {
            self.size
        };
        let fits = TARGET.as_micros() / self.cost.as_micros().max(1);
        self.size = grown
            .min(u64::try_from(fits).unwrap_or(u64::MAX))
            .clamp(1, page.max(1));
    }
}

impl Meter {
    pub(super) fn new(page: u64) -> Self {
        Self {
            page,
            rows: Rate::NEW,
            headers: Rate::NEW,
            small: Duration::ZERO,
            wait_limit: MIN_WAIT,
        }
    }

    /// Records a successful answer.
    pub(super) fn answered(&mut self, cost: Cost, took: Duration) {
        // Several times the time it took: a long answer is usually followed by more of that length.
        self.wait_limit = (took * 4).clamp(MIN_WAIT, MAX_WAIT);
        match cost {
            Cost::Small => {
                self.small = if self.small.is_zero() {
                    took
                } else {
                    (self.small + took) / 2
                };
            }
            Cost::Rows(blocks) => self.rows.took(blocks, took, self.page),
            Cost::Headers(blocks) => self.headers.took(blocks, took, self.page),
        }
    }

    /// Records a cancelled request while the node answered others: the next one asks for less and
    /// waits longer.
    pub(super) fn lost(&mut self, cost: Cost) {
        self.too_large(cost);
        self.wait_limit = (self.wait_limit * 2).min(MAX_WAIT);
    }

    /// Records an answer above the limit: the next request asks for less.
    pub(super) fn too_large(&mut self, cost: Cost) {
        match cost {
            Cost::Small => {}
            Cost::Rows(blocks) => self.rows.size = (blocks.min(self.rows.size) / 2).max(1),
            Cost::Headers(blocks) => {
                self.headers.size = (blocks.min(self.headers.size) / 2).max(1);
            }
        }
    }

    /// How many blocks the next range may have.
    pub(super) fn size(&self, rows: bool) -> u64 {
        if rows {
            self.rows.size
        } else {
            self.headers.size
        }
    }

    /// How long a request may take before the node is polled to see whether it is up.
    pub(super) fn wait_limit(&self) -> Duration {
        self.wait_limit
    }

    /// How long a small request takes.
    pub(super) fn small(&self) -> Duration {
        self.small
    }

    /// How many blocks with their transactions fit into this much of the node's time, as one range.
    pub(super) fn fits(&self, spare: Duration) -> u64 {
        let blocks = spare.as_micros() / self.rows.cost.as_micros().max(1);
        u64::try_from(blocks)
            .unwrap_or(u64::MAX)
            .min(self.rows.size)
    }
}

/// When a request for old blocks was last allowed for one purpose.
#[derive(Debug)]
pub(super) struct Rest {
    /// The head at that time.
    head: Option<BlockHash>,
    since: Instant,
}

impl Rest {
    pub(super) fn new() -> Self {
        Self {
            head: None,
            since: Instant::now(),
        }
    }

    /// How many blocks may be requested, where `fits` is how many the node's spare time allows.
    /// Under each new head, and after a long pause, at least one may be.
    pub(super) fn allows(&mut self, fits: u64, head: BlockHash, now: Instant) -> u64 {
        let has_paused = now.saturating_duration_since(self.since) >= LONGEST_PAUSE;
        if fits == 0 && self.head == Some(head) && !has_paused {
            return 0;
        }
        self.head = Some(head);
        self.since = now;
        fits.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Budget;

    const MS: Duration = Duration::from_millis(1);

    /// A node with one thread and a simulated clock.
    struct Clock {
        now: Instant,
        busy: Duration,
        budget: Budget,
        meter: Meter,
    }

    impl Clock {
        fn ask(&mut self, cost: Cost, took: Duration) {
            self.budget.begin(self.now);
            self.now += took;
            self.busy += took;
            self.budget.end(self.now);
            self.meter.answered(cost, took);
        }

        /// Requests old blocks as far as that is allowed. Returns how many there were.
        fn look(&mut self, rest: &mut Rest, head: u64, block: Duration) -> u64 {
            let fits = self.meter.fits(self.budget.spare(self.now));
            let allowed = rest.allows(fits, hash(head), self.now);
            if allowed > 0 {
                let took = block * u32::try_from(allowed).unwrap();
                self.ask(Cost::Rows(allowed), took);
            }
            allowed
        }
    }

    fn hash(number: u64) -> BlockHash {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        BlockHash::from_bytes(bytes)
    }

    /// An hour of a chain with a block every two seconds.
    fn an_hour(block: Duration) -> (f64, u64) {
        let now = Instant::now();
        let mut clock = Clock {
            now,
            busy: Duration::ZERO,
            budget: Budget::new(16, now),
            meter: Meter::new(64),
        };
        let (mut sweep, mut old) = (Rest::new(), 0);
        for _ in 0..64 {
            clock.ask(Cost::Headers(1), block);
        }
        for number in 1..=1_800 {
            let due = now + Duration::from_secs(2) * number;
            clock.now = clock.now.max(due);
            clock.ask(Cost::Rows(1), block);
            for _ in 0..8 {
                clock.ask(Cost::Small, MS);
                old += clock.look(&mut sweep, number.into(), block);
                clock.now += 200 * MS;
            }
        }
        let all = clock.now.duration_since(now);
        (clock.busy.as_secs_f64() / all.as_secs_f64(), old)
    }

    #[test]
    fn less_than_a_tenth_of_the_nodes_time_is_taken() {
        for block in [MS, 5 * MS, 25 * MS, 55 * MS, 90 * MS] {
            let (share, old) = an_hour(block);
            assert!(share < 0.1, "{block:?}: {share}");
            // Each block is read again before it leaves the window.
            assert!(old >= 1_800, "{block:?}: {old}");
        }
    }

    #[test]
    fn one_old_block_is_looked_at_under_each_new_head_whatever_the_share_allows() {
        let now = Instant::now();
        let mut rest = Rest::new();
        assert_eq!(rest.allows(0, hash(1), now), 1);
        assert_eq!(rest.allows(0, hash(1), now), 0);
        assert_eq!(rest.allows(3, hash(1), now), 3);
        assert_eq!(rest.allows(0, hash(2), now), 1);
        assert_eq!(rest.allows(0, hash(2), now + LONGEST_PAUSE), 1);
    }

    #[test]
    fn a_range_takes_a_quarter_of_a_second_at_most_once_the_cost_is_known() {
        for (block, size) in [(MS, 64), (10 * MS, 25), (55 * MS, 4), (400 * MS, 1)] {
            let mut meter = Meter::new(64);
            for _ in 0..10 {
                let asked = meter.size(true);
                assert!(asked <= FIRST_SIZE || block * u32::try_from(asked).unwrap() <= TARGET);
                let took = block * u32::try_from(asked).unwrap();
                meter.answered(Cost::Rows(asked), took);
            }
            assert_eq!(meter.size(true), size, "{block:?}");
            assert_eq!(meter.size(false), FIRST_SIZE);
        }
    }

    #[test]
    fn the_wait_limit_grows_while_requests_are_lost_and_ranges_shrink() {
        let mut meter = Meter::new(64);
        for expected in [2, 4, 8, 16, 32, 60, 60] {
            meter.lost(Cost::Rows(4));
            assert_eq!(meter.wait_limit(), Duration::from_secs(expected));
        }
        assert_eq!(meter.size(true), 1);
        meter.answered(Cost::Rows(1), Duration::from_secs(3));
        assert_eq!(meter.wait_limit(), Duration::from_secs(12));
    }
}
