//! The last check before bytes are posted again: the blocks themselves.
//!
//! A source skips blocks that it could not read whole: a node may count transactions in a block
//! whose rows it writes later or has lost (docs/hazards.md#hazard-4, docs/hazards.md#hazard-5). The
//! source has not seen a transaction in such a block, and the mempool does not contain it, although
//! it is mined. So the posting node is asked for the blocks that may contain it, and the
//! transaction counts as absent only if each of these blocks shows as many transactions as it
//! counts.
//!
//! A node that fails now and then rarely shows 64 blocks one after the other. So the blocks that it
//! has shown whole are kept for the next look, which asks only for the others. A kept block counts
//! only while the blocks above it lead down to it by their parents' hashes, from a head that was
//! just read: then the node's chain still contains it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use agentry_chain::{Block, NodeClient, NodeError};
use agentry_protocol::{BlockHash, BlockHeight, TransactionHash};
use tokio::time::{Instant, timeout_at};

/// How many blocks below the head are examined: the depth to which every source notices late rows.
/// Below it only the source's gaps are in doubt.
const WINDOW: u64 = 64;

/// How many blocks are requested at a time.
const PIECE: u64 = 8;

/// A block that the node has shown whole.
#[derive(Clone, Debug)]
struct Whole {
    hash: BlockHash,
    parent: Option<BlockHash>,
    transactions: Vec<TransactionHash>,
}

/// Blocks that the node has shown whole in earlier looks.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<BlockHeight, Whole>);

/// The transactions that the posting node's blocks show.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    whole: BTreeMap<BlockHeight, Whole>,
    standing: HashMap<TransactionHash, (BlockHeight, BlockHash)>,
    /// The blocks that the node does not show whole.
    doubtful: BTreeSet<BlockHeight>,
    requests: u32,
}

/// The node cannot be queried, or there is no time left.
struct Stopped;

impl Blocks {
    /// Reads the blocks above `since` through `head`: the last 64 of them, and below these the ones
    /// that the source knows as gaps. What cannot be read until `deadline` is in doubt.
    pub(super) async fn read(
        node: &NodeClient,
        (since, head): (BlockHeight, BlockHeight),
        gaps: impl IntoIterator<Item = BlockHeight>,
        known: Known,
        deadline: Instant,
    ) -> Self {
        let start = since.next().max(head.saturating_sub(WINDOW - 1));
        let mut blocks = Self::default();
        if start > head {
            return blocks;
        }
        let mut known = known.0;
        known.retain(|height, _| (start..head).contains(height));
        let mut wanted: BTreeSet<BlockHeight> = gaps
            .into_iter()
            .filter(|gap| (since.next()..start).contains(gap))
            .collect();
        let unknown = (start.0..=head.0).map(BlockHeight);
        wanted.extend(unknown.filter(|height| !known.contains_key(height)));
        let _ = blocks.ask(node, start, &mut wanted, deadline).await;
        blocks.doubtful = wanted;
        blocks.add_known(known, (start, head));
        blocks
    }

    /// Asks for the wanted blocks: for runs of those from `start` on, then for each that is left.
    async fn ask(
        &mut self,
        node: &NodeClient,
        start: BlockHeight,
        wanted: &mut BTreeSet<BlockHeight>,
        deadline: Instant,
    ) -> Result<(), Stopped> {
        let mut next = wanted.range(start..).next().copied();
        while let Some(first) = next {
            // A few at a time: a node with one thread serves nobody else meanwhile.
            let mut last = first;
            while last.0 - first.0 + 1 < PIECE && wanted.contains(&last.next()) {
                last = last.next();
            }
            let range = self
                .answer(node.blocks_range(first, last), deadline)
                .await?;
            for block in range.into_iter().flatten() {
                if self.take(&block) {
                    wanted.remove(&block.height);
                }
            }
            next = wanted.range(last.next()..).next().copied();
        }
        for height in wanted.clone() {
            let block = self.answer(node.block(height), deadline).await?;
            if block.flatten().is_some_and(|block| self.take(&block)) {
                wanted.remove(&height);
            }
        }
        Ok(())
    }

    /// Waits for an answer; `None` if the node fails to give this one.
    async fn answer<T>(
        &mut self,
        request: impl Future<Output = Result<T, NodeError>>,
        deadline: Instant,
    ) -> Result<Option<T>, Stopped> {
        self.requests += 1;
        match timeout_at(deadline, request).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            // One block that cannot be serialised, or is too large, makes a range fail.
            Ok(Err(error)) if error.is_server_error() || is_too_large(&error) => Ok(None),
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot examine the node's blocks");
                Err(Stopped)
            }
            Err(_) => {
                tracing::debug!("cannot examine the node's blocks: no answer in time");
                Err(Stopped)
            }
        }
    }

    /// Adds a block's transactions. Returns whether the block shows all that it counts.
    fn take(&mut self, block: &Block) -> bool {
        let shown = block.transactions.as_deref().unwrap_or_default();
        let hashes: Vec<TransactionHash> = shown.iter().filter_map(|one| one.hash).collect();
        let place = (block.height, block.hash);
        self.standing
            .extend(hashes.iter().map(|hash| (*hash, place)));
        if block.is_whole() {
            let whole = Whole {
                hash: block.hash,
                parent: block.parent_hash,
                transactions: hashes,
            };
            self.whole.insert(block.height, whole);
        }
        block.is_whole()
    }

    /// Adds the known blocks that the blocks above them lead down to. The others are in doubt, and
    /// forgotten if another block is in their place.
    fn add_known(
        &mut self,
        mut known: BTreeMap<BlockHeight, Whole>,
        (start, head): (BlockHeight, BlockHeight),
    ) {
        let mut parent = None;
        for height in (start.0..=head.0).rev().map(BlockHeight) {
            if let Some(block) = known.remove(&height) {
                match parent {
                    Some(parent) if parent == block.hash => {
                        let place = (height, block.hash);
                        let standing = block.transactions.iter().map(|hash| (*hash, place));
                        self.standing.extend(standing);
                        self.whole.insert(height, block);
                    }
                    Some(_) => {
                        self.doubtful.insert(height);
                    }
                    None => {
                        self.doubtful.insert(height);
                        self.whole.insert(height, block);
                    }
                }
            }
            let is_sure = !self.doubtful.contains(&height);
            let block = self.whole.get(&height).filter(|_| is_sure);
            parent = block.and_then(|block| block.parent);
        }
    }

    /// What the next look need not ask for. Without the parents' hashes, as with a follower, that is
    /// nothing.
    pub(super) fn into_known(self) -> Known {
        let mut known = self.whole;
        known.retain(|_, block| block.parent.is_some());
        Known(known)
    }

    /// In how many requests they were read.
    pub(super) const fn requests(&self) -> u32 {
        self.requests
    }

    /// The block that contains a transaction, if one shows it.
    pub(super) fn place(&self, hash: TransactionHash) -> Option<(BlockHeight, BlockHash)> {
        self.standing.get(&hash).copied()
    }

    /// Whether a transaction that was signed when the head was at `since` is certainly in none of
    /// the blocks.
    pub(super) fn lack(&self, hash: TransactionHash, since: BlockHeight) -> bool {
        !self.standing.contains_key(&hash) && self.doubtful.range(since.next()..).next().is_none()
    }
}

fn is_too_large(error: &NodeError) -> bool {
    matches!(error, NodeError::TooLarge { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(byte: u8) -> TransactionHash {
        TransactionHash::from_bytes([byte; 32])
    }

    fn block(height: u64, tx_count: u64, shown: Option<&[u8]>) -> Block {
        Block {
            height: BlockHeight(height),
            hash: BlockHash::from_bytes([0; 32]),
            parent_hash: None,
            proposer: String::new(),
            timestamp: String::new(),
            tx_count,
            transactions: shown.map(|hashes| {
                let one = |byte: &u8| agentry_chain::BlockTransaction {
                    hash: Some(hash(*byte)),
                    stored: Err(String::new()),
                };
                hashes.iter().map(one).collect()
            }),
            unlisted: 0,
        }
    }

    #[test]
    fn a_block_is_whole_when_it_shows_all_that_it_counts() {
        let mut blocks = Blocks::default();
        assert!(blocks.take(&block(1, 0, None)));
        assert!(blocks.take(&block(2, 1, Some(&[1]))));
        assert!(!blocks.take(&block(3, 1, None)));
        assert!(!blocks.take(&block(4, 2, Some(&[2]))));
        assert_eq!(
            blocks.place(hash(1)).map(|place| place.0),
            Some(BlockHeight(2))
        );
        assert!(!blocks.lack(hash(1), BlockHeight(0)));
        assert!(!blocks.lack(hash(2), BlockHeight(0)));
        assert!(blocks.lack(hash(3), BlockHeight(0)));
    }

    fn whole(own: u8, parent: Option<u8>, transactions: &[u8]) -> Whole {
        let block_hash = |byte| BlockHash::from_bytes([byte; 32]);
        Whole {
            hash: block_hash(own),
            parent: parent.map(block_hash),
            transactions: transactions.iter().map(|byte| hash(*byte)).collect(),
        }
    }

    /// A look at the blocks 1 to 4 that has read 4 alone, with what is known of 1 to 3.
    fn look(parent: Option<u8>, known: [Whole; 3]) -> Blocks {
        let mut blocks = Blocks::default();
        blocks.whole.insert(BlockHeight(4), whole(4, parent, &[]));
        let known = (1..).map(BlockHeight).zip(known).collect();
        blocks.add_known(known, (BlockHeight(1), BlockHeight(4)));
        blocks
    }

    #[test]
    fn known_blocks_count_while_the_chain_leads_down_to_them() {
        let chain = || {
            [
                whole(1, Some(0), &[1]),
                whole(2, Some(1), &[2]),
                whole(3, Some(2), &[]),
            ]
        };
        let blocks = look(Some(3), chain());
        assert!(blocks.place(hash(1)).is_some() && blocks.lack(hash(9), BlockHeight(0)));

        // Another block 3: the known one is forgotten, and the two below it are in doubt.
        let blocks = look(Some(7), chain());
        assert!(blocks.place(hash(1)).is_none() && !blocks.lack(hash(9), BlockHeight(0)));
        let left: Vec<_> = blocks.into_known().0.into_keys().collect();
        assert_eq!(left, [1, 2, 4].map(BlockHeight));

        // Another block 1 alone.
        let mut fork = chain();
        fork[0].hash = BlockHash::from_bytes([8; 32]);
        let blocks = look(Some(3), fork);
        assert!(blocks.place(hash(2)).is_some() && blocks.place(hash(1)).is_none());
        assert!(blocks.lack(hash(9), BlockHeight(1)) && !blocks.lack(hash(9), BlockHeight(0)));

        // A follower names no parents.
        let blocks = look(None, chain());
        assert!(!blocks.lack(hash(9), BlockHeight(0)));
        assert!(!blocks.into_known().0.contains_key(&BlockHeight(4)));
    }

    #[tokio::test]
    async fn a_node_that_fails_now_and_then_shows_its_blocks_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let devnet = agentry_devnet::Devnet::start(agentry_devnet::DevnetConfig {
            dir: dir.path().to_owned(),
            block_time: std::time::Duration::from_millis(50),
            ..agentry_devnet::DevnetConfig::default()
        })
        .unwrap();
        let node = NodeClient::new(&devnet.url(), agentry_chain::NodeOptions::default()).unwrap();
        let head = loop {
            let head = node.head().await.unwrap().map(|head| head.height);
            if let Some(head) = head.filter(|head| head.0 >= WINDOW) {
                break head;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        // Two of three requests fail: that eight pieces are read one after the other without a
        // failure happens once in some thousand looks.
        devnet.faults().set("error-500=0.67".parse().unwrap());
        let mut known = Known::default();
        let mut looks = 0;
        loop {
            let deadline = Instant::now() + std::time::Duration::from_secs(30);
            let range = (BlockHeight(0), head);
            let blocks = Blocks::read(&node, range, [], known, deadline).await;
            if blocks.lack(hash(9), BlockHeight(0)) {
                break;
            }
            looks += 1;
            assert!(looks < 200, "{} are in doubt", blocks.doubtful.len());
            known = blocks.into_known();
        }
    }

    #[test]
    fn a_doubtful_block_keeps_its_possible_transactions_in_doubt() {
        let blocks = Blocks {
            doubtful: [BlockHeight(7)].into(),
            ..Blocks::default()
        };
        assert!(!blocks.lack(hash(1), BlockHeight(6)));
        assert!(blocks.lack(hash(1), BlockHeight(7)));
    }
}
