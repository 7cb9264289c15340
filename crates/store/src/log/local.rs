//! The log in the store's own file.

use agentry_core::Commit;
use rusqlite::{Connection, params};

use super::{Log, Position, Record, decode, encode};
use crate::column::{natural, optional_natural, text};
use crate::number::integer;
use crate::tables::Database;
use crate::{StoreError, meta};

/// The log in the table `log`: one row for each record.
#[derive(Debug)]
pub(crate) struct Local {
    db: Database,
    /// The place of the last record.
    last: Position,
}

impl Local {
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn open(db: &Database) -> Result<Self, StoreError> {
        let connection = db.lock();
        let last = last(&connection)?.max(written(&connection)?);
        Ok(Self {
            db: db.clone(),
            last,
        })
    }
}

/// The place of the last record in the table; 0 if it is empty.
pub(crate) fn last(db: &Connection) -> Result<Position, StoreError> {
    let last = db
        .prepare_cached("SELECT max(position) FROM log")?
        .query_row([], |row| optional_natural(row, 0))?;
    Ok(Position(last.unwrap_or(0)))
}

/// The place of the last record that the tables have.
pub(crate) fn written(db: &Connection) -> Result<Position, StoreError> {
    let written = meta::read(db, meta::POSITION, str::parse)?;
    Ok(Position(written.unwrap_or(0)))
}

impl Log for Local {
    /// Ends the transaction in which the group was applied, if there is one.
    fn append(&mut self, group: &[&Commit]) -> Result<Position, StoreError> {
        let at = self.last.next();
        let body = encode(at, group)?;
        let db = self.db.lock();
        db.prepare_cached("INSERT INTO log (position, record) VALUES (?1, ?2)")?
            .execute(params![integer(at.0), body])?;
        if !db.is_autocommit() {
            db.prepare_cached("COMMIT")?.execute([])?;
        }
        self.last = at;
        Ok(at)
    }

    fn read(&self, after: Position, bytes: usize) -> Result<Vec<Record>, StoreError> {
        let db = self.db.lock();
        let mut statement = db.prepare_cached(
            "SELECT position, record FROM log WHERE position > ?1 ORDER BY position",
        )?;
        let mut rows = statement.query(params![integer(after.0)])?;
        let (mut records, mut size) = (Vec::new(), 0);
        while size < bytes
            && let Some(row) = rows.next()?
        {
            let at = Position(natural(row, 0)?);
            let record = text(row, 1, |text| {
                size = size.saturating_add(text.len().max(1));
                decode(at, text)
            });
            records.push(record.map_err(|error| StoreError::from(error).of_row("log", &at.0))?);
        }
        Ok(records)
    }

    /// A part of the transaction in which the tables are written.
    fn cut(&mut self, through: Position) -> Result<(), StoreError> {
        self.db
            .lock()
            .prepare_cached("DELETE FROM log WHERE position <= ?1")?
            .execute(params![integer(through.0)])?;
        Ok(())
    }
}
