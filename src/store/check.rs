//! Whether a store is as it was written.
//!
//! SQLite reads a damaged file for as long as it can, and a runtime would act on what it reads. So a
//! store is looked through before it is used, and by `agentry doctor`:
//!
//! | what | how | finds |
//! |---|---|---|
//! | its file | `stat` | a folder, an empty file, a log whose store is gone |
//! | its write-ahead log (`log`) | SQLite's own checksums | a log that is cut off before its end, or another store's |
//! | its pages' sums (`sums`) | those that were left when it was closed | any byte that changed since |
//! | its tables | against those that this version makes | a definition that changed |
//! | its rows (`rows`) | each column read as what it must be, and messages held against their digests | a value that cannot be, also where its page is whole |
//! | its pages | `PRAGMA integrity_check`, `foreign_key_check` | pages, cells, indexes and references that do not fit together |
//!
//! It costs one reading of the file and, for the indexes, a seek for each entry: about a second for
//! 100 MB. It is bounded in time: what is not looked at by then is told.
//!
//! What cannot be told: a byte that was changed within a text or a number of which no digest is kept, in
//! a store that no sums were left of, as after a process that was killed.

mod rows;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use agentry_chain::db::within;
use rusqlite::Connection;

use super::error::Trouble;
use super::{StoreError, log, schema, sums, with_suffix};

/// How many faults are named: one that is found has others beside it.
const NAMED: usize = 10;

/// Which rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Those that will be acted on.
    Open,
    /// All.
    All,
}

/// What came of looking through a store that is not damaged, so far as was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// All of it was looked at.
    #[default]
    Whole,
    /// The time was over before.
    Part,
}

/// Looks at the file without opening it: what SQLite would make a new store of, or refuse without a
/// reason.
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
        Ok(data) if !data.is_file() => Err(io(std::io::Error::other("it is no file"))),
        Ok(data) if data.len() == 0 => Err(broken("its file is empty")),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let log = std::fs::metadata(with_suffix(path, "-wal"));
            if log.is_ok_and(|log| log.len() > 0) {
                return Err(broken(
                    "its file is gone, and its write-ahead log is still there",
                ));
            }
            Ok(())
        }
        Err(error) => Err(io(error)),
    }
}

/// Looks at a store that nobody has open: its file, its log, and the sums of its pages.
///
/// # Errors
/// [`StoreError::Broken`] names what is damaged. Else what keeps the files from being read.
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
    if let Some(fault) = log::look(path).map_err(io)? {
        let log = with_suffix(path, "-wal");
        let log = log.display();
        return broken(match fault {
            log::Fault::Cut(cut) => format!(
                "its write-ahead log {log} is damaged at frame {}, and {} committed changes behind it would be lost",
                cut.frame, cut.lost
            ),
            log::Fault::Foreign => format!(
                "the write-ahead log {log} is not this file's, but another store's or an earlier one's: put the file back to which it belongs, or move the log away"
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
        "since it was closed {} of its pages were changed, and not by SQLite: {}{}. If that was done on purpose, remove {}",
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

/// The tables and indexes that pages belong to, so far as that can be read.
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

/// Looks through an open store for no longer than `limit`.
///
/// # Errors
/// [`StoreError::Broken`] names what is damaged: table, row and column, where it is a value. Else what
/// keeps the store from being read.
pub fn check(
    db: &Connection,
    path: &Path,
    depth: Depth,
    limit: Duration,
) -> Result<Seen, StoreError> {
    let found = within(db, limit, || look(db, depth)).map_err(|source| StoreError::Io {
        path: "a thread that ends the check in time".into(),
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

/// Looks at one thing, and names what is damaged of it.
type Look = fn(&Connection, Depth) -> rusqlite::Result<Vec<String>>;

/// Everything, until something is found: what is damaged in one way is so in others.
fn look(db: &Connection, depth: Depth) -> rusqlite::Result<Vec<String>> {
    // A page is looked at as a whole when it is read.
    db.pragma_update(None, "cell_size_check", true)?;
    let looks: [Look; 4] = [
        |db, _| tables(db),
        |db, depth| match version(db)? {
            schema::VERSION => rows::look(db, depth),
            // They are looked at once they have been brought up to date.
            _ => Ok(Vec::new()),
        },
        |db, _| pages(db),
        |db, _| references(db),
    ];
    for look in looks {
        let found = match look(db, depth) {
            Ok(found) => found,
            Err(error) => match Trouble::of(&error) {
                Some(Trouble::Pages(what) | Trouble::Value(what)) => vec![what],
                Some(Trouble::Refusal(_)) | None => return Err(error),
            },
        };
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// What is defined in a database: type, name and table, with the words of the definition.
type Definitions = BTreeMap<(String, String, String), Option<String>>;

fn definitions(db: &Connection) -> rusqlite::Result<Definitions> {
    db.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")?
        .query_map([], |row| {
            Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?))
        })?
        .collect()
}

/// Whether the tables and indexes are those that this version makes. What an operator added is no
/// damage.
fn tables(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let meant = definitions(&schema::made_anew(version(db)?)?)?;
    let found = definitions(db)?;
    Ok(meant
        .into_iter()
        .filter(|(what, sql)| found.get(what) != Some(sql))
        .map(|((kind, name, _), _)| format!("{kind} {name} is not as it was made"))
        .take(NAMED)
        .collect())
}

fn version(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn pages(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare(&format!("PRAGMA integrity_check({NAMED})"))?;
    let lines: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

fn references(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        db.prepare("SELECT \"table\", rowid, parent FROM pragma_foreign_key_check LIMIT ?1")?;
    let dangling = statement.query_map([i64::try_from(NAMED).unwrap_or(i64::MAX)], |row| {
        let (table, id, parent): (String, Option<i64>, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let id = id.map_or_else(String::new, |id| format!(" {id}"));
        Ok(format!(
            "{table}{id} names a row of {parent} that is not there"
        ))
    })?;
    dangling.collect()
}
