//! Reads and writes the rows of one table.

use std::fmt::Write as _;
use std::marker::PhantomData;
use std::ops::Bound;

use agentry_core::Standing;
use agentry_core::cause::Cause;
use agentry_core::rows::AgentId;
use agentry_core::state::table::{Archive, ArchiveError, Ends, Row, Shares};
use agentry_core::state::usage::{Kind, Share, Volume};
use rusqlite::{Connection, Params, ToSql, params_from_iter};

use super::columns::{Cell, Columns};
use super::{Database, usage};
use crate::StoreError;
use crate::watch::RowChange;

/// A row of a table of the database.
pub(crate) trait Stored: Row + std::fmt::Debug {
    /// The table.
    const TABLE: &'static str;
    /// Its columns. The first are the key.
    const COLUMNS: &'static [&'static str];
    /// How many columns the key has.
    const KEYS: usize = 1;
    /// The condition of the rows that may have an entry in an index of open rows.
    const OPEN: &'static str = "false";
    /// An SQL expression that is read after the columns, and a comma before it.
    const MORE: &'static str = "";

    /// Reads a key.
    ///
    /// # Errors
    /// A column's value is impossible.
    fn read_key(columns: &mut Columns<'_>) -> rusqlite::Result<Self::Key>;

    /// Reads a row: its columns, and what [`MORE`](Self::MORE) is.
    ///
    /// # Errors
    /// A column's value is impossible.
    fn read(columns: &mut Columns<'_>) -> rusqlite::Result<Self>;

    /// The values of its columns.
    fn cells(&self) -> Vec<Cell<'_>>;

    /// The values of a key.
    fn key_cells(key: &Self::Key) -> Vec<Cell<'_>>;

    /// Where an entry of an index is; `None` for an index of open rows, which is in memory.
    fn entry(entry: &Self::Index) -> Option<Entry<'_>>;

    /// What those who watch the store are told of a change of a row; nothing by default.
    fn told(_: Option<&Self>, _: Option<&Self>) -> Option<RowChange> {
        None
    }

    /// Writes what is not in the columns.
    ///
    /// # Errors
    /// Those of SQLite.
    fn write_more(_: &Connection, _: Option<&Self>, _: Option<&Self>) -> rusqlite::Result<()> {
        Ok(())
    }
}

/// Where an entry of an index is.
pub(crate) struct Entry<'a> {
    /// The condition under which a row has an entry in the index, as in the schema; empty if all
    /// rows have one.
    condition: &'static str,
    /// The columns in the index.
    columns: &'static [&'static str],
    /// Their values.
    cells: Vec<Cell<'a>>,
}

impl<'a> Entry<'a> {
    pub(super) const fn new(
        condition: &'static str,
        columns: &'static [&'static str],
        cells: Vec<Cell<'a>>,
    ) -> Self {
        Self {
            condition,
            columns,
            cells,
        }
    }
}

/// The statement that reads the rows of a table that meet a condition. [`read_row`] reads a row of
/// it.
pub(crate) fn select_where<R: Stored>(condition: &str) -> String {
    let (columns, more, table) = (R::COLUMNS.join(", "), R::MORE, R::TABLE);
    format!("SELECT {columns}{more} FROM {table} WHERE {condition}")
}

/// The rows of a table.
#[derive(Debug)]
pub(super) struct Rows<R> {
    db: Database,
    /// The statement that reads the row with a key.
    get: String,
    /// The statement that reads the open rows.
    open: String,
    /// The beginning of the statement that reads keys.
    keys: String,
    /// The statement that adds a row.
    insert: String,
    rows: PhantomData<fn() -> R>,
}

impl<R: Stored> Rows<R> {
    pub(super) fn of(db: &Database) -> Self {
        let keys = R::COLUMNS.get(..R::KEYS).unwrap_or_default();
        let (key, keys) = (conditions(keys, 0), keys.join(", "));
        let marks: Vec<_> = (1..=R::COLUMNS.len()).map(|at| format!("?{at}")).collect();
        let (columns, marks) = (R::COLUMNS.join(", "), marks.join(", "));
        Self {
            db: db.clone(),
            get: select_where::<R>(&key),
            open: select_where::<R>(R::OPEN),
            keys: format!("SELECT {keys} FROM {} WHERE ", R::TABLE),
            insert: format!("INSERT INTO {} ({columns}) VALUES ({marks})", R::TABLE),
            rows: PhantomData,
        }
    }

    /// The keys that a condition selects, and what follows it.
    fn select(&self, rest: &str, values: impl Params) -> Result<Vec<R::Key>, StoreError> {
        let sql = [&self.keys, rest].concat();
        let db = self.db.lock();
        let mut statement = db.prepare_cached(&sql)?;
        let mut found = Vec::new();
        let mut rows = statement.query(values)?;
        while let Some(row) = rows.next()? {
            let key = R::read_key(&mut Columns::of(row));
            found.push(named::<R, _>(row, key)?);
        }
        Ok(found)
    }

    fn page(
        &self,
        ends: &Ends<R::Index>,
        direction: &str,
        limit: usize,
    ) -> Result<Vec<R::Key>, StoreError> {
        match condition::<R>(ends, direction, limit) {
            Some((sql, values)) => self.select(&sql, params_from_iter(values)),
            None => Ok(Vec::new()),
        }
    }
}

/// What follows `WHERE` for the entries of a range, and its values; `None` if no entry is in it.
fn condition<'a, R: Stored>(
    (from, to): &'a Ends<R::Index>,
    direction: &str,
    limit: usize,
) -> Option<(String, Vec<Cell<'a>>)> {
    let order = |columns: &[&str]| {
        let columns = columns.iter().map(|name| format!("{name} {direction}"));
        columns.collect::<Vec<_>>().join(", ")
    };
    let (from_entry, to_entry) = (entry::<R>(from), entry::<R>(to));
    let Some(one) = from_entry.as_ref().or(to_entry.as_ref()) else {
        let order = order(R::COLUMNS.get(..R::KEYS).unwrap_or_default());
        return Some((format!("true ORDER BY {order} LIMIT {limit}"), Vec::new()));
    };
    let columns = one.columns;
    let mut sql = String::from(if one.condition.is_empty() {
        "true"
    } else {
        one.condition
    });
    // The columns in which both ends have the same value are compared with it.
    let mut values = Vec::new();
    if let (Some(from), Some(to)) = (&from_entry, &to_entry) {
        let same = from.cells.iter().zip(&to.cells).zip(columns);
        for ((value, _), name) in same.take_while(|((from, to), _)| from == to) {
            values.push(value.clone());
            let _ = write!(sql, " AND {name} = ?{}", values.len());
        }
    }
    let fixed = values.len();
    let rest = columns.get(fixed..).unwrap_or_default();
    let excludes = |end: &Bound<_>| matches!(end, Bound::Excluded(_));
    if rest.is_empty() && (excludes(from) || excludes(to)) {
        return None;
    }
    for (end, entry, include, exclude) in [(from, from_entry, ">=", ">"), (to, to_entry, "<=", "<")]
    {
        let (Some(entry), false) = (entry, rest.is_empty()) else {
            continue;
        };
        let sign = if excludes(end) { exclude } else { include };
        let mut marks = Vec::new();
        for value in entry.cells.into_iter().skip(fixed) {
            values.push(value);
            marks.push(format!("?{}", values.len()));
        }
        let (rest, marks) = (rest.join(", "), marks.join(", "));
        let _ = write!(sql, " AND ({rest}) {sign} ({marks})");
    }
    if !rest.is_empty() {
        let _ = write!(sql, " ORDER BY {}", order(rest));
    }
    let _ = write!(sql, " LIMIT {limit}");
    Some((sql, values))
}

fn entry<R: Stored>(end: &Bound<R::Index>) -> Option<Entry<'_>> {
    match end {
        Bound::Included(entry) | Bound::Excluded(entry) => R::entry(entry),
        Bound::Unbounded => None,
    }
}

/// Reads a row: its columns, and what [`Stored::MORE`] is. A value that cannot be read back is named by
/// table, row and column.
pub(crate) fn read_row<R: Stored>(row: &rusqlite::Row<'_>) -> Result<R, StoreError> {
    named::<R, _>(row, R::read(&mut Columns::of(row)))
}

/// Names the row in the error of a value.
fn named<R: Stored, T>(
    row: &rusqlite::Row<'_>,
    read: rusqlite::Result<T>,
) -> Result<T, StoreError> {
    read.map_err(|error| {
        let keys = (0..R::KEYS).map(|column| crate::column::shown(row, column));
        let key: Vec<_> = keys.collect();
        StoreError::from(error).of_row(R::TABLE, &key.join("/"))
    })
}

impl<R: Stored> Archive<R> for Rows<R> {
    fn get(&self, key: &R::Key) -> Result<Option<R>, ArchiveError> {
        let db = self.db.lock();
        let mut statement = db.prepare_cached(&self.get).map_err(StoreError::from)?;
        let mut rows = statement
            .query(params_from_iter(R::key_cells(key)))
            .map_err(StoreError::from)?;
        let row = rows.next().map_err(StoreError::from)?;
        Ok(row.map(read_row).transpose()?)
    }

    fn open(&self, each: &mut dyn FnMut(Result<R, ArchiveError>)) -> Result<(), ArchiveError> {
        let db = self.db.lock();
        let mut statement = db.prepare(&self.open).map_err(StoreError::from)?;
        let mut rows = statement.query([]).map_err(StoreError::from)?;
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            each(read_row(row).map_err(ArchiveError::from));
        }
        Ok(())
    }

    fn find(&self, entry: &R::Index) -> Result<Option<R::Key>, ArchiveError> {
        let Some(entry) = R::entry(entry) else {
            return Ok(None);
        };
        let mut condition = conditions(entry.columns, 0);
        if !entry.condition.is_empty() {
            let _ = write!(condition, " AND {}", entry.condition);
        }
        let found = self.select(&condition, params_from_iter(entry.cells))?;
        Ok(found.into_iter().next())
    }

    fn first(&self, ends: &Ends<R::Index>, limit: usize) -> Result<Vec<R::Key>, ArchiveError> {
        Ok(self.page(ends, "ASC", limit)?)
    }

    fn last(&self, ends: &Ends<R::Index>) -> Result<Option<R::Key>, ArchiveError> {
        Ok(self.page(ends, "DESC", 1)?.into_iter().next())
    }

    fn write(&self, before: Option<&R>, after: Option<&R>) -> Result<(), ArchiveError> {
        write(&self.db.lock(), &self.insert, before, after)?;
        self.db.publisher().note(|| R::told(before, after));
        Ok(())
    }
}

impl<R> Shares for Rows<R> {
    fn used(&self, agent: AgentId, kind: Kind, share: &Share) -> Result<Volume, ArchiveError> {
        Ok(usage::used(&self.db.lock(), agent, kind, share)?)
    }

    fn most(
        &self,
        agent: AgentId,
        kind: Kind,
        standing: Standing,
        limit: usize,
    ) -> Result<Vec<(Cause, u64)>, ArchiveError> {
        Ok(usage::most(&self.db.lock(), agent, kind, standing, limit)?)
    }

    fn set_used(
        &self,
        agent: AgentId,
        kind: Kind,
        share: &Share,
        amount: Volume,
    ) -> Result<(), ArchiveError> {
        Ok(usage::set(&self.db.lock(), agent, kind, share, amount)?)
    }
}

/// `a = ?1 AND b = ?2`, counted from a number of values before them.
fn conditions(columns: &[&str], before: usize) -> String {
    let same = |(at, name): (usize, &&str)| format!("{name} = ?{}", before + at + 1);
    let same: Vec<_> = columns.iter().enumerate().map(same).collect();
    same.join(" AND ")
}

fn write<R: Stored>(
    db: &Connection,
    insert: &str,
    before: Option<&R>,
    after: Option<&R>,
) -> Result<(), StoreError> {
    let table = R::TABLE;
    let keys = R::COLUMNS.get(..R::KEYS).unwrap_or_default();
    match (before, after) {
        (None, None) => {}
        (None, Some(row)) => {
            let cells = params_from_iter(row.cells());
            db.prepare_cached(insert)?.execute(cells)?;
        }
        (Some(before), Some(after)) => {
            let (old, new) = (before.cells(), after.cells());
            let mut sql = format!("UPDATE {table} SET ");
            let mut values: Vec<&dyn ToSql> = Vec::new();
            for ((name, old), new) in R::COLUMNS.iter().zip(&old).zip(&new) {
                // Indexes of columns that are not set stay untouched.
                if old != new {
                    let comma = if values.is_empty() { "" } else { ", " };
                    values.push(new);
                    let _ = write!(sql, "{comma}{name} = ?{}", values.len());
                }
            }
            if !values.is_empty() {
                let _ = write!(sql, " WHERE {}", conditions(keys, values.len()));
                let key = after.key();
                let key = R::key_cells(&key);
                values.extend(key.iter().map(|cell| cell as &dyn ToSql));
                db.prepare_cached(&sql)?.execute(values.as_slice())?;
            }
        }
        (Some(row), None) => {
            let sql = format!("DELETE FROM {table} WHERE {}", conditions(keys, 0));
            let key = row.key();
            db.prepare_cached(&sql)?
                .execute(params_from_iter(R::key_cells(&key)))?;
        }
    }
    R::write_more(db, before, after)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use agentry_core::rows::{EventId, InboxId, OutboxId, TaskId};
    use agentry_core::state::row::{
        Card, Event, Forged, Message, Outgoing, Push, Sighting, Spending, Task, Tracking, card,
        event, inbox, outbox, push, sighting, task,
    };
    use agentry_protocol::{Address, BlockHeight, MessageId, Nonce, Timestamp, TransactionHash};

    use super::*;
    use crate::schema;

    const AGENT: AgentId = AgentId(1);

    /// All entries that begin in the same way, by the numbers with which they end.
    fn all<I>(entry: impl Fn(u64, i64) -> I) -> RangeInclusive<I> {
        entry(0, i64::MIN)..=entry(u64::MAX, i64::MAX)
    }

    /// How SQLite finds what a statement selects.
    fn steps(sql: &str, values: Vec<Cell<'_>>) -> String {
        let db = schema::in_memory().unwrap();
        let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement
            .query_map(params_from_iter(values), |row| row.get(3))
            .unwrap();
        let steps: Vec<String> = steps.map(Result::unwrap).collect();
        steps.join("; ")
    }

    /// How SQLite finds the entries of a range.
    fn plan<R: Stored>(range: RangeInclusive<R::Index>) -> String {
        let (from, to) = range.into_inner();
        let ends = (Bound::Included(from), Bound::Included(to));
        let (condition, values) = condition::<R>(&ends, "ASC", 9).unwrap();
        let key = R::COLUMNS[..R::KEYS].join(", ");
        let table = R::TABLE;
        let sql = format!("SELECT {key} FROM {table} WHERE {condition}");
        format!("{condition}: {}", steps(&sql, values))
    }

    /// A start costs what is open, whatever else the table holds.
    #[test]
    fn open_rows_are_found_by_an_index() {
        for select in [
            select_where::<Message>(Message::OPEN),
            select_where::<Event>(Event::OPEN),
            select_where::<Outgoing>(Outgoing::OPEN),
            select_where::<Tracking>(Tracking::OPEN),
            select_where::<Task>(Task::OPEN),
        ] {
            let steps = steps(&select, Vec::new());
            assert!(steps.contains("USING INDEX"), "{steps}: {select}");
        }
    }

    /// Each range that the state asks for costs what is in it, whatever else the table holds.
    #[test]
    fn every_range_is_found_by_an_index_and_in_its_order() {
        let any = || Address::from_chain("ait1any").unwrap();
        let text = || "any".to_owned();
        let hash = TransactionHash::from_bytes([7; 32]);
        let plans = [
            plan::<Message>(all(|at, id| {
                inbox::Index::Height(BlockHeight(at), InboxId(id))
            })),
            plan::<Message>(all(|_, id| inbox::Index::Dead(AgentId(id), InboxId(id)))),
            plan::<Message>(all(|at, id| {
                inbox::Index::Settled(Timestamp::new(at), InboxId(id))
            })),
            plan::<Message>(all(|at, id| {
                inbox::Index::Prunable(AGENT, "stranger", text(), Timestamp::new(at), InboxId(id))
            })),
            plan::<Message>(all(|_, id| inbox::Index::Returned(id, InboxId(id)))),
            plan::<Message>(all(|_, id| inbox::Index::Arrived(AGENT, InboxId(id)))),
            plan::<Forged>(all(|at, id| {
                inbox::ForgedIndex::Seen(Timestamp::new(at), id)
            })),
            plan::<Forged>(all(|at, id| {
                inbox::ForgedIndex::Oldest(AGENT, Timestamp::new(at), id)
            })),
            plan::<Event>(all(|_, id| {
                event::Index::Task(AGENT, text(), text(), EventId(id))
            })),
            plan::<Event>(all(|_, id| event::Index::Inbox(InboxId(1), EventId(id)))),
            plan::<Event>(all(|_, id| event::Index::Dead(AgentId(id), EventId(id)))),
            plan::<Push>(all(|at, _| {
                push::Index::Id("any".parse().unwrap(), text(), at.to_string())
            })),
            plan::<Outgoing>(all(|_, id| outbox::Index::Hash(hash, OutboxId(id)))),
            plan::<Outgoing>(all(|at, id| {
                outbox::Index::Nonce(AGENT, Nonce::new(at), OutboxId(id))
            })),
            plan::<Outgoing>(all(|at, id| {
                outbox::Index::Mined(BlockHeight(at), OutboxId(id))
            })),
            plan::<Outgoing>(all(|at, id| {
                outbox::Index::Final(BlockHeight(at), OutboxId(id))
            })),
            plan::<Outgoing>(all(|at, id| {
                outbox::Index::Since(BlockHeight(at), OutboxId(id))
            })),
            plan::<Outgoing>(all(|_, id| {
                outbox::Index::Resend(OutboxId(1), OutboxId(id))
            })),
            plan::<Outgoing>(all(|_, id| outbox::Index::Inbox(InboxId(1), OutboxId(id)))),
            plan::<Outgoing>(all(|_, id| {
                outbox::Index::Failed(AgentId(id), OutboxId(id))
            })),
            plan::<Outgoing>(all(|at, id| {
                outbox::Index::Settled(Timestamp::new(at), OutboxId(id))
            })),
            plan::<Outgoing>(all(|at, id| {
                outbox::Index::Prunable(
                    AGENT,
                    "stranger",
                    text(),
                    "final",
                    Timestamp::new(at),
                    OutboxId(id),
                )
            })),
            plan::<Task>(all(|_, id| task::Index::Inbox(InboxId(1), TaskId(id)))),
            plan::<Task>(all(|at, id| {
                task::Index::Ended(Timestamp::new(at), TaskId(id))
            })),
            plan::<Task>(all(|at, id| {
                task::Index::Prunable(AGENT, "stranger", text(), Timestamp::new(at), TaskId(id))
            })),
            plan::<Card>(all(|at, id| {
                card::Index::Latest(any(), BlockHeight(at), id)
            })),
            plan::<Card>(all(|at, id| card::Index::Height(BlockHeight(at), id))),
            plan::<Card>(all(|at, id| card::Index::Expires(Timestamp::new(at), id))),
            plan::<Spending>(all(|at, _| (AGENT, at, "own", String::new()))),
            plan::<Sighting>(all(|at, id| sighting::Index::Height(BlockHeight(at), id))),
            plan::<Sighting>(all(|_, id| sighting::Index::Hash(AGENT, hash, id))),
            plan::<Sighting>(all(|at, id| sighting::Index::Seen(Timestamp::new(at), id))),
            plan::<Sighting>(all(|at, id| {
                sighting::Index::Nonce(AGENT, Nonce::new(at), id)
            })),
            plan::<Sighting>(all(|_, id| {
                let message = MessageId::new(Timestamp::new(1), [0; 10]);
                sighting::Index::Message(AGENT, message, id)
            })),
            plan::<Sighting>(all(|_, id| sighting::Index::Re(AGENT, hash, id))),
        ];
        for plan in plans {
            let steps = plan.rsplit(": ").next().unwrap();
            assert!(steps.starts_with("SEARCH"), "{plan}");
            assert!(!steps.contains("TEMP B-TREE"), "{plan}");
        }
    }
}
