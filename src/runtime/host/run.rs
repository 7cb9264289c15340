//! The life of a runtime's thread: prepare, start the actors, wait, stop them.

use std::cell::Cell;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;

use super::process::Process;
use super::shard::{self, Prepared};
use super::{HostError, HostOptions, Started};
use crate::config::Config;
use crate::runtime::cluster;

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
pub(in crate::runtime) struct Signals {
    /// The runtime has to stop.
    pub(in crate::runtime) stopping: watch::Receiver<bool>,
    /// The start is canceled.
    pub(in crate::runtime) cancel: watch::Receiver<bool>,
    /// The configuration has to be reloaded; counts the requests.
    pub(in crate::runtime) reload: watch::Receiver<u64>,
    /// The last of these requests that was carried out.
    pub(in crate::runtime) reloaded: watch::Sender<u64>,
}

async fn host(
    config: Config,
    options: HostOptions,
    workers: tokio::runtime::Handle,
    signals: Signals,
    ready: SyncSender<Started>,
    beyond_recall: &Cell<bool>,
) -> Result<(), HostError> {
    if let Some(cluster) = config.cluster.clone() {
        let (process, status) = Process::prepare(config, options, workers).await?;
        process.heed(signals.reload.clone(), signals.reloaded.clone());
        process.look_out(signals.stopping.clone());
        let traces = process.traces.clone();
        let ended = cluster::run(process, &cluster, status.address(), signals, ready).await;
        status.stop().await;
        traces.stop(LAST_SPANS).await;
        tracing::info!("the runtime has stopped");
        return ended;
    }
    let Signals {
        stopping,
        reload,
        reloaded,
        cancel: _,
    } = signals;
    // The lock comes first: two runtimes on one store must not get as far as the node.
    let store = shard::open_store(&config, &workers).await?;
    let (process, status) = Process::prepare(config, options, workers).await?;
    process.heed(reload, reloaded);
    process.look_out(stopping.clone());
    let prepared = Prepared::new(process.clone(), store, stopping).await?;
    // The rest is quick, and starts threads that only a stop ends.
    beyond_recall.set(true);
    let shard = prepared.start(cores().min(MAX_ARBITERS)).await?;
    let started = process.started(status.address());
    tracing::info!(
        agents = started.agents,
        node = started.node,
        chain.id = %process.config.chain.id,
        status = %started.status,
        "hosting"
    );
    let ended = match ready.send(started) {
        Ok(()) => shard.run().await,
        // Nobody waits for it any more.
        Err(_) => Ok(()),
    };
    shard.finish(process.options.stop_limit).await;
    status.stop().await;
    shard.end();
    let traces = process.traces.clone();
    // With it the embedded node ends.
    drop(process);
    traces.stop(LAST_SPANS).await;
    tracing::info!("the runtime has stopped");
    ended
}
