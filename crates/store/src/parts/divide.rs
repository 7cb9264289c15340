//! What a shard of a cluster begins with.

use std::num::NonZeroU16;
use std::path::Path;

use agentry_core::cluster::{ShardId, shard_of};
use agentry_protocol::{Address, ContentHash};
use rusqlite::{Connection, params};

use super::{OF_AGENTS, OF_ALL, columns, for_a_whole_file, sync};
use crate::column::text;
use crate::{Mark, Position, Store, StoreError, meta, schema};

/// The place of the record that a shard's tables pretend to have last. No such record is in its log:
/// whoever begins needs the tables.
const FIRST: Position = Position(1);

impl Store {
    /// Writes the part of a shard, of so many, to a new file, as [`snapshot`](Store::snapshot) writes a
    /// copy: the rows of its agents, and what all shards have. Rows keep their ids. `sum` stands for the
    /// checksum of the record that the part is said to have last, whose mark is returned: tables
    /// of different attempts have different ones.
    ///
    /// # Errors
    /// The store cannot be read, or the file not be written; what is left of it is to be removed.
    pub async fn divide(
        &self,
        shard: ShardId,
        of: NonZeroU16,
        sum: ContentHash,
        to: &Path,
    ) -> Result<Mark, StoreError> {
        let (from, to) = (self.path().to_owned(), to.to_owned());
        let mark = Mark { at: FIRST, sum };
        // The reader has the tables written first, and nothing is committed while they are read.
        self.read(move |_| divide(&from, shard, of, &mark, &to))
            .await?;
        Ok(mark)
    }
}

fn divide(
    from: &Path,
    shard: ShardId,
    of: NonZeroU16,
    mark: &Mark,
    to: &Path,
) -> Result<(), StoreError> {
    schema::create(to)?;
    let mut db = Connection::open(to).map_err(|error| StoreError::open(to, error))?;
    for_a_whole_file(&db)?;
    let name = from.to_str().ok_or_else(|| StoreError::Io {
        path: from.to_owned(),
        source: std::io::Error::other("its name is not UTF-8"),
    })?;
    db.execute("ATTACH ?1 AS whole", [name])?;
    let step = db.transaction()?;
    step.execute_batch("CREATE TEMP TABLE mine (id INTEGER PRIMARY KEY)")?;
    {
        let mut agents = step.prepare("SELECT id, address FROM whole.agent")?;
        let mut rows = agents.query([])?;
        while let Some(row) = rows.next()? {
            let address = text(row, 1, Address::from_chain)?;
            if shard_of(&address, of) == shard {
                let id: i64 = row.get(0)?;
                step.prepare_cached("INSERT INTO mine VALUES (?1)")?
                    .execute([id])?;
            }
        }
    }
    let copy = |table: &str, condition: &str| -> Result<(), StoreError> {
        let columns = columns(&step, table)?.join(", ");
        step.execute(
            &format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM whole.{table} WHERE {condition}"),
            [],
        )?;
        Ok(())
    };
    for (table, agent) in OF_AGENTS {
        // What operators are told of the whole store, one shard tells.
        let also = match table {
            "notice" if shard.0 == 0 => " OR agent IS NULL",
            _ => "",
        };
        copy(table, &format!("{agent} IN (SELECT id FROM mine){also}"))?;
    }
    copy("progress", "inbox IN (SELECT id FROM main.inbox)")?;
    for table in OF_ALL {
        copy(table, "true")?;
    }
    copy("meta", "key NOT IN ('position', 'sum', 'moved')")?;
    for (key, value) in [
        (meta::POSITION, mark.at.to_string()),
        (meta::SUM, mark.sum.to_string()),
    ] {
        step.execute(
            "INSERT INTO main.meta (key, value) VALUES (?1, ?2)",
            params![key, value],
        )?;
    }
    step.commit()?;
    db.close().map_err(|(_, error)| StoreError::from(error))?;
    sync(to)
}
