//! The directory: the announcement of each address that counts.

use agentry_core::Card;
use agentry_core::rows::{AgentId, EventId, OutboxId};
use agentry_protocol::message::Envelope;
use agentry_protocol::{
    Address, BlockHeight, Json, KnownCommand, Limits, Payload, Timestamp, TransactionHash, command,
};
use rusqlite::types::ValueRef;
use rusqlite::{Row, params};

use crate::column::{bytes, natural, optional_bytes, public_key, text, time};
use crate::meta;
use crate::{Reader, StoreError};

/// A card in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedCard {
    /// The card.
    pub card: Card,
    /// When it was announced: the time in the message's id, or when it was seen if it has no id.
    pub announced_at: Timestamp,
}

const COLUMNS: &str = "address, public_key, card, hash, height, announced_at";

/// The current cards of all addresses, by address, including expired ones.
///
/// # Errors
/// Any error of SQLite.
pub fn cards(db: &Reader) -> Result<Vec<AnnouncedCard>, StoreError> {
    let mut cards = Vec::new();
    each_card(db, |card| cards.push(card))?;
    Ok(cards)
}

/// Takes the current cards of all addresses, by address, including expired ones, one after the other.
///
/// # Errors
/// Any error of SQLite.
pub fn each_card(db: &Reader, mut take: impl FnMut(AnnouncedCard)) -> Result<(), StoreError> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM card WHERE card IS NOT NULL AND NOT EXISTS
            (SELECT 1 FROM card later WHERE later.address = card.address
             AND (later.height, later.id) > (card.height, card.id))
         ORDER BY address"
    ))?;
    for card in statement.query_map([], announced)? {
        take(card?);
    }
    Ok(())
}

/// The current cards with this name, by address, including expired ones.
///
/// # Errors
/// Any error of SQLite.
pub fn cards_named(db: &Reader, name: &str) -> Result<Vec<AnnouncedCard>, StoreError> {
    db.all(
        &format!(
            "SELECT {COLUMNS} FROM card WHERE card ->> '$.name' = ?1 AND NOT EXISTS
            (SELECT 1 FROM card later WHERE later.address = card.address
             AND (later.height, later.id) > (card.height, card.id))
         ORDER BY address"
        ),
        params![name],
        announced,
    )
}

/// The current card of an address, even if it has expired; `None` after a withdrawal.
///
/// # Errors
/// Any error of SQLite.
pub fn card(db: &Reader, address: &Address) -> Result<Option<AnnouncedCard>, StoreError> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM card WHERE address = ?1 ORDER BY height DESC, id DESC LIMIT 1"
    ))?;
    let mut rows = statement.query(params![address.as_str()])?;
    match rows.next()? {
        Some(row) if row.get_ref(2)? != ValueRef::Null => Ok(Some(announced(row)?)),
        Some(_) | None => Ok(None),
    }
}

/// The part of the chain that the directory was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surveyed {
    /// All cards in this block and above are known; `None` if no runtime has run yet.
    pub from: Option<BlockHeight>,
    /// The position of the directory backfill, as the backfill gave it.
    pub progress: Option<String>,
}

/// Reads which part of the chain the directory was read from.
///
/// # Errors
/// Any error of SQLite.
pub fn surveyed(db: &Reader) -> Result<Surveyed, StoreError> {
    Ok(Surveyed {
        from: meta::read(&db.0, meta::DIRECTORY_FROM, str::parse)?.map(BlockHeight),
        progress: meta::read(&db.0, meta::DIRECTORY_PROGRESS, meta::as_it_is)?,
    })
}

fn announced(row: &Row<'_>) -> rusqlite::Result<AnnouncedCard> {
    Ok(AnnouncedCard {
        card: Card {
            address: text(row, 0, Address::from_chain)?,
            public_key: public_key(row, 1)?,
            card: text(row, 2, announce)?,
            transaction: bytes(row, 3, TransactionHash::from_bytes)?,
            height: BlockHeight(natural(row, 4)?),
        },
        announced_at: time(row, 5)?,
    })
}

/// Reads back the stored parameters of an ANNOUNCE.
pub(crate) fn announce(stored: &str) -> Result<command::Announce, String> {
    let json = Json::parse(stored.as_bytes(), Limits::default()).map_err(|e| e.to_string())?;
    let Payload::Command(command) = Envelope::read(&json).payload else {
        return Err("it is not a command".to_owned());
    };
    match KnownCommand::read(&command) {
        Ok(Some(KnownCommand::Announce(card))) => Ok(card),
        Ok(_) => Err("it is not an ANNOUNCE".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The recurring announcement of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The row of its renewal event.
    pub event: EventId,
    /// What is announced, JSON.
    pub card: String,
    /// When it is announced next.
    pub due_at: Timestamp,
    /// Why the last attempt failed, if it did.
    pub reason: Option<String>,
}

/// The recurring announcement of an agent, if it has one.
///
/// # Errors
/// Any error of SQLite.
pub fn renewal(db: &Reader, agent: AgentId) -> Result<Option<Renewal>, StoreError> {
    db.first(
        "SELECT id, data, due_at, reason FROM event WHERE agent = ?1 AND kind = 'renewal'",
        params![agent.0],
        |row| {
            Ok(Renewal {
                event: EventId(row.get(0)?),
                card: row.get(1)?,
                due_at: time(row, 2)?,
                reason: row.get(3)?,
            })
        },
    )
}

/// The last transaction of an agent's announcements: the row of the outbox, and the hash if it is
/// signed.
///
/// # Errors
/// Any error of SQLite.
pub fn announcement(
    db: &Reader,
    event: EventId,
) -> Result<Option<(OutboxId, Option<TransactionHash>)>, StoreError> {
    // `0` follows `/`, so this matches all origins that begin with the event's, by their index.
    db.first(
        "SELECT o.id, o.hash FROM event e
         JOIN outbox o ON o.origin > e.origin || '/' AND o.origin < e.origin || '0'
         WHERE e.id = ?1 ORDER BY o.id DESC LIMIT 1",
        params![event.0],
        |row| {
            Ok((
                OutboxId(row.get(0)?),
                optional_bytes(row, 1, TransactionHash::from_bytes)?,
            ))
        },
    )
}
