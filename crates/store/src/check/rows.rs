//! Checks that each row can be read back and is what was written.

use agentry_chain::Cursor;
use agentry_core::record::{self, RecordError};
use agentry_core::state::row::{
    Agent, Card, Event, Forged, Gap, Memory, Message, Notice, Outgoing, Push, Sighting, Spending,
    Task, Token, Tracking, Webhook,
};
use agentry_protocol::{
    BlockHash, ChainId, ContentHash, Limits, MessageId, SignedTransaction, StoredTransaction,
};
use rusqlite::{Connection, Result};

use super::{Depth, NAMED};
use crate::column::{natural, shown, text};
use crate::error::{StoreError, Trouble};
use crate::meta;
use crate::read::announce;
use crate::tables::{Stored, read_row, select_where};

/// A row that is not what was written: the column, and what is wrong with it.
type Wrong = (&'static str, String);

/// The rows to check, and what is wrong with those that were.
struct Look<'a> {
    db: &'a Connection,
    depth: Depth,
    found: Vec<String>,
}

/// Reads the rows of all tables. A value that cannot be read back is named by table, row and
/// column.
pub(super) fn look(db: &Connection, depth: Depth) -> Result<Vec<String>> {
    let mut look = Look {
        db,
        depth,
        found: Vec::new(),
    };
    look.facts()?;
    look.log()?;
    look.rows::<Agent>("true", |_| Ok(()))?;
    look.rows("state IN ('waiting', 'withdrawn')", message)?;
    look.rows::<Forged>("false", |row| stored(&row.stored).map(drop))?;
    look.rows::<Memory>("true", |_| Ok(()))?;
    look.rows(
        "state IN ('queued', 'prepared', 'accepted', 'mined')",
        outgoing,
    )?;
    look.rows::<Gap>("true", |_| Ok(()))?;
    look.rows::<Event>("true", |_| Ok(()))?;
    look.rows("due_at IS NOT NULL", tracking)?;
    look.rows::<Task>("state IN ('submitted', 'working')", |_| Ok(()))?;
    look.rows("true", card)?;
    look.rows::<Spending>("true", |_| Ok(()))?;
    look.rows::<Sighting>("true", |_| Ok(()))?;
    look.rows::<Token>("true", |_| Ok(()))?;
    look.rows::<Notice>("true", |_| Ok(()))?;
    look.rows::<Webhook>("true", |_| Ok(()))?;
    look.rows::<Push>("true", |_| Ok(()))?;
    Ok(look.found)
}

impl Look<'_> {
    /// Checks the rows of a table: those that `open` selects, or all.
    fn rows<R: Stored>(
        &mut self,
        open: &str,
        check: impl Fn(&R) -> std::result::Result<(), Wrong>,
    ) -> Result<()> {
        let condition = match self.depth {
            Depth::Open => open,
            Depth::All => "true",
        };
        let mut statement = self.db.prepare(&select_where::<R>(condition))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if self.found.len() == NAMED {
                return Ok(());
            }
            match read_row::<R>(row) {
                Ok(read) => {
                    if let Err((column, what)) = check(&read) {
                        let key: Vec<_> = (0..R::KEYS).map(|at| shown(row, at)).collect();
                        let (table, key) = (R::TABLE, key.join("/"));
                        self.found
                            .push(format!("{table} {key}: column {column:?} {what}"));
                    }
                }
                Err(StoreError::Value(what)) => self.found.push(what),
                Err(StoreError::Sqlite(error)) => return Err(error),
                Err(other) => self.found.push(other.to_string()),
            }
        }
        Ok(())
    }

    /// Checks that the records of the log match their checksums.
    fn log(&mut self) -> Result<()> {
        let mut statement = self.db.prepare("SELECT position, record FROM log")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let read = natural(row, 0).and_then(|place| {
                text(row, 1, |text| match record::decode(place, text) {
                    // It is intact, and this version cannot open the store.
                    Err(RecordError::Later(_)) => Ok(()),
                    read => read.map(drop),
                })
            });
            if let Err(error) = read {
                let Some(Trouble::Value(what)) = Trouble::of(&error) else {
                    return Err(error);
                };
                self.found.push(format!("log {}: {what}", shown(row, 0)));
            }
        }
        Ok(())
    }

    /// Checks the single values.
    fn facts(&mut self) -> Result<()> {
        let mut statement = self.db.prepare("SELECT key, value FROM meta")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key = text(row, 0, meta::as_it_is)?;
            let json = |json: &str| serde_json::from_str::<serde_json::Value>(json).map(drop);
            let read = match key.as_str() {
                meta::CHAIN_ID => text(row, 1, str::parse::<ChainId>).map(drop),
                meta::GENESIS => text(row, 1, str::parse::<BlockHash>).map(drop),
                meta::CURSOR => text(row, 1, |json| serde_json::from_str::<Cursor>(json)).map(drop),
                meta::CARDS_FINAL | meta::DIRECTORY_FROM | meta::TIME => {
                    text(row, 1, str::parse::<u64>).map(drop)
                }
                meta::DIRECTORY_PROGRESS => text(row, 1, json),
                meta::SUM => text(row, 1, str::parse::<ContentHash>).map(drop),
                meta::IDS_FROM => text(row, 1, str::parse::<MessageId>).map(drop),
                _ => text(row, 1, meta::as_it_is).map(drop),
            };
            let Err(error) = read else {
                continue;
            };
            let Some(Trouble::Value(what)) = Trouble::of(&error) else {
                return Err(error);
            };
            self.found.push(format!("meta {}: {what}", shown(row, 0)));
        }
        Ok(())
    }
}

fn unreadable(column: &'static str, error: &impl std::fmt::Display) -> Wrong {
    let error = agentry_protocol::untrusted::printable(&error.to_string(), 200);
    (column, format!("cannot be read back: {error}"))
}

fn stored(json: &str) -> std::result::Result<StoredTransaction, Wrong> {
    StoredTransaction::parse(json.as_bytes(), Limits::default())
        .map_err(|error| unreadable("stored", &error))
}

/// The transaction of a message has the message's digest and sender.
fn message(row: &Message) -> std::result::Result<(), Wrong> {
    // The content of a pruned message is empty.
    if row.stored.is_empty() {
        return Ok(());
    }
    let stored = stored(&row.stored)?;
    if stored.digest() != row.digest {
        let what = format!("has the digest {}, not {}", stored.digest(), row.digest);
        return Err(("stored", what));
    }
    if stored.from != row.sender {
        let what = format!("is from {}, not {}", stored.from, row.sender);
        return Err(("stored", what));
    }
    Ok(())
}

/// The signed bytes of a transaction are those of what the columns say was signed.
fn outgoing(row: &Outgoing) -> std::result::Result<(), Wrong> {
    let Some(signed) = &row.signed else {
        return Ok(());
    };
    let read = SignedTransaction::from_body(signed.body.as_bytes(), Limits::default())
        .map_err(|error| unreadable("body", &error))?;
    let transaction = read.transaction();
    let says = [
        // One that was mined may have been spelled in another way, or shown without its signature.
        ("hash", read.hash() == signed.hash || row.block.is_some()),
        ("digest", read.digest() == signed.digest),
        ("recipient", transaction.to == row.recipient),
        (
            "amount",
            transaction.amount.to_string() == row.amount.to_string(),
        ),
        ("fee", transaction.fee.to_string() == row.fee.to_string()),
    ];
    match says.into_iter().find(|(_, same)| !same) {
        None => Ok(()),
        Some((name, _)) => Err(("body", format!("differs from column {name:?}"))),
    }
}

fn tracking(row: &Tracking) -> std::result::Result<(), Wrong> {
    match row.wanted.as_deref() {
        None | Some("received" | "done") => Ok(()),
        Some(other) => Err((
            "wanted",
            format!("holds {other:?}, which is not an acknowledgment"),
        )),
    }
}

fn card(row: &Card) -> std::result::Result<(), Wrong> {
    let read = row.card.as_deref().map(announce).transpose();
    read.map(drop).map_err(|error| unreadable("card", &error))
}
