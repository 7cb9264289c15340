//! `agentry worker`: runs tasks of agents that are hosted elsewhere. It has executors only: no keys, no
//! chain, no store.
//!
//! A worker takes [jobs](super::jobs) from the cluster's database, beats while it runs them, and puts
//! their results there. It decides nothing: limits, deadlines and cancellations are the owner's, which
//! the worker learns with its beats. A job that is no longer there for it is dropped.
//!
//! | module | holds |
//! |---|---|
//! | [`behaviours`] | the behaviours of agents.toml, without their wallets |
//! | `run` | one run of an attempt, isolated from the worker |
//! | `deliver` | putting results into the database |
//! | [`metrics`] | what it counts |

pub mod behaviours;
mod deliver;
pub mod metrics;
mod run;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use agentry_cluster::{
    ClusterError, Database, Hints, JobKey, KEEP_WORKERS, Room, Standing, Taken, Topic, WorkerRow,
};
use agentry_sdk::TaskError;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::Instrument;

use super::jobs::BEAT;
use super::jobs::wire::{JobEnd, JobInput};
use super::traces::Traces;
use behaviours::Behaviours;
use deliver::Verdict;
use metrics::{JobOutcome, WorkerMetrics};
use run::{Run, Stopped};

/// A worker that cannot reach the database for this long drops its runs. Their owners took it for lost
/// much earlier, if they reached the database themselves; if not, they wait, and the runs go on for
/// them through a failover.
const CUT_OFF: Duration = Duration::from_secs(60);

/// How often a worker says that it is there, for people. Its jobs have beats of their own.
const SHOW: Duration = Duration::from_secs(2);

/// How long the last words to the database may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// What a worker does.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Its name, for people.
    pub name: String,
    /// The types of task that it runs, and how many of each at the same time.
    pub kinds: BTreeMap<String, usize>,
    /// How long it may take to finish what runs when it is asked to stop.
    pub stop_limit: Duration,
}

/// A worker that has joined the cluster.
#[derive(Debug)]
pub struct Worker {
    settings: WorkerSettings,
    /// Its name, which no other worker has.
    id: Arc<str>,
    /// For what is short: a large result on its way to the database must not hold up beats.
    beats: Database,
    /// For results.
    results: Database,
    hints: Hints,
    behaviours: Behaviours,
    traces: Traces,
    /// The tokio runtime on which executors run. It is not the worker's own, so that one that blocks
    /// its thread does not stop the beats.
    executors: tokio::runtime::Handle,
    open: HashMap<JobKey, Open>,
    runs: JoinSet<(JobKey, Result<JobEnd, Stopped>)>,
    deliveries: JoinSet<JobKey>,
    /// When the database has last answered a beat, or there was none to send.
    reached: Instant,
    /// Whether the database answered the last call.
    is_reached: bool,
    /// When it shows itself next; `None` if it may not.
    shows: Option<Instant>,
    metrics: Arc<WorkerMetrics>,
}

/// A job that this worker has taken.
#[derive(Debug)]
struct Open {
    kind: String,
    run: Run,
    since: Instant,
    /// Whether its result is being put into the database.
    is_delivered: bool,
}

impl Worker {
    /// A worker of the cluster in a database: one handle for what is short, one for results. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(
        settings: WorkerSettings,
        (beats, results): (Database, Database),
        behaviours: Behaviours,
        traces: Traces,
        executors: tokio::runtime::Handle,
    ) -> Result<Self, getrandom::Error> {
        let mut random = [0; 4];
        getrandom::fill(&mut random)?;
        // Another process of the same name is another worker.
        let id = format!("{} {}", settings.name, hex::encode(random));
        Ok(Self {
            metrics: Arc::new(WorkerMetrics::new(&settings.kinds)),
            settings,
            id: id.into(),
            hints: beats.hints(Topic::Put),
            beats,
            results,
            behaviours,
            traces,
            executors,
            open: HashMap::new(),
            runs: JoinSet::new(),
            deliveries: JoinSet::new(),
            reached: Instant::now(),
            is_reached: true,
            shows: Some(Instant::now()),
        })
    }

    /// Its name, which no other worker has.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it counts.
    pub fn metrics(&self) -> Arc<WorkerMetrics> {
        Arc::clone(&self.metrics)
    }

    /// Works until it is asked to stop, and what it runs has ended or is given back.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline: Option<Instant> = None;
        loop {
            if deadline.is_some() && self.open.is_empty() {
                break;
            }
            let late = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let is_open = deadline.is_none();
            tokio::select! {
                biased;
                () = asked_to_stop(&mut stopping), if is_open => {
                    tracing::info!(running = self.open.len(), "stopping: finishing what runs, and taking nothing more");
                    deadline = Some(Instant::now() + self.settings.stop_limit);
                }
                () = late => {
                    tracing::warn!(running = self.open.len(), "the time limit for stopping is reached: what runs is given back");
                    break;
                }
                _ = beats.tick() => {
                    self.beat().await;
                    self.show().await;
                    if is_open {
                        self.take().await;
                    }
                }
                Some(ended) = self.runs.join_next() => {
                    if let Ok((key, end)) = ended {
                        self.ended(key, end);
                    }
                }
                Some(delivered) = self.deliveries.join_next() => {
                    if let Ok(key) = delivered {
                        self.open.remove(&key);
                    }
                    if is_open {
                        self.take().await;
                    }
                }
                () = self.hints.next(), if is_open => self.take().await,
            }
        }
        self.give_back().await;
        self.leave().await;
        tracing::info!("the worker has stopped");
    }

    /// Shows itself to people who look at the cluster.
    async fn show(&mut self) {
        if self.shows.is_none_or(|at| Instant::now() < at) {
            return;
        }
        self.shows = Some(Instant::now() + SHOW);
        let running = |kind: &str| self.open.values().filter(|open| open.kind == kind).count();
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let kinds = self.settings.kinds.iter().map(|(kind, most)| {
            let room = Room {
                most: count(*most),
                running: count(running(kind)),
            };
            (kind.clone(), room)
        });
        let row = WorkerRow {
            id: self.id.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kinds: kinds.collect(),
        };
        match self.beats.beat_worker(&row).await {
            // A role with the rights for jobs only.
            Err(error @ ClusterError::Refused { .. }) if !error.is_transient() => {
                tracing::warn!(%error, "this worker is not shown by `agentry cluster status`: its role lacks rights on agentry.worker");
                self.shows = None;
            }
            answer => {
                self.heard(answer);
            }
        }
    }

    /// It is not shown any more.
    async fn leave(&mut self) {
        if self.shows.is_none() {
            return;
        }
        let removed = self.beats.remove_worker(&self.id, KEEP_WORKERS);
        if !matches!(tokio::time::timeout(FAREWELL, removed).await, Ok(Ok(()))) {
            tracing::debug!("the row of this worker stays in the database");
        }
    }

    /// Says that it still works, and learns what is to be dropped.
    async fn beat(&mut self) {
        if self.open.is_empty() {
            self.reached = Instant::now();
            return;
        }
        let reports = self.open.iter();
        let reports = reports.map(|(key, open)| (*key, open.run.report().write()));
        let reports: Vec<_> = reports.collect();
        let reports: Vec<_> = reports
            .iter()
            .map(|(key, report)| (*key, Some(report.as_str())))
            .collect();
        let answer = self.beats.beat_jobs(&self.id, &reports).await;
        let Some(standings) = self.heard(answer) else {
            if self.reached.elapsed() > CUT_OFF {
                tracing::error!(
                    running = self.open.len(),
                    "the cluster's database was not reached for too long: what runs is dropped"
                );
                self.reached = Instant::now();
                for open in self.open.values_mut() {
                    open.run.stop(Stopped::Lost);
                }
            }
            return;
        };
        self.reached = Instant::now();
        for ((key, _), standing) in reports.iter().zip(standings) {
            let Some(open) = self.open.get_mut(key) else {
                continue;
            };
            match standing {
                Standing::Ours => {}
                Standing::Cancelled => open.run.stop(Stopped::Cancelled),
                Standing::Lost if open.is_delivered => {}
                Standing::Lost => open.run.stop(Stopped::Lost),
            }
        }
    }

    /// The types of task that there is room for.
    fn roomy(&self) -> Vec<&str> {
        let running = |kind: &str| self.open.values().filter(|open| open.kind == kind).count();
        let kinds = self.settings.kinds.iter();
        let roomy = kinds.filter(|(kind, room)| running(kind) < **room);
        roomy.map(|(kind, _)| kind.as_str()).collect()
    }

    /// Takes as many jobs as there is room for.
    async fn take(&mut self) {
        loop {
            let kinds = self.roomy();
            if kinds.is_empty() {
                return;
            }
            let answer = self.beats.take_job(&self.id, &kinds).await;
            match self.heard(answer) {
                Some(Some(taken)) => self.begin(taken),
                Some(None) | None => return,
            }
        }
    }

    /// The answer of the database, if there is one.
    fn heard<T>(&mut self, answer: Result<T, ClusterError>) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.metrics.reached(true);
                if !std::mem::replace(&mut self.is_reached, true) {
                    tracing::info!("the cluster's database answers again");
                }
                Some(answer)
            }
            Err(error) => {
                self.metrics.reached(false);
                if std::mem::replace(&mut self.is_reached, false) {
                    tracing::error!(%error, "the cluster's database does not answer: trying again");
                }
                None
            }
        }
    }

    fn begin(&mut self, taken: Taken) {
        let Taken { key, kind, input } = taken;
        let span = tracing::info_span!(
            "task",
            shard.id = key.shard.0,
            task.id = %key.task,
            task.kind = kind,
            attempt = key.attempt,
            agent.name = tracing::field::Empty,
            behaviour.name = tracing::field::Empty,
        );
        let began = JobInput::read(&input)
            .map_err(|error| error.to_string())
            .and_then(|input| {
                span.record("agent.name", &input.task.agent);
                span.record("behaviour.name", &input.behaviour);
                let behaviour = self.behaviours.find(&input.task.agent, &input.behaviour);
                let behaviour = behaviour.ok_or_else(|| {
                    let (agent, behaviour) = (&input.task.agent, &input.behaviour);
                    format!("its agents.toml has no behaviour {behaviour:?} of an agent {agent:?}")
                })?;
                Ok((input, behaviour))
            });
        let (run, work) = match began {
            Ok((input, behaviour)) => {
                let _span = span.enter();
                tracing::info!("running a task");
                Run::begin(input, behaviour, &self.traces, &self.executors)
            }
            Err(reason) => {
                let _span = span.enter();
                tracing::error!(reason, "a task cannot be run here");
                let reason = format!("the worker {} cannot run it: {reason}", self.id());
                let error = TaskError::transient("worker", reason);
                Run::ended(JobEnd::Returned(Err(error)))
            }
        };
        self.metrics.took(&kind);
        self.open.insert(
            key,
            Open {
                kind,
                run,
                since: Instant::now(),
                is_delivered: false,
            },
        );
        self.runs
            .spawn(async move { (key, work.await) }.instrument(span));
    }

    fn ended(&mut self, key: JobKey, end: Result<JobEnd, Stopped>) {
        let Some(open) = self.open.get_mut(&key) else {
            return;
        };
        let verdict = match end {
            Ok(end) => Verdict::of(end, open.run.tokens()),
            Err(Stopped::Cancelled) => Verdict::Cancelled,
            Err(Stopped::GivenBack) => Verdict::Interrupted,
            Err(Stopped::Lost) => {
                self.metrics.ended(&open.kind, JobOutcome::Lost);
                tracing::info!(shard.id = key.shard.0, task.id = %key.task, attempt = key.attempt, "a run was dropped: another worker runs the task, or it has ended");
                self.open.remove(&key);
                return;
            }
        };
        open.is_delivered = true;
        self.metrics.ran(&open.kind, open.since.elapsed());
        self.metrics.ended(&open.kind, verdict.counted());
        let (database, id) = (self.results.clone(), Arc::clone(&self.id));
        self.deliveries.spawn(async move {
            deliver::deliver(&database, &id, key, verdict).await;
            key
        });
    }

    /// Ends what runs, and has others run it.
    async fn give_back(&mut self) {
        for open in self.open.values_mut() {
            open.run.stop(Stopped::GivenBack);
        }
        let farewell = async {
            while !self.open.is_empty() {
                tokio::select! {
                    Some(ended) = self.runs.join_next() => if let Ok((key, end)) = ended {
                        self.ended(key, end);
                    },
                    Some(delivered) = self.deliveries.join_next() => if let Ok(key) = delivered {
                        self.open.remove(&key);
                    },
                    else => break,
                }
            }
        };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("not all tasks could be given back; their owners notice it soon");
        }
    }
}

async fn asked_to_stop(stopping: &mut watch::Receiver<bool>) {
    // A dropped sender asks for it, too.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
