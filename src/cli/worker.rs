//! `agentry worker`: runs tasks for agents that other machines host.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use agentry_cluster::{ClusterError, Database};
use clap::Args;
use serde_json::json;
use tokio::sync::watch;

use super::args::duration;
use super::interrupt::{Signals, at_once};
use super::run::fail_stop;
use super::{Context, ExitCode, Failure, runtime};
use crate::config::{ClusterConfig, Config, HttpConfig, did_you_mean};
use crate::runtime::cluster::connect;
use crate::runtime::http::PlainServer;
use crate::runtime::metrics::Metrics;
use crate::runtime::traces::Traces;
use crate::runtime::worker::behaviours::Behaviours;
use crate::runtime::worker::{Worker, WorkerSettings};

/// The pause between attempts to reach the database at the start.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a stop waits for the collector to take the last spans of traces.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// The most tasks of one type that a worker runs at the same time.
const MOST: usize = 1_024;

/// The least number of threads that run executors.
const MIN_THREADS: usize = 4;

/// Arguments of `worker`.
#[derive(Clone, Debug, Args)]
pub struct WorkerArgs {
    /// The types of task that it runs [default: those of `tasks.on_workers`]
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    kinds: Vec<String>,
    /// How many tasks of a type it runs at the same time, such as chat=2,render=1 [default: 1 each]
    #[arg(long, value_name = "TYPE=COUNT", value_delimiter = ',')]
    concurrency: Vec<Count>,
    /// Its name in the logs of the hosts [default: that of the machine]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Serves /health and /metrics at this address of this machine [default: nothing is served]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    listen: Option<SocketAddr>,
    /// Time limit for stopping, within which running tasks are finished
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    stop_limit: Duration,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    match text
        .replacen("localhost:", "127.0.0.1:", 1)
        .parse::<SocketAddr>()
    {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        Ok(address) => Err(format!(
            "other machines reach {address}, and what is served there has no access control; use 127.0.0.1:{} and a proxy",
            address.port()
        )),
        Err(_) => Err("write an address with a port, such as 127.0.0.1:8071".to_owned()),
    }
}

/// How many tasks of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Count {
    kind: String,
    most: usize,
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("write a type and a count from 1 to {MOST}, such as chat=2");
        let (kind, most) = text.rsplit_once('=').ok_or_else(wrong)?;
        let most = most.parse().ok().filter(|most| (1..=MOST).contains(most));
        Ok(Self {
            kind: kind.to_owned(),
            most: most.ok_or_else(wrong)?,
        })
    }
}

pub(super) fn run(args: WorkerArgs, context: &Context) -> Result<(), Failure> {
    let config = context.config()?;
    let cluster = config.cluster.clone().ok_or_else(|| {
        let message = format!(
            "{} has no [cluster] table: a worker takes its tasks from the database of a cluster, so add one with `database`, as docs/cluster.md says",
            config.file
        );
        Failure::new(ExitCode::Config, message)
    })?;
    let behaviours = Behaviours::of(&config);
    let kinds = kinds(&args, &config, &behaviours)?;
    fail_stop();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let executors = tokio::runtime::Builder::new_multi_thread()
        .thread_name("agentry-worker")
        // One that blocks its thread against the rules does not stop the others.
        .worker_threads(threads.max(MIN_THREADS))
        .enable_all()
        .build()
        .map_err(|error| {
            let message = format!("starting the asynchronous runtime: {error}");
            Failure::new(ExitCode::System, message)
        })?;
    let settings = WorkerSettings {
        name: args.name.unwrap_or_else(|| connect::name(&cluster)),
        kinds,
        stop_limit: args.stop_limit,
    };
    let handle = executors.handle().clone();
    let served = runtime()?.block_on(serve(
        (settings, behaviours, args.listen),
        (&config, &cluster),
        handle,
        context,
    ));
    // Runs that do not yield are left behind.
    executors.shutdown_timeout(Duration::from_millis(200));
    served
}

/// The types of task that the worker takes, and how many of each.
fn kinds(
    args: &WorkerArgs,
    config: &Config,
    behaviours: &Behaviours,
) -> Result<BTreeMap<String, usize>, Failure> {
    let known = &config.tasks.on_workers;
    let file = &config.file;
    if known.is_empty() {
        let message = format!(
            "`tasks.on_workers` of {file} names no types of task, so the hosts run all tasks themselves: name there what workers run"
        );
        return Err(Failure::new(ExitCode::Config, message));
    }
    let mut kinds = BTreeMap::new();
    for kind in if args.kinds.is_empty() {
        known
    } else {
        &args.kinds
    } {
        if !behaviours.execute(kind) {
            let close = did_you_mean(kind, known.iter().map(String::as_str));
            return Err(Failure::usage(format!(
                "--kinds: no behaviour of {file} executes tasks of type {kind:?}{close}"
            )));
        }
        if !known.contains(kind) {
            return Err(Failure::usage(format!(
                "--kinds: the hosts run tasks of type {kind:?} themselves, because `tasks.on_workers` of {file} does not name it: add it there, on the hosts, too"
            )));
        }
        kinds.insert(kind.clone(), 1);
    }
    for Count { kind, most } in &args.concurrency {
        let Some(count) = kinds.get_mut(kind) else {
            let close = did_you_mean(kind, kinds.keys().map(String::as_str));
            return Err(Failure::usage(format!(
                "--concurrency: this worker takes no tasks of type {kind:?}{close}"
            )));
        };
        *count = *most;
    }
    Ok(kinds)
}

async fn serve(
    (settings, behaviours, listen): (WorkerSettings, Behaviours, Option<SocketAddr>),
    (config, cluster): (&Config, &ClusterConfig),
    executors: tokio::runtime::Handle,
    context: &Context,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let databases = tokio::select! {
        _ = signals.next() => {
            tracing::info!("asked to stop before the cluster's database was reached");
            return Ok(());
        }
        databases = join(cluster) => databases?,
    };
    let metrics = std::sync::Arc::new(Metrics::new());
    let traces = Traces::start(&config.traces, &executors, &metrics)
        .map_err(|error| Failure::new(ExitCode::Config, error.to_string()))?;
    let kinds = settings.kinds.clone();
    let worker = Worker::new(settings, databases, behaviours, traces.clone(), executors)
        .map_err(|error| Failure::new(ExitCode::System, error.to_string()))?;
    let server = match listen {
        Some(listen) => Some(status(listen, config, &worker)?),
        None => None,
    };
    let status = server.as_ref().map(PlainServer::address);
    announce(worker.id(), &kinds, status, context);
    let (stop, stopping) = watch::channel(false);
    let mut working = std::pin::pin!(worker.run(stopping));
    tokio::select! {
        () = &mut working => {}
        _ = signals.next() => {
            // It listens until it ends.
            let _ = stop.send(true);
            tokio::select! {
                () = &mut working => {}
                _ = signals.next() => at_once(),
            }
        }
    }
    traces.stop(LAST_SPANS).await;
    if let Some(server) = server {
        server.stop().await;
    }
    Ok(())
}

/// Serves the worker's health and metrics.
fn status(listen: SocketAddr, config: &Config, worker: &Worker) -> Result<PlainServer, Failure> {
    let metrics = worker.metrics();
    let http = HttpConfig {
        listen,
        ..config.http.clone()
    };
    PlainServer::start(&http, move || metrics.encode()).map_err(|error| {
        let message = format!("listening on {listen}: {error}; choose another --listen");
        Failure::new(ExitCode::Unavailable, message)
    })
}

/// Connects to the cluster's database. Waits for one that cannot be reached.
async fn join(cluster: &ClusterConfig) -> Result<(Database, Database), Failure> {
    let mut told = false;
    loop {
        let joined = async {
            let database = connect::database(cluster).await?;
            database.layout().await?.check_open()?;
            Ok::<_, ClusterError>((database, connect::database(cluster).await?))
        };
        match joined.await {
            Ok(database) => return Ok(database),
            Err(error) if error.is_transient() => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "waiting for the cluster's database");
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Prints that the worker is ready. One whose standard output is closed or full still works.
fn announce(
    id: &str,
    kinds: &BTreeMap<String, usize>,
    status: Option<SocketAddr>,
    context: &Context,
) {
    let listed: Vec<_> = kinds
        .iter()
        .map(|(kind, most)| format!("{kind} ({most} at a time)"))
        .collect();
    tracing::info!(worker = id, kinds = listed.join(", "), "taking tasks");
    let told = if context.output.is_json() {
        context.output.json(&json!({
            "worker": id,
            "kinds": kinds,
            "status": status.map(|address| format!("http://{address}")),
        }))
    } else {
        context.output.line(format!(
            "taking tasks as {id}: {}; Ctrl-C stops",
            listed.join(", ")
        ))
    };
    if let Err(failure) = told {
        tracing::debug!(%failure, "the start could not be announced on standard output");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_type_and_a_number() {
        let count = |text: &str| text.parse::<Count>().ok();
        let chat = Count {
            kind: "chat".to_owned(),
            most: 2,
        };
        assert_eq!(count("chat=2"), Some(chat));
        assert_eq!(
            count("a=b=2").map(|count| count.kind).as_deref(),
            Some("a=b")
        );
        for wrong in ["chat", "chat=", "chat=0", "chat=1025", "chat=-1", "=x"] {
            assert_eq!(count(wrong), None, "{wrong}");
        }
    }
}
