//! The hosted wallets: who is who.

use std::collections::HashMap;
use std::sync::Arc;

use agentry_chain::Interest;
use agentry_protocol::{Address, PublicKey};

use crate::config::AgentConfig;
use crate::store::AgentId;

/// A hosted wallet and how it conducts itself.
#[derive(Debug)]
pub struct Hosted {
    /// Its row in the store.
    pub id: AgentId,
    /// Its address: the keystore's.
    pub address: Address,
    /// Its public key, where the keystore states it or the wallet was unlocked.
    pub public_key: Option<PublicKey>,
    /// Its table in agents.toml.
    pub config: Arc<AgentConfig>,
}

impl Hosted {
    /// Whether an address is this wallet's, in either form.
    pub fn is_self(&self, address: &Address) -> bool {
        *address == self.address || self.public_key.is_some_and(|key| address.matches(&key))
    }
}

/// All hosted wallets, by row and by address. It does not change while the runtime runs.
#[derive(Clone, Debug, Default)]
pub struct Roster(Arc<Tables>);

#[derive(Debug, Default)]
struct Tables {
    by_id: HashMap<AgentId, Arc<Hosted>>,
    by_address: HashMap<Box<str>, Arc<Hosted>>,
}

impl Roster {
    /// A roster of these wallets.
    pub fn new(hosted: impl IntoIterator<Item = Hosted>) -> Self {
        let mut tables = Tables::default();
        for hosted in hosted {
            let hosted = Arc::new(hosted);
            tables
                .by_address
                .insert(hosted.address.as_str().into(), Arc::clone(&hosted));
            tables.by_id.insert(hosted.id, hosted);
        }
        Self(Arc::new(tables))
    }

    /// The wallet of a row.
    pub fn get(&self, id: AgentId) -> Option<&Arc<Hosted>> {
        self.0.by_id.get(&id)
    }

    /// The wallet at an address.
    pub fn at(&self, address: &str) -> Option<&Arc<Hosted>> {
        self.0.by_address.get(address)
    }

    /// The wallet of an agent's name.
    pub fn named(&self, name: &str) -> Option<&Arc<Hosted>> {
        self.iter().find(|hosted| hosted.config.name == name)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Hosted>> {
        self.0.by_id.values()
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.by_id.is_empty()
    }

    /// The key under which a sender's signature is judged, where one is known.
    pub fn key_of(&self, address: &Address) -> Option<PublicKey> {
        self.at(address.as_str())
            .and_then(|hosted| hosted.public_key)
    }
}

impl Interest for Roster {
    fn wants(&self, from: &str, to: &str) -> bool {
        self.0.by_address.contains_key(to) || self.0.by_address.contains_key(from)
    }
}
