//! The chain at startup: the source, its identity, and the position to begin at.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentry_chain::{
    ChainDb, ChainDbOptions, ChainSource, Cursor, MempoolDb, NodeClient, NodeOptions, RpcOptions,
    RpcSource, SharedDb, SharedHead, SourceError, Start,
};
use agentry_protocol::{
    BlockHash, BlockHeight, ChainId, Dialect, StoredTransaction, Timestamp, genesis_hash,
};
use agentry_store::StoreError;
use agentry_store::read::Identity;

use super::HostError;
use crate::config::{ChainConfig, masked};
use crate::runtime::lease::LONGEST_POST;
use crate::runtime::registry::AgentRegistry;

/// The pause between attempts to reach the node at startup.
const PAUSE: Duration = Duration::from_millis(250);

/// How often a node on this machine is asked for its head while a block is due. Other nodes are
/// asked at the source's default rate, well below the 5,000 requests a minute that a node allows.
const LOCAL_POLL: Duration = Duration::from_millis(50);

/// How long a node that is only posted to may take to say which chain it serves. A slower one does
/// not delay the start: it is asked again before the first POST.
const SUBMIT_PATIENCE: Duration = Duration::from_secs(2);

/// The number of failed attempts after which the log repeats the warning.
const TELL_EVERY: u32 = 40;

/// The clients of the configured nodes.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    /// The node to which transactions are posted.
    pub(crate) submit: NodeClient,
    /// The node that is read if no database is configured.
    pub(crate) read: NodeClient,
    /// The name of the source in log messages and errors.
    pub(crate) name: String,
    shared: Shared,
}

/// What the shards of a process share to read the chain.
#[derive(Clone, Debug, Default)]
struct Shared {
    head: SharedHead,
    /// The database, once it was opened.
    db: Arc<Mutex<Option<SharedDb>>>,
}

/// The clients of a configured chain.
pub(crate) fn nodes(chain: &ChainConfig) -> Result<Nodes, HostError> {
    nodes_with(chain, &chain.node_options())
}

/// The clients of a chain for a host of a cluster. What one of its POSTs could not deliver must not arrive
/// when another host has taken over, and has seen to it.
pub(super) fn nodes_of_a_cluster(chain: &ChainConfig) -> Result<Nodes, HostError> {
    let options = NodeOptions {
        unacknowledged: Some(LONGEST_POST),
        ..chain.node_options()
    };
    nodes_with(chain, &options)
}

fn nodes_with(chain: &ChainConfig, options: &NodeOptions) -> Result<Nodes, HostError> {
    let client = |url: &str| {
        NodeClient::new(url, options.clone()).map_err(|error| HostError::Node {
            node: masked(url),
            reason: error.to_string(),
        })
    };
    let submit = client(&chain.submit)?;
    // One client for one node, so that its limits cover all requests.
    let read = match chain.rpc == chain.submit {
        true => submit.clone(),
        false => client(&chain.rpc)?,
    };
    Ok(Nodes {
        submit,
        read,
        name: name(chain, || masked(&chain.rpc)),
        shared: Shared::default(),
    })
}

impl Nodes {
    /// The head that the sources of this process share.
    pub(super) fn head(&self) -> SharedHead {
        self.shared.head.clone()
    }

    /// One node in place of the configured ones.
    pub(super) fn only(node: NodeClient, chain: &ChainConfig) -> Self {
        Self {
            name: name(chain, || node.url().to_owned()),
            submit: node.clone(),
            read: node,
            shared: Shared::default(),
        }
    }
}

/// The name of the source: the database, if it is read.
fn name(chain: &ChainConfig, node: impl FnOnce() -> String) -> String {
    let path = chain.db.as_ref().map(|path| path.display().to_string());
    path.unwrap_or_else(node)
}

/// A source of the configured chain, with a connection of its own to the database. Those that read over
/// RPC share the requests for the node's head.
pub(crate) fn source(
    chain: &ChainConfig,
    nodes: &Nodes,
) -> Result<Box<dyn ChainSource>, HostError> {
    match &chain.db {
        Some(path) => {
            let opened = ChainDb::open(path, chain.id.clone(), ChainDbOptions::of(chain.dialect));
            Ok(Box::new(opened.map_err(|error| unreadable(path, &error))?))
        }
        None => Ok(Box::new(rpc(chain, nodes))),
    }
}

fn unreadable(path: &Path, error: &SourceError) -> HostError {
    HostError::Node {
        node: path.display().to_string(),
        reason: error.to_string(),
    }
}

/// A source for one of the shards of a process, which also share the connection to the database and the
/// looks at it.
pub(super) fn shared_source(
    chain: &ChainConfig,
    nodes: &Nodes,
) -> Result<Box<dyn ChainSource>, HostError> {
    let Some(path) = &chain.db else {
        return Ok(Box::new(rpc(chain, nodes)));
    };
    let mut db = nodes
        .shared
        .db
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let db = match &mut *db {
        Some(db) => db,
        db => {
            let opened = SharedDb::open(path, chain.id.clone(), ChainDbOptions::of(chain.dialect));
            db.insert(opened.map_err(|error| unreadable(path, &error))?)
        }
    };
    Ok(Box::new(db.source()))
}

fn rpc(chain: &ChainConfig, nodes: &Nodes) -> RpcSource {
    let mut options = RpcOptions::default();
    if is_local(&chain.rpc) {
        options.poll = LOCAL_POLL;
    }
    let source = RpcSource::new(nodes.read.clone(), chain.id.clone(), options);
    let source = source.sharing(&nodes.shared.head);
    match chain.submit == chain.rpc {
        true => source,
        // A follower may lack transactions that the posting node has.
        false => source.completed_from(nodes.submit.clone()),
    }
}

/// The `mempool.db` beside the configured database, if the configuration says that the database
/// belongs to the posting node.
pub(crate) fn mempool(chain: &ChainConfig) -> Option<MempoolDb> {
    let db = chain.db.as_ref().filter(|_| chain.rpc == chain.submit)?;
    MempoolDb::beside(chain.dialect, db, chain.id.clone())
}

/// Whether a node is on this machine: it does not rate-limit our requests, and an answer costs
/// little.
fn is_local(url: &str) -> bool {
    ["http://127.0.0.1", "http://localhost", "http://[::1]"]
        .iter()
        .any(|local| {
            url.strip_prefix(local)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
        })
}

/// The point where reading begins.
#[derive(Debug)]
pub(super) struct Beginning {
    /// Hash of block 0.
    pub(super) genesis: BlockHash,
    /// The position of the source.
    pub(super) cursor: Cursor,
    /// The first height whose messages concern an agent that is new to the store.
    pub(super) first_height: BlockHeight,
    /// The highest block that a node has shown: the wallets' messages up to there must be known
    /// before the wallets send more.
    pub(super) head: BlockHeight,
    /// Whether the posting node has shown that it serves this chain.
    pub(super) submit_is_known: bool,
}

/// Checks that the source has the right chain, and finds the position to begin at. Waits for a node
/// that cannot be reached.
pub(super) async fn begin(
    source: &mut dyn ChainSource,
    chain: &ChainConfig,
    nodes: &Nodes,
    known: &Identity,
    new_agents: bool,
) -> Result<Beginning, HostError> {
    let mut failures = 0_u32;
    loop {
        match try_begin(source, chain, nodes, known, new_agents).await {
            Ok(Some(beginning)) => return Ok(beginning),
            Ok(None) => wait_told(&mut failures, &nodes.name, "there is no block yet"),
            Err(Problem::Final(error)) => return Err(error),
            Err(Problem::Passing(reason)) => wait_told(&mut failures, &nodes.name, &reason),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How long reading the time of the newest block may take.
const TIME_PATIENCE: Duration = Duration::from_secs(5);

/// The time of the newest block, as the block states it.
pub(super) async fn newest_time(source: &mut dyn ChainSource) -> Result<Option<Timestamp>, String> {
    let read = async {
        match source.head().await? {
            Some(head) => source.time(head.height).await,
            None => Ok(None),
        }
    };
    match tokio::time::timeout(TIME_PATIENCE, read).await {
        Ok(time) => time.map_err(|error: SourceError| error.to_string()),
        Err(_) => Err("the node does not answer".to_owned()),
    }
}

/// How long reading the node's pending transactions may take.
const PENDING_PATIENCE: Duration = Duration::from_secs(10);

/// The pending transactions of these wallets at the posting node; none, if the node does not
/// answer.
pub(super) async fn pending(node: &NodeClient, registry: &AgentRegistry) -> Vec<StoredTransaction> {
    let own = |stored: &StoredTransaction| registry.at(stored.from.as_str()).is_some();
    let read = tokio::time::timeout(PENDING_PATIENCE, node.pending_that(own)).await;
    let reason = match read {
        Ok(Ok(pending)) => return pending,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the node does not answer in time".to_owned(),
    };
    tracing::warn!(
        node.url = node.url(),
        reason,
        "the pending transactions of the hosted wallets cannot be read: if this store was restored from a copy, their messages may be sent again"
    );
    Vec::new()
}

/// The highest block that the nodes show now.
pub(super) async fn head(source: &mut dyn ChainSource, nodes: &Nodes) -> Option<BlockHeight> {
    let read = tokio::time::timeout(SUBMIT_PATIENCE, source.head()).await;
    let read = read.ok().and_then(Result::ok).flatten();
    let submit = tokio::time::timeout(SUBMIT_PATIENCE, nodes.submit.head()).await;
    let submit = submit.ok().and_then(Result::ok).flatten();
    [read, submit]
        .into_iter()
        .flatten()
        .map(|head| head.height)
        .max()
}

fn wait_told(failures: &mut u32, node: &str, reason: &str) {
    if (*failures).is_multiple_of(TELL_EVERY) {
        tracing::warn!(node, reason, "waiting for the node");
    }
    *failures = failures.saturating_add(1);
}

enum Problem {
    Passing(String),
    Final(HostError),
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        // A source that fails now may succeed when its node has recovered.
        Self::Passing(error.to_string())
    }
}

async fn try_begin(
    source: &mut dyn ChainSource,
    chain: &ChainConfig,
    nodes: &Nodes,
    known: &Identity,
    new_agents: bool,
) -> Result<Option<Beginning>, Problem> {
    // First: what a node of another dialect answers cannot be understood.
    check_dialect(chain, &nodes.name, source.dialect().await?)?;
    let genesis = match source.genesis().await {
        Ok(Some(genesis)) => genesis,
        Ok(None) => return Ok(None),
        Err(SourceError::OtherChain { .. }) => {
            return Err(other(chain, nodes, "its blocks belong to another chain"));
        }
        Err(error) => return Err(error.into()),
    };
    check_genesis(chain, nodes, known, genesis).await?;
    let others = others(chain, nodes, genesis).await?;
    let Some(head) = source.head().await? else {
        return Ok(None);
    };
    let stored: Option<Cursor> = known
        .cursor
        .as_deref()
        .map(serde_json::from_str)
        .transpose()
        .map_err(|error| StoreError::value("meta", "cursor", &error))
        .map_err(|error| Problem::Final(HostError::Store(error)))?;
    let first = match chain.start {
        Start::Height(height) => height,
        Start::Head => head.height.next(),
    };
    let cursor = match stored {
        // If a new agent begins below the position, the chain is read again from there; the other
        // agents already know the messages in those blocks.
        Some(stored)
            if new_agents
                && matches!(chain.start, Start::Height(_))
                && stored.height().is_some_and(|height| first <= height) =>
        {
            source.begin(chain.start).await?
        }
        Some(stored) => stored,
        None => source.begin(chain.start).await?,
    };
    Ok(Some(Beginning {
        genesis,
        cursor,
        first_height: first,
        head: others
            .head
            .map_or(head.height, |other| other.max(head.height)),
        submit_is_known: others.submit_is_known,
    }))
}

/// The answers of the nodes that are configured beside the source.
struct Others {
    /// The head of the posting node.
    head: Option<BlockHeight>,
    submit_is_known: bool,
}

/// Asks the nodes beside the source whether they serve the same chain: `submit`, and `rpc` if a
/// database is read. A node that does not answer does not delay the start.
async fn others(chain: &ChainConfig, nodes: &Nodes, genesis: BlockHash) -> Result<Others, Problem> {
    let reads_rpc = chain.db.is_none();
    let same_url = chain.rpc == chain.submit;
    let mut found = Others {
        head: None,
        submit_is_known: reads_rpc && same_url,
    };
    if !found.submit_is_known {
        let submit = &nodes.submit;
        found.submit_is_known = serves(chain, nodes, submit, genesis).await?;
        if found.submit_is_known {
            let head = tokio::time::timeout(SUBMIT_PATIENCE, submit.head()).await;
            found.head = head
                .ok()
                .and_then(Result::ok)
                .flatten()
                .map(|head| head.height);
        } else {
            tracing::warn!(
                node.url = submit.url(),
                "the node that transactions are posted to does not identify its chain; nothing is posted until it does"
            );
        }
    }
    if !reads_rpc && !same_url {
        serves(chain, nodes, &nodes.read, genesis).await?;
    }
    Ok(found)
}

/// Whether a node serves the chain with this block 0; unknown if it does not answer, or has no
/// block yet.
async fn serves(
    chain: &ChainConfig,
    nodes: &Nodes,
    node: &NodeClient,
    genesis: BlockHash,
) -> Result<bool, Problem> {
    let spoken = tokio::time::timeout(SUBMIT_PATIENCE, node.dialect()).await;
    check_dialect(
        chain,
        node.url(),
        spoken.ok().and_then(Result::ok).flatten(),
    )?;
    let ask = node.block_hash(BlockHeight(0));
    match tokio::time::timeout(SUBMIT_PATIENCE, ask).await {
        Ok(Ok(Some(found))) if found == genesis => Ok(true),
        Ok(Ok(Some(found))) => Err(Problem::Final(HostError::OtherChain {
            node: node.url().to_owned(),
            configured: chain.id.to_string(),
            why: format!(
                "its block 0 is {found}, that of {} is {genesis}",
                nodes.name
            ),
        })),
        Ok(Ok(None)) | Err(_) => Ok(false),
        Ok(Err(error)) => {
            tracing::debug!(node.url = node.url(), %error, "cannot query block 0");
            Ok(false)
        }
    }
}

/// Compares the dialect that a node shows with the configured one.
fn check_dialect(chain: &ChainConfig, node: &str, spoken: Option<Dialect>) -> Result<(), Problem> {
    match spoken {
        Some(spoken) if spoken != chain.dialect => Err(Problem::Final(HostError::OtherDialect {
            node: node.to_owned(),
            configured: chain.dialect,
            spoken,
        })),
        _ => Ok(()),
    }
}

fn other(chain: &ChainConfig, nodes: &Nodes, why: &str) -> Problem {
    Problem::Final(HostError::OtherChain {
        node: nodes.name.clone(),
        configured: chain.id.to_string(),
        why: why.to_owned(),
    })
}

/// A chain is identified by its block 0: the one that the store remembers, or, at the first start,
/// the one that is derived from the chain's id. Some chains began with another block 0: that causes
/// a warning, unless the block is known to be another chain's.
async fn check_genesis(
    chain: &ChainConfig,
    nodes: &Nodes,
    known: &Identity,
    genesis: BlockHash,
) -> Result<(), Problem> {
    if let Some(stored) = &known.genesis {
        if *stored == genesis.to_string() {
            return Ok(());
        }
        let why = format!("its block 0 is {genesis}, the store was made with {stored}");
        return Err(other(chain, nodes, &why));
    }
    if !chain.dialect.derives_genesis() || genesis == genesis_hash(&chain.id) {
        return Ok(());
    }
    let supported = match nodes.read.health().await {
        Ok(health) => health.supported_chains,
        Err(_) => Vec::new(),
    };
    if let Some(found) = chain_of(genesis, &chain.id, &supported) {
        return Err(other(
            chain,
            nodes,
            &format!("its block 0 is that of {found}"),
        ));
    }
    tracing::warn!(
        block.hash = %genesis,
        chain.id = %chain.id,
        "block 0 is not the one derived from the chain's id; the store identifies the chain by it from now on"
    );
    Ok(())
}

/// The other chain that a block 0 is known to belong to: a common one, or one that the node names.
pub(crate) fn chain_of(genesis: BlockHash, id: &ChainId, supported: &[String]) -> Option<ChainId> {
    ["ait-mainnet", "ait-devnet", "ait-testnet"]
        .into_iter()
        .chain(supported.iter().map(String::as_str))
        .filter_map(|other| other.parse().ok())
        .find(|other| other != id && genesis_hash(other) == genesis)
}
