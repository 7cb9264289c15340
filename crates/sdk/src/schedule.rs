//! Schedules: when a behaviour is run although nothing happened.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A named series of times at which a behaviour is run. Each of these times is a *tick*.
///
/// It is only data. The runtime checks it, and refuses one that has no ticks.
///
/// ```
/// use agentry_sdk::{Missed, Schedule};
/// use std::time::Duration;
///
/// let poll = Schedule::every("poll", Duration::from_secs(30)).missed(Missed::Skip);
/// let report = Schedule::cron("report", "0 9 * * MON-FRI").zone("Europe/Berlin");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The name, which distinguishes it from the other schedules of the behaviour.
    pub name: String,
    /// The times of its ticks.
    pub when: When,
    /// What becomes of ticks that were missed.
    #[serde(default)]
    pub missed: Missed,
}

/// The times of a schedule's ticks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Each tick is this long after the one before it: from 1 s to 10 years, in whole milliseconds.
    #[serde(rename = "every_ms", with = "in_ms")]
    Every(Duration),
    /// The minutes that a cron expression names.
    Cron {
        /// Minute, hour, day of the month, month and day of the week, such as `0 9 * * MON-FRI`; or
        /// `@hourly`, `@daily`, `@weekly`, `@monthly` or `@yearly`.
        expression: String,
        /// The time zone of the expression by its IANA name, such as `Europe/Berlin`; UTC if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
    },
}

/// What becomes of ticks at whose time nothing could be run: the runtime was down, or the agent was
/// busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// They are skipped. A tick that is at most a minute late still runs.
    Skip,
    /// The last of them runs, and stands for all.
    #[default]
    Once,
    /// Each of them runs, in their order.
    All,
}

impl Schedule {
    /// A schedule whose ticks are this long apart.
    pub fn every(name: impl Into<String>, period: Duration) -> Self {
        Self::new(name.into(), When::Every(period))
    }

    /// A schedule whose ticks are the times that a cron expression names, in UTC unless a
    /// [`zone`](Self::zone) is set.
    pub fn cron(name: impl Into<String>, expression: impl Into<String>) -> Self {
        let expression = expression.into();
        let zone = None;
        Self::new(name.into(), When::Cron { expression, zone })
    }

    fn new(name: String, when: When) -> Self {
        Self {
            name,
            when,
            missed: Missed::default(),
        }
    }

    /// Sets the time zone of a cron expression by its IANA name, such as `Europe/Berlin`. A period
    /// has no time zone, and stays as it is.
    #[must_use]
    pub fn zone(mut self, name: impl Into<String>) -> Self {
        if let When::Cron { zone, .. } = &mut self.when {
            *zone = Some(name.into());
        }
        self
    }

    /// Sets what becomes of ticks that were missed.
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }
}

/// A length of time as a whole number of milliseconds.
mod in_ms {
    use std::time::Duration;

    use agentry_protocol::timestamp::millis;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(millis(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schedules_are_json() {
        for (schedule, wanted) in [
            (
                Schedule::every("poll", Duration::from_secs(30)).zone("Europe/Berlin"),
                json!({"name": "poll", "when": {"every_ms": 30_000}, "missed": "once"}),
            ),
            (
                Schedule::cron("report", "@daily").missed(Missed::Skip),
                json!({
                    "name": "report",
                    "when": {"cron": {"expression": "@daily"}},
                    "missed": "skip",
                }),
            ),
            (
                Schedule::cron("report", "0 9 * * *")
                    .zone("Europe/Berlin")
                    .missed(Missed::All),
                json!({
                    "name": "report",
                    "when": {"cron": {"expression": "0 9 * * *", "zone": "Europe/Berlin"}},
                    "missed": "all",
                }),
            ),
        ] {
            assert_eq!(serde_json::to_value(&schedule).unwrap(), wanted);
            assert_eq!(
                serde_json::from_value::<Schedule>(wanted).unwrap(),
                schedule
            );
        }
    }

    #[test]
    fn one_run_stands_for_missed_ticks_unless_said_otherwise() {
        let text = r#"{"name": "poll", "when": {"every_ms": 1000}}"#;
        let schedule: Schedule = serde_json::from_str(text).unwrap();
        assert_eq!(schedule.missed, Missed::Once);
        assert_eq!(schedule, Schedule::every("poll", Duration::from_secs(1)));
    }
}
