//! The trail: what a cursor remembers of the blocks it has read, to find where a chain forked.
//!
//! The last [`WINDOW`] heights are all kept. Of older ones fewer and fewer are kept, about four for
//! each doubling of the age, and blocks 0 and 1. So a fork deeper than the window is still found to
//! within a factor of two of its depth, and a chain that restarted from the same block 0 is found
//! by its first block, with a trail of a few kilobytes.

use std::fmt::Write as _;

use agentry_protocol::BlockHash;

/// How many of the last heights are all kept, and re-read for late rows.
pub(crate) const WINDOW: u64 = 64;

/// The first 16 bytes of a block hash: enough to tell blocks apart (finding a second block with the
/// same 128 bits is infeasible), and half the size in every stored cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashPrint(pub(crate) u128);

impl From<&BlockHash> for HashPrint {
    fn from(hash: &BlockHash) -> Self {
        let mut print = [0; 16];
        print.copy_from_slice(&hash.as_bytes()[..16]);
        Self(u128::from_be_bytes(print))
    }
}

/// One block that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) height: u64,
    pub(crate) hash: HashPrint,
    /// A digest of the block's visible content: when it changes under the same hash, the block is
    /// read again. Each source defines its own digest.
    pub(crate) digest: u64,
    /// chain.db only: the highest transaction row id seen at this height or below, 0 for none, …
    pub(crate) tx_id: i64,
    /// … and the fingerprint of that row.
    pub(crate) tx_print: u32,
    /// chain.db only: the row id of the block.
    pub(crate) block_id: i64,
}

/// The blocks that were read, by ascending height.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trail(Vec<Entry>);

impl Trail {
    pub(crate) fn last(&self) -> Option<&Entry> {
        self.0.last()
    }

    pub(crate) fn get(&self, height: u64) -> Option<&Entry> {
        let at = self
            .0
            .binary_search_by_key(&height, |entry| entry.height)
            .ok()?;
        self.0.get(at)
    }

    pub(crate) fn get_mut(&mut self, height: u64) -> Option<&mut Entry> {
        let at = self
            .0
            .binary_search_by_key(&height, |entry| entry.height)
            .ok()?;
        self.0.get_mut(at)
    }

    /// The newest block at or below a height.
    pub(crate) fn at_or_below(&self, height: u64) -> Option<&Entry> {
        self.newest_first().find(|entry| entry.height <= height)
    }

    /// Gives every block the same digest: those of the other kind of source mean nothing here.
    pub(crate) fn set_digests(&mut self, digest: u64) {
        for entry in &mut self.0 {
            entry.digest = digest;
        }
    }

    /// From the newest to the oldest.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().rev()
    }

    /// The lowest height of the window below (and with) `tip`.
    pub(crate) fn window_start(tip: u64) -> u64 {
        tip.saturating_sub(WINDOW - 1)
    }

    /// Adds a block above all others and prunes old ones.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.withdraw_from(entry.height);
        self.0.push(entry);
        let tip = entry.height;
        self.0.retain(|entry| keeps(entry.height, tip));
    }

    /// Adds a pruned block below the newest; an existing entry is left unchanged.
    pub(crate) fn fill(&mut self, entry: Entry) {
        if let Err(at) = self
            .0
            .binary_search_by_key(&entry.height, |entry| entry.height)
            && at < self.0.len()
        {
            self.0.insert(at, entry);
        }
    }

    /// Removes every block above `height`.
    pub(crate) fn withdraw_above(&mut self, height: u64) {
        self.0.retain(|entry| entry.height <= height);
    }

    fn withdraw_from(&mut self, height: u64) {
        while self.0.last().is_some_and(|last| last.height >= height) {
            self.0.pop();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The stored form: entries separated by spaces, their fields in hex separated by dots.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.0.len() * 64);
        for entry in &self.0 {
            if !text.is_empty() {
                text.push(' ');
            }
            let Entry {
                height,
                hash,
                digest,
                tx_id,
                tx_print,
                block_id,
            } = entry;
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "{height:x}.{:032x}.{digest:x}.{tx_id:x}.{tx_print:x}.{block_id:x}",
                hash.0
            );
        }
        text
    }

    /// Reads the stored form back. None: it is damaged.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        for part in text.split(' ').filter(|part| !part.is_empty()) {
            let mut fields = part.split('.');
            let mut field = || fields.next();
            let entry = Entry {
                height: u64::from_str_radix(field()?, 16).ok()?,
                hash: HashPrint(u128::from_str_radix(field()?, 16).ok()?),
                digest: u64::from_str_radix(field()?, 16).ok()?,
                tx_id: i64::from_str_radix(field()?, 16).ok()?,
                tx_print: u32::from_str_radix(field()?, 16).ok()?,
                block_id: i64::from_str_radix(field()?, 16).ok()?,
            };
            if field().is_some()
                || entries
                    .last()
                    .is_some_and(|last| last.height >= entry.height)
            {
                return None;
            }
            entries.push(entry);
        }
        Some(Self(entries))
    }
}

/// Whether a block is kept when the newest is `tip`: all of the window, blocks 0 and 1, and an
/// older block of age `a` if a power of two between `a`/8 and `a`/4 divides its height.
fn keeps(height: u64, tip: u64) -> bool {
    let age = tip.saturating_sub(height);
    if age < WINDOW || height <= 1 {
        return true;
    }
    let step = 1_u64 << (age.ilog2() - 2);
    height.is_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(height: u64) -> Entry {
        Entry {
            height,
            hash: HashPrint(u128::from(height) << 64 | 7),
            digest: height ^ 0xdead,
            tx_id: 5,
            tx_print: 9,
            block_id: 11,
        }
    }

    #[test]
    fn the_window_is_whole_and_the_rest_thins_out() {
        let mut trail = Trail::default();
        let tip = 1_000_000;
        for height in 0..=tip {
            trail.push(entry(height));
        }
        for height in Trail::window_start(tip)..=tip {
            assert!(trail.get(height).is_some());
        }
        assert!(trail.get(0).is_some() && trail.get(1).is_some());
        assert_eq!(trail.at_or_below(2).unwrap().height, 1);
        let count = trail.newest_first().count();
        assert!((64 + 28..150).contains(&count), "{count} entries");
        // However deep a fork is, the trail knows a block at most twice as deep.
        for depth in [65, 100, 1_000, 30_000, 400_000] {
            let fork = tip - depth;
            let below = trail
                .newest_first()
                .find(|entry| entry.height <= fork)
                .unwrap();
            assert!(tip - below.height <= 2 * depth, "{depth}: {}", below.height);
        }
        assert!(trail.to_text().len() < 9_000);
    }

    #[test]
    fn the_stored_form_reads_back() {
        let mut trail = Trail::default();
        for height in (0..500).step_by(3) {
            trail.push(entry(height));
        }
        assert_eq!(Trail::from_text(&trail.to_text()), Some(trail));
        assert_eq!(Trail::from_text(""), Some(Trail::default()));
        for damaged in [
            "1",
            "1.2.3.4.5",
            "1.2.3.4.5.6.7",
            "2.0.0.0.0.0 1.0.0.0.0.0",
            "x.0.0.0.0.0",
        ] {
            assert_eq!(Trail::from_text(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn a_push_replaces_what_stood_at_or_above() {
        let mut trail = Trail::default();
        for height in 0..10 {
            trail.push(entry(height));
        }
        trail.push(entry(4));
        assert_eq!(trail.last(), Some(&entry(4)));
        assert_eq!(trail.newest_first().count(), 5);
    }
}
