//! The cursor: a position on a chain, which its reader stores.

use agentry_protocol::{BlockHash, BlockHeight};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::node::Head;
use crate::source::{HashPrint, Trail};

/// The version of the stored form. A cursor of another version is refused when it is read back.
const VERSION: u16 = 1;

/// A position on a chain: what has been read, and enough about it to notice when the chain below
/// changes. Opaque; a few kilobytes when stored.
///
/// A cursor of one kind of source may be given to the other kind: what lies within the last 64
/// heights is then delivered again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The kind of source it was last read with: its row ids and digests mean nothing to the other.
    pub(crate) kind: Kind,
    /// The hash of block 0 of its chain, once known.
    pub(crate) genesis: Option<BlockHash>,
    pub(crate) origin: Origin,
    /// The last block that has been read.
    pub(crate) tip: Option<Head>,
    pub(crate) trail: Trail,
    /// chain.db: the transaction row up to which late rows have been searched for.
    pub(crate) transactions: Mark,
    /// chain.db: the same for rows of blocks.
    pub(crate) blocks: Mark,
    /// RPC: heights that could not be read whole, ascending.
    pub(crate) gaps: Vec<u64>,
}

/// Why positions of several readers do not become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Apart {
    /// One has read another block at the height of the one that is the least far.
    #[error("they have read different blocks at height {height}")]
    Forked {
        /// The height.
        height: BlockHeight,
    },
    /// One is so far ahead that it does not remember the block.
    #[error(
        "one has read only up to height {height}, and another one no longer remembers that block"
    )]
    Far {
        /// The height.
        height: BlockHeight,
    },
}

/// The kind of source that a cursor was last read with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Db,
    Rpc,
}

/// The first height that is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) height: u64,
    /// It goes down with a fork below it: the cursor began at the head, so blocks that replace
    /// those of that time are new.
    pub(crate) lowers: bool,
}

impl Origin {
    /// The origin after everything above `fork` (None: everything) was withdrawn.
    pub(crate) fn after_fork(self, fork: Option<u64>) -> Self {
        let first_new = fork.map_or(0, |height| height.saturating_add(1));
        let height = if self.lowers {
            self.height.min(first_new)
        } else {
            self.height
        };
        Self { height, ..self }
    }
}

/// A row up to which a table has been read: its id, and a fingerprint that tells it from another
/// row with the same id. Id 0: no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) id: i64,
    pub(crate) print: u32,
}

impl Cursor {
    /// A cursor that has read nothing.
    pub(crate) fn new(kind: Kind, origin: Origin) -> Self {
        Self {
            kind,
            genesis: None,
            origin,
            tip: None,
            trail: Trail::default(),
            transactions: Mark::default(),
            blocks: Mark::default(),
            gaps: Vec::new(),
        }
    }

    /// The height up to which the chain has been read; for a cursor that has just begun, the block
    /// before the first one it will look at. None: nothing has been read.
    #[must_use]
    pub fn height(&self) -> Option<BlockHeight> {
        self.tip.as_ref().map(|tip| tip.height)
    }

    /// The hash of block 0 of its chain. None: the chain had no block 0 yet.
    #[must_use]
    pub fn genesis(&self) -> Option<&BlockHash> {
        self.genesis.as_ref()
    }

    /// The first height that is delivered. After [`Start::Head`](crate::Start::Head) it goes down
    /// when a reorganisation replaces older blocks.
    #[must_use]
    pub fn origin(&self) -> BlockHeight {
        BlockHeight(self.origin.height)
    }

    /// The blocks that could not be read whole so far, by ascending height; the last 256 of them.
    /// Any of them may hold a transaction that has not been delivered.
    pub fn gaps(&self) -> impl Iterator<Item = BlockHeight> {
        self.gaps.iter().copied().map(BlockHeight)
    }

    /// One position for several readers of the same chain: that of the reader that is the least far.
    /// From there, everything is delivered that any of them has still to read. Returns it with its place
    /// among them; `None` if there are no readers.
    ///
    /// # Errors
    /// [`Apart`]: they are not known to have read the same blocks up to there.
    pub fn together(all: &[Self]) -> Result<Option<(usize, Self)>, Apart> {
        let Some((place, least)) = all
            .iter()
            .enumerate()
            .min_by_key(|(_, one)| one.next_height())
        else {
            return Ok(None);
        };
        let mut together = least.clone();
        for one in all {
            if let Some(tip) = &least.tip {
                let (height, hash) = (tip.height, HashPrint::from(&tip.hash));
                let known = match &one.tip {
                    Some(at) if at.height == height => Some(HashPrint::from(&at.hash)),
                    _ => one.trail.get(height.0).map(|entry| entry.hash),
                };
                if known.ok_or(Apart::Far { height })? != hash {
                    return Err(Apart::Forked { height });
                }
            }
            together.origin.height = together.origin.height.min(one.origin.height);
            together.origin.lowers |= one.origin.lowers;
            let below = one.gaps.iter().filter(|gap| **gap < least.next_height());
            together.gaps.extend(below);
            // Late rows that one of them has not searched for yet.
            if one.kind == Kind::Db && together.kind == Kind::Db {
                let earlier = |mark: &mut Mark, other: Mark| {
                    if other.id < mark.id {
                        *mark = other;
                    }
                };
                earlier(&mut together.transactions, one.transactions);
                earlier(&mut together.blocks, one.blocks);
            }
        }
        together.gaps.sort_unstable();
        together.gaps.dedup();
        Ok(Some((place, together)))
    }

    /// The first height that has not been read.
    pub(crate) fn next_height(&self) -> u64 {
        self.tip
            .as_ref()
            .map_or(0, |tip| tip.height.0.saturating_add(1))
    }

    /// Discards the state of blocks above `fork` (None: of all blocks). Returns how many heights
    /// that were.
    pub(crate) fn withdraw(&mut self, fork: Option<Head>) -> u64 {
        let read = self.next_height();
        let first_gone = fork
            .as_ref()
            .map_or(0, |head| head.height.0.saturating_add(1));
        match &fork {
            Some(head) => {
                self.trail.withdraw_above(head.height.0);
                self.gaps.retain(|gap| *gap <= head.height.0);
            }
            None => {
                self.trail.clear();
                self.gaps.clear();
            }
        }
        self.origin = self
            .origin
            .after_fork(fork.as_ref().map(|head| head.height.0));
        self.tip = fork;
        read.saturating_sub(first_gone)
    }
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u16,
    kind: Kind,
    genesis: Option<BlockHash>,
    origin: Origin,
    tip: Option<StoredTip>,
    transactions: Mark,
    blocks: Mark,
    gaps: Vec<u64>,
    trail: String,
}

#[derive(Serialize, Deserialize)]
struct StoredTip {
    height: BlockHeight,
    hash: BlockHash,
    tx_count: u64,
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = Stored {
            version: VERSION,
            kind: self.kind,
            genesis: self.genesis,
            origin: self.origin,
            tip: self.tip.as_ref().map(|tip| StoredTip {
                height: tip.height,
                hash: tip.hash,
                tx_count: tip.tx_count,
            }),
            transactions: self.transactions,
            blocks: self.blocks,
            gaps: self.gaps.clone(),
            trail: self.trail.to_text(),
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        if stored.version != VERSION {
            return Err(de::Error::custom(format_args!(
                "reading a chain position: it has version {}, this program knows version {VERSION}; use the program that wrote it",
                stored.version
            )));
        }
        let trail = Trail::from_text(&stored.trail)
            .ok_or_else(|| de::Error::custom("reading a chain position: its trail is damaged"))?;
        Ok(Self {
            kind: stored.kind,
            genesis: stored.genesis,
            origin: stored.origin,
            tip: stored.tip.map(|tip| Head {
                height: tip.height,
                hash: tip.hash,
                tx_count: tip.tx_count,
            }),
            trail,
            transactions: stored.transactions,
            blocks: stored.blocks,
            gaps: stored.gaps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Entry;

    fn hash(height: u64, fork: u8) -> BlockHash {
        BlockHash::of(&[height.to_be_bytes().as_slice(), &[fork]].concat())
    }

    /// A reader that has read blocks up to a height, on a fork from another height on.
    fn read(through: u64, forked: u64) -> Cursor {
        let origin = Origin {
            height: through,
            lowers: false,
        };
        let mut cursor = Cursor::new(Kind::Db, origin);
        for height in 0..=through {
            let hash = hash(height, u8::from(height >= forked));
            cursor.trail.push(Entry {
                height,
                hash: HashPrint::from(&hash),
                digest: 0,
                tx_id: 0,
                tx_print: 0,
                block_id: 0,
            });
            cursor.tip = Some(Head {
                height: BlockHeight(height),
                hash,
                tx_count: 0,
            });
        }
        cursor.gaps = vec![through];
        cursor.transactions = Mark {
            id: 1_000 - i64::try_from(through).unwrap(),
            print: 1,
        };
        cursor
    }

    #[test]
    fn readers_together_have_read_what_all_have_read() {
        let never = u64::MAX;
        assert_eq!(Cursor::together(&[]), Ok(None));
        let all = [read(120, never), read(100, never), read(110, never)];
        let (place, together) = Cursor::together(&all).unwrap().unwrap();
        assert_eq!((place, together.height()), (1, Some(BlockHeight(100))));
        assert_eq!(together.origin(), BlockHeight(100));
        // What is above is read again anyway.
        assert_eq!(together.gaps, [100]);
        assert_eq!(together.transactions.id, 880);
        let alone = Cursor::together(&all[1..2]).unwrap().unwrap();
        assert_eq!(alone, (0, all[1].clone()));
        // Nobody has read anything.
        let origin = Origin {
            height: 0,
            lowers: true,
        };
        let nothing = Cursor::new(Kind::Rpc, origin);
        let (place, together) = Cursor::together(&[read(5, never), nothing])
            .unwrap()
            .unwrap();
        assert_eq!((place, together.height()), (1, None));
    }

    #[test]
    fn readers_of_different_blocks_are_apart() {
        let height = BlockHeight(100);
        for (other, wanted) in [
            (read(100, 90), Apart::Forked { height }),
            (read(120, 100), Apart::Forked { height }),
            (read(400, u64::MAX), Apart::Far { height }),
        ] {
            let all = [read(100, u64::MAX), other];
            assert_eq!(Cursor::together(&all), Err(wanted));
        }
        assert!(Cursor::together(&[read(100, u64::MAX), read(120, 101)]).is_ok());
    }
}
