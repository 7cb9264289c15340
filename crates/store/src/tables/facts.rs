//! The single values: the table `meta`, and the ids that were assigned last.

use std::sync::Arc;

use agentry_core::state::Facts;
use agentry_protocol::BlockHeight;
use rusqlite::Connection;
use serde_json::Value;

use crate::column::natural;
use crate::{StoreError, meta};

/// Reads the single values.
pub(crate) fn read(db: &Connection) -> Result<Facts, StoreError> {
    let chain_id = meta::read(db, meta::CHAIN_ID, str::parse)?;
    let genesis = meta::read(db, meta::GENESIS, str::parse)?;
    let json = |text: &str| serde_json::from_str::<Value>(text);
    Ok(Facts {
        chain: chain_id.zip(genesis),
        cursor: meta::read(db, meta::CURSOR, json)?.map(Arc::new),
        halted: meta::read(db, meta::HALTED, meta::as_it_is)?,
        mempool: meta::read(db, meta::MEMPOOL, meta::as_it_is)?,
        cards_final: meta::read(db, meta::CARDS_FINAL, str::parse)?.map(BlockHeight),
        directory_from: meta::read(db, meta::DIRECTORY_FROM, str::parse)?.map(BlockHeight),
        directory_progress: meta::read(db, meta::DIRECTORY_PROGRESS, json)?.map(Arc::new),
        time: meta::read(db, meta::TIME, str::parse)?,
        ids_from: meta::read(db, meta::IDS_FROM, str::parse)?,
        addresses: db.query_row("SELECT count(DISTINCT address) FROM card", [], |row| {
            natural(row, 0)
        })?,
        ids: meta::read(db, meta::IDS, |text| serde_json::from_str(text))?.unwrap_or_default(),
    })
}

/// Writes the values that differ from those that are stored.
pub(crate) fn write(db: &Connection, stored: &Facts, facts: &Facts) -> Result<(), StoreError> {
    let height = |height: Option<BlockHeight>| height.map(|height| height.to_string());
    let json = |json: &Option<Arc<Value>>| json.as_ref().map(ToString::to_string);
    if stored.chain != facts.chain {
        let chain = facts.chain.as_ref();
        meta::write(
            db,
            meta::CHAIN_ID,
            chain.map(|(id, _)| id.as_str().to_owned()),
        )?;
        meta::write(
            db,
            meta::GENESIS,
            chain.map(|(_, genesis)| genesis.to_string()),
        )?;
    }
    if stored.cursor != facts.cursor {
        meta::write(db, meta::CURSOR, json(&facts.cursor))?;
    }
    if stored.halted != facts.halted {
        meta::write(db, meta::HALTED, facts.halted.clone())?;
    }
    if stored.mempool != facts.mempool {
        meta::write(db, meta::MEMPOOL, facts.mempool.clone())?;
    }
    if stored.cards_final != facts.cards_final {
        meta::write(db, meta::CARDS_FINAL, height(facts.cards_final))?;
    }
    if stored.directory_from != facts.directory_from {
        meta::write(db, meta::DIRECTORY_FROM, height(facts.directory_from))?;
    }
    if stored.directory_progress != facts.directory_progress {
        meta::write(
            db,
            meta::DIRECTORY_PROGRESS,
            json(&facts.directory_progress),
        )?;
    }
    if stored.time != facts.time {
        meta::write(db, meta::TIME, facts.time.map(|time| time.to_string()))?;
    }
    if stored.ids != facts.ids {
        let ids = serde_json::to_string(&facts.ids);
        let ids = ids.map_err(|error| StoreError::value("meta", meta::IDS, &error))?;
        meta::write(db, meta::IDS, Some(ids))?;
    }
    if stored.ids_from != facts.ids_from {
        meta::write(db, meta::IDS_FROM, facts.ids_from.map(|id| id.to_string()))?;
    }
    Ok(())
}
