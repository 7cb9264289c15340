//! How long things take: the histograms.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Of calls, in seconds: from a local answer to a node that hangs.
const CALL: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Of commits, in seconds: from a fast disk to a database that fails over.
const COMMIT: [f64; 13] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// Of answers, in seconds: from an idle runtime to one that is behind.
const ANSWER: [f64; 14] = [
    0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0, 3_600.0,
];

/// Of waiting messages, in seconds: up to the day for which rates and budgets can hold them.
const WAIT: [f64; 13] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 1_800.0, 21_600.0, 86_400.0,
];

/// Of tasks, in seconds: from a local program to the longest time limits in use.
const TASK: [f64; 13] = [
    0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0,
];

/// How many types of tasks are shown by name. A behaviour may choose the names of its types as it
/// likes, and each of them is a series of its own in Prometheus.
const MAX_KINDS: usize = 64;

/// The longest name of a type that is shown, in bytes.
const MAX_KIND: usize = 64;

/// What stands for all types that are not shown by name.
const OTHER: &str = "other";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: String,
}

impl OfKind {
    fn named(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
        }
    }
}

type ByKind = Family<OfKind, Histogram, fn() -> Histogram>;

/// How long attempts at tasks ran, by type.
#[derive(Debug)]
pub(in crate::runtime) struct TaskRuns {
    by_kind: ByKind,
    kinds: Mutex<BTreeSet<String>>,
}

impl TaskRuns {
    /// Has them shown.
    pub(in crate::runtime) fn register(registry: &mut Registry) -> Self {
        let runs = Self {
            by_kind: Family::new_with_constructor(|| Histogram::new(TASK)),
            kinds: Mutex::default(),
        };
        registry.register_with_unit(
            "task_run",
            "duration of attempts at tasks, by type",
            Unit::Seconds,
            runs.by_kind.clone(),
        );
        runs
    }

    /// An attempt at a task of this type has ended.
    pub(in crate::runtime) fn ran(&self, kind: &str, took: Duration) {
        let kind = if self.is_shown(kind) { kind } else { OTHER };
        self.by_kind
            .get_or_create(&OfKind::named(kind))
            .observe(took.as_secs_f64());
    }

    /// Whether a type is shown by its name: the first ones are.
    fn is_shown(&self, kind: &str) -> bool {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.contains(kind) {
            return true;
        }
        let is_shown = kinds.len() < MAX_KINDS && kind.len() <= MAX_KIND;
        if is_shown {
            kinds.insert(kind.to_owned());
        }
        is_shown
    }
}

/// The histograms of a host.
#[derive(Debug)]
pub(super) struct Durations {
    behaviours: ByKind,
    posts: Histogram,
    answers: Histogram,
    waits: Histogram,
    pub(super) commits: Histogram,
    pub(super) tasks: TaskRuns,
}

impl Durations {
    /// Has them shown.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let behaviours: ByKind = Family::new_with_constructor(|| Histogram::new(CALL));
        registry.register_with_unit(
            "behaviour_run",
            "duration of behaviour runs, by kind",
            Unit::Seconds,
            behaviours.clone(),
        );
        let mut histogram = |name: &str, help: &str, bounds: &[f64]| {
            let histogram = Histogram::new(bounds.iter().copied());
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
            histogram
        };
        Self {
            behaviours,
            posts: histogram("post", "duration of transaction POSTs to the node", &CALL),
            answers: histogram(
                "answer",
                "time from when a message in a block was stored until the node accepted an answer to it",
                &ANSWER,
            ),
            waits: histogram(
                "queue_age",
                "how long messages waited from when they were stored until their first attempt",
                &WAIT,
            ),
            commits: histogram(
                "commit",
                "time that changes of the store waited until they were durable",
                &COMMIT,
            ),
            tasks: TaskRuns::register(registry),
        }
    }

    pub(super) fn behaviour_ran(&self, kind: &str, took: Duration) {
        self.behaviours
            .get_or_create(&OfKind::named(kind))
            .observe(took.as_secs_f64());
    }

    pub(super) fn posted(&self, took: Duration) {
        self.posts.observe(took.as_secs_f64());
    }

    pub(super) fn answered(&self, took: Duration) {
        self.answers.observe(took.as_secs_f64());
    }

    pub(super) fn message_waited(&self, waited: Duration) {
        self.waits.observe(waited.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_beyond_the_first_are_shown_together() {
        let mut registry = Registry::default();
        let runs = TaskRuns::register(&mut registry);
        for number in 0..MAX_KINDS + 10 {
            runs.ran(&format!("kind-{number}"), Duration::from_secs(1));
        }
        runs.ran("kind-0", Duration::from_secs(1));
        runs.ran(&"k".repeat(MAX_KIND + 1), Duration::from_secs(1));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let count = |kind: &str| {
            let line = format!("task_run_seconds_count{{kind=\"{kind}\"}} ");
            let number = text.lines().find_map(|shown| shown.strip_prefix(&line));
            number.map(str::to_owned)
        };
        assert_eq!(count("kind-0").as_deref(), Some("2"));
        assert_eq!(count("kind-63").as_deref(), Some("1"));
        assert_eq!(count("kind-64"), None);
        assert_eq!(count(OTHER).as_deref(), Some("11"), "{text}");
    }

    #[test]
    fn bounds_grow() {
        let all: [&[f64]; 5] = [&CALL, &COMMIT, &ANSWER, &WAIT, &TASK];
        for bounds in all {
            assert!(bounds.is_sorted_by(|one, next| one < next), "{bounds:?}");
        }
    }
}
