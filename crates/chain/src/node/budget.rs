//! How much of a node's time this process has used, and how much is left for deferrable requests.
//!
//! A node answers with one thread: while it works for this process, others wait. So the time in
//! which at least one request is under way counts as used, whichever part of the process has sent
//! it. All clones of a [`NodeClient`](super::NodeClient) share one budget: urgent requests are sent
//! at once, and deferrable ones wait until the used time is paid back.

use std::time::Duration;

use tokio::time::Instant;

/// The most time that is saved up while no request is sent, in microseconds.
const MOST_SAVED: i64 = 500_000;

/// The most time that is owed, however much was used: a long catch-up is not followed by an hour
/// without deferrable requests.
const MOST_OWED: i64 = -10_000_000;

/// The budget of one node.
#[derive(Debug)]
pub(crate) struct Budget {
    /// The divisor of the share: 1/`share` of the node's time may be used.
    share: u32,
    /// The time that may be used now, in microseconds; negative while it is owed.
    credit: i64,
    /// When it was last computed.
    updated: Instant,
    under_way: u32,
}

impl Budget {
    pub(crate) fn new(share: u32, now: Instant) -> Self {
        Self {
            share: share.max(1),
            credit: 0,
            updated: now,
            under_way: 0,
        }
    }

    /// A request is sent.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.update(now);
        self.under_way = self.under_way.saturating_add(1);
    }

    /// A request was answered, or its caller stopped waiting for the answer.
    pub(crate) fn end(&mut self, now: Instant) {
        self.update(now);
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// How much of the node's time deferrable requests may use now.
    pub(crate) fn spare(&mut self, now: Instant) -> Duration {
        if self.share == 1 {
            return Duration::MAX;
        }
        self.update(now);
        Duration::from_micros(u64::try_from(self.credit).unwrap_or(0))
    }

    fn update(&mut self, now: Instant) {
        let past = now.saturating_duration_since(self.updated);
        self.updated = self.updated.max(now);
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let mut credit = self.credit.saturating_add(micros(past / self.share));
        if self.under_way > 0 {
            credit = credit.saturating_sub(micros(past));
        }
        self.credit = credit.clamp(MOST_OWED, MOST_SAVED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn requests_at_the_same_time_take_the_nodes_time_once() {
        let start = Instant::now();
        let mut budget = Budget::new(10, start);
        for _ in 0..32 {
            budget.begin(start);
        }
        for _ in 0..32 {
            budget.end(start + 100 * MS);
        }
        // 90 ms are owed, which are earned in 900 ms.
        assert_eq!(budget.spare(start + 1_000 * MS), Duration::ZERO);
        assert_eq!(budget.spare(start + 1_010 * MS), MS);
    }

    #[test]
    fn a_request_that_is_under_way_counts() {
        let start = Instant::now();
        let mut budget = Budget::new(10, start);
        assert_eq!(budget.spare(start + 100 * MS), 10 * MS);
        budget.begin(start + 100 * MS);
        assert_eq!(budget.spare(start + 200 * MS), Duration::ZERO);
    }

    #[test]
    fn neither_savings_nor_debts_grow_without_end() {
        let start = Instant::now();
        let hour = Duration::from_secs(3_600);
        let mut budget = Budget::new(16, start);
        assert_eq!(budget.spare(start + hour), 500 * MS);
        budget.begin(start + hour);
        budget.end(start + 2 * hour);
        let paid = start + 2 * hour + Duration::from_secs(16 * 10);
        assert_eq!(budget.spare(paid), Duration::ZERO);
        assert_eq!(budget.spare(paid + 16 * MS), MS);
    }

    #[test]
    fn a_share_of_one_is_no_bound() {
        let start = Instant::now();
        let mut budget = Budget::new(1, start);
        budget.begin(start);
        assert_eq!(budget.spare(start + MS), Duration::MAX);
    }
}
