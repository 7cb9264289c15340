//! `agentry chain sync`.

use agentry_devnet::{SyncError, SyncProgress};
use agentry_protocol::{BlockHeight, ChainId};
use clap::Args;
use serde_json::json;

use super::super::devnet::node_url;
use super::super::{Context, ExitCode, Failure};
use super::client;

/// Arguments of `chain sync`.
#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    /// The node that has the blocks [default: --node, else the configuration's]
    #[arg(long, value_name = "URL", value_parser = node_url)]
    from: Option<String>,
    /// The node that lacks them
    #[arg(long, value_name = "URL", value_parser = node_url)]
    to: String,
    /// The chain's id [default: the configuration's]
    #[arg(long, value_name = "ID")]
    chain_id: Option<ChainId>,
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        let code = match &error {
            SyncError::From { .. } | SyncError::To { .. } | SyncError::ToHead { .. } => {
                ExitCode::Unavailable
            }
            _ => ExitCode::Data,
        };
        Self::new(code, error.to_string())
    }
}

pub(super) async fn run(
    args: &SyncArgs,
    node: Option<&str>,
    context: &Context,
) -> Result<(), Failure> {
    // The configuration is read only for values missing on the command line.
    let from = args.from.as_deref().or(node);
    let (from, chain_id) = match (from, &args.chain_id) {
        (Some(from), Some(chain_id)) => (from.to_owned(), chain_id.clone()),
        (from, chain_id) => {
            let chain = context.config()?.chain;
            let from = from.map_or_else(|| chain.rpc.into(), str::to_owned);
            (from, chain_id.clone().unwrap_or(chain.id))
        }
    };
    let from = client(&from, Some(chain_id.clone())).await?;
    let to = client(&args.to, Some(chain_id.clone())).await?;
    let out = context.output;
    let bar = out.progress(0, "blocks");
    let progress = |progress: SyncProgress| {
        bar.set_length(progress.target.0);
        bar.set_position(progress.height.0);
    };
    let report = agentry_devnet::sync(&from, &to, &chain_id, progress).await;
    bar.finish_and_clear();
    let report = report?;
    let height = |height: Option<BlockHeight>| height.map(|height| height.0);
    let bare: Vec<u64> = report
        .without_transactions
        .iter()
        .map(|height| height.0)
        .collect();
    if let Some(first) = bare.first() {
        tracing::warn!(
            blocks = bare.len(),
            first.height = first,
            "{} cannot serve the transactions of these blocks; they were copied without them",
            from.url()
        );
    }
    if out.is_json() {
        return out.json(&json!({
            "from_height": height(report.from),
            "through_height": height(report.through),
            "imported": report.imported,
            "transactions": report.transactions,
            "without_transactions": bare,
        }));
    }
    match report.through {
        None => out.line(format!("{} has no blocks yet", from.url())),
        Some(through) if report.imported == 0 => out.line(format!(
            "nothing is missing: both nodes have block {through}"
        )),
        Some(through) => out.line(format!(
            "imported {} blocks with {} transactions; both nodes have block {through}",
            report.imported, report.transactions
        )),
    }
}
