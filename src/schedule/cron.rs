//! Cron expressions: the minutes that they name, and those minutes in a time zone.

mod fields;

use agentry_protocol::Timestamp;
use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase, TimeZoneName};

use super::ScheduleError;
use crate::config::did_you_mean;
use fields::Fields;

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub(super) struct Cron {
    fields: Fields,
    zone: TimeZone,
}

impl Cron {
    /// Parses an expression. Without the name of a time zone, it is in UTC.
    pub(super) fn parse(expression: &str, zone: Option<&str>) -> Result<Self, ScheduleError> {
        let fields = Fields::parse(expression).map_err(|wrong| ScheduleError::Expression {
            expression: expression.to_owned(),
            at: expression[..wrong.at].chars().count() + 1,
            problem: wrong.problem,
        })?;
        let zone = zone.map_or(Ok(TimeZone::UTC), named)?;
        Ok(Self { fields, zone })
    }

    /// The first tick after this time. `None` if it would be after the year 9999.
    pub(super) fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let time = i64::try_from(time.get()).ok()?;
        let tick = self.first_after(jiff::Timestamp::from_millisecond(time).ok()?)?;
        u64::try_from(tick.as_millisecond())
            .ok()
            .map(Timestamp::new)
    }

    /// The last tick that is not after `now`, given one that is not.
    pub(super) fn last(&self, mut tick: Timestamp, now: Timestamp) -> Timestamp {
        // There is no tick after `end` until `now`. Each step halves what is between them.
        let mut end = now;
        while tick < end {
            let middle = tick.plus_ms(end.ms_since(tick) / 2);
            match self.after(middle) {
                Some(later) if later <= end => tick = later,
                _ => end = middle,
            }
        }
        tick
    }

    fn first_after(&self, time: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let mut offset = self.zone.to_offset(time);
        let mut tick = self.local_after(offset.to_datetime(time))?;
        // From one change of the clocks to the next, local time runs as time does.
        for change in self.zone.following(time) {
            let at = change.timestamp();
            if offset.to_timestamp(tick).is_ok_and(|tick| tick < at) {
                break;
            }
            offset = change.offset();
            let local = offset.to_datetime(at);
            if tick < local && !self.fields.every_hour() {
                // It is skipped.
                return Some(at);
            }
            tick = self.local_after(local.checked_sub(1.nanosecond()).ok()?)?;
        }
        offset.to_timestamp(tick).ok()
    }

    /// The first local time after this one that the expression names.
    fn local_after(&self, local: DateTime) -> Option<DateTime> {
        let fields = &self.fields;
        let minute = local.date().at(local.hour(), local.minute(), 0, 0);
        let next = minute.checked_add(1.minute()).ok()?;
        let (mut date, mut time) = (next.date(), next.time());
        loop {
            if !fields.months.contains(date.month()) {
                date = date.last_of_month();
            } else if self.is_on(date)
                && let Some(time) = self.time_from(time)
            {
                return Some(date.to_datetime(time));
            }
            date = date.tomorrow().ok()?;
            time = Time::midnight();
        }
    }

    fn is_on(&self, date: Date) -> bool {
        let fields = &self.fields;
        let weekday = date.weekday().to_sunday_zero_offset();
        let of_month = fields.days.contains(date.day())
            || (fields.last_day && date.day() == date.days_in_month());
        let of_week = fields.weekdays.contains(weekday);
        if fields.either_day {
            of_month || of_week
        } else {
            of_month && of_week
        }
    }

    /// The first time of a day from this one on.
    fn time_from(&self, time: Time) -> Option<Time> {
        let Fields { hours, minutes, .. } = &self.fields;
        let at = |hour, minute| Some(jiff::civil::time(hour, minute, 0, 0));
        match minutes.from(time.minute()) {
            Some(minute) if hours.contains(time.hour()) => at(time.hour(), minute),
            _ => at(hours.from(time.hour() + 1)?, minutes.from(0)?),
        }
    }
}

/// The time zone with this name, from the database in the binary.
fn named(zone: &str) -> Result<TimeZone, ScheduleError> {
    let known = TimeZoneDatabase::bundled();
    known.get(zone).map_err(|_| {
        let names: Vec<_> = known.available().collect();
        ScheduleError::Zone {
            zone: zone.to_owned(),
            hint: did_you_mean(zone, names.iter().map(TimeZoneName::as_str)),
        }
    })
}
