//! How often the coordinator is asked.
//!
//! It counts the requests of an IP address in the last minute, all functions together, and those of
//! registering and of marking as read once more. A token bucket keeps within that.

use std::time::Duration;

use agentry_chain::Bucket;
use tokio::time::Instant;

/// The span in which the coordinator counts.
const MINUTE: Duration = Duration::from_secs(60);

/// So many of the requests of a minute may be made at once: one in so many.
const AT_ONCE: u32 = 16;

/// A token bucket: no minute has more requests than it allows.
#[derive(Debug)]
pub(super) struct RequestBucket(Bucket);

impl RequestBucket {
    /// A full bucket for so many requests in a minute.
    pub(super) fn per_minute(requests: u32, now: Instant) -> Self {
        let at_once = (requests / AT_ONCE).max(1);
        let every = MINUTE / requests.saturating_sub(at_once).max(1);
        Self(Bucket::new(every, at_once, now))
    }

    /// How long the next request has to wait.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.0.wait(now)
    }

    /// Counts a request if it may be made now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.0.take(now).is_zero()
    }

    /// Waits until a request may be made, and counts it.
    pub(super) async fn turn(&mut self) {
        while !self.take(Instant::now()) {
            tokio::time::sleep(self.wait(Instant::now())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_has_more_requests_than_allowed_and_few_less() {
        for (most, least) in [(80, 74), (40, 37), (10, 9), (2, 1)] {
            let start = Instant::now();
            let mut now = start;
            let mut bucket = RequestBucket::per_minute(most, start);
            let mut made = Vec::new();
            while now < start + 5 * MINUTE {
                match bucket.take(now) {
                    true => made.push(now),
                    false => now += bucket.wait(now),
                }
            }
            for from in &made {
                let minute = *from..*from + MINUTE;
                let count = made.iter().filter(|at| minute.contains(*at)).count();
                assert!(count <= most as usize, "{count} of {most}");
            }
            let last = made.iter().filter(|at| **at >= start + 4 * MINUTE);
            let last = last.count();
            assert!(last >= least, "{last} of {most} in the last minute");
        }
    }
}
