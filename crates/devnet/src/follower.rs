//! Following a leader. Its blocks are imported whole, checked, in pages; the credits of its faucet
//! are repeated, so that accounts agree; if it reorganises, this node rolls back and follows it.

mod forwarded;
mod leader;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agentry_chain::NodeError;
use agentry_protocol::{Address, Json, Limits};
use backon::{BackoffBuilder, ExponentialBuilder};

use crate::chain::accounts::{self, AccountRow};
use crate::chain::blocks::{self, BlockRow};
use crate::chain::{Chain, ChainError};
use crate::clock;
use crate::import::{Filing, ImportError, Incoming};
use crate::node::{Node, add, lock};

pub(crate) use forwarded::check_forwarded;
pub(crate) use leader::Leader;

/// How many blocks are requested at once, and imported in one SQLite transaction.
const PAGE: u64 = 100;

/// The pauses after failures, with jitter up to 1 s.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(50))
    .with_max_delay(Duration::from_millis(500))
    .with_jitter()
    .without_max_times();

/// How many accounts are read in one round from a leader that does not record its credits.
const ACCOUNTS_A_ROUND: usize = 50;

/// A fork that this node cannot follow: the chains have no block in common.
#[derive(Clone, Debug)]
pub(crate) struct Fork {
    pub(crate) height: u64,
    pub(crate) ours: String,
    pub(crate) leaders: String,
}

/// The state of following, as `/health` reports it.
#[derive(Clone, Debug, Default)]
pub(crate) struct FollowState {
    pub(crate) leader_height: Option<u64>,
    pub(crate) error: Option<String>,
    pub(crate) fork: Option<Fork>,
}

/// Why a round of following failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error("{0}")]
    Node(#[from] NodeError),
    #[error("reading the leader's credits: {0}")]
    Credits(String),
    #[error("the leader's answer: {0}")]
    Answer(String),
    #[error("{0}")]
    Import(#[from] ImportError),
    #[error("{0}")]
    Chain(#[from] ChainError),
    #[error(
        "the leader's chain has no block in common with this one: at height {0} the hashes differ"
    )]
    Fork(u64),
    #[error("the database's thread ended")]
    Gone,
}

/// Follows until the node stops.
pub(crate) async fn follow(node: Arc<Node>) {
    let poll = node.config.block_time / 4;
    let mut pauses = PAUSES.build();
    let mut follower = Follower {
        node,
        has_ledger: true,
        touched: BTreeSet::new(),
    };
    loop {
        match follower.round().await {
            Ok(more) => {
                follower.node.follows_again();
                pauses = PAUSES.build();
                if !more {
                    tokio::time::sleep(poll).await;
                }
            }
            Err(error) => {
                follower.node.follows_not(&error);
                tokio::time::sleep(pauses.next().unwrap_or_default()).await;
            }
        }
    }
}

impl Node {
    fn follows_again(&self) {
        let mut state = lock(&self.follow);
        let (error, fork) = (state.error.take(), state.fork.take());
        if error.is_some() || fork.is_some() {
            tracing::info!("following the leader again");
        }
    }

    /// Logs a failure once, and keeps it for `/health`.
    fn follows_not(&self, error: &FollowError) {
        let text = error.to_string();
        let mut state = lock(&self.follow);
        if state.error.as_ref() != Some(&text) {
            match error {
                FollowError::Fork(_) => {
                    tracing::error!(error = text, "the leader's chain cannot be followed");
                }
                _ => tracing::warn!(error = text, "following the leader failed; trying again"),
            }
        }
        if !matches!(error, FollowError::Fork(_)) {
            state.fork = None;
        }
        state.error = Some(text);
    }
}

struct Follower {
    node: Arc<Node>,
    /// Whether the leader answers `/dev/credits`: AITBC's own node does not.
    has_ledger: bool,
    /// Addresses whose accounts must be read from a leader that does not record its credits.
    touched: BTreeSet<String>,
}

/// Runs a database job off the arbiter.
async fn blocking<T: Send + 'static, E: Into<FollowError> + Send + 'static>(
    node: &Arc<Node>,
    job: impl FnOnce(&Node) -> Result<T, E> + Send + 'static,
) -> Result<T, FollowError> {
    let node = node.clone();
    tokio::task::spawn_blocking(move || job(&node))
        .await
        .map_err(|_| FollowError::Gone)?
        .map_err(Into::into)
}

impl Follower {
    fn leader(&self) -> Result<&Leader, FollowError> {
        self.node.leader.as_ref().ok_or(FollowError::Gone)
    }

    async fn our_head(&self) -> Result<Option<BlockRow>, FollowError> {
        blocking(&self.node, |node| node.read(blocks::head)).await
    }

    /// Polls the leader once. True: there are more blocks to read at once.
    async fn round(&mut self) -> Result<bool, FollowError> {
        let Some(head) = self.leader()?.client.head().await? else {
            return Ok(false);
        };
        lock(&self.node.follow).leader_height = Some(head.height.0);
        let ours = self.our_head().await?;
        let start = match &ours {
            Some(ours) if ours.height == head.height.0 && ours.hash == head.hash.to_string() => {
                self.keep_accounts().await?;
                check_forwarded(&self.node, head.height.0).await?;
                return Ok(false);
            }
            Some(ours) if head.height.0 < ours.height => {
                self.go_back(head.height.0).await?;
                return Ok(true);
            }
            Some(ours) => ours.height,
            None => 0,
        };
        let mut page = self.page(start, start + PAGE).await?;
        if let Some(ours) = &ours {
            match page.first() {
                Some(first) if first.height == ours.height && first.hash == ours.hash => {
                    page.remove(0);
                }
                _ => {
                    self.go_back(ours.height).await?;
                    return Ok(true);
                }
            }
        }
        if page.is_empty() {
            return Ok(false);
        }
        self.import(page, head.height.0).await
    }

    async fn import(
        &mut self,
        page: Vec<Incoming>,
        leader_height: u64,
    ) -> Result<bool, FollowError> {
        let last = page.last().map_or(0, |block| block.height);
        let count = page.len() as u64;
        let credits = self.new_credits().await?;
        if !self.has_ledger {
            self.touched
                .extend(page.iter().flat_map(Incoming::addresses).map(str::to_owned));
        }
        let filing = if self.node.faults.is_set("import-loses-transactions") {
            Filing::HeaderOnly
        } else {
            Filing::Whole
        };
        let mined = blocking(&self.node, move |node| {
            node.chain().import(&page, &credits, filing)
        })
        .await?;
        add(&self.node.counters.blocks_imported, count);
        add(&self.node.counters.transactions_mined, mined);
        tracing::debug!(
            through = last,
            count,
            transactions = mined,
            "imported blocks of the leader"
        );
        Ok(last < leader_height)
    }

    /// Reads blocks from the leader, both ends included. A block that blocks-range shows without
    /// its transactions is fetched alone.
    async fn page(&self, start: u64, end: u64) -> Result<Vec<Incoming>, FollowError> {
        let leader = self.leader()?;
        let limits = Limits {
            max_bytes: usize::MAX,
            ..Limits::default()
        };
        let mut page = Vec::new();
        let dialect = self.node.config.dialect;
        for block in leader
            .client
            .blocks_range_raw(start.into(), end.into())
            .await?
        {
            let mut incoming = Incoming::read(dialect, parse(block.as_bytes(), limits)?.root())?;
            if incoming.is_incomplete()
                && let Some(text) = leader
                    .get(&format!("/rpc/blocks/{}", incoming.height))
                    .await?
            {
                incoming = Incoming::read(dialect, parse(text.as_bytes(), limits)?.root())?;
            }
            page.push(incoming);
        }
        Ok(page)
    }

    async fn new_credits(&mut self) -> Result<Vec<accounts::Credit>, FollowError> {
        if !self.has_ledger {
            return Ok(Vec::new());
        }
        let newest = blocking(&self.node, |node| {
            node.read(|db, _| accounts::newest_credit(db))
        })
        .await?;
        match self.leader()?.credits_after(newest).await? {
            Some(credits) => Ok(credits),
            None => {
                tracing::info!(
                    "the leader does not record its credits; accounts are read one by one"
                );
                self.has_ledger = false;
                Ok(Vec::new())
            }
        }
    }

    /// Keeps accounts equal to the leader's while no blocks arrive.
    async fn keep_accounts(&mut self) -> Result<(), FollowError> {
        if self.node.faults.is_set("import-loses-transactions") {
            return Ok(());
        }
        let credits = self.new_credits().await?;
        if !credits.is_empty() {
            blocking(&self.node, move |node| {
                node.chain().import(&[], &credits, Filing::Whole)
            })
            .await?;
        }
        for _ in 0..ACCOUNTS_A_ROUND {
            let Some(address) = self.touched.first().cloned() else {
                break;
            };
            if let Ok(known) = Address::from_chain(&address) {
                let account = self.leader()?.client.account(&known).await?;
                let row = AccountRow {
                    balance: i64::try_from(account.balance).unwrap_or(i64::MAX),
                    nonce: i64::try_from(account.nonce.get()).unwrap_or(i64::MAX),
                };
                let name = address.clone();
                blocking(&self.node, move |node| {
                    let chain = node.chain();
                    let now = clock::db_text(clock::now_micros());
                    accounts::put(&chain.db, chain.id.as_str(), &name, row, &now)
                })
                .await?;
            }
            self.touched.remove(&address);
        }
        Ok(())
    }

    /// The leader's chain differs from this one at `height`: finds the last common block and rolls
    /// back to it.
    async fn go_back(&mut self, height: u64) -> Result<(), FollowError> {
        let mut end = height;
        loop {
            let start = end.saturating_sub(PAGE - 1);
            let theirs = self.page_hashes(start, end).await?;
            let ours = blocking(&self.node, move |node| {
                node.read(|db, chain| blocks::range(db, chain, start, end))
            })
            .await?;
            let common = ours.iter().rev().find(|block| {
                theirs
                    .iter()
                    .any(|(height, hash)| *height == block.height && *hash == block.hash)
            });
            if let Some(common) = common {
                return self.roll_back(common.height).await;
            }
            if start == 0 {
                return Err(self.report_fork(&ours, &theirs));
            }
            end = start - 1;
        }
    }

    async fn page_hashes(&self, start: u64, end: u64) -> Result<Vec<(u64, String)>, FollowError> {
        let blocks = self
            .leader()?
            .client
            .blocks_range(start.into(), end.into())
            .await?;
        Ok(blocks
            .into_iter()
            .map(|block| (block.height.0, block.hash.to_string()))
            .collect())
    }

    async fn roll_back(&self, height: u64) -> Result<(), FollowError> {
        let gone = blocking(&self.node, move |node| -> Result<u64, ChainError> {
            let mut chain = node.chain();
            let gone = chain.roll_back_to(height, false)?;
            if height == 0 {
                // The leader's chain restarted, and with it the record of its credits.
                accounts::delete_all(&chain.db, chain.id.as_str())?;
            }
            Ok(gone)
        })
        .await?;
        add(&self.node.counters.reorganisations, 1);
        tracing::warn!(
            blocks = gone,
            above = height,
            "the leader reorganised; rolled back to follow it"
        );
        Ok(())
    }

    fn report_fork(&self, ours: &[BlockRow], theirs: &[(u64, String)]) -> FollowError {
        let pair = theirs.iter().find_map(|(height, hash)| {
            Some((ours.iter().find(|ours| ours.height == *height)?, hash))
        });
        let height = pair.map_or(0, |(ours, _)| ours.height);
        if let Some((ours, leaders)) = pair {
            lock(&self.node.follow).fork = Some(Fork {
                height,
                ours: ours.hash.clone(),
                leaders: leaders.clone(),
            });
        }
        FollowError::Fork(height)
    }
}

fn parse(text: &[u8], limits: Limits) -> Result<Json, FollowError> {
    Json::parse(text, limits).map_err(|error| FollowError::Answer(error.to_string()))
}

/// Whether a hash is mined here, for [`check_forwarded`].
fn is_settled(chain: &Chain, hash: &str) -> bool {
    chain.pool.get(hash).is_none()
}
