//! Compares this machine's clock with the nodes' clocks.

use agentry_protocol::Timestamp;
use agentry_protocol::header::MAX_ID_AHEAD_MS;

use super::super::ExitCode;
use super::about;
use super::node::{Nodes, Seen};
use super::report::Check;

/// Name of the check in the report.
const NAME: &str = "clock";

/// Name of the check of the time recorded in the store.
const STORED: &str = "stored time";

/// A clock that is off by more than this is reported, in milliseconds.
const OFF_MS: u64 = 10 * 1000;

/// Precision of HTTP dates, in milliseconds.
const SECOND: u64 = 1000;

/// The minimum difference between two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Off {
    Ahead(u64),
    Behind(u64),
}

/// Checks of the clock.
pub(super) fn checks(nodes: &Nodes) -> Vec<Check> {
    let seen: Vec<_> = nodes
        .all()
        .filter_map(|node| Some((node.name, node.seen()?)))
        .collect();
    if seen.is_empty() {
        return vec![Check::skipped(
            NAME,
            "no node answers, so there is no time to compare with",
        )];
    }
    seen.into_iter()
        .map(|(name, seen)| match off(seen) {
            Some(off) => judge(name, off),
            None => Check::skipped(NAME, format!("the {name} does not report the time")),
        })
        .collect()
}

/// Compares the clock with the date that a node reports. Without a date, the time of the node's
/// newest block is a lower bound.
fn off(seen: &Seen) -> Option<Off> {
    if let Some(answer) = &seen.answer
        && let Some(date) = answer.date
    {
        return Some(between(answer.before, answer.after, date));
    }
    seen.made_at.map(|made| Off::Behind(made.ms_since(seen.at)))
}

/// The node's clock showed a time within the second of `date` while the local clock went from
/// `before` to `after`.
fn between(before: Timestamp, after: Timestamp, date: Timestamp) -> Off {
    let end = date.plus_ms(SECOND);
    if before > end {
        Off::Ahead(before.ms_since(end))
    } else {
        Off::Behind(date.ms_since(after))
    }
}

fn judge(name: &str, off: Off) -> Check {
    let (by, side) = match off {
        Off::Ahead(by) => (by, "ahead of"),
        Off::Behind(by) => (by, "behind"),
    };
    let fix = "set this machine's clock, and the node's: `timedatectl set-ntp true`";
    let found = format!("it is {} {side} that of the {name}", about(by));
    if by > MAX_ID_AHEAD_MS {
        let found = format!("{found}; above 10 min message ids are refused");
        Check::wrong(NAME, found, fix, ExitCode::Config)
    } else if by > OFF_MS {
        Check::warning(NAME, found, fix)
    } else {
        Check::well(NAME, format!("it agrees with that of the {name}"))
    }
}

/// Checks the last time recorded in the store, if it is ahead of the local clock.
pub(super) fn noted(noted: Option<Timestamp>, now: Timestamp) -> Option<Check> {
    let ahead = noted?.ms_since(now);
    if ahead <= OFF_MS {
        return None;
    }
    if noted > Some(Timestamp::MAX_STATED) {
        return Some(Check::warning(
            STORED,
            "the store has recorded an impossible time; it is ignored at the next start",
            "start the runtime: it then records the current time",
        ));
    }
    Some(Check::warning(
        STORED,
        format!(
            "the store has recorded a time that is {} ahead of this machine's clock: waiting rows \
             follow that time, and until the clock has caught up, the time during which no runtime \
             runs does not count",
            about(ahead)
        ),
        "if the clock is behind now, set it: `timedatectl set-ntp true`; if it was ahead then, leave \
         the runtime running",
    ))
}

#[cfg(test)]
mod tests {
    use agentry_protocol::timestamp::DAY_MS;

    use super::super::report::State;
    use super::*;

    #[test]
    fn only_what_is_certain_counts() {
        let off = |before, after, date| {
            let [before, after, date] = [before, after, date].map(Timestamp::new);
            between(before, after, date)
        };
        assert_eq!(off(5_000, 5_010, 5_000), Off::Behind(0));
        assert_eq!(off(5_999, 6_010, 5_000), Off::Behind(0));
        assert_eq!(off(20_000, 20_010, 5_000), Off::Ahead(14_000));
        // A slow answer makes the comparison less precise.
        assert_eq!(off(1_000, 5_000, 6_000), Off::Behind(1_000));
        assert_eq!(off(1_000, 9_000, 6_000), Off::Behind(0));
    }

    #[test]
    fn a_stored_time_of_the_future_is_told() {
        let now = Timestamp::new(1_800_000_000_000);
        for (time, wanted) in [
            (None, None),
            (Some(Timestamp::EPOCH), None),
            (Some(now.plus_ms(10_000)), None),
            (Some(now.plus_ms(3_600_000)), Some("60 min ahead")),
            (Some(now.plus_ms(40 * DAY_MS)), Some("40 d ahead")),
            (
                Some(Timestamp::MAX_STATED.plus_ms(1)),
                Some("impossible time"),
            ),
            (Some(Timestamp::MAX), Some("impossible time")),
        ] {
            let check = noted(time, now).map(|check| serde_json::to_value(check).unwrap());
            let found = check.as_ref().map(|check| check["found"].as_str().unwrap());
            assert_eq!(found.is_some(), wanted.is_some(), "{time:?}: {found:?}");
            assert!(
                found.unwrap_or("").contains(wanted.unwrap_or("")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn seconds_are_nothing_and_minutes_are_too_much() {
        for (by, wanted) in [
            (0, State::Ok),
            (10_000, State::Ok),
            (10_001, State::Warning),
            (600_000, State::Warning),
            (600_001, State::Error),
        ] {
            assert_eq!(judge("node", Off::Ahead(by)).state, wanted, "{by}");
            assert_eq!(judge("node", Off::Behind(by)).state, wanted, "{by}");
        }
    }
}
