//! `agentry cluster init|status|drain|resume`.

use std::num::NonZeroU16;

use agentry_cluster::{ClusterError, Database, SHARDS};
use clap::Subcommand;
use serde_json::json;

use super::output::or_dash;
use super::{Context, ExitCode, Failure, runtime};
use crate::config::{ClusterConfig, Config};
use crate::ops::cluster::{self, ClusterStatus, HostStatus};
use crate::runtime::cluster::connect;

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
    /// Shows the hosts, and which of them runs which shard
    Status,
    /// Has a host hand its shards over and take none, before it is maintained
    Drain {
        /// The host's name [default: this one]
        host: Option<String>,
    },
    /// Lets a host that was drained take shards again
    Resume {
        /// The host's name [default: this one]
        host: Option<String>,
    },
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
            ClusterCommand::Resume { host } => {
                drain(&database, cluster, host, false, context).await
            }
        }
    })
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
    )
}

fn host_line(host: &HostStatus) -> Vec<String> {
    let state = match (host.alive, host.draining) {
        (false, _) => format!("silent for {} s", host.silent_ms / 1000),
        (true, true) => "draining".to_owned(),
        (true, false) => "alive".to_owned(),
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
    let free = status.shards.iter().filter(|shard| shard.owner.is_none());
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
