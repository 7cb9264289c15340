//! Searching the last blocks that were read for transactions that were added late.
//!
//! A resync can add transactions to an old block. The node does not report it, so the blocks of the
//! window are read again, from the newest down: a few at a time, when nothing is new, and only
//! within the share of the node's time for deferrable requests. A pass begins after the head has
//! changed.

use agentry_protocol::BlockHash;
use tokio::time::Instant;

use super::digest::{UNREAD, digest, is_same};
use super::fetch::{RawBlock, may_be_one_block};
use super::meter::Rest;
use super::turn::{Part, Turn};
use crate::source::{HashPrint, SourceError, Trail};

/// The progress of a pass over the window.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The head under which it began.
    head: Option<BlockHash>,
    /// The highest block that it still has to read. None: the pass is complete.
    next: Option<u64>,
    began: Option<Instant>,
    rest: Rest,
}

impl Sweep {
    pub(super) fn new() -> Self {
        Self {
            head: None,
            next: None,
            began: None,
            rest: Rest::new(),
        }
    }
}

impl Turn<'_> {
    /// Continues the pass over the window, if it is due.
    pub(super) async fn sweep(&mut self, sweep: &mut Sweep) -> Result<Part, SourceError> {
        let Some(tip) = self.cursor.tip.as_ref().map(|tip| tip.height.0) else {
            return Ok(Part::Done);
        };
        let start = Trail::window_start(tip).max(self.cursor.origin.height);
        if sweep.next.is_none_or(|next| next < start) {
            let rested = sweep
                .began
                .is_none_or(|began| began.elapsed() >= self.options.sweep_every);
            if sweep.head == Some(self.head.hash) || !rested {
                sweep.next = None;
                return Ok(Part::Done);
            }
            sweep.head = Some(self.head.hash);
            sweep.began = Some(Instant::now());
            sweep.next = Some(tip);
        }
        while let Some(high) = sweep.next.map(|next| next.min(tip)) {
            if high < start {
                sweep.next = None;
                break;
            }
            if self.is_hidden(high) {
                sweep.next = high.checked_sub(1);
                continue;
            }
            if self.full() || self.is_long() {
                return Ok(Part::More);
            }
            let size = self.fetch.old_blocks(&mut sweep.rest, self.head.hash);
            if size == 0 {
                break;
            }
            // A block that the node cannot show makes the whole range fail.
            let mut low = high;
            while low > start && high - low + 1 < size && !self.is_hidden(low - 1) {
                low -= 1;
            }
            let blocks = match self.fetch.few(low, high, self.interest).await {
                Ok(blocks) => blocks,
                Err(error) if may_be_one_block(&error) && low < high => {
                    let middle = low + (high - low) / 2 + 1;
                    match self.fetch.few(middle, high, self.interest).await {
                        Ok(blocks) => {
                            low = middle;
                            blocks
                        }
                        // Finding out which of them it is would not be worth more requests.
                        Err(error) if may_be_one_block(&error) => Vec::new(),
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) if may_be_one_block(&error) => Vec::new(),
                Err(error) => return Err(error.into()),
            };
            for block in blocks.into_iter().rev() {
                if self.full() {
                    sweep.next = Some(block.head.height.0);
                    return Ok(Part::More);
                }
                if self.look_at(block).await? == Part::More {
                    sweep.next = None;
                    return Ok(Part::More);
                }
            }
            sweep.next = low.checked_sub(1);
        }
        Ok(Part::Done)
    }

    /// Whether a block is known to be one that the node cannot show.
    fn is_hidden(&self, height: u64) -> bool {
        let unread = self.cursor.trail.get(height).map(|entry| entry.digest) == Some(UNREAD);
        unread || self.cursor.gaps.binary_search(&height).is_ok()
    }

    /// Delivers a block of the window if its content has changed. More: the chain has forked.
    async fn look_at(&mut self, block: RawBlock) -> Result<Part, SourceError> {
        let height = block.head.height.0;
        let known = self.cursor.trail.get(height).copied();
        if known.is_some_and(|known| known.hash != HashPrint::from(&block.head.hash)) {
            self.part(height).await?;
            return Ok(Part::More);
        }
        let now = digest(&block);
        if known.is_some_and(|known| is_same(known.digest, now)) {
            return Ok(Part::Done);
        }
        let head = block.head.clone();
        match self.content(block).await {
            Ok(whole) => self.late_block(&whole),
            // Its digest is unchanged, so it is tried again in the next pass.
            Err(error) if may_be_one_block(&error) => return Ok(Part::Done),
            Err(error) => return Err(error.into()),
        }
        match self.cursor.trail.get_mut(height) {
            Some(entry) => entry.digest = now,
            None => self.remember(&head, now),
        }
        Ok(Part::Done)
    }
}
