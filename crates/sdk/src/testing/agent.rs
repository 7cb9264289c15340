//! A hosted agent: what it is made of, and what its store holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use agentry_protocol::{Address, Identity};
use serde_json::{Map, Value};

use super::outbox::Draft;
use super::queue::{Item, Received, SetTimer};
use super::tasks::TaskRow;
use super::{ATTEMPTS, Party};
use crate::{AnyBehaviour, Behaviour, BuildError, Registry};

type Recipe = Arc<dyn Fn() -> Result<Arc<dyn AnyBehaviour>, BuildError> + Send + Sync>;

/// An agent to be hosted in a simulation: a name, and behaviours in the order in which they are
/// shown a message.
///
/// Behaviours are made from settings, as agents.toml has them, and made anew at every restart: so
/// one that remembers something in itself is found out.
#[derive(Clone)]
pub struct Agent {
    pub(super) name: String,
    pub(super) attempts: u32,
    recipes: Vec<(String, Recipe)>,
}

impl Agent {
    /// An agent without behaviours.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            attempts: ATTEMPTS,
            recipes: Vec::new(),
        }
    }

    /// With a behaviour under the name of its kind. `settings` is what agents.toml would hold
    /// besides `kind`: `json!({ "prefix": "so far: " })`, or `json!({})`.
    #[must_use]
    pub fn with<B: Behaviour>(self, settings: Value) -> Self {
        self.with_named::<B>(B::KIND, settings)
    }

    /// With a behaviour under a name of its own, so that two of one kind can be told apart.
    #[must_use]
    pub fn with_named<B: Behaviour>(self, name: impl Into<String>, settings: Value) -> Self {
        self.with_kind(&Registry::new().with::<B>(), B::KIND, name, settings, "")
    }

    /// With a behaviour of a kind of this registry, whose agents.toml lies in `folder`: for kinds
    /// that look for executors or files.
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
                        "settings are a table of keys and values, not {other}"
                    )));
                }
            };
            registry.build(&kind, settings, &folder)
        };
        self.recipes.push((name.into(), Arc::new(recipe)));
        self
    }

    /// How many runs of a behaviour one event gets before it is a dead letter; at least 1.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
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

/// A behaviour of a hosted agent, as long as the process lives.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) name: String,
    pub(super) behaviour: Arc<dyn AnyBehaviour>,
}

/// A hosted agent.
#[derive(Debug)]
pub(super) struct Hosted {
    pub(super) party: Party,
    pub(super) agent: Agent,
    /// Lost and made anew at a restart.
    pub(super) instances: Vec<Instance>,
    /// Kept at a restart.
    pub(super) store: Store,
    /// How many of the next runs end with the process, before their outcome is committed.
    pub(super) crashes: u32,
}

/// What survives a restart. Rows are never taken out of `inbox`, `outbox` and `tasks`, so their
/// positions name them.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// One for each behaviour.
    pub(super) states: Vec<BTreeMap<String, Value>>,
    pub(super) seen: BTreeSet<(Address, Identity)>,
    pub(super) inbox: Vec<Received>,
    pub(super) queue: Vec<Item>,
    pub(super) timers: Vec<SetTimer>,
    pub(super) outbox: Vec<Draft>,
    pub(super) tasks: Vec<TaskRow>,
}

impl Hosted {
    pub(super) fn new(agent: Agent) -> Self {
        let instances = agent.build();
        Self {
            party: Party::named(agent.name.clone()),
            store: Store {
                states: vec![BTreeMap::new(); instances.len()],
                ..Store::default()
            },
            agent,
            instances,
            crashes: 0,
        }
    }

    /// The process ends, and another begins from the store.
    pub(super) fn restart(&mut self) {
        self.instances = self.agent.build();
        for task in &mut self.store.tasks {
            task.interrupt();
        }
    }

    /// The position of a behaviour, by its name.
    pub(super) fn position(&self, behaviour: &str) -> Option<usize> {
        self.instances
            .iter()
            .position(|instance| instance.name == behaviour)
    }
}
