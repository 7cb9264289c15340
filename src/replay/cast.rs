//! The agents of a replay, and the keys that open their sealed messages.

use std::collections::HashMap;
use std::sync::Arc;

use agentry_core::AgentId;
use agentry_protocol::Address;

use super::{Options, ReplayError};
use crate::config::Config;
use crate::runtime::host::prepare::{self, Passwords};
use crate::runtime::registry::{AgentRegistry, Hosted};
use crate::runtime::signer::Keyring;

/// All configured agents, and the replayed ones.
#[derive(Debug)]
pub(super) struct Cast {
    /// All configured agents.
    pub(super) registry: AgentRegistry,
    /// The replayed agents, by address.
    pub(super) replayed: HashMap<Address, Arc<Hosted>>,
    /// The keys that open sealed messages, if they are to be opened.
    pub(super) keyring: Option<Arc<Keyring>>,
}

impl Cast {
    /// Finds the wallets. Blocking: with passwords, a vault needs a key derivation.
    ///
    /// # Errors
    /// A wallet cannot be used; an agent of `options` does not exist; no agent has behaviours.
    pub(super) fn assemble(config: &Config, options: &Options) -> Result<Self, ReplayError> {
        let mut all = Vec::new();
        let mut without_address = Vec::new();
        let keyring = options
            .open_sealed
            .then(|| Arc::new(Keyring::new(config.chain.id.clone())));
        if let Some(keyring) = &keyring {
            let survey = prepare::survey(config, &mut Passwords::new(options.prompt));
            if let Some(error) = survey.errors.into_iter().next() {
                return Err(error.into());
            }
            for candidate in survey.candidates {
                let id = next_id(&all);
                keyring.put(id, candidate.slot);
                all.push(Arc::new(Hosted {
                    id,
                    address: candidate.address,
                    public_key: candidate.public_key,
                    config: Arc::new(candidate.config),
                }));
            }
        } else {
            for hosted in config.hosted()? {
                let Some(wallet) = hosted.wallet else {
                    continue;
                };
                let info = wallet.info();
                let Some(address) = info.address.clone() else {
                    without_address.push(hosted.agent.name);
                    continue;
                };
                all.push(Arc::new(Hosted {
                    id: next_id(&all),
                    address,
                    public_key: info.public_key,
                    config: Arc::new(hosted.agent),
                }));
            }
        }
        let registry = AgentRegistry::default();
        registry.replace(all.iter().cloned());
        let mut replayed = HashMap::new();
        let mut select = |hosted: Arc<Hosted>| replayed.insert(hosted.address.clone(), hosted);
        if options.agents.is_empty() {
            for hosted in all {
                if !hosted.config.behaviours.is_empty() {
                    select(hosted);
                }
            }
            if let (true, Some(agent)) = (replayed.is_empty(), without_address.into_iter().next()) {
                return Err(ReplayError::NoAddress { agent });
            }
        } else {
            for wanted in &options.agents {
                match registry.meant(wanted) {
                    Some(hosted) => {
                        select(hosted);
                    }
                    None if without_address.contains(wanted) => {
                        let agent = wanted.clone();
                        return Err(ReplayError::NoAddress { agent });
                    }
                    None => return Err(ReplayError::NoAgent(wanted.clone())),
                }
            }
        }
        if replayed
            .values()
            .all(|hosted| hosted.config.behaviours.is_empty())
        {
            return Err(ReplayError::NoBehaviours);
        }
        Ok(Self {
            registry,
            replayed,
            keyring,
        })
    }
}

/// The id that a state assigns to the next agent.
fn next_id(all: &[Arc<Hosted>]) -> AgentId {
    AgentId(i64::try_from(all.len()).map_or(i64::MAX, |hosted| hosted + 1))
}
