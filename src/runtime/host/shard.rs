//! A shard: some of the wallets with everything that they need, from the store to the actors. Shards
//! share nothing that a promise depends on. On one machine one shard hosts all wallets.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use agentry_chain::{ChainSource, Cursor};
use agentry_core::Commit;
use agentry_core::cluster::ShardId;
use agentry_core::commit::{HostedAgent, Observation};
use agentry_protocol::header::MAX_ID_AHEAD_MS;
use agentry_protocol::{Address, BlockHash, BlockHeight};
use agentry_store::check::Seen;
use agentry_store::{Condition, Store, StoreError, read};
use tokio::sync::watch;

use super::prepare::Candidate;
use super::process::{Process, blocking};
use super::{HostError, InHand, chain};
use crate::config::Config;
use crate::doors::a2a::deliver;
use crate::ops::send::SendLinks;
use crate::ops::{OperationLinks, Operations};
use crate::runtime::agent::{AgentLinks, SignerLinks};
use crate::runtime::catch_up::{self, CatchUp};
use crate::runtime::classify::classify_pending;
use crate::runtime::clock::Clock;
use crate::runtime::control::{self, ControlSocket, socket_path};
use crate::runtime::directory::{Directory, backfill};
use crate::runtime::environment::RuntimeEnvironment;
use crate::runtime::plans::{self, Occasion};
use crate::runtime::presence::{Entered, Running, Runs};
use crate::runtime::rates::Rates;
use crate::runtime::registry::{AgentRegistry, Hosted};
use crate::runtime::reload::{Loaded, ReloadLinks, Reloader};
use crate::runtime::router::{ChainRules, InboxRouter};
use crate::runtime::signer::{Keyring, Signer, Slot};
use crate::runtime::submitter::{Drain, Outbox, Submitter, SubmitterSettings};
use crate::runtime::tasks::{self, Pool};
use crate::runtime::watcher::ChainWatcher;
use crate::runtime::webhooks;
use crate::runtime::{Confirmed, Shared};

/// How often rows older than `retention` are pruned.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// How long the store is checked for damage at startup: enough for some hundred megabytes. A larger
/// store is used without a complete check.
const LOOK_THROUGH: Duration = Duration::from_secs(15);

/// How often a stopping runtime checks whether its agents are done.
const STOP_POLL: Duration = Duration::from_millis(10);

/// Opens the store of this machine, and locks out every other runtime.
///
/// # Errors
/// The store cannot be used, or belongs to another chain.
pub(super) async fn open_store(
    config: &Config,
    workers: &tokio::runtime::Handle,
) -> Result<Store, HostError> {
    let path = config.store.path.clone();
    let opened = blocking(workers, move || Store::open_checked(&path, LOOK_THROUGH));
    let (store, seen) = opened.await??;
    if seen == Seen::Part {
        tracing::warn!(
            path = %config.store.path.display(),
            "the store is large, and only a part of it was checked for damage; `agentry doctor` checks more of it"
        );
    }
    check_chain(config, &store).await?;
    Ok(store)
}

/// A store belongs to one chain.
pub(in crate::runtime) async fn check_chain(
    config: &Config,
    store: &Store,
) -> Result<(), HostError> {
    let stored = store.read(read::identity).await?.chain_id;
    match stored.filter(|id| id != config.chain.id.as_str()) {
        None => Ok(()),
        Some(stored) => Err(HostError::OtherChainId {
            path: config.store.path.clone(),
            stored,
            configured: config.chain.id.to_string(),
        }),
    }
}

/// A shard that knows its wallets, its chain and what is open, and does not act yet.
pub(in crate::runtime) struct Prepared {
    process: Process,
    loaded: Arc<Loaded>,
    shared: Shared,
    registry: AgentRegistry,
    keyring: Arc<Keyring>,
    signer: Addr<Signer>,
    submitter: Submitter,
    source: Box<dyn ChainSource>,
    cursor: Cursor,
}

/// A running shard.
pub(in crate::runtime) struct Shard {
    shared: Shared,
    submitter: Addr<Submitter>,
    arbiters: Vec<Arbiter>,
    /// Whether its store is a copy of what a log elsewhere holds.
    is_copy: bool,
    serving: Serving,
}

/// What serves others until it is dropped, in this order.
struct Serving {
    _reloading: Aborting,
    _pruning: Aborting,
    _catching_up: Aborting,
    _webhooks: webhooks::Serving,
    _pushes: deliver::Serving,
    _backfill: Option<backfill::Backfill>,
    _tasks: tasks::Serving,
    _socket: ControlSocket,
    _runs: Runs,
    /// In a cluster, a shard's store enters when its log is followed.
    _entered: Option<Entered>,
}

/// A task of this thread, which ends when this is dropped.
struct Aborting(actix_rt::task::JoinHandle<()>);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Prepared {
    /// Prepares the shard that the process is about to run, whose state is in this store. Waits for the
    /// node.
    ///
    /// # Errors
    /// The store, the node or a wallet cannot be used.
    pub(in crate::runtime) async fn new(
        process: Process,
        store: Store,
        stopping: watch::Receiver<bool>,
    ) -> Result<Self, HostError> {
        let Process {
            config,
            workers,
            metrics,
            nodes,
            ..
        } = &process;
        let loaded = process.loader.now();
        let candidates = loaded.wallets_of(process.part);
        let identity = store.read(read::identity).await?;
        let mut source = match process.part {
            Some(_) => chain::shared_source(&config.chain, nodes)?,
            None => chain::source(&config.chain, nodes)?,
        };
        let known: HashSet<Address> = store
            .read(read::agents)
            .await?
            .into_iter()
            .map(|row| row.address)
            .collect();
        let new_agents = candidates
            .iter()
            .any(|candidate| !known.contains(&candidate.address));
        let beginning =
            chain::begin(source.as_mut(), &config.chain, nodes, &identity, new_agents).await?;
        store
            .commit_now(Commit::Identify {
                chain_id: config.chain.id.clone(),
                genesis: beginning.genesis,
            })
            .await?;
        let keyring = Arc::new(Keyring::new(config.chain.id.clone()));
        let enrolled = enrol(&store, candidates, beginning.first_height).await?;
        let enrolled = enrolled.into_iter().map(|(hosted, slot)| {
            keyring.put(hosted.id, slot);
            hosted
        });
        let registry = AgentRegistry::new(enrolled, Arc::clone(&loaded.neighbours));

        // First the pending transactions and then the head: a transaction that is no longer pending is
        // in a block up to that head.
        let pending = chain::pending(&nodes.submit, &registry).await;
        let head = if beginning.submit_is_known {
            chain::head(source.as_mut(), nodes).await
        } else {
            None
        };
        let head = head.map_or(beginning.head, |head| head.max(beginning.head));

        let clock = process.options.clock.clone();
        set_clock(&clock, &store, source.as_mut()).await?;
        let hosted = registry.all();
        let agents = hosted.iter().map(Arc::as_ref);
        plans::commit(&store, agents, Occasion::Start, clock.now()).await?;
        let directory = Directory::load(&store, config.contacts.clone(), &process.cards).await?;
        metrics.directory(directory.len());
        metrics.time_commits(&store);
        let environment = Arc::new(RuntimeEnvironment::new(
            store.clone(),
            directory.clone(),
            registry.clone(),
            clock.clone(),
            env!("CARGO_PKG_VERSION"),
            clock.now(),
        ));
        let shared = Shared {
            store: store.clone(),
            clock,
            metrics: Arc::clone(metrics),
            workers: workers.clone(),
            stopping,
            confirmed: Confirmed::default(),
            in_hand: InHand::default(),
            directory,
            environment,
            pool: Pool::default(),
            jobs: process.jobs.clone(),
            rates: Rates::default(),
            catch_up: CatchUp::to(head, store.read(read::last_outbox).await?),
            seen_pending: process.seen_pending.clone(),
            traces: process.traces.clone(),
            lease: process.lease.clone(),
        };
        // Before the watcher reads anything: the runtime would be ready for a moment.
        metrics.catching_up(!shared.catch_up.is_done());
        // Until the first reading, the position says which messages may be handled.
        if let Some(height) = beginning.cursor.height() {
            shared
                .confirmed
                .set(height.saturating_sub(config.chain.confirmations));
        }
        let signer = Signer::start(Arc::clone(&keyring));
        let keys = signer.clone().recipient();
        let chain_id = config.chain.id.clone();
        let steps = classify_pending(&shared, registry.clone(), chain_id, &keys, pending).await?;
        if !steps.is_empty() {
            let cursor = serde_json::to_value(&beginning.cursor)
                .map_err(|error| StoreError::Value(format!("the position: {error}")))?;
            let at = shared.clock.now();
            let observation = Observation {
                steps,
                cursor,
                final_through: None,
                catching_up: shared.catch_up.mark(),
                at,
            };
            store.commit_now(Commit::Observe(observation)).await?;
        }
        let submitter = Submitter::load(
            shared.clone(),
            registry.clone(),
            settings(config, nodes, beginning.genesis, beginning.submit_is_known),
            signer.clone().recipient(),
        )
        .await?;
        Ok(Self {
            shared,
            registry,
            keyring,
            signer,
            submitter,
            source,
            cursor: beginning.cursor,
            process,
            loaded,
        })
    }

    /// Starts the actors, with agents on so many threads. This is quick; the threads end when the
    /// shard is stopped.
    ///
    /// # Errors
    /// The control socket cannot be made, or the store cannot be used.
    pub(in crate::runtime) async fn start(self, arbiters: usize) -> Result<Shard, HostError> {
        let Self {
            process,
            loaded,
            shared,
            registry,
            keyring,
            signer,
            submitter,
            source,
            cursor,
        } = self;
        let Process { config, nodes, .. } = &process;
        let store = &shared.store;
        let chain_id = || config.chain.id.clone();
        // The submitter and the router know each other.
        let mailbox = Context::<Submitter>::new();
        let outbox = Outbox::new(store.clone(), mailbox.address().recipient());
        let arbiters: Vec<Arbiter> = (0..arbiters).map(|_| Arbiter::new()).collect();
        let router = InboxRouter::new(
            shared.clone(),
            AgentLinks {
                registry: registry.clone(),
                chain: config.chain.chain(),
                signer: SignerLinks {
                    keys: signer.clone().recipient(),
                    open: signer.clone().recipient(),
                },
                outbox: outbox.clone(),
            },
            mailbox.address().recipient(),
            ChainRules {
                id: chain_id(),
                confirmations: config.chain.confirmations,
                final_depth: config.chain.final_depth,
            },
            arbiters.iter().map(Arbiter::handle).collect(),
        )
        .start();
        let submitter = mailbox.run(submitter.waking(router.clone().recipient()));
        let tasks = tasks::serve(
            shared.clone(),
            registry.clone(),
            router.clone().recipient(),
            &config.tasks,
        );
        let current = watch::Sender::new(Arc::clone(&loaded.config));
        let loading = current.subscribe();
        let pushing = current.subscribe();
        let reloader = Reloader::new(
            process.loader.clone(),
            (loaded, current),
            ReloadLinks {
                shared: shared.clone(),
                registry: registry.clone(),
                keyring,
                wake: router.clone().recipient(),
                look: submitter.clone().recipient(),
                chain: config.chain.clone(),
                nodes: nodes.clone(),
                part: process.part,
            },
        );
        let socket = control::serve(Operations {
            shared: shared.clone(),
            registry: registry.clone(),
            links: OperationLinks {
                wake: router.clone().recipient(),
                resume: submitter.clone().recipient(),
                look: submitter.clone().recipient(),
                open: signer.clone().recipient(),
                reload: reloader.clone(),
                send: SendLinks {
                    chain: config.chain.chain(),
                    keys: signer.clone().recipient(),
                    outbox,
                },
                console: process.api.console().clone(),
                coordinator: process.coordinator.clone(),
            },
        })
        .map_err(|source| HostError::Socket {
            path: socket_path(store.path()),
            source,
        })?;
        let presence = process.api.presence();
        let shard = process.part.map_or(ShardId(0), |part| part.shard);
        let entered = match process.part {
            Some(_) => None,
            None => Some(presence.enter(shard, store.clone())),
        };
        let runs = presence.run(
            shard,
            Running {
                config: loading,
                registry: registry.clone(),
                sign: signer.clone().recipient(),
            },
        );
        let now = shared.clock.now();
        let plan = backfill::plan(store, config.directory.from, &cursor, now).await?;
        let backfill = match plan {
            Some(plan) => {
                let source = chain::source(&config.chain, nodes)?;
                let depth = config.chain.final_depth;
                Some(backfill::serve(
                    shared.clone(),
                    plan,
                    source,
                    chain_id(),
                    depth,
                ))
            }
            None => None,
        };
        ChainWatcher::new(
            shared.clone(),
            registry.clone(),
            router.clone().recipient(),
            submitter.clone().recipient(),
            source,
            cursor,
        )
        .start();
        let serving = Serving {
            _reloading: Aborting(actix_rt::spawn(reloader.follow())),
            _webhooks: webhooks::serve(process.webhooks.clone(), &shared).await?,
            _pushes: deliver::serve(
                store.clone(),
                shared.clock.clone(),
                pushing,
                process.part.map(|part| part.shard),
            ),
            _catching_up: Aborting(actix_rt::spawn(catch_up::report(shared.clone()))),
            _pruning: Aborting(actix_rt::spawn(prune(
                shared.clone(),
                config.store.retention,
            ))),
            _backfill: backfill,
            _tasks: tasks,
            _socket: socket,
            _runs: runs,
            _entered: entered,
        };
        Ok(Shard {
            shared,
            submitter,
            arbiters,
            is_copy: process.part.is_some(),
            serving,
        })
    }
}

fn settings(
    config: &Config,
    nodes: &chain::Nodes,
    genesis: BlockHash,
    node_is_known: bool,
) -> SubmitterSettings {
    SubmitterSettings {
        chain: config.chain.chain(),
        node: nodes.submit.clone(),
        mempool: chain::mempool(&config.chain),
        genesis,
        node_is_known,
        policy: config.chain.nonce,
        final_depth: config.chain.final_depth,
    }
}

impl Shard {
    /// Waits until the shard has to stop.
    ///
    /// # Errors
    /// The store became unusable.
    pub(in crate::runtime) async fn run(&self) -> Result<(), HostError> {
        let store = &self.shared.store;
        let mut stopping = self.shared.stopping.clone();
        let mut condition = store.condition();
        while !*stopping.borrow() {
            let now = condition.borrow_and_update().clone();
            self.shared.metrics.store(&now);
            let broken = |found| {
                Err(HostError::Store(StoreError::Broken {
                    path: store.path().to_owned(),
                    found,
                }))
            };
            match now {
                Condition::Broken(found) => return broken(found),
                // It can be had again from the log as it should be.
                Condition::Spoiled(found) if self.is_copy => return broken(found),
                Condition::Fenced => return Err(HostError::Store(StoreError::Fenced)),
                Condition::Halted(reason) => {
                    return Err(HostError::Store(StoreError::Halted(reason)));
                }
                Condition::Well | Condition::Refusing(_) | Condition::Spoiled(_) => {}
            }
            tokio::select! {
                changed = stopping.changed() => if changed.is_err() {
                    break;
                },
                // It must not end before the store.
                _ = condition.changed() => {}
            }
        }
        Ok(())
    }

    /// Finishes the work in progress within a time limit: agents their event, the submitter its
    /// POSTs.
    pub(in crate::runtime) async fn finish(&self, limit: Duration) {
        let in_hand = &self.shared.in_hand;
        let deadline = Instant::now() + limit;
        tracing::info!(
            in_hand = in_hand.count(),
            "stopping: finishing the work in progress"
        );
        while in_hand.count() > 0 && Instant::now() < deadline {
            tokio::time::sleep(STOP_POLL).await;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let drained = tokio::time::timeout(left.max(STOP_POLL), self.submitter.send(Drain)).await;
        if in_hand.count() > 0 || drained.is_err() {
            tracing::warn!(
                in_hand = in_hand.count(),
                "the time limit for stopping is reached; the remaining work continues at the next start"
            );
        }
    }

    /// Serves nothing any more, and ends the threads of agents.
    pub(in crate::runtime) fn end(self) {
        drop(self.serving);
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        for arbiter in self.arbiters {
            // It ends by itself; a panic in it was already reported.
            let _ = arbiter.join();
        }
    }
}

/// Continues the clock where the last runtime of this store left it, as far as blocks confirm the
/// time since. Called before anything waits or is pruned.
async fn set_clock(
    clock: &Clock,
    store: &Store,
    source: &mut dyn ChainSource,
) -> Result<(), StoreError> {
    let noted = store.read(read::noted_time).await?;
    let behind = clock.resume(noted.unwrap_or_else(|| clock.local()));
    if behind > MAX_ID_AHEAD_MS {
        tracing::warn!(
            behind.ms = behind,
            "the local clock is behind the time up to which this store was used; waits continue from that time"
        );
    }
    match chain::newest_time(source).await {
        Ok(Some(made_at)) => clock.block_made_at(made_at),
        Ok(None) => tracing::warn!("the newest block does not state its time"),
        Err(reason) => tracing::warn!(reason, "cannot read the time of the newest block"),
    }
    Ok(())
}

/// Gives wallets their rows in the store, each with its key. Blocks below `first_height` do not
/// concern wallets that are new to the store.
pub(in crate::runtime) async fn enrol(
    store: &Store,
    candidates: Vec<Candidate>,
    first_height: BlockHeight,
) -> Result<Vec<(Hosted, Arc<Slot>)>, StoreError> {
    let agents = candidates
        .iter()
        .map(|candidate| HostedAgent {
            address: candidate.address.clone(),
            name: candidate.config.name.clone(),
            start_height: first_height,
        })
        .collect();
    let changes = store.commit_now(Commit::Host { agents }).await?;
    let hosted = candidates
        .into_iter()
        .zip(changes.agents)
        .map(|(candidate, id)| {
            let hosted = Hosted {
                id,
                address: candidate.address,
                public_key: candidate.public_key,
                config: Arc::new(candidate.config),
            };
            (hosted, candidate.slot)
        });
    Ok(hosted.collect())
}

async fn prune(shared: Shared, retention: Duration) {
    loop {
        // Not by the local clock alone: a message whose row is pruned would be handled again if it
        // came again.
        let at = shared.clock.confirmed();
        let before = at.minus(retention);
        let pruned = async {
            let changes = shared.store.commit(Commit::Prune { before, at }).await?;
            let cards = shared.directory.refresh(&shared.store, &changes.cards);
            cards.await.map(|()| changes.rows)
        };
        match pruned.await {
            Ok(0) => {}
            Ok(rows) => {
                tracing::info!(rows, "pruned rows that were completed before the retention");
            }
            Err(error) => tracing::error!(%error, "cannot prune rows older than the retention"),
        }
        tokio::time::sleep(FORGET_EVERY).await;
    }
}
