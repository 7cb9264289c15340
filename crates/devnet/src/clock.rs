//! Time as the chain writes it: UTC with microseconds, as SQLAlchemy stores a `datetime`
//! (`2025-01-01 00:00:00.000000`) and as Python's `isoformat` prints it
//! (`2025-01-01T00:00:00`, with six digits of fraction only where it is not zero).

use std::time::{SystemTime, UNIX_EPOCH};

/// The standard genesis' timestamp, as `isoformat` prints it.
pub(crate) const GENESIS_ISO: &str = "2025-01-01T00:00:00";

/// Microseconds since the Unix epoch.
pub(crate) fn now_micros() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| {
            i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
        })
}

/// `YYYY-MM-DD HH:MM:SS.ffffff` of an instant, as it is written in chain.db.
pub(crate) fn db_text(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000);
    let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:06}",
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
        micros.rem_euclid(1_000_000)
    )
}

/// Converts the output of `isoformat` into the database's text; `None` if it has another form. A
/// zone other than UTC is refused: the chain's times have none.
pub(crate) fn db_from_iso(text: &str) -> Option<String> {
    let text = text
        .strip_suffix('Z')
        .or_else(|| text.strip_suffix("+00:00"))
        .unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let shape = b"0000-00-00T00:00:00";
    let fits = whole.len() == shape.len()
        && whole.bytes().zip(shape).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            b'T' => byte == b'T' || byte == b' ',
            _ => byte == *shape,
        })
        && fraction.len() <= 6
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| format!("{}.{fraction:0<6}", whole.replacen('T', " ", 1)))
}

/// Gregorian date of a day counted from 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms", `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_python_writes_them() {
        for (micros, db, iso) in [
            (0, "1970-01-01 00:00:00.000000", "1970-01-01T00:00:00"),
            (
                1_735_689_600_000_000,
                "2025-01-01 00:00:00.000000",
                GENESIS_ISO,
            ),
            (
                951_782_399_999_999,
                "2000-02-28 23:59:59.999999",
                "2000-02-28T23:59:59.999999",
            ),
            (
                951_782_400_000_001,
                "2000-02-29 00:00:00.000001",
                "2000-02-29T00:00:00.000001",
            ),
            (
                1_795_337_508_120_000,
                "2026-11-22 08:51:48.120000",
                "2026-11-22T08:51:48.120000",
            ),
        ] {
            assert_eq!(db_text(micros), db);
            assert_eq!(agentry_protocol::isoformat(db), iso);
            assert_eq!(db_from_iso(iso).as_deref(), Some(db));
        }
    }

    #[test]
    fn only_isoformat_is_taken_in() {
        assert_eq!(
            db_from_iso("2026-11-22T08:51:48.12+00:00").as_deref(),
            Some("2026-11-22 08:51:48.120000")
        );
        for wrong in [
            "",
            "yesterday",
            "2026-11-22",
            "2026-11-22T08:51:48+02:00",
            "2026-11-22T08:51:48.1234567",
        ] {
            assert_eq!(db_from_iso(wrong), None, "{wrong}");
        }
    }
}
