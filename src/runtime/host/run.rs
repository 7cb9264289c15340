//! The life of a runtime's thread: prepare, start the actors, wait, stop them.

use std::cell::Cell;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use actix::prelude::*;
use agentry_chain::ChainSource;
use agentry_core::Commit;
use agentry_core::commit::{HostedAgent, Observation};
use agentry_devnet::{Devnet, DevnetConfig, Faults};
use agentry_protocol::header::MAX_ID_AHEAD_MS;
use agentry_protocol::{Address, BlockHeight};
use agentry_store::check::Seen;
use agentry_store::{Condition, Store, StoreError, read};
use tokio::sync::watch;

use super::chain::{self, Nodes};
use super::prepare::{self, Candidate, ENDOWMENT, Passwords, Wallets};
use super::{HostError, HostOptions, InHand, Started};
use crate::config::{Config, DevnetTable, NodeUrl};
use crate::doors::a2a::deliver;
use crate::doors::api::events::Hub;
use crate::doors::api::{Api, ApiLinks};
use crate::ops::send::SendLinks;
use crate::ops::{OperationLinks, Operations};
use crate::runtime::agent::{AgentLinks, SignerLinks};
use crate::runtime::catch_up::{self, CatchUp};
use crate::runtime::classify::classify_pending;
use crate::runtime::clock::Clock;
use crate::runtime::control::{self, socket_path};
use crate::runtime::directory::{Directory, backfill};
use crate::runtime::environment::RuntimeEnvironment;
use crate::runtime::http::StatusServer;
use crate::runtime::metrics::Metrics;
use crate::runtime::plans::{self, Occasion};
use crate::runtime::rates::Rates;
use crate::runtime::registry::{AgentRegistry, Hosted};
use crate::runtime::reload::{ReloadLinks, Reloader};
use crate::runtime::router::{ChainRules, InboxRouter};
use crate::runtime::signer::{Keyring, Signer, Slot};
use crate::runtime::submitter::{Drain, Outbox, Submitter, SubmitterSettings};
use crate::runtime::tasks::{self, Pool};
use crate::runtime::traces::Traces;
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

/// How long a stop waits for the collector to take the last spans of traces.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// The least number of threads that run behaviours: a behaviour that blocks its thread against the
/// rules must not stop all others on a small machine.
const MIN_WORKERS: usize = 4;

/// The most arbiters that agents run on. They only pass messages; the work is done elsewhere.
const MAX_ARBITERS: usize = 4;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The whole life of a runtime's thread.
pub(super) fn run(
    config: Config,
    options: HostOptions,
    signals: Signals,
    ready: SyncSender<Started>,
) -> Result<(), HostError> {
    let workers = tokio::runtime::Builder::new_multi_thread()
        .thread_name("agentry-worker")
        .worker_threads(cores().max(MIN_WORKERS))
        .enable_all()
        .build()
        .map_err(HostError::Thread)?;
    let handle = workers.handle().clone();
    let cancel = signals.cancel.clone();
    let system = System::new();
    let result = system.block_on(async move {
        let beyond_recall = Cell::new(false);
        let host = host(config, options, handle, signals, ready, &beyond_recall);
        tokio::select! {
            result = host => result,
            () = cancelled(cancel, &beyond_recall) => Err(HostError::Cancelled),
        }
    });
    {
        // Pending requests release their connections here, which needs a runtime to spawn on.
        let _workers = workers.enter();
        drop(system);
    }
    // Runs that do not yield are left behind.
    workers.shutdown_timeout(Duration::from_millis(200));
    result
}

/// Waits until the start is canceled; for ever, once the actors run: then the ordinary stop
/// applies.
async fn cancelled(mut cancel: watch::Receiver<bool>, beyond_recall: &Cell<bool>) {
    // A dropped sender cannot cancel any more.
    if cancel.wait_for(|cancelled| *cancelled).await.is_err() || beyond_recall.get() {
        std::future::pending::<()>().await;
    }
}

/// The signals that reach a runtime's thread from outside.
#[derive(Debug)]
pub(super) struct Signals {
    /// The runtime has to stop.
    pub(super) stopping: watch::Receiver<bool>,
    /// The start is canceled.
    pub(super) cancel: watch::Receiver<bool>,
    /// The configuration has to be reloaded; counts the requests.
    pub(super) reload: watch::Receiver<u64>,
}

async fn host(
    mut config: Config,
    options: HostOptions,
    workers: tokio::runtime::Handle,
    signals: Signals,
    ready: SyncSender<Started>,
    beyond_recall: &Cell<bool>,
) -> Result<(), HostError> {
    let Signals {
        mut stopping,
        mut reload,
        cancel: _,
    } = signals;
    let loaded = config.clone();
    let metrics = Arc::new(Metrics::new());
    let store_path = config.store.path.clone();
    // The lock comes first: two runtimes on one store must not get as far as the node.
    let opened = blocking(&workers, move || {
        Store::open_checked(&store_path, LOOK_THROUGH)
    });
    let (store, seen) = opened.await??;
    if seen == Seen::Part {
        tracing::warn!(
            path = %config.store.path.display(),
            "the store is large, and only a part of it was checked for damage; `agentry doctor` checks more of it"
        );
    }
    let identity = store.read(read::identity).await?;
    if let Some(stored) = identity
        .chain_id
        .as_ref()
        .filter(|id| *id != config.chain.id.as_str())
    {
        return Err(HostError::OtherChainId {
            path: config.store.path.clone(),
            stored: stored.clone(),
            configured: config.chain.id.to_string(),
        });
    }
    let webhooks = webhooks::prepare(&config.webhooks).await?;
    let api = Api::default();
    let status = StatusServer::start(&config.http, Arc::clone(&metrics), api.clone());
    let status = status.map_err(|source| HostError::Listen {
        listen: config.http.listen,
        source,
    })?;

    let embedded = config.devnet.clone().filter(|_| options.embedded_node);
    let (wallets, passwords) = {
        let (config, embedded) = (config.clone(), embedded.is_some());
        let mut passwords = Passwords::new(options.prompt);
        blocking(&workers, move || {
            let wallets = prepare::wallets(&config, &mut passwords, embedded);
            (wallets, passwords)
        })
        .await?
    };
    let Wallets {
        candidates,
        created,
    } = wallets?;
    let devnet = match &embedded {
        Some(table) => {
            let (table, id) = (table.clone(), config.chain.id.clone());
            let addresses: Vec<Address> = candidates
                .iter()
                .map(|candidate| candidate.address.clone())
                .collect();
            let devnet = blocking(&workers, move || {
                start_devnet(&table, id, &addresses, &created)
            })
            .await??;
            // Any free port was requested, or the default one: the node reports the actual port.
            if table_port(&config) == Some(0) {
                let url = NodeUrl::local(devnet.port());
                config.chain.submit = url.clone();
                config.chain.rpc = url;
            }
            Some(Arc::new(devnet))
        }
        None => None,
    };

    let nodes = match options.node {
        Some(node) => Nodes::only(node, &config.chain),
        None => chain::nodes(&config.chain)?,
    };
    let mut source = chain::source(&config.chain, &nodes)?;
    let known: HashSet<Address> = store
        .read(read::agents)
        .await?
        .into_iter()
        .map(|row| row.address)
        .collect();
    let new_agents = candidates
        .iter()
        .any(|candidate| !known.contains(&candidate.address));
    let beginning = chain::begin(
        source.as_mut(),
        &config.chain,
        &nodes,
        &identity,
        new_agents,
    )
    .await?;
    store
        .commit_now(Commit::Identify {
            chain_id: config.chain.id.clone(),
            genesis: beginning.genesis,
        })
        .await?;
    let mut candidates = candidates;
    let candidates = blocking(&workers, move || {
        prepare::check_passwords(&mut candidates)
            .map(|()| candidates)
            .map_err(|errors| errors.into_iter().next().unwrap_or(HostError::Panicked))
    })
    .await??;
    let keyring = Arc::new(Keyring::new(config.chain.id.clone()));
    let enrolled = enrol(&store, candidates, beginning.first_height).await?;
    let registry = AgentRegistry::new(enrolled.into_iter().map(|(hosted, slot)| {
        keyring.put(hosted.id, slot);
        hosted
    }));

    // First the pending transactions and then the head: a transaction that is no longer pending is
    // in a block up to that head.
    let pending = chain::pending(&nodes.submit, &registry).await;
    let head = if beginning.submit_is_known {
        chain::head(source.as_mut(), &nodes).await
    } else {
        None
    };
    let head = head.map_or(beginning.head, |head| head.max(beginning.head));

    let in_hand = InHand::default();
    let clock = options.clock.clone();
    set_clock(&clock, &store, source.as_mut()).await?;
    let hosted = registry.all();
    let agents = hosted.iter().map(Arc::as_ref);
    plans::commit(&store, agents, Occasion::Start, clock.now()).await?;
    let directory = Directory::load(&store, config.contacts.clone()).await?;
    metrics.directory(directory.len());
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
        metrics: Arc::clone(&metrics),
        workers: workers.clone(),
        stopping: stopping.clone(),
        confirmed: Confirmed::default(),
        in_hand: in_hand.clone(),
        directory,
        environment,
        pool: Pool::default(),
        rates: Rates::default(),
        catch_up: CatchUp::to(head, store.read(read::last_outbox).await?),
        traces: Traces::start(&config.traces, &workers, &metrics)?,
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
        SubmitterSettings {
            chain_id: config.chain.id.clone(),
            node: nodes.submit.clone(),
            mempool: chain::mempool(&config.chain),
            genesis: beginning.genesis,
            node_is_known: beginning.submit_is_known,
            policy: config.chain.nonce,
            final_depth: config.chain.final_depth,
        },
        signer.clone().recipient(),
    )
    .await?;
    // The submitter and the router know each other.
    let mailbox = Context::<Submitter>::new();
    let outbox = Outbox::new(store.clone(), mailbox.address().recipient());
    // The rest is quick, and starts threads that only a stop ends.
    beyond_recall.set(true);
    let arbiters: Vec<Arbiter> = (0..cores().min(MAX_ARBITERS))
        .map(|_| Arbiter::new())
        .collect();
    let router = InboxRouter::new(
        shared.clone(),
        AgentLinks {
            registry: registry.clone(),
            chain_id: config.chain.id.clone(),
            signer: SignerLinks {
                keys: signer.clone().recipient(),
                open: signer.clone().recipient(),
            },
            outbox: outbox.clone(),
        },
        mailbox.address().recipient(),
        ChainRules {
            id: config.chain.id.clone(),
            confirmations: config.chain.confirmations,
            final_depth: config.chain.final_depth,
        },
        arbiters.iter().map(Arbiter::handle).collect(),
    )
    .start();
    let submitter = mailbox.run(submitter.waking(router.clone().recipient()));
    let serving = tasks::serve(
        shared.clone(),
        registry.clone(),
        router.clone().recipient(),
        &config.tasks,
    );
    let current = watch::Sender::new(Arc::new(loaded.clone()));
    let loading = current.subscribe();
    let pushing = current.subscribe();
    let reloader = Reloader::new(
        options.reread,
        (loaded, current),
        passwords,
        ReloadLinks {
            shared: shared.clone(),
            registry: registry.clone(),
            keyring,
            wake: router.clone().recipient(),
            look: submitter.clone().recipient(),
            chain: config.chain.clone(),
            nodes: nodes.clone(),
            devnet: devnet.as_ref().map(Arc::downgrade),
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
                chain_id: config.chain.id.clone(),
                keys: signer.clone().recipient(),
                outbox,
            },
        },
    })
    .map_err(|source| HostError::Socket {
        path: socket_path(store.path()),
        source,
    })?;
    api.open(ApiLinks {
        store: store.clone(),
        config: loading,
        hub: Hub::new(
            store.clone(),
            registry.clone(),
            workers.clone(),
            config.http.streams,
        ),
        sign: signer.clone().recipient(),
    });
    let now = shared.clock.now();
    let plan = backfill::plan(&store, config.directory.from, &beginning.cursor, now).await?;
    let backfill = match plan {
        Some(plan) => {
            let source = chain::source(&config.chain, &nodes)?;
            let (id, depth) = (config.chain.id.clone(), config.chain.final_depth);
            Some(backfill::serve(shared.clone(), plan, source, id, depth))
        }
        None => None,
    };
    ChainWatcher::new(
        shared.clone(),
        registry.clone(),
        router.clone().recipient(),
        submitter.clone().recipient(),
        source,
        beginning.cursor,
    )
    .start();
    let webhooks = webhooks::serve(webhooks, &shared).await?;
    let pushes = deliver::serve(store.clone(), shared.clock.clone(), pushing);
    let catching_up = actix_rt::spawn(catch_up::report(shared.clone()));
    let pruning = actix_rt::spawn(prune(shared.clone(), config.store.retention));
    let started = Started {
        status: status.address(),
        agents: registry.len(),
        node: nodes.name.clone(),
        devnet: devnet.as_ref().map(|devnet| devnet.dir().to_owned()),
        metrics,
    };
    tracing::info!(
        agents = started.agents,
        node = started.node,
        chain.id = %config.chain.id,
        status = %started.status,
        "hosting"
    );
    let unheard = ready.send(started).is_err();

    let mut condition = store.condition();
    let mut broken = None;
    while !unheard && !*stopping.borrow() {
        let now = condition.borrow_and_update().clone();
        shared.metrics.store(&now);
        if let Condition::Broken(found) = now {
            broken = Some(found);
            break;
        }
        tokio::select! {
            changed = stopping.changed() => if changed.is_err() {
                break;
            },
            // It must not end before the store.
            _ = condition.changed() => {}
            Ok(()) = reload.changed() => {
                let reloader = reloader.clone();
                // The result is in the log.
                actix_rt::spawn(async move { drop(reloader.reload(Vec::new()).await) });
            }
        }
    }
    stop(&in_hand, &submitter, options.stop_limit).await;
    pruning.abort();
    catching_up.abort();
    drop(webhooks);
    drop(pushes);
    drop(backfill);
    drop(serving);
    drop(socket);
    status.stop().await;
    for arbiter in &arbiters {
        arbiter.stop();
    }
    for arbiter in arbiters {
        // It ends by itself; a panic in it was already reported.
        let _ = arbiter.join();
    }
    drop(devnet);
    shared.traces.stop(LAST_SPANS).await;
    tracing::info!("the runtime has stopped");
    match broken {
        Some(found) => Err(HostError::Store(StoreError::Broken {
            path: store.path().to_owned(),
            found,
        })),
        None => Ok(()),
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

fn table_port(config: &Config) -> Option<u16> {
    config.devnet.as_ref().map(|table| table.port)
}

/// Finishes the work in progress: agents their event, the submitter its POSTs.
async fn stop(in_hand: &InHand, submitter: &Addr<Submitter>, limit: Duration) {
    let deadline = Instant::now() + limit;
    tracing::info!(
        in_hand = in_hand.count(),
        "stopping: finishing the work in progress"
    );
    while in_hand.count() > 0 && Instant::now() < deadline {
        tokio::time::sleep(STOP_POLL).await;
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let drained = tokio::time::timeout(left.max(STOP_POLL), submitter.send(Drain)).await;
    if in_hand.count() > 0 || drained.is_err() {
        tracing::warn!(
            in_hand = in_hand.count(),
            "the time limit for stopping is reached; the remaining work continues at the next start"
        );
    }
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

/// Starts the embedded node. Its chain begins with funds for the hosted wallets; wallets that were
/// created after their chain began are funded by its faucet.
fn start_devnet(
    table: &DevnetTable,
    chain_id: agentry_protocol::ChainId,
    hosted: &[Address],
    created: &[Address],
) -> Result<Devnet, HostError> {
    let mut faults = Faults::none();
    for fault in &table.faults {
        faults.set(*fault);
    }
    let is_new = !has_chain(&table.dir);
    let devnet = Devnet::start(DevnetConfig {
        dir: table.dir.clone(),
        port: table.port,
        chain_id,
        block_time: table.block_time,
        allocations: hosted
            .iter()
            .map(|address| (address.clone(), ENDOWMENT))
            .collect(),
        faults,
        ..DevnetConfig::default()
    })?;
    if is_new {
        tracing::info!(wallets = hosted.len(), amount = ENDOWMENT, dir = %table.dir.display(), "began a chain with funds for the hosted wallets");
    } else {
        for address in created {
            devnet.fund(address, ENDOWMENT)?;
            tracing::info!(%address, amount = ENDOWMENT, "funded a new wallet");
        }
    }
    Ok(devnet)
}

fn has_chain(dir: &Path) -> bool {
    dir.join("chain.db").exists()
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

async fn blocking<T: Send + 'static>(
    workers: &tokio::runtime::Handle,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HostError> {
    workers
        .spawn_blocking(work)
        .await
        .map_err(|_| HostError::Panicked)
}
