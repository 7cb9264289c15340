//! The times of blocks.

use agentry_protocol::Timestamp;

/// The time in a text as nodes spell it: ISO 8601 in UTC, with a `T` or a blank between date and
/// time, with or without a fraction, with or without an offset of zero.
pub(crate) fn read_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let text = ["Z", "+00:00", "+0000"]
        .iter()
        .find_map(|zero| text.strip_suffix(zero))
        .unwrap_or(text);
    let (date, clock) = text.split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut clock = clock.splitn(3, ':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !fits || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let days = (1970..year).map(days_of_year).sum::<u64>()
        + (1..month).map(|month| days_of(year, month)).sum::<u64>()
        + (day - 1);
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    let thousandths = fraction.bytes().chain(*b"000").take(3);
    let milliseconds = thousandths.fold(0, |all, digit| all * 10 + u64::from(digit - b'0'));
    Some(Timestamp::new(seconds * 1000 + milliseconds))
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_time_is_read() {
        for text in [
            "2026-11-22T12:34:56.789012",
            "2026-11-22 12:34:56.789",
            "2026-11-22T12:34:56.7890Z",
            " 2026-11-22T12:34:56.789+00:00 ",
        ] {
            assert_eq!(
                read_time(text),
                Some(Timestamp::new(1_795_350_896_789)),
                "{text}"
            );
        }
        let at = |text| read_time(text).map(Timestamp::get);
        assert_eq!(at("1970-01-01T00:00:00"), Some(0));
        assert_eq!(at("1970-01-01T00:00:00.5"), Some(500));
        assert_eq!(at("2000-02-29T00:00:00"), Some(951_782_400_000));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "2026-11-22",
            "2026-02-29T00:00:00",
            "2026-13-01T00:00:00",
            "2026-11-22T24:00:00",
            "2026-11-22T12:00:00+02:00",
            "2026-11-22T12:00:00.x",
            "1969-12-31T23:59:59",
            "20260-11-22T12:00:00",
            "2026-11-22T12:34",
            "+026-11-22T12:34:00",
        ] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }
}
