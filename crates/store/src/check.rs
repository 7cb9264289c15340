//! Checks a store for damage.
//!
//! SQLite reads a damaged file for as long as it can, and a runtime would act on what it reads. So
//! a store is checked before it is used, and by `agentry doctor`:
//!
//! | part | check | finds |
//! |---|---|---|
//! | its file | `stat` | a folder, an empty file, a log without its store |
//! | its write-ahead log (`wal`) | SQLite's own checksums | a log that is cut off before its end, or belongs to another store |
//! | the checksums of its pages (`sums`) | comparison with those written when it was closed | any byte that changed since |
//! | its tables | comparison with those that this version creates | a definition that changed |
//! | its rows (`rows`) | each column is read as its type, messages are compared with their digests, and records of the log with their checksums | an impossible value, even on an intact page |
//! | its pages | `PRAGMA integrity_check`, `foreign_key_check` | pages, cells, indexes and references that are inconsistent |
//! | its indexes, by `agentry doctor` | their entries are counted | entries that belong to no row |
//!
//! The check reads the file once and, for the indexes, seeks each entry: about a second for 100 MB.
//! It has a time limit, and reports whether it was complete.
//!
//! What it cannot find: a changed byte within a text or a number without a digest, in a store
//! without checksums, as after a killed process.

mod rows;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use agentry_chain::db::within;
use rusqlite::Connection;

use super::error::Trouble;
use super::{Reader, StoreError, schema, sums, wal, with_suffix};

/// How many faults are named: damage often causes many.
const NAMED: usize = 10;

/// The rows to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The rows that will be acted on.
    Open,
    /// All rows.
    All,
}

/// How much of a store was checked without finding damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// All of it.
    #[default]
    Whole,
    /// Only a part: the time limit was reached.
    Part,
}

/// Checks the file without opening it, for what SQLite would turn into a new store or refuse
/// without a reason.
fn file(path: &Path) -> Result<(), StoreError> {
    let broken = |found: &str| StoreError::Broken {
        path: path.to_owned(),
        found: found.to_owned(),
    };
    let io = |source| StoreError::Io {
        path: path.to_owned(),
        source,
    };
    match std::fs::metadata(path) {
        Ok(data) if data.is_dir() => Err(io(std::io::ErrorKind::IsADirectory.into())),
        Ok(data) if !data.is_file() => Err(io(std::io::Error::other("it is not a regular file"))),
        Ok(data) if data.len() == 0 => Err(broken("its file is empty")),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let log = std::fs::metadata(with_suffix(path, "-wal"));
            if log.is_ok_and(|log| log.len() > 0) {
                return Err(broken(
                    "its file is gone, but its write-ahead log still exists",
                ));
            }
            Ok(())
        }
        Err(error) => Err(io(error)),
    }
}

/// Checks a store that no process has open: its file, its log, and the checksums of its pages.
///
/// # Errors
/// [`StoreError::Broken`] names the damage. Other errors say why the files cannot be read.
pub fn at_rest(path: &Path) -> Result<(), StoreError> {
    file(path)?;
    let broken = |found: String| {
        Err(StoreError::Broken {
            path: path.to_owned(),
            found,
        })
    };
    let io = |source| StoreError::Io {
        path: path.to_owned(),
        source,
    };
    if !path.exists() {
        return Ok(());
    }
    if let Some(fault) = wal::look(path).map_err(io)? {
        let log = with_suffix(path, "-wal");
        let log = log.display();
        return broken(match fault {
            wal::Fault::Cut(cut) => format!(
                "its write-ahead log {log} is damaged at frame {}, and {} committed changes after it would be lost",
                cut.frame, cut.lost
            ),
            wal::Fault::Foreign => format!(
                "the write-ahead log {log} belongs to another store or to an earlier copy of this one: restore the file that it belongs to, or move the log away"
            ),
        });
    }
    let changed = sums::changed(path).map_err(io)?;
    if changed.is_empty() {
        return Ok(());
    }
    let pages: Vec<String> = changed
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    let owners = owners(path, &pages).unwrap_or_default();
    broken(format!(
        "{} of its pages were changed after it was closed, and not by SQLite: {}{}. If this was intended, remove {}",
        changed.len(),
        pages.join(", "),
        if owners.is_empty() {
            String::new()
        } else {
            format!(" ({})", owners.join(", "))
        },
        sums::at(path).display()
    ))
}

/// The tables and indexes that these pages belong to, as far as that can be read.
fn owners(path: &Path, pages: &[String]) -> rusqlite::Result<Vec<String>> {
    let uri = agentry_chain::db::immutable_uri(path);
    let flags = super::READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
    let db = Connection::open_with_flags(uri, flags)?;
    let list = pages.join(", ");
    db.prepare(&format!(
        "SELECT DISTINCT name FROM dbstat WHERE pageno IN ({list}) ORDER BY name"
    ))?
    .query_map([], |row| row.get(0))?
    .collect()
}

/// Checks an open store for no longer than `limit`.
///
/// # Errors
/// [`StoreError::Broken`] names the damage: for a value, its table, row and column. Other errors
/// say why the store cannot be read.
pub fn check(db: &Reader, path: &Path, depth: Depth, limit: Duration) -> Result<Seen, StoreError> {
    let found =
        within(&db.0, limit, || look(&db.0, depth)).map_err(|source| StoreError::Io {
            path: "a time-limit thread".into(),
            source,
        })??;
    match found {
        Some(found) if found.is_empty() => Ok(Seen::Whole),
        Some(found) => Err(StoreError::Broken {
            path: path.to_owned(),
            found: found.join("; "),
        }),
        None => Ok(Seen::Part),
    }
}

/// One check, which returns the damage that it finds.
type Look = fn(&Connection) -> rusqlite::Result<Vec<String>>;

/// Runs the checks until one finds damage: the same damage would show up in the others, too.
fn look(db: &Connection, depth: Depth) -> rusqlite::Result<Vec<String>> {
    // SQLite checks a page as a whole when it reads it.
    db.pragma_update(None, "cell_size_check", true)?;
    // The rows through the indexes that the runtime reads by, then all.
    let looks: &[Look] = match depth {
        Depth::Open => &[tables, |db| rows::look(db, Depth::Open), pages, references],
        Depth::All => &[
            tables,
            |db| rows::look(db, Depth::Open),
            |db| rows::look(db, Depth::All),
            pages,
            references,
            indexes,
        ],
    };
    for look in looks {
        let found = match look(db) {
            Ok(found) => found,
            Err(error) => match Trouble::of(&error) {
                Some(Trouble::Pages(what) | Trouble::Value(what)) => vec![what],
                _ => return Err(error),
            },
        };
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// What a database defines: type, name and table, with the SQL of the definition.
type Definitions = BTreeMap<(String, String, String), Option<String>>;

fn definitions(db: &Connection) -> rusqlite::Result<Definitions> {
    db.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")?
        .query_map([], |row| {
            Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?))
        })?
        .collect()
}

/// Checks that the tables and indexes are those that this version creates. What an operator added
/// is not damage.
fn tables(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let meant = definitions(&schema::in_memory()?)?;
    let found = definitions(db)?;
    Ok(meant
        .into_iter()
        .filter(|(what, sql)| found.get(what) != Some(sql))
        .map(|((kind, name, _), _)| format!("{kind} {name} differs from its definition"))
        .take(NAMED)
        .collect())
}

fn pages(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare(&format!("PRAGMA integrity_check({NAMED})"))?;
    let lines: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

/// Checks that each index has as many entries as its table has rows for it. `PRAGMA integrity_check`
/// looks each row up in the index, but SQLite 3.54 reports no entries that belong to no row.
fn indexes(db: &Connection) -> rusqlite::Result<Vec<String>> {
    // The indexes of each table, with the condition of those that are partial.
    let mut tables: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for ((kind, index, table), sql) in definitions(db)? {
        if let Some(sql) = sql.filter(|_| kind == "index") {
            let condition = sql.split_once("WHERE ").map_or("true", |(_, rows)| rows);
            let indexes = tables.entry(table).or_default();
            indexes.push((index, condition.to_owned()));
        }
    }
    let mut found = Vec::new();
    for (table, indexes) in tables {
        let counts: Vec<String> = indexes
            .iter()
            .map(|(_, condition)| format!("count(*) FILTER (WHERE {condition})"))
            .collect();
        // One scan of the table counts the rows of all its indexes.
        let counts = format!("SELECT {} FROM {table} NOT INDEXED", counts.join(", "));
        let rows: Vec<u64> = db.query_row(&counts, [], |row| {
            (0..indexes.len())
                .map(|column| super::column::natural(row, column))
                .collect()
        })?;
        for ((index, condition), rows) in indexes.iter().zip(rows) {
            let entries =
                format!("SELECT count(*) FROM {table} INDEXED BY {index} WHERE {condition}");
            let entries = db.query_row(&entries, [], |row| super::column::natural(row, 0))?;
            if entries != rows {
                found.push(format!(
                    "index {index} has {entries} entries for {rows} rows"
                ));
            }
        }
    }
    found.truncate(NAMED);
    Ok(found)
}

fn references(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        db.prepare("SELECT \"table\", rowid, parent FROM pragma_foreign_key_check LIMIT ?1")?;
    let dangling = statement.query_map([i64::try_from(NAMED).unwrap_or(i64::MAX)], |row| {
        let (table, id, parent): (String, Option<i64>, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let id = id.map_or_else(String::new, |id| format!(" {id}"));
        Ok(format!("{table}{id} refers to a missing row of {parent}"))
    })?;
    dangling.collect()
}
