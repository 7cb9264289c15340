//! One read over RPC, once the head is known.
//!
//! 1. *Place*: is the head where it was, above it, or below it? A head below what was read is a
//!    node that is behind, unless it shows another block.
//! 2. *New*: the blocks above the position, as many at a time as keep the node busy for a moment
//!    only. A block that is fetched alone names its parent; a range begins with the last block that
//!    was read. So blocks of another branch are noticed, and then `fork` finds where it diverged.
//! 3. *Gaps* are tried again when they are due, and `sweep` reads old blocks again.

use agentry_protocol::{BlockHash, BlockHeight};
use tokio::time::Instant;

use super::RpcOptions;
use super::digest::{UNREAD, digest, entry};
use super::fetch::{Fetch, RawBlock, may_be_one_block};
use super::gaps::Gaps;
use super::second::Second;
use super::sweep::Sweep;
use crate::node::{Head, NodeError, one_line};
use crate::source::{
    BYTES_PER_READ, ChainEvent, ChainTransaction, Cursor, Entry, HashPrint, Interest, SourceError,
    Undecodable,
};

/// One read.
pub(super) struct Turn<'a> {
    pub(super) fetch: &'a Fetch,
    pub(super) second: &'a mut Option<Second>,
    pub(super) gaps: &'a mut Gaps,
    pub(super) options: &'a RpcOptions,
    pub(super) interest: &'a dyn Interest,
    pub(super) head: &'a Head,
    pub(super) limit: usize,
    pub(super) cursor: Cursor,
    pub(super) events: Vec<ChainEvent>,
    /// The total length of the texts that the events were made from.
    pub(super) bytes: usize,
    /// The fetched blocks above the position.
    pub(super) ahead: Vec<RawBlock>,
    /// How many blocks the node is behind the position.
    pub(super) behind: u64,
    pub(super) began: Instant,
}

/// The most pages of new blocks that one read fetches, however few of their transactions are
/// wanted: so a read over a long chain ends, and its position can be stored.
const PAGES_PER_READ: u32 = 16;

/// After this long a read begins no further page, for the same reason.
const LONG: std::time::Duration = std::time::Duration::from_secs(1);

/// How one part of a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Done,
    /// There is more to read at once.
    More,
    /// A block cannot be read now; it will be requested again.
    Waiting,
}

/// The result of a read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    /// How reading the new blocks ended.
    pub(super) part: Part,
    /// There is more to read at once, new or old.
    pub(super) more: bool,
}

/// The next blocks.
enum Page {
    Blocks(Vec<RawBlock>),
    /// The node shows another block at this height than was read.
    Fork(u64),
    /// The node does not have the last block that was read: it is behind, or the head was another
    /// node's.
    Behind,
}

impl Turn<'_> {
    pub(super) fn full(&self) -> bool {
        self.events.len() >= self.limit || self.bytes >= BYTES_PER_READ
    }

    /// Whether the read has taken long enough.
    pub(super) fn is_long(&self) -> bool {
        self.began.elapsed() >= LONG
    }

    /// Delivers a block at a height that was already read.
    pub(super) fn late_block(&mut self, block: &RawBlock) {
        let height = block.head.height;
        self.deliver(block, true);
        if block.is_short() {
            self.gap(height.0, &short(block));
        } else if self.gaps.close(&mut self.cursor, height.0) {
            self.events.push(ChainEvent::GapFilled { height });
        }
    }

    /// Runs the read. `is_settled`: all new blocks under this head have been read.
    pub(super) async fn read(
        &mut self,
        is_settled: bool,
        sweep: &mut Sweep,
    ) -> Result<Read, SourceError> {
        let mut part = if is_settled {
            Part::Done
        } else {
            self.forward().await?
        };
        let mut more = part == Part::More;
        if part != Part::More {
            self.retry().await?;
        }
        if part == Part::Done && self.behind == 0 {
            more = self.sweep(sweep).await? == Part::More;
            if self.cursor.next_height() <= self.head.height.0 {
                // It has found a fork: blocks under this head are to be read again.
                part = Part::More;
            }
        }
        Ok(Read { part, more })
    }

    /// Finds out where the head is, and reads the blocks above the position.
    async fn forward(&mut self) -> Result<Part, SourceError> {
        if let Some(height) = self.conflict_below().await? {
            self.part(height).await?;
        }
        let next = self.cursor.next_height();
        self.behind = next.saturating_sub(self.head.height.0.saturating_add(1));
        self.fresh().await
    }

    /// The height at which the head, or a known block below it, differs from the block that was
    /// read.
    async fn conflict_below(&self) -> Result<Option<u64>, SourceError> {
        let head = self.head.height.0;
        if head >= self.cursor.next_height() {
            return Ok(None);
        }
        let Some(known) = self.cursor.trail.at_or_below(head).copied() else {
            return Ok(None);
        };
        let now = if known.height == head {
            Some(self.head.hash)
        } else if head.saturating_add(1) == self.cursor.next_height() {
            // It is the last block that was read, whose hash was not available.
            None
        } else {
            match self.fetch.hash(known.height).await {
                Err(error) if may_be_one_block(&error) => None,
                hash => hash?,
            }
        };
        let differs = now.is_some_and(|hash| HashPrint::from(&hash) != known.hash);
        Ok(differs.then_some(known.height))
    }

    /// Continues reading above the position.
    async fn fresh(&mut self) -> Result<Part, SourceError> {
        let mut pages = 0;
        let mut may_be_stale = !self.ahead.is_empty();
        loop {
            if self.cursor.next_height() > self.head.height.0 {
                // Blocks that an earlier read fetched may be of another branch than this head.
                if !std::mem::take(&mut may_be_stale) {
                    return Ok(Part::Done);
                }
                match self.conflict_below().await? {
                    Some(height) => self.part(height).await?,
                    None => return Ok(Part::Done),
                }
            }
            if self.full() || pages == PAGES_PER_READ || pages > 0 && self.is_long() {
                return Ok(Part::More);
            }
            let next = self.cursor.next_height();
            let mut blocks = std::mem::take(&mut self.ahead);
            if blocks.is_empty() {
                pages += 1;
                blocks = match self.page(next).await {
                    Ok(Page::Blocks(blocks)) => blocks,
                    Ok(Page::Fork(height)) => {
                        self.part(height).await?;
                        continue;
                    }
                    Ok(Page::Behind) => return Ok(Part::Waiting),
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
    }

    /// A page from `next` on, if it continues the blocks that were read.
    async fn page(&self, next: u64) -> Result<Page, NodeError> {
        let to = self.head.height.0;
        let Some(last) = self.cursor.trail.last().copied() else {
            let blocks = self.fetch.first_of(next, to, self.interest).await?;
            return Ok(Page::Blocks(blocks));
        };
        let is_tip = last.height.checked_add(1) == Some(next);
        if is_tip && next == to && self.fetch.links() {
            match self.linked(next).await? {
                Some(page) => return Ok(page),
                None => self.fetch.has_no_links(),
            }
        }
        if is_tip && last.digest != UNREAD {
            let mut blocks = self.fetch.first_of(last.height, to, self.interest).await?;
            if blocks
                .first()
                .is_some_and(|block| block.head.height.0 == last.height)
            {
                let first = blocks.remove(0);
                return Ok(match HashPrint::from(&first.head.hash) == last.hash {
                    true => Page::Blocks(blocks),
                    false => Page::Fork(last.height),
                });
            }
        }
        // The last known block cannot be part of a page: it is fetched alone.
        match self.fetch.hash(last.height).await {
            Ok(None) => return Ok(Page::Behind),
            Ok(Some(hash)) if HashPrint::from(&hash) != last.hash => {
                return Ok(Page::Fork(last.height));
            }
            Ok(Some(_)) => {}
            // A block that the node cannot show at all is not known to have changed.
            Err(error) if may_be_one_block(&error) => {}
            Err(error) => return Err(error),
        }
        let blocks = self.fetch.first_of(next, to, self.interest).await?;
        Ok(Page::Blocks(blocks))
    }

    /// Fetches the one new block alone. None: it does not name its parent.
    async fn linked(&self, next: u64) -> Result<Option<Page>, NodeError> {
        let Some(block) = self.fetch.block(next, self.interest).await? else {
            return Ok(Some(Page::Behind));
        };
        let Some(parent) = block.parent_hash else {
            return Ok(None);
        };
        Ok(Some(match self.is_fork(&parent, next) {
            Some(height) => Page::Fork(height),
            None => Page::Blocks(vec![block]),
        }))
    }

    /// The height of the parent that a block names, if it is not the block that was read.
    fn is_fork(&self, parent: &BlockHash, height: u64) -> Option<u64> {
        let before = height.checked_sub(1)?;
        let known = self.cursor.trail.get(before)?;
        (HashPrint::from(parent) != known.hash).then_some(before)
    }

    /// Delivers blocks in sequence, starting with the next one.
    async fn blocks(&mut self, blocks: Vec<RawBlock>) -> Result<Part, SourceError> {
        let mut blocks = blocks.into_iter();
        while !blocks.as_slice().is_empty() {
            if self.full() {
                self.ahead = blocks.collect();
                return Ok(Part::More);
            }
            let Some(block) = blocks.next() else { break };
            if block.head.height.0 != self.cursor.next_height() {
                // A block in between is missing; it is fetched alone.
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

    /// Fetches the next block alone, when a range does not contain it.
    async fn single(&mut self, height: u64) -> Result<Part, SourceError> {
        let may_pass = |turn: &Self, error: &NodeError| {
            may_be_one_block(error) || turn.fetch.waited_long_enough(error)
        };
        match self.fetch.block(height, self.interest).await {
            Ok(Some(block)) => {
                if let Some(fork) = block
                    .parent_hash
                    .and_then(|parent| self.is_fork(&parent, height))
                {
                    self.part(fork).await?;
                    return Ok(Part::Done);
                }
                self.blocks(vec![block]).await
            }
            Ok(None) => {
                let error = NodeError::Unreadable {
                    call: format!("GET {}", self.fetch.block_path(height)),
                    node: self.fetch.node().url().to_owned(),
                    reason: format!("it is missing, though the head is {}", self.head.height),
                };
                self.unservable(height, &error, None).await
            }
            Err(error) if may_pass(self, &error) => self.unservable(height, &error, None).await,
            Err(error) => Err(error.into()),
        }
    }

    fn fresh_block(&mut self, block: &RawBlock, digest: u64) {
        let height = block.head.height.0;
        if height >= self.cursor.origin.height {
            self.deliver(block, false);
            if block.is_short() {
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

    /// Handles another failure of the next block. When it has failed often enough, and the node
    /// serves other blocks, it becomes a gap, unless the second node has it.
    async fn unservable(
        &mut self,
        height: u64,
        error: &NodeError,
        head: Option<Head>,
    ) -> Result<Part, SourceError> {
        if self.gaps.failed(height) < self.options.tries {
            return Ok(Part::Waiting);
        }
        // A node that serves nothing is failing; that is no reason to skip its blocks.
        let is_read = |entry: &&Entry| entry.digest != UNREAD;
        let known = self.cursor.trail.newest_first().find(is_read);
        let probe = known.map_or(0, |entry| entry.height);
        if probe != height && self.fetch.block(probe, self.interest).await?.is_none() {
            return Ok(Part::Waiting);
        }
        let head = match head {
            Some(head) => Some(head),
            None => match self.fetch.header(height).await {
                Ok(head) => head,
                Err(error) if may_be_one_block(&error) => None,
                Err(error) => return Err(error.into()),
            },
        };
        let head = head.or_else(|| Some(self.head.clone()).filter(|head| head.height.0 == height));
        if let Some(head) = &head
            && let Some(block) = self.by_second(head).await
        {
            self.fresh_block(&block, UNREAD);
            return Ok(Part::Done);
        }
        if height >= self.cursor.origin.height {
            self.gap(height, &error.to_string());
        }
        match head {
            Some(head) => self.pass(&head, UNREAD),
            // Not even its hash is known: the trail continues without it.
            None => {
                self.cursor.tip = Some(Head {
                    height: BlockHeight(height),
                    hash: BlockHash::from_bytes([0; 32]),
                    tx_count: 0,
                });
            }
        }
        Ok(Part::Done)
    }

    /// A block with all its available transactions: where a range shows none, or fewer than the
    /// block counts, the block is fetched alone, and then from the second node.
    pub(super) async fn content(&mut self, block: RawBlock) -> Result<RawBlock, NodeError> {
        let height = block.head.height.0;
        if height < self.cursor.origin.height || !block.is_short() {
            return Ok(block);
        }
        let better = |one: RawBlock, other: RawBlock| {
            let same = other.head.hash == one.head.hash;
            if same && (other.shown() > one.shown() || one.rows.is_none()) {
                RawBlock {
                    rows: other.rows,
                    ..one
                }
            } else {
                one
            }
        };
        let mut block = block;
        if !block.is_alone {
            block = match self.fetch.block(height, self.interest).await {
                Ok(Some(single)) => better(block, single),
                // The transactions that are shown are delivered; the rest is a gap.
                Ok(None) => block,
                Err(error) if may_be_one_block(&error) && block.rows.is_some() => block,
                Err(error) => return Err(error),
            };
        }
        if !block.is_short() {
            return Ok(block);
        }
        let head = block.head.clone();
        Ok(match self.by_second(&head).await {
            Some(second) => better(block, second),
            None => block,
        })
    }

    /// A block as the second node shows it, if there is such a node on the same chain that has it.
    async fn by_second(&mut self, head: &Head) -> Option<RawBlock> {
        let genesis = self.cursor.genesis?;
        let second = self.second.as_mut()?;
        second.block(head, &genesis, self.interest).await
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

    /// Tries the gaps again that are due.
    ///
    /// The wait of each gap bounds the cost.
    pub(super) async fn retry(&mut self) -> Result<(), SourceError> {
        for height in self.gaps.due(&self.cursor) {
            if self.full() || self.is_long() {
                return Ok(());
            }
            if self.fetch.old_blocks(&mut self.gaps.rest, self.head.hash) == 0 {
                return Ok(());
            }
            let known = self.cursor.trail.get(height).map(|entry| entry.hash);
            let block = match self.fetch.block(height, self.interest).await {
                Ok(block) => block,
                Err(error) if may_be_one_block(&error) => None,
                Err(error) => return Err(error.into()),
            };
            let same = |block: &RawBlock| {
                known.is_none_or(|known| HashPrint::from(&block.head.hash) == known)
            };
            let mut block = block.filter(same);
            let now = block.as_ref().map(digest);
            let head = match &block {
                Some(block) if !block.is_short() => None,
                Some(block) => Some(block.head.clone()),
                None => self.fetch.header(height).await.ok().flatten(),
            };
            if let Some(head) =
                head.filter(|head| known.is_none_or(|known| HashPrint::from(&head.hash) == known))
                && let Some(second) = self.by_second(&head).await
            {
                block = Some(second);
            }
            match block {
                Some(block) if !block.is_short() => {
                    self.late_block(&block);
                    if let (Some(entry), Some(now)) = (self.cursor.trail.get_mut(height), now) {
                        entry.digest = now;
                    }
                }
                _ => self.gaps.postpone(height),
            }
        }
        Ok(())
    }

    /// Turns the wanted transactions of a block into events.
    pub(super) fn deliver(&mut self, block: &RawBlock, late: bool) {
        let Some(rows) = &block.rows else { return };
        let height = block.head.height;
        self.bytes = self.bytes.saturating_add(rows.bytes);
        let mut first = Vec::new();
        for row in &rows.list {
            match (&row.stored, row.hash) {
                (Ok(stored), Some(hash)) => {
                    self.events.push(ChainEvent::Transaction(ChainTransaction {
                        hash,
                        stored: stored.clone(),
                        height,
                        block_hash: block.head.hash,
                        late,
                    }));
                }
                (Ok(_), None) => {}
                (Err(reason), hash) => first.push(Undecodable {
                    hash,
                    reason: reason.clone(),
                }),
            }
        }
        if !first.is_empty() {
            let count = (first.len() as u64).saturating_add(rows.unlisted);
            self.events.push(ChainEvent::Undecodable {
                height,
                count,
                first,
            });
        }
    }
}

pub(super) fn short(block: &RawBlock) -> String {
    let (counted, shown) = (block.head.tx_count, block.shown());
    match block.rows.as_ref().map_or(0, |rows| rows.left_out) {
        0 => format!("the block counts {counted} transactions and the node shows {shown}"),
        more => format!("the block is too large: {more} of its {shown} transactions were left out"),
    }
}
