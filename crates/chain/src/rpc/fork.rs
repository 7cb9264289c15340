//! Finding where the chain diverges from the blocks that were read.

use agentry_protocol::BlockHeight;

use super::compare_genesis;
use super::digest::entry;
use super::fetch::may_be_one_block;
use super::turn::Turn;
use crate::node::Head;
use crate::source::{ChainEvent, Entry, HashPrint, SourceError, Trail};

/// How many blocks below a conflict are compared first. Forks are usually shallow; each further
/// step compares twice as many.
const FIRST_LOOK: usize = 4;

impl Turn<'_> {
    /// The node shows another block at `height` than was read: goes back to where the chains
    /// diverge.
    pub(super) async fn part(&mut self, height: u64) -> Result<(), SourceError> {
        let fork = self.standing_below(height).await?;
        if fork.is_none() {
            // Checked before any block is delivered: it may be another chain.
            compare_genesis(&mut self.cursor, self.fetch.hash(0).await?)?;
        }
        let above = fork.as_ref().map(|head| head.height);
        let depth = self.cursor.withdraw(fork);
        self.events.push(ChainEvent::Withdrawn { above, depth });
        self.ahead.clear();
        Ok(())
    }

    /// The highest block below a height that is still on the node's chain. None: none of the blocks
    /// in the trail is, except block 0.
    async fn standing_below(&self, height: u64) -> Result<Option<Head>, SourceError> {
        let tip = self.cursor.next_height().saturating_sub(1);
        let start = Trail::window_start(tip);
        let below = |entry: &&Entry| entry.height < height;
        let known: Vec<Entry> = self
            .cursor
            .trail
            .newest_first()
            .filter(below)
            .copied()
            .collect();
        let in_window = known.partition_point(|entry| entry.height >= start);
        let (mut window, older) = known.split_at(in_window);
        let mut count = FIRST_LOOK;
        while let Some(newest) = window.first() {
            let (look, rest) = window.split_at(count.min(window.len()));
            let oldest = look.last().unwrap_or(newest);
            let (from, to) = (oldest.height, newest.height);
            let now = self.fetch.headers(from, to, &self.cursor.gaps).await?;
            for entry in look {
                match now.get(entry.height) {
                    Some(head) if HashPrint::from(&head.hash) == entry.hash => {
                        return Ok(Some(head.clone()));
                    }
                    // A block that the node cannot show at all is not known to have changed.
                    None if !now.unknown.contains(&entry.height) => {
                        return Err(left_out(entry.height));
                    }
                    _ => {}
                }
            }
            window = rest;
            count *= 2;
        }
        for entry in older {
            let found = match self.fetch.header(entry.height).await {
                Err(error) if may_be_one_block(&error) => continue,
                found => found?,
            };
            match found {
                None => return Err(left_out(entry.height)),
                Some(head) if HashPrint::from(&head.hash) != entry.hash => {}
                // Only block 0 is the same, far below the window: another run of the same chain.
                Some(head) if head.height == BlockHeight(0) => return Ok(None),
                Some(head) => return Ok(Some(head)),
            }
        }
        Ok(None)
    }

    /// Adds a block of the window that is missing from the trail: after a fork the window is lower,
    /// where the trail is sparse.
    pub(super) fn remember(&mut self, head: &Head, digest: u64) {
        self.cursor.trail.fill(entry(head, digest));
    }
}

/// A block that is only missing from an answer may still exist.
fn left_out(height: u64) -> SourceError {
    SourceError::Inconsistent {
        reason: format!("the node left out block {height}"),
    }
}
