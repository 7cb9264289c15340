//! What the shards of a process have in common: the wallets, the nodes, the HTTP server, the export of
//! traces. On one machine there is one shard.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use agentry_core::cluster::ShardId;
use agentry_devnet::{Devnet, DevnetConfig, Faults};
use agentry_protocol::{Address, Chain};
use tokio::sync::{mpsc, watch};

use super::chain::{self, Nodes};
use super::prepare::{self, ENDOWMENT, Part, Passwords, Wallets};
use super::{HostError, HostOptions, Started};
use crate::config::{Config, DevnetTable, NodeUrl};
use crate::doors::api::{Api, OfCluster};
use crate::doors::shards::Shards;
use crate::runtime::cluster::connect;
use crate::runtime::coordinator::{Coordinator, CoordinatorLinks};
use crate::runtime::directory::Cards;
use crate::runtime::http::StatusServer;
use crate::runtime::jobs::Jobs;
use crate::runtime::lease::Lease;
use crate::runtime::metrics::Metrics;
use crate::runtime::pending::{Lookout, SeenPending};
use crate::runtime::reload::{Loaded, Loader};
use crate::runtime::traces::Traces;
use crate::runtime::webhooks::{self, Webhook};

/// What the shards of a process have in common. Cheap to clone, apart from the configuration.
#[derive(Clone)]
pub(in crate::runtime) struct Process {
    /// The configuration, with the URL at which the embedded node is served.
    pub(in crate::runtime) config: Config,
    pub(in crate::runtime) options: HostOptions,
    /// The tokio runtime on which behaviours and blocking work run.
    pub(in crate::runtime) workers: tokio::runtime::Handle,
    pub(in crate::runtime) metrics: Arc<Metrics>,
    pub(in crate::runtime) api: Api,
    pub(in crate::runtime) webhooks: Vec<Webhook>,
    /// The agents in AITBC's agent coordinator, if they are announced there.
    pub(in crate::runtime) coordinator: Option<Coordinator>,
    /// The configuration and the wallets, as they were read last.
    pub(in crate::runtime) loader: Loader,
    /// The embedded node, if there is one.
    pub(in crate::runtime) devnet: Option<Arc<Devnet>>,
    pub(in crate::runtime) nodes: Nodes,
    /// The messages of which a signature was seen.
    pub(in crate::runtime) seen_pending: SeenPending,
    pub(in crate::runtime) traces: Traces,
    /// The cards in the directories of the shards.
    pub(in crate::runtime) cards: Cards,
    pub(in crate::runtime) lease: Lease,
    /// The tasks of this part that workers run.
    pub(in crate::runtime) jobs: Option<Jobs>,
    /// The part of the wallets that a shard hosts; all of them, on one machine.
    pub(in crate::runtime) part: Option<Part>,
}

impl Process {
    /// Finds the wallets, starts the HTTP server and the embedded node if there is one. Must be called
    /// within an actix system.
    ///
    /// # Errors
    /// Anything of it that cannot be had.
    pub(super) async fn prepare(
        mut config: Config,
        options: HostOptions,
        workers: tokio::runtime::Handle,
    ) -> Result<(Self, StatusServer), HostError> {
        let loaded = config.clone();
        let metrics = Arc::new(match config.cluster {
            Some(_) => Metrics::of_a_cluster(),
            None => Metrics::new(),
        });
        let webhooks = webhooks::prepare(&config.webhooks).await?;
        let api = Api::new(workers.clone(), &config.http);
        let status = StatusServer::start(&config.http, Arc::clone(&metrics), api.clone());
        let status = status.map_err(|source| HostError::Listen {
            listen: config.http.listen,
            source,
        })?;
        if api.console().is_on() {
            let (series, presence) = (api.series().clone(), api.presence().clone());
            workers.spawn(series.keep(Arc::downgrade(&metrics), presence));
        }

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
            mut candidates,
            created,
        } = wallets?;
        let devnet = match &embedded {
            Some(table) => {
                let (table, chain) = (table.clone(), config.chain.chain());
                let addresses: Vec<Address> = candidates
                    .iter()
                    .map(|candidate| candidate.address.clone())
                    .collect();
                let port = table.port;
                let devnet = blocking(&workers, move || {
                    start_devnet(&table, chain, &addresses, &created)
                })
                .await??;
                // Any free port was requested: the node reports the actual one.
                if port == 0 {
                    let url = NodeUrl::local(devnet.port());
                    config.chain.submit = url.clone();
                    config.chain.rpc = url;
                }
                Some(Arc::new(devnet))
            }
            None => None,
        };
        let candidates = blocking(&workers, move || {
            prepare::check_passwords(&mut candidates)
                .map(|()| candidates)
                .map_err(|errors| errors.into_iter().next().unwrap_or(HostError::Panicked))
        })
        .await??;
        let nodes = match options.node.clone() {
            Some(node) => Nodes::only(node, &config.chain),
            None if config.cluster.is_some() => chain::nodes_of_a_cluster(&config.chain)?,
            None => chain::nodes(&config.chain)?,
        };
        let traces = Traces::start(&config.traces, &workers, &metrics)?;
        let links = CoordinatorLinks {
            chain: config.chain.id.clone(),
            presence: api.presence().clone(),
            metrics: Arc::clone(&metrics),
            clock: options.clock.clone(),
        };
        let coordinator = config.coordinator.clone();
        let coordinator = coordinator.map(|one| Coordinator::start(one, links, &workers));
        let loader = Loader::new(
            options.reread.clone(),
            workers.clone(),
            devnet.as_ref(),
            passwords,
            Loaded::new(loaded, candidates),
        );
        let process = Self {
            config,
            options,
            workers,
            metrics,
            api,
            webhooks,
            coordinator: coordinator.transpose()?,
            loader,
            devnet,
            nodes,
            seen_pending: SeenPending::default(),
            traces,
            cards: Cards::default(),
            lease: Lease::default(),
            jobs: None,
            part: None,
        };
        Ok((process, status))
    }

    /// Reads the configuration again whenever that is asked for.
    pub(super) fn heed(&self, reload: watch::Receiver<u64>, reloaded: watch::Sender<u64>) {
        self.workers
            .spawn(self.loader.clone().heed(reload, reloaded));
    }

    /// Looks for the signatures of pending messages, if the chain keeps none, until the process was asked
    /// to stop.
    pub(super) fn look_out(&self, stopping: watch::Receiver<bool>) {
        if self.config.chain.dialect.keeps_signatures() {
            return;
        }
        let lookout = Lookout {
            node: self.nodes.submit.clone(),
            presence: self.api.presence().clone(),
            seen: self.seen_pending.clone(),
            head: self.nodes.head(),
        };
        self.workers
            .spawn(until(stopping.clone(), lookout.clone().look()));
        self.workers.spawn(until(stopping, lookout.follow()));
    }

    /// Lets the API work, now that the process is a host of a cluster with so many shards. `asks` learns
    /// of the shards that are asked for.
    pub(in crate::runtime) fn join(
        &self,
        shards: NonZeroU16,
        asks: mpsc::UnboundedSender<ShardId>,
    ) {
        let presence = self.api.presence();
        presence.join(shards, asks);
        self.api.join(OfCluster {
            loader: self.loader.clone(),
            shards: Shards::on_host(presence.clone(), Arc::clone(&self.metrics)),
        });
    }

    /// What is known once the process hosts its agents.
    pub(in crate::runtime) fn started(&self, status: SocketAddr) -> Started {
        Started {
            status,
            agents: self.loader.now().agents(),
            node: self.nodes.name.clone(),
            devnet: self.devnet.as_ref().map(|devnet| devnet.dir().to_owned()),
            metrics: Arc::clone(&self.metrics),
            host: self.config.cluster.as_ref().map(connect::name),
        }
    }
}

/// Starts the embedded node. Its chain begins with funds for the hosted wallets; wallets that were
/// created after their chain began are funded by its faucet.
fn start_devnet(
    table: &DevnetTable,
    chain: Chain,
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
        chain_id: chain.id,
        dialect: chain.dialect,
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

/// Runs something until the process was asked to stop.
async fn until(mut stopping: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        // Without a sender, the process has ended.
        _ = stopping.wait_for(|stops| *stops) => {}
        () = work => {}
    }
}

/// Runs something that blocks on the threads of the workers.
pub(super) async fn blocking<T: Send + 'static>(
    workers: &tokio::runtime::Handle,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HostError> {
    workers
        .spawn_blocking(work)
        .await
        .map_err(|_| HostError::Panicked)
}
