//! Times of a directory card, and what the directory covers.

use std::time::Duration;

use crate::ops::directory::Coverage;

/// The time until or since a moment, in its two largest units: `in 6days 23h`, `3h ago`.
pub(super) fn until(at_ms: u64, now_ms: u64) -> String {
    let span = |ms: u64| {
        let spelled = humantime::format_duration(Duration::from_secs(ms / 1000)).to_string();
        let parts: Vec<&str> = spelled.split(' ').take(2).collect();
        parts.join(" ")
    };
    if at_ms >= now_ms {
        format!("in {}", span(at_ms - now_ms))
    } else {
        format!("{} ago", span(now_ms - at_ms))
    }
}

/// Describes which blocks the directory was read from.
pub(super) fn knowledge(coverage: &Coverage) -> String {
    let Some(from) = coverage.from else {
        return "no runtime has read the chain for the directory yet; start `agentry run`"
            .to_owned();
    };
    let mut text = format!("the directory covers the chain from block {from} on");
    match &coverage.reading {
        Some(reading) => {
            let at = reading
                .at
                .filter(|at| *at >= reading.from)
                .map_or_else(String::new, |at| format!(", and has reached block {at}"));
            text.push_str(&format!(
                "; the runtime reads the blocks from {} up to there{at}",
                reading.from
            ));
        }
        None if from.0 > 0 => {
            text.push_str("; set `from` in [directory] to read older blocks");
        }
        None => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_two_units() {
        let day = 24 * 60 * 60 * 1000;
        assert_eq!(until(7 * day + 5_000, 0), "in 7days 5s");
        assert_eq!(until(0, 3 * 60 * 60 * 1000 + 61_000), "3h 1m ago");
        assert_eq!(until(1_000, 1_000), "in 0s");
    }
}
