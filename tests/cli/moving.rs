//! `cluster import` and `cluster export`: from one machine to several, and back. Each message is answered
//! once, nothing is lost, and at most one side acts.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use agentry_testbed::postgres::Pair;

use crate::cluster::Stage;
use crate::host::eventually;
use crate::world::World;

/// The rows of a store, by table. The place in the log and the position on the chain are left out.
fn rows(world: &World, store: &str) -> BTreeMap<String, Vec<String>> {
    let db = rusqlite::Connection::open(world.path(store)).unwrap();
    let tables =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('log', 'meta')";
    let names = |sql: &str| -> Vec<String> {
        let mut names = db.prepare(sql).unwrap();
        let names = names.query_map([], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    };
    let table = |table: String| {
        let columns = names(&format!("SELECT name FROM pragma_table_info('{table}')"));
        let columns = columns.join("), quote(");
        let sql = format!("SELECT concat_ws('|', quote({columns})) FROM {table} ORDER BY 1");
        (table, names(&sql))
    };
    names(tables).into_iter().map(table).collect()
}

/// What the agents remember and did, whatever the ids of rows are.
fn told(world: &World, store: &str) -> Vec<String> {
    let db = rusqlite::Connection::open(world.path(store)).unwrap();
    let mut all = Vec::new();
    for sql in [
        "SELECT a.name || ' remembers ' || behaviour || ' ' || key || ' ' || value
         FROM state JOIN agent a ON a.id = agent",
        "SELECT a.name || ' task ' || key || ' ' || state || ' ' || result || ' ' || origin
         FROM task JOIN agent a ON a.id = agent",
        "SELECT a.name || ' got ' || hex(hash) || ' ' || state FROM inbox JOIN agent a ON a.id = agent",
        "SELECT a.name || ' sent ' || origin || ' ' || hex(digest) || ' ' || nonce
         FROM outbox JOIN agent a ON a.id = agent",
    ] {
        let mut rows = db.prepare(sql).unwrap();
        let rows = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
        all.extend(rows.map(Result::unwrap));
    }
    all.sort_unstable();
    all
}

/// Every agent answers the asker, and one does a job.
fn talk(stage: &Stage, config: &str) {
    for to in &Stage::AGENTS[1..] {
        let ask = [
            "agent", "message", "--wallet", "asker", "--to", to, "ping", "--wait",
        ];
        let answered = stage.json(config, &ask);
        assert_eq!(answered["answer"]["text"], "pong", "{answered}");
    }
    let submit = [
        "task", "submit", "--wallet", "asker", "--to", "doer", "--type", "cat", "--prompt", "hi",
        "--wait",
    ];
    let done = stage.json(config, &submit);
    assert_eq!(done["state"], "completed", "{done}");
}

/// How many answers the asker has from each agent: no message was answered twice.
fn check_answers(stage: &Stage, store: &str, rounds: i64) {
    let db = rusqlite::Connection::open(stage.world.path(store)).unwrap();
    let sql = "SELECT count(*), count(DISTINCT digest) FROM inbox m
               JOIN agent a ON a.address = m.sender
               JOIN agent me ON me.id = m.agent AND me.name = 'asker'
               WHERE a.name = ?1 AND m.stored LIKE '%pong%'";
    for agent in &Stage::AGENTS[1..] {
        let found: (i64, i64) = db
            .query_row(sql, [agent], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(found, (rounds, rounds), "{agent}");
    }
    let sql = "SELECT count(*), count(DISTINCT origin) FROM task WHERE state = 'completed'";
    let done: (i64, i64) = db
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(done, (rounds, rounds));
}

/// The mark of a store.
fn mark(world: &World, store: &str) -> Option<String> {
    let db = rusqlite::Connection::open(world.path(store)).unwrap();
    let sql = "SELECT value FROM meta WHERE key = 'moved'";
    db.query_row(sql, [], |row| row.get(0)).ok()
}

fn set_mark(world: &World, store: &str, mark: &str) {
    let db = rusqlite::Connection::open(world.path(store)).unwrap();
    let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES ('moved', ?1)";
    db.execute(sql, [mark]).unwrap();
}

#[test]
fn agents_move_from_one_machine_to_several_and_back() {
    let stage = Stage::set();
    let world = &stage.world;
    let pair = Pair::start();
    let name = pair.primary.database();
    let url = pair.primary.url(&name);
    stage.configure("single", "single.db", "");
    stage.configure_host("here", "single.db", &url, "");
    stage.configure_host("back", "back.db", &url, "");
    let run = |config: &str, arguments: &[&str]| {
        let config = format!("{config}.toml");
        world.run(&[&["-c", &config], arguments].concat())
    };
    let import = || run("here", &["cluster", "import"]);

    import().failed(78, "holds no agentry cluster");
    stage.json("here", &["cluster", "init", "--shards", "4"]);
    import().failed(66, "there is no store");
    let host = stage.host("single");
    talk(&stage, "single");
    import().failed(75, "is in use by another agentry");
    host.stop();
    let before = (rows(world, "single.db"), told(world, "single.db"));
    check_answers(&stage, "single.db", 1);
    run(
        "here",
        &["cluster", "import", "--set", "chain.id=ait-other"],
    )
    .failed(78, "belongs to the chain ait-devnet");

    // Interrupted before anything was moved: the store is the one that counts.
    let half = format!(
        "update agentry.cluster set moving = 'importing {}'",
        "a".repeat(32)
    );
    pair.primary.psql(&name, &half);
    run("here", &["run"]).failed(78, "is being filled from a single machine");
    stage.host("single").stop();
    let imported = stage.json("here", &["cluster", "import"]);
    assert_eq!(
        (&imported["shards"], &imported["agents"]),
        (&4.into(), &4.into())
    );
    let attempt = mark(world, "single.db").unwrap();
    let attempt = attempt.rsplit(' ').next().unwrap();
    run("single", &["run"]).failed(78, "were moved into the cluster");
    run("single", &["doctor", "--json"]);
    // Interrupted at the end: neither acts until it is finished.
    let half = format!("update agentry.cluster set moving = 'importing {attempt}'");
    pair.primary.psql(&name, &half);
    run("here", &["run"]).failed(78, "is being filled from a single machine");
    for _ in 0..2 {
        assert_eq!(stage.json("here", &["cluster", "import"]), imported);
    }

    // Moved back at once, all rows are as they were.
    run("here", &["cluster", "export"]).failed(73, "single.db exists");
    let exported = stage.json("back", &["cluster", "export"]);
    assert_eq!(exported["agents"], 4);
    assert_eq!((rows(world, "back.db"), told(world, "back.db")), before);
    run("back", &["run"]).failed(78, "were moved to a single machine");
    import().failed(78, "were moved to a single machine");
    run("back", &["cluster", "export"]).failed(73, "back.db exists");

    // Again, into a new cluster, of which two hosts run.
    pair.primary.psql(&name, "drop schema agentry cascade");
    stage.configure_host("ha", "ha.db", &url, "");
    stage.configure_host("hb", "hb.db", &url, "");
    stage.json("back", &["cluster", "init", "--shards", "4"]);
    stage.json("back", &["cluster", "import"]);
    let hosts = [stage.host("ha"), stage.host("hb")];
    stage.await_places(&["ha", "hb"]);
    talk(&stage, "ha");
    run("ha", &["cluster", "export"]).failed(75, "hosts of the cluster run");
    for host in hosts {
        host.stop();
    }
    stage.configure_host("there", "there.db", &url, "");
    stage.configure("alone", "there.db", "");
    let exported = stage.json("there", &["cluster", "export"]);
    assert_eq!(exported["agents"], 4);
    let now = told(world, "there.db");
    for row in before.1.iter().filter(|row| !row.contains(" sent ")) {
        assert!(now.contains(row), "{row} is missing: {now:#?}");
    }
    check_answers(&stage, "there.db", 2);

    // Interrupted before the mark of the store went: neither acts until it is finished.
    let cluster = exported["id"].as_str().unwrap();
    let closed = pair
        .primary
        .psql(&name, "select moving from agentry.cluster");
    let attempt = closed.strip_prefix("exported ").unwrap();
    set_mark(world, "there.db", &format!("arriving {cluster} {attempt}"));
    run("alone", &["run"]).failed(78, "have not arrived");
    run("ha", &["run"]).failed(78, "were moved to a single machine");
    assert_eq!(stage.json("there", &["cluster", "export"]), exported);
    assert_eq!(mark(world, "there.db"), None);

    let host = stage.host("alone");
    talk(&stage, "alone");
    eventually("everything is handled", || {
        let queues = stage.json("alone", &["queue", "stats"]);
        queues["agents"].as_array().unwrap().iter().all(|agent| {
            agent["oldest_waiting_at"].is_null() || agent["oldest_waiting_at"] == Value::Null
        })
    });
    host.stop();
    check_answers(&stage, "there.db", 3);
    let left: Vec<_> = fs::read_dir(world.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".import") || name.contains(".export"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_cluster_with_agents_of_its_own_takes_no_others() {
    let stage = Stage::set();
    let pair = Pair::start();
    let url = pair.primary.url(&pair.primary.database());
    stage.configure("single", "single.db", "");
    stage.configure_host("here", "single.db", &url, "");
    stage.configure_host("ha", "ha.db", &url, "");
    stage.host("single").stop();
    stage.json("ha", &["cluster", "init", "--shards", "4"]);
    let host = stage.host("ha");
    stage.await_places(&["ha"]);
    eventually("the shards have records", || {
        let status = stage.json("ha", &["cluster", "status"]);
        status["shards"][0]["head"].as_u64() > Some(0)
    });
    let import = || stage.world.run(&["-c", "here.toml", "cluster", "import"]);
    import().failed(78, "the cluster is not empty: shard 0");
    host.stop();
    import().failed(78, "the cluster is not empty: shard 0");
    // Nothing was marked.
    stage.host("single").stop();
    assert_eq!(mark(&stage.world, "single.db"), None);
}
