//! How much of the shared resources the rows use: the table `usage`.

use agentry_core::Standing;
use agentry_core::cause::{Cause, OWN};
use agentry_core::rows::AgentId;
use agentry_core::state::usage::{Amount, Kind, Share, Used, shares};
use rusqlite::{Connection, OptionalExtension, params};

use crate::StoreError;
use crate::column::natural;

/// The columns `standing` and `sender` of a share.
pub(super) fn columns(share: &Share) -> (&'static str, &str) {
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
) -> Result<Amount, StoreError> {
    let (standing, sender) = columns(share);
    let found = db
        .prepare_cached(
            "SELECT items, bytes FROM usage
             WHERE agent = ?1 AND kind = ?2 AND standing = ?3 AND sender = ?4",
        )?
        .query_row(params![agent.0, kind.as_str(), standing, sender], |row| {
            Ok(Amount {
                items: natural(row, 0)?,
                bytes: natural(row, 1)?,
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// The sender of a standing who uses most; of several, the first by address.
pub(super) fn most(
    db: &Connection,
    agent: AgentId,
    kind: Kind,
    standing: Standing,
) -> Result<Option<Cause>, StoreError> {
    let found = db
        .prepare_cached(
            "SELECT standing, sender FROM usage
             WHERE agent = ?1 AND kind = ?2 AND standing = ?3 AND sender <> ''
             ORDER BY bytes DESC, sender LIMIT 1",
        )?
        .query_row(params![agent.0, kind.as_str(), standing.as_str()], |row| {
            crate::cause::read(row, 0)
        })
        .optional()?;
    Ok(found)
}

/// Counts what a row uses that changed.
pub(super) fn change(db: &Connection, before: &[Used], after: &[Used]) -> Result<(), StoreError> {
    if before == after {
        return Ok(());
    }
    for used in before {
        add(db, used, -1)?;
    }
    for used in after {
        add(db, used, 1)?;
    }
    Ok(())
}

/// Adds one item, or takes one away.
fn add(db: &Connection, used: &Used, items: i64) -> Result<(), StoreError> {
    let bytes = i64::try_from(used.bytes).unwrap_or(i64::MAX) * items;
    for share in shares(&used.cause) {
        let (standing, sender) = columns(&share);
        let key = params![used.agent.0, used.kind.as_str(), standing, sender];
        db.prepare_cached(
            "INSERT INTO usage (agent, kind, standing, sender, items, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (agent, kind, standing, sender) DO UPDATE
             SET items = items + excluded.items, bytes = bytes + excluded.bytes",
        )?
        .execute(params![
            used.agent.0,
            used.kind.as_str(),
            standing,
            sender,
            items,
            bytes
        ])?;
        if items < 0 {
            db.prepare_cached(
                "DELETE FROM usage
                 WHERE agent = ?1 AND kind = ?2 AND standing = ?3 AND sender = ?4 AND items = 0",
            )?
            .execute(key)?;
        }
    }
    Ok(())
}
