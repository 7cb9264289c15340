//! `agentry chain transaction`: later nodes look one up; older ones have to be searched.

use agentry_chain::{Block, NodeClient, NodeError};
use agentry_protocol::{BlockHeight, Json, StoredTransaction, TransactionHash};
use clap::Args;

use super::super::output::printable;
use super::super::{Context, Failure};
use super::{hash, show};

/// How many blocks are read at once while searching.
const PAGE: u64 = 100;

/// Arguments of `chain transaction`.
#[derive(Debug, Args)]
pub(super) struct TransactionArgs {
    /// Its hash
    #[arg(value_parser = hash)]
    hash: TransactionHash,
    /// How many of the newest blocks are searched on a node that cannot look it up
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
    args: &TransactionArgs,
    context: &Context,
) -> Result<(), Failure> {
    let found = match node.transaction(&args.hash).await {
        Ok(Some(found)) => Some(Found {
            status: status(found.status, found.height),
            height: found.height,
            stored: found.stored,
        }),
        Ok(None) => in_mempool(node, &args.hash).await?,
        Err(NodeError::Unsupported { .. }) => search(node, args, context).await?,
        Err(error) => return Err(error.into()),
    };
    let Some(found) = found else {
        return Err(Failure::no_input(format!(
            "{} is neither in the mempool of {} nor in the blocks that were searched; an older \
             block is reached with --blocks N",
            args.hash,
            node.url()
        )));
    };
    print(args.hash, &found, context)
}

fn status(said: Option<String>, height: Option<BlockHeight>) -> String {
    said.unwrap_or_else(|| if height.is_some() { "mined" } else { "pending" }.to_owned())
}

async fn in_mempool(node: &NodeClient, hash: &TransactionHash) -> Result<Option<Found>, Failure> {
    let mempool = node.mempool(10_000).await?;
    let stored = mempool
        .transactions
        .into_iter()
        .find(|stored| stored.hash() == *hash);
    Ok(stored.map(|stored| Found {
        status: "pending".to_owned(),
        height: None,
        stored: Some(stored),
    }))
}

/// Looks in the mempool and then through the newest blocks, newest first: in that order, a
/// transaction that is mined meanwhile is not missed.
async fn search(
    node: &NodeClient,
    args: &TransactionArgs,
    context: &Context,
) -> Result<Option<Found>, Failure> {
    if let Some(found) = in_mempool(node, &args.hash).await? {
        return Ok(Some(found));
    }
    let Some(head) = node.head().await? else {
        return Ok(None);
    };
    let lowest = head.height.saturating_sub(args.blocks.saturating_sub(1));
    let bar = context.output.progress(
        (head.height.0 - lowest.0).saturating_add(1),
        "searching blocks",
    );
    let mut end = Some(head.height).filter(|_| args.blocks > 0);
    let mut found = None;
    while let Some(high) = end.filter(|high| found.is_none() && *high >= lowest) {
        let low = high.saturating_sub(PAGE - 1).max(lowest);
        for block in node.blocks_range(low, high).await? {
            if let Some(stored) = look(node, block, &args.hash).await? {
                found = Some(stored);
            }
        }
        bar.inc(high.0 - low.0 + 1);
        end = low.checked_sub(1);
    }
    bar.finish_and_clear();
    Ok(found)
}

async fn look(
    node: &NodeClient,
    block: Block,
    hash: &TransactionHash,
) -> Result<Option<Found>, Failure> {
    let height = block.height;
    let transactions = match block.transactions {
        Some(transactions) => transactions,
        // Older nodes show transactions only in single blocks.
        None if block.tx_count > 0 => node
            .block(height)
            .await?
            .and_then(|block| block.transactions)
            .unwrap_or_default(),
        None => Vec::new(),
    };
    let found = transactions
        .into_iter()
        .find(|transaction| transaction.hash == Some(*hash));
    Ok(found.map(|transaction| Found {
        status: "mined".to_owned(),
        height: Some(height),
        stored: transaction.stored.ok(),
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
        (
            "height",
            found
                .height
                .map_or_else(|| "-".to_owned(), |height| height.to_string()),
        ),
    ];
    if let Some(stored) = &found.stored {
        fields.extend([
            ("from", printable(stored.from.as_str(), 130)),
            ("to", printable(stored.to.as_str(), 130)),
            ("amount", printable(&stored.amount.to_string(), 80)),
            ("fee", printable(&stored.fee.to_string(), 80)),
            ("nonce", printable(&stored.nonce.to_string(), 80)),
            ("chain id", printable(&stored.chain_id, 80)),
            ("message", show::message(&stored.payload, 2000)),
        ]);
    }
    out.fields(&fields)
}
