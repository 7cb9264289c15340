//! The directory, and the heights that could not be read.

use agentry_core::state::row::card::{Card, Gap, Index};
use agentry_protocol::{Address, BlockHeight, TransactionHash};
use rusqlite::Result;

use crate::tables::archive::{Entry, Stored};
use crate::tables::columns::{Cell, Columns};

impl Stored for Card {
    const TABLE: &'static str = "card";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "address",
        "hash",
        "height",
        "public_key",
        "card",
        "expires_at",
        "announced_at",
    ];

    fn read_key(columns: &mut Columns<'_>) -> Result<i64> {
        columns.id()
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            id: columns.id()?,
            address: columns.text(Address::from_chain)?,
            hash: columns.bytes(TransactionHash::from_bytes)?,
            height: BlockHeight(columns.whole()?),
            public_key: columns.public_key()?,
            card: columns.optional_string()?,
            expires_at: columns.time()?,
            announced_at: columns.time()?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            self.id.into(),
            self.address.as_str().into(),
            Cell::Bytes(self.hash.as_bytes()),
            Cell::whole(self.height.0),
            Cell::Bytes(self.public_key.as_bytes()),
            self.card.as_deref().into(),
            self.expires_at.into(),
            self.announced_at.into(),
        ]
    }

    fn key_cells(key: &i64) -> Vec<Cell<'_>> {
        vec![(*key).into()]
    }

    fn entry(entry: &Index) -> Option<Entry<'_>> {
        let (columns, cells): (&'static [&'static str], _) = match entry {
            Index::Hash(address, hash) => (
                &["address", "hash"],
                vec![address.as_str().into(), Cell::Bytes(hash.as_bytes())],
            ),
            Index::Latest(address, height, id) => (
                &["address", "height", "id"],
                vec![address.as_str().into(), Cell::whole(height.0), (*id).into()],
            ),
            Index::Height(height, id) => {
                (&["height", "id"], vec![Cell::whole(height.0), (*id).into()])
            }
            Index::Expires(at, id) => (&["expires_at", "id"], vec![(*at).into(), (*id).into()]),
        };
        Some(Entry::new("", columns, cells))
    }
}

impl Stored for Gap {
    const TABLE: &'static str = "gap";
    const COLUMNS: &'static [&'static str] = &["height", "reason", "since"];

    fn read_key(columns: &mut Columns<'_>) -> Result<BlockHeight> {
        columns.whole().map(BlockHeight)
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            height: BlockHeight(columns.whole()?),
            reason: columns.string()?,
            since: columns.time()?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            Cell::whole(self.height.0),
            self.reason.as_str().into(),
            self.since.into(),
        ]
    }

    fn key_cells(key: &BlockHeight) -> Vec<Cell<'_>> {
        vec![Cell::whole(key.0)]
    }

    fn entry(entry: &BlockHeight) -> Option<Entry<'_>> {
        Some(Entry::new("", &["height"], vec![Cell::whole(entry.0)]))
    }
}
