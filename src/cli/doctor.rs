//! `agentry doctor`: checks everything that a runtime needs.
//!
//! | module | checks |
//! |---|---|
//! | `node` | the nodes of `chain.rpc` and `chain.submit` |
//! | `chain` | block 0: whether it is the right chain |
//! | `database` | `chain.db` |
//! | `wallets`, `balances` | wallets, their passwords, and their balances |
//! | `clock` | this machine's clock |
//! | `store`, `queues`, `disk` | the store, its queues, and the disk that holds it |
//! | `coordinator` | the agent coordinator, if one is configured |
//! | `cluster` | in a cluster: its database, hosts, shards and workers |
//! | `serving` | the running runtime, if there is one |
//! | `http` | helper for one small HTTP request |
//! | `report` | one check: its result and the suggested fix |
//!
//! Nothing is changed, and nothing of the configuration is executed. Each check has a time limit,
//! and independent checks run at the same time.

mod balances;
mod chain;
mod clock;
mod cluster;
mod coordinator;
mod database;
mod disk;
mod http;
mod node;
mod queues;
mod report;
mod serving;
mod store;
mod wallets;

use std::time::Duration;

use report::Check;

use super::{Context, ExitCode, Failure, runtime};
use crate::config::{Config, ConfigError, masked};

/// Time limit of one check.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let (source, overlay) = context.layers();
    let checks = match Config::load(&source, &overlay, &context.registry) {
        Ok(config) => {
            let runtime = runtime()?;
            let checks = runtime.block_on(look(&config));
            // A check that timed out is not waited for.
            runtime.shutdown_background();
            checks
        }
        Err(error) => configuration_errors(error),
    };
    report::print(&checks, context.output)?;
    match report::worst(&checks) {
        ExitCode::Success => Ok(()),
        // The findings have been printed.
        code => Err(Failure::new(code, "")),
    }
}

/// Without a configuration there is nothing else to check.
fn configuration_errors(error: ConfigError) -> Vec<Check> {
    match error {
        ConfigError::Invalid(issues) => issues
            .lines()
            .map(|issue| {
                Check::wrong(
                    "configuration",
                    issue,
                    "correct the file; nothing else was checked",
                    ExitCode::Config,
                )
            })
            .collect(),
        error => {
            let failure = Failure::from(error);
            let fix = "name the right file with --config";
            vec![Check::wrong(
                "configuration",
                failure.message,
                fix,
                failure.code,
            )]
        }
    }
}

/// All checks, in the order in which they are printed.
async fn look(config: &Config) -> Vec<Check> {
    // The database is read after the node, so that blocks made meanwhile do not count as lag.
    let chain = async {
        let nodes = node::look(config).await;
        let database = database::look(config, &nodes).await;
        (nodes, database)
    };
    // In a cluster, the copy of a shard that a host on this machine keeps stands for the store.
    let here = cluster::kept(config);
    let (store, serving, (nodes, database), wallets, queues, cluster, coordinator) = tokio::join!(
        async {
            match &here {
                Some(here) => here.store().await,
                None => store::look(config).await,
            }
        },
        serving::look(here.as_ref().map_or(config, |here| here.config())),
        chain,
        wallets::look(config),
        async {
            match here {
                Some(_) => vec![cluster::queues()],
                None => queues::look(config).await,
            }
        },
        cluster::look(config),
        coordinator::look(config),
    );
    let balances = balances::look(&nodes, &wallets.purses, config.chain.dialect).await;
    let mut checks = vec![configuration(config)];
    checks.extend(node::checks(config, &nodes, store.running));
    checks.extend(chain::checks(
        config,
        &nodes,
        database.as_ref(),
        store.identity.as_ref(),
    ));
    checks.extend(database::checks(config, &nodes, database));
    checks.extend(clock::checks(&nodes));
    checks.extend(clock::noted(store.noted, http::now()));
    checks.extend(wallets.checks);
    checks.extend(balances);
    checks.extend(store.checks);
    checks.push(serving.check(store.running));
    checks.extend(queues);
    checks.push(disk::check(config));
    checks.extend(cluster);
    checks.extend(coordinator);
    checks
}

fn configuration(config: &Config) -> Check {
    let behaviours = config.agents.iter().map(|agent| agent.behaviours.len());
    let of_fleets = config.fleets.iter().map(|fleet| fleet.behaviours.len());
    Check::well(
        "configuration",
        format!(
            "{}; agents: {}, fleets: {}, behaviours: {}; chain {} on {}",
            config.file,
            config.agents.len(),
            config.fleets.len(),
            behaviours.chain(of_fleets).sum::<usize>(),
            config.chain.id,
            masked(&config.chain.rpc),
        ),
    )
}

/// Runs blocking work within the time limit of a check.
async fn blocking<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    tokio::time::timeout(patience, tokio::task::spawn_blocking(work))
        .await
        .ok()?
        .ok()
}

/// A duration in its largest unit.
fn about(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn lengths_of_time_are_short() {
        for (ms, wanted) in [
            (0, "0 s"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
        ] {
            assert_eq!(super::about(ms), wanted);
        }
    }
}
