//! The single values: the table `meta`, and the ids that were assigned last.

use std::sync::Arc;

use agentry_core::state::{Facts, Ids};
use agentry_protocol::BlockHeight;
use rusqlite::{Connection, params};
use serde_json::Value;

use crate::column::natural;
use crate::{StoreError, meta};

/// Reads the single values.
pub(super) fn read(db: &Connection) -> Result<Facts, StoreError> {
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
        ids: Ids {
            agent: last(db, "SELECT max(id) FROM agent")?,
            inbox: last_assigned(db, "inbox")?,
            forged: last(db, "SELECT max(rowid) FROM forged")?,
            event: last_assigned(db, "event")?,
            outbox: last_assigned(db, "outbox")?,
            task: last_assigned(db, "task")?,
            card: last_assigned(db, "card")?,
            sighting: last_assigned(db, "sighting")?,
        },
    })
}

fn last(db: &Connection, sql: &str) -> Result<i64, StoreError> {
    let last: Option<i64> = db.query_row(sql, [], |row| row.get(0))?;
    Ok(last.unwrap_or(0))
}

/// The last id of a table that never assigns one twice. SQLite keeps it, whatever was deleted.
fn last_assigned(db: &Connection, table: &str) -> Result<i64, StoreError> {
    last(
        db,
        &format!("SELECT max(seq) FROM sqlite_sequence WHERE name = '{table}'"),
    )
}

/// Writes the values that differ from those that are stored. The ids that were assigned last are
/// stored with the rows.
pub(super) fn write(db: &Connection, stored: &Facts, facts: &Facts) -> Result<(), StoreError> {
    let set = |key: &str, value: Option<String>| match value {
        Some(value) => db
            .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
            .execute(params![key, value]),
        None => db
            .prepare_cached("DELETE FROM meta WHERE key = ?1")?
            .execute(params![key]),
    };
    let height = |height: Option<BlockHeight>| height.map(|height| height.to_string());
    let json = |json: &Option<Arc<Value>>| json.as_ref().map(ToString::to_string);
    if stored.chain != facts.chain {
        let chain = facts.chain.as_ref();
        set(meta::CHAIN_ID, chain.map(|(id, _)| id.as_str().to_owned()))?;
        set(meta::GENESIS, chain.map(|(_, genesis)| genesis.to_string()))?;
    }
    if stored.cursor != facts.cursor {
        set(meta::CURSOR, json(&facts.cursor))?;
    }
    if stored.halted != facts.halted {
        set(meta::HALTED, facts.halted.clone())?;
    }
    if stored.mempool != facts.mempool {
        set(meta::MEMPOOL, facts.mempool.clone())?;
    }
    if stored.cards_final != facts.cards_final {
        set(meta::CARDS_FINAL, height(facts.cards_final))?;
    }
    if stored.directory_from != facts.directory_from {
        set(meta::DIRECTORY_FROM, height(facts.directory_from))?;
    }
    if stored.directory_progress != facts.directory_progress {
        set(meta::DIRECTORY_PROGRESS, json(&facts.directory_progress))?;
    }
    if stored.time != facts.time {
        set(meta::TIME, facts.time.map(|time| time.to_string()))?;
    }
    if stored.ids_from != facts.ids_from {
        set(meta::IDS_FROM, facts.ids_from.map(|id| id.to_string()))?;
    }
    Ok(())
}
