//! A figure, and what it is compared with.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cli::output::or_dash;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Unit {
    #[serde(rename = "/s")]
    PerSecond,
    #[serde(rename = "/min")]
    PerMinute,
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "B")]
    Bytes,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measure {
    /// The row that it belongs to.
    pub(super) row: String,
    /// What was measured.
    what: String,
    value: f64,
    unit: Unit,
    /// What it is compared with, and the figure of that, measured in the same run.
    floor: String,
    floor_value: f64,
    /// The figure divided by its floor's; none if that is too small to be measured.
    ratio: Option<f64>,
}

impl Measure {
    pub(super) fn new(
        unit: Unit,
        (what, value): (impl Into<String>, f64),
        (floor, floor_value): (impl Into<String>, f64),
    ) -> Self {
        Self {
            row: String::new(),
            what: what.into(),
            value,
            unit,
            floor: floor.into(),
            floor_value,
            ratio: (floor_value > 0.0).then_some(value / floor_value),
        }
    }

    pub(super) fn time(
        (what, time): (impl Into<String>, Duration),
        (floor, floor_time): (impl Into<String>, Duration),
    ) -> Self {
        let (time, floor_time) = (time.as_secs_f64(), floor_time.as_secs_f64());
        Self::new(Unit::Seconds, (what, time), (floor, floor_time))
    }

    /// Its cells in the table.
    pub(super) fn cells(&self) -> Vec<String> {
        let ratio = self.ratio.map(|ratio| match self.unit {
            Unit::PerSecond | Unit::PerMinute => format!("{:.0} %", ratio * 100.0),
            Unit::Seconds | Unit::Bytes => format!("{ratio:.2} ×"),
        });
        vec![
            self.row.clone(),
            self.what.clone(),
            self.unit.show(self.value),
            or_dash(ratio),
            self.floor.clone(),
            self.unit.show(self.floor_value),
        ]
    }
}

impl Unit {
    /// A number for people, with three significant digits.
    pub(super) fn show(self, value: f64) -> String {
        let steps: &[(f64, &str)] = match self {
            Self::PerSecond => &[(1.0, "/s")],
            Self::PerMinute => &[(1.0, "/min")],
            Self::Seconds => &[(1.0, " s"), (1e-3, " ms"), (1e-6, " µs")],
            Self::Bytes => &[(1e6, " MB"), (1e3, " kB"), (1.0, " B")],
        };
        let fitting = steps.iter().find(|(step, _)| value >= *step);
        let (step, name) = fitting.or(steps.last()).copied().unwrap_or((1.0, ""));
        match value / step {
            value @ ..10.0 => format!("{value:.2}{name}"),
            value @ ..100.0 => format!("{value:.1}{name}"),
            value => format!("{}{name}", number(value.round() as usize)),
        }
    }
}

/// A number with a comma between thousands.
pub(super) fn number(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The time that `percent` of the samples do not exceed (nearest rank).
pub(super) fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    let rank = (samples.len() * percent).div_ceil(100).max(1);
    samples.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (unit, value, shown) in [
            (Unit::PerSecond, 12_345.6, "12,346/s"),
            (Unit::Seconds, 0.0, "0.00 µs"),
            (Unit::Seconds, 0.045, "45.0 ms"),
            (Unit::Bytes, 3_100.0, "3.10 kB"),
        ] {
            assert_eq!(unit.show(value), shown);
        }
        let mut samples: Vec<_> = (1..=200).rev().map(Duration::from_secs).collect();
        assert_eq!(percentile(&mut samples, 99), Duration::from_secs(198));
    }
}
