//! The behaviours of agents.toml, without their wallets.

use std::collections::HashMap;
use std::sync::Arc;

use agentry_sdk::AnyBehaviour;

use crate::config::{BehaviourInstance, Config};

/// The behaviours of agents and fleets, by the names of their owners.
#[derive(Debug)]
pub struct Behaviours {
    agents: HashMap<String, Arc<[BehaviourInstance]>>,
    fleets: HashMap<String, Arc<[BehaviourInstance]>>,
}

impl Behaviours {
    /// The behaviours of a configuration.
    pub fn of(config: &Config) -> Self {
        let agents = config.agents.iter();
        let agents = agents.map(|agent| (agent.name.clone(), Arc::clone(&agent.behaviours)));
        let fleets = config.fleets.iter();
        let fleets = fleets.map(|fleet| (fleet.name.clone(), Arc::clone(&fleet.behaviours)));
        Self {
            agents: agents.collect(),
            fleets: fleets.collect(),
        }
    }

    /// A behaviour of an agent. The agents of a fleet are named `fleet/wallet`; which wallets it has
    /// is not known here.
    pub fn find(&self, agent: &str, behaviour: &str) -> Option<Arc<dyn AnyBehaviour>> {
        let of_fleet = || self.fleets.get(agent.split_once('/')?.0);
        let all = self.agents.get(agent).or_else(of_fleet)?;
        let one = all.iter().find(|one| one.name == behaviour)?;
        Some(Arc::clone(&one.behaviour))
    }

    /// Whether one of them executes tasks of this type.
    pub fn execute(&self, kind: &str) -> bool {
        let all = self.agents.values().chain(self.fleets.values());
        all.flat_map(|all| all.iter())
            .any(|one| one.behaviour.executes(kind))
    }
}
