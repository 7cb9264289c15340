//! `agentry chain head|block|transaction|mempool|account|sync`.

mod show;
mod sync;
mod transaction;

use std::path::PathBuf;

use agentry_chain::{NodeClient, NodeOptions};
use agentry_protocol::{Address, BlockHeight, ChainId, Dialect, Json, TransactionHash};
use clap::{Args, Subcommand};

use super::devnet::node_url;
use super::output::{Tone, or_dash, printable};
use super::{Context, Failure, runtime};
use crate::ops::who;
use crate::wallet::WalletStore;

/// Arguments of `chain`.
#[derive(Debug, Args)]
pub struct ChainArgs {
    /// The node [default: the configuration's, chain.rpc or chain.submit]
    #[arg(long, global = true, value_name = "URL", value_parser = node_url)]
    node: Option<String>,
    #[command(subcommand)]
    command: ChainCommand,
}

#[derive(Debug, Subcommand)]
enum ChainCommand {
    /// The newest block
    Head,
    /// A block and its transactions
    Block {
        /// The block's height
        height: u64,
    },
    /// A transaction, in the mempool or in a block
    Transaction(transaction::TransactionArgs),
    /// The transactions in the mempool
    Mempool {
        /// Maximum number of transactions, highest fee first
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u64,
    },
    /// An account's balance and counter
    Account {
        /// An address, or a name of agents.toml, of a wallet or of the directory
        #[arg(value_name = "ADDR|NAME")]
        account: String,
        /// A folder of keystore files in which to look up a wallet's name
        #[arg(long, value_name = "DIR")]
        keystore: Option<PathBuf>,
    },
    /// Copies blocks from one node to another that lacks them
    ///
    /// All blocks are read over RPC. A block that the source node cannot serve whole is copied
    /// without its transactions if the other node accepts it. Otherwise copying ends there, and the
    /// chain's database has to be copied instead.
    Sync(sync::SyncArgs),
}

/// The node that a command uses.
#[derive(Clone, Copy)]
enum Which {
    Reading,
    Producing,
}

pub(super) fn run(args: &ChainArgs, context: &Context) -> Result<(), Failure> {
    let node = |which| connect(args.node.as_deref(), which, context);
    runtime()?.block_on(async {
        match &args.command {
            ChainCommand::Head => head(&node(Which::Reading).await?, context).await,
            ChainCommand::Block { height } => {
                block(&node(Which::Reading).await?, BlockHeight(*height), context).await
            }
            ChainCommand::Transaction(wanted) => {
                // The configured database belongs to the configured node.
                let chain = match &args.node {
                    Some(_) => None,
                    None => Some(context.config()?.chain),
                };
                transaction::run(
                    &node(Which::Reading).await?,
                    chain.as_ref(),
                    wanted,
                    context,
                )
                .await
            }
            ChainCommand::Mempool { limit } => {
                mempool(&node(Which::Producing).await?, *limit, context).await
            }
            ChainCommand::Account { account, keystore } => {
                let address = address(account, keystore.clone(), context)?;
                self::account(&node(Which::Producing).await?, &address, context).await
            }
            ChainCommand::Sync(wanted) => sync::run(wanted, args.node.as_deref(), context).await,
        }
    })
}

async fn connect(
    url: Option<&str>,
    which: Which,
    context: &Context,
) -> Result<NodeClient, Failure> {
    if let Some(url) = url {
        return client(url, None).await;
    }
    let chain = context.config()?.chain;
    let url = match which {
        Which::Reading => &chain.rpc,
        Which::Producing => &chain.submit,
    };
    Ok(NodeClient::new(url, chain.node_options())?)
}

/// A client of a node that no configuration describes: it shows its dialect, and, unless one is given, the
/// chain that it serves.
async fn client(url: &str, chain: Option<ChainId>) -> Result<NodeClient, Failure> {
    let asking = NodeClient::new(url, NodeOptions::default())?;
    // If it does not answer, the command itself says so.
    let dialect = asking.dialect().await.ok().flatten();
    let dialect = dialect.unwrap_or_default();
    if dialect == Dialect::default() {
        return Ok(asking);
    }
    let served = async {
        let served = asking.health().await.ok()?.supported_chains;
        served.first()?.parse().ok()
    };
    let chain = match chain {
        Some(chain) => Some(chain),
        None => served.await,
    };
    let options = NodeOptions {
        dialect,
        chain,
        ..NodeOptions::default()
    };
    Ok(NodeClient::new(url, options)?)
}

/// Resolves an address or a name; with a folder, the name of a wallet there. The configuration is
/// read only for a name.
fn address(text: &str, keystore: Option<PathBuf>, context: &Context) -> Result<Address, Failure> {
    if let Some(address) = who::literal(text)? {
        return Ok(address);
    }
    let Some(folder) = keystore else {
        return Ok(who::resolve(text, &context.config()?)?);
    };
    let wallet = WalletStore::new(Some(folder), None).find(text)?;
    Ok(wallet.info().known_address()?.clone())
}

async fn head(node: &NodeClient, context: &Context) -> Result<(), Failure> {
    let head = node.head().await?;
    let out = context.output;
    if out.is_json() {
        let (height, hash, count) = match &head {
            Some(head) => (
                Json::integer(head.height.0.into()),
                Json::string(head.hash.to_string()),
                Json::integer(head.tx_count.into()),
            ),
            None => (Json::null(), Json::null(), Json::null()),
        };
        let fields = [("height", height), ("hash", hash), ("tx_count", count)];
        return out.line(Json::object(fields).to_compact());
    }
    match head {
        Some(head) => out.fields(&[
            ("height", head.height.to_string()),
            ("hash", head.hash.to_string()),
            ("transactions", head.tx_count.to_string()),
        ]),
        None => out.line(format!(
            "{} has no blocks yet; try again in a few seconds",
            node.url()
        )),
    }
}

async fn block(node: &NodeClient, height: BlockHeight, context: &Context) -> Result<(), Failure> {
    let block = match node.block(height).await {
        // The node may be unable to serve only the block's transactions.
        Err(error) if error.is_server_error() => match node.headers(height, height).await {
            Ok(headers) => headers.into_iter().next(),
            Err(_) => return Err(error.into()),
        },
        block => block?,
    };
    let Some(block) = block else {
        let head = node.head().await?;
        let head = head.map_or_else(
            || "it has no blocks".to_owned(),
            |head| format!("its newest block is {}", head.height),
        );
        return Err(Failure::no_input(format!(
            "{} has no block {height}; {head}",
            node.url()
        )));
    };
    let out = context.output;
    if out.is_json() {
        return out.line(show::block(&block).to_compact());
    }
    out.fields(&[
        ("height", block.height.to_string()),
        ("hash", block.hash.to_string()),
        ("parent", or_dash(block.parent_hash)),
        ("proposer", printable(&block.proposer, 100)),
        ("timestamp", printable(&block.timestamp, 40)),
        ("transactions", block.tx_count.to_string()),
    ])?;
    let transactions = block.transactions.unwrap_or_default();
    if transactions.is_empty() {
        if block.tx_count > 0 {
            out.line(
                "the node cannot show the transactions of this block; choose another node with \
                 --node",
            )?;
        }
        return Ok(());
    }
    out.line("")?;
    let rows: Vec<_> = transactions
        .iter()
        .map(|transaction| {
            let hash = or_dash(transaction.hash);
            show::row(hash, transaction.stored.as_ref().map_err(String::as_str))
        })
        .collect();
    out.table(&show::HEADINGS, &rows)
}

async fn mempool(node: &NodeClient, limit: u64, context: &Context) -> Result<(), Failure> {
    let mempool = node.mempool(limit).await?;
    let out = context.output;
    if out.is_json() {
        let list = mempool.transactions.iter();
        let list = list.map(|stored| show::transaction(Some(stored.hash()), Ok(stored)));
        return out.line(
            Json::object([
                ("count", Json::integer(mempool.count.into())),
                ("undecodable", Json::integer(mempool.undecodable.into())),
                ("complete", Json::boolean(mempool.complete)),
                ("transactions", Json::array(list)),
            ])
            .to_compact(),
        );
    }
    if mempool.count == 0 {
        return out.line("the mempool is empty");
    }
    let rows: Vec<_> = mempool
        .transactions
        .iter()
        .map(|stored| show::row(stored.hash().to_string(), Ok(stored)))
        .collect();
    out.table(&show::HEADINGS, &rows)?;
    if mempool.undecodable > 0 {
        out.line(format!("{} more cannot be decoded", mempool.undecodable))?;
    }
    if !mempool.complete {
        let text = format!("there may be more than {limit}; see --limit");
        out.line(out.tone(Tone::Faint, &text))?;
    }
    Ok(())
}

async fn account(node: &NodeClient, address: &Address, context: &Context) -> Result<(), Failure> {
    let account = node.account(address).await?;
    let out = context.output;
    if out.is_json() {
        return out.line(
            Json::object([
                ("address", Json::string(account.address.as_str())),
                ("balance", Json::integer(account.balance)),
                ("nonce", Json::integer(account.nonce.get().into())),
                ("exists", Json::boolean(account.exists)),
            ])
            .to_compact(),
        );
    }
    out.fields(&[
        ("address", account.address.to_string()),
        ("balance", node.configured_dialect().amount(account.balance)),
        ("nonce", account.nonce.to_string()),
    ])?;
    if !account.exists {
        out.line("the chain has never seen this address; it exists after the first payment to it")?;
    }
    Ok(())
}

/// Parses a transaction hash, with or without `0x`.
fn hash(text: &str) -> Result<TransactionHash, String> {
    let lower = text.to_ascii_lowercase();
    let full = if lower.starts_with("0x") {
        lower
    } else {
        format!("0x{lower}")
    };
    full.parse()
        .map_err(|error| format!("{error}; write 0x and 64 hexadecimal digits"))
}
