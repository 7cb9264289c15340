//! Rates: a count per length of time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// The word for no limit.
pub const UNLIMITED: &str = "unlimited";

/// The highest count of a rate.
pub const MAX_COUNT: u32 = 1_000_000;

/// The lengths of time of a rate, with their spellings.
const UNITS: [(&str, Duration); 4] = [
    ("s", Duration::from_secs(1)),
    ("min", Duration::from_secs(60)),
    ("h", Duration::from_secs(60 * 60)),
    ("day", Duration::from_secs(24 * 60 * 60)),
];

/// A count per length of time: a bucket that holds `count` and is full again after `per`.
///
/// Text: `60/min`, `5/s`, `1000/h`, `10/day`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// The count; 1 to [`MAX_COUNT`].
    pub count: u32,
    /// The length of time; a second, a minute, an hour or a day when parsed from a text.
    pub per: Duration,
}

/// The error for a text that is not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a rate; write one such as \"60/min\" (a whole number from 1 to {MAX_COUNT}, then s, \
     min, h or day), or \"{UNLIMITED}\""
)]
pub struct RateError;

impl Rate {
    /// A rate, or `None` if the text is `unlimited`.
    ///
    /// # Errors
    /// [`RateError`] if it is neither.
    pub fn parse(text: &str) -> Result<Option<Self>, RateError> {
        if text == UNLIMITED {
            return Ok(None);
        }
        text.parse().map(Some)
    }

    /// The text of a rate, or of no limit.
    pub fn show(rate: Option<Self>) -> String {
        rate.map_or_else(|| UNLIMITED.to_owned(), |rate| rate.to_string())
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (count, unit) = text.split_once('/').ok_or(RateError)?;
        let digits = count.trim().replace('_', "");
        // `parse` would also accept a sign.
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RateError);
        }
        let count = digits.parse().map_err(|_| RateError)?;
        let unit = unit.trim();
        let found = UNITS.iter().find(|(name, _)| *name == unit);
        match found {
            Some((_, per)) if (1..=MAX_COUNT).contains(&count) => Ok(Self { count, per: *per }),
            _ => Err(RateError),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, per)| *per == self.per) {
            Some((name, _)) => write!(formatter, "{}/{name}", self.count),
            None => write!(
                formatter,
                "{}/{}",
                self.count,
                humantime::format_duration(self.per)
            ),
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_counts_per_time() {
        let rate = |count, secs| Rate {
            count,
            per: Duration::from_secs(secs),
        };
        for (text, wanted) in [
            ("60/min", rate(60, 60)),
            ("5/s", rate(5, 1)),
            ("1_000 / h", rate(1_000, 3_600)),
            ("1000000/day", rate(1_000_000, 86_400)),
        ] {
            assert_eq!(text.parse(), Ok(wanted), "{text}");
            assert_eq!(Rate::parse(text), Ok(Some(wanted)), "{text}");
        }
        assert_eq!(Rate::parse("unlimited"), Ok(None));
        for bad in [
            "",
            "60",
            "/min",
            "60/",
            "0/s",
            "-1/s",
            "+1/s",
            "1.5/s",
            "60/m",
            "60/minute",
            "1000001/s",
            "99999999999999999999/s",
            "60/min/s",
            "Unlimited",
        ] {
            assert_eq!(Rate::parse(bad), Err(RateError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(count in 1..=MAX_COUNT, unit in 0..UNITS.len()) {
            let rate = Rate { count, per: UNITS[unit].1 };
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            prop_assert_eq!(Rate::parse(&Rate::show(Some(rate))), Ok(Some(rate)));
        }

        #[test]
        fn no_text_is_too_much(text in "\\PC{0,40}") {
            let _ = Rate::parse(&text);
        }
    }
}
