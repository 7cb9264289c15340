//! Changing the configuration while the runtime runs.
//!
//! On SIGHUP, or when `agentry reload` asks for it, agents.toml and its layers are read and
//! validated again as a whole. If anything is invalid, if a wallet or its password is missing, or
//! if a changed value needs a restart, nothing is applied, and every reason is in the log and in
//! the answer. Otherwise the difference is applied, between two events of each agent:
//!
//! - An agent that was *added* gets its row and its keys, and handles messages mined from then on:
//!   it begins above the head of the chain, so old messages are not answered. The rows that wait in
//!   the store for a wallet that was hosted before are processed.
//! - An agent that was *changed* finishes its current event with the old configuration, and
//!   continues with the new one.
//! - An agent that was *removed* finishes its current event and ends. Its signed transactions are
//!   still brought onto the chain; its unsigned drafts and its waiting messages stay in the store
//!   until it is hosted again.
//!
//! An agent is identified by its address: under another name it is the same agent, changed; with
//! another wallet it is another agent. Behaviours of unchanged agents are left alone, even if a
//! file that they read at startup has changed (other than what a program declares), unless a restart
//! is requested (`--restart`).
//!
//! A process reads its configuration and its wallets once for all its shards (the loader); each shard
//! that runs here applies what concerns its agents (the [`Reloader`]).
//!
//! | part | what it does |
//! |---|---|
//! | `loader` | reads the configuration and the wallets of a process again |
//! | `difference` | the changes, and which of them need a restart |

mod difference;
mod loader;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use agentry_protocol::{Address, BlockHeight, Timestamp};
use tokio::sync::{Mutex, watch};

use super::Shared;
use super::host::chain::{self, Nodes};
use super::host::prepare::{Candidate, Part};
use super::host::shard;
use super::plans::{self, Occasion};
use super::registry::{AgentRegistry, Hosted};
use super::router::WakeAgents;
use super::signer::Keyring;
use super::submitter::LookAtQueue;
use crate::config::{ChainConfig, Config, ConfigError};
use agentry_core::AgentId;

pub use difference::{Applied, Difference};
pub(crate) use loader::{Loaded, Loader};

/// How long the chain may take to answer where its head is.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the configuration again: the same file, environment and flags.
#[derive(Clone)]
pub struct Reread(Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>);

impl Reread {
    /// A reader that calls this function, which may block.
    pub fn new(read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn read(&self) -> Result<Config, ConfigError> {
        (self.0)()
    }
}

impl fmt::Debug for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reread").finish_non_exhaustive()
    }
}

/// Why nothing was applied: every reason, at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Refused(pub Vec<String>);

impl Refused {
    fn because(reason: impl fmt::Display) -> Self {
        Self(vec![reason.to_string()])
    }
}

/// The parts of the runtime that a reload changes.
#[derive(Debug)]
pub struct ReloadLinks {
    /// The store, the clock, the directory.
    pub shared: Shared,
    /// The hosted wallets.
    pub registry: AgentRegistry,
    /// Their keys.
    pub keyring: Arc<Keyring>,
    /// Wakes agents.
    pub wake: Recipient<WakeAgents>,
    /// Learns that queued messages may be sendable now.
    pub look: Recipient<LookAtQueue>,
    /// The source of the chain.
    pub chain: ChainConfig,
    /// Its nodes.
    pub(crate) nodes: Nodes,
    /// The part of the wallets that this shard hosts; all of them, on one machine.
    pub part: Option<Part>,
}

/// Applies changes of the configuration to a shard. Clones share one state.
#[derive(Clone, Debug)]
pub struct Reloader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    loader: Loader,
    links: ReloadLinks,
    /// What was applied last. One reload at a time.
    applied: Mutex<Arc<Loaded>>,
    /// Its configuration, for those who only read it.
    told: watch::Sender<Arc<Config>>,
}

/// The changes to apply; none of them can be refused any more.
struct Plan {
    /// The agents that stay as they are.
    kept: Vec<Arc<Hosted>>,
    /// The changed agents, before and after.
    changed: Vec<(Arc<Hosted>, Candidate)>,
    added: Vec<Candidate>,
    removed: Vec<Arc<Hosted>>,
}

impl Reloader {
    /// A reloader for a shard that was started with what was `loaded`. What it has applied, it tells.
    pub(super) fn new(
        loader: Loader,
        (loaded, told): (Arc<Loaded>, watch::Sender<Arc<Config>>),
        links: ReloadLinks,
    ) -> Self {
        Self(Arc::new(Inner {
            loader,
            links,
            applied: Mutex::new(loaded),
            told,
        }))
    }

    /// Reads the configuration again and applies the changes, or refuses it as a whole. The
    /// behaviours of the agents and fleets in `restart` are restarted even if nothing of them has
    /// changed, so that what they keep outside of their state, such as a running program, is new.
    /// Must be called within an actix system. The reload completes even if the caller is dropped.
    ///
    /// # Errors
    /// Every reason why nothing was applied.
    pub async fn reload(&self, restart: Vec<String>) -> Result<Applied, Refused> {
        let this = Arc::clone(&self.0);
        let task = actix_rt::spawn(async move {
            // First: what was read is applied with the restarts, and not without them before.
            let mut applied = this.applied.lock().await;
            let loaded = this.loader.load(&restart).await?;
            this.apply_loaded(&mut applied, loaded, &restart).await
        });
        match task.await {
            Ok(result) => result,
            Err(_) => Err(Refused::because("the runtime is stopping")),
        }
    }

    /// Applies what the process has read, whenever it has read something, until this is dropped.
    pub(super) async fn follow(self) {
        let mut loads = self.0.loader.watch();
        // It may have changed since the shard was started.
        loads.mark_changed();
        while loads.changed().await.is_ok() {
            let mut applied = self.0.applied.lock().await;
            let loaded = Arc::clone(&loads.borrow_and_update());
            if !Arc::ptr_eq(&applied, &loaded) {
                // Reported.
                drop(self.0.apply_loaded(&mut applied, loaded, &[]).await);
            }
        }
    }
}

impl Inner {
    /// Applies what was read, and reports it.
    async fn apply_loaded(
        &self,
        applied: &mut Arc<Loaded>,
        loaded: Arc<Loaded>,
        restart: &[String],
    ) -> Result<Applied, Refused> {
        let result = self.difference(applied, &loaded, restart).await;
        match &result {
            Ok(done) => {
                *applied = loaded;
                match done.is_nothing() {
                    true => {
                        tracing::info!("the configuration was reloaded: nothing has changed");
                    }
                    false => tracing::info!("the configuration was reloaded: {done}"),
                }
            }
            Err(refused) => {
                tracing::error!(
                    "the configuration was read and not applied; reload it again: {refused}"
                );
            }
        }
        result
    }

    async fn difference(
        &self,
        before: &Loaded,
        loaded: &Loaded,
        restart: &[String],
    ) -> Result<Applied, Refused> {
        let plan = self.plan(loaded.wallets_of(self.links.part), restart);
        let first_height = self.first_height(!plan.added.is_empty()).await?;
        let applied = Applied {
            agents: Difference {
                added: names(plan.added.iter().map(|one| &one.config.name)),
                changed: names(
                    plan.changed
                        .iter()
                        .filter(|(before, one)| *before.config != one.config)
                        .map(|(_, one)| &one.config.name),
                ),
                removed: names(plan.removed.iter().map(|one| &one.config.name)),
            },
            restarted: names(
                plan.changed
                    .iter()
                    .filter(|(before, one)| *before.config == one.config)
                    .map(|(_, one)| &one.config.name),
            ),
            contacts: Difference::of_contacts(&before.config.contacts, &loaded.config.contacts),
        };
        self.apply(plan, first_height).await?;
        self.links
            .registry
            .set_neighbours(Arc::clone(&loaded.neighbours));
        let contacts = loaded.config.contacts.clone();
        self.links.shared.directory.set_contacts(contacts);
        self.told.send_replace(Arc::clone(&loaded.config));
        Ok(applied)
    }

    /// Compares the hosted agents with the configured ones. An agent to restart counts as changed.
    fn plan(&self, candidates: Vec<Candidate>, restart: &[String]) -> Plan {
        let restarts = |name: &str| restart.iter().any(|asked| is_meant(asked, name));
        let mut hosted: HashMap<Address, Arc<Hosted>> = self
            .links
            .registry
            .all()
            .into_iter()
            .map(|one| (one.address.clone(), one))
            .collect();
        let (mut kept, mut changed, mut added) = (Vec::new(), Vec::new(), Vec::new());
        for candidate in candidates {
            match hosted.remove(&candidate.address) {
                None => added.push(candidate),
                Some(before)
                    if *before.config == candidate.config && !restarts(&candidate.config.name) =>
                {
                    kept.push(before);
                }
                Some(before) => changed.push((before, candidate)),
            }
        }
        let mut removed: Vec<_> = hosted.into_values().collect();
        removed.sort_by(|one, other| one.config.name.cmp(&other.config.name));
        Plan {
            kept,
            changed,
            added,
            removed,
        }
    }

    /// The first block that concerns new agents: the one above the chain's head.
    async fn first_height(&self, are_new: bool) -> Result<BlockHeight, Refused> {
        if !are_new {
            return Ok(BlockHeight(0));
        }
        let links = &self.links;
        let mut source = chain::source(&links.chain, &links.nodes).map_err(Refused::because)?;
        let failed = |reason: String| {
            Refused::because(format!(
                "new agents begin at the chain's head, which cannot be read now: {reason}"
            ))
        };
        match tokio::time::timeout(PATIENCE, source.head()).await {
            Ok(Ok(head)) => Ok(head.map_or(BlockHeight(0), |head| head.height.next())),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("it does not answer".to_owned())),
        }
    }

    async fn apply(&self, plan: Plan, first_height: BlockHeight) -> Result<(), Refused> {
        let Plan {
            kept,
            changed,
            added,
            removed,
        } = plan;
        let links = &self.links;
        let mut keep_keys = Vec::with_capacity(changed.len());
        let mut candidates = Vec::with_capacity(changed.len() + added.len());
        for (before, mut candidate) in changed {
            candidate.public_key = candidate.public_key.or(before.public_key);
            keep_keys.push(before.config.wallet == candidate.config.wallet);
            candidates.push(candidate);
        }
        candidates.extend(added);
        // Only these two steps can fail. What the second leaves undone, the next start or reload does.
        let store = &links.shared.store;
        let renewed = shard::enrol(store, candidates, first_height)
            .await
            .map_err(Refused::because)?;
        let agents = renewed.iter().map(|(hosted, _)| hosted);
        let now = links.shared.clock.now();
        plans::commit(store, agents, Occasion::Reload, now)
            .await
            .map_err(Refused::because)?;
        let mut waiting: Vec<AgentId> = Vec::with_capacity(renewed.len());
        let mut hosted = kept;
        for (index, (one, slot)) in renewed.into_iter().enumerate() {
            // For a wallet that was hosted before, the key that is already unlocked is kept.
            if !keep_keys.get(index).copied().unwrap_or(false) {
                links.keyring.put(one.id, slot);
            }
            waiting.push(one.id);
            hosted.push(Arc::new(one));
        }
        links.registry.replace(hosted);
        for one in &removed {
            links.keyring.remove(one.id);
        }
        links.shared.pool.wake();
        // If the router or the submitter has ended, it reads the store when it restarts.
        let _ = links.look.send(LookAtQueue::default()).await;
        let due = links
            .shared
            .store
            .query(|state| state.agents_due(Timestamp::MAX))
            .await;
        let due = due.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot find agents with something due");
            waiting.clone()
        });
        waiting.sort_unstable();
        let due = due
            .into_iter()
            .filter(|id| waiting.binary_search(id).is_ok());
        let _ = links.wake.send(WakeAgents(due.collect())).await;
        Ok(())
    }
}

/// Whether an agent has this name, or belongs to the fleet of this name.
fn is_meant(asked: &str, name: &str) -> bool {
    name.strip_prefix(asked)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    names.cloned().collect()
}

/// Each error on its own line.
fn lines_of(error: &ConfigError) -> Vec<String> {
    match error {
        ConfigError::Invalid(issues) => issues.lines().collect(),
        error => vec![error.to_string()],
    }
}
