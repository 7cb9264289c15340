//! Durations and sizes in agents.toml: `"5m"`, `"64KiB"`.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A duration, written as `"500ms"`, `"10s"`, `"5m"` or `"1h 30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// A size in bytes, written as a number of bytes or as `"64KiB"`, `"16MiB"`, `"2GiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Time {
    /// A duration of this many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl Bytes {
    /// The size as a `usize`; `usize::MAX` if it is larger.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, unit) in UNITS.into_iter().rev() {
            if self.0 != 0 && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// The units of sizes, the smallest first.
const UNITS: [(&str, u64); 4] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration in quotes, such as \"10s\" or \"5m\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                let time = humantime::parse_duration(text);
                time.map(Time)
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or one with a unit in quotes, such as \"64KiB\"")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Bytes, E> {
                let refused = |_| E::invalid_value(de::Unexpected::Signed(bytes), &self);
                u64::try_from(bytes).map(Bytes).map_err(refused)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                read_bytes(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

fn read_bytes(text: &str) -> Option<Bytes> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, unit) = UNITS.into_iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(unit).map(Bytes)
}

/// Checks that the value of a key is within its limits.
pub(crate) fn within<T: PartialOrd + fmt::Display>(
    key: &str,
    value: T,
    (least, most): (T, T),
) -> Result<T, agentry_sdk::ConfigureError> {
    if value < least || value > most {
        return Err(agentry_sdk::ConfigureError(format!(
            "`{key}` is {value}; it must be from {least} to {most}"
        )));
    }
    Ok(value)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&humantime::format_duration(self.0), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_parsed() {
        let bytes = |text: &str| serde_json::from_str::<Bytes>(text).map(|bytes| bytes.0);
        for (text, expected) in [
            ("0", 0),
            ("4096", 4096),
            ("\"4096B\"", 4096),
            ("\"64KiB\"", 65_536),
            ("\"16 MiB\"", 16 << 20),
            ("\"2GiB\"", 2 << 30),
        ] {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        for text in [
            "-1",
            "\"\"",
            "\"12\"",
            "\"KiB\"",
            "\"1kb\"",
            "\"99999999999GiB\"",
            "1.5",
        ] {
            let error = bytes(text).unwrap_err().to_string();
            assert!(error.contains("number of bytes"), "{text}: {error}");
        }
        let time = |text: &str| serde_json::from_str::<Time>(text).map(|time| time.0);
        assert_eq!(time("\"1m 30s\"").unwrap(), Duration::from_secs(90));
        for text in ["5", "\"\"", "\"5\"", "\"soon\""] {
            let error = time(text).unwrap_err().to_string();
            assert!(error.contains("duration in quotes"), "{text}: {error}");
        }
    }

    #[test]
    fn lengths_are_shown_as_they_are_written() {
        for (bytes, shown) in [(0, "0B"), (5, "5B"), (2048, "2KiB"), (3 << 30, "3GiB")] {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
        assert_eq!(Time::seconds(90).to_string(), "1m 30s");
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes: u64, seconds in 0..10_000_000_u64) {
            let shown = serde_json::Value::from(Bytes(bytes).to_string());
            proptest::prop_assert_eq!(serde_json::from_value::<Bytes>(shown).unwrap(), Bytes(bytes));
            let time = Time::seconds(seconds);
            let shown = serde_json::Value::from(time.to_string());
            proptest::prop_assert_eq!(serde_json::from_value::<Time>(shown).unwrap(), time);
        }

        #[test]
        fn no_text_is_too_odd(text: String) {
            let value = serde_json::Value::from(text);
            let _ = serde_json::from_value::<Bytes>(value.clone());
            let _ = serde_json::from_value::<Time>(value);
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_said_with_the_bounds() {
        let bounds = (Bytes(1), Bytes(1 << 20));
        assert!(within("limit", Bytes(1 << 20), bounds).is_ok());
        let error = within("limit", Bytes(2 << 20), bounds).unwrap_err();
        assert_eq!(error.0, "`limit` is 2MiB; it must be from 1B to 1MiB");
    }
}
