//! `agentry chain transaction`: later nodes look up a transaction; older ones have to be searched.

use std::sync::Arc;

use agentry_chain::{BlockWalk, Everything, NodeClient, NodeError};
use agentry_protocol::{BlockHeight, Json, StoredTransaction, TransactionHash};
use clap::Args;

use super::super::output::{or_dash, printable};
use super::super::{Context, ExitCode, Failure};
use super::{hash, show};
use crate::config::ChainConfig;
use crate::ops::search::{self, Downward};

/// How many pending transactions are searched.
const PENDING: u64 = 10_000;

/// Arguments of `chain transaction`.
#[derive(Debug, Args)]
pub(super) struct TransactionArgs {
    /// The transaction's hash
    #[arg(value_parser = hash)]
    hash: TransactionHash,
    /// How many of the newest blocks to search on a node that cannot look up a transaction
    #[arg(long, value_name = "N", default_value_t = 1000)]
    blocks: u64,
}

/// Where a transaction was found.
struct Found {
    status: String,
    height: Option<BlockHeight>,
    stored: Option<StoredTransaction>,
}

pub(super) async fn run(
    node: &NodeClient,
    chain: Option<&ChainConfig>,
    args: &TransactionArgs,
    context: &Context,
) -> Result<(), Failure> {
    let found = match node.transaction(&args.hash).await {
        Ok(Some(found)) => Some(Found {
            status: status(found.status, found.height),
            height: found.height,
            stored: found.stored,
        }),
        Ok(None) => in_mempool(node, &args.hash).await,
        Err(NodeError::Unsupported { .. }) => search(node, chain, args, context).await?,
        Err(error) => return Err(error.into()),
    };
    let Some(found) = found else {
        return Err(Failure::no_input(format!(
            "{} is neither in the mempool of {} nor in the blocks that were searched; search older \
             blocks with --blocks N",
            args.hash,
            node.url()
        )));
    };
    print(args.hash, &found, context)
}

fn status(said: Option<String>, height: Option<BlockHeight>) -> String {
    said.unwrap_or_else(|| if height.is_some() { "mined" } else { "pending" }.to_owned())
}

/// Searches the mempool. A failure hides nothing that is mined: a payload that the node cannot
/// serialize makes its mempool unreadable for good.
async fn in_mempool(node: &NodeClient, hash: &TransactionHash) -> Option<Found> {
    let pending = node.find_pending(hash, PENDING).await;
    let stored = pending.unwrap_or_else(|error| {
        tracing::warn!(%error, "the mempool could not be searched");
        None
    });
    stored.map(|stored| Found {
        status: "pending".to_owned(),
        height: None,
        stored: Some(stored),
    })
}

/// Searches the mempool and then the newest blocks, newest first. In that order, a transaction that
/// is mined meanwhile is not missed.
async fn search(
    node: &NodeClient,
    chain: Option<&ChainConfig>,
    args: &TransactionArgs,
    context: &Context,
) -> Result<Option<Found>, Failure> {
    if let Some(found) = in_mempool(node, &args.hash).await {
        return Ok(Some(found));
    }
    let Some(head) = node.head().await?.filter(|_| args.blocks > 0) else {
        return Ok(None);
    };
    let lowest = head.height.saturating_sub(args.blocks - 1);
    if let Some(chain) = chain.filter(|chain| chain.db.is_some()) {
        match in_db(chain, lowest, &args.hash).await {
            Ok(Some(found)) => return Ok(Some(found)),
            // The database may be behind the node.
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the node's database could not be searched"),
        }
    }
    let bar = context.output.progress(
        (head.height.0 - lowest.0).saturating_add(1),
        "searching blocks",
    );
    let mut walk = BlockWalk::new(node);
    let mut downward = Downward::new(head.height, lowest);
    let mut found = None;
    while found.is_none()
        && let Some((from, to)) = downward.next(&walk)
    {
        for block in walk.stretch(from, to).await? {
            let transactions = block.transactions.unwrap_or_default();
            let here = transactions
                .into_iter()
                .find(|transaction| transaction.hash == Some(args.hash));
            found = found.or(here.map(|transaction| Found {
                status: "mined".to_owned(),
                height: Some(block.height),
                stored: transaction.stored.ok(),
            }));
        }
        bar.inc(to.0 - from.0 + 1);
    }
    bar.finish_and_clear();
    if found.is_some() {
        return Ok(found);
    }
    if let Some(missing) = search::missing(&walk) {
        tracing::warn!("{missing}");
    }
    match downward.left() {
        Some(left) => Err(Failure::new(
            ExitCode::Temporary,
            format!(
                "{} was not found within a minute, in which the blocks above {left} were searched; \
                 set [chain] db to search the node's database instead",
                args.hash
            ),
        )),
        None => Ok(None),
    }
}

async fn in_db(
    chain: &ChainConfig,
    lowest: BlockHeight,
    hash: &TransactionHash,
) -> Result<Option<Found>, agentry_chain::SourceError> {
    let mut found: Option<search::Found> = None;
    search::in_db(chain, lowest, Arc::new(Everything), |one| {
        if one.hash == *hash {
            found = Some(one);
        }
    })
    .await?;
    Ok(found.map(|found| Found {
        status: "mined".to_owned(),
        height: Some(found.height),
        stored: Some(found.stored),
    }))
}

fn print(hash: TransactionHash, found: &Found, context: &Context) -> Result<(), Failure> {
    let out = context.output;
    if out.is_json() {
        let height = found
            .height
            .map_or_else(Json::null, |height| Json::integer(height.0.into()));
        let stored = found.stored.as_ref();
        return out.line(
            Json::object([
                ("hash", Json::string(hash.to_string())),
                ("status", Json::string(found.status.as_str())),
                ("height", height),
                (
                    "transaction",
                    stored.map_or_else(Json::null, StoredTransaction::to_json),
                ),
            ])
            .to_compact(),
        );
    }
    let mut fields = vec![
        ("hash", hash.to_string()),
        ("status", printable(&found.status, 40)),
        ("height", or_dash(found.height)),
    ];
    if let Some(stored) = &found.stored {
        fields.extend([
            ("from", printable(stored.from.as_str(), 130)),
            ("to", printable(stored.to.as_str(), 130)),
            ("amount", printable(&stored.amount.to_string(), 80)),
            ("fee", printable(&stored.fee.to_string(), 80)),
            ("nonce", printable(&stored.nonce.to_string(), 80)),
            ("chain id", printable(&stored.chain_id, 80)),
            ("message", show::message(&stored.message(), 2000)),
        ]);
    }
    out.fields(&fields)
}
