//! The log, and the tables that follow it.

use std::path::{Path, PathBuf};

use agentry_core::commit::Step;
use agentry_core::{Commit, CommitResult, InboxId};
use agentry_store::list::{self, Filter, InboxItem};
use agentry_store::{Store, StoreError, open_for_reading, read};
use rusqlite::Connection;

fn halt(reason: &str) -> Commit {
    let reason = reason.to_owned();
    Commit::Halt { reason }
}

fn halted(path: &Path) -> Option<String> {
    let reader = open_for_reading(path).unwrap();
    read::identity(&reader).unwrap().halted
}

/// How many records the log of a store holds.
fn records(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    db.query_row("SELECT count(*) FROM log", [], |row| row.get(0))
        .unwrap()
}

/// What a process leaves that is killed after its last commit, and before the tables have it.
async fn killed(store: &Store, folder: &Path) -> PathBuf {
    let left = folder.join("left.db");
    for attempt in 0..1_000 {
        store.commit(halt(&attempt.to_string())).await.unwrap();
        let (from, to) = (store.path().to_owned(), left.clone());
        // Nothing else happens on the writer's thread meanwhile.
        let copied = store.query(move |_| {
            for suffix in ["", "-wal"] {
                let named = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
                std::fs::copy(named(&from), named(&to)).unwrap();
            }
        });
        copied.await.unwrap();
        if records(&left) > 0 {
            return left;
        }
        store.commit(Commit::Resume).await.unwrap();
    }
    panic!("the tables were never behind the log");
}

#[tokio::test]
async fn a_reader_sees_what_was_committed_before_it_was_opened() {
    let (_dir, store, _) = super::store(1).await;
    for round in 0..20 {
        let reason = format!("round {round}");
        store.commit(halt(&reason)).await.unwrap();
        assert_eq!(halted(store.path()), Some(reason));
        store.commit(Commit::Resume).await.unwrap();
        assert_eq!(halted(store.path()), None);
    }
}

#[tokio::test]
async fn what_a_killed_process_committed_is_read_without_a_runtime() {
    let (dir, store, _) = super::store(1).await;
    let left = killed(&store, dir.path()).await;
    let wanted = store.read(read::identity).await.unwrap().halted;
    assert!(wanted.is_some());
    assert_eq!(halted(&left), wanted);
    // The tables have it now, and the log is empty.
    assert_eq!(records(&left), 0);
}

#[tokio::test]
async fn a_record_that_cannot_be_applied_is_named_and_nothing_is_left_out() {
    let (dir, store, _) = super::store(1).await;
    let left = killed(&store, dir.path()).await;
    drop(store);
    let whole = std::fs::read(&left).unwrap();
    let unknown = r#"{"format":1,"commits":[{"Unregister":{"agent":9}},{"Send":{"agent":9}}]}"#;
    let later = r#"{"format":9,"commits":[]}"#;
    for record in ["{", unknown, later] {
        std::fs::write(&left, &whole).unwrap();
        let db = Connection::open(&left).unwrap();
        db.execute("UPDATE log SET record = ?1", [record]).unwrap();
        drop(db);
        let error = Store::open(&left).unwrap_err();
        assert!(matches!(error, StoreError::Value(_)), "{error}");
        assert!(error.to_string().contains("log "), "{error}");
        let db = Connection::open(&left).unwrap();
        let kept: String = db
            .query_row("SELECT max(record) FROM log", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, record, "it is left as it is");
    }
}

#[tokio::test]
async fn a_commit_behind_one_that_is_stale_changes_nothing() {
    let (_dir, store, agents) = super::store(1).await;
    let arrivals = (2..6).map(|from| super::arrival(agents[0], 1, from, "ping", 1));
    let seen = super::observe(arrivals.map(Step::Arrival).collect());
    store.commit(seen).await.unwrap();
    // The third is about an attempt that was never made.
    let (mut after, mut enqueued) = (None, Vec::new());
    for (id, attempts) in [(1, 0), (2, 0), (3, 7), (4, 0)] {
        let commit = Commit::Outcome(super::outcome(InboxId(id), attempts, 2, "pong"));
        let one = store.enqueue(commit, after).await.unwrap();
        after = Some(one.applied());
        enqueued.push(one);
    }
    let mut results = Vec::new();
    for one in enqueued {
        results.push(one.stored().await.unwrap().result);
    }
    let (applied, stale) = (CommitResult::Applied, CommitResult::Stale);
    assert_eq!(results, [applied, applied, stale, stale]);
    let inbox = store
        .read(|db| {
            list::inbox(
                db,
                &Filter {
                    limit: 9,
                    ..Filter::default()
                },
            )
        })
        .await;
    let waiting = |item: &InboxItem| item.state == "waiting";
    let waiting = inbox.unwrap().iter().filter(|item| waiting(item)).count();
    assert_eq!(waiting, 2);
}
