//! The keys that `[defaults]`, `[[agent]]` and `[[fleet]]` share.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};

use super::check::{DAY, FEES};
use super::document::Given;
use super::error::Origin;
use super::model::AgentDefaults;
use super::rate::Rate;
use super::values::Reader;

/// Bounds of `time_limit`.
const TIME_LIMITS: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;
/// Bounds of `attempts`.
const ATTEMPTS: RangeInclusive<u64> = 1..=1_000;
/// Bounds of `max_wait`.
const WAITS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(365 * 86_400);

/// The values of the keys, and where each comes from.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) values: AgentDefaults,
    origins: Vec<(&'static str, Origin)>,
}

impl Default for Common {
    /// The same values as the defaults in [`super::keys`], which are the layer below the file.
    fn default() -> Self {
        Self {
            values: AgentDefaults {
                fee: 10,
                time_limit: Duration::from_secs(30),
                attempts: 5,
                per_sender_rate: Some(Rate {
                    count: 60,
                    per: Duration::from_secs(60),
                }),
                max_wait: Duration::from_secs(60 * 60),
                daily_budget: 100_000,
            },
            origins: Vec::new(),
        }
    }
}

impl Common {
    /// Overlays the values of `given`. A wrong value is reported and changes nothing.
    /// `path` precedes the keys' names in messages, for example `agent.ponger`.
    pub(super) fn overlaid<'a>(
        &self,
        path: &str,
        reader: &mut Reader,
        given: impl Fn(&'static str) -> Option<&'a Given>,
    ) -> Self {
        let mut overlay = Overlay {
            path,
            reader,
            given,
            result: self.clone(),
        };
        if let Some(fee) = overlay.read("fee", |reader, name, given| {
            reader.integer(name, given, FEES)
        }) {
            overlay.result.values.fee = fee;
        }
        if let Some(limit) = overlay.read("time_limit", |reader, name, given| {
            reader.duration(name, given, TIME_LIMITS)
        }) {
            overlay.result.values.time_limit = limit;
        }
        if let Some(attempts) = overlay.read("attempts", |reader, name, given| {
            let attempts = reader.integer(name, given, ATTEMPTS)?;
            u32::try_from(attempts).ok()
        }) {
            overlay.result.values.attempts = attempts;
        }
        if let Some(rate) = overlay.read("per_sender_rate", Reader::rate) {
            overlay.result.values.per_sender_rate = rate;
        }
        if let Some(wait) = overlay.read("max_wait", |reader, name, given| {
            reader.duration(name, given, WAITS)
        }) {
            overlay.result.values.max_wait = wait;
        }
        if let Some(budget) = overlay.read("daily_budget", |reader, name, given| {
            reader.integer(name, given, FEES)
        }) {
            overlay.result.values.daily_budget = budget;
        }
        overlay.result
    }

    /// Each key with its value as `config show` prints it, and its origin.
    pub(super) fn shown(&self) -> [(&'static str, Value, Origin); 6] {
        let duration = |duration| json!(humantime::format_duration(duration).to_string());
        let values = &self.values;
        [
            ("fee", json!(values.fee)),
            ("time_limit", duration(values.time_limit)),
            ("attempts", json!(values.attempts)),
            ("per_sender_rate", json!(Rate::show(values.per_sender_rate))),
            ("max_wait", duration(values.max_wait)),
            ("daily_budget", json!(values.daily_budget)),
        ]
        .map(|(key, value)| {
            let known = self.origins.iter().find(|(name, _)| *name == key);
            let origin = known.map_or(Origin::Default, |(_, origin)| origin.clone());
            (key, value, origin)
        })
    }
}

struct Overlay<'r, G> {
    path: &'r str,
    reader: &'r mut Reader,
    given: G,
    result: Common,
}

impl<'a, G: Fn(&'static str) -> Option<&'a Given>> Overlay<'_, G> {
    fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Reader, &str, &Given) -> Option<T>,
    ) -> Option<T> {
        let given = (self.given)(key)?;
        let value = read(self.reader, &format!("{}.{key}", self.path), given)?;
        self.result.origins.retain(|(name, _)| *name != key);
        self.result.origins.push((key, given.origin.clone()));
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::DEFAULTS;
    use super::*;

    #[test]
    fn every_shared_key_is_read_and_shown() {
        let shown = Common::default().shown();
        let names: Vec<_> = shown.iter().map(|(key, ..)| *key).collect();
        assert_eq!(names, DEFAULTS.names().collect::<Vec<_>>());
    }
}
