//! The log in the store's own file.

use agentry_core::Commit;
use agentry_core::cluster::Epoch;
use rusqlite::{Connection, params};

use super::{Log, LogError, Mark, Position, Record};
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

/// The mark of the last record that the tables have, if they follow a log that is elsewhere.
pub(crate) fn mark(db: &Connection) -> Result<Option<Mark>, StoreError> {
    let at = written(db)?;
    let sum = meta::read(db, meta::SUM, str::parse)?;
    Ok(sum.map(|sum| Mark { at, sum }))
}

impl Log for Local {
    /// Ends the transaction in which the group was applied, if there is one.
    fn append(&mut self, group: &[&Commit]) -> Result<Mark, LogError> {
        let (mark, body) = Record::encode(self.last.next(), group)?;
        let db = self.db.lock();
        db.prepare_cached("INSERT INTO log (position, record) VALUES (?1, ?2)")?
            .execute(params![integer(mark.at.0), body])?;
        if !db.is_autocommit() {
            db.prepare_cached("COMMIT")?.execute([])?;
        }
        self.last = mark.at;
        Ok(mark)
    }

    fn read(&self, after: Position, bytes: usize) -> Result<Vec<Record>, LogError> {
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
                Record::read(at, text)
            });
            records.push(record.map_err(|error| StoreError::from(error).of_row("log", &at.0))?);
        }
        Ok(records)
    }

    /// A part of the transaction in which the tables are written.
    fn cut(&mut self, through: Position) -> Result<(), LogError> {
        self.db
            .lock()
            .prepare_cached("DELETE FROM log WHERE position <= ?1")?
            .execute(params![integer(through.0)])?;
        Ok(())
    }

    /// It is in the same file as the tables, and written with them.
    fn check(&self, _: &Mark) -> Result<(), LogError> {
        Ok(())
    }

    /// The file's lock keeps out every other process.
    fn lead(&mut self, _: Epoch) -> Result<(), LogError> {
        Ok(())
    }
}
