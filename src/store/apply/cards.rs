//! The directory's announcements.

use agentry_protocol::{Address, BlockHeight};
use rusqlite::{Connection, params};

use super::{height, time};
use crate::store::StoreError;
use crate::store::commit::{CardSeen, Receipt};

/// An agent announced its card, or withdrew it.
pub(super) fn seen(db: &Connection, card: &CardSeen, receipt: &mut Receipt) -> Result<(), StoreError> {
    let added = db
        .prepare_cached(
            "INSERT INTO card (address, hash, height, public_key, card, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (address, hash) DO UPDATE SET height = excluded.height
             WHERE height <> excluded.height",
        )?
        .execute(params![
            card.address.as_str(),
            card.hash.to_string(),
            height(card.height),
            card.public_key.to_string(),
            card.card,
            time(card.expires_at)
        ])?;
    if added > 0 {
        receipt.cards.push(card.address.clone());
    }
    Ok(())
}

/// Blocks were withdrawn, and the announcements in them with them.
pub(super) fn withdraw(
    db: &Connection,
    above: Option<BlockHeight>,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let mut statement =
        db.prepare_cached("DELETE FROM card WHERE height > ?1 RETURNING address")?;
    let addresses: Vec<String> = statement
        .query_map(params![above.map_or(-1, height)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    receipt.cards.extend(
        addresses
            .iter()
            .filter_map(|address| Address::from_chain(address).ok()),
    );
    Ok(())
}
