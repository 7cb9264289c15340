//! Rate limit of warnings from one place in the code.
//!
//! A loop that fails at each turn, or a stranger who sends one bad message after another, would
//! otherwise fill the disk with the same line. Each place in the code that warns has its own
//! allowance, so no place uses up another's. Lines beyond the allowance are counted, and the count
//! is logged.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;

/// How many lines a place may write at once, enough to show one failure that affects many agents.
const BURST: u32 = 50;

/// Interval at which a place with an exhausted allowance may write another line.
const EVERY: Duration = Duration::from_secs(5);

/// A place must be silent for this long before its omitted lines are reported; a place that is not
/// silent has them reported at the same interval.
const REPORT_AFTER: Duration = Duration::from_secs(10);

/// Maximum length of the sample line in a report, in characters.
const LIKE: usize = 200;

/// The allowances of all places that have warned. There are at most as many as places in the code.
#[derive(Debug, Default)]
pub(super) struct Quota(Mutex<HashMap<Identifier, Place>>);

#[derive(Debug)]
struct Place {
    left: u32,
    /// Time up to which the allowance has been renewed.
    renewed: Instant,
    left_out: u64,
    /// When the first omitted line was omitted.
    since: Instant,
    /// The last line that was written.
    last: String,
}

impl Quota {
    /// Whether a place may write a line; a line that is not admitted is counted.
    pub(super) fn admits(&self, place: &Identifier, now: Instant) -> bool {
        let mut places = self.lock();
        let place = places.entry(place.clone()).or_insert_with(|| Place {
            left: BURST,
            renewed: now,
            left_out: 0,
            since: now,
            last: String::new(),
        });
        let passed = now.saturating_duration_since(place.renewed);
        let more = u32::try_from(passed.as_nanos() / EVERY.as_nanos()).unwrap_or(u32::MAX);
        if more > 0 {
            place.left = place.left.saturating_add(more).min(BURST);
            place.renewed += EVERY * more;
        }
        if place.left > 0 {
            place.left -= 1;
            return true;
        }
        if place.left_out == 0 {
            place.since = now;
        }
        place.left_out += 1;
        false
    }

    /// Records a line that a place wrote.
    pub(super) fn wrote(&self, place: &Identifier, line: &str) {
        if let Some(place) = self.lock().get_mut(place) {
            place.last = line.trim_end().chars().take(LIKE).collect();
        }
    }

    /// How many lines were omitted since the last call, and the last line that they resemble; with
    /// `at_once` also for places that would otherwise be waited for.
    pub(super) fn left_out(&self, now: Instant, at_once: bool) -> Vec<(u64, String)> {
        self.lock()
            .values_mut()
            .filter(|place| place.left_out > 0)
            .filter(|place| at_once || now.saturating_duration_since(place.since) >= REPORT_AFTER)
            .map(|place| (std::mem::take(&mut place.left_out), place.last.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_repeats_itself_is_heard_now_and_then_and_what_is_left_out_is_counted() {
        let (quota, start) = (Quota::default(), Instant::now());
        let place = some_callsite();
        let mut written = 0_u64;
        // A hundred lines per second, for a minute.
        for turn in 0..6_000_u64 {
            let now = start + Duration::from_millis(turn * 10);
            if quota.admits(&place, now) {
                quota.wrote(&place, "WARN the disk is full\n");
                written += 1;
            }
        }
        assert_eq!(written, u64::from(BURST) + 11);
        let end = start + Duration::from_secs(60);
        assert_eq!(
            quota.left_out(end, false),
            [(6_000 - written, "WARN the disk is full".to_owned())]
        );
        assert_eq!(quota.left_out(end, true), []);
        let later = end + Duration::from_secs(3600);
        let again = (0..100).filter(|_| quota.admits(&place, later)).count();
        assert_eq!(again, BURST as usize, "the allowance is fully renewed");
    }

    fn some_callsite() -> Identifier {
        struct Place;
        static PLACE: Place = Place;
        static META: tracing::Metadata<'static> = tracing::metadata! {
            name: "a place",
            target: "test",
            level: tracing::Level::WARN,
            fields: &[],
            callsite: &PLACE,
            kind: tracing::metadata::Kind::EVENT
        };
        impl tracing::callsite::Callsite for Place {
            fn set_interest(&self, _: tracing::subscriber::Interest) {}
            fn metadata(&self) -> &tracing::Metadata<'_> {
                &META
            }
        }
        tracing::callsite::Identifier(&PLACE)
    }
}
