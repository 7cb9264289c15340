//! [`Bucket`]: how often something may be done.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket, as the time at which all that was done is paid for.
#[derive(Debug)]
pub struct Bucket {
    every: Duration,
    at_once: u32,
    paid: Instant,
}

impl Bucket {
    /// A full one: something may be done once in `every`, and `at_once` times without a pause.
    #[must_use]
    pub const fn new(every: Duration, at_once: u32, now: Instant) -> Self {
        Self {
            every,
            at_once,
            paid: now,
        }
    }

    /// How long it takes until all that was done is paid for.
    pub(crate) fn owed(&self, now: Instant) -> Duration {
        self.paid.saturating_duration_since(now)
    }

    /// How long the next time has to wait.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        let ahead = self.every * self.at_once.saturating_sub(1);
        self.owed(now).saturating_sub(ahead)
    }

    /// Counts one more, unless it has to wait: then returns how long.
    pub fn take(&mut self, now: Instant) -> Duration {
        let wait = self.wait(now);
        if wait.is_zero() {
            self.paid = self.paid.max(now) + self.every;
        }
        wait
    }
}
