//! What was measured in the last two hours, for the plots of the console: a sample every ten seconds, in
//! memory. Who wants more keeps `/metrics` in Prometheus.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use agentry_protocol::Timestamp;
use agentry_protocol::timestamp::millis;
use agentry_store::list::load::oldest_waiting_at;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::clock::Clock;
use super::metrics::Metrics;
use super::presence::Presence;

/// How often a sample is taken.
pub const EVERY: Duration = Duration::from_secs(10);

/// How many samples are kept: those of two hours.
const KEPT: usize = 720;

/// The upper bound of the first class of a [`Timing`]; each following one is twice as large.
const FIRST: Duration = Duration::from_micros(500);

/// How many classes there are: the last begins at 33 seconds.
const CLASSES: usize = 18;

/// Durations, counted in classes.
#[derive(Debug, Default)]
pub struct Timing([AtomicU64; CLASSES]);

/// How many durations there were in each class.
pub type Counted = [u64; CLASSES];

impl Timing {
    /// Counts a duration.
    pub fn observe(&self, took: Duration) {
        let mut bound = FIRST;
        let mut class = 0;
        while class + 1 < CLASSES && took > bound {
            bound = bound.saturating_mul(2);
            class += 1;
        }
        if let Some(count) = self.0.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub fn counted(&self) -> Counted {
        std::array::from_fn(|class| {
            let count = self.0.get(class);
            count.map_or(0, |count| count.load(Ordering::Relaxed))
        })
    }
}

/// The duration that this share of those counted between two moments did not exceed, in milliseconds, as
/// exactly as the classes allow; `None` if there were none.
fn quantile(before: &Counted, after: &Counted, share: f64) -> Option<f64> {
    let each = before.iter().zip(after);
    let counts: Vec<u64> = each
        .map(|(before, after)| after.saturating_sub(*before))
        .collect();
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return None;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rank among counts of ten seconds"
    )]
    let rank = share * all as f64;
    let (mut passed, mut low, mut bound) = (0.0, 0.0, FIRST.as_secs_f64() * 1000.0);
    for count in counts {
        #[expect(clippy::cast_precision_loss, reason = "a count of ten seconds")]
        let count = count as f64;
        if count > 0.0 && passed + count >= rank {
            return Some(low + (bound - low) * ((rank - passed) / count));
        }
        passed += count;
        low = bound;
        bound *= 2.0;
    }
    Some(low)
}

/// The counters of a process at one moment.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Messages that have arrived.
    pub arrived: u64,
    /// Messages that were handled.
    pub handled: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Transactions that the node has accepted.
    pub accepted: u64,
    /// Transactions seen in a block.
    pub mined: u64,
    /// Transactions that the node has refused.
    pub failed: u64,
    /// Behaviour runs that blocked a thread and were left behind.
    pub hung: u64,
    /// How long behaviours ran.
    pub runs: Counted,
    /// How long POSTs took.
    pub posts: Counted,
    /// Transactions that are signed and in no block.
    pub open: i64,
    /// Agents that have work to do.
    pub awake: i64,
    /// What all agents have spent today, in AIT.
    pub spent: i64,
    /// Agents with transactions that wait for a budget.
    pub out_of_budget: i64,
    /// Transactions that are in no block ten blocks after the node accepted them.
    pub overdue: i64,
}

/// What was measured in ten seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When it ended.
    pub at: Timestamp,
    /// Messages that arrived, per second.
    pub arrived: f64,
    /// Messages that were handled, per second.
    pub handled: f64,
    /// Messages that became dead letters, per second.
    pub dead_letters: f64,
    /// Transactions that the node accepted, per second.
    pub accepted: f64,
    /// Transactions seen in a block, per second.
    pub mined: f64,
    /// Transactions that the node refused, per second.
    pub failed: f64,
    /// The median duration of behaviour runs, in milliseconds; `None` if there were none.
    pub run_p50: Option<f64>,
    /// The duration that 95 % of them did not exceed.
    pub run_p95: Option<f64>,
    /// The median duration of POSTs, in milliseconds; `None` if there were none.
    pub post_p50: Option<f64>,
    /// The duration that 95 % of them did not exceed.
    pub post_p95: Option<f64>,
    /// For how long the oldest waiting message has waited, in milliseconds; 0 if none waits.
    pub queue_age: u64,
    /// Transactions that are signed and in no block.
    pub open: i64,
    /// What all agents have spent today, in AIT.
    pub spent: i64,
}

impl Sample {
    fn between(before: &Totals, after: &Totals, took: Duration, age: u64, at: Timestamp) -> Self {
        let seconds = took.as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "a count of ten seconds")]
        let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        Self {
            at,
            arrived: rate(before.arrived, after.arrived),
            handled: rate(before.handled, after.handled),
            dead_letters: rate(before.dead_letters, after.dead_letters),
            accepted: rate(before.accepted, after.accepted),
            mined: rate(before.mined, after.mined),
            failed: rate(before.failed, after.failed),
            run_p50: quantile(&before.runs, &after.runs, 0.5),
            run_p95: quantile(&before.runs, &after.runs, 0.95),
            post_p50: quantile(&before.posts, &after.posts, 0.5),
            post_p95: quantile(&before.posts, &after.posts, 0.95),
            queue_age: age,
            open: after.open,
            spent: after.spent,
        }
    }
}

/// The samples of a process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Series(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    samples: VecDeque<Sample>,
    latest: Totals,
}

impl Series {
    /// The samples that ended after a time, oldest first.
    pub fn after(&self, at: Timestamp) -> Vec<Sample> {
        let kept = self.lock();
        let later = kept.samples.iter().filter(|sample| sample.at > at);
        later.cloned().collect()
    }

    /// The counters at the last sample.
    pub fn latest(&self) -> Totals {
        self.lock().latest.clone()
    }

    fn push(&self, sample: Option<Sample>, latest: Totals) {
        let mut kept = self.lock();
        if kept.samples.len() == KEPT {
            kept.samples.pop_front();
        }
        kept.samples.extend(sample);
        kept.latest = latest;
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes samples until the process ends.
    pub(super) async fn keep(self, metrics: Weak<Metrics>, presence: Presence) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before: Option<(Totals, Instant)> = None;
        loop {
            ticks.tick().await;
            let Some(metrics) = metrics.upgrade() else {
                return;
            };
            let (totals, taken) = (metrics.totals(), Instant::now());
            let now = Clock::default().now();
            let age = queue_age(&presence, now).await;
            let sample = before.map(|(before, at): (Totals, Instant)| {
                Sample::between(&before, &totals, taken - at, age, now)
            });
            self.push(sample, totals.clone());
            before = Some((totals, taken));
        }
    }
}

/// For how long the oldest message of the shards that run here has waited, in milliseconds.
async fn queue_age(presence: &Presence, now: Timestamp) -> u64 {
    let mut oldest = now;
    let running = presence.all().into_values();
    for present in running.filter(|present| present.running().is_some()) {
        match present.store().read(oldest_waiting_at).await {
            Ok(at) => oldest = oldest.min(at.unwrap_or(now)),
            Err(error) => tracing::debug!(%error, "the age of a queue cannot be read"),
        }
    }
    millis(now.since(oldest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_the_classes_of_what_was_counted() {
        let timing = Timing::default();
        assert_eq!(quantile(&timing.counted(), &timing.counted(), 0.5), None);
        timing.observe(Duration::from_secs(5));
        let before = timing.counted();
        for _ in 0..90 {
            timing.observe(Duration::from_millis(3));
        }
        for _ in 0..10 {
            timing.observe(Duration::from_secs(100));
        }
        let after = timing.counted();
        let median = quantile(&before, &after, 0.5).unwrap();
        assert!((2.0..=4.0).contains(&median), "{median}");
        let slow = quantile(&before, &after, 0.95).unwrap();
        assert!(slow > 30_000.0, "{slow}");
    }

    #[test]
    fn the_samples_of_two_hours_are_kept() {
        let series = Series::default();
        let totals = Totals::default();
        for second in 0..KEPT as u64 + 5 {
            let at = Timestamp::new(second);
            let sample = Sample::between(&totals, &totals, EVERY, 0, at);
            series.push(Some(sample), totals.clone());
        }
        let kept = series.after(Timestamp::EPOCH);
        assert_eq!((kept.len(), kept[0].at), (KEPT, Timestamp::new(5)));
        assert_eq!(series.after(Timestamp::new(KEPT as u64)).len(), 4);
    }
}
