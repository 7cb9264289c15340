//! One store out of those of a cluster's shards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentry_core::cluster::ShardId;
use agentry_core::commit::{Commit, Observation, Step};
use agentry_core::state::{Facts, Ids};
use agentry_protocol::{BlockHeight, Timestamp};
use rusqlite::{Connection, Transaction, params};
use serde_json::Value;

use super::{OF_AGENTS, columns, for_a_whole_file, ids, sync};
use crate::moved::Moved;
use crate::tables::{change, read_facts, write_facts};
use crate::{StoreError, moved, schema};

/// The store of a shard: a [snapshot](crate::Store::snapshot) of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The shard.
    pub shard: ShardId,
    /// The file. No process has it open.
    pub path: PathBuf,
}

/// Takes back what a part has of blocks above one, as a reorganisation does, so that its agents see them
/// again from a cursor at that block: messages that were handled stay so, and transactions that are
/// mined wait to be seen again.
///
/// # Errors
/// The part cannot be read or changed.
pub fn rewind(
    path: &Path,
    above: Option<BlockHeight>,
    cursor: &Value,
    at: Timestamp,
) -> Result<(), StoreError> {
    let open = || Connection::open(path).map_err(|error| StoreError::open(path, error));
    let starts = {
        let db = open()?;
        let mut agents = db.prepare("SELECT id, start_height FROM agent")?;
        let agents = agents.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        agents.collect::<rusqlite::Result<Vec<(i64, i64)>>>()?
    };
    let withdrawn = Commit::Observe(Observation {
        steps: vec![Step::Withdrawn { above }],
        cursor: cursor.clone(),
        final_through: None,
        catching_up: None,
        at,
    });
    change(open()?, &[withdrawn])?;
    // The blocks are the same, so what an agent ignored because it came before its start stays so.
    let mut db = open()?;
    let step = db.transaction()?;
    for (id, start) in starts {
        step.execute(
            "UPDATE agent SET start_height = ?2 WHERE id = ?1",
            params![id, start],
        )?;
    }
    Ok(step.commit()?)
}

/// Writes the store of all parts to a new file, with a mark that keeps it from being used. Of what every
/// shard has, `base` is the place of the part whose directory counts; `cursor` is where the merged store
/// reads on.
///
/// # Errors
/// The parts cannot be read, contradict each other, or the file cannot be written; what is left of it is
/// to be removed.
pub fn merge(
    parts: &[Part],
    base: usize,
    cursor: Option<&Value>,
    to: &Path,
    mark: &Moved,
) -> Result<(), StoreError> {
    schema::create(to)?;
    let mut db = Connection::open(to).map_err(|error| StoreError::open(to, error))?;
    for_a_whole_file(&db)?;
    ids::prepare(&db)?;
    // What every shard has, as each has it.
    db.execute_batch(
        "CREATE TEMP TABLE token_of AS SELECT 0 AS shard, * FROM main.token WHERE false;
         CREATE TEMP TABLE webhook_of AS SELECT 0 AS shard, * FROM main.webhook WHERE false;",
    )?;
    let mut all = Vec::with_capacity(parts.len());
    for part in parts {
        all.push(facts_of(&part.path)?);
        with_part(&mut db, part, ids::collect)?;
    }
    let step = db.transaction()?;
    let ids = assign(&step, &all)?;
    step.commit()?;
    for (at, part) in parts.iter().enumerate() {
        with_part(&mut db, part, |step, shard| {
            copy(step, shard)?;
            if at == base {
                step.execute_batch("INSERT INTO main.card SELECT * FROM part.card")?;
            }
            Ok(())
        })?;
    }
    let step = db.transaction()?;
    tokens(&step, parts.len())?;
    webhooks(&step, ids.notice)?;
    let facts = together(&all, base, cursor, ids);
    write_facts(&step, &Facts::default(), &facts)?;
    moved::mark(&step, Some(mark))?;
    step.commit()?;
    db.close().map_err(|(_, error)| StoreError::from(error))?;
    sync(to)
}

fn facts_of(path: &Path) -> Result<Facts, StoreError> {
    let db = Connection::open(path).map_err(|error| StoreError::open(path, error))?;
    schema::check(&db, path)?;
    read_facts(&db)
}

/// Does something with the part of a shard, attached as `part`, in one transaction.
fn with_part(
    db: &mut Connection,
    part: &Part,
    work: impl FnOnce(&Transaction<'_>, i64) -> rusqlite::Result<()>,
) -> Result<(), StoreError> {
    let name = part.path.to_str().ok_or_else(|| StoreError::Io {
        path: part.path.clone(),
        source: std::io::Error::other("its name is not UTF-8"),
    })?;
    db.execute("ATTACH ?1 AS part", [name])?;
    let step = db.transaction()?;
    work(&step, i64::from(part.shard.0))?;
    step.commit()?;
    // Statements that are prepared keep it attached.
    db.flush_prepared_statement_cache();
    Ok(db.execute_batch("DETACH part")?)
}

/// A kind of row, and where its last id is.
type Counter = (&'static str, fn(&Ids) -> i64, fn(&mut Ids) -> &mut i64);

/// Assigns the ids, and returns the last ones.
fn assign(step: &Transaction<'_>, all: &[Facts]) -> Result<Ids, StoreError> {
    let most = |of: fn(&Ids) -> i64| all.iter().map(|facts| of(&facts.ids)).max().unwrap_or(0);
    let mut ids = Ids {
        card: most(|ids| ids.card),
        ..Ids::default()
    };
    let kinds: [Counter; 9] = [
        ("agent", |ids| ids.agent, |ids| &mut ids.agent),
        ("inbox", |ids| ids.inbox, |ids| &mut ids.inbox),
        ("forged", |ids| ids.forged, |ids| &mut ids.forged),
        ("event", |ids| ids.event, |ids| &mut ids.event),
        ("outbox", |ids| ids.outbox, |ids| &mut ids.outbox),
        ("task", |ids| ids.task, |ids| &mut ids.task),
        ("sighting", |ids| ids.sighting, |ids| &mut ids.sighting),
        ("notice", |ids| ids.notice, |ids| &mut ids.notice),
        ("push", |ids| ids.push, |ids| &mut ids.push),
    ];
    for (kind, last, of) in kinds {
        *of(&mut ids) = ids::assign(step, kind, most(last))?;
    }
    Ok(ids)
}

/// Copies the rows of the attached part, with their new ids.
fn copy(step: &Transaction<'_>, shard: i64) -> rusqlite::Result<()> {
    ids::order_returned(step, shard)?;
    let tables = OF_AGENTS.iter().map(|(table, _)| *table);
    for table in tables.chain(["progress"]) {
        let columns = columns(step, table)?;
        let values: Vec<_> = columns
            .iter()
            .map(|column| ids::value(table, column).unwrap_or_else(|| format!("p.{column}")))
            .collect();
        let (columns, values) = (columns.join(", "), values.join(", "));
        // Each statement has the parameter.
        let sql = format!(
            "INSERT INTO main.{table} ({columns}) SELECT {values} FROM part.{table} p WHERE ?1 >= 0"
        );
        step.execute(&sql, [shard])?;
    }
    step.execute_batch("INSERT OR IGNORE INTO main.gap SELECT * FROM part.gap")?;
    for table in ["token", "webhook"] {
        let sql = format!("INSERT INTO {table}_of SELECT ?1, * FROM part.{table}");
        step.execute(&sql, [shard])?;
    }
    Ok(())
}

/// More than this, in AIT, a shard's own share of what a token has spent on a day does not count: sums
/// fit their column.
const MOST_COUNTED: i64 = 1 << 46;

/// A token is valid if every shard has it: one that was revoked anywhere is not. Its holder has spent
/// what was spent in all shards on the last day; what every one of them has counted was spent once, since
/// it is what they began with.
fn tokens(step: &Transaction<'_>, parts: usize) -> rusqlite::Result<()> {
    let columns = columns(step, "token")?;
    let values: Vec<_> = columns
        .iter()
        .map(|column| match column.as_str() {
            "day" => "max(day)".to_owned(),
            "spent" => format!("min(now) + sum(min(now - least, {MOST_COUNTED}))"),
            _ => column.clone(),
        })
        .collect();
    let sql = format!(
        "INSERT INTO main.token ({})
         SELECT {} FROM (
             SELECT *, min(now) OVER (PARTITION BY name) AS least FROM (
                 SELECT *, iif(day = max(day) OVER (PARTITION BY name), spent, 0) AS now
                 FROM token_of))
         GROUP BY name HAVING count(*) = ?1",
        columns.join(", "),
        values.join(", ")
    );
    step.execute(&sql, [i64::try_from(parts).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// A webhook has what it had in every shard: where that is unknown, it gets some notices again.
fn webhooks(step: &Transaction<'_>, last: i64) -> rusqlite::Result<()> {
    step.execute(
        "INSERT INTO main.webhook (name, through)
         SELECT name, CASE WHEN (SELECT id IS NULL FROM first WHERE kind = 'notice')
             THEN min(through)
             ELSE coalesce(min((SELECT min(new) - 1 FROM ids WHERE kind = 'notice'
                 AND ids.shard = webhook_of.shard AND old > through)), ?1) END
         FROM webhook_of GROUP BY name",
        [last],
    )?;
    Ok(())
}

/// The single values of all parts.
fn together(all: &[Facts], base: usize, cursor: Option<&Value>, ids: Ids) -> Facts {
    let of_base = all.get(base).cloned().unwrap_or_default();
    let mempools: BTreeSet<_> = all.iter().map(|facts| facts.mempool.clone()).collect();
    let same = if mempools.len() == 1 {
        of_base.mempool
    } else {
        None
    };
    Facts {
        cursor: cursor.cloned().map(Arc::new),
        // An operator has to look, whatever shard it was.
        halted: all.iter().find_map(|facts| facts.halted.clone()),
        mempool: same,
        time: all.iter().filter_map(|facts| facts.time).max(),
        ids_from: all.iter().filter_map(|facts| facts.ids_from).max(),
        ids,
        ..of_base
    }
}
