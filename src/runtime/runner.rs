//! The behaviour runner: behaviours are not the runtime's own code, and may fail, panic or hang.
//!
//! Every behaviour runs on the multi-threaded tokio runtime, isolated from the arbiters, under the
//! agent's time limit and with panics caught. The result is an answer or a [`BehaviourError`],
//! never a lost actor.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_sdk::durable;
use agentry_sdk::{BehaviourError, Context, Effects, Environment, Event, Message, State};
use tracing::Instrument;

use super::Shared;
use super::clock::Clock;
use super::metrics::Metrics;
use super::registry::Hosted;
use crate::config::BehaviourInstance;

/// How much longer than its time limit a run may take before it is abandoned: a future that does
/// not yield cannot be stopped, so its thread is left behind.
const GRACE: Duration = Duration::from_secs(2);

/// The longest text of a panic that is kept, in characters.
const MAX_PANIC_TEXT: usize = 500;

/// The environment of a running behaviour.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The tokio runtime on which it runs.
    pub workers: tokio::runtime::Handle,
    /// The source of time.
    pub clock: Clock,
    /// The runtime queries that it can make.
    pub environment: Arc<dyn Environment>,
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
}

impl From<&Shared> for Stage {
    fn from(shared: &Shared) -> Self {
        Self {
            workers: shared.workers.clone(),
            clock: shared.clock.clone(),
            environment: Arc::clone(&shared.environment),
            metrics: Arc::clone(&shared.metrics),
        }
    }
}

/// The behaviours of one agent, ready to be run.
#[derive(Clone, Debug)]
pub struct Runner<'a> {
    stage: Stage,
    hosted: &'a Arc<Hosted>,
}

/// Which behaviour failed, and how.
pub type Failed<'a> = (&'a BehaviourInstance, BehaviourError);

/// The behaviours that accept a message.
#[derive(Clone, Debug, Default)]
pub struct Shown<'a> {
    /// The behaviours that still have to see it, in the configured order.
    pub accepting: Vec<&'a BehaviourInstance>,
    /// The names of the behaviours that watch the message's outcome.
    pub watchers: Vec<String>,
    /// Why no behaviour may act on it, if so: none is among `accepting` then.
    pub stopped: Option<String>,
}

impl Shown<'_> {
    /// Why nothing acts on the message, if so. A watcher that accepts a message does not act on it.
    /// `done` are the behaviours that have handled it.
    pub fn unacted(&self, done: &[String]) -> Option<String> {
        if self.stopped.is_some() {
            return self.stopped.clone();
        }
        let acts = |name: &String| !self.watchers.contains(name);
        let acted = done.iter().any(acts) || self.accepting.iter().any(|one| acts(&one.name));
        (!acted).then(|| "no behaviour takes it".to_owned())
    }
}

impl<'a> Runner<'a> {
    /// The behaviours of this agent.
    pub fn new(shared: &Shared, hosted: &'a Arc<Hosted>) -> Self {
        Self::on(Stage::from(shared), hosted)
    }

    /// The behaviours of this agent, in an environment other than the runtime's own.
    pub const fn on(stage: Stage, hosted: &'a Arc<Hosted>) -> Self {
        Self { stage, hosted }
    }

    /// Asks every behaviour whose demands a message meets whether it accepts it, and whether it
    /// watches it. The behaviours in `done` are not asked whether they accept it. None accepts a
    /// message that follows from too many others.
    ///
    /// # Errors
    /// The first behaviour that panicked or did not return.
    pub async fn show(
        &self,
        message: &Arc<Message>,
        done: &[String],
    ) -> Result<Shown<'a>, Failed<'a>> {
        let instances = &self.hosted.config.behaviours;
        let stopped = durable::stops(message.trail(), self.hosted.config.common.max_hops);
        let Some(first) = instances.first() else {
            return Ok(Shown {
                stopped,
                ..Shown::default()
            });
        };
        let may_act = stopped.is_none();
        let (hosted, message, done) = (Arc::clone(self.hosted), Arc::clone(message), done.to_vec());
        let ask = async move {
            let (mut accepting, mut watching) = (Vec::new(), Vec::new());
            for (index, instance) in hosted.config.behaviours.iter().enumerate() {
                let behaviour = &instance.behaviour;
                if behaviour.demands() > message.authenticity
                    || (behaviour.demands_seal() && !message.sealed)
                {
                    continue;
                }
                let asked = catch_unwind(AssertUnwindSafe(|| {
                    let is_new = may_act && !done.contains(&instance.name);
                    let accepts = is_new && behaviour.accepts(&message);
                    (accepts, behaviour.watches(&message))
                }));
                let (accepts, watches) = asked
                    .map_err(|panic| (index, BehaviourError::transient(panic_text(&*panic))))?;
                if accepts {
                    accepting.push(index);
                }
                if watches {
                    watching.push(index);
                }
            }
            Ok((accepting, watching))
        };
        let found = |indices: Vec<usize>| indices.into_iter().filter_map(|i| instances.get(i));
        match self.guard(first, ask).await {
            Ok(Ok((accepting, watching))) => Ok(Shown {
                accepting: found(accepting).collect(),
                watchers: found(watching)
                    .map(|instance| instance.name.clone())
                    .collect(),
                stopped,
            }),
            Ok(Err((index, error))) => Err((instances.get(index).unwrap_or(first), error)),
            Err(error) => Err((first, error)),
        }
    }

    /// Runs a behaviour for an event.
    ///
    /// # Errors
    /// The run failed.
    pub async fn run(
        &self,
        instance: &BehaviourInstance,
        event: Event,
        attempts: u32,
        state: State,
    ) -> Result<Effects, BehaviourError> {
        let context = Context {
            agent: self.hosted.config.name.clone(),
            address: self.hosted.address.clone(),
            behaviour: instance.name.clone(),
            attempt: attempts.saturating_add(1),
            now: self.stage.clock.local(),
            state,
            environment: Arc::clone(&self.stage.environment),
        };
        let behaviour = Arc::clone(&instance.behaviour);
        let started = Instant::now();
        let run = async move {
            let effects = behaviour.on_event(&event, &context).await?;
            // Its effects are checked on the worker: a large answer takes time, too.
            effects
                .check()
                .map_err(|error| BehaviourError::permanent(error.to_string()))?;
            Ok(effects)
        };
        let result = self
            .guard(instance, run)
            .await
            .and_then(std::convert::identity);
        self.stage
            .metrics
            .behaviour_ran(&instance.kind, result.is_ok(), started.elapsed());
        result
    }

    /// Runs code that is not the runtime's own, isolated from the arbiters, under the agent's time
    /// limit.
    async fn guard<T: Send + 'static>(
        &self,
        instance: &BehaviourInstance,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, BehaviourError> {
        let limit = self.hosted.config.common.time_limit;
        let run = self
            .stage
            .workers
            .spawn(async move { tokio::time::timeout(limit, work).await }.in_current_span());
        let abort = run.abort_handle();
        let spelled = humantime::format_duration(limit);
        match tokio::time::timeout(limit.saturating_add(GRACE), run).await {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(_elapsed))) => Err(BehaviourError::transient(format!(
                "took longer than its time_limit of {spelled}"
            ))),
            Ok(Err(ended)) => Err(BehaviourError::transient(match ended.try_into_panic() {
                Ok(panic) => panic_text(&*panic),
                Err(_) => "was stopped: the runtime is stopping".to_owned(),
            })),
            Err(_elapsed) => {
                abort.abort();
                self.stage.metrics.behaviour_hung();
                tracing::error!(
                    agent.name = self.hosted.config.name,
                    behaviour.name = instance.name,
                    behaviour.kind = instance.kind,
                    "a behaviour blocks its thread and cannot be stopped; the thread is left behind"
                );
                Err(BehaviourError::transient(format!(
                    "did not yield within its time_limit of {spelled}; blocking work belongs on \
                     spawn_blocking"
                )))
            }
        }
    }
}

/// The text of a panic. It is the behaviour's own; the panic hook has logged the location.
pub(in crate::runtime) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    format!(
        "panicked: {}",
        text.chars().take(MAX_PANIC_TEXT).collect::<String>()
    )
}
