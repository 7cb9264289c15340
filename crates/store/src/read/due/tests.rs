//! The cost of queries, in steps of SQLite's virtual machine: it depends on the rows that are
//! found, not on the rows that wait.

use agentry_core::commit::Commit;
use rusqlite::{Connection, StatementStatus, params};

use super::*;
use crate::Store;
use crate::tables::{Database, Tables};

const AGENT: i64 = 1;
/// When the messages were seen.
const SEEN: u64 = 1_000_000;

/// A store in which so many messages of one verified sender wait, and as many of unverified
/// senders.
fn backlog(messages: u32) -> (tempfile::TempDir, Connection) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agentry.db");
    drop(Store::open(&path).unwrap());
    let mut db = Connection::open(&path).unwrap();
    let transaction = db.transaction().unwrap();
    transaction
        .execute(
            "INSERT INTO agent (id, address, name, start_height) VALUES (?1, 'a', 'a', 0)",
            [AGENT],
        )
        .unwrap();
    for row in 0..messages {
        for (kind, authenticity, standing, sender) in [
            (1, "verified", "stranger", "one".to_owned()),
            (2, "unverified", "unverified", format!("sender{row}")),
        ] {
            let identity = format!("{kind}{row:063x}");
            transaction
                .execute(
                    "INSERT INTO inbox (agent, digest, hash, sender, height, stored, authenticity,
                                        standing, state, seq, seen_at, identity)
                     VALUES (?1, ?2, '0x' || ?2, ?3, 5, '', ?4, ?7, 'waiting', ?5, ?6, ?2)",
                    params![
                        AGENT,
                        identity,
                        sender,
                        authenticity,
                        row,
                        integer(SEEN),
                        standing
                    ],
                )
                .unwrap();
        }
    }
    transaction.commit().unwrap();
    (dir, db)
}

/// How many steps it takes to check whether messages have waited since before this time.
fn steps(db: &Connection, sender: Option<&str>, before: u64) -> i32 {
    let mut statement = db.prepare(beyond_timeout(sender.is_some())).unwrap();
    let before = integer(before);
    let mut rows = match sender {
        Some(sender) => statement.query(params![AGENT, before, 1, sender]).unwrap(),
        None => statement.query(params![AGENT, before, 1]).unwrap(),
    };
    while rows.next().unwrap().is_some() {}
    drop(rows);
    statement.get_status(StatementStatus::VmStep)
}

#[test]
fn checking_the_rate_limit_timeout_costs_the_same_however_many_wait() {
    let (_few, few) = backlog(100);
    let (_many, many) = backlog(5_000);
    for sender in [Some("one"), None] {
        let (one, other) = (steps(&few, sender, SEEN), steps(&many, sender, SEEN));
        assert_eq!(one, other, "{sender:?}");
        assert!(one < 100, "{sender:?}: {one} steps");
    }
}

#[test]
fn messages_beyond_the_rate_limit_timeout_are_moved_a_page_at_a_time() {
    let (_dir, db) = backlog(1_000);
    let db = Database::new(db);
    let mut tables = Tables::open(&db).unwrap();
    for (sender, authenticity) in [(Some(()), "verified"), (None, "unverified")] {
        let timeout = |before| Commit::RateLimitTimeout {
            agent: AgentId(AGENT),
            sender: sender.map(|()| agentry_protocol::Address::from_chain("one").unwrap()),
            before,
            reason: "too long".to_owned(),
            at: SEEN + 5,
        };
        let mut moved = |before| {
            let (answers, _) = tables.apply(&[&timeout(before)]);
            answers[0].as_ref().unwrap().changed
        };
        assert_eq!(moved(SEEN), 0);
        let mut pages = Vec::new();
        loop {
            match moved(SEEN + 1) {
                0 => break,
                page => pages.push(page),
            }
        }
        assert_eq!(pages, [256, 256, 256, 232], "{authenticity}");
        let dead: i64 = db
            .lock()
            .query_row(
                "SELECT count(*) FROM inbox WHERE state = 'dead' AND authenticity = ?1",
                [authenticity],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(dead, 1_000);
    }
}

#[test]
fn finding_agents_with_due_work_costs_nothing_for_the_others() {
    let (_few, few) = backlog(100);
    let (_many, many) = backlog(5_000);
    let plan = |db: &Connection| -> Vec<String> {
        let mut statement = db
            .prepare(
                "EXPLAIN QUERY PLAN SELECT agent FROM inbox WHERE state = 'waiting'
                 AND agent > 1 ORDER BY agent LIMIT 1",
            )
            .unwrap();
        let rows = statement.query_map([], |row| row.get(3)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    for db in [few, many] {
        let plan = plan(&db).join("; ");
        assert!(
            plan.contains("inbox_due") && !plan.contains("SCAN"),
            "{plan}"
        );
        let due = crate::read::agents_due(&Reader(db), SEEN).unwrap();
        assert_eq!(due, [AgentId(AGENT)]);
    }
}
