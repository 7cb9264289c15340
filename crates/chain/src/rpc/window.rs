//! Checking the last blocks that were read: whether they still stand, and what came late to them.

use std::collections::HashMap;

use agentry_protocol::BlockHeight;

use super::compare_genesis;
use super::fetch::{Range, may_be_one_block};
use super::turn::{Part, Turn, UNREAD, digest, entry};
use crate::node::Head;
use crate::source::{ChainEvent, Entry, HashPrint, SourceError, Trail};

impl Turn<'_> {
    /// Checks what has been read against the chain, and delivers what came late to it.
    pub(super) async fn verify(&mut self) -> Result<Part, SourceError> {
        let Some(tip) = self.cursor.tip.clone() else {
            return Ok(Part::Done);
        };
        let start = Trail::window_start(tip.height.0);
        let page = tip
            .height
            .0
            .saturating_add(self.options.page)
            .min(self.head.height.0);
        let mut range = match self.fetch.all(start, page.max(tip.height.0), true).await {
            Err(error) if may_be_one_block(&error) => {
                self.fetch
                    .all_somehow(start, tip.height.0, &self.cursor.gaps)
                    .await?
            }
            answer => answer?,
        };
        let above = range
            .blocks
            .partition_point(|block| block.head.height <= tip.height);
        self.ahead = range.blocks.split_off(above);
        if let Some(fork) = self.fork(start, &range).await? {
            if fork.is_none() {
                // Before anything of it is delivered: it may be another chain.
                compare_genesis(&mut self.cursor, self.fetch.hash(0).await?)?;
            }
            let above = fork.as_ref().map(|head| head.height);
            let depth = self.cursor.withdraw(fork);
            self.events.push(ChainEvent::Withdrawn { above, depth });
            self.ahead.clear();
            if let Some(above) = above {
                self.refill(above.0).await?;
            }
        }
        if range.with_rows {
            self.late(range).await
        } else {
            Ok(Part::Done)
        }
    }

    /// Where the chain parts from the trail. None: nowhere. Some(None): below all that is known.
    async fn fork(&self, start: u64, range: &Range) -> Result<Option<Option<Head>>, SourceError> {
        let now: HashMap<u64, &Head> = range
            .blocks
            .iter()
            .map(|block| (block.head.height.0, &block.head))
            .collect();
        let mut window: Vec<&Entry> = self
            .cursor
            .trail
            .newest_first()
            .take_while(|entry| entry.height >= start)
            .collect();
        window.reverse();
        // Of a block that the node cannot show at all, nothing says that it has changed.
        window.retain(|entry| !range.unknown.contains(&entry.height));
        let stands = |entry: &&Entry| {
            now.get(&entry.height)
                .copied()
                .filter(|head| HashPrint::from(&head.hash) == entry.hash)
        };
        let standing: Vec<&Head> = window.iter().map_while(stands).collect();
        let Some(first_gone) = window.get(standing.len()) else {
            return Ok(None);
        };
        if !now.contains_key(&first_gone.height) && first_gone.height <= self.head.height.0 {
            // A block that is merely missing from an answer may be there all the same.
            let there = self.fetch.hash(first_gone.height).await?;
            if there.is_some_and(|hash| HashPrint::from(&hash) == first_gone.hash) {
                let reason = format!("the node left out block {}", first_gone.height);
                return Err(SourceError::Inconsistent { reason });
            }
        }
        if let Some(head) = standing.last() {
            return Ok(Some(Some((*head).clone())));
        }
        for entry in self
            .cursor
            .trail
            .newest_first()
            .filter(|entry| entry.height < start)
        {
            let found = self.fetch.header(entry.height).await?;
            match found.filter(|head| HashPrint::from(&head.hash) == entry.hash) {
                // Only block 0 is the same, far below the window: another run of the same chain.
                Some(head) if head.height == BlockHeight(0) => return Ok(Some(None)),
                Some(head) => return Ok(Some(Some(head))),
                None => {}
            }
        }
        Ok(Some(None))
    }

    /// After a fork the window lies lower, where the trail has thinned out: what is there now is what
    /// later changes are measured by.
    async fn refill(&mut self, tip: u64) -> Result<(), SourceError> {
        let start = Trail::window_start(tip);
        if (start..=tip).all(|height| self.cursor.trail.get(height).is_some()) {
            return Ok(());
        }
        let range = self
            .fetch
            .all_somehow(start, tip, &self.cursor.gaps)
            .await?;
        for block in range.blocks {
            let digest = if range.with_rows {
                digest(&block)
            } else {
                UNREAD
            };
            self.cursor.trail.fill(entry(&block.head, digest));
        }
        Ok(())
    }

    /// Delivers the blocks of the window whose content is not what it was.
    async fn late(&mut self, range: Range) -> Result<Part, SourceError> {
        for block in range.blocks {
            let height = block.head.height.0;
            let known = self.cursor.trail.get(height).map(|entry| entry.digest);
            let now = digest(&block);
            if height < self.cursor.origin.height || known.is_none_or(|known| known == now) {
                continue;
            }
            if self.full() {
                return Ok(Part::More);
            }
            match self.content(block).await {
                Ok(whole) => self.late_block(&whole),
                // Its digest is unchanged, so it is tried again at the next change.
                Err(error) if may_be_one_block(&error) => continue,
                Err(error) => return Err(error.into()),
            }
            if let Some(entry) = self.cursor.trail.get_mut(height) {
                entry.digest = now;
            }
        }
        Ok(Part::Done)
    }
}
