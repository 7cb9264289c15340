//! Laws over random histories: what is divided and merged again is the same, and a merged store tells of
//! each agent what its shard did.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use agentry_core::cluster::{Incarnation, ShardId};
use agentry_core::commit::{Arrival, Observation, Step};
use agentry_core::{Commit, State};
use agentry_protocol::{BlockHeight, ContentHash};
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::ids::{OWN, REFERENCES};
use super::{OF_AGENTS, OF_ALL, Part, merge, rewind};
use crate::moved::Moved;
use crate::tables::change;
use crate::testing::{commits, rows};
use crate::{Store, schema};

const MARK: Moved = Moved::Arriving {
    cluster: Incarnation([1; 16]),
    attempt: Incarnation([2; 16]),
};

fn open(path: &Path) -> Connection {
    Connection::open(path).unwrap()
}

/// A store with the state that commits lead to, and those that were accepted.
fn store(path: &Path, steps: &[commits::Step]) -> Vec<Commit> {
    let (mut state, mut history) = (State::default(), Vec::new());
    for step in steps {
        let commit = commits::commit(step, &state);
        if state.apply(&commit).is_ok() {
            history.push(commit);
        }
    }
    schema::create(path).unwrap();
    change(open(path), &history).unwrap();
    history
}

fn cursor(path: &Path) -> Option<Value> {
    let facts = crate::tables::read_facts(&open(path)).unwrap();
    facts.cursor.map(|cursor| (*cursor).clone())
}

/// The parts of a store, of so many shards.
fn parts(folder: &Path, of: u16) -> Vec<Part> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let store = Store::open(&folder.join("whole.db")).unwrap();
    let parts = (0..of).map(|shard| {
        let path = folder.join(format!("part-{shard}.db"));
        let of = NonZeroU16::new(of).unwrap();
        let sum = ContentHash::of(&[1]);
        let divided = store.divide(ShardId(shard), of, sum, &path);
        let mark = runtime.block_on(divided).unwrap();
        assert_eq!(crate::mark(&path).unwrap(), Some(mark));
        Part {
            shard: ShardId(shard),
            path,
        }
    });
    parts.collect()
}

fn merged(folder: &Path, parts: &[Part]) -> PathBuf {
    let path = folder.join("merged.db");
    let cursor = cursor(&parts[0].path);
    merge(parts, 0, cursor.as_ref(), &path, &MARK).unwrap();
    // The values of the histories are not all sound; the pages and references are.
    let db = open(&path);
    let is_whole: String = db
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(is_whole, "ok");
    let mut dangling = db.prepare("PRAGMA foreign_key_check").unwrap();
    assert!(!dangling.exists([]).unwrap());
    path
}

/// All rows; the mark is not a part of the state.
fn all_rows(path: &Path) -> rows::Rows {
    let mut rows = rows::of_tables(&open(path));
    let meta = rows.get_mut("meta").unwrap();
    meta.retain(|row| !row.contains("\"moved\""));
    rows
}

/// What the rows of some agents tell, whatever their ids are: each id as its place among those of the
/// agents.
fn story(db: &Connection, agents: &[String]) -> Vec<String> {
    let query = |sql: &str| -> Vec<Map<String, Value>> {
        let mut statement = db.prepare(sql).unwrap();
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let rows = statement.query_map([], |row| {
            let mut object = Map::new();
            for (index, name) in names.iter().enumerate() {
                object.insert(name.clone(), rows::value(row.get_ref(index)?));
            }
            Ok(object)
        });
        rows.unwrap().map(Result::unwrap).collect()
    };
    let names: Vec<_> = agents.iter().map(|name| format!("'{name}'")).collect();
    let mine = format!(
        "(SELECT id FROM agent WHERE address IN ({}))",
        names.join(", ")
    );
    let columns: BTreeMap<&str, &str> = OF_AGENTS.into();
    let id_of: BTreeMap<&str, &str> = OWN
        .iter()
        .chain(REFERENCES.iter().filter(|(table, _, of)| table == of))
        .filter(|(table, column, of)| table == of && *column != "agent")
        .map(|(table, column, _)| (*table, *column))
        .collect();
    let mut places: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for (table, id) in &id_of {
        let agent = columns[table];
        let sql = format!("SELECT {id} AS id FROM {table} WHERE {agent} IN {mine} ORDER BY 1");
        let ids = query(&sql)
            .into_iter()
            .map(|row| row["id"].as_i64().unwrap());
        places.insert(table, ids.collect());
    }
    let place = |kind: &str, id: &Value| match id.as_i64() {
        None => Value::Null,
        Some(id) => match places[kind].binary_search(&id) {
            Ok(place) => json!(place),
            Err(_) => json!("gone"),
        },
    };
    let seqs = query(&format!(
        "SELECT id, row_number() OVER (ORDER BY seq, id) AS place FROM inbox WHERE agent IN {mine}"
    ));
    let seqs: BTreeMap<i64, i64> = seqs
        .iter()
        .map(|row| (row["id"].as_i64().unwrap(), row["place"].as_i64().unwrap()))
        .collect();
    let mut told = Vec::new();
    let tables = OF_AGENTS
        .iter()
        .map(|(table, agent)| (*table, format!("{agent} IN {mine}")));
    let progress = format!("inbox IN (SELECT id FROM inbox WHERE agent IN {mine})");
    for (table, condition) in tables.chain([("progress", progress)]) {
        let rowid = if table == "forged" { ", rowid" } else { "" };
        for mut row in query(&format!("SELECT *{rowid} FROM {table} WHERE {condition}")) {
            if table == "inbox" {
                row["seq"] = seqs[&row["id"].as_i64().unwrap()].into();
            }
            if table == "sighting"
                && let Some(mark) = row["mark"].as_i64()
            {
                row["mark"] = places["outbox"].partition_point(|id| *id <= mark).into();
            }
            if table == "outbox" {
                row["resend_of"] = place("outbox", &row["resend_of"]);
            }
            if table == "event" {
                let mut data: Value = serde_json::from_str(row["data"].as_str().unwrap()).unwrap();
                let key = match row["kind"].as_str().unwrap() {
                    "delivery" => Some("outbox"),
                    "task" => Some("task"),
                    _ => None,
                };
                if let Some(key) = key {
                    data[key] = place(key, &data[key]);
                }
                row["data"] = data;
            }
            if table == "notice"
                && let Some((kind, id)) = row["subject"].as_str().unwrap().split_once('/')
            {
                row["subject"] = json!([kind, place(kind, &json!(id.parse::<i64>().unwrap()))]);
            }
            for (_, column, kind) in REFERENCES
                .iter()
                .chain(&OWN)
                .filter(|(of, ..)| *of == table)
            {
                row[*column] = place(kind, &row[*column]);
            }
            told.push(format!("{table}: {}", Value::Object(row)));
        }
    }
    told.sort_unstable();
    told
}

fn addresses(db: &Connection) -> Vec<String> {
    let mut all = db.prepare("SELECT address FROM agent ORDER BY 1").unwrap();
    let all = all.query_map([], |row| row.get(0)).unwrap();
    all.map(Result::unwrap).collect()
}

/// Makes the agents of a store others: as if another shard had come to the same rows.
fn rename(path: &Path) {
    let db = open(path);
    db.execute_batch(
        "UPDATE agent SET address = address || 'x';
         UPDATE outbox SET origin = 'x/' || origin,
             digest = CAST(x'ff' || substr(digest, 2) AS BLOB) WHERE digest IS NOT NULL;
         UPDATE outbox SET origin = 'x/' || origin WHERE digest IS NULL;
         UPDATE push SET task = task || 'x';",
    )
    .unwrap();
}

fn steps() -> impl Strategy<Value = Vec<commits::Step>> {
    prop::collection::vec(commits::step(), 1..160)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_is_divided_and_merged_is_the_same(steps in steps(), of in 1_u16..6) {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole.db");
        store(&whole, &steps);
        let before = all_rows(&whole);
        let agents = addresses(&open(&whole));
        let told = story(&open(&whole), &agents);
        let parts = parts(folder.path(), of);
        let count: usize = parts.iter().map(|part| addresses(&open(&part.path)).len()).sum();
        prop_assert_eq!(count, before["agent"].len());
        let merged = merged(folder.path(), &parts);
        prop_assert_eq!(told, story(&open(&merged), &agents));
        // With the same ids; but what these name may be gone, and is then given no other row's number.
        let after = all_rows(&merged);
        let may_differ = ["event", "outbox", "notice"];
        for (table, rows) in before.iter().filter(|(table, _)| !may_differ.contains(table)) {
            prop_assert_eq!(rows, &after[table], "{}", table);
        }
    }

    #[test]
    fn a_merged_store_tells_what_each_shard_did(one in steps(), other in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["one.db", "other.db"].map(|name| folder.path().join(name));
        store(&paths[0], &one);
        store(&paths[1], &other);
        rename(&paths[1]);
        let parts: Vec<_> = (7..)
            .zip(&paths)
            .map(|(shard, path)| Part { shard: ShardId(shard), path: path.clone() })
            .collect();
        let merged = open(&merged(folder.path(), &parts));
        for path in &paths {
            let part = open(path);
            let agents = addresses(&part);
            prop_assert_eq!(story(&part, &agents), story(&merged, &agents));
        }
        // No id that a shard has assigned names another row now.
        let last = |path: &Path| crate::tables::read_facts(&open(path)).unwrap().ids;
        let (one, other) = (last(&paths[0]), last(&paths[1]));
        let all = last(&folder.path().join("merged.db"));
        prop_assert!(all.inbox >= one.inbox.max(other.inbox));
        prop_assert!(all.outbox >= one.outbox.max(other.outbox));
    }
}

#[test]
fn every_table_and_every_reference_is_known() {
    let db = schema::in_memory().unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut statement = db.prepare(sql).unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    };
    let known = OF_AGENTS.iter().map(|(table, _)| *table).chain(OF_ALL);
    let mut known: Vec<&str> = known.chain(["progress", "meta", "log"]).collect();
    known.sort_unstable();
    let tables = names("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name");
    assert_eq!(tables, known);
    for table in &tables {
        let sql =
            format!("SELECT \"from\" || ' ' || \"table\" FROM pragma_foreign_key_list('{table}')");
        for reference in names(&sql) {
            let (column, of) = reference.split_once(' ').unwrap();
            let known = REFERENCES.iter().any(|known| *known == (table, column, of));
            assert!(known, "{table}: {reference}");
        }
    }
}

#[test]
fn what_was_read_above_a_block_is_seen_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part.db");
    let mut history = vec![];
    let all = commits::history(300);
    // Until messages are in blocks.
    let arrivals = |commit: &Commit| match commit {
        Commit::Observe(Observation { steps, .. }) => {
            let arrived = |step: &&Step| matches!(step, Step::Arrival(Arrival { .. }));
            steps.iter().filter(arrived).count()
        }
        _ => 0,
    };
    let mut arrived = 0;
    for commit in all {
        arrived += arrivals(&commit);
        history.push(commit);
        if arrived > 20 {
            break;
        }
    }
    schema::create(&path).unwrap();
    change(open(&path), &history).unwrap();
    let count = |sql: &str| -> i64 { open(&path).query_row(sql, [], |row| row.get(0)).unwrap() };
    assert!(count("SELECT count(*) FROM inbox WHERE height > 0") > 0);
    let starts = "SELECT coalesce(sum(start_height * id), 0) FROM agent";
    let (before, settled) = (
        count(starts),
        count("SELECT count(*) FROM inbox WHERE state = 'handled'"),
    );
    let cursor = json!({ "at": 0 });
    rewind(&path, Some(BlockHeight(0)), &cursor, commits::START).unwrap();
    assert_eq!(count("SELECT count(*) FROM inbox WHERE height > 0"), 0);
    assert_eq!(
        count("SELECT count(*) FROM outbox WHERE state IN ('mined', 'final') AND height > 0"),
        0
    );
    assert_eq!(
        count("SELECT count(*) FROM inbox WHERE state = 'handled'"),
        settled
    );
    assert_eq!(count(starts), before);
    assert_eq!(self::cursor(&path), Some(cursor));
}
