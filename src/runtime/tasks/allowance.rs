//! Whether a day's tokens suffice for an attempt at a task.

use std::time::Duration;

use agentry_core::state::spending::DayTokens;
use agentry_protocol::Timestamp;
use agentry_protocol::timestamp::DAY_MS;
use agentry_sdk::TaskError;

/// The code of a task that fails because there are too few tokens.
const CODE: &str = "tokens";

/// Whether an attempt may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// It may.
    Yes,
    /// Not before others have ended that reserved more than they used, or before the next day.
    Later,
    /// Not in time: the task fails.
    Never(TaskError),
}

/// Whether an attempt may begin that uses about `needs` of the `daily` tokens at most, of which some
/// were `used` before.
pub(super) fn check(
    daily: u64,
    needs: u64,
    used: DayTokens,
    deadline: Option<Timestamp>,
    now: Timestamp,
) -> Allowed {
    let fits = |used: u64| used.saturating_add(needs) <= daily;
    if fits(used.counted) {
        return Allowed::Yes;
    }
    if !fits(0) {
        let reason =
            format!("it may use about {needs} tokens, and `daily_tokens` of its agent is {daily}");
        let public = "it needs more tokens than this agent uses in a day";
        return Allowed::Never(TaskError::permanent(CODE, reason).with_public(public));
    }
    // What the others do not use of their reserves may suffice.
    let is_certain = !fits(used.counted.saturating_sub(used.reserved));
    let ends_before = deadline.is_some_and(|deadline| deadline.day() <= now.day());
    if is_certain && ends_before {
        let reason = format!(
            "it may use about {needs} tokens, and {} of {daily} `daily_tokens` of its agent are used; \
             its deadline is before the next day (UTC)",
            used.counted
        );
        let public = "this agent has no tokens left before the deadline";
        return Allowed::Never(TaskError::permanent(CODE, reason).with_public(public));
    }
    Allowed::Later
}

/// The time until the next day (UTC).
pub(super) fn until_tomorrow(now: Timestamp) -> Duration {
    Duration::from_millis(DAY_MS - now.get() % DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::new(20_000 * DAY_MS + DAY_MS / 2);

    fn allowed(needs: u64, (counted, reserved): (u64, u64), deadline: Option<u64>) -> String {
        let used = DayTokens { counted, reserved };
        let deadline = deadline.map(|after| NOON.plus_ms(after));
        match check(100, needs, used, deadline, NOON) {
            Allowed::Yes => "yes".to_owned(),
            Allowed::Later => "later".to_owned(),
            Allowed::Never(error) => error.to_string(),
        }
    }

    #[test]
    fn an_attempt_begins_if_what_it_may_use_is_left() {
        assert_eq!(allowed(40, (60, 0), None), "yes");
        assert_eq!(allowed(40, (60, 60), Some(1)), "yes");
        assert_eq!(allowed(41, (60, 0), None), "later");
        assert_eq!(allowed(0, (100, 0), None), "yes");
        assert_eq!(allowed(1, (u64::MAX, 0), None), "later");
    }

    #[test]
    fn a_task_that_never_fits_fails() {
        let failed = allowed(101, (0, 0), None);
        assert!(
            failed.starts_with("tokens: it may use about 101"),
            "{failed}"
        );
        assert!(allowed(u64::MAX, (7, 7), None).starts_with("tokens: "));
    }

    #[test]
    fn a_task_whose_deadline_is_on_this_day_fails_once_it_is_certain() {
        let today = Some(DAY_MS / 2 - 1);
        let failed = allowed(41, (60, 0), today);
        assert!(failed.contains("60 of 100"), "{failed}");
        // A running attempt may use less than it has reserved.
        assert_eq!(allowed(41, (60, 1), today), "later");
        assert_eq!(allowed(41, (60, 0), Some(DAY_MS / 2)), "later");
    }

    #[test]
    fn the_next_day_begins_at_midnight() {
        assert_eq!(until_tomorrow(NOON).as_secs(), 12 * 3600);
        assert_eq!(
            until_tomorrow(NOON.plus_ms(DAY_MS / 2)).as_secs(),
            24 * 3600
        );
    }
}
