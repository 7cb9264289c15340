//! Starts the actors, and stops them when the process is asked to stop.
//!
//! A [`Host`] is a runtime on its own thread: it is started with a configuration, and stopped by
//! [`Host::stop`]. The start checks everything that can be checked before the first message is
//! read: the wallets and their password, the store and its lock, the node and its chain.

pub(crate) mod chain;
pub(crate) mod prepare;
pub(in crate::runtime) mod process;
pub(in crate::runtime) mod run;
pub(in crate::runtime) mod shard;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use agentry_chain::NodeClient;
use agentry_cluster::ClusterError;
use agentry_devnet::DevnetError;
use agentry_protocol::Dialect;
use agentry_store::StoreError;
use tokio::sync::watch;

use super::clock::Clock;
use super::coordinator::CoordinatorError;
use super::limits::{self, LimitError, Needs};
use super::metrics::Metrics;
use super::reload::Reread;
use super::signer::SignError;
use super::traces::TracesError;
use super::webhooks::WebhookError;
use crate::config::{BehaviourInstance, Config, HostError as AgentsError};
use crate::wallet::{PasswordError, WalletError};

/// The options of a host.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// How long stopping may take: the work in progress is finished within it.
    pub stop_limit: Duration,
    /// Whether the embedded node, missing wallets and their funds are provided, if the
    /// configuration has a `[devnet]` table.
    pub embedded_node: bool,
    /// Whether a password may be asked for on the terminal.
    pub prompt: bool,
    /// How the configuration is reloaded; without it, it cannot be changed while the runtime runs.
    pub reread: Option<Reread>,
    /// The node that is posted to and asked, in place of those that `chain` names.
    pub node: Option<NodeClient>,
    /// The clock that the runtime uses.
    pub clock: Clock,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            stop_limit: Duration::from_secs(10),
            embedded_node: true,
            prompt: false,
            reread: None,
            node: None,
            clock: Clock::default(),
        }
    }
}

/// A runtime on its own thread. Dropping it stops the runtime, too.
#[derive(Debug)]
pub struct Host {
    stop: watch::Sender<bool>,
    reload: watch::Sender<u64>,
    reloaded: watch::Receiver<u64>,
    thread: Option<JoinHandle<Result<(), HostError>>>,
    started: Started,
}

/// The facts that a host learned while it started.
#[derive(Clone, Debug)]
pub struct Started {
    /// The address on which `/health`, `/ready` and `/metrics` are served.
    pub status: SocketAddr,
    /// The number of hosted wallets.
    pub agents: usize,
    /// The node that is read and posted to.
    pub node: String,
    /// The folder of the embedded node, if there is one.
    pub devnet: Option<PathBuf>,
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
    /// The name of this host, if it is in a cluster: then others may host some of the agents.
    pub host: Option<String>,
}

impl Host {
    /// Starts a runtime. Blocks until it hosts its agents, or fails.
    ///
    /// A node that cannot be reached is waited for, with warnings in the log. When `cancel` becomes
    /// true, the start ends, whatever it is waiting for; computations on other threads, such as a
    /// key derivation, are left to end by themselves.
    ///
    /// # Errors
    /// Any error in wallets, store, node or ports; see [`HostError`].
    pub fn start(
        config: Config,
        options: HostOptions,
        cancel: watch::Receiver<bool>,
    ) -> Result<Self, HostError> {
        prepare_limits(&config, &options)?;
        let (stop, stopping) = watch::channel(false);
        let (reload, reloads) = watch::channel(0);
        let (done, reloaded) = watch::channel(0);
        let signals = run::Signals {
            stopping,
            cancel,
            reload: reloads,
            reloaded: done,
        };
        let (ready, readied) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("agentry-host".to_owned())
            .spawn(move || run::run(config, options, signals, ready))
            .map_err(HostError::Thread)?;
        match readied.recv() {
            Ok(started) => Ok(Self {
                stop,
                reload,
                reloaded,
                thread: Some(thread),
                started,
            }),
            // It ended before it was ready: its result gives the reason.
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) => Err(HostError::Cancelled),
                Err(_) => Err(HostError::Panicked),
            },
        }
    }

    /// The facts learned while it started.
    pub const fn started(&self) -> &Started {
        &self.started
    }

    /// Asks the runtime to stop: work in progress is finished, no new work starts.
    pub fn begin_stop(&self) {
        // A runtime that has ended by itself no longer listens.
        let _ = self.stop.send(true);
    }

    /// Reloads the configuration, as [`reload`](super::reload) describes. The result is in the log.
    pub fn reload(&self) {
        self.reload.send_modify(|times| *times += 1);
    }

    /// Changes whenever the configuration was read again because of [`reload`](Self::reload), whether it
    /// was applied or not.
    pub fn reloaded(&self) -> watch::Receiver<u64> {
        self.reloaded.clone()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops the runtime and waits until it has ended.
    ///
    /// # Errors
    /// The error that ended the runtime.
    pub fn stop(mut self) -> Result<(), HostError> {
        self.begin_stop();
        self.join()
    }

    fn join(&mut self) -> Result<(), HostError> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(HostError::Panicked),
            None => Ok(()),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.begin_stop();
        if let Err(error) = self.join() {
            tracing::error!(%error, "the runtime ended with an error");
        }
    }
}

/// Checks that the system allows what a runtime of this configuration needs, and raises the limits
/// that may be raised.
fn prepare_limits(config: &Config, options: &HostOptions) -> Result<(), LimitError> {
    let programs = |behaviours: &[BehaviourInstance]| {
        let is_program = |one: &&BehaviourInstance| one.kind == "process";
        behaviours.iter().filter(is_program).count()
    };
    let agents = config.agents.iter().map(|agent| &agent.behaviours);
    let fleets = config.fleets.iter().map(|fleet| &fleet.behaviours);
    limits::prepare(&Needs {
        tasks: config.tasks.concurrency,
        programs: agents.chain(fleets).map(|all| programs(all)).sum(),
        embedded_nodes: usize::from(options.embedded_node && config.devnet.is_some()),
    })
}

/// Counts the agents that are handling an event, so that stopping can wait for them.
#[derive(Clone, Debug, Default)]
pub struct InHand(Arc<AtomicUsize>);

/// One agent at work.
#[derive(Debug)]
pub struct AtWork(Arc<AtomicUsize>);

impl InHand {
    /// Counts one more until the returned guard is dropped.
    pub fn begin(&self) -> AtWork {
        self.0.fetch_add(1, Ordering::AcqRel);
        AtWork(Arc::clone(&self.0))
    }

    /// The number of agents at work.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why a runtime cannot run.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The agents and their wallets do not fit together.
    #[error(transparent)]
    Agents(#[from] AgentsError),
    /// A webhook cannot be used.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The agent coordinator cannot be asked.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// An agent's wallet does not exist, on a real node.
    #[error(
        "agent {agent}: there is no wallet {wallet:?} in {place}; create it with `agentry wallet create {wallet}`, or import it"
    )]
    NoWallet {
        /// The agent.
        agent: String,
        /// Its wallet.
        wallet: String,
        /// The folder or vault that was searched.
        place: String,
    },
    /// A wallet's file cannot be used.
    #[error("wallet {wallet}: {source}")]
    Wallet {
        /// The path of the file.
        wallet: String,
        /// The reason.
        source: WalletError,
    },
    /// There is no password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A wallet cannot be unlocked.
    #[error(transparent)]
    Unlock(#[from] SignError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store belongs to another chain.
    #[error("the store {} belongs to chain {stored}, agents.toml says {configured}: give each chain its own [store] path", path.display())]
    OtherChainId {
        /// The store.
        path: PathBuf,
        /// Its chain.
        stored: String,
        /// The configured chain.
        configured: String,
    },
    /// The node serves another chain.
    #[error(
        "the node {node} does not serve chain {configured}: {why}. Correct [chain] id, rpc, submit or db in agents.toml"
    )]
    OtherChain {
        /// The node, or its database.
        node: String,
        /// The configured chain.
        configured: String,
        /// The evidence.
        why: String,
    },
    /// The node speaks another dialect than the configured one.
    #[error(
        "the node {node} speaks the dialect {spoken}, and `chain.dialect` is {configured}: set `dialect = \"{spoken}\"` in [chain], with wallets of that dialect, or point [chain] rpc, submit and db at a node of {configured}"
    )]
    OtherDialect {
        /// The node, or its database.
        node: String,
        /// The configured dialect.
        configured: Dialect,
        /// That of the node.
        spoken: Dialect,
    },
    /// The node's address or database cannot be used.
    #[error("the node {node}: {reason}")]
    Node {
        /// The node, or its database.
        node: String,
        /// The reason.
        reason: String,
    },
    /// The cluster cannot be joined.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Traces cannot be exported.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// The embedded node cannot run.
    #[error("the embedded node: {0}")]
    Devnet(#[from] DevnetError),
    /// A system limit is too low for the runtime.
    #[error(transparent)]
    Limits(#[from] LimitError),
    /// The status port cannot be listened on.
    #[error(
        "listening on {listen}: {source}. Another process has the port; set [http] listen to another address, or to port 0 for any free one"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// The control socket cannot be made.
    #[error("making the control socket {}: {source}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("starting a thread: {0}")]
    Thread(std::io::Error),
    /// The runtime was asked to stop before it had started.
    #[error("the runtime was stopped before it had started")]
    Cancelled,
    /// A defect: the runtime's thread panicked.
    #[error("the runtime's thread panicked; that is a defect, please report it with the log")]
    Panicked,
}
