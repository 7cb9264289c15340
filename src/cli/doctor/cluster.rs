//! Checks a cluster: its database, its hosts, its shards and its workers.
//!
//! Nothing that is found here makes an answer wrong: the epochs of shards see to that. It makes a
//! cluster stand still, or lose what it acknowledged, or it is what an operator did not intend.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use agentry_cluster::{ClusterError, Database, Health, Problem};
use agentry_core::cluster::ShardId;
use agentry_store::{Moved, moved, open_for_a_look, read};

use super::super::ExitCode;
use super::report::Check;
use super::{PATIENCE, blocking, store};
use crate::config::{ClusterConfig, Config, masked};
use crate::ops::cluster::{self, ClusterStatus, HostStatus, WorkerStatus};
use crate::runtime::cluster::{connect, copy};

/// The names of the checks in the report.
const DATABASE: &str = "cluster database";
const STANDBY: &str = "cluster standby";
const CLOCK: &str = "clock of the cluster";
const HOSTS: &str = "cluster hosts";
const CONFIGURATION: &str = "cluster configuration";
const SHARDS: &str = "cluster shards";
const WORKERS: &str = "cluster workers";

/// A clock that differs by more than this is reported, in milliseconds. No decision of a cluster
/// compares clocks; deadlines, expiries, budgets of a day, and logs that are read together do.
const OFF_MS: i64 = 1_000;

/// A standby that is farther behind is reported, in bytes: a second of a busy server.
const BEHIND: u64 = 64 << 20;

/// A follower that is farther behind cannot take over at once, in records.
const LAG: u64 = 1_000;

/// The most names that a line has.
const NAMED: usize = 8;

/// A machine of a cluster: its copies of shards, and the one that stands for the store.
#[derive(Debug)]
pub(super) struct Here {
    /// The configuration, whose store is a copy that a host on this machine keeps, if one does.
    config: Config,
    /// Where the copies are: this path, with the shard after it.
    beside: std::path::PathBuf,
    /// Whether a host on this machine runs.
    is_running: bool,
}

/// This machine of a cluster, if the configuration has one.
pub(super) fn kept(config: &Config) -> Option<Here> {
    config.cluster.as_ref()?;
    // A cluster has at most so many shards, and those that are here have files.
    let shards = copies(config);
    let kept = copy::kept(config, shards.into_iter());
    Some(Here {
        config: kept.map_or_else(|| config.clone(), |shard| copy::of_shard(config, shard)),
        beside: config.store.path.clone(),
        is_running: kept.is_some(),
    })
}

/// The shards of which this machine has copies.
fn copies(config: &Config) -> Vec<ShardId> {
    let path = copy::path(&config.store.path, ShardId(0));
    let (Some(folder), Some(name)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        return Vec::new();
    };
    let folder = if folder.as_os_str().is_empty() {
        std::path::Path::new(".")
    } else {
        folder
    };
    let before = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut shards: Vec<_> = names
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix(before)?.parse().ok().map(ShardId)
        })
        .collect();
    shards.sort_unstable();
    shards
}

impl Here {
    /// The configuration, whose store is a copy that a host keeps, if one does.
    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    /// What stands for the store. A copy is not checked for damage: it can be made again.
    pub(super) async fn store(&self) -> store::Found {
        let (path, beside) = (self.config.store.path.clone(), self.beside.clone());
        let is_running = self.is_running;
        let looked = blocking(PATIENCE, move || {
            let read = || {
                let db = open_for_a_look(&path)?;
                Ok::<_, agentry_store::StoreError>((read::identity(&db)?, read::noted_time(&db)?))
            };
            let kept = beside.exists().then(|| moved(&beside).ok().flatten());
            (is_running.then(read), kept)
        });
        let Some((read, kept)) = looked.await else {
            return store::Found {
                running: is_running,
                checks: vec![store::silent("store")],
                ..store::Found::default()
            };
        };
        let mut found = store::Found {
            running: is_running,
            ..store::Found::default()
        };
        let shown = self.beside.display();
        found.checks.push(match kept {
            Some(Some(Moved::Away { cluster, .. })) => Check::well(
                "store",
                format!(
                    "the cluster's database holds it; {shown} was moved into the cluster {cluster}, and is a backup"
                ),
            ),
            Some(Some(Moved::Arriving { .. })) => Check::warning(
                "store",
                format!("{shown} is what an interrupted `agentry cluster export` has left"),
                "run it again, or delete the file",
            ),
            Some(None) => Check::warning(
                "store",
                format!("{shown} is the store of a single machine, which a cluster does not use"),
                "`agentry cluster import` moves its agents into an empty cluster; else move the file away",
            ),
            None => Check::well(
                "store",
                format!("the cluster's database holds it; copies of shards are beside {shown}"),
            ),
        });
        match read {
            Some(Ok((identity, noted))) => {
                found.identity = Some(identity);
                found.noted = noted;
            }
            Some(Err(error)) => found.checks.push(Check::warning(
                "store",
                format!("the copy of a shard cannot be read: {error}"),
                "stop the host and delete the copy: it is made again",
            )),
            None => {}
        }
        found
    }
}

/// In place of the checks of a store's queues.
pub(super) fn queues() -> Check {
    Check::skipped(
        "queues",
        "each shard has its own: `agentry queue list --shard N` and `queue stats` show them",
    )
}

/// All checks of the cluster, if there is one.
pub(super) async fn look(config: &Config) -> Vec<Check> {
    let Some(cluster) = &config.cluster else {
        return Vec::new();
    };
    match tokio::time::timeout(PATIENCE * 2, found(config, cluster)).await {
        Ok(Ok(checks)) => checks,
        Ok(Err(error)) => vec![unusable(&error)],
        Err(_) => vec![Check::wrong(
            DATABASE,
            format!("it did not answer within {} s", 2 * PATIENCE.as_secs()),
            "start it, or correct `cluster.database`",
            ExitCode::Unavailable,
        )],
    }
}

fn unusable(error: &ClusterError) -> Check {
    let (fix, code) = if error.is_transient() {
        (
            "start it, let its standby take over, or correct `cluster.database`",
            ExitCode::Unavailable,
        )
    } else {
        (
            "correct `cluster.database`, or the server",
            ExitCode::Config,
        )
    };
    Check::wrong(DATABASE, error.to_string(), fix, code)
}

async fn found(config: &Config, cluster: &ClusterConfig) -> Result<Vec<Check>, ClusterError> {
    let database: Database = connect::database(cluster).await?;
    let alive = match database.look().await {
        Ok(look) => NonZeroU16::new(u16::try_from(look.view.hosts.len()).unwrap_or(u16::MAX)),
        Err(error) if error.is_transient() => return Err(error),
        Err(_) => None,
    };
    let health = database.check(alive).await?;
    let mut checks = server(&health);
    match &health.layout {
        None => return Ok(checks),
        Some(layout) => {
            if let Err(error) = layout.check_open() {
                let fix =
                    "finish or undo the move: docs/cluster.md, Moving from one machine to several";
                checks.push(Check::wrong(
                    SHARDS,
                    error.to_string(),
                    fix,
                    ExitCode::Config,
                ));
                return Ok(checks);
            }
        }
    }
    let status = cluster::status_beside(&database, health.clone()).await?;
    checks.push(clocks(health.clock_ahead_ms, &status));
    checks.push(hosts(&status));
    checks.push(configurations(config, &status));
    checks.push(shards(&status));
    checks.extend(workers(config, &status));
    Ok(checks)
}

/// The checks of the server: the database, and the standby.
fn server(health: &Health) -> Vec<Check> {
    let encrypted = if health.is_encrypted {
        "with"
    } else {
        "without"
    };
    let found = format!(
        "PostgreSQL {} at {}, {encrypted} TLS; {} of {} connections are open",
        health.version, health.server, health.connections.0, health.connections.1
    );
    let mut database = Check::well(DATABASE, found);
    let mut standby: Option<Check> = None;
    for problem in &health.problems {
        let about_standby = problem.found.contains("standby");
        let check = problem_of(if about_standby { STANDBY } else { DATABASE }, problem);
        if !about_standby {
            database = database.and(check);
        } else {
            standby = Some(match standby.take() {
                Some(other) => other.and(check),
                None => check,
            });
        }
    }
    vec![database, standby.unwrap_or_else(|| synchronous(health))]
}

fn problem_of(name: &str, problem: &Problem) -> Check {
    if problem.is_fatal {
        Check::wrong(name, &problem.found, &problem.fix, ExitCode::Unavailable)
    } else {
        Check::warning(name, &problem.found, &problem.fix)
    }
}

/// The check of a standby that commits wait for.
fn synchronous(health: &Health) -> Check {
    let all = health.standbys.iter().filter(|one| one.is_synchronous());
    let lag = |bytes: Option<u64>| match bytes {
        Some(0) | None => "level".to_owned(),
        Some(bytes) => format!("{bytes} bytes behind"),
    };
    let names: Vec<_> = all
        .clone()
        .map(|one| format!("{} ({})", one.name, lag(one.lag_bytes)))
        .collect();
    let found = format!(
        "commits wait for {} (synchronous_commit = {})",
        names.join(", "),
        health.synchronous_commit
    );
    let behind = all.filter_map(|one| one.lag_bytes).max();
    if behind > Some(BEHIND) {
        let fix = "look at its disk and its network: every change waits for it";
        return Check::warning(STANDBY, found, fix);
    }
    Check::well(STANDBY, found)
}

/// This machine's clock and those of the hosts, against the database's.
fn clocks(ahead_ms: i64, status: &ClusterStatus) -> Check {
    let here = ("this machine", ahead_ms);
    let hosts = status.hosts.iter().filter(|host| host.alive);
    let hosts = hosts.filter_map(|host| Some((host.name.as_str(), host.clock_ahead_ms?)));
    let off: Vec<_> = std::iter::once(here)
        .chain(hosts)
        .filter(|(_, ahead)| ahead.abs() > OFF_MS)
        .map(|(name, ahead)| {
            let side = if ahead > 0 { "ahead" } else { "behind" };
            format!("{name} is {:.1} s {side}", ahead.abs() as f64 / 1000.0)
        })
        .collect();
    if off.is_empty() {
        let found = "this machine and the hosts agree with the database to a second";
        return Check::well(CLOCK, found);
    }
    Check::warning(
        CLOCK,
        format!(
            "compared with the database, {}: deadlines and budgets of a day shift when a shard moves, and logs of hosts do not fit together; answers stay right",
            off.join(", ")
        ),
        "set the clocks, also the database's: `timedatectl set-ntp true`",
    )
}

fn hosts(status: &ClusterStatus) -> Check {
    let (alive, silent): (Vec<_>, Vec<_>) = status.hosts.iter().partition(|host| host.alive);
    if alive.is_empty() {
        return Check::well(HOSTS, "none runs; `agentry run` on each host starts them");
    }
    let mut check = Check::well(HOSTS, format!("{} run: {}", alive.len(), listed(&alive)));
    if alive.len() == 1 {
        let found = "no other host could take its shards over";
        check = check.and(Check::warning(HOSTS, found, "start another host"));
    }
    if !silent.is_empty() {
        let found = format!("no beat comes from {}", listed(&silent));
        let fix = "start it again, or let it reach the database; the row of a host that is gone for good is removed after a day";
        check = check.and(Check::warning(HOSTS, found, fix));
    }
    let twice = several(
        alive
            .iter()
            .map(|host| (host.name.as_str(), host.name.as_str())),
    );
    if let Some(name) = twice
        .iter()
        .find(|(_, names)| names.len() > 1)
        .map(|(name, _)| name)
    {
        let found = format!("several hosts that run are called {name}");
        let fix = "give each its own `cluster.host`";
        check = check.and(Check::warning(HOSTS, found, fix));
    }
    let versions = several(
        alive
            .iter()
            .map(|host| (host.version.as_str(), host.name.as_str())),
    );
    let formats: BTreeSet<_> = alive.iter().map(|host| host.format).collect();
    if versions.len() > 1 || formats.len() > 1 {
        let found = format!("they run different versions: {}", by(&versions));
        let fix = "finish the upgrade: a shard that the newer version has owned cannot go back";
        check = check.and(Check::warning(HOSTS, found, fix));
    }
    check
}

/// Whether what has to be the same on all hosts is the same.
fn configurations(config: &Config, status: &ClusterStatus) -> Check {
    let alive: Vec<_> = status.hosts.iter().filter(|host| host.alive).collect();
    let (own, submit) = (connect::config_hash(config), masked(&config.chain.submit));
    let submits = alive.iter().filter(|host| !host.submit.is_empty());
    let submits = submits.map(|host| (host.submit.as_str(), host.name.as_str()));
    let submits = several(submits.chain([(submit.as_str(), "this machine's agents.toml")]));
    if submits.len() > 1 {
        let found = format!("hosts post to different nodes: {}", by(&submits));
        let fix = "set `chain.submit` to the same node on all hosts: only the node that a transaction was posted to can show that it is absent";
        return Check::wrong(CONFIGURATION, found, fix, ExitCode::Config);
    }
    let hashes = alive.iter();
    let hashes = hashes.map(|host| (host.config_hash.as_str(), host.name.as_str()));
    let hashes = several(hashes.chain([(own.as_str(), "this machine's agents.toml")]));
    if hashes.len() > 1 {
        let found = format!("configurations differ: {}", by(&hashes));
        let fix = "give all hosts the same agents.toml, then `agentry reload`, or restart them; `agentry config show` shows what is in effect";
        return Check::warning(CONFIGURATION, found, fix);
    }
    Check::well(
        CONFIGURATION,
        format!("all have {own}, and post to {submit}"),
    )
}

fn shards(status: &ClusterStatus) -> Check {
    let alive = || status.hosts.iter().filter(|host| host.alive);
    let count = status.shards.len();
    let halted = status.shards.iter().filter_map(|shard| {
        let why = shard.halted.as_ref()?;
        Some(format!("{} ({why})", shard.id))
    });
    let halted: Vec<_> = halted.collect();
    if !halted.is_empty() {
        let found = format!("halted until an operator decides: shard {}", some(&halted));
        let fix = "docs/cluster.md, A restored database, says what can be done; then `agentry cluster resume --shard`";
        return Check::wrong(SHARDS, found, fix, ExitCode::Unavailable);
    }
    if alive().next().is_none() {
        return Check::skipped(SHARDS, format!("no host runs the {count} shards"));
    }
    let is_owned = |id: ShardId| alive().any(|host| host.owns.contains(&id));
    let ids = |wanted: &dyn Fn(&cluster::ShardStatus) -> bool| -> Vec<String> {
        let wanted = status.shards.iter().filter(|shard| wanted(shard));
        wanted.map(|shard| shard.id.to_string()).collect()
    };
    let free = ids(&|shard| !is_owned(shard.id));
    if !free.is_empty() {
        let found = format!("no host that runs owns shard {}", some(&free));
        let fix = "wait for some seconds; if it stays so, read the logs of the hosts: each says why it does not claim a shard";
        return Check::wrong(SHARDS, found, fix, ExitCode::Unavailable);
    }
    let well = format!("all {count} are owned");
    let follows = |shard: &cluster::ShardStatus| {
        let mut followers = alive().filter_map(|host| shard.followers.get(&host.name));
        followers.any(|lag| *lag <= LAG)
    };
    let alone = ids(&|shard| !follows(shard));
    if !alone.is_empty() && alive().nth(1).is_some() {
        let found = format!(
            "{well}, but no other host is level with shard {}",
            some(&alone)
        );
        let fix = "wait until one is: it reads the log; look at its log if that does not happen";
        return Check::warning(SHARDS, found, fix);
    }
    Check::well(
        SHARDS,
        if alone.is_empty() {
            format!("{well} and followed")
        } else {
            well
        },
    )
}

/// Whether workers run what the hosts do not.
fn workers(config: &Config, status: &ClusterStatus) -> Option<Check> {
    let kinds = &config.tasks.on_workers;
    if kinds.is_empty() && status.workers.is_empty() {
        return None;
    }
    let (alive, lost): (Vec<_>, Vec<_>) = status.workers.iter().partition(|one| one.alive);
    let names = |workers: &[&WorkerStatus]| {
        let names: Vec<_> = workers.iter().map(|worker| worker.id.clone()).collect();
        some(&names)
    };
    let mut check = Check::well(
        WORKERS,
        match alive.len() {
            0 => "none runs".to_owned(),
            count => format!("{count} run: {}", names(&alive)),
        },
    );
    let lacks: Vec<_> = kinds
        .iter()
        .filter(|kind| !alive.iter().any(|worker| worker.kinds.contains_key(*kind)))
        .map(|kind| match status.jobs.get(kind) {
            Some(jobs) if jobs.waiting > 0 => format!("{kind} ({} wait)", jobs.waiting),
            _ => kind.clone(),
        })
        .collect();
    if !lacks.is_empty() {
        let found = format!(
            "no worker that is shown runs tasks of type {}",
            some(&lacks)
        );
        let fix = "start `agentry worker`; one whose role lacks rights on agentry.worker works, but is not shown";
        check = check.and(Check::warning(WORKERS, found, fix));
    }
    if !lost.is_empty() {
        let found = format!("no beat comes from {}", names(&lost));
        let fix = "start it again; its tasks are run by another one";
        check = check.and(Check::warning(WORKERS, found, fix));
    }
    Some(check)
}

/// The names that have each value.
fn several<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (value, name) in all {
        found.entry(value).or_default().push(name);
    }
    found
}

fn by(found: &BTreeMap<&str, Vec<&str>>) -> String {
    let all = found.iter();
    let all = all.map(|(value, names)| format!("{value} ({})", names.join(", ")));
    all.collect::<Vec<_>>().join("; ")
}

fn listed(hosts: &[&HostStatus]) -> String {
    let names: Vec<_> = hosts.iter().map(|host| host.name.clone()).collect();
    some(&names)
}

/// The first of some names, and how many there are more.
fn some(names: &[String]) -> String {
    let first = names.get(..NAMED.min(names.len())).unwrap_or_default();
    let more = names.len() - first.len();
    match more {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
