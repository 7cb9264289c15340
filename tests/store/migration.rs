//! Migrations of stores of earlier versions.

use agentry::store::commit::{PostResult, QueueTarget, Step};
use agentry::store::list::{self, Filter};
use agentry::store::read::{self, QueueTurn, Turn};
use agentry::store::{
    AgentId, Cause, Commit, InboxId, OutboxId, Store, StoreError, open_for_reading,
};
use agentry_protocol::BlockHeight;
use agentry_sdk::Standing;

use super::{address, arrival, draft, observe, prepared};

const AGENT: AgentId = AgentId(1);

/// A store of version 1, from `fixtures/v1.sql`, with real messages.
fn version_1() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agentry.db");
    let mut sql = include_str!("fixtures/v1.sql").to_owned();
    for row in 1..=3 {
        let message = message(row);
        for (mark, value) in [
            ("DIGEST", message.digest.to_string()),
            ("HASH", message.hash.to_string()),
            ("STORED", message.stored.clone()),
        ] {
            sql = sql.replace(&format!("'{mark}{row}'"), &format!("'{value}'"));
        }
    }
    for row in 2..=4 {
        let signed = prepared(1, &draft("x", 9, &format!("{row}")), row);
        sql = sql.replace(&format!("OUTDIGEST{row}"), &signed.digest.to_string());
        sql = sql.replace(&format!("OUT{row}"), &signed.hash.to_string());
    }
    sql = sql.replace("'AGENT'", &format!("'{}'", address(1)));
    sql = sql.replace("'SENDER'", &format!("'{}'", address(9)));
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(&sql).unwrap();
    drop(db);
    (dir, path)
}

/// The message in a row of the fixture.
fn message(row: u64) -> agentry::store::commit::Arrival {
    arrival(AGENT, 1, 9, &format!("message {row}"), row + 4)
}

#[test]
fn a_store_of_version_1_is_not_read_before_its_migration() {
    let (_dir, path) = version_1();
    assert!(matches!(
        open_for_reading(&path),
        Err(StoreError::Older { found: 1, .. })
    ));
    drop(Store::open(&path).unwrap());
    open_for_reading(&path).unwrap();
}

#[tokio::test]
async fn a_store_of_version_1_continues() {
    let (_dir, path) = version_1();
    let store = Store::open(&path).unwrap();
    let filter = Filter {
        limit: 10,
        ..Filter::default()
    };
    let (messages, transactions, forged) = store
        .read(move |db| {
            Ok((
                list::inbox(db, &filter)?,
                list::outbox(db, &filter)?,
                list::forged(db, &filter)?,
            ))
        })
        .await
        .unwrap();
    let states: Vec<_> = messages.iter().map(|item| item.state.as_str()).collect();
    assert_eq!(states, ["waiting", "handled", "dead"]);
    let states: Vec<_> = transactions
        .iter()
        .map(|item| item.state.as_str())
        .collect();
    assert_eq!(states, ["queued", "accepted", "mined", "failed"]);
    assert_eq!(forged.len(), 1);
    // A message without an id is identified by its digest.
    assert!(
        messages
            .iter()
            .all(|item| item.identity.as_deref() == Some(item.digest.as_str()))
    );

    let due = store
        .read(|db| read::due(db, AGENT, 1_000, BlockHeight(100), &mut Turn::default(), 8))
        .await
        .unwrap();
    assert_eq!(due.messages.len(), 1);
    assert_eq!(due.messages[0].id, InboxId(1));
    assert_eq!(due.messages[0].attempts, 1);
    assert_eq!(due.messages[0].done, ["first"]);
    let memory = store.read(|db| read::memory(db, AGENT)).await.unwrap();
    assert_eq!(memory["counter"]["count"], 3);

    // Messages that were seen before are recognised.
    let steps = (1..=3).map(|row| Step::Arrival(message(row))).collect();
    let receipt = store.commit(observe(steps)).await.unwrap();
    assert_eq!((receipt.arrived, receipt.repeated), (0, 3));
    // So are sent transactions.
    let again = Commit::Send {
        agent: AGENT,
        draft: draft("inbox/2/pong/0", 9, "pong"),
        prepared: None,
        at: 1,
    };
    let sent = store.commit(again).await.unwrap().sends[0];
    assert_eq!((sent.id, sent.fresh), (OutboxId(1), false));
}

#[tokio::test]
async fn what_was_signed_before_budgets_existed_is_not_charged() {
    let (_dir, path) = version_1();
    let store = Store::open(&path).unwrap();
    let open = store.read(read::open_transactions).await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].charge, None);
    let result = PostResult::Failed {
        reason: "no".to_owned(),
    };
    let (id, at) = (OutboxId(2), 5);
    let receipt = store.commit(Commit::Post { id, result, at }).await.unwrap();
    assert_eq!(receipt.changed, 1);
    assert!(
        store
            .read(|db| read::spending(db, 0))
            .await
            .unwrap()
            .is_empty()
    );
    // When it is retried, a budget pays for it as for any other.
    let retry = Commit::Retry {
        target: QueueTarget::Outbox(OutboxId(4)),
        at: 5,
    };
    let receipt = store.commit(retry).await.unwrap();
    assert_eq!(receipt.reopened[0].charge.as_ref().unwrap().cost, 15);
    let queued = store
        .read(|db| read::queued(db, &QueueTurn::default(), false, &[], 8))
        .await
        .unwrap();
    assert_eq!(queued.len(), 1);
    assert_eq!(queued[0].draft.cause, Cause::Own);
}

/// A store of version 2, from `fixtures/v2.sql`.
fn version_2() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agentry.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(include_str!("../../src/store/schema/v1.sql"))
        .unwrap();
    db.execute_batch(include_str!("../../src/store/schema/v2.sql"))
        .unwrap();
    let sql = include_str!("fixtures/v2.sql").replace("'AGENT'", &format!("'{}'", address(1)));
    db.execute_batch(&sql.replace("'SENDER'", &format!("'{}'", address(9))))
        .unwrap();
    drop(db);
    (dir, path)
}

#[tokio::test]
async fn spending_and_tasks_of_version_2_keep_the_causes_it_knew() {
    let (_dir, path) = version_2();
    let store = Store::open(&path).unwrap();
    let spent = store
        .read(|db| read::spent(db, AGENT, 20_000))
        .await
        .unwrap();
    assert_eq!(
        (spent.all, spent.unverified, spent.strangers, spent.listed),
        (100, 10, 0, 0)
    );
    let spent = store
        .read(|db| read::spent(db, AGENT, 20_001))
        .await
        .unwrap();
    assert_eq!((spent.all, spent.unverified), (10, 10));
    let held = store.read(|db| read::held(db, AGENT)).await.unwrap();
    let causes: Vec<_> = held
        .iter()
        .map(|draft| (draft.id, draft.cause.clone()))
        .collect();
    assert_eq!(
        causes,
        [(OutboxId(1), Cause::Own), (OutboxId(2), Cause::Unverified)]
    );
    // A refund goes to the cause that paid.
    let result = PostResult::Failed {
        reason: "no".to_owned(),
    };
    let (id, at) = (OutboxId(3), 5);
    store.commit(Commit::Post { id, result, at }).await.unwrap();
    let spent = store
        .read(|db| read::spent(db, AGENT, 20_001))
        .await
        .unwrap();
    assert_eq!((spent.all, spent.unverified), (0, 0));
    let due = store
        .read(|db| read::due(db, AGENT, 9_000, BlockHeight(9), &mut Turn::default(), 8))
        .await
        .unwrap();
    let causes: Vec<_> = due.events.iter().map(|event| event.cause.clone()).collect();
    let stranger = Cause::of(Standing::Stranger, &address(9));
    assert_eq!(causes, [Cause::Own, stranger, Cause::Unverified]);
}

#[test]
fn a_store_of_version_4_is_migrated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agentry.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    for step in [
        include_str!("../../src/store/schema/v1.sql"),
        include_str!("../../src/store/schema/v2.sql"),
        include_str!("../../src/store/schema/v3.sql"),
        include_str!("../../src/store/schema/v4.sql"),
    ] {
        db.execute_batch(step).unwrap();
    }
    db.execute_batch("PRAGMA user_version = 4; PRAGMA application_id = 0x61677472;")
        .unwrap();
    drop(db);
    assert!(matches!(
        open_for_reading(&path),
        Err(StoreError::Older { found: 4, .. })
    ));
    drop(Store::open(&path).unwrap());
    let db = open_for_reading(&path).unwrap();
    let indices: i64 = db
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name = 'inbox_unverified'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(indices, 1);
}

#[tokio::test]
async fn the_rows_of_an_older_store_are_counted() {
    let (_dir, path) = version_1();
    let store = Store::open(&path).unwrap();
    let (known, counted) = super::usage::usage(&store).await;
    assert!(!counted.is_empty());
    assert_eq!(known, counted);
}
