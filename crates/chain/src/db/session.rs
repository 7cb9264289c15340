//! One read, within one snapshot of the database.
//!
//! 1. *Verify* (`verify`): is what the cursor has read still there? If not, it goes back to where
//!    the chain forked.
//! 2. *Late*: blocks of the window whose content has changed, then blocks and transactions with new
//!    row ids at heights that were already read.
//! 3. *New*: the blocks above the position, in order.
//!
//! The first two are repeated whenever the database has changed. Their cost is that of the new rows
//! plus the window of 64 blocks. New transactions are found by height, late ones by row id, so no
//! row is missed.

use std::collections::HashSet;

use super::content::Contents;
use super::query::{BlockRow, Query};
use super::verify;
use super::work::Work;
use super::{begin, reader};
use crate::source::{
    BYTES_PER_READ, Batch, ChainEvent, Cursor, Interest, Mark, SourceError, Trail,
};

/// How many blocks are fetched at a time.
const PAGE: usize = 256;

/// One read.
pub(super) struct Session<'a> {
    query: Query<'a>,
    cursor: Cursor,
    contents: Contents<'a>,
    /// How many events, at most, before the next block.
    limit: usize,
    /// How many rows and blocks, at most, before the next block. It bounds how long the read
    /// transaction is open.
    budget: usize,
}

/// The result of a read.
pub(super) struct Outcome {
    pub(super) batch: Batch,
    /// Only new blocks are left, if anything.
    pub(super) late_is_done: bool,
}

/// Whether a part of the read is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Done,
    /// New blocks are left.
    MoreNew,
    /// Late rows are left, and all new blocks.
    MoreLate,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        query: Query<'a>,
        cursor: Cursor,
        interest: &'a dyn Interest,
        work: &'a Work,
        limit: usize,
        budget: usize,
    ) -> Self {
        let contents = Contents {
            query,
            interest,
            events: Vec::new(),
            bytes: 0,
            work,
        };
        Self {
            query,
            cursor,
            contents,
            limit: limit.max(1),
            budget: budget.max(1),
        }
    }

    /// Runs the read. `unchanged`: the database is as it was when the last read returned this
    /// cursor, and that read had delivered all late rows.
    pub(super) fn run(mut self, unchanged: bool) -> rusqlite::Result<Result<Outcome, SourceError>> {
        let part = if unchanged {
            self.fresh()?
        } else {
            if let Err(error) = self.verify()? {
                return Ok(Err(error));
            }
            self.all()?
        };
        let head = self.query.head()?.map(|head| head.height());
        let next = head.map_or(0, |head| head.saturating_add(1));
        let behind = self.cursor.next_height().saturating_sub(next);
        let is_more = part != Part::Done;
        let batch = reader::batch(self.contents.events, self.cursor, is_more, behind);
        Ok(Ok(Outcome {
            batch,
            late_is_done: part != Part::MoreLate,
        }))
    }

    fn all(&mut self) -> rusqlite::Result<Part> {
        let mut passed = HashSet::new();
        for step in [
            Self::gaps,
            Self::window,
            Self::late_blocks,
            Self::late_transactions,
        ] {
            if step(self, &mut passed)? != Part::Done {
                return Ok(Part::MoreLate);
            }
        }
        self.fresh()
    }

    fn verify(&mut self) -> rusqlite::Result<Result<(), SourceError>> {
        match verify::verify(self.query, &mut self.cursor)? {
            Ok(withdrawn) => {
                self.contents.events.extend(withdrawn);
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    fn full(&self) -> bool {
        self.contents.events.len() >= self.limit
            || self.contents.bytes >= BYTES_PER_READ
            || self.budget == 0
    }

    fn spend(&mut self, rows: usize) {
        self.budget = self.budget.saturating_sub(rows.saturating_add(1));
    }

    /// Whether a block at a height that was already read is to be delivered.
    fn passed(&self, height: u64) -> bool {
        height >= self.cursor.origin.height && height < self.cursor.next_height()
    }

    fn late_block(&mut self, block: &BlockRow) -> rusqlite::Result<()> {
        self.contents.work.count_block();
        let content = self.contents.block(block, true)?;
        self.spend(content.rows);
        if let Some(entry) = self.cursor.trail.get_mut(block.height()) {
            entry.digest = content.summary.digest(block);
            entry.block_id = block.id;
        }
        Ok(())
    }

    /// Reads the gaps of a cursor that comes from RPC.
    fn gaps(&mut self, passed: &mut HashSet<u64>) -> rusqlite::Result<Part> {
        while let Some(height) = self.cursor.gaps.first().copied() {
            if self.full() {
                return Ok(Part::MoreLate);
            }
            self.cursor.gaps.remove(0);
            if let Some(block) = self.query.block(height)? {
                self.late_block(&block)?;
                passed.insert(height);
                let height = block.head.height;
                self.contents.events.push(ChainEvent::GapFilled { height });
            }
        }
        Ok(Part::Done)
    }

    /// Reads the blocks of the window again whose content has changed under the same hash.
    fn window(&mut self, passed: &mut HashSet<u64>) -> rusqlite::Result<Part> {
        let Some(tip) = self.cursor.tip.as_ref().map(|tip| tip.height.0) else {
            return Ok(Part::Done);
        };
        let start = Trail::window_start(tip).max(self.cursor.origin.height);
        let summaries = self.query.summaries(start, tip)?;
        for block in self.query.blocks(start, tip, PAGE)? {
            let known = self
                .cursor
                .trail
                .get(block.height())
                .map(|entry| entry.digest);
            if passed.contains(&block.height()) || known.is_none() {
                continue;
            }
            let summary = summaries.get(&block.height()).copied().unwrap_or_default();
            if known == Some(summary.digest(&block)) {
                continue;
            }
            if self.full() {
                return Ok(Part::MoreLate);
            }
            self.late_block(&block)?;
            passed.insert(block.height());
        }
        Ok(Part::Done)
    }

    /// Reads the blocks with new rows at heights that were already read.
    fn late_blocks(&mut self, passed: &mut HashSet<u64>) -> rusqlite::Result<Part> {
        loop {
            let rows = self.query.blocks_after_id(self.cursor.blocks.id, PAGE)?;
            if rows.is_empty() {
                return Ok(Part::Done);
            }
            for (id, block) in rows {
                if self.full() {
                    return Ok(Part::MoreLate);
                }
                self.spend(0);
                let late = block.filter(|block| {
                    let height = block.height();
                    let entry = self.cursor.trail.get(height);
                    self.passed(height)
                        && !passed.contains(&height)
                        && entry.is_none_or(|entry| entry.block_id != id)
                });
                if let Some(block) = late {
                    self.late_block(&block)?;
                    passed.insert(block.height());
                }
                self.cursor.blocks = self.query.block_mark(id)?.unwrap_or(Mark { id, print: 0 });
            }
        }
    }

    /// Reads the transactions with new rows at heights that were already read.
    fn late_transactions(&mut self, passed: &mut HashSet<u64>) -> rusqlite::Result<Part> {
        loop {
            let rows = self
                .query
                .transactions_after_id(self.cursor.transactions.id, PAGE)?;
            let Some((last, _)) = rows.last().copied() else {
                return Ok(Part::Done);
            };
            let mut seen = self.cursor.transactions.id;
            for (id, height) in rows {
                if self.full() {
                    self.seen_through(seen)?;
                    return Ok(Part::MoreLate);
                }
                seen = id;
                self.spend(0);
                let late = height.filter(|height| self.passed(*height) && !passed.contains(height));
                let Some(height) = late else { continue };
                // If its block is not there yet, the row is delivered with the block.
                if let Some(block) = self.query.block(height)? {
                    self.contents.late_row(id, &block.head)?;
                }
            }
            self.seen_through(last)?;
        }
    }

    /// Moves the mark of transactions to the row with this id.
    fn seen_through(&mut self, id: i64) -> rusqlite::Result<()> {
        if id <= self.cursor.transactions.id {
            return Ok(());
        }
        if let Some(mark) = self.query.transaction_mark(id)? {
            self.cursor.transactions = mark;
        }
        Ok(())
    }

    /// Reads the blocks above the position.
    fn fresh(&mut self) -> rusqlite::Result<Part> {
        loop {
            let blocks = self
                .query
                .blocks(self.cursor.next_height(), u64::MAX, PAGE)?;
            if blocks.is_empty() {
                return Ok(Part::Done);
            }
            for block in blocks {
                if self.full() {
                    return Ok(Part::MoreNew);
                }
                self.fresh_block(&block)?;
            }
        }
    }

    fn fresh_block(&mut self, block: &BlockRow) -> rusqlite::Result<()> {
        let mut mark = self
            .cursor
            .trail
            .last()
            .map_or(Mark::default(), |last| Mark {
                id: last.tx_id,
                print: last.tx_print,
            });
        let summary = if block.height() < self.cursor.origin.height {
            self.spend(0);
            self.query.summary(block.height())?
        } else {
            self.contents.work.count_block();
            let content = self.contents.block(block, false)?;
            self.spend(content.rows);
            content.summary
        };
        let entry = begin::entry(self.query, block, summary, &mut mark)?;
        if block.height() == 0 {
            self.cursor.genesis = Some(block.head.hash);
        }
        self.cursor.trail.push(entry);
        self.cursor.tip = Some(block.head.clone());
        Ok(())
    }
}
