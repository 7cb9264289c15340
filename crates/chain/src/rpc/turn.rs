//! One read over RPC, once the head is known.
//!
//! 1. *Verify* (`window`): the blocks of the window are fetched again, in one call with what is new.
//!    Where their hashes are others, the chain has forked; where their content is, they are
//!    delivered again.
//! 2. *New*: the blocks above the position, a page at a time, each page overlapping the last block by
//!    one, so that a page from another branch is noticed.
//! 3. *Gaps* are tried again when their time has come.

use agentry_protocol::BlockHeight;
use sha2::{Digest as _, Sha256};

use super::RpcOptions;
use super::fetch::{Fetch, may_be_one_block};
use super::gaps::Gaps;
use crate::node::{Head, NodeError, RawBlock, one_line};
use crate::row::Row;
use crate::source::{
    BYTES_PER_READ, ChainEvent, ChainTransaction, Cursor, Entry, HashPrint, Interest, SourceError,
};

/// One read.
pub(super) struct Turn<'a> {
    pub(super) fetch: &'a Fetch,
    pub(super) gaps: &'a mut Gaps,
    pub(super) options: &'a RpcOptions,
    pub(super) interest: &'a dyn Interest,
    pub(super) head: &'a Head,
    pub(super) limit: usize,
    pub(super) cursor: Cursor,
    pub(super) events: Vec<ChainEvent>,
    /// How long the texts were that they were made of.
    pub(super) bytes: usize,
    /// What was fetched of the blocks above the position.
    pub(super) ahead: Vec<RawBlock>,
}

/// How many pages of new blocks one read fetches at most, however little is wanted of them: so a
/// read over a long chain ends, and its position can be stored.
const PAGES_PER_READ: u32 = 16;

/// How a part of a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Done,
    /// The limit was reached.
    More,
    /// A block cannot be had now; it will be asked for again.
    Waiting,
}

/// The digest of a block whose content is not known: it differs from every other.
pub(super) const UNREAD: u64 = 0;

/// The digest by which a block that was filled later is noticed: of what blocks-range shows.
pub(super) fn digest(block: &RawBlock) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(block.head.tx_count.to_be_bytes());
    for row in block.rows.as_deref().unwrap_or_default() {
        match &row.hash {
            Some(hash) => hasher.update(hash.as_bytes()),
            None => hasher.update(Sha256::digest(&row.text)),
        }
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize()[..8]);
    u64::from_be_bytes(first).max(1)
}

/// The trail's entry of a block.
pub(super) fn entry(head: &Head, digest: u64) -> Entry {
    Entry {
        height: head.height.0,
        hash: HashPrint::from(&head.hash),
        digest,
        tx_id: 0,
        tx_print: 0,
        block_id: 0,
    }
}

impl Turn<'_> {
    pub(super) fn full(&self) -> bool {
        self.events.len() >= self.limit || self.bytes >= BYTES_PER_READ
    }

    pub(super) fn late_block(&mut self, block: &RawBlock) {
        let height = block.head.height;
        self.deliver(block, true);
        if is_short(block) {
            self.gap(height.0, &short(block));
        } else if self.gaps.close(&mut self.cursor, height.0) {
            self.events.push(ChainEvent::GapFilled { height });
        }
    }

    /// Reads on above the position.
    pub(super) async fn fresh(&mut self) -> Result<Part, SourceError> {
        let mut pages = 0;
        while self.cursor.next_height() <= self.head.height.0 {
            if self.full() || pages == PAGES_PER_READ {
                return Ok(Part::More);
            }
            let next = self.cursor.next_height();
            let mut blocks = std::mem::take(&mut self.ahead);
            if blocks.is_empty() {
                pages += 1;
                blocks = match self.page(next).await {
                    Ok(Some(blocks)) => blocks,
                    // The page is from another branch than what was read: verify first.
                    Ok(None) => return Ok(Part::Waiting),
                    Err(error) if may_be_one_block(&error) => Vec::new(),
                    Err(error) => return Err(error.into()),
                };
            }
            let part = if blocks
                .first()
                .is_some_and(|block| block.head.height.0 == next)
            {
                self.blocks(blocks).await?
            } else {
                self.single(next).await?
            };
            if part != Part::Done {
                return Ok(part);
            }
        }
        Ok(Part::Done)
    }

    /// A page from `next` on, if it continues what was read.
    async fn page(&self, next: u64) -> Result<Option<Vec<RawBlock>>, NodeError> {
        let to = next
            .saturating_add(self.options.page - 1)
            .min(self.head.height.0);
        let last = self.cursor.trail.last();
        let last = last.filter(|last| last.height.checked_add(1) == Some(next));
        let Some(last) = last.filter(|last| last.digest != UNREAD) else {
            return self.fetch.first_of(next, to).await.map(Some);
        };
        let mut blocks = self.fetch.first_of(last.height, to).await?;
        let fits = blocks.first().is_some_and(|block| {
            block.head.height.0 == last.height && HashPrint::from(&block.head.hash) == last.hash
        });
        if !fits {
            return Ok(None);
        }
        blocks.remove(0);
        Ok(Some(blocks))
    }

    /// Blocks in sequence, the first one being the next.
    async fn blocks(&mut self, blocks: Vec<RawBlock>) -> Result<Part, SourceError> {
        let mut blocks = blocks.into_iter();
        while !blocks.as_slice().is_empty() {
            if self.full() {
                self.ahead = blocks.collect();
                return Ok(Part::More);
            }
            let Some(block) = blocks.next() else { break };
            if block.head.height.0 != self.cursor.next_height() {
                // One is missing in between; it is asked for by itself.
                return Ok(Part::Done);
            }
            let (head, digest) = (block.head.clone(), digest(&block));
            match self.content(block).await {
                Ok(whole) => self.fresh_block(&whole, digest),
                Err(error) if may_be_one_block(&error) => {
                    let part = self.unservable(head.height.0, &error, Some(head)).await?;
                    if part != Part::Done {
                        return Ok(part);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Part::Done)
    }

    /// The next block by itself, when a range does not give it.
    async fn single(&mut self, height: u64) -> Result<Part, SourceError> {
        match self.fetch.block(height).await {
            Ok(Some(block)) => {
                let digest = digest(&block);
                self.fresh_block(&block, digest);
                Ok(Part::Done)
            }
            Ok(None) => {
                let error = NodeError::Unreadable {
                    call: format!("GET /rpc/blocks/{height}"),
                    node: self.fetch.node().url().to_owned(),
                    reason: format!("it is missing, though the head is {}", self.head.height),
                };
                self.unservable(height, &error, None).await
            }
            Err(error) if may_be_one_block(&error) => self.unservable(height, &error, None).await,
            Err(error) => Err(error.into()),
        }
    }

    fn fresh_block(&mut self, block: &RawBlock, digest: u64) {
        let height = block.head.height.0;
        if height >= self.cursor.origin.height {
            self.deliver(block, false);
            if is_short(block) {
                self.gap(height, &short(block));
            }
        }
        self.pass(&block.head, digest);
    }

    /// Moves the position onto a block.
    fn pass(&mut self, head: &Head, digest: u64) {
        if head.height == BlockHeight(0) {
            self.cursor.genesis = Some(head.hash);
        }
        self.cursor.trail.push(entry(head, digest));
        self.cursor.tip = Some(head.clone());
    }

    /// The next block has failed once more. When it has done so often enough, and the node serves
    /// others, it becomes a gap.
    async fn unservable(
        &mut self,
        height: u64,
        error: &NodeError,
        head: Option<Head>,
    ) -> Result<Part, SourceError> {
        if self.gaps.failed(height) < self.options.tries {
            return Ok(Part::Waiting);
        }
        // A node that serves nothing is ill; that is no reason to pass over its blocks.
        let known = self
            .cursor
            .trail
            .newest_first()
            .find(|entry| entry.digest != UNREAD);
        let probe = known.map_or(0, |entry| entry.height);
        if probe != height {
            self.fetch.block(probe).await?;
        }
        let head = match head {
            Some(head) => Some(head),
            None => match self.fetch.header(height).await {
                Ok(head) => head,
                Err(error) if may_be_one_block(&error) => None,
                Err(error) => return Err(error.into()),
            },
        };
        if height >= self.cursor.origin.height {
            self.gap(height, &error.to_string());
        }
        match head {
            Some(head) => self.pass(&head, UNREAD),
            None if self.head.height.0 == height => self.pass(&self.head.clone(), UNREAD),
            // Not even its hash is known: the trail goes on without it.
            None => {
                let hash = agentry_protocol::BlockHash::from_bytes([0; 32]);
                self.cursor.tip = Some(Head {
                    height: BlockHeight(height),
                    hash,
                    tx_count: 0,
                });
            }
        }
        Ok(Part::Done)
    }

    /// A block with all the transactions that the node has: where a range shows none, or fewer than
    /// the block counts, the block is asked for by itself.
    pub(super) async fn content(&self, block: RawBlock) -> Result<RawBlock, NodeError> {
        let height = block.head.height.0;
        if height < self.cursor.origin.height || !is_short(&block) {
            return Ok(block);
        }
        let single = match self.fetch.block(height).await {
            Ok(Some(single)) => single,
            // What is shown is delivered, and the rest is a gap.
            Ok(None) => return Ok(block),
            Err(error) if may_be_one_block(&error) && block.rows.is_some() => return Ok(block),
            Err(error) => return Err(error),
        };
        let shown = |block: &RawBlock| block.rows.as_ref().map_or(0, Vec::len);
        let better = single.head.hash == block.head.hash && shown(&single) > shown(&block);
        Ok(if better {
            RawBlock {
                rows: single.rows,
                ..block
            }
        } else {
            block
        })
    }

    pub(super) fn gap(&mut self, height: u64, reason: &str) {
        if self.gaps.open(&mut self.cursor, height) {
            let reason = one_line(reason);
            self.events.push(ChainEvent::Gap {
                height: BlockHeight(height),
                reason,
            });
        }
    }

    /// Tries again what could not be read.
    pub(super) async fn retry(&mut self) -> Result<(), SourceError> {
        for height in self.gaps.due(&self.cursor) {
            if self.full() {
                return Ok(());
            }
            let block = match self.fetch.block(height).await {
                Ok(block) => block,
                Err(error) if may_be_one_block(&error) => None,
                Err(error) => return Err(error.into()),
            };
            let known = self.cursor.trail.get(height).map(|entry| entry.hash);
            let same = |block: &RawBlock| {
                known.is_none_or(|known| HashPrint::from(&block.head.hash) == known)
            };
            match block.filter(same) {
                Some(block) if !is_short(&block) => {
                    self.late_block(&block);
                    let digest = digest(&block);
                    if let Some(entry) = self.cursor.trail.get_mut(height) {
                        entry.digest = digest;
                    }
                }
                _ => self.gaps.postpone(height),
            }
        }
        Ok(())
    }

    /// Makes events of what is wanted of a block.
    pub(super) fn deliver(&mut self, block: &RawBlock, late: bool) {
        let height = block.head.height;
        for row in block.rows.as_deref().unwrap_or_default() {
            match self.wanted(row) {
                None => {}
                Some(Ok((hash, stored))) => {
                    self.bytes = self.bytes.saturating_add(row.text.len());
                    let block_hash = block.head.hash;
                    let found = ChainTransaction {
                        hash,
                        stored,
                        height,
                        block_hash,
                        late,
                    };
                    self.events.push(ChainEvent::Transaction(found));
                }
                Some(Err(reason)) => {
                    self.events.push(ChainEvent::Undecodable {
                        height,
                        hash: row.hash,
                        reason,
                    });
                }
            }
        }
    }

    /// A row read, if it is wanted. One without addresses is read to learn them.
    fn wanted(
        &self,
        row: &Row,
    ) -> Option<
        Result<
            (
                agentry_protocol::TransactionHash,
                agentry_protocol::StoredTransaction,
            ),
            String,
        >,
    > {
        let wants = |from: &str, to: &str| self.interest.wants(from, to);
        if let Some((from, to)) = &row.pair {
            return wants(from, to).then(|| row.decode());
        }
        let decoded = row.decode();
        match &decoded {
            Ok((_, stored)) if !wants(stored.from.as_str(), stored.to.as_str()) => None,
            _ => Some(decoded),
        }
    }
}

/// Whether a block shows fewer transactions than it counts.
fn is_short(block: &RawBlock) -> bool {
    (block.rows.as_ref().map_or(0, Vec::len) as u64) < block.head.tx_count
}

fn short(block: &RawBlock) -> String {
    let shown = block.rows.as_ref().map_or(0, Vec::len);
    format!(
        "the block counts {} transactions and the node shows {shown}",
        block.head.tx_count
    )
}
