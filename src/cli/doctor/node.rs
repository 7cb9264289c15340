//! Checks the nodes of `chain.rpc` and `chain.submit`.

use agentry_chain::{ChainSource, Head, NodeClient, NodeError, NodeOptions, RpcOptions, RpcSource};
use agentry_protocol::{BlockHash, BlockHeight, Chain, Dialect, Timestamp, TransactionHash};

use super::super::ExitCode;
use super::super::failure::node_code;
use super::http::{self, Answer};
use super::report::Check;
use super::{PATIENCE, about};
use crate::config::Config;
use crate::runtime::host;

/// A newest block older than this is reported as a warning, in milliseconds.
const OLD_MS: u64 = 10 * 60 * 1000;

/// How many blocks one node may be behind the other.
const LAG: u64 = 5;

/// Results for the nodes.
#[derive(Debug)]
pub(super) struct Nodes {
    /// The node of `chain.rpc`.
    pub(super) rpc: Node,
    /// The node of `chain.submit`, if it is a different one.
    pub(super) submit: Option<Node>,
    /// By how many blocks each node is at least behind the other, if both answer: that of `rpc`,
    /// and that of `submit`.
    lag: (u64, u64),
    /// A block that both have and its hashes, if these differ: that of `rpc`, and that of `submit`.
    parted: Option<(BlockHeight, BlockHash, BlockHash)>,
}

/// Results for one node.
#[derive(Debug)]
pub(super) struct Node {
    /// Name of the check in the report.
    pub(super) name: &'static str,
    /// The configuration key that names the node.
    pub(super) key: &'static str,
    /// Its client; `None` if its URL is invalid.
    pub(super) client: Option<NodeClient>,
    /// Its state, or the reason why it is not known.
    pub(super) seen: Result<Seen, NodeError>,
}

/// State of a node.
#[derive(Debug)]
pub(super) struct Seen {
    /// Its newest block.
    pub(super) head: Option<Head>,
    /// When its newest block was made.
    pub(super) made_at: Option<Timestamp>,
    /// Whether it shows the transactions of a block; `None` if the block is not available.
    shows_transactions: Option<bool>,
    /// Why its mempool cannot be read, if so.
    mempool: Option<String>,
    /// Whether its newest block names neither its proposer nor its parent: such a block was
    /// imported, and the node follows another one.
    pub(super) follows: bool,
    /// The dialect that it speaks, if that is known.
    pub(super) dialect: Option<Dialect>,
    /// Hash of its block 0.
    pub(super) genesis: Option<BlockHash>,
    /// Names of the chains that it serves, as it reports them; not to be trusted.
    pub(super) supported_chains: Vec<String>,
    /// Its answer to a small request, used for the date.
    pub(super) answer: Option<Answer>,
    /// When its last answer arrived, on the local clock.
    pub(super) at: Timestamp,
}

impl Nodes {
    /// The node that transactions are posted to, which may be that of `chain.rpc`.
    pub(super) fn producing(&self) -> &Node {
        self.submit.as_ref().unwrap_or(&self.rpc)
    }

    /// All nodes.
    pub(super) fn all(&self) -> impl Iterator<Item = &Node> {
        std::iter::once(&self.rpc).chain(&self.submit)
    }
}

impl Node {
    /// Its state, if it answered.
    pub(super) fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref().ok()
    }
}

/// Queries the nodes.
pub(super) async fn look(config: &Config) -> Nodes {
    let chain = &config.chain;
    let on = chain.chain();
    if chain.rpc == chain.submit {
        return Nodes {
            rpc: ask("node", "chain.rpc", &chain.rpc, &on).await,
            submit: None,
            lag: (0, 0),
            parted: None,
        };
    }
    let (rpc, submit) = tokio::join!(
        ask("node of rpc", "chain.rpc", &chain.rpc, &on),
        ask("node of submit", "chain.submit", &chain.submit, &on),
    );
    let lag = lag(&rpc, &submit).await.unwrap_or_default();
    let parted = parted(&rpc, &submit, chain.final_depth).await;
    Nodes {
        rpc,
        submit: Some(submit),
        lag,
        parted,
    }
}

/// A height that two nodes with these heads both have, deeper than a reorganisation reaches if
/// there is one above block 0.
pub(super) fn common_height(one: BlockHeight, other: BlockHeight, depth: u64) -> BlockHeight {
    let lowest = one.min(other);
    match lowest.0.saturating_sub(depth) {
        0 => lowest,
        settled => BlockHeight(settled),
    }
}

/// A block that both have and that differs.
async fn parted(
    rpc: &Node,
    submit: &Node,
    depth: u64,
) -> Option<(BlockHeight, BlockHash, BlockHash)> {
    let heads = (rpc.seen()?.head.as_ref()?, submit.seen()?.head.as_ref()?);
    let height = common_height(heads.0.height, heads.1.height, depth);
    let (one, other) = (rpc.client.as_ref()?, submit.client.as_ref()?);
    let (one, other) = tokio::join!(one.block(height), other.block(height));
    let (one, other) = (one.ok()??.hash, other.ok()??.hash);
    (one != other).then_some((height, one, other))
}

/// Queries the one node before and after the other, so that blocks made meanwhile do not count as
/// lag.
async fn lag(rpc: &Node, submit: &Node) -> Option<(u64, u64)> {
    if rpc.seen.is_err() || submit.seen.is_err() {
        return None;
    }
    let (rpc, submit) = (rpc.client.as_ref()?, submit.client.as_ref()?);
    let first = submit.head().await.ok()??.height.0;
    let read = rpc.head().await.ok()??.height.0;
    let last = submit.head().await.ok()??.height.0;
    Some((first.saturating_sub(read), read.saturating_sub(last)))
}

/// A client that does not wait longer than a check may take.
pub(super) fn client(url: &str, chain: &Chain) -> Result<NodeClient, NodeError> {
    let options = NodeOptions {
        connect_timeout: PATIENCE,
        timeout: PATIENCE,
        large_timeout: PATIENCE,
        ..NodeOptions::of(chain.dialect, &chain.id)
    };
    NodeClient::new(url, options)
}

async fn ask(name: &'static str, key: &'static str, url: &str, chain: &Chain) -> Node {
    let (client, seen) = match client(url, chain) {
        Ok(client) => {
            let seen = query(&client, url, chain).await;
            (Some(client), seen)
        }
        Err(error) => (None, Err(error)),
    };
    Node {
        name,
        key,
        client,
        seen,
    }
}

async fn query(client: &NodeClient, url: &str, chain: &Chain) -> Result<Seen, NodeError> {
    let dialect = client.dialect().await?;
    let head = client.head().await?;
    let mut source = RpcSource::new(client.clone(), chain.id.clone(), RpcOptions::default());
    let newest = async {
        let height = head.as_ref()?.height;
        let block = client.block(height).await.ok()??;
        // Block 0 has no parent, and its proposer can be anybody.
        let follows = height.0 > 0 && block.proposer.is_empty() && block.parent_hash.is_none();
        Some((block.transactions.is_some(), follows))
    };
    let old = async {
        let height = head
            .as_ref()
            .map_or(BlockHeight(0), |head: &Head| head.height);
        let made_at = source.time(height).await.ok().flatten();
        (made_at, source.genesis().await.ok().flatten())
    };
    let health = format!("{url}/health");
    let mempool = async { client.mempool_hashes().await.err() };
    let (newest, (made_at, genesis), health, answer, mempool) =
        tokio::join!(newest, old, client.health(), http::get(&health), mempool);
    let (shows_transactions, follows) = newest.unzip();
    Ok(Seen {
        dialect,
        head: head.clone(),
        made_at,
        shows_transactions,
        mempool: mempool.map(|error| error.to_string()),
        follows: follows.unwrap_or(false),
        genesis,
        supported_chains: health.map_or_else(|_| Vec::new(), |health| health.supported_chains),
        answer,
        at: http::now(),
    })
}

/// The checks of the nodes; `running` is whether a runtime is running.
pub(super) fn checks(config: &Config, nodes: &Nodes, running: bool) -> Vec<Check> {
    let mut checks: Vec<Check> = nodes
        .all()
        .map(|node| check(config, node, running))
        .collect();
    let producing = nodes.producing();
    if producing.seen().is_some_and(|seen| seen.follows) {
        checks.push(Check::warning(
            producing.name,
            "it follows another node: its newest block names no proposer and no parent; what is \
             posted to it is never mined",
            "point `chain.submit` at the node that produces blocks: a follower forwards nothing",
        ));
    }
    if let Some((height, one, other)) = nodes.parted {
        checks.push(Check::wrong(
            "node of submit",
            format!(
                "it serves a different chain than the node of rpc: their blocks {height} are \
                 {other} and {one}"
            ),
            "point `chain.rpc` and `chain.submit` at nodes of one chain",
            ExitCode::Config,
        ));
    }
    let (rpc, submit) = nodes.lag;
    if rpc > LAG {
        checks.push(Check::warning(
            "node of rpc",
            format!("it is {rpc} blocks behind the node of submit"),
            "wait until it has caught up, or point `chain.rpc` at a node that has",
        ));
    }
    if submit > LAG {
        checks.push(Check::warning(
            "node of submit",
            format!("it is {submit} blocks behind the node of rpc"),
            "point `chain.submit` at the node that produces blocks: a follower forwards nothing",
        ));
    }
    let mempool = nodes
        .producing()
        .seen()
        .and_then(|seen| seen.mempool.as_ref());
    if let Some(reason) = mempool {
        checks.push(unreadable_mempool(config, reason));
    }
    checks
}

/// The mempool of the node that is posted to cannot be read over RPC.
fn unreadable_mempool(config: &Config, reason: &str) -> Check {
    let name = "mempool";
    let beside = host::chain::mempool(&config.chain);
    // A hash that no transaction has: this only checks whether the search works.
    let nobody = TransactionHash::from_bytes([0; 32]);
    if beside.is_some_and(|db| db.pending(&[nobody]).is_ok()) {
        let found = format!("it cannot be read over RPC ({reason}); mempool.db can be");
        return Check::well(name, found);
    }
    Check::warning(
        name,
        format!(
            "it cannot be read ({reason}): transactions that the node drops are not posted again"
        ),
        "read the node's database, `chain.db`, which has mempool.db beside it; or remove the \
         transaction that the node cannot serialize from its mempool",
    )
}

fn check(config: &Config, node: &Node, running: bool) -> Check {
    let seen = match &node.seen {
        Ok(seen) => seen,
        Err(error) => return away(config, node, error, running),
    };
    if let Some(devnet) = config.devnet.as_ref().filter(|devnet| devnet.port != 0)
        && !running
    {
        return Check::wrong(
            node.name,
            format!(
                "the embedded node is not running, and something else answers at its port {}",
                devnet.port
            ),
            "stop that process, choose another `devnet.port`, or remove [devnet] to use that node",
            ExitCode::Unavailable,
        );
    }
    let Some(head) = &seen.head else {
        return Check::warning(
            node.name,
            "it answers, but has no block yet",
            "let it produce or synchronise blocks",
        );
    };
    // Block 0 has the same date on every chain.
    let made_at = seen.made_at.filter(|_| head.height > BlockHeight(0));
    let mut check = match made_at.map(|made| seen.at.ms_since(made)) {
        Some(age) if age > OLD_MS => Check::warning(
            node.name,
            format!("its head is block {}, {} old", head.height, about(age)),
            "check in the node's log whether it produces or synchronises blocks; an idle chain \
             may produce none",
        ),
        Some(age) => Check::well(
            node.name,
            format!(
                "it answers; its head is block {}, {} old",
                head.height,
                about(age)
            ),
        ),
        None => Check::well(
            node.name,
            format!("it answers; its head is block {}", head.height),
        ),
    };
    let shows = seen.shows_transactions;
    if node.key == "chain.rpc" && shows == Some(false) {
        let found = "it shows no transactions of blocks: it is older than 2026-04-10";
        let fix = "update the node, or read its database: `chain.db`";
        check = check.and(if config.chain.db.is_some() {
            Check::warning(node.name, found, "update the node")
        } else {
            Check::wrong(node.name, found, fix, ExitCode::Config)
        });
    }
    check
}

fn away(config: &Config, node: &Node, error: &NodeError, running: bool) -> Check {
    match &config.devnet {
        Some(_) if !running => Check::skipped(
            node.name,
            "the embedded node, which `agentry run` starts, is not running",
        ),
        Some(devnet) if devnet.port == 0 => Check::skipped(
            node.name,
            "the embedded node chooses its own port: set it with --set chain.rpc=URL",
        ),
        _ => {
            let fix = error.fix().map_or_else(
                || {
                    format!(
                        "start the node, or point `{}` at one that is running",
                        node.key
                    )
                },
                str::to_owned,
            );
            Check::wrong(node.name, error.to_string(), fix, node_code(error))
        }
    }
}
