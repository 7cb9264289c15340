//! How much of the shared resources the rows use: the table `usage`.

use agentry_core::Standing;
use agentry_core::cause::{Cause, OWN};
use agentry_core::rows::AgentId;
use agentry_core::state::usage::{Kind, Share, Volume};
use rusqlite::{Connection, OptionalExtension, params};

use crate::StoreError;
use crate::column::natural;
use crate::number::integer;

/// The columns `standing` and `sender` of a share.
pub(crate) fn columns(share: &Share) -> (&'static str, &str) {
    match share {
        Share::One(cause) => cause.words(),
        Share::All(standing) => (standing.map_or(OWN, Standing::as_str), ""),
    }
}

/// How much of a kind a share is.
pub(super) fn used(
    db: &Connection,
    agent: AgentId,
    kind: Kind,
    share: &Share,
) -> Result<Volume, StoreError> {
    let (standing, sender) = columns(share);
    let found = db
        .prepare_cached(
            "SELECT items, bytes FROM usage
             WHERE agent = ?1 AND kind = ?2 AND standing = ?3 AND sender = ?4",
        )?
        .query_row(params![agent.0, kind.as_str(), standing, sender], |row| {
            Ok(Volume {
                items: natural(row, 0)?,
                bytes: natural(row, 1)?,
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// The senders of a standing who use most, each with its bytes; of several, the first by address.
pub(super) fn most(
    db: &Connection,
    agent: AgentId,
    kind: Kind,
    standing: Standing,
    limit: usize,
) -> Result<Vec<(Cause, u64)>, StoreError> {
    let mut found = db.prepare_cached(
        "SELECT standing, sender, bytes FROM usage
         WHERE agent = ?1 AND kind = ?2 AND standing = ?3 AND sender <> ''
         ORDER BY bytes DESC, sender LIMIT ?4",
    )?;
    let limit = integer(limit as u64);
    let found = found.query_map(
        params![agent.0, kind.as_str(), standing.as_str(), limit],
        |row| Ok((crate::cause::read(row, 0)?, natural(row, 2)?)),
    )?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Stores how much of a kind a share is.
pub(super) fn set(
    db: &Connection,
    agent: AgentId,
    kind: Kind,
    share: &Share,
    amount: Volume,
) -> Result<(), StoreError> {
    let (standing, sender) = columns(share);
    if amount.items == 0 {
        db.prepare_cached(
            "DELETE FROM usage
             WHERE agent = ?1 AND kind = ?2 AND standing = ?3 AND sender = ?4",
        )?
        .execute(params![agent.0, kind.as_str(), standing, sender])?;
    } else {
        let (items, bytes) = (integer(amount.items), integer(amount.bytes));
        db.prepare_cached(
            "INSERT OR REPLACE INTO usage (agent, kind, standing, sender, items, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            agent.0,
            kind.as_str(),
            standing,
            sender,
            items,
            bytes
        ])?;
    }
    Ok(())
}
