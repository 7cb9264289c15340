//! The shard that an operation is about.
//!
//! On one machine all agents are together, and nothing here does anything but check that a row is that of
//! the named agent. In a cluster, every operation first turns to the shard of its agent: a door for that
//! shard has this machine's copy of it as its store, brought up to date.

use std::sync::Arc;

use agentry_core::cluster::ShardId;
use agentry_protocol::Address;
use futures_util::future::try_join_all;

use super::super::caller::{Caller, Scope};
use super::super::error::DoorError;
use super::super::shards::Shards;
use super::{Door, Named, unknown};
use crate::config::Config;
use crate::ops::who;
use crate::runtime::cluster::copy;
use crate::runtime::control::ControlError;
use crate::runtime::metrics::Condition;

/// The part of a cluster that a door is for; on one machine, everything.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// The store of the configuration.
    Store,
    /// Shards of a cluster.
    Cluster(Cluster),
}

#[derive(Clone, Debug)]
pub(super) struct Cluster {
    shards: Shards,
    /// The configuration, whose store is that of no shard.
    config: Arc<Config>,
    /// The shard that the door has turned to.
    shard: Option<ShardId>,
}

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub(in crate::doors) enum About<'a> {
    /// The agent of this name or address; without one, the only one that the caller may use.
    Agent(Option<&'a str>),
    /// A row of that agent: rows are numbered in each shard by itself.
    Row(Option<&'a str>),
    /// Whomever a name or an address means, hosted or not.
    Anybody(&'a str),
    /// Something that each shard knows.
    Anything,
}

impl Door {
    /// The operations of the hosts of a cluster, for this caller.
    pub fn of_cluster(config: Arc<Config>, caller: Caller, shards: Shards) -> Self {
        let cluster = Cluster {
            shards,
            config: Arc::clone(&config),
            shard: None,
        };
        Self {
            config,
            caller,
            part: Part::Cluster(cluster),
            series: None,
        }
    }

    /// The operations in one shard of a cluster, which runs here; without one, those of one machine.
    pub(in crate::doors) fn of_shard(
        config: Arc<Config>,
        caller: Caller,
        shard: Option<ShardId>,
    ) -> Self {
        let config = match shard {
            Some(shard) => Arc::new(copy::of_shard(&config, shard)),
            None => config,
        };
        Self::new(config, caller)
    }

    /// Whether a row is found without its agent being named.
    pub(in crate::doors) fn finds_rows(&self) -> bool {
        match &self.part {
            Part::Store => true,
            Part::Cluster(cluster) => cluster.shard.is_some() || self.named(None).is_ok(),
        }
    }

    /// Turns to the shard that a request is about, whose tables are up to date then. If the request
    /// names the agent of a row, the caller sees the rows of this agent alone.
    ///
    /// # Errors
    /// The agent is not known, or not named; the shard cannot be read now.
    pub(in crate::doors) async fn in_shard(&self, about: About<'_>) -> Result<Self, DoorError> {
        let Part::Cluster(cluster) = &self.part else {
            return match about {
                About::Row(Some(agent)) => {
                    let agent = agent.to_owned();
                    let found = self.look(async move |db, door| door.agent(db, Some(&agent)));
                    Ok(self.narrowed(found.await?.address))
                }
                _ => Ok(self.clone()),
            };
        };
        let shards = &cluster.shards;
        let any = || cluster.shard.unwrap_or_else(|| shards.any(&cluster.config));
        match about {
            About::Agent(None) | About::Row(None) if cluster.shard.is_some() => {
                self.turned(cluster, any()).await
            }
            About::Agent(agent) => {
                let agent = self.meant(cluster, agent).await?;
                self.turned(cluster, shards.shard_of(&agent)).await
            }
            About::Row(agent) => {
                let several = "an id such as inbox/12 counts in each shard of the cluster by itself: \
                               name the hosted agent that it belongs to, as `agent`";
                if agent.is_none() && self.named(None).is_err() {
                    return Err(DoorError::invalid(several));
                }
                let found = self.meant(cluster, agent).await?;
                let door = self.turned(cluster, shards.shard_of(&found)).await?;
                Ok(door.narrowed(found))
            }
            About::Anybody(who) => {
                let ours = shards.address_of(who);
                let shard = ours.map_or_else(any, |agent| shards.shard_of(&agent));
                self.turned(cluster, shard).await
            }
            About::Anything => self.turned(cluster, any()).await,
        }
    }

    /// Turns to the shard of the named agent or, without one, to each shard with agents that the caller
    /// may use: a door for each.
    ///
    /// # Errors
    /// As [`in_shard`](Self::in_shard).
    pub(super) async fn in_shards(&self, agent: Option<&str>) -> Result<Vec<Self>, DoorError> {
        match &self.part {
            Part::Cluster(cluster) if agent.is_none() && cluster.shard.is_none() => {
                let shards = cluster.shards.of(&self.caller).into_iter();
                try_join_all(shards.map(|shard| self.turned(cluster, shard))).await
            }
            _ => Ok(vec![self.in_shard(About::Agent(agent)).await?]),
        }
    }

    /// A door for each shard, whose tables may be behind: to change something in all of them.
    pub(super) fn everywhere(&self) -> Vec<Self> {
        match &self.part {
            Part::Cluster(cluster) => {
                let shards = cluster.shards.all();
                shards.map(|shard| self.at(cluster, shard)).collect()
            }
            Part::Store => vec![self.clone()],
        }
    }

    /// The shard that it has turned to, in a cluster.
    pub(super) fn shard(&self) -> Option<ShardId> {
        match &self.part {
            Part::Cluster(cluster) => cluster.shard,
            Part::Store => None,
        }
    }

    /// Whether a runtime is running, and its condition: that of the only one of these shards; for
    /// several, that of this host.
    pub(super) async fn condition(&self, doors: &[Self]) -> (bool, Option<Condition>) {
        if let Part::Cluster(cluster) = &self.part
            && doors.len() != 1
            && let Some(condition) = cluster.shards.condition()
        {
            return (true, Some(condition));
        }
        let condition = doors.first().unwrap_or(self).runtime().condition().await;
        let running = !matches!(condition, Err(ControlError::NotRunning { .. }));
        (running, condition.ok())
    }

    fn at(&self, cluster: &Cluster, shard: ShardId) -> Self {
        Self {
            config: cluster.shards.config(&cluster.config, shard),
            caller: self.caller.clone(),
            part: Part::Cluster(Cluster {
                shard: Some(shard),
                ..cluster.clone()
            }),
            series: self.series.clone(),
        }
    }

    async fn turned(&self, cluster: &Cluster, shard: ShardId) -> Result<Self, DoorError> {
        cluster.shards.refresh(&cluster.config, shard).await?;
        Ok(self.at(cluster, shard))
    }

    fn narrowed(&self, agent: Address) -> Self {
        Self {
            caller: Caller {
                agents: Scope::Only([agent].into()),
                ..self.caller.clone()
            },
            ..self.clone()
        }
    }

    /// The address of the agent of a request, if the caller may use it. Whether it is hosted, its shard
    /// tells.
    async fn meant(&self, cluster: &Cluster, given: Option<&str>) -> Result<Address, DoorError> {
        let name = match self.named(given)? {
            Named::Only(address) => return Ok(address.clone()),
            Named::Given(name) | Named::Configured(name) => name,
        };
        let address = match cluster.shards.address_of(name) {
            Some(address) => address,
            None => {
                let (who, config) = (name.to_owned(), Arc::clone(&cluster.config));
                let resolved = Self::blocking(async move || Ok(who::resolve_own(&who, &config)));
                let resolved = resolved.await?;
                resolved.map_err(|error| unknown(name).with_detail(error))?
            }
        };
        match self.caller.sees(address.as_str()) {
            true => Ok(address),
            false => Err(unknown(name)),
        }
    }
}
