//! The ticks of schedules: when each is due, and what runs if it is looked at too late.
//!
//! A [`Schedule`] is data; a [`Timetable`] is one that was checked. It is a function of times: it
//! reads no clock and remembers nothing.
//!
//! # Cron expressions
//!
//! Five fields, separated by spaces, name the minutes at which there is a tick:
//!
//! | field | values |
//! |---|---|
//! | minute | 0 to 59 |
//! | hour | 0 to 23 |
//! | day of the month | 1 to 31; `L` is the last day of the month |
//! | month | 1 to 12, or JAN to DEC |
//! | day of the week | 0 to 7, or SUN to SAT; 0 and 7 are Sunday |
//!
//! A field is `*`, which is every value, or a list of values (`5`), ranges (`1-5`) and steps
//! (`*/15`, `10-30/5`), separated by commas. If neither the day of the month nor the day of the week
//! is `*`, a day needs to match only one of them. `@hourly`, `@daily`, `@weekly`, `@monthly` and
//! `@yearly` are the first minute of each; a week begins on Sunday.
//!
//! What cron programs understand in different ways is refused, with what to write instead: ranges of
//! one value (`5-5`), ranges that run backwards (`22-2`), steps without a range (`5/15`), steps that
//! only the first value remains of (`*/90`), `?`, `W`, `#`, and a field for seconds.
//!
//! # Daylight saving time
//!
//! The fields are local times of the schedule's time zone. When clocks change there,
//!
//! - a local time that occurs twice has two ticks: in Berlin, where clocks go back from 3:00 to 2:00,
//!   `30 2 * * *` has one at the first 2:30 and one at the second;
//! - local times that are skipped have one tick together, at the first moment after them: where clocks
//!   go from 2:00 to 3:00, both `30 2 * * *` and `*/15 2 * * *` have one at 3:00. They have none if
//!   the expression has ticks in every hour of a day.
//!
//! These are the rules of croniter for Python, and random expressions and times are compared with its
//! answers in the tests. There are two differences. Where clocks change by less than an hour, as on
//! Lord Howe Island, croniter omits some of the ticks that occur twice. And if each of the two fields
//! for days is restricted, but one lists all values (`1-31`) and the other has a step of `*`, croniter
//! demands that both match.
//!
//! The time zone database is part of the binary: that of the system is not read.

mod cron;
#[cfg(test)]
mod tests;

use std::iter;
use std::time::Duration;

use agentry_protocol::Timestamp;
use agentry_protocol::timestamp::millis;
use agentry_sdk::schedule::{Missed, Schedule, When};

use cron::Cron;

/// The shortest period of a schedule.
pub const MIN_PERIOD: Duration = Duration::from_secs(1);

/// The longest period of a schedule: 10 years.
pub const MAX_PERIOD: Duration = Duration::from_secs(315_576_000);

/// How late a tick still runs if missed ticks are skipped: an agent that is busy with something else
/// is not a reason to skip one.
pub const SKIPPED_AFTER: Duration = Duration::from_secs(60);

/// How many ticks of a cron expression are counted, one after another: 69 days of minutes.
pub const MAX_COUNTED: usize = 100_000;

/// Why a schedule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The period is too short or too long.
    #[error(
        "a schedule's period must be {} to {}, not {}",
        humantime::format_duration(MIN_PERIOD),
        humantime::format_duration(MAX_PERIOD),
        humantime::format_duration(*.0)
    )]
    Period(Duration),
    /// The period has a fraction of a millisecond.
    #[error(
        "a schedule's period must be whole milliseconds, not {}",
        humantime::format_duration(*.0)
    )]
    Fraction(Duration),
    /// The cron expression is wrong.
    #[error("cron expression `{expression}`, character {at}: {problem}")]
    Expression {
        /// The expression.
        expression: String,
        /// The first character of the wrong part; the expression begins with character 1.
        at: usize,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// The time zone is not in the database.
    #[error(
        "time zone `{zone}` is unknown; write an IANA name such as `UTC` or `Europe/Berlin`{hint}"
    )]
    Zone {
        /// The name.
        zone: String,
        /// A question that names the known zone with the closest name, if one is close.
        hint: String,
    },
}

/// A schedule whose ticks can be computed.
#[derive(Clone, Debug)]
pub struct Timetable {
    ticks: Ticks,
    missed: Missed,
}

#[derive(Clone, Debug)]
enum Ticks {
    /// One in each period of this many milliseconds.
    Every(u64),
    Cron(Cron),
}

/// A tick that is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// When it was due.
    pub at: Timestamp,
    /// How many earlier ticks, from the one that was looked at, do not run. At most
    /// [`MAX_COUNTED`] if the schedule is a cron expression.
    pub missed: u64,
}

/// What to do with a tick that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What runs now, if anything does.
    pub run: Option<Tick>,
    /// The tick to wait for; absent if there is none before the end of the year 9999. It is in the past
    /// if it was missed, too, and is to run.
    pub next: Option<Timestamp>,
}

impl Timetable {
    /// Checks a schedule.
    ///
    /// # Errors
    /// [`ScheduleError`] says what is wrong, where, and what to write instead. A schedule without a
    /// single tick is wrong, too.
    pub fn parse(schedule: &Schedule) -> Result<Self, ScheduleError> {
        let ticks = match &schedule.when {
            When::Every(period) => Ticks::Every(checked(*period)?),
            When::Cron { expression, zone } => {
                Ticks::Cron(Cron::parse(expression, zone.as_deref())?)
            }
        };
        Ok(Self {
            ticks,
            missed: schedule.missed,
        })
    }

    /// The first tick after this time, which is a tick or the time from which the schedule applies:
    /// periods begin there. `None` if the tick would be after the year 9999.
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match &self.ticks {
            Ticks::Every(period) => {
                Some(time.plus_ms(*period)).filter(|tick| *tick <= Timestamp::MAX_STATED)
            }
            Ticks::Cron(cron) => cron.after(time),
        }
    }

    /// What to do at `now` with the tick that was due at `due`, which is not later.
    ///
    /// It takes a bounded time, however long ago `due` is.
    pub fn turn(&self, due: Timestamp, now: Timestamp) -> Turn {
        if self.missed == Missed::All {
            let tick = Tick { at: due, missed: 0 };
            return Turn {
                run: Some(tick),
                next: self.after(due),
            };
        }
        let last = self.last(due, now);
        let skipped = self.missed == Missed::Skip && now.since(last.at) > SKIPPED_AFTER;
        Turn {
            run: Some(last).filter(|_| !skipped),
            next: self.after(last.at),
        }
    }

    /// The last tick that is not after `now`, given one that is not.
    fn last(&self, due: Timestamp, now: Timestamp) -> Tick {
        match &self.ticks {
            Ticks::Every(period) => {
                let missed = now.ms_since(due) / period;
                let at = due.plus_ms(missed * period);
                Tick { at, missed }
            }
            Ticks::Cron(cron) => {
                let at = cron.last(due, now);
                let ticks = iter::successors(Some(due), |tick| cron.after(*tick));
                let missed = ticks
                    .take_while(|tick| *tick < at)
                    .take(MAX_COUNTED)
                    .count();
                let missed = missed as u64;
                Tick { at, missed }
            }
        }
    }
}

/// A schedule of a behaviour, and its times.
#[derive(Clone, Debug)]
pub struct Scheduled {
    schedule: Schedule,
    times: Timetable,
}

impl Scheduled {
    /// A schedule, checked.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn new(schedule: Schedule) -> Result<Self, ScheduleError> {
        let times = Timetable::parse(&schedule)?;
        Ok(Self { schedule, times })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.schedule.name
    }

    /// What its times are: equal texts have the same times.
    pub fn identity(&self) -> String {
        serde_json::json!(self.schedule.when).to_string()
    }

    /// Its first tick if it begins at this time; `None` if that would be after the year 9999.
    pub fn first(&self, from: Timestamp) -> Option<Timestamp> {
        self.times.after(from)
    }

    /// What to do with a tick that was due at `at`, after so many failed attempts. An attempt that is
    /// repeated is never skipped.
    pub fn turn(&self, at: Timestamp, attempts: u32, now: Timestamp) -> Turn {
        let mut turn = self.times.turn(at, now);
        if attempts > 0 && turn.run.is_none() {
            turn.run = Some(Tick { at, missed: 0 });
        }
        turn
    }
}

/// The milliseconds of a period, if it is one that a schedule may have.
fn checked(period: Duration) -> Result<u64, ScheduleError> {
    if !(MIN_PERIOD..=MAX_PERIOD).contains(&period) {
        return Err(ScheduleError::Period(period));
    }
    let ms = millis(period);
    if Duration::from_millis(ms) != period {
        return Err(ScheduleError::Fraction(period));
    }
    Ok(ms)
}
