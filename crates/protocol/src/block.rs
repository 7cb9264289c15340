//! Chain ids, block heights, and the formula of a block's hash.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::dialect::Dialect;
use crate::hash::BlockHash;
use crate::text::serde_as_text;

/// Longest chain id, in characters. The chain's own are about a dozen long.
const CHAIN_ID_MAX: usize = 64;

/// The name of a chain, such as `ait-mainnet`: 1 to 64 of `A-Z a-z 0-9 . _ -`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(Arc<str>);

/// Why a text is not a chain id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainIdError {
    /// The text is empty.
    #[error("a chain id has at least one character")]
    Empty,
    /// The text is longer than 64 characters.
    #[error("a chain id has at most 64 characters, not {found}")]
    Length {
        /// How many bytes the text has.
        found: usize,
    },
    /// A character is not one that a chain id may hold.
    #[error(
        "character {position} of a chain id is {found:?}; letters, digits, '.', '_' and '-' are allowed"
    )]
    Character {
        /// The character.
        found: char,
        /// Its position, from 1.
        position: usize,
    },
}

impl ChainId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChainId {
    type Err = ChainIdError;

    fn from_str(text: &str) -> Result<Self, ChainIdError> {
        if text.is_empty() {
            return Err(ChainIdError::Empty);
        }
        let foreign = |found: &char| !(found.is_ascii_alphanumeric() || "._-".contains(*found));
        if let Some((index, found)) = text.chars().enumerate().find(|(_, found)| foreign(found)) {
            return Err(ChainIdError::Character {
                found,
                position: index + 1,
            });
        }
        if text.len() > CHAIN_ID_MAX {
            return Err(ChainIdError::Length { found: text.len() });
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for ChainId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ChainId({})", self.0)
    }
}

serde_as_text!(ChainId, ChainId::from_str);

/// A chain, as whoever signs for it knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chain {
    /// Its id.
    pub id: ChainId,
    /// Its dialect.
    pub dialect: Dialect,
}

/// The number of a block; genesis is 0.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct BlockHeight(pub u64);

impl BlockHeight {
    /// The height above this one; the greatest possible height is returned unchanged.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The height `blocks` below, if there is one.
    pub const fn checked_sub(self, blocks: u64) -> Option<Self> {
        match self.0.checked_sub(blocks) {
            Some(height) => Some(Self(height)),
            None => None,
        }
    }

    /// The height `blocks` below, or genesis.
    pub const fn saturating_sub(self, blocks: u64) -> Self {
        Self(self.0.saturating_sub(blocks))
    }

    /// The height `blocks` above, or the greatest possible height.
    pub const fn saturating_add(self, blocks: u64) -> Self {
        Self(self.0.saturating_add(blocks))
    }
}

impl fmt::Display for BlockHeight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl From<u64> for BlockHeight {
    fn from(height: u64) -> Self {
        Self(height)
    }
}

/// The hash of a block: SHA-256 of
/// `chain_id|height|parent_hash|timestamp|sorted transaction hashes joined by "|"`.
///
/// `parent_hash` is the text as the chain holds it: genesis has `0x00`. `timestamp` is the
/// proposer's `datetime.isoformat()`: `YYYY-MM-DDTHH:MM:SS.ffffff`, without a zone, and without
/// the fraction when it is zero; [`isoformat`] makes it from the text of a database column. The
/// hashes may come in any order. A block without transactions keeps the last `|`.
pub fn block_hash<'a>(
    chain: &ChainId,
    height: BlockHeight,
    parent_hash: &str,
    timestamp: &str,
    tx_hashes: impl IntoIterator<Item = &'a str>,
) -> BlockHash {
    let mut hashes: Vec<&str> = tx_hashes.into_iter().collect();
    hashes.sort_unstable();
    let mut hasher = Sha256::new();
    hasher.update(format!("{chain}|{height}|{parent_hash}|{timestamp}|"));
    for (index, hash) in hashes.iter().enumerate() {
        if index > 0 {
            hasher.update(b"|");
        }
        hasher.update(hash);
    }
    BlockHash::from_bytes(hasher.finalize().into())
}

/// The hash of block 0 of a chain that began the way AITBC chains do: parent `0x00`, time
/// 2025-01-01T00:00:00, no transactions.
pub fn genesis_hash(chain: &ChainId) -> BlockHash {
    block_hash(chain, BlockHeight(0), "0x00", "2025-01-01T00:00:00", [])
}

/// Python's `isoformat()` of a time as SQLite holds it: `2025-01-01 00:00:00.000000` becomes
/// `2025-01-01T00:00:00`. A text that already has that form is returned unchanged.
pub fn isoformat(database_text: &str) -> String {
    let text = database_text.replacen(' ', "T", 1);
    match text.strip_suffix(".000000") {
        Some(whole_seconds) => whole_seconds.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(text: &str) -> ChainId {
        text.parse().unwrap()
    }

    #[test]
    fn genesis_is_the_formula_with_a_trailing_bar() {
        // Python: hashlib.sha256(b"ait-mainnet|0|0x00|2025-01-01T00:00:00|").hexdigest()
        assert_eq!(
            genesis_hash(&chain("ait-mainnet")).to_string(),
            "0x08bdb93299d8fe4555eb26139c387f6b1907c941678f672acf73a6c1760d8f47"
        );
        assert_ne!(
            genesis_hash(&chain("ait-mainnet")),
            genesis_hash(&chain("ait-devnet"))
        );
    }

    #[test]
    fn the_order_of_transactions_does_not_matter_and_everything_else_does() {
        let id = chain("c");
        let of = |hashes: [&'static str; 2]| {
            block_hash(&id, BlockHeight(1), "0x00", "2025-01-01T00:00:02", hashes)
        };
        assert_eq!(of(["0xa", "0xb"]), of(["0xb", "0xa"]));
        assert_ne!(of(["0xa", "0xb"]), of(["0xa", "0xc"]));
        let joined = BlockHash::of(b"c|1|0x00|2025-01-01T00:00:02|0xa|0xb");
        assert_eq!(of(["0xb", "0xa"]), joined);
    }

    #[test]
    fn database_times_become_isoformat() {
        assert_eq!(
            isoformat("2025-01-01 00:00:00.000000"),
            "2025-01-01T00:00:00"
        );
        assert_eq!(
            isoformat("2026-04-10 11:12:13.000140"),
            "2026-04-10T11:12:13.000140"
        );
        assert_eq!(isoformat("2025-01-01T00:00:00"), "2025-01-01T00:00:00");
    }

    #[test]
    fn chain_ids_are_bounded() {
        assert_eq!("".parse::<ChainId>(), Err(ChainIdError::Empty));
        assert!("a".repeat(64).parse::<ChainId>().is_ok());
        assert_eq!(
            "a".repeat(65).parse::<ChainId>(),
            Err(ChainIdError::Length { found: 65 })
        );
        for bad in ["a b", "a|b", "a/b", "é", "a\n"] {
            assert!(
                matches!(bad.parse::<ChainId>(), Err(ChainIdError::Character { .. })),
                "{bad}"
            );
        }
        let id = chain("ait-devnet");
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<ChainId>(&text).unwrap(), id);
    }

    #[test]
    fn heights_do_not_wrap() {
        assert_eq!(BlockHeight(u64::MAX).next(), BlockHeight(u64::MAX));
        assert_eq!(BlockHeight(3).checked_sub(4), None);
        assert_eq!(BlockHeight(3).saturating_sub(4), BlockHeight(0));
        assert_eq!(serde_json::to_string(&BlockHeight(7)).unwrap(), "7");
    }
}
