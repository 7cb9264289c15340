//! A connection that only reads, and the shapes of its queries.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row, Transaction};

use super::StoreError;
use super::tables::{Stored, read_row, select_where};

/// A connection to a store that only reads. The functions of [`read`](crate::read) and
/// [`list`](crate::list) query it.
#[derive(Debug)]
pub struct Reader(pub(super) Connection);

/// As long as this exists, all queries of its [`Reader`] read the same state of the store.
#[derive(Debug)]
#[must_use = "the state is the same only while this exists"]
pub struct Snapshot<'a> {
    _transaction: Transaction<'a>,
}

#[cfg(test)]
thread_local! {
    /// The statements that this thread has prepared.
    pub(super) static PREPARED: std::cell::RefCell<std::collections::BTreeSet<String>> =
        std::cell::RefCell::default();
}

impl Reader {
    /// Makes the following queries read the same state of the store.
    ///
    /// # Errors
    /// Any error of SQLite, for example because there already is a snapshot.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, StoreError> {
        let _transaction = self.0.unchecked_transaction()?;
        Ok(Snapshot { _transaction })
    }

    /// All rows of a query.
    pub(super) fn all<T, C: FromIterator<T>>(
        &self,
        sql: &str,
        params: impl Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<C, StoreError> {
        let mut statement = self.prepare(sql)?;
        let rows = statement.query_map(params, row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The first row of a query, if there is one.
    pub(super) fn first<T>(
        &self,
        sql: &str,
        params: impl Params,
        row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.prepare(sql)?.query_row(params, row).optional()?)
    }

    /// The first row of a table that meets a condition, if there is one.
    pub(super) fn row<R: Stored>(
        &self,
        condition: &str,
        params: impl Params,
    ) -> Result<Option<R>, StoreError> {
        let mut statement = self.prepare(&select_where::<R>(&format!("{condition} LIMIT 1")))?;
        let mut rows = statement.query(params)?;
        rows.next()?.map(read_row).transpose()
    }

    /// The first row of a query that always has one.
    pub(super) fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        Ok(self.prepare(sql)?.query_row(params, row)?)
    }

    /// A statement, from the connection's cache if it was prepared before.
    pub(super) fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>, StoreError> {
        #[cfg(test)]
        PREPARED.with_borrow_mut(|prepared| prepared.insert(sql.to_owned()));
        Ok(self.0.prepare_cached(sql)?)
    }
}
