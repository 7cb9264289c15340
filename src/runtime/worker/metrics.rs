//! What a worker counts.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::runtime::metrics::durations::TaskRuns;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    kind: String,
    outcome: &'static str,
}

/// How a job ended at a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobOutcome {
    /// With a result, or a question.
    Done,
    /// It failed; its owner may try it again.
    Failed,
    /// Its task was over.
    Cancelled,
    /// The worker gave it back.
    Interrupted,
    /// It is another worker's now, or has ended without this one.
    Lost,
}

impl JobOutcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Lost => "lost",
        }
    }
}

/// The metrics of a worker.
#[derive(Debug)]
pub struct WorkerMetrics {
    registry: Registry,
    up: Gauge,
    running: Family<OfKind, Gauge>,
    most: Family<OfKind, Gauge>,
    taken: Family<OfKind, Counter>,
    ended: Family<Ended, Counter>,
    runs: TaskRuns,
}

impl WorkerMetrics {
    /// The metrics of a worker that runs so many tasks of each type at the same time.
    pub fn new(kinds: &BTreeMap<String, usize>) -> Self {
        let mut registry = Registry::with_prefix("agentry");
        let mut metrics = Self {
            runs: TaskRuns::register(&mut registry),
            registry,
            up: Gauge::default(),
            running: Family::default(),
            most: Family::default(),
            taken: Family::default(),
            ended: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "cluster_up",
            "1 while the cluster's database answers this worker",
            metrics.up.clone(),
        );
        registry.register(
            "worker_jobs_running",
            "tasks of the type that run",
            metrics.running.clone(),
        );
        registry.register(
            "worker_jobs_most",
            "tasks of the type that run at the same time at most",
            metrics.most.clone(),
        );
        registry.register(
            "worker_jobs_taken",
            "attempts at tasks of the type that were begun",
            metrics.taken.clone(),
        );
        registry.register(
            "worker_jobs_ended",
            "attempts at tasks of the type that ended, by how",
            metrics.ended.clone(),
        );
        metrics.up.set(1);
        for (kind, most) in kinds {
            let kind = OfKind { kind: kind.clone() };
            let most = i64::try_from(*most).unwrap_or(i64::MAX);
            metrics.most.get_or_create(&kind).set(most);
            metrics.running.get_or_create(&kind).set(0);
            drop(metrics.taken.get_or_create(&kind));
        }
        metrics
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Whether the database answered the last call.
    pub(super) fn reached(&self, is_reached: bool) {
        self.up.set(i64::from(is_reached));
    }

    /// A job was taken.
    pub(super) fn took(&self, kind: &str) {
        let kind = OfKind {
            kind: kind.to_owned(),
        };
        self.taken.get_or_create(&kind).inc();
        self.running.get_or_create(&kind).inc();
    }

    /// A run has taken this long.
    pub(super) fn ran(&self, kind: &str, took: Duration) {
        self.runs.ran(kind, took);
    }

    /// A run has ended.
    pub(super) fn ended(&self, kind: &str, outcome: JobOutcome) {
        let of_kind = OfKind {
            kind: kind.to_owned(),
        };
        self.running.get_or_create(&of_kind).dec();
        let ended = Ended {
            kind: kind.to_owned(),
            outcome: outcome.as_str(),
        };
        self.ended.get_or_create(&ended).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_counted_by_type_and_outcome() {
        let metrics = WorkerMetrics::new(&[("chat".to_owned(), 2)].into());
        metrics.took("chat");
        metrics.took("chat");
        metrics.ended("chat", JobOutcome::Done);
        metrics.ran("chat", Duration::from_millis(30));
        metrics.reached(false);
        let text = metrics.encode().unwrap();
        for line in [
            "agentry_cluster_up 0",
            "agentry_worker_jobs_running{kind=\"chat\"} 1",
            "agentry_worker_jobs_most{kind=\"chat\"} 2",
            "agentry_worker_jobs_taken_total{kind=\"chat\"} 2",
            "agentry_worker_jobs_ended_total{kind=\"chat\",outcome=\"done\"} 1",
            "agentry_task_run_seconds_count{kind=\"chat\"} 1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
