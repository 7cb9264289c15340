//! `agentry cluster init|status|drain|resume|import|export`.

use std::num::NonZeroU16;

use agentry_cluster::{ClusterError, Database, SHARDS};
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;

use super::output::or_dash;
use super::{Context, ExitCode, Failure, runtime};
use crate::config::{ClusterConfig, Config};
use crate::ops::cluster::moving::MoveError;
use crate::ops::cluster::moving::export::export;
use crate::ops::cluster::moving::import::import;
use crate::ops::cluster::{self, ClusterStatus, HostStatus, ServerStatus, WorkerStatus};
use crate::runtime::cluster::{connect, copy};

/// The subcommands of `cluster`.
#[derive(Clone, Debug, Subcommand)]
pub enum ClusterCommand {
    /// Creates the cluster's tables in the database of `[cluster]`
    ///
    /// It changes nothing if they are there. The number of shards cannot be changed later.
    Init {
        /// How many shards the agents are divided into: several times the hosts that there may ever be
        #[arg(long, default_value_t = SHARDS, value_name = "COUNT")]
        shards: NonZeroU16,
    },
    /// Shows the hosts, which of them runs which shard, the database's standby, and the workers
    Status,
    /// Has a host hand its shards over and take none, before it is maintained
    Drain {
        /// The host's name [default: this one]
        host: Option<String>,
    },
    /// Lets a host that was drained take shards again, or with --shard, lets hosts run a halted shard
    ///
    /// The hosts go on with the log of the shard as it is, and discard what else they have of it.
    Resume {
        /// The host's name [default: this one]
        host: Option<String>,
    },
    /// Moves the agents of a single machine into the cluster
    ///
    /// The store of `store.path`, whose runtime is stopped, is divided among the shards of a cluster that
    /// was created with `cluster init` and never used. From then on the store is marked, and no runtime
    /// opens it. If this is interrupted, either the store or the cluster can run, never both; the same
    /// command goes on.
    Import,
    /// Moves the agents of the cluster to a single machine
    ///
    /// All hosts are stopped. The shards become one store at `store.path`, where no file may be. From
    /// then on no host runs in the cluster. If this is interrupted, either the cluster or the store can
    /// run, never both; the same command goes on.
    Export,
}

pub(super) fn run(command: ClusterCommand, context: &Context) -> Result<(), Failure> {
    let config = context.config()?;
    let cluster = config.cluster.as_ref().ok_or_else(|| none(&config))?;
    runtime()?.block_on(async {
        let database = connect::database(cluster).await?;
        match command {
            ClusterCommand::Init { shards } => init(&database, shards, context).await,
            ClusterCommand::Status => status(&database, context).await,
            ClusterCommand::Drain { host } => drain(&database, cluster, host, true, context).await,
            ClusterCommand::Resume { host } => match (host, context.global.shard) {
                (None, Some(shard)) => resume_shard(&database, shard, context).await,
                (Some(_), Some(_)) => Err(Failure::usage(
                    "either a host or a shard is resumed: leave out the host, or --shard",
                )),
                (host, None) => drain(&database, cluster, host, false, context).await,
            },
            ClusterCommand::Import => {
                let imported = import(&config, &database).await?;
                told(&imported, context, || {
                    format!(
                        "{} agents of {} are in the cluster {} now, in {} shards; start `agentry run` on each host. The store is of use as a backup only",
                        imported.agents,
                        config.store.path.display(),
                        imported.id,
                        imported.shards
                    )
                })
            }
            ClusterCommand::Export => {
                let exported = export(&config, &database).await?;
                told(&exported, context, || {
                    format!(
                        "{} agents of the cluster {} are in {} now; remove the [cluster] table from agents.toml, and start `agentry run`",
                        exported.agents,
                        exported.id,
                        exported.store.display()
                    )
                })
            }
        }
    })
}

fn told(
    moved: &impl Serialize,
    context: &Context,
    text: impl Fn() -> String,
) -> Result<(), Failure> {
    let out = context.output;
    if out.is_json() {
        return out.json(moved);
    }
    out.line(text())
}

fn none(config: &Config) -> Failure {
    let message = format!(
        "{} has no [cluster] table, so this host is alone: add one with `database`, as docs/cluster.md says",
        config.file
    );
    Failure::new(ExitCode::Config, message)
}

async fn init(database: &Database, shards: NonZeroU16, context: &Context) -> Result<(), Failure> {
    let layout = database.init(shards).await?;
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({ "id": layout.id, "shards": layout.shards }));
    }
    out.line(format!(
        "the cluster {} has {} shards; start `agentry run` on each host",
        layout.id, layout.shards
    ))
}

async fn status(database: &Database, context: &Context) -> Result<(), Failure> {
    let status = cluster::status(database).await?;
    let out = context.output;
    if out.is_json() {
        return out.json(&status);
    }
    if status.hosts.is_empty() {
        out.line("no host has joined the cluster yet: start `agentry run`")?;
    } else {
        let rows: Vec<_> = status.hosts.iter().map(host_line).collect();
        let headings = [
            "HOST", "STATE", "OWNS", "FOLLOWS", "ADDRESS", "VERSION", "CONFIG",
        ];
        out.table(&headings, &rows)?;
    }
    warn(&status, context)?;
    out.line("")?;
    out.line(server_line(&status.server))?;
    out.line("")?;
    let rows: Vec<_> = status
        .shards
        .iter()
        .map(|shard| {
            let followers = shard.followers.iter();
            let followers = followers.map(|(host, lag)| match lag {
                0 => host.clone(),
                lag => format!("{host} (-{lag})"),
            });
            vec![
                shard.id.to_string(),
                or_dash(shard.owner.as_ref()),
                shard.epoch.to_string(),
                shard.head.to_string(),
                followers.collect::<Vec<_>>().join(", "),
            ]
        })
        .collect();
    out.table(
        &["SHARD", "OWNER", "EPOCH", "RECORDS", "FOLLOWED BY"],
        &rows,
    )?;
    workers(&status, context)
}

/// The database's server, and the standbys that its commits wait for.
fn server_line(server: &ServerStatus) -> String {
    let standbys: Vec<_> = server
        .standbys
        .iter()
        .map(|standby| {
            let waits = match standby.synchronous {
                Some(true) => "synchronous",
                Some(false) => "not synchronous",
                None => "unknown: grant the role pg_monitor",
            };
            let lag = standby.lag_bytes.filter(|lag| *lag > 0);
            let lag = lag.map_or_else(String::new, |lag| format!(", {lag} bytes behind"));
            format!("{} ({waits}{lag})", standby.name)
        })
        .collect();
    let standbys = if standbys.is_empty() {
        "no standby is connected".to_owned()
    } else {
        format!("standby {}", standbys.join(", "))
    };
    format!(
        "database: {}, PostgreSQL {}; {standbys}",
        server.address, server.version
    )
}

/// The workers and what waits for them, if there is either.
fn workers(status: &ClusterStatus, context: &Context) -> Result<(), Failure> {
    let out = context.output;
    if !status.workers.is_empty() {
        out.line("")?;
        let rows: Vec<_> = status.workers.iter().map(worker_line).collect();
        out.table(&["WORKER", "STATE", "RUNS", "VERSION"], &rows)?;
    }
    for (kind, jobs) in &status.jobs {
        let takes = |worker: &&WorkerStatus| worker.alive && worker.kinds.contains_key(kind);
        if jobs.waiting > 0 && !status.workers.iter().any(|worker| takes(&worker)) {
            out.line(format!(
                "! {} tasks of type {kind} wait, and no worker that is shown runs them",
                jobs.waiting
            ))?;
        }
    }
    Ok(())
}

fn worker_line(worker: &WorkerStatus) -> Vec<String> {
    let kinds = worker.kinds.iter();
    let kinds = kinds.map(|(kind, room)| format!("{kind} {}/{}", room.running, room.most));
    vec![
        worker.id.clone(),
        if worker.alive {
            "alive".to_owned()
        } else {
            format!("silent for {} s", worker.silent_ms / 1000)
        },
        kinds.collect::<Vec<_>>().join(", "),
        worker.version.clone(),
    ]
}

fn host_line(host: &HostStatus) -> Vec<String> {
    let state = match (host.alive, host.draining, host.without_node) {
        (false, ..) => format!("silent for {} s", host.silent_ms / 1000),
        (true, true, _) => "draining".to_owned(),
        (true, false, true) => "without node".to_owned(),
        (true, false, false) => "alive".to_owned(),
    };
    vec![
        host.name.clone(),
        state,
        host.owns.len().to_string(),
        host.follows.len().to_string(),
        host.address.clone(),
        host.version.clone(),
        host.config_hash.clone(),
    ]
}

/// What an operator should look at.
fn warn(status: &ClusterStatus, context: &Context) -> Result<(), Failure> {
    let out = context.output;
    let alive = || status.hosts.iter().filter(|host| host.alive);
    let mut hashes: Vec<_> = alive().map(|host| &host.config_hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    if hashes.len() > 1 {
        out.line("! the hosts have different configurations: give all of them the same agents.toml, then restart or reload")?;
    }
    if status.server.synchronous_standby_names.is_empty() {
        out.line("! the database waits for no standby, so what was answered is lost with its server: see docs/cluster.md")?;
    }
    for shard in &status.shards {
        if let Some(reason) = &shard.halted {
            let id = shard.id;
            out.line(format!(
                "! shard {id} is halted: {reason}; see docs/cluster.md, then `agentry cluster resume --shard {id}`"
            ))?;
        }
    }
    let free = status.shards.iter();
    let free = free.filter(|shard| shard.owner.is_none() && shard.halted.is_none());
    let free = free.count();
    if free > 0 && alive().count() > 0 {
        out.line(format!("! {free} shards have no owner now"))?;
    }
    Ok(())
}

async fn drain(
    database: &Database,
    cluster: &ClusterConfig,
    host: Option<String>,
    drain: bool,
    context: &Context,
) -> Result<(), Failure> {
    let host = host.unwrap_or_else(|| connect::name(cluster));
    let found = database.drain(&host, drain).await?;
    if found == 0 {
        let message = format!(
            "no host of the cluster is called {host:?}; `agentry cluster status` shows the hosts"
        );
        return Err(Failure::new(ExitCode::NoInput, message));
    }
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({ "host": host, "draining": drain }));
    }
    out.line(if drain {
        format!("{host} hands its shards over; `agentry cluster status` shows when it has none")
    } else {
        format!("{host} takes shards again")
    })
}

async fn resume_shard(database: &Database, shard: u16, context: &Context) -> Result<(), Failure> {
    let shard = copy::shard(shard, database.layout().await?.shards)?;
    let was_halted = database.resume_shard(shard).await?;
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({ "shard": shard, "was_halted": was_halted }));
    }
    out.line(match was_halted {
        true => format!("shard {shard} goes on with the log as it is"),
        false => format!("shard {shard} was not halted"),
    })
}

impl From<MoveError> for Failure {
    fn from(error: MoveError) -> Self {
        let code = match error {
            MoveError::Cluster(error) => return error.into(),
            MoveError::Store(error) => return error.into(),
            MoveError::Running { .. } | MoveError::Late { .. } => ExitCode::Temporary,
            MoveError::Exists { .. } => ExitCode::CannotCreate,
            MoveError::Random(_) => ExitCode::System,
            MoveError::Position { .. } => ExitCode::Data,
            MoveError::NotEmpty { .. }
            | MoveError::Halted { .. }
            | MoveError::OtherChain { .. }
            | MoveError::Copies { .. }
            | MoveError::OtherCluster { .. }
            | MoveError::Unread { .. }
            | MoveError::Apart { .. }
            | MoveError::Chains => ExitCode::Config,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        let code = if error.is_transient() {
            ExitCode::Unavailable
        } else {
            ExitCode::Config
        };
        Self::new(code, error.to_string())
    }
}
