//! Where the agents of a cluster are, as doors reach them.
//!
//! A door works on any host, for any agent: it reads this machine's copy of the shard of the agent,
//! brought up to date, and has the shard's owner carry out what changes something. Both are found by the
//! path of the copy, so a door for a shard is one with that path as its store.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};

use agentry_core::cluster::{ShardId, shard_of};
use agentry_protocol::Address;

use super::caller::{Caller, Scope};
use super::error::DoorError;
use crate::config::Config;
use crate::runtime::cluster::copy::{self, Wanted};
use crate::runtime::control::{Client, ControlError};
use crate::runtime::metrics::{Condition, Metrics};
use crate::runtime::presence::Presence;

/// The shards of a cluster. Clones share what is known of them.
#[derive(Clone, Debug)]
pub struct Shards(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    count: NonZeroU16,
    host: Option<Host>,
    configs: Mutex<BTreeMap<ShardId, OfShard>>,
}

/// The configuration of a shard.
#[derive(Debug)]
struct OfShard {
    /// The one that it was made from.
    of: Arc<Config>,
    config: Arc<Config>,
}

/// This process, if it is a host of the cluster.
#[derive(Debug)]
struct Host {
    presence: Presence,
    metrics: Arc<Metrics>,
}

impl Shards {
    /// The shards of a cluster, of which this process is a host.
    pub fn on_host(presence: Presence, metrics: Arc<Metrics>) -> Self {
        let count = presence.count();
        Self::new(count, Some(Host { presence, metrics }))
    }

    /// The shards of a cluster, so many, for a process beside its hosts.
    pub fn beside_host(count: NonZeroU16) -> Self {
        Self::new(count, None)
    }

    fn new(count: NonZeroU16, host: Option<Host>) -> Self {
        Self(Arc::new(Inner {
            count,
            host,
            configs: Mutex::default(),
        }))
    }

    /// The shard of the agent at an address.
    pub fn shard_of(&self, agent: &Address) -> ShardId {
        shard_of(agent, self.0.count)
    }

    /// All shards.
    pub fn all(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.0.count.get()).map(ShardId)
    }

    /// A shard that is kept up to date on this machine, for what each of them knows.
    pub(super) fn any(&self, config: &Config) -> ShardId {
        let kept = match &self.0.host {
            Some(host) => host.presence.first(),
            None => copy::kept(config, self.all()),
        };
        kept.unwrap_or(ShardId(0))
    }

    /// The shards whose agents a caller may use.
    pub fn of(&self, caller: &Caller) -> Vec<ShardId> {
        match &caller.agents {
            Scope::All => self.all().collect(),
            Scope::Only(agents) => {
                let mut shards: Vec<_> = agents.iter().map(|one| self.shard_of(one)).collect();
                shards.sort_unstable();
                shards.dedup();
                shards
            }
        }
    }

    /// The address of the agent with this name or address, as the shards that run here know it; they
    /// know those of all shards.
    pub(super) fn address_of(&self, who: &str) -> Option<Address> {
        let host = self.0.host.as_ref()?;
        host.presence.find(|running| {
            let named = running.registry.address_of(who);
            named.or_else(|| {
                let address = Address::from_chain(who).ok()?;
                running.registry.is_ours(&address, None).then_some(address)
            })
        })
    }

    /// A configuration whose store is this machine's copy of a shard.
    pub(super) fn config(&self, config: &Arc<Config>, shard: ShardId) -> Arc<Config> {
        let mut configs = self
            .0
            .configs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match configs.get(&shard) {
            Some(made) if Arc::ptr_eq(&made.of, config) => Arc::clone(&made.config),
            _ => {
                let made = OfShard {
                    of: Arc::clone(config),
                    config: Arc::new(copy::of_shard(config, shard)),
                };
                let made = configs.entry(shard).insert_entry(made);
                Arc::clone(&made.get().config)
            }
        }
    }

    /// Brings this machine's copy of a shard up to date.
    ///
    /// # Errors
    /// [`DoorError`].
    pub(super) async fn refresh(&self, config: &Config, shard: ShardId) -> Result<(), DoorError> {
        if let Some(host) = &self.0.host {
            return Ok(host.presence.refresh(shard).await?);
        }
        let store = copy::path(&config.store.path, shard);
        match (Client::new(store).refresh().await, &config.cluster) {
            (Err(ControlError::NotRunning { .. } | ControlError::NoHost { .. }), Some(cluster)) => {
                // No host runs on this machine. The copy is left to one that starts.
                let wanted = Wanted::Shard(shard.0);
                let refreshed = copy::wanted(config, cluster, &wanted).await;
                drop(refreshed.map_err(DoorError::copy)?);
                Ok(())
            }
            (refreshed, _) => Ok(refreshed?),
        }
    }

    /// The condition of this host; none if this process is none.
    pub(super) fn condition(&self) -> Option<Condition> {
        Some(self.0.host.as_ref()?.metrics.condition())
    }
}
