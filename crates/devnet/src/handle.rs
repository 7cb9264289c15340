//! [`Devnet`]: a running node, on its own thread.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use agentry_protocol::Address;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use crate::chain::{Chain, ChainError, schema};
use crate::config::{DevnetConfig, MIN_BLOCK_TIME};
use crate::error::DevnetError;
use crate::fault::FaultSwitch;
use crate::follower::{self, Leader};
use crate::host::check_host;
use crate::node::Node;
use crate::producer::MinedBlock;
use crate::rpc;

/// How many arbiters serve HTTP: tests run many nodes at once on few cores.
const WORKERS: usize = 2;

/// How long an idle connection stays open: longer than HTTP clients keep theirs (reqwest: 90 s), so
/// that no client posts into a connection that is being closed and cannot know the result.
const KEEP_ALIVE: Duration = Duration::from_secs(120);

/// A running devnet. Dropping it stops the node and waits for its thread.
///
/// It may be started and used from any thread, inside or outside an async runtime; its methods
/// block for milliseconds at most.
#[derive(Debug)]
pub struct Devnet {
    node: Arc<Node>,
    port: u16,
    dir: PathBuf,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
    // Held only for its lock: the directory belongs to this node until it is dropped.
    _lock: File,
}

impl Devnet {
    /// Starts a node and returns when it serves.
    ///
    /// # Errors
    /// The port is in use; the directory is in use, cannot be created, or holds another chain; the
    /// databases cannot be opened; the block time is too short; the leader's URL is not a URL.
    pub fn start(config: DevnetConfig) -> Result<Devnet, DevnetError> {
        if config.block_time < MIN_BLOCK_TIME {
            return Err(DevnetError::BlockTime(config.block_time));
        }
        let leader = config.follow.as_deref().map(Leader::new).transpose()?;
        if let (Some(leader), false) = (&leader, config.allocations.is_empty()) {
            let leader = leader.client.url().to_owned();
            return Err(DevnetError::Follower {
                leader,
                what: "give allocations",
            });
        }
        let lock = lock_directory(&config.dir)?;
        let chain = open_chain(&config)?;
        let reader = schema::open_reader(&config.dir.join("chain.db"))?;
        let listener = listen(config.port)?;
        let port = listener
            .local_addr()
            .map_err(|source| DevnetError::Listen {
                port: config.port,
                source,
            })?
            .port();
        let seed = config.seed.unwrap_or_else(rand::random);
        tracing::info!(
            port,
            chain_id = %config.chain_id,
            dir = %config.dir.display(),
            seed,
            faults = ?config.faults.iter().map(|fault| fault.to_string()).collect::<Vec<_>>(),
            "starting the devnet"
        );
        let dir = config.dir.clone();
        let node = Arc::new(Node::new(config, chain, reader, leader, seed));
        let (stop, stopped) = oneshot::channel();
        let (ready, serving) = mpsc::channel();
        let shared = node.clone();
        let thread = std::thread::Builder::new()
            .name("agentry-devnet".to_owned())
            .spawn(move || {
                actix_rt::System::new().block_on(run(shared, listener, stopped, ready));
            })
            .map_err(|error| DevnetError::Thread(error.to_string()))?;
        let devnet = Devnet {
            node,
            port,
            dir,
            running: Some(Running {
                stop,
                thread,
                _lock: lock,
            }),
        };
        match serving.recv() {
            Ok(Ok(())) => Ok(devnet),
            Ok(Err(source)) => Err(DevnetError::Listen { port, source }),
            Err(_) => Err(DevnetError::Thread("it ended before it served".to_owned())),
        }
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of chain.db.
    pub fn chain_db(&self) -> PathBuf {
        self.dir.join("chain.db")
    }

    /// Credits an account with new coins, at once: the table `account` has them when this returns.
    ///
    /// # Errors
    /// The faucet is off; this node follows another; the amount is 0, or all credits together
    /// would exceed 2^63 - 1.
    pub fn fund(&self, address: &Address, amount: u64) -> Result<(), DevnetError> {
        self.producing("fund accounts")?;
        if !self.node.config.faucet {
            return Err(DevnetError::NoFaucet);
        }
        let account = self.node.config.dialect.account(address);
        self.node.chain().credit(account.as_str(), amount)?;
        Ok(())
    }

    /// How many calls were refused so far (429), because a client had made too many of them.
    #[must_use]
    pub fn refused_calls(&self) -> u64 {
        self.node.counters.rate_limited.load(Ordering::Relaxed)
    }

    /// The switch that changes the faults while the node runs.
    pub fn faults(&self) -> &FaultSwitch {
        &self.node.faults
    }

    /// Produces a block now, whether or not mining is paused.
    ///
    /// # Errors
    /// This node follows another; the database fails; a fault destroyed the block
    /// ([`ChainError::BlockDestroyed`]).
    pub fn mine(&self) -> Result<MinedBlock, DevnetError> {
        self.producing("make blocks")?;
        Ok(self.node.produce()?)
    }

    /// Stops producing blocks by itself until [`Devnet::resume_mining`].
    pub fn pause_mining(&self) {
        // Taken through the writer's lock, so that no block is half made when this returns.
        let _writer = self.node.chain();
        self.node.paused.store(true, Ordering::SeqCst);
    }

    /// Resumes producing blocks by itself.
    pub fn resume_mining(&self) {
        self.node.paused.store(false, Ordering::SeqCst);
    }

    /// Replaces the last `depth` blocks by as many new ones. The orphaned transactions go back to
    /// the mempool, and into the first of the new blocks as far as they fit.
    ///
    /// # Errors
    /// This node follows another; there are not that many blocks above genesis; the database fails.
    pub fn reorganise(&self, depth: u64) -> Result<(), DevnetError> {
        self.producing("reorganise")?;
        Ok(self.node.reorganise(depth, true)?)
    }

    /// Like [`Devnet::reorganise`], but the orphaned transactions are lost.
    ///
    /// # Errors
    /// As [`Devnet::reorganise`].
    pub fn reorganise_and_drop(&self, depth: u64) -> Result<(), DevnetError> {
        self.producing("reorganise")?;
        Ok(self.node.reorganise(depth, false)?)
    }

    fn producing(&self, what: &'static str) -> Result<(), DevnetError> {
        match &self.node.leader {
            None => Ok(()),
            Some(leader) => Err(DevnetError::Follower {
                leader: leader.client.url().to_owned(),
                what,
            }),
        }
    }

    /// Stops the node and waits until it has: connections are cut, the directory is free again.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        let Some(Running {
            stop,
            thread,
            _lock,
        }) = self.running.take()
        else {
            return;
        };
        // An Err means that the thread has already ended.
        let _ = stop.send(());
        if thread.join().is_err() {
            tracing::error!("the devnet's thread panicked");
        }
        if let Err(error) = self.node.chain().release_rows(None) {
            tracing::warn!(%error, "late rows were lost");
        }
        tracing::info!(port = self.port, "devnet stopped");
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Creates the directory, and keeps other devnets out of it while the file is open.
pub(crate) fn lock_directory(dir: &Path) -> Result<File, DevnetError> {
    let fail = |source| DevnetError::Directory {
        dir: dir.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(fail)?;
    // A process that can open the lock can hold it, and so keep the node from starting.
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(dir.join("devnet.lock"))
        .map_err(fail)?;
    let mode = lock.metadata().map_err(fail)?.permissions().mode();
    if mode & 0o7777 != 0o600 {
        lock.set_permissions(Permissions::from_mode(0o600))
            .map_err(fail)?;
    }
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DevnetError::Locked {
            dir: dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}

/// Opens the databases of a node, and creates genesis and the allocations if they are new.
pub(crate) fn open_chain(config: &DevnetConfig) -> Result<Chain, DevnetError> {
    let mut chain = Chain::open(&config.dir, &config.chain_id, config.dialect).map_err(
        |error| match error {
            Err(error) => DevnetError::Chain(error),
            Ok(found) => DevnetError::OtherChain {
                dir: config.dir.clone(),
                found,
                wanted: config.chain_id.to_string(),
            },
        },
    )?;
    if config.follow.is_none() {
        let mut sum: i64 = 0;
        let mut credits = Vec::new();
        for (address, amount) in &config.allocations {
            let left = i64::MAX - sum;
            let credit = i64::try_from(*amount)
                .ok()
                .filter(|credit| (1..=left).contains(credit))
                .ok_or(ChainError::Credit {
                    amount: *amount,
                    left,
                })?;
            sum += credit;
            credits.push((address.to_string(), credit));
        }
        chain.begin(&credits, &config.proposer_id)?;
    }
    Ok(chain)
}

fn listen(port: u16) -> Result<TcpListener, DevnetError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => DevnetError::PortInUse { port },
        _ => DevnetError::Listen { port, source },
    })
}

/// The main function of the node's thread.
async fn run(
    node: Arc<Node>,
    listener: TcpListener,
    stopped: oneshot::Receiver<()>,
    ready: mpsc::Sender<io::Result<()>>,
) {
    let data = web::Data::from(node.clone());
    let app = move || {
        App::new()
            .app_data(data.clone())
            .wrap(from_fn(check_host))
            .configure(rpc::routes)
    };
    let server = HttpServer::new(app)
        .workers(WORKERS)
        .disable_signals()
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(0)
        .listen(listener);
    let server = match server {
        Ok(server) => server.run(),
        Err(error) => {
            // This fails only if the caller no longer waits.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let handle: ServerHandle = server.handle();
    let serving = actix_rt::spawn(server);
    let _ = ready.send(Ok(()));
    let worker = if node.config.follow.is_some() {
        actix_rt::spawn(follower::follow(node))
    } else {
        actix_rt::spawn(make_blocks(node))
    };
    // An Err means that the handle was dropped: stop as well.
    let _ = stopped.await;
    worker.abort();
    handle.stop(false).await;
    let _ = serving.await;
}

/// Produces a block at every tick, unless paused.
async fn make_blocks(node: Arc<Node>) {
    let mut ticks = tokio::time::interval(node.config.block_time);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick fires at once and is skipped: genesis is recent enough.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if node.paused.load(Ordering::SeqCst) {
            continue;
        }
        let node = node.clone();
        match tokio::task::spawn_blocking(move || node.produce_unless_paused()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%error, "no block was produced"),
            Err(error) => tracing::error!(%error, "the thread that produces a block ended"),
        }
    }
}
