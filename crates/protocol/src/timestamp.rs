//! Points in time.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::json::{Json, JsonRef};

/// A point in time, in milliseconds since the Unix epoch.
///
/// A length of time is a [`Duration`] or a number of milliseconds: [`plus`](Self::plus) and
/// [`minus`](Self::minus) add and subtract one, and [`since`](Self::since) is the one between two
/// times. None of them wraps: a time before the epoch is the epoch.
///
/// A wrong clock, or damage, can show any number; a message states at most
/// [`MAX_STATED`](Self::MAX_STATED).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch, before everything that happens.
    pub const EPOCH: Self = Self(0);

    /// The latest time there is, after everything that happens.
    pub const MAX: Self = Self(u64::MAX);

    /// The latest time that a message may state: the end of the year 9999, the last with four
    /// digits. So every time in a message fits an `i64` and every calendar.
    pub const MAX_STATED: Self = Self(253_402_300_799_999);

    /// What [`read`](Self::read) expects, for errors.
    pub(crate) const EXPECTED: &'static str = "an integer of milliseconds from 1970 to 9999";

    /// The time this many milliseconds after the epoch.
    pub const fn new(ms: u64) -> Self {
        Self(ms)
    }

    /// Its milliseconds since the epoch.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// This long after it.
    pub fn plus(self, time: Duration) -> Self {
        self.plus_ms(millis(time))
    }

    /// This long before it.
    pub fn minus(self, time: Duration) -> Self {
        self.minus_ms(millis(time))
    }

    /// This many milliseconds after it.
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// This many milliseconds before it.
    pub const fn minus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }

    /// How long after an earlier time it is; nothing if that time is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.ms_since(earlier))
    }

    /// How many milliseconds after an earlier time it is; 0 if that time is later.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Its day: days since the epoch, UTC.
    pub const fn day(self) -> u64 {
        self.0 / DAY_MS
    }

    /// The time that a message states, if it may state it: an integer from 0 to
    /// [`MAX_STATED`](Self::MAX_STATED).
    pub(crate) fn read(value: JsonRef<'_>) -> Option<Self> {
        let time = value.as_u64().map(Self);
        time.filter(|time| *time <= Self::MAX_STATED)
    }

    /// The time as a message states it: at most [`MAX_STATED`](Self::MAX_STATED).
    pub(crate) fn to_json(self) -> Json {
        Json::integer(self.min(Self::MAX_STATED).0.into())
    }
}

/// The number of milliseconds in a day.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A length of time in whole milliseconds, or the largest number there is.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl FromStr for Timestamp {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let elapsed = time.duration_since(UNIX_EPOCH);
        elapsed.map_or(Self::EPOCH, |elapsed| Self::EPOCH.plus(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_do_not_wrap() {
        let (early, late) = (Timestamp::new(5), Timestamp::new(1_005));
        let second = Duration::from_secs(1);
        assert_eq!((early.plus(second), late.minus(second)), (late, early));
        assert_eq!((early.plus_ms(1_000), late.minus_ms(1_000)), (late, early));
        assert_eq!(
            (late.since(early), early.since(late)),
            (second, Duration::ZERO)
        );
        assert_eq!((late.ms_since(early), early.ms_since(late)), (1_000, 0));
        assert_eq!(early.minus(second), Timestamp::EPOCH);
        assert_eq!(early.plus(Duration::MAX), Timestamp::MAX);
    }

    #[test]
    fn a_day_begins_at_midnight() {
        let midnight = Timestamp::new(20_000 * DAY_MS);
        assert_eq!(
            (midnight.minus_ms(1).day(), midnight.day()),
            (19_999, 20_000)
        );
    }

    #[test]
    fn a_system_time_before_the_epoch_is_the_epoch() {
        let second = Duration::from_secs(1);
        assert_eq!(Timestamp::from(UNIX_EPOCH + second), Timestamp::new(1_000));
        assert_eq!(Timestamp::from(UNIX_EPOCH - second), Timestamp::EPOCH);
    }

    #[test]
    fn texts_and_json_are_the_number() {
        for time in [Timestamp::EPOCH, Timestamp::MAX_STATED, Timestamp::MAX] {
            assert_eq!(time.to_string().parse(), Ok(time));
            let json = serde_json::to_string(&time).unwrap();
            assert_eq!(json, time.to_string());
            assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), time);
        }
    }

    #[test]
    fn a_message_states_no_time_after_9999() {
        let last = Timestamp::MAX_STATED.to_json();
        assert_eq!(Timestamp::MAX.to_json(), last);
        assert_eq!(Timestamp::read(last.root()), Some(Timestamp::MAX_STATED));
        let later = Json::integer(i128::from(Timestamp::MAX_STATED.get()) + 1);
        assert_eq!(Timestamp::read(later.root()), None);
    }
}
