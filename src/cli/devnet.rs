//! `agentry devnet`.

use std::path::PathBuf;
use std::time::Duration;

use agentry_chain::{NodeClient, NodeOptions};
use agentry_devnet::{Devnet, DevnetConfig, DevnetError, Fault, MIN_BLOCK_TIME, NoncePolicy};
use agentry_protocol::{Address, Amount, Chain, ChainId, Dialect};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::args::duration;
use super::interrupt::{Signals, at_once};
use super::{Context, ExitCode, Failure, runtime};
use crate::config::NodeUrl;
use crate::runtime::host::HostError;
use crate::runtime::limits::{self, Needs};

/// Arguments of `devnet`.
#[derive(Debug, Args)]
pub struct DevnetArgs {
    /// The folder of the node's databases; created if missing
    #[arg(long, value_name = "DIR", default_value = "devnet")]
    dir: PathBuf,
    /// The dialect that the node speaks: aitbc-2026-04 or aitbc-2026-08
    #[arg(long, value_name = "NAME", default_value_t, value_parser = dialect)]
    dialect: Dialect,
    /// The port on 127.0.0.1; 0 takes any free port [default: 8006, or 8202 for aitbc-2026-08]
    #[arg(long)]
    port: Option<u16>,
    /// The chain's id
    #[arg(long, value_name = "ID", default_value = "ait-devnet")]
    chain_id: ChainId,
    /// The time between blocks, at least 50ms
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration)]
    block_time: Duration,
    /// Tops an account up to at least this amount, in AIT (compute-seconds for aitbc-2026-08)
    #[arg(long, value_name = "ADDR=AMOUNT", value_parser = allocation)]
    fund: Vec<(Address, Amount)>,
    /// Follows the node at this URL instead of producing blocks
    #[arg(long, value_name = "URL", value_parser = node_url, conflicts_with = "fund")]
    follow: Option<String>,
    /// A fault of the real node, such as silent-drop=0.1
    #[arg(long, value_name = "NAME[=VALUE]", long_help = fault_help())]
    fault: Vec<Fault>,
    /// How the node checks nonces
    #[arg(long, value_enum, default_value_t = Nonces::Ignored)]
    nonces: Nonces,
}

/// How the embedded node checks a transaction's nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Nonces {
    /// Not at all, as the node of April 2026
    Ignored,
    /// Against the account's counter, as later nodes
    Sequential,
}

fn fault_help() -> String {
    format!(
        "A fault of the real node, such as silent-drop=0.1. Known faults: {}",
        Fault::NAMES.join(", ")
    )
}

/// Parses the name of a dialect.
pub(super) fn dialect(text: &str) -> Result<Dialect, String> {
    Dialect::from_name(text).ok_or_else(|| {
        let names = Dialect::ALL.map(Dialect::as_str).join(" or ");
        format!("it is not a dialect; write {names}")
    })
}

/// Parses a node's URL.
pub(super) fn node_url(text: &str) -> Result<String, String> {
    text.parse()
        .map(|url: NodeUrl| url.into())
        .map_err(|reason| format!("it {reason}; write one such as http://127.0.0.1:8006"))
}

fn allocation(text: &str) -> Result<(Address, Amount), String> {
    let (address, amount) = text
        .split_once('=')
        .ok_or("there is no `=`; write ADDR=AMOUNT".to_owned())?;
    let address = address
        .parse()
        .map_err(|error| format!("{address:?}: {error}"))?;
    let amount = amount
        .replace('_', "")
        .parse()
        .ok()
        .filter(|amount| (Amount(1)..=Amount::MAX).contains(amount))
        .ok_or_else(|| {
            format!(
                "{amount:?} is not an amount; write a whole number, from 1 to {}",
                Amount::MAX
            )
        })?;
    Ok((address, amount))
}

impl From<DevnetError> for Failure {
    fn from(error: DevnetError) -> Self {
        let code = match &error {
            DevnetError::PortInUse { .. } | DevnetError::Listen { .. } => ExitCode::Unavailable,
            DevnetError::Locked { .. } => ExitCode::Temporary,
            DevnetError::OtherChain { .. } => ExitCode::Config,
            DevnetError::BlockTime(_)
            | DevnetError::Follower { .. }
            | DevnetError::Leader { .. } => ExitCode::Usage,
            DevnetError::Directory { source, .. } => {
                return Self::io("starting the embedded node", source)
                    .with_message(error.to_string());
            }
            _ => ExitCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl Failure {
    fn with_message(self, message: String) -> Self {
        Self { message, ..self }
    }
}

pub(super) fn run(args: DevnetArgs, context: &Context) -> Result<(), Failure> {
    if args.block_time < MIN_BLOCK_TIME {
        return Err(DevnetError::BlockTime(args.block_time).into());
    }
    let needs = Needs {
        embedded_nodes: 1,
        ..Needs::default()
    };
    limits::prepare(&needs).map_err(HostError::from)?;
    let config = DevnetConfig {
        dir: args.dir,
        port: args.port.unwrap_or(args.dialect.default_port()),
        dialect: args.dialect,
        chain_id: args.chain_id.clone(),
        block_time: args.block_time,
        follow: args.follow,
        faults: args.fault.into_iter().collect(),
        account_nonces: match args.nonces {
            Nonces::Ignored => NoncePolicy::Ignored,
            Nonces::Sequential => NoncePolicy::Sequential,
        },
        ..DevnetConfig::default()
    };
    let runtime = runtime()?;
    let served = runtime.block_on(serve(config, &args.fund, &args.chain_id, context));
    // A cancelled start is not waited for.
    runtime.shutdown_background();
    served
}

async fn serve(
    config: DevnetConfig,
    wanted: &[(Address, Amount)],
    chain_id: &ChainId,
    context: &Context,
) -> Result<(), Failure> {
    // Before anything is printed, so that no signal arrives too early.
    let mut signals = Signals::listen()?;
    let chain = Chain {
        id: chain_id.clone(),
        dialect: config.dialect,
    };
    let starting = tokio::task::spawn_blocking(move || Devnet::start(config));
    let devnet = tokio::select! {
        started = starting => started.map_err(|_| Failure::internal("starting panicked"))??,
        _ = signals.next() => return Ok(()),
    };
    tokio::select! {
        funded = fund(&devnet, chain, wanted) => {
            funded?;
            announce(&devnet, chain_id, context);
            signals.next().await;
        }
        _ = signals.next() => {}
    }
    let stopping = tokio::task::spawn_blocking(move || devnet.stop());
    tokio::select! {
        stopped = stopping => stopped.map_err(|_| Failure::internal("stopping panicked")),
        _ = signals.next() => at_once(),
    }
}

/// Tops accounts up, so that the same command line can start the same chain again.
async fn fund(devnet: &Devnet, chain: Chain, wanted: &[(Address, Amount)]) -> Result<(), Failure> {
    let node = NodeClient::new(&devnet.url(), NodeOptions::of(chain.dialect, &chain.id))?;
    for (address, amount) in wanted {
        let balance = node.account(address).await?.balance;
        let lacking = i128::from(*amount).saturating_sub(balance);
        if let Ok(lacking) = u64::try_from(lacking)
            && lacking > 0
        {
            devnet.fund(address, lacking)?;
        }
    }
    Ok(())
}

/// Prints where the node serves. A node whose standard output is closed or full still serves.
fn announce(devnet: &Devnet, chain_id: &ChainId, context: &Context) {
    let out = context.output;
    let (dir, chain_db) = (devnet.dir().display(), devnet.chain_db());
    let told = if out.is_json() {
        out.json(&json!({
            "url": devnet.url(),
            "chain_id": chain_id,
            "dir": dir.to_string(),
            "chain_db": chain_db,
        }))
    } else {
        out.fields(&[
            ("url", devnet.url()),
            ("chain id", chain_id.to_string()),
            ("chain.db", chain_db.display().to_string()),
            ("stop", "Ctrl-C".to_owned()),
        ])
    };
    if let Err(failure) = told {
        tracing::debug!(%failure, "the node's address could not be printed");
    }
}
