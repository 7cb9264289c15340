//! This machine's clock, against the nodes'.

use agentry_protocol::header::{MAX_ID_AHEAD_MS, MAX_TIME_MS};

use super::super::ExitCode;
use super::about;
use super::node::{Nodes, Seen};
use super::report::Check;

/// How it is called in a report.
const NAME: &str = "clock";

/// The same, of the time that the store notes.
const STORED: &str = "stored time";

/// How far a clock may be off before it is worth a word, in milliseconds.
const OFF_MS: u64 = 10 * 1000;

/// What the dates of HTTP are exact to, in milliseconds.
const SECOND: u64 = 1000;

/// By how much a clock is off, at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Off {
    Ahead(u64),
    Behind(u64),
}

/// What there is to say of the clock.
pub(super) fn checks(nodes: &Nodes) -> Vec<Check> {
    let seen: Vec<_> = nodes
        .all()
        .filter_map(|node| Some((node.name, node.seen()?)))
        .collect();
    if seen.is_empty() {
        return vec![Check::skipped(
            NAME,
            "no node answers that could tell the time",
        )];
    }
    seen.into_iter()
        .map(|(name, seen)| match off(seen) {
            Some(off) => judge(name, off),
            None => Check::skipped(NAME, format!("the {name} does not tell the time")),
        })
        .collect()
}

/// The date that a node states counts. Without one, that its newest block cannot be of the future
/// does.
fn off(seen: &Seen) -> Option<Off> {
    if let Some(answer) = &seen.answer
        && let Some(date) = answer.date
    {
        return Some(between(answer.before, answer.after, date));
    }
    seen.made_at
        .map(|made| Off::Behind(made.saturating_sub(seen.at)))
}

/// The node's clock showed a time within the second of `date` while the local one went from
/// `before` to `after`.
fn between(before: u64, after: u64, date: u64) -> Off {
    if before > date.saturating_add(SECOND) {
        Off::Ahead(before - date - SECOND)
    } else {
        Off::Behind(date.saturating_sub(after))
    }
}

fn judge(name: &str, off: Off) -> Check {
    let (by, side) = match off {
        Off::Ahead(by) => (by, "ahead of"),
        Off::Behind(by) => (by, "behind"),
    };
    let mend = "set this machine's clock, and the node's: `timedatectl set-ntp true`";
    let found = format!("it is {} {side} that of the {name}", about(by));
    if by > MAX_ID_AHEAD_MS {
        let found = format!("{found}; past 10 min ids of messages are refused");
        Check::wrong(NAME, found, mend, ExitCode::Config)
    } else if by > OFF_MS {
        Check::warning(NAME, found, mend)
    } else {
        Check::well(NAME, format!("it agrees with that of the {name}"))
    }
}

/// What there is to say of the time up to which the store was used, where that lies ahead of the local
/// clock.
pub(super) fn noted(noted: Option<u64>, now: u64) -> Option<Check> {
    let ahead = noted?.saturating_sub(now);
    if ahead <= OFF_MS {
        return None;
    }
    if noted > Some(MAX_TIME_MS) {
        return Some(Check::warning(
            STORED,
            "the store notes a time that no clock shows; it is passed over at the next start",
            "start the runtime: it notes its own time then",
        ));
    }
    Some(Check::warning(
        STORED,
        format!(
            "the store was used up to a time that is {} ahead of this machine's clock: what waits \
             goes on by that time, and until the clock has caught up, the time in which no runtime \
             runs does not count",
            about(ahead)
        ),
        "if the clock is behind now, set it: `timedatectl set-ntp true`; if it was ahead then, leave \
         the runtime running",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::report::State;
    use super::*;

    #[test]
    fn only_what_is_certain_counts() {
        assert_eq!(between(5_000, 5_010, 5_000), Off::Behind(0));
        assert_eq!(between(5_999, 6_010, 5_000), Off::Behind(0));
        assert_eq!(between(20_000, 20_010, 5_000), Off::Ahead(14_000));
        // A slow answer says less.
        assert_eq!(between(1_000, 5_000, 6_000), Off::Behind(1_000));
        assert_eq!(between(1_000, 9_000, 6_000), Off::Behind(0));
    }

    #[test]
    fn a_stored_time_of_the_future_is_told() {
        let now = 1_800_000_000_000;
        for (time, wanted) in [
            (None, None),
            (Some(0), None),
            (Some(now + 10_000), None),
            (Some(now + 3_600_000), Some("60 min ahead")),
            (Some(now + 40 * 86_400_000), Some("40 d ahead")),
            (Some(MAX_TIME_MS + 1), Some("no clock shows")),
            (Some(u64::MAX), Some("no clock shows")),
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
