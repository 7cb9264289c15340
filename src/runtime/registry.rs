//! The agent registry: the hosted wallets.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use agentry_chain::Interest;
use agentry_core::AgentId;
use agentry_protocol::{Address, PublicKey};

use crate::config::AgentConfig;

/// A hosted wallet and its configuration.
#[derive(Debug)]
pub struct Hosted {
    /// Its row in the store.
    pub id: AgentId,
    /// Its address, as the keystore states it.
    pub address: Address,
    /// Its public key, if the keystore states it or the wallet was unlocked.
    pub public_key: Option<PublicKey>,
    /// Its table in agents.toml.
    pub config: Arc<AgentConfig>,
}

impl Hosted {
    /// Whether an address is this wallet's, in either form.
    pub fn is_self(&self, address: &Address) -> bool {
        address.is_of(&self.address, self.public_key.as_ref())
    }
}

/// The agents that other shards of the cluster host. They belong to the same operator, so their names
/// and keys are known as those of the hosted ones.
#[derive(Debug, Default)]
pub struct Neighbours {
    keys: HashMap<Address, Option<PublicKey>>,
    names: HashMap<String, Address>,
}

impl Neighbours {
    /// Agents, each with its name, its address and, if it is known, its key.
    pub fn new(agents: impl Iterator<Item = (String, Address, Option<PublicKey>)>) -> Self {
        let mut neighbours = Self::default();
        for (name, address, key) in agents {
            neighbours.keys.insert(address.clone(), key);
            neighbours.names.insert(name, address);
        }
        neighbours
    }
}

/// All hosted wallets, by row and by address. Clones share one table, which is replaced as a whole
/// when the configuration is reloaded: a [`Hosted`] taken from it before does not change.
#[derive(Clone, Debug, Default)]
pub struct AgentRegistry(Arc<RwLock<Arc<Tables>>>);

#[derive(Debug, Default)]
struct Tables {
    by_id: HashMap<AgentId, Arc<Hosted>>,
    by_address: HashMap<Address, Arc<Hosted>>,
    by_name: HashSet<ByName>,
    neighbours: Arc<Neighbours>,
}

/// A wallet that is found by its agent's name, which is not stored a second time.
#[derive(Debug)]
struct ByName(Arc<Hosted>);

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        &self.0.config.name
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.config.name == other.0.config.name
    }
}

impl Eq for ByName {}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.config.name.hash(state);
    }
}

impl Tables {
    fn new(hosted: impl IntoIterator<Item = Arc<Hosted>>, neighbours: Arc<Neighbours>) -> Self {
        let mut tables = Self {
            neighbours,
            ..Self::default()
        };
        for hosted in hosted {
            tables
                .by_address
                .insert(hosted.address.clone(), Arc::clone(&hosted));
            tables.by_name.insert(ByName(Arc::clone(&hosted)));
            tables.by_id.insert(hosted.id, hosted);
        }
        tables
    }
}

impl AgentRegistry {
    /// A registry of these wallets, and of those that other shards host.
    pub fn new(hosted: impl IntoIterator<Item = Hosted>, neighbours: Arc<Neighbours>) -> Self {
        let hosted = hosted.into_iter().map(Arc::new);
        let tables = Tables::new(hosted, neighbours);
        Self(Arc::new(RwLock::new(Arc::new(tables))))
    }

    /// Hosts these wallets instead, for all clones of this registry.
    pub fn replace(&self, hosted: impl IntoIterator<Item = Arc<Hosted>>) {
        let neighbours = Arc::clone(&self.tables().neighbours);
        let tables = Arc::new(Tables::new(hosted, neighbours));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tables;
    }

    /// Knows these wallets of other shards instead, for all clones of this registry.
    pub fn set_neighbours(&self, neighbours: Arc<Neighbours>) {
        let hosted = self.tables().by_id.values().cloned().collect::<Vec<_>>();
        let tables = Arc::new(Tables::new(hosted, neighbours));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tables;
    }

    fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The wallet of a row.
    pub fn get(&self, id: AgentId) -> Option<Arc<Hosted>> {
        self.tables().by_id.get(&id).cloned()
    }

    /// The wallet at an address.
    pub fn at(&self, address: &str) -> Option<Arc<Hosted>> {
        self.tables().by_address.get(address).cloned()
    }

    /// Whether an address is that of a wallet of this operator, either as configured or, if its key is
    /// known, in the other form.
    pub fn is_ours(&self, address: &Address, key: Option<PublicKey>) -> bool {
        let tables = self.tables();
        let has = |address: &Address| {
            tables.by_address.contains_key(address) || tables.neighbours.keys.contains_key(address)
        };
        has(address)
            || key
                .filter(|key| address.matches(key))
                .is_some_and(|key| Address::all_of(&key).iter().any(has))
    }

    /// The wallet of the agent with this name.
    pub fn named(&self, name: &str) -> Option<Arc<Hosted>> {
        let tables = self.tables();
        tables.by_name.get(name).map(|found| Arc::clone(&found.0))
    }

    /// The address of the agent with this name, if this operator has one.
    pub fn address_of(&self, name: &str) -> Option<Address> {
        let tables = self.tables();
        let hosted = tables.by_name.get(name);
        hosted
            .map(|found| &found.0.address)
            .or_else(|| tables.neighbours.names.get(name))
            .cloned()
    }

    /// The wallet that an operator names: by an agent's name, an address, or a wallet's name.
    pub fn meant(&self, who: &str) -> Option<Arc<Hosted>> {
        self.named(who).or_else(|| self.at(who)).or_else(|| {
            self.tables()
                .by_id
                .values()
                .find(|hosted| *hosted.config.wallet == *who)
                .cloned()
        })
    }

    /// All hosted wallets, in no particular order.
    pub fn all(&self) -> Vec<Arc<Hosted>> {
        self.tables().by_id.values().cloned().collect()
    }

    /// The number of hosted wallets.
    pub fn len(&self) -> usize {
        self.tables().by_id.len()
    }

    /// Whether no wallet is hosted.
    pub fn is_empty(&self) -> bool {
        self.tables().by_id.is_empty()
    }

    /// The key for verifying a sender's signature, if it is a wallet of this operator and its key is
    /// known.
    pub fn key_of(&self, address: &Address) -> Option<PublicKey> {
        let tables = self.tables();
        match tables.by_address.get(address) {
            Some(hosted) => hosted.public_key,
            None => tables.neighbours.keys.get(address).copied().flatten(),
        }
    }
}

impl Interest for AgentRegistry {
    /// Matches transactions that concern a hosted wallet, and all self-sent ones, which may be
    /// cards.
    fn wants(&self, from: &str, to: &str) -> bool {
        if from == to {
            return true;
        }
        let tables = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tables.by_address.contains_key(to) || tables.by_address.contains_key(from)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::PathBuf;

    use agentry_protocol::Seed;

    use super::*;
    use crate::config::{Config, Overlay, Source};

    fn hosted(n: u8) -> Arc<Hosted> {
        let source = Source::Text {
            path: PathBuf::from("agents.toml"),
            text: "[chain]\nid = \"x\"\n[wallets]\nkeystore_dir = \"k\"\n[[agent]]\n\
                   name = \"a\"\nbehaviours = []\n"
                .to_owned(),
        };
        let overlay = Overlay {
            environment: Some(HashMap::new()),
            flags: Vec::new(),
        };
        let config = Config::load(&source, &overlay, &agentry_behaviours::builtins()).unwrap();
        let public_key = Seed::from_bytes([n; 32]).public_key();
        Arc::new(Hosted {
            id: AgentId(i64::from(n)),
            address: Address::from_public_key(&public_key),
            public_key: Some(public_key),
            config: Arc::new(config.agents[0].clone()),
        })
    }

    #[test]
    fn all_clones_of_a_registry_see_it_replaced() {
        let (one, two) = (hosted(1), hosted(2));
        let registry = AgentRegistry::default();
        let shared = registry.clone();
        registry.replace([Arc::clone(&one)]);
        let other = hosted(9).address.clone();
        let wants = |address: &Address| shared.wants(other.as_str(), address.as_str());
        assert!(wants(&one.address) && !wants(&two.address));
        registry.replace([Arc::clone(&two)]);
        assert!(!wants(&one.address) && wants(&two.address));
        assert!(shared.get(one.id).is_none() && shared.at(one.address.as_str()).is_none());
    }
}
