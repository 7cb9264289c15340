//! A system that refuses to write the store: changes wait, and are stored once writing works again.

use std::time::Duration;

use agentry_core::Commit;
use agentry_protocol::{Amount, Timestamp};
use agentry_store::{Condition, StoreError, read};
use tokio::task::JoinSet;

const HALT: &str = "an operator wants to look";

fn halt() -> Commit {
    Commit::Halt {
        reason: HALT.to_owned(),
    }
}

#[tokio::test]
async fn changes_wait_until_the_system_accepts_them() {
    let (dir, store, _) = super::store(1).await;
    let mut condition = store.condition();
    let away = dir.path().join("away");
    std::fs::rename(store.path(), &away).unwrap();
    // A change that can wait waits, and one that cannot is refused with the reason.
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.commit(halt()).await }
    });
    let refused = store.commit_now(Commit::Resume).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
    assert!(
        refused.to_string().contains("can no longer be found"),
        "{refused}"
    );
    let refusing = condition.wait_for(|now| matches!(now, Condition::Refusing(_)));
    let refusing = tokio::time::timeout(Duration::from_secs(60), refusing).await;
    assert!(refusing.unwrap().is_ok());
    assert!(!waiting.is_finished());
    std::fs::rename(&away, store.path()).unwrap();
    let stored = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    stored.unwrap().unwrap().unwrap();
    let halted = store.read(read::identity).await.unwrap().halted;
    assert_eq!(halted.as_deref(), Some(HALT));
    assert_eq!(*condition.borrow_and_update(), Condition::Well);
}

#[tokio::test]
async fn an_idle_store_notices_that_it_is_gone() {
    let (dir, store, _) = super::store(1).await;
    let mut condition = store.condition();
    let mut becomes = async |wanted: fn(&Condition) -> bool| {
        let waited = condition.wait_for(wanted);
        let waited = tokio::time::timeout(Duration::from_secs(60), waited).await;
        assert!(waited.unwrap().is_ok());
    };
    let away = dir.path().join("away");
    std::fs::rename(store.path(), &away).unwrap();
    becomes(|now| matches!(now, Condition::Refusing(_))).await;
    std::fs::rename(&away, store.path()).unwrap();
    becomes(|now| *now == Condition::Well).await;
}

/// A store can be closed while the system refuses to write.
#[tokio::test]
async fn closing_waits_for_no_system_that_refuses() {
    let (dir, store, _) = super::store(1).await;
    std::fs::rename(store.path(), dir.path().join("away")).unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.commit(halt()).await }
    });
    let refused = store.commit_now(Commit::Resume).await;
    assert!(refused.is_err());
    // The waiting caller is dropped, and the last handle with it.
    waiting.abort();
    drop(waiting.await);
    let closed = tokio::task::spawn_blocking(move || drop(store));
    tokio::time::timeout(Duration::from_secs(60), closed)
        .await
        .unwrap()
        .unwrap();
}

/// The log grows during a long read, and shrinks after the reader has gone.
#[tokio::test]
async fn the_log_shrinks_when_a_long_reader_has_gone() {
    let (dir, store, _) = super::store(1).await;
    let log = dir.path().join("agentry.db-wal");
    let length = || std::fs::metadata(&log).unwrap().len();
    let reader = agentry_store::open_for_reading(store.path()).unwrap();
    let snapshot = reader.snapshot().unwrap();
    read::identity(&reader).unwrap();
    let large = || Commit::Halt {
        reason: "x".repeat(1_000_000),
    };
    for _ in 0..48 {
        store.commit(large()).await.unwrap();
        // The first reason stays until posting resumes.
        store.commit(Commit::Resume).await.unwrap();
    }
    assert!(length() > 40_000_000, "{}", length());
    drop(snapshot);
    drop(reader);
    for _ in 0..3 {
        let reason = "short".to_owned();
        store.commit(Commit::Halt { reason }).await.unwrap();
        store.commit(Commit::Resume).await.unwrap();
    }
    assert!(length() <= 16 << 20, "{}", length());
}

/// Commits that are applied together are one transaction of SQLite, and one of them does not fit.
#[tokio::test]
async fn a_commit_that_cannot_be_stored_fails_alone() {
    let (_dir, store, agents) = super::store(1).await;
    let mut running = JoinSet::new();
    for number in 0..200_u64 {
        let mut draft = super::draft(&format!("send/{number}"), 2, "hello");
        if number % 50 == 7 {
            draft.amount = Amount(u64::MAX - number);
        }
        let (store, agent) = (store.clone(), agents[0]);
        running.spawn(async move {
            let sent = Commit::Send {
                token: None,
                agent,
                draft,
                prepared: None,
                at: Timestamp::new(1_000),
            };
            (number, store.commit(sent).await)
        });
    }
    let mut stored = 0;
    while let Some(done) = running.join_next().await {
        match done.unwrap() {
            (_, Ok(_)) => stored += 1,
            (number, Err(error)) => {
                assert_eq!(number % 50, 7, "{error}");
                let amount = (u64::MAX - number).to_string();
                assert!(error.to_string().contains(&amount), "{error}");
            }
        }
    }
    assert_eq!(stored, 196);
    let counts = store.read(read::counts).await.unwrap();
    assert_eq!(counts.outbox.get("queued"), Some(&196));
    assert_eq!(*store.condition().borrow(), Condition::Well);
}
