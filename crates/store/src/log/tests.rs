//! Each log keeps the laws.

use std::path::Path;
use std::sync::Arc;

use agentry_core::Commit;
use agentry_core::cluster::Epoch;

use super::{Local, Log, LogError, Mark, Position, Record, Waits, written};
use crate::tables::{Database, Tables};
use crate::testing::{Memory, TestLog, log_laws, store_laws};
use crate::{Store, StoreError, schema};

/// The log in a store's file.
struct InFile(Database);

impl TestLog for InFile {
    fn open(&self, _: Waits) -> Result<Box<dyn Log>, LogError> {
        Ok(Box::new(Local::open(&self.0)?))
    }
}

#[test]
fn the_log_in_a_stores_file_keeps_the_laws() {
    log_laws(&|| Arc::new(InFile(Database::new(schema::in_memory().unwrap()))));
}

#[test]
fn the_log_in_memory_keeps_the_laws() {
    log_laws(&|| Arc::new(Memory::default()));
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_over_the_log_in_memory_keep_the_laws() {
    store_laws(&|| Arc::new(Memory::default())).await;
}

/// Neither opens what the other has written.
#[test]
fn a_copy_and_a_store_with_a_log_of_its_own_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (copy, own) = (dir.path().join("copy"), dir.path().join("own"));
    let memory = Memory::default();
    let follow = |path: &Path| {
        let memory = memory.clone();
        Store::follow(path, move |waits| Ok(memory.open(waits)))
    };
    drop(follow(&copy).unwrap());
    let refused = Store::open(&copy);
    assert!(
        matches!(refused, Err(StoreError::Copy { .. })),
        "{refused:?}"
    );
    drop(follow(&copy).unwrap());

    drop(Store::open(&own).unwrap());
    assert_eq!(crate::mark(&own).unwrap(), None);
    let store = Store::open(&own).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let refused = runtime.block_on(async {
        store.commit(Commit::Resume).await.unwrap();
        store.lead(Epoch(1), Position(0)).await.unwrap();
        store.snapshot(&dir.path().join("none")).await
    });
    assert!(
        matches!(refused, Err(StoreError::NoCopy { .. })),
        "{refused:?}"
    );
    drop(store);
    let refused = follow(&own);
    assert!(
        matches!(refused, Err(StoreError::NoCopy { .. })),
        "{refused:?}"
    );
    let refused = crate::place::install(&own, &copy);
    assert!(
        matches!(refused, Err(StoreError::NoCopy { .. })),
        "{refused:?}"
    );
    drop(Store::open(&own).unwrap());
}

/// A log that leaves out the record at a place when it is read.
#[derive(Debug)]
struct Gap(Box<dyn Log>, Position);

impl Log for Gap {
    fn append(&mut self, group: &[&Commit]) -> Result<Mark, LogError> {
        self.0.append(group)
    }

    fn read(&self, after: Position, bytes: usize) -> Result<Vec<Record>, LogError> {
        let mut records = self.0.read(after, bytes)?;
        records.retain(|record| record.at != self.1);
        Ok(records)
    }

    fn cut(&mut self, through: Position) -> Result<(), LogError> {
        self.0.cut(through)
    }

    fn check(&self, mark: &Mark) -> Result<(), LogError> {
        self.0.check(mark)
    }

    fn lead(&mut self, epoch: Epoch) -> Result<(), LogError> {
        self.0.lead(epoch)
    }
}

/// Whatever a log returns, no record is passed over.
#[test]
fn a_gap_in_what_is_read_is_an_error() {
    let memory = Memory::default();
    let mut log = memory.open(Waits::default());
    log.lead(memory.claim().0).unwrap();
    for _ in 0..3 {
        log.append(&[&Commit::Resume]).unwrap();
    }
    let follow = |without| {
        let db = Database::new(schema::in_memory().unwrap());
        let log = Gap(memory.open(Waits::default()), Position(without));
        let error = Tables::follow(&db, Box::new(log)).err()?;
        assert_eq!(written(&db.lock()).unwrap(), Position(0));
        Some(error)
    };
    let at_the_start = follow(1);
    assert!(
        matches!(
            at_the_start,
            Some(StoreError::Log(LogError::Trimmed { .. }))
        ),
        "{at_the_start:?}"
    );
    let within = follow(2);
    assert!(
        matches!(
            within,
            Some(StoreError::Log(LogError::Damaged {
                at: Position(2),
                ..
            }))
        ),
        "{within:?}"
    );
    assert!(follow(9).is_none());
}
