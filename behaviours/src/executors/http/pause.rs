//! The pause that a busy service asks for.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Headers with a number of milliseconds, of OpenAI and Azure.
const MILLISECONDS: [&str; 2] = ["retry-after-ms", "x-ms-retry-after-ms"];

/// Headers with the time at which a limit is reset, each with the header for the remaining quota.
/// Only a limit whose remaining quota is 0 causes a pause.
const RESETS: [(&str, &str); 4] = [
    (
        "x-ratelimit-reset-requests",
        "x-ratelimit-remaining-requests",
    ),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
    ("x-ratelimit-reset", "x-ratelimit-remaining"),
    ("ratelimit-reset", "ratelimit-remaining"),
];

/// A larger number of seconds is a time since 1970.
const EPOCH: f64 = 1e9;

/// The pause that the headers of a response ask for; none if no header can be parsed. The caller
/// must limit it.
pub(super) fn asked(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    for name in MILLISECONDS {
        if let Some(ms) = text(name).and_then(number) {
            return Some(seconds(ms / 1000.0));
        }
    }
    if let Some(pause) = text(RETRY_AFTER.as_str()).and_then(|text| pause(text, now)) {
        return Some(pause);
    }
    let resets = RESETS.into_iter().filter_map(|(reset, left)| {
        let is_left = text(left).and_then(number).is_some_and(|left| left > 0.0);
        text(reset)
            .filter(|_| !is_left)
            .and_then(|text| pause(text, now))
    });
    resets.max()
}

/// Parses a pause in any of the formats in use: seconds, with or without a fraction; units as in
/// `1m30.5s`; a date (RFC 9110); a time since 1970 in seconds.
fn pause(text: &str, now: SystemTime) -> Option<Duration> {
    let since_epoch = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    if let Some(number) = number(text) {
        return Some(seconds(if number < EPOCH {
            number
        } else {
            number - since_epoch
        }));
    }
    if let Ok(date) = httpdate::parse_http_date(text) {
        return Some(date.duration_since(now).unwrap_or_default());
    }
    units(text)
}

fn number(text: &str) -> Option<f64> {
    // Rust reads `inf` and `nan` too.
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+'));
    let number: f64 = text.parse().ok().filter(|_| plain)?;
    number.is_finite().then_some(number)
}

/// A number of seconds as a duration: a negative number is zero, and one that is too large is the
/// longest duration.
fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number.max(0.0)).unwrap_or(Duration::MAX)
}

/// Parses a duration as Go formats it: `6m0s`, `20ms`, `1h2m3.5s`.
fn units(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, behind) = rest.split_at(digits);
        let letters = behind
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        sum += number(value)? * unit;
        rest = behind;
    }
    (!text.is_empty()).then(|| seconds(sum))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    /// 1994-11-06 08:49:37 UTC.
    const NOW: u64 = 784_111_777;

    fn found(headers: &[(&'static str, &'static str)]) -> Option<f64> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        asked(&headers, now).map(|pause| pause.as_secs_f64())
    }

    #[test]
    fn every_form_of_a_pause_is_understood() {
        for (name, value, expected) in [
            ("retry-after", "120", Some(120.0)),
            ("retry-after", " 1.5 ", Some(1.5)),
            ("retry-after", "0", Some(0.0)),
            ("retry-after", "-5", Some(0.0)),
            ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT", Some(60.0)),
            ("retry-after", "Sunday, 06-Nov-94 08:50:37 GMT", Some(60.0)),
            ("retry-after", "Sun Nov  6 08:50:37 1994", Some(60.0)),
            ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT", Some(0.0)),
            ("retry-after", "20ms", Some(0.02)),
            ("retry-after", "soon", None),
            ("retry-after", "", None),
            ("retry-after", "inf", None),
            ("retry-after", "NaN", None),
            ("retry-after-ms", "1500", Some(1.5)),
            ("retry-after-ms", "0.5", Some(0.0005)),
            ("x-ms-retry-after-ms", "20", Some(0.02)),
            ("x-ratelimit-reset-requests", "1s", Some(1.0)),
            ("x-ratelimit-reset-tokens", "6m0s", Some(360.0)),
            ("x-ratelimit-reset-tokens", "1h2m3.5s", Some(3723.5)),
            ("x-ratelimit-reset-tokens", "6 minutes", None),
            ("x-ratelimit-reset", "30", Some(30.0)),
            ("ratelimit-reset", "30", Some(30.0)),
            ("date", "Sun, 06 Nov 1994 08:50:37 GMT", None),
        ] {
            let found = found(&[(name, value)]);
            let alike = match (found, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
                (found, expected) => found == expected,
            };
            assert!(alike, "{name}: {value}: {found:?}");
        }
        let far = Duration::MAX.as_secs_f64();
        assert_eq!(
            found(&[("retry-after", "99999999999999999999999999")]),
            Some(far),
            "a number that is too large for a time"
        );
    }

    #[test]
    fn the_first_that_is_understood_counts_and_a_limit_with_something_left_does_not() {
        let ms = ("retry-after-ms", "100");
        assert_eq!(found(&[ms, ("retry-after", "7")]), Some(0.1));
        let broken = ("retry-after-ms", "soon");
        assert_eq!(found(&[broken, ("retry-after", "7")]), Some(7.0));
        let requests = ("x-ratelimit-reset-requests", "1s");
        let tokens = ("x-ratelimit-reset-tokens", "9s");
        assert_eq!(found(&[requests, tokens]), Some(9.0));
        let left = ("x-ratelimit-remaining-tokens", "5");
        assert_eq!(found(&[requests, tokens, left]), Some(1.0));
        let none = ("x-ratelimit-remaining-tokens", "0");
        assert_eq!(found(&[requests, tokens, none]), Some(9.0));
        // A time since 1970, which is later than this test's clock.
        assert_eq!(
            found(&[("x-ratelimit-reset", "1000000000")]),
            Some(215_888_223.0)
        );
    }
}
