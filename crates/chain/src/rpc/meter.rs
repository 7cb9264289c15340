//! What requests cost the node: how large the next one may be, and how much may be asked at all.
//!
//! A real node answers with one thread, and takes 5 to 55 ms for each block of a range, the more the
//! longer its chain is. So the answers are timed. A range is only as long as keeps the node busy for a
//! quarter of a second. New blocks are always asked for; all other blocks wait while the requests
//! of this source have taken more than a sixteenth of the node's time.

use std::time::Duration;

use tokio::time::Instant;

/// How long one request should keep the node busy: others wait that long behind it.
const TARGET: Duration = Duration::from_millis(250);

/// How many blocks the first range has: at 55 ms a block, no more than the target.
const FIRST_SIZE: u64 = 4;

/// How long a request is waited for at first before the node is asked whether it is well.
pub(super) const MIN_PATIENCE: Duration = Duration::from_secs(1);

/// The longest that patience grows.
pub(super) const MAX_PATIENCE: Duration = Duration::from_secs(60);

/// The most time that is saved up for old blocks while nothing is asked.
const MOST_SAVED: i64 = 500_000;

/// The most time that is owed, however much new blocks took: a long catching up is not followed by
/// an hour in which nothing old is looked at.
const MOST_OWED: i64 = -10_000_000;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    /// Something small: the head.
    Small,
    /// So many blocks with their transactions.
    Rows(u64),
    /// So many blocks without them. Some nodes look the transactions up all the same.
    Headers(u64),
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Meter {
    /// Old blocks may take one part in so many of the node's time.
    share: u32,
    page: u64,
    rows: Rate,
    headers: Rate,
    small: Duration,
    patience: Duration,
    /// The time, in microseconds, that old blocks may take now; negative while it is owed.
    credit: i64,
    accrued: Instant,
}

/// What a block costs, and how many are asked for at a time.
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
    pub(super) fn new(share: u32, page: u64, now: Instant) -> Self {
        Self {
            share: share.max(1),
            page,
            rows: Rate::NEW,
            headers: Rate::NEW,
            small: Duration::ZERO,
            patience: MIN_PATIENCE,
            credit: 0,
            accrued: now,
        }
    }

    /// A request was answered well.
    pub(super) fn answered(&mut self, cost: Cost, took: Duration, now: Instant) {
        self.spend(took, now);
        // Several times what it took: a long answer is followed by others as long.
        self.patience = (took * 4).clamp(MIN_PATIENCE, MAX_PATIENCE);
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

    /// A request was refused, or its answer is of no use.
    pub(super) fn refused(&mut self, cost: Cost, took: Duration, is_too_large: bool, now: Instant) {
        self.spend(took, now);
        if is_too_large {
            self.halve(cost);
        }
    }

    /// A request was given up: the node answers others. It is asked for less, and waited for longer.
    pub(super) fn lost(&mut self, cost: Cost, took: Duration, now: Instant) {
        self.refused(cost, took, true, now);
        self.patience = (self.patience * 2).min(MAX_PATIENCE);
    }

    fn halve(&mut self, cost: Cost) {
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

    /// How long a request is waited for before the node is asked whether it is well.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// What a small request takes.
    pub(super) fn small(&self) -> Duration {
        self.small
    }

    /// How many blocks with their transactions may be read now that are not new; 0: none.
    pub(super) fn spare(&mut self, now: Instant) -> u64 {
        if self.share == 1 {
            return self.rows.size;
        }
        self.accrue(now);
        let cost = i64::try_from(self.rows.cost.as_micros()).unwrap_or(i64::MAX);
        let blocks = self.credit.max(0) / cost.max(1);
        u64::try_from(blocks).unwrap_or(0).min(self.rows.size)
    }

    fn spend(&mut self, took: Duration, now: Instant) {
        self.accrue(now);
        let took = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
        self.credit = self.credit.saturating_sub(took).max(MOST_OWED);
    }

    fn accrue(&mut self, now: Instant) {
        let earned = now.saturating_duration_since(self.accrued) / self.share;
        self.accrued = self.accrued.max(now);
        let earned = i64::try_from(earned.as_micros()).unwrap_or(i64::MAX);
        self.credit = self.credit.saturating_add(earned).min(MOST_SAVED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A node with one thread on which time passes only as this says.
    struct Clock {
        now: Instant,
        busy: Duration,
    }

    impl Clock {
        fn ask(&mut self, meter: &mut Meter, cost: Cost, took: Duration) {
            self.now += took;
            self.busy += took;
            meter.answered(cost, took, self.now);
        }
    }

    /// An hour of a chain with a block every two seconds.
    fn an_hour(block: Duration) -> (f64, u64) {
        let mut clock = Clock {
            now: Instant::now(),
            busy: Duration::ZERO,
        };
        let began = clock.now;
        let mut meter = Meter::new(16, 64, clock.now);
        let mut old = 0;
        for _ in 0..64 {
            clock.ask(&mut meter, Cost::Headers(1), block);
        }
        for number in 1..=1_800 {
            let due = began + Duration::from_secs(2) * number;
            clock.now = clock.now.max(due);
            for _ in 0..8 {
                clock.ask(&mut meter, Cost::Small, MS);
                let spare = meter.spare(clock.now);
                if spare > 0 {
                    clock.ask(
                        &mut meter,
                        Cost::Rows(spare),
                        block * u32::try_from(spare).unwrap(),
                    );
                    old += spare;
                }
                clock.now += 200 * MS;
            }
            clock.ask(&mut meter, Cost::Rows(1), block);
        }
        let all = clock.now.duration_since(began);
        (clock.busy.as_secs_f64() / all.as_secs_f64(), old)
    }

    #[test]
    fn less_than_a_tenth_of_the_nodes_time_is_taken() {
        for block in [MS, 5 * MS, 25 * MS, 55 * MS, 150 * MS] {
            let (share, old) = an_hour(block);
            assert!(share < 0.1, "{block:?}: {share}");
            // The window of 64 blocks is looked through again and again.
            let passes = old / 64;
            assert!(
                passes >= if block > 100 * MS { 0 } else { 30 },
                "{block:?}: {passes}"
            );
        }
    }

    #[test]
    fn a_range_takes_a_quarter_of_a_second_at_most_once_the_cost_is_known() {
        for (block, size) in [(MS, 64), (10 * MS, 25), (55 * MS, 4), (400 * MS, 1)] {
            let mut meter = Meter::new(16, 64, Instant::now());
            for _ in 0..10 {
                let asked = meter.size(true);
                assert!(asked <= FIRST_SIZE || block * u32::try_from(asked).unwrap() <= TARGET);
                let took = block * u32::try_from(asked).unwrap();
                meter.answered(Cost::Rows(asked), took, Instant::now());
            }
            assert_eq!(meter.size(true), size, "{block:?}");
            assert_eq!(meter.size(false), FIRST_SIZE);
        }
    }

    #[test]
    fn patience_grows_while_requests_are_lost_and_ranges_shrink() {
        let mut meter = Meter::new(16, 64, Instant::now());
        for expected in [2, 4, 8, 16, 32, 60, 60] {
            meter.lost(Cost::Rows(4), meter.patience(), Instant::now());
            assert_eq!(meter.patience(), Duration::from_secs(expected));
        }
        assert_eq!(meter.size(true), 1);
        meter.answered(Cost::Rows(1), Duration::from_secs(3), Instant::now());
        assert_eq!(meter.patience(), Duration::from_secs(12));
    }
}
