//! Validates `[coordinator]`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use super::check::Check;
use super::keys::Holds;
use super::model::{AgentConfig, CoordinatorConfig, FleetConfig};
use super::values::{Kind, Unchecked};

/// The most capabilities that an agent announces.
const CAPABILITIES_MAX: usize = 64;

/// The longest capability, in bytes.
const CAPABILITY_MAX: usize = 64;

/// What kind of agent the hosted ones are, in the words of the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoordinatorRole(&'static str);

impl CoordinatorRole {
    /// Every word that the coordinator takes.
    const ALL: [&'static str; 9] = [
        "worker",
        "specialist",
        "coordinator",
        "monitor",
        "gateway",
        "orchestrator",
        "inference",
        "training",
        "processing",
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl Kind for CoordinatorRole {
    const HOLDS: Holds = Holds::Word;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        let word = String::read(value)?;
        match Self::ALL.into_iter().find(|known| *known == word) {
            Some(known) => Some(Self(known)),
            None => value.wrong(format!(
                "must be one of {}, not {word:?}",
                Self::ALL.join(", ")
            )),
        }
    }

    fn show(&self) -> Value {
        json!(self.0)
    }
}

/// A word for something that an agent can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability(String);

impl Capability {
    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
        match (1..=CAPABILITY_MAX).contains(&text.len()) && text.bytes().all(is_plain) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!(
                "a capability is 1 to {CAPABILITY_MAX} of [A-Za-z0-9._:/-]"
            )),
        }
    }
}

impl CoordinatorConfig {
    /// Whether the agent of this name is announced.
    pub fn announces(&self, agent: &str) -> bool {
        let fleet = agent.split_once('/').map(|(fleet, _)| fleet);
        let is_meant = |name: &String| name == agent || Some(name.as_str()) == fleet;
        self.agents.is_empty() || self.agents.iter().any(is_meant)
    }
}

impl Check<'_> {
    /// The coordinator, if one is configured.
    pub(super) fn coordinator(
        &mut self,
        agents: &[AgentConfig],
        fleets: &[FleetConfig],
    ) -> Option<CoordinatorConfig> {
        if !self.layers.has_table("coordinator") {
            return None;
        }
        let config: CoordinatorConfig = self.read()?;
        if config.capabilities.len() > CAPABILITIES_MAX
            && let Some(given) = self.layers.get("coordinator", "capabilities")
        {
            let text = format!("`coordinator.capabilities` has more than {CAPABILITIES_MAX}");
            self.reader.report(&given.origin, text);
        }
        if let Some(given) = self.layers.get("coordinator", "agents") {
            for name in &config.agents {
                let fleet = name
                    .split_once('/')
                    .map_or(name.as_str(), |(fleet, _)| fleet);
                let is_known = agents.iter().any(|agent| agent.name == *name)
                    || fleets.iter().any(|one| one.name == fleet);
                // An agent or a fleet with an error of its own is not among them.
                if !is_known && self.reader.issues.is_empty() {
                    let text = format!(
                        "`coordinator.agents` names {name:?}, and no agent or fleet has that name"
                    );
                    self.reader.report(&given.origin, text);
                }
            }
        }
        Some(config)
    }
}
