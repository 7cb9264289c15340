//! Times of a directory card, and what the directory covers.

use std::time::Duration;

use agentry_protocol::Timestamp;

use crate::ops::directory::Coverage;

/// The time until or since a moment, in its two largest units: `in 6days 23h`, `3h ago`.
pub(super) fn until(at: Timestamp, now: Timestamp) -> String {
    let span = |time: Duration| {
        let spelled = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
        let parts: Vec<&str> = spelled.split(' ').take(2).collect();
        parts.join(" ")
    };
    if at >= now {
        format!("in {}", span(at.since(now)))
    } else {
        format!("{} ago", span(now.since(at)))
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
        let seconds = |seconds| Timestamp::EPOCH.plus(Duration::from_secs(seconds));
        let (start, hour) = (Timestamp::EPOCH, 60 * 60);
        assert_eq!(until(seconds(7 * 24 * hour + 5), start), "in 7days 5s");
        assert_eq!(until(start, seconds(3 * hour + 61)), "3h 1m ago");
        assert_eq!(until(seconds(1), seconds(1)), "in 0s");
    }
}
