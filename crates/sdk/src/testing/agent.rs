//! A hosted agent and its behaviours.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use agentry_core::AgentId;
use agentry_core::commit::{Plan, Planned};
use agentry_protocol::Timestamp;
use serde_json::{Map, Value};

use super::{ATTEMPTS, MAX_HOPS, Party};
use crate::{AnyBehaviour, Behaviour, BuildError, Registry, Schedule, Starts, When};

type Recipe = Arc<dyn Fn() -> Result<Arc<dyn AnyBehaviour>, BuildError> + Send + Sync>;

/// An agent to be hosted in a simulation: a name, and its behaviours in the order in which they
/// are shown a message.
///
/// Behaviours are made from settings, as in agents.toml, and made again at every restart. This
/// reveals a behaviour that keeps state in itself.
#[derive(Clone)]
pub struct Agent {
    pub(super) name: String,
    pub(super) attempts: u32,
    pub(super) max_hops: u32,
    recipes: Vec<(String, Recipe)>,
}

impl Agent {
    /// An agent without behaviours.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            attempts: ATTEMPTS,
            max_hops: MAX_HOPS,
            recipes: Vec::new(),
        }
    }

    /// Adds a behaviour with the name of its kind. `settings` are the keys that agents.toml would
    /// hold besides `kind`: `json!({ "prefix": "so far: " })`, or `json!({})`.
    #[must_use]
    pub fn with<B: Behaviour>(self, settings: Value) -> Self {
        self.with_named::<B>(B::KIND, settings)
    }

    /// Adds a behaviour with a name of its own, which distinguishes two behaviours of one kind.
    #[must_use]
    pub fn with_named<B: Behaviour>(self, name: impl Into<String>, settings: Value) -> Self {
        self.with_kind(&Registry::new().with::<B>(), B::KIND, name, settings, "")
    }

    /// Adds a behaviour of a kind in this registry, with its agents.toml in `folder`: for kinds
    /// that use executors or files.
    #[must_use]
    pub fn with_kind(
        mut self,
        registry: &Registry,
        kind: impl Into<String>,
        name: impl Into<String>,
        settings: Value,
        folder: impl AsRef<Path>,
    ) -> Self {
        let (registry, kind) = (registry.clone(), kind.into());
        let folder = folder.as_ref().to_owned();
        let recipe = move || {
            let settings = match &settings {
                Value::Object(settings) => settings.clone(),
                Value::Null => Map::new(),
                other => {
                    return Err(BuildError::Settings(format!(
                        "settings must be a table of keys and values, not {other}"
                    )));
                }
            };
            registry.build(&kind, settings, &folder)
        };
        self.recipes.push((name.into(), Arc::new(recipe)));
        self
    }

    /// Sets the number of runs of a behaviour after which an event is a dead letter; at least 1.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Sets how many messages a message may follow from before the agent does not act on it; at least
    /// 1.
    #[must_use]
    pub fn max_hops(mut self, max_hops: u32) -> Self {
        self.max_hops = max_hops.max(1);
        self
    }

    fn build(&self) -> Vec<Instance> {
        self.recipes
            .iter()
            .map(|(name, recipe)| match recipe() {
                Ok(behaviour) => Instance {
                    name: name.clone(),
                    behaviour,
                },
                Err(error) => panic!("{}: behaviour {name}: {error}", self.name),
            })
            .collect()
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.recipes.iter().map(|(name, _)| name).collect();
        f.debug_struct("Agent")
            .field("name", &self.name)
            .field("behaviours", &names)
            .finish_non_exhaustive()
    }
}

/// A behaviour of a hosted agent, until the process ends.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) name: String,
    pub(super) behaviour: Arc<dyn AnyBehaviour>,
}

/// A hosted agent.
#[derive(Debug)]
pub(super) struct Hosted {
    pub(super) id: AgentId,
    pub(super) party: Party,
    pub(super) agent: Agent,
    /// Made again at a restart.
    pub(super) instances: Vec<Instance>,
    /// The number of next runs at whose end the process crashes, before their outcome is committed.
    pub(super) crashes: u32,
}

impl Hosted {
    pub(super) fn new(id: AgentId, party: Party, agent: Agent) -> Self {
        Self {
            id,
            party,
            instances: agent.build(),
            agent,
            crashes: 0,
        }
    }

    /// Ends the process and starts another one.
    pub(super) fn restart(&mut self) {
        self.instances = self.agent.build();
    }

    /// What its behaviours do by themselves from `now` on.
    pub(super) fn plans(&self, now: Timestamp) -> Vec<Plan> {
        let plan = |one: &Instance, when| Plan {
            agent: self.id,
            behaviour: one.name.clone(),
            when,
        };
        let mut plans = Vec::new();
        for one in &self.instances {
            if one.behaviour.starts() != Starts::Never {
                let again = one.behaviour.starts() == Starts::Always;
                plans.push(plan(one, Planned::Start { again }));
            }
            for schedule in one.behaviour.schedules() {
                let tick = Planned::Tick {
                    due_at: next_tick(&schedule, now),
                    schedule: schedule.name.clone(),
                    name: schedule.name,
                };
                plans.push(plan(one, tick));
            }
        }
        plans
    }

    /// The behaviour with this name.
    pub(super) fn instance(&self, behaviour: &str) -> Option<&Instance> {
        self.instances
            .iter()
            .find(|instance| instance.name == behaviour)
    }
}

/// The time of a schedule after this one. Cron expressions are not read here: their ticks come when a
/// test [lets them](super::Simulation::tick).
pub(super) fn next_tick(schedule: &Schedule, after: Timestamp) -> Timestamp {
    match schedule.when {
        When::Every(period) => after.plus(period),
        When::Cron { .. } => Timestamp::MAX,
    }
}
