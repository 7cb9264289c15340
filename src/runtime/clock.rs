//! The runtime's sources of time.
//!
//! The local clock can be wrong: it is set back, it jumps, a machine boots with a wrong time. So
//! there are three times, and each question is answered by one of them:
//!
//! | question | method | meaning |
//! |---|---|---|
//! | when something happened; when a wait ends | [`now`](Clock::now) | the runtime's own time: it never goes back, and runs as the monotonic clock does |
//! | values that other machines compare with their clocks: ids, expiries, cards, nonces, days | [`local`](Clock::local) | the local clock |
//! | irreversible decisions: pruning, expiring, missing a deadline | [`confirmed`](Clock::confirmed) | the earlier of the local clock and the time of the chain's blocks |
//!
//! The runtime's own time continues where the store's last runtime left it
//! ([`resume`](Clock::resume)). It jumps ahead, over the time in which the process was down or the
//! machine was suspended, only as far as the local clock *and* the blocks say that this time has
//! passed. So a wait never becomes longer because the local clock was set back, and none ends early
//! because it jumped.
//!
//! Blocks can show a wrong time, too: their times count only up to the local clock.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use agentry_protocol::Timestamp;

/// The clocks of one runtime. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// When the clock was made.
    began: Instant,
    /// By how much tests have shifted the local clock.
    shift_ms: AtomicI64,
    /// How much time tests have added at once.
    passed_ms: AtomicU64,
    /// The time of a held clock, which does not advance by itself.
    held_at: Option<AtomicU64>,
    times: Mutex<Times>,
}

/// Two times at one reading of the monotonic clock; both advance from there.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// The runtime's own time.
    own: Running,
    /// The time of the newest block.
    block: Option<Running>,
}

/// A time that advances with the monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Running {
    time: Timestamp,
    /// The reading of the monotonic clock at `time`.
    at: Duration,
}

impl Running {
    fn at(self, monotonic: Duration) -> Timestamp {
        self.time.plus(monotonic.saturating_sub(self.at))
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self::new(None, 0)
    }
}

impl Inner {
    fn new(held_at: Option<Timestamp>, shift_ms: i64) -> Self {
        let now = Timestamp::from(SystemTime::now()).get();
        Self {
            began: Instant::now(),
            shift_ms: AtomicI64::new(shift_ms),
            passed_ms: AtomicU64::new(0),
            held_at: held_at.map(|at| AtomicU64::new(at.get())),
            times: Mutex::new(Times {
                own: Running {
                    time: Timestamp::new(now.saturating_add_signed(shift_ms)),
                    at: Duration::ZERO,
                },
                block: None,
            }),
        }
    }

    fn held(&self) -> Option<Timestamp> {
        let held_at = self.held_at.as_ref()?;
        Some(Timestamp::new(held_at.load(Ordering::Relaxed)))
    }

    fn passed(&self) -> Duration {
        Duration::from_millis(self.passed_ms.load(Ordering::Relaxed))
    }

    fn local(&self) -> Timestamp {
        self.held().unwrap_or_else(|| {
            let unshifted = Timestamp::from(SystemTime::now()).plus(self.passed()).get();
            Timestamp::new(unshifted.saturating_add_signed(self.shift_ms.load(Ordering::Relaxed)))
        })
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed().saturating_add(self.passed())
    }

    /// The runtime's own time, the blocks' time, and the local clock.
    fn read(&self) -> (Timestamp, Option<Timestamp>, Timestamp) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let (monotonic, local) = (self.monotonic(), self.local());
        let own = times.own.at(monotonic);
        let block = times.block.map(|block| block.at(monotonic));
        let confirmed = block.map_or(Timestamp::EPOCH, |block| block.min(local));
        if confirmed > own {
            times.own = Running {
                time: confirmed,
                at: monotonic,
            };
        }
        (own.max(confirmed), block, local)
    }
}

impl Clock {
    /// The clock of a process. A build with debug assertions shifts its local clock by
    /// `AGENTRY_CLOCK_SHIFT_MS` milliseconds, so that tests have machines whose clocks differ. A release
    /// build contains none of this.
    pub fn of_a_process() -> Self {
        #[cfg(not(debug_assertions))]
        let clock = Self::default();
        #[cfg(debug_assertions)]
        let clock = {
            let shift = std::env::var("AGENTRY_CLOCK_SHIFT_MS").ok();
            let shift = shift.and_then(|ms| ms.parse().ok()).unwrap_or_default();
            Self(Arc::new(Inner::new(None, shift)))
        };
        clock
    }

    /// Another clock of the same machine: the runtime's own time and that of the blocks are of one
    /// store, and another one that this process opens may have been used up to a later or an earlier
    /// time.
    #[must_use]
    pub fn of_another_store(&self) -> Self {
        let shift_ms = self.0.shift_ms.load(Ordering::Relaxed);
        Self(Arc::new(Inner::new(self.0.held(), shift_ms)))
    }

    /// A clock that shows this time until it is [set](Self::set). All its times are the same.
    pub fn held(now: Timestamp) -> Self {
        Self(Arc::new(Inner::new(Some(now), 0)))
    }

    /// Sets a held clock; a clock that advances by itself is unchanged.
    pub fn set(&self, now: Timestamp) {
        if let Some(held_at) = &self.0.held_at {
            held_at.store(now.get(), Ordering::Relaxed);
        }
    }

    /// The runtime's own time: for the time of an event, and for the end of a wait. It never goes
    /// back.
    pub fn now(&self) -> Timestamp {
        self.0.held().unwrap_or_else(|| self.0.read().0)
    }

    /// The local clock's time.
    pub fn local(&self) -> Timestamp {
        self.0.local()
    }

    /// A time that has certainly passed: the local clock has passed it, and so have the chain's
    /// blocks. Until a block has shown its time, the runtime's own time stands in for the blocks'.
    pub fn confirmed(&self) -> Timestamp {
        if let Some(held) = self.0.held() {
            return held;
        }
        let (own, block, local) = self.0.read();
        block.unwrap_or(own).min(local)
    }

    /// The latest possible current time: the local clock's, or the runtime's own if the local clock
    /// was set back.
    pub fn latest(&self) -> Timestamp {
        if let Some(held) = self.0.held() {
            return held;
        }
        let (own, _, local) = self.0.read();
        own.max(local)
    }

    /// How far the local clock is ahead of the time that blocks confirm, in milliseconds.
    pub fn unconfirmed_ms(&self) -> u64 {
        self.local().ms_since(self.confirmed())
    }

    /// Continues from the latest time that the store's last runtime reached. Called before anything
    /// waits.
    ///
    /// Returns by how many milliseconds the local clock is behind that time.
    pub fn resume(&self, noted: Timestamp) -> u64 {
        // A time that no clock can show means damage.
        if noted > Timestamp::MAX_STATED {
            return 0;
        }
        let local = self.0.local();
        let mut times = self.0.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.own = Running {
            time: noted,
            at: self.0.monotonic(),
        };
        noted.ms_since(local)
    }

    /// Records the time of a block, as the block states it.
    pub fn block_made_at(&self, time: Timestamp) {
        let local = self.0.local();
        let mut times = self.0.times.lock().unwrap_or_else(PoisonError::into_inner);
        let monotonic = self.0.monotonic();
        // A block's time in the future must not confirm a clock that jumps there later.
        let time = time.min(local);
        if times.block.is_none_or(|known| known.at(monotonic) < time) {
            times.block = Some(Running {
                time,
                at: monotonic,
            });
        }
    }

    /// Sets the local clock forward, or back if `by_ms` is negative, as an administrator or NTP
    /// does: no time passes.
    pub fn shift(&self, by_ms: i64) {
        self.0.shift_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Lets time pass at once, on all clocks.
    pub fn pass(&self, by_ms: u64) {
        self.0.passed_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;
    const DAY: u64 = 24 * HOUR;
    /// The most time that a test may take between two readings.
    const SLACK: u64 = 60_000;

    fn signed(ms: u64) -> i64 {
        i64::try_from(ms).unwrap()
    }

    fn about(found: Timestamp, wanted: Timestamp) -> bool {
        found.get().abs_diff(wanted.get()) < SLACK
    }

    #[test]
    fn a_clock_that_is_set_back_stops_no_wait() {
        let clock = Clock::default();
        let before = clock.now();
        clock.shift(-signed(40 * DAY));
        clock.pass(HOUR);
        assert!(about(clock.now(), before.plus_ms(HOUR)));
        assert!(about(
            clock.local(),
            before.plus_ms(HOUR).minus_ms(40 * DAY)
        ));
        assert!(about(clock.latest(), before.plus_ms(HOUR)));
        assert!(about(
            clock.confirmed(),
            before.plus_ms(HOUR).minus_ms(40 * DAY)
        ));
    }

    #[test]
    fn a_jump_ends_no_wait_and_confirms_nothing() {
        let clock = Clock::default();
        let before = clock.now();
        clock.block_made_at(before);
        clock.shift(signed(40 * DAY));
        assert!(about(clock.now(), before));
        assert!(about(clock.confirmed(), before));
        assert!(clock.unconfirmed_ms().abs_diff(40 * DAY) < SLACK);
        assert!(about(clock.latest(), before.plus_ms(40 * DAY)));
        // A block of that time shows that no time has passed.
        clock.block_made_at(before.plus_ms(40 * DAY));
        assert!(about(clock.now(), before.plus_ms(40 * DAY)));
        assert!(about(clock.confirmed(), before.plus_ms(40 * DAY)));
        assert!(clock.unconfirmed_ms() < SLACK);
    }

    #[test]
    fn a_block_of_the_future_confirms_no_more_than_the_local_clock() {
        let clock = Clock::default();
        let before = clock.local();
        clock.block_made_at(Timestamp::MAX);
        assert!(about(clock.now(), before));
        assert!(about(clock.confirmed(), before));
        clock.shift(signed(40 * DAY));
        assert!(about(clock.now(), before), "not even a later one");
        assert!(about(clock.confirmed(), before));
    }

    #[test]
    fn the_time_in_which_the_process_was_down_counts_once_blocks_confirm_it() {
        let clock = Clock::default();
        let local = clock.local();
        assert_eq!(clock.resume(local.minus_ms(DAY)), 0);
        assert!(about(clock.now(), local.minus_ms(DAY)));
        assert!(about(clock.confirmed(), local.minus_ms(DAY)));
        clock.block_made_at(local.minus_ms(HOUR));
        assert!(about(clock.now(), local.minus_ms(HOUR)));
        clock.block_made_at(local.minus_ms(2 * HOUR));
        assert!(
            about(clock.now(), local.minus_ms(HOUR)),
            "it never goes back"
        );
    }

    #[test]
    fn a_runtime_goes_on_from_its_time_although_the_clock_was_set_back() {
        let clock = Clock::default();
        let local = clock.local();
        assert!(clock.resume(local.plus_ms(DAY)).abs_diff(DAY) < SLACK);
        clock.pass(HOUR);
        assert!(about(clock.now(), local.plus_ms(DAY + HOUR)));
        assert_eq!(clock.resume(Timestamp::MAX), 0, "damage is not believed");
        assert!(about(clock.now(), local.plus_ms(DAY + HOUR)));
    }

    #[test]
    fn a_held_clock_shows_one_time() {
        let clock = Clock::held(Timestamp::new(5));
        clock.set(Timestamp::new(7));
        clock.block_made_at(Timestamp::new(9));
        let all = [
            clock.now(),
            clock.local(),
            clock.confirmed(),
            clock.latest(),
        ];
        assert_eq!((all, clock.unconfirmed_ms()), ([Timestamp::new(7); 4], 0));
    }

    #[test]
    fn what_one_store_was_used_up_to_does_not_change_the_time_of_another() {
        let clock = Clock::default();
        clock.shift(signed(HOUR));
        let before = clock.now();
        let other = clock.of_another_store();
        assert!(about(other.local(), clock.local()));
        other.resume(before.plus_ms(DAY));
        assert!(about(other.now(), before.plus_ms(DAY)));
        assert!(about(clock.now(), before));
        clock.of_another_store().resume(before.minus_ms(DAY));
        assert!(clock.now() >= before, "it never goes back");
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// The local clock is set.
        Set(i64),
        /// Time passes.
        Pass(u64),
        /// A block states that it was made this long after the true time.
        Block(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let days = signed(60 * DAY);
        let step = prop_oneof![
            (-days..days).prop_map(Step::Set),
            (0..2 * DAY).prop_map(Step::Pass),
            (-days..days).prop_map(Step::Block),
        ];
        prop::collection::vec(step, 0..40)
    }

    proptest! {
        /// Holds whatever happens to the local clock, and whatever blocks state.
        #[test]
        fn no_wait_grows_and_nothing_is_confirmed_that_the_local_clock_has_not_passed(steps in steps()) {
            let clock = Clock::default();
            let start = clock.local();
            let mut passed = 0;
            for step in steps {
                let before = clock.now();
                let this = if let Step::Pass(by) = step { by } else { 0 };
                match step {
                    Step::Set(by) => clock.shift(by),
                    Step::Pass(by) => clock.pass(by),
                    Step::Block(off) => {
                        let time = start.plus_ms(passed).get().saturating_add_signed(off);
                        clock.block_made_at(Timestamp::new(time));
                    }
                }
                passed += this;
                let now = clock.now();
                prop_assert!(now >= before.plus_ms(this), "it advances at least as fast as time does");
                prop_assert!(clock.confirmed() <= clock.local());
                prop_assert!(clock.latest() >= now);
            }
        }

        /// Holds if blocks state the true time.
        #[test]
        fn nothing_ends_early_whatever_is_done_to_the_local_clock(steps in steps()) {
            let clock = Clock::default();
            let start = clock.local();
            clock.block_made_at(start);
            let mut passed = 0;
            for step in steps {
                match step {
                    Step::Set(by) => clock.shift(by),
                    Step::Pass(by) => {
                        clock.pass(by);
                        passed += by;
                    }
                    Step::Block(late) => {
                        let late = u64::try_from(late.max(0)).unwrap();
                        clock.block_made_at(start.plus_ms(passed).minus_ms(late));
                    }
                }
                prop_assert!(clock.now() <= start.plus_ms(passed + SLACK));
                prop_assert!(clock.confirmed() <= start.plus_ms(passed + SLACK));
            }
        }
    }
}
