//! Laws of the stores of several hosts over one log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentry_core::cluster::Epoch;
use agentry_core::{Commit, State};
use rusqlite::Connection;

use super::logs::{Held, PATIENCE, TestLog};
use super::rows::{self, Rows};
use super::{Fault, commits};
use crate::log::{LogError, Position, Waits};
use crate::{Condition, Store, StoreError, place};

/// How many commits a law has at least.
const COMMITS: usize = 120;

type Shared = Arc<dyn TestLog>;

/// Checks all laws of stores over a log that hosts share. Each law gets a new log. Needs a runtime of
/// tokio with several threads.
///
/// # Panics
/// A law is broken.
pub async fn store_laws(new: &(dyn Fn() -> Shared + Sync)) {
    followers_come_to_the_same_rows(new()).await;
    whoever_reads_a_copy_finds_what_was_acknowledged(new()).await;
    a_killed_host_goes_on_where_it_was(new()).await;
    a_host_that_was_deposed_makes_no_more_changes(new()).await;
    a_lost_answer_reaches_no_caller(new()).await;
    commits_that_wait_are_reported_and_end_with_their_store(new()).await;
    a_host_begins_from_a_snapshot(new()).await;
    tables_that_are_ahead_of_the_log_are_not_used(new()).await;
}

/// A folder with the stores of several hosts.
struct Hosts {
    log: Shared,
    folder: tempfile::TempDir,
}

impl Hosts {
    fn over(log: Shared) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { log, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn try_follow(&self, name: &str) -> Result<Store, StoreError> {
        let (path, log) = (self.path(name), Arc::clone(&self.log));
        let open = move |waits| log.open(waits);
        tokio::task::spawn_blocking(move || Store::follow(&path, open))
            .await
            .unwrap()
    }

    async fn follow(&self, name: &str) -> Store {
        self.try_follow(name).await.unwrap()
    }

    fn claim(&self) -> (Epoch, Position) {
        self.log.claim().unwrap()
    }

    async fn lead(&self, store: &Store) {
        let (epoch, head) = self.claim();
        within(store.lead(epoch, head)).await.unwrap();
        assert_eq!(*store.position().borrow(), head);
    }

    /// A host that leads.
    async fn leader(&self, name: &str) -> Store {
        let store = self.follow(name).await;
        self.lead(&store).await;
        store
    }

    /// The state to which the log leads.
    fn replay(&self) -> State {
        let log = self.log.open(Waits::default()).unwrap();
        let (mut state, mut after) = (State::default(), Position(0));
        while let Some(record) = log.read(after, 1).unwrap().first() {
            assert_eq!(record.at, after.next());
            for commit in &record.commits {
                state.apply(commit).unwrap();
            }
            after = record.at;
        }
        state
    }
}

async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.unwrap()
}

/// Commits all, some of them at the same time. Returns the place of the last record.
async fn commit_all(store: &Store, commits: &[Commit]) -> Position {
    for group in commits.chunks(7) {
        let mut enqueued = Vec::new();
        for commit in group {
            enqueued.push(store.enqueue(commit.clone(), None).await.unwrap());
        }
        for one in enqueued {
            within(one.stored()).await.unwrap();
        }
    }
    *store.position().borrow()
}

async fn reach(store: &Store, at: Position) {
    let mut position = store.position();
    let reached = position.wait_for(|now| *now >= at);
    within(reached).await.unwrap();
}

async fn becomes(store: &Store, wanted: fn(&Condition) -> bool) {
    let mut condition = store.condition();
    within(condition.wait_for(wanted)).await.unwrap();
}

async fn rows_of(store: &Store) -> Rows {
    let rows = store.read(|reader| Ok(rows::of_tables(&reader.0)));
    within(rows).await.unwrap()
}

fn halt() -> Commit {
    Commit::Halt {
        reason: "an operator wants to look".to_owned(),
    }
}

async fn close(store: Store) {
    within(tokio::task::spawn_blocking(move || drop(store)))
        .await
        .unwrap();
}

async fn followers_come_to_the_same_rows(log: Shared) {
    let hosts = Hosts::over(log);
    let (mut one, mut other) = (hosts.leader("one").await, hosts.follow("other").await);
    let mut names = ["one", "other"];
    for part in commits::history(3 * COMMITS).chunks(COMMITS) {
        let refused = other.commit(halt()).await;
        assert!(matches!(refused, Err(StoreError::Following)), "{refused:?}");
        let last = commit_all(&one, part).await;
        reach(&other, last).await;
        let replayed = rows::of_state(&hosts.replay());
        assert!(rows_of(&one).await == replayed);
        assert!(rows_of(&other).await == replayed);
        // The host that led has handed its agents over, and follows.
        close(one).await;
        hosts.lead(&other).await;
        (one, other) = (other, hosts.follow(names[0]).await);
        names.reverse();
    }
}

async fn whoever_reads_a_copy_finds_what_was_acknowledged(log: Shared) {
    let hosts = Hosts::over(log);
    let (one, other) = (hosts.leader("one").await, hosts.follow("other").await);
    for part in commits::history(COMMITS).chunks(COMMITS / 4) {
        let last = commit_all(&one, part).await;
        for store in [&one, &other] {
            within(store.catch_up()).await.unwrap();
            assert_eq!(*store.position().borrow(), last);
            let tables = Connection::open(store.path()).unwrap();
            assert!(rows::of_tables(&tables) == rows::of_state(&hosts.replay()));
        }
    }
}

async fn a_killed_host_goes_on_where_it_was(log: Shared) {
    let hosts = Hosts::over(log);
    let history = commits::history(COMMITS);
    let (first, second) = history.split_at(COMMITS / 2);
    let store = hosts.leader("killed").await;
    commit_all(&store, first).await;
    // What a process leaves that is killed now, whatever its tables have.
    let (from, to) = (hosts.path("killed"), hosts.path("left"));
    let copied = store.query(move |_| copy(&from, &to));
    within(copied).await.unwrap();
    commit_all(&store, second).await;
    let wanted = rows_of(&store).await;
    let left = hosts.leader("left").await;
    assert!(rows_of(&left).await == wanted);
    assert!(rows::of_state(&hosts.replay()) == wanted);
}

/// Copies a store that is open. Nothing happens on its writer's thread meanwhile.
fn copy(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let [from, to] = [from, to].map(|path| crate::with_suffix(path, suffix));
        std::fs::copy(from, to).unwrap();
    }
}

async fn a_host_that_was_deposed_makes_no_more_changes(log: Shared) {
    let hosts = Hosts::over(log);
    let (old, new) = (hosts.leader("old").await, hosts.follow("new").await);
    commit_all(&old, &commits::history(COMMITS)).await;
    hosts.lead(&new).await;
    for _ in 0..2 {
        let refused = within(old.commit(halt())).await;
        assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    }
    assert_eq!(*old.condition().borrow(), Condition::Fenced);
    assert!(matches!(old.query(|_| ()).await, Err(StoreError::Fenced)));
    assert!(matches!(
        old.read(|_| Ok(())).await,
        Err(StoreError::Fenced)
    ));
    let led = old.lead(Epoch(0), Position(0)).await;
    assert!(matches!(led, Err(StoreError::Fenced)), "{led:?}");
    within(new.commit(halt())).await.unwrap();
    close(old).await;
    let again = hosts.follow("old").await;
    reach(&again, *new.position().borrow()).await;
    assert!(rows_of(&again).await == rows_of(&new).await);
}

async fn a_lost_answer_reaches_no_caller(log: Shared) {
    let hosts = Hosts::over(log);
    let store = hosts.leader("one").await;
    for arrives in [false, true] {
        let fault = Fault {
            arrives,
            is_claimed: false,
        };
        if !hosts.log.lose(fault) {
            return;
        }
        for commit in [halt(), Commit::Resume] {
            assert!(within(store.commit(commit)).await.unwrap().is_applied());
        }
    }
    assert_eq!(*store.position().borrow(), Position(4));
    assert!(rows::of_state(&hosts.replay()) == rows_of(&store).await);
}

async fn commits_that_wait_are_reported_and_end_with_their_store(log: Shared) {
    let hosts = Hosts::over(log);
    let store = hosts.leader("one").await;
    within(store.commit(halt())).await.unwrap();
    let Some(held) = Held::hold(&*hosts.log) else {
        return;
    };
    let waiting = store.enqueue(Commit::Resume, None).await.unwrap();
    becomes(&store, |now| matches!(now, Condition::Refusing(_))).await;
    // No transaction is open that would keep others from writing.
    let db = Connection::open(store.path()).unwrap();
    db.execute_batch("BEGIN IMMEDIATE; ROLLBACK").unwrap();
    drop(db);
    drop(held);
    within(waiting.stored()).await.unwrap();
    becomes(&store, |now| *now == Condition::Well).await;

    let held = Held::hold(&*hosts.log);
    let waiting = store.enqueue(halt(), None).await.unwrap();
    becomes(&store, |now| matches!(now, Condition::Refusing(_))).await;
    close(store).await;
    let ended = within(waiting.stored()).await;
    assert!(matches!(ended, Err(StoreError::Closed)), "{ended:?}");
    drop(held);
    // Whatever became of it, a host goes on from there.
    let store = hosts.leader("one").await;
    within(store.commit(Commit::Resume)).await.unwrap();
    assert!(rows::of_state(&hosts.replay()) == rows_of(&store).await);
}

async fn a_host_begins_from_a_snapshot(log: Shared) {
    let hosts = Hosts::over(log);
    let history = commits::history(COMMITS);
    let (first, second) = history.split_at(COMMITS / 2);
    let store = hosts.leader("one").await;
    let behind = hosts.follow("behind").await;
    close(behind).await;
    let last = commit_all(&store, first).await;
    let copy = hosts.path("copy");
    let mark = within(store.snapshot(&copy)).await.unwrap();
    assert_eq!(mark.at, last);
    let again = within(store.snapshot(&copy)).await;
    assert!(again.is_err(), "a file that exists is left alone");
    commit_all(&store, second).await;
    let is_trimmed = hosts.log.trim(mark.at);
    if is_trimmed {
        for name in ["behind", "new"] {
            let missed = hosts.try_follow(name).await;
            let named = matches!(missed, Err(StoreError::Log(LogError::Trimmed { .. })));
            assert!(named, "{missed:?}");
        }
    }
    let (from, to) = (copy.clone(), hosts.path("behind"));
    assert_eq!(place::install(&from, &to).unwrap(), mark);
    assert!(!copy.exists());
    assert_eq!(crate::mark(&to).unwrap(), Some(mark));
    let begun = hosts.leader("behind").await;
    assert!(rows_of(&begun).await == rows_of(&store).await);
    let locked = place::install(&to, &hosts.path("one"));
    assert!(matches!(locked, Err(StoreError::Locked { .. })));
}

async fn tables_that_are_ahead_of_the_log_are_not_used(log: Shared) {
    let hosts = Hosts::over(log);
    let store = hosts.leader("one").await;
    for commit in [halt(), Commit::Resume, halt()] {
        within(store.commit(commit)).await.unwrap();
    }
    rows_of(&store).await;
    if !hosts.log.rewind(Position(2)) {
        return;
    }
    let refused = within(store.commit(Commit::Resume)).await;
    assert!(
        matches!(refused, Err(StoreError::Halted(_) | StoreError::Log(_))),
        "{refused:?}"
    );
    becomes(&store, |now| matches!(now, Condition::Halted(_))).await;
    close(store).await;
    for _ in 0..2 {
        let refused = hosts.try_follow("one").await;
        let named = matches!(refused, Err(StoreError::Log(LogError::Diverged { .. })));
        assert!(named, "{refused:?}");
        // Another record in the place of the one that was lost.
        let other = hosts.leader("other").await;
        within(other.commit(Commit::Resume)).await.unwrap();
        close(other).await;
    }
}
