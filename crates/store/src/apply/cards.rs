//! Applies announcements and withdrawals of cards to the directory.
//!
//! The latest row of each address counts: the one with the highest (height, id). Earlier rows are
//! kept until a later one is final, so that a reorganisation restores the earlier card. A
//! withdrawal is a row without a card. Expired rows are kept for another 30 days: an older
//! announcement that is read later, from a part of the chain that was not read before, must not
//! count again.

use std::collections::BTreeSet;

use agentry_core::commit::{CardSeen, Receipt};
use agentry_core::state::MAX_ADDRESSES;
use agentry_protocol::command::CARD_MAX_AHEAD_MS;
use agentry_protocol::{Address, BlockHeight};
use rusqlite::{Connection, OptionalExtension, params};

use super::{height, set_meta, time};
use crate::number::integer;
use crate::{StoreError, meta};

/// Stores the announcement or withdrawal of a card.
pub(super) fn seen(
    db: &Connection,
    card: &CardSeen,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let address = card.address.as_str();
    // Before the insertion, which would use up an id.
    let known: Option<i64> = db
        .prepare_cached("SELECT height FROM card WHERE address = ?1 AND hash = ?2")?
        .query_row(params![address, card.hash.to_string()], |row| row.get(0))
        .optional()?;
    match known {
        Some(known) if known == height(card.height) => return Ok(()),
        Some(_) => db
            .prepare_cached("UPDATE card SET height = ?3 WHERE address = ?1 AND hash = ?2")?
            .execute(params![address, card.hash.to_string(), height(card.height)])?,
        None => db
            .prepare_cached(
                "INSERT INTO card (address, hash, height, public_key, card, expires_at,
                                   announced_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                address,
                card.hash.to_string(),
                height(card.height),
                card.public_key.to_string(),
                card.card,
                time(card.expires_at),
                time(card.announced_at),
            ])?,
    };
    // Only the last announcement in a block counts: a reorganisation removes all of them or none.
    // This also keeps the order right when a block is read again whose earlier rows are gone.
    db.prepare_cached("DELETE FROM card WHERE address = ?1 AND height = ?2 AND hash <> ?3")?
        .execute(params![address, height(card.height), card.hash.to_string()])?;
    receipt.cards.push(card.address.clone());
    Ok(())
}

/// Deletes the announcements in withdrawn blocks.
pub(super) fn withdraw(
    db: &Connection,
    above: Option<BlockHeight>,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let above = above.map_or(-1, height);
    if final_through(db)? > above {
        set_meta(db, meta::CARDS_FINAL, &above.to_string())?;
    }
    delete(db, (above, i64::MAX), receipt)
}

/// Deletes the announcements in withdrawn blocks at `through` or below.
pub(super) fn withdraw_between(
    db: &Connection,
    above: Option<BlockHeight>,
    through: BlockHeight,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    delete(db, (above.map_or(-1, height), height(through)), receipt)
}

fn delete(
    db: &Connection,
    (above, through): (i64, i64),
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let mut statement =
        db.prepare_cached("DELETE FROM card WHERE height > ?1 AND height <= ?2 RETURNING address")?;
    let addresses: Vec<String> = statement
        .query_map(params![above, through], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    receipt.cards.extend(known(&addresses));
    Ok(())
}

/// Deletes the announcements that were superseded in a final block, and those beyond the limit.
/// Called after announcements were added or blocks became final.
///
/// It deletes no superseded announcement during a directory backfill: what the backfill has read
/// may be stored after the head has moved on, and may come from a fork that no longer exists. The
/// backfill notices that only when it reads on, and until then nothing that it read counts as
/// final.
pub(super) fn tidy(
    db: &Connection,
    through: Option<BlockHeight>,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let is_backfilling = db
        .prepare_cached("SELECT 1 FROM meta WHERE key = ?1")?
        .exists(params![meta::DIRECTORY_PROGRESS])?;
    let known_final = final_through(db)?;
    // The backfill knows of fewer final blocks than the watcher of the head.
    let through = through.map(height).max(Some(known_final));
    let through = through.filter(|through| *through >= 0);
    if let Some(through) = through.filter(|_| !is_backfilling) {
        let mut addresses: BTreeSet<String> = receipt
            .cards
            .iter()
            .map(|address| address.as_str().to_owned())
            .collect();
        let became_final: Vec<String> = db
            .prepare_cached("SELECT address FROM card WHERE height > ?1 AND height <= ?2")?
            .query_map(params![known_final, through], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        if !became_final.is_empty() {
            set_meta(db, meta::CARDS_FINAL, &through.to_string())?;
        }
        addresses.extend(became_final);
        for address in addresses {
            db.prepare_cached(
                "DELETE FROM card WHERE address = ?1 AND (height, id) <
                    (SELECT height, id FROM card WHERE address = ?1 AND height <= ?2
                     ORDER BY height DESC, id DESC LIMIT 1)",
            )?
            .execute(params![address, through])?;
        }
    }
    if receipt.cards.is_empty() {
        return Ok(());
    }
    bound(db, MAX_ADDRESSES as u64, receipt)
}

/// Deletes the addresses whose latest announcements are the oldest, so that at most `most` stay.
fn bound(db: &Connection, most: u64, receipt: &mut Receipt) -> Result<(), StoreError> {
    // An upper bound that costs two seeks, before the count that reads every row.
    let most_rows: i64 = db
        .prepare_cached("SELECT coalesce(max(id) - min(id) + 1, 0) FROM card")?
        .query_row([], |row| row.get(0))?;
    if most_rows <= integer(most) {
        return Ok(());
    }
    let addresses: i64 = db
        .prepare_cached("SELECT count(*) FROM (SELECT DISTINCT address FROM card)")?
        .query_row([], |row| row.get(0))?;
    let excess = addresses.saturating_sub(integer(most));
    if excess <= 0 {
        return Ok(());
    }
    let oldest: Vec<String> = db
        .prepare_cached(
            "SELECT address FROM card WHERE NOT EXISTS
                (SELECT 1 FROM card later WHERE later.address = card.address
                 AND (later.height, later.id) > (card.height, card.id))
             ORDER BY height, id LIMIT ?1",
        )?
        .query_map(params![excess], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for address in &oldest {
        db.prepare_cached("DELETE FROM card WHERE address = ?1")?
            .execute(params![address])?;
    }
    receipt.cards.extend(known(&oldest));
    Ok(())
}

/// Deletes rows that expired so long ago that no earlier announcement can still count.
pub(super) fn prune(db: &Connection, at: u64, receipt: &mut Receipt) -> Result<(), StoreError> {
    let before = time(at.saturating_sub(CARD_MAX_AHEAD_MS));
    let mut statement = db.prepare_cached(
        "DELETE FROM card WHERE expires_at < ?1 AND announced_at < ?1 RETURNING address",
    )?;
    let addresses: Vec<String> = statement
        .query_map(params![before], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    receipt.changed += addresses.len();
    receipt.cards.extend(known(&addresses));
    Ok(())
}

/// The height up to which superseded announcements have been deleted.
fn final_through(db: &Connection) -> Result<i64, StoreError> {
    Ok(meta::read(db, meta::CARDS_FINAL, str::parse)?.unwrap_or(-1))
}

fn known(addresses: &[String]) -> impl Iterator<Item = Address> {
    addresses
        .iter()
        .filter_map(|address| Address::from_chain(address).ok())
}
