//! Tests that apply only to the database source.

use std::sync::Arc;
use std::time::Duration;

use agentry_chain::{
    ChainDb, ChainDbOptions, ChainEvent, ChainSource, Everything, Interest, SourceError, Start,
};
use agentry_protocol::BlockHeight;
use rusqlite::types::Null;
use rusqlite::{Connection, params};
use tokio::sync::Mutex;

use crate::model::{CHAIN, Model, Sort, Tx, chain_id};
use crate::reader::{Follower, Mine};
use crate::stage::{Kind, Stage, insert_transaction, node_file};

const FROM_0: Start = Start::Height(BlockHeight(0));
/// Longer than any machine takes; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_unchanged_database_costs_nothing() {
    let mut stage = Stage::new(Kind::Leader).await;
    stage.append(&[Sort::Mine]);
    let mut source = stage.db();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 50).await;
    let before = source.work();
    for _ in 0..50 {
        follower.catch_up(&mut source, 50).await;
    }
    assert_eq!(source.work(), before);
    stage.append(&[Sort::Mine, Sort::Foreign]);
    follower.catch_up(&mut source, 50).await;
    let after = source.work();
    assert_eq!(
        (
            after.snapshots - before.snapshots,
            after.opens - before.opens
        ),
        (1, 0)
    );
    assert_eq!(
        (after.blocks - before.blocks, after.rows - before.rows),
        (1, 2)
    );
    assert_eq!(after.payloads - before.payloads, 1);
}

#[tokio::test]
async fn foreign_transactions_are_never_parsed_and_history_is_not_read() {
    let mut stage = Stage::new(Kind::Leader).await;
    for _ in 0..200 {
        stage.append(&[Sort::Foreign; 100]);
    }
    let mut source = stage.db();
    let mut follower = Follower::begin(&mut source, Start::Head).await;
    follower.catch_up(&mut source, 50).await;
    assert_eq!((source.work().rows, source.work().payloads), (0, 0));
    stage.append(&[Sort::Foreign, Sort::Mine]);
    follower.catch_up(&mut source, 50).await;
    assert_eq!((source.work().rows, source.work().payloads), (2, 1));
    // Even a fork costs only what is new.
    stage.reorganise(3, &[vec![Sort::Mine], vec![Sort::Foreign; 5]]);
    follower.catch_up(&mut source, 50).await;
    assert_eq!((source.work().rows, source.work().payloads), (8, 2));

    let mut all = Follower::begin(&mut source, FROM_0).await;
    let before = source.work();
    all.catch_up(&mut source, 50).await;
    let after = source.work();
    assert_eq!(after.rows - before.rows, 198 * 100 + 6);
    assert_eq!(after.payloads - before.payloads, 1);
}

#[tokio::test]
async fn one_read_looks_at_a_bounded_number_of_rows() {
    let mut stage = Stage::new(Kind::Leader).await;
    for _ in 0..40 {
        stage.append(&[Sort::Foreign; 10]);
    }
    stage.append(&[Sort::Mine]);
    let options = ChainDbOptions {
        rows_per_read: 100,
        ..ChainDbOptions::default()
    };
    let mut source = ChainDb::open(stage.path(), chain_id(), options).unwrap();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    let mut reads = 1;
    while follower.step(&mut source, 1_000).await.unwrap() {
        reads += 1;
    }
    // 10 rows and their block each, until the limit of a hundred is reached.
    assert_eq!(reads, 5);
    assert_eq!(follower.seen.len(), 1);
}

#[tokio::test]
async fn the_limit_is_kept_for_late_rows_too() {
    let mut stage = Stage::new(Kind::Leader).await;
    for _ in 0..100 {
        stage.append(&[]);
    }
    let mut source = stage.db();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 50).await;
    for height in 1..=20 {
        stage.late(height, Sort::Mine, true, false);
        stage.late(height + 70, Sort::Mine, true, false);
    }
    follower.catch_up(&mut source, 1).await;
    assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
}

/// SQLite gives freed row ids to new rows, even to a row at an old height.
#[tokio::test]
async fn a_freed_row_id_hides_nothing() {
    let mut stage = Stage::new(Kind::Leader).await;
    for _ in 0..200 {
        stage.append(&[Sort::Mine]);
    }
    let mut source = stage.db();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 500).await;
    stage.rewind(2);
    // These take the ids that have just been freed.
    stage.late(5, Sort::Mine, true, false);
    stage.append(&[Sort::Mine]);
    stage.append(&[Sort::Mine]);
    follower.catch_up(&mut source, 500).await;
    assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
    assert!(follower.log.iter().any(|line| line == "late at 5"));
}

#[tokio::test]
async fn a_removed_file_is_waited_for_and_read_again() {
    let mut stage = Stage::new(Kind::Leader).await;
    for _ in 0..10 {
        stage.append(&[Sort::Mine]);
    }
    let mut source = stage.db();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 50).await;
    stage.stop();
    std::fs::remove_file(stage.path()).unwrap();
    let error = follower.step(&mut source, 50).await.unwrap_err();
    assert!(
        matches!(error, SourceError::Missing { .. }) && error.is_transient(),
        "{error}"
    );
    stage.model.lock().unwrap().append(&[Sort::Mine]);
    stage.rebuild();
    follower.log.clear();
    follower.catch_up(&mut source, 50).await;
    assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
    assert!(
        !follower
            .log
            .iter()
            .any(|line| line.starts_with("withdrawn")),
        "the same chain"
    );
}

/// Another file replaces the open one, as when a backup is restored.
#[tokio::test]
async fn a_replaced_file_is_noticed() {
    let mut stage = Stage::new(Kind::Leader).await;
    for _ in 0..10 {
        stage.append(&[Sort::Mine]);
    }
    let mut source = stage.db();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 50).await;

    let model = stage.model.lock().unwrap().clone();
    let mut other = Stage::with(Kind::Leader, model).await;
    other.reorganise(4, &[vec![Sort::Mine]]);
    other.stop();
    std::fs::rename(other.path(), stage.path()).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", stage.path().display()));
    }
    follower.catch_up(&mut source, 50).await;
    assert_eq!(follower.seen, other.model.lock().unwrap().wanted(0));
}

/// A backup is copied over the open file: same inode, no commit.
#[tokio::test]
async fn a_file_that_is_written_over_is_noticed() {
    let mut stage = Stage::new(Kind::Leader).await;
    for _ in 0..10 {
        stage.append(&[Sort::Mine]);
    }
    let mut source = stage.db();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 50).await;
    stage.stop();
    follower.catch_up(&mut source, 50).await;

    let model = stage.model.lock().unwrap().clone();
    let mut other = Stage::with(Kind::Leader, model).await;
    other.reorganise(
        4,
        &[vec![Sort::Mine], vec![], vec![], vec![], vec![Sort::Mine]],
    );
    other.stop();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", stage.path().display()));
    }
    // The content of the node's file was overwritten.
    let content = std::fs::read(other.path()).unwrap();
    std::fs::write(stage.path(), content).unwrap();
    follower.catch_up(&mut source, 50).await;
    assert_eq!(follower.seen, other.model.lock().unwrap().wanted(0));
}

fn files_in_directory(stage: &Stage) -> Vec<String> {
    let directory = stage.path().parent().unwrap().to_owned();
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Nothing is created beside a database that no node has open, and a node that opens it is noticed.
#[tokio::test]
async fn nothing_is_created_beside_an_idle_database() {
    let mut stage = Stage::new(Kind::Leader).await;
    stage.append(&[Sort::Mine]);
    stage.stop();
    assert_eq!(files_in_directory(&stage), ["chain.db"]);
    let mut source = stage.db();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 50).await;
    follower.catch_up(&mut source, 50).await;
    assert_eq!(follower.seen.len(), 1);
    assert_eq!(files_in_directory(&stage), ["chain.db"]);

    stage.start();
    stage.append(&[Sort::Mine]);
    follower.catch_up(&mut source, 50).await;
    assert_eq!(follower.seen.len(), 2);
    drop(source);
    stage.append(&[Sort::Mine]);
    let mut source = stage.db();
    follower.catch_up(&mut source, 50).await;
    assert_eq!(follower.seen.len(), 3);
}

/// The node can write, checkpoint and truncate its WAL while it is being read, and a read does not
/// see uncommitted rows.
#[tokio::test]
async fn the_node_is_not_blocked() {
    let mut stage = Stage::new(Kind::Leader).await;
    let mut source = stage.db();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    for _ in 0..5 {
        stage.append(&[Sort::Mine]);
        follower.catch_up(&mut source, 50).await;
        let busy: i64 = stage
            .writer()
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .unwrap();
        assert_eq!(busy, 0, "the checkpoint was blocked");
        stage.writer().execute_batch("BEGIN IMMEDIATE").unwrap();
        insert_transaction(stage.writer(), CHAIN, 1, &Tx::new(Sort::Mine, 1 << 50));
        follower.catch_up(&mut source, 50).await;
        stage.writer().execute_batch("ROLLBACK").unwrap();
    }
    assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
}

/// Whatever the columns hold, nothing panics and the other rows are delivered.
#[tokio::test]
async fn columns_of_any_type_are_survived() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chain.db");
    let writer = Connection::open(&path).unwrap();
    writer.pragma_update(None, "journal_mode", "WAL").unwrap();
    let columns = "id INTEGER PRIMARY KEY, chain_id, height, hash, parent_hash, proposer, \
                   timestamp, tx_count, state_root, block_metadata";
    let of_transaction = "id INTEGER PRIMARY KEY, chain_id, tx_hash, block_height, sender, \
                          recipient, payload, nonce, value, fee, status, timestamp, tx_metadata";
    writer
        .execute_batch(&format!(
            "CREATE TABLE block ({columns}); CREATE TABLE \"transaction\" ({of_transaction});"
        ))
        .unwrap();
    let block = "INSERT INTO block (chain_id, height, hash, tx_count, block_metadata) \
                 VALUES (?1, ?2, ?3, ?4, ?5)";
    let hash = |digit: char| format!("0x{}", String::from(digit).repeat(64));
    writer
        .execute(block, params![CHAIN, 0, "0x00", 0, "null"])
        .unwrap();
    writer
        .execute(block, params![CHAIN, 1, hash('1'), "five", vec![1_u8, 2]])
        .unwrap();
    writer
        .execute(block, params![CHAIN, 2, 17, -3, 4.5])
        .unwrap();
    writer
        .execute(block, params![CHAIN, -7, hash('7'), 0, "{}"])
        .unwrap();
    writer
        .execute(block, params![CHAIN, "three", hash('8'), 0, "{}"])
        .unwrap();
    writer
        .execute(
            block,
            params![CHAIN, 3, hash('3'), 9, r#"{"transactions": [1, null]}"#],
        )
        .unwrap();
    writer
        .execute(
            block,
            params![CHAIN, 4, vec![0xff_u8], 1, r#"{"transactions": 17 or so}"#],
        )
        .unwrap();
    writer
        .execute(block, params![CHAIN, 5, hash('5'), 1, Null])
        .unwrap();
    let row = "INSERT INTO \"transaction\" (chain_id, tx_hash, block_height, sender, recipient, \
               payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let good = Tx::new(Sort::Mine, 1);
    for height in [1, 2, 3, 5] {
        writer
            .execute(row, params![CHAIN, Null, height, Null, Null, Null])
            .unwrap();
        writer
            .execute(row, params![CHAIN, 5, height, 6.5, vec![0xff_u8], "{}"])
            .unwrap();
        writer
            .execute(row, params![CHAIN, "", height, "", "", vec![0xff_u8]])
            .unwrap();
        writer
            .execute(
                row,
                params![CHAIN, "0xZZ", height, "", "", "[".repeat(100_000)],
            )
            .unwrap();
        let blob = good.stored.as_bytes();
        writer
            .execute(row, params![CHAIN, "short", height, "", "", blob])
            .unwrap();
    }
    writer
        .execute(row, params![CHAIN, "x", Null, "", "", good.stored])
        .unwrap();
    writer
        .execute(row, params![Null, "y", "five", "", "", good.stored])
        .unwrap();

    let mut source = ChainDb::open(&path, chain_id(), ChainDbOptions::default()).unwrap();
    let cursor = source.begin(FROM_0).await.unwrap();
    let batch = source
        .read(&cursor, Arc::new(Everything), 1_000)
        .await
        .unwrap();
    assert!(!batch.more);
    assert_eq!(batch.read_through.unwrap().height, BlockHeight(5));
    let heights = |wanted: fn(&ChainEvent) -> Option<u64>| -> Vec<u64> {
        batch.events.iter().filter_map(wanted).collect()
    };
    let found = heights(|event| match event {
        ChainEvent::Transaction(found) => Some(found.height.0),
        _ => None,
    });
    assert_eq!(found, [1, 2, 3, 5], "the good one of each block");
    let undecodable = heights(|event| match event {
        ChainEvent::Undecodable { height, count, .. } if *count > 0 => Some(height.0),
        _ => None,
    });
    assert_eq!(undecodable.len() + found.len(), batch.events.len());
    assert_eq!(undecodable, [1, 2, 3, 4, 5], "one event for each block");
    // The same after a later change.
    writer
        .execute(block, params![CHAIN, 6, hash('6'), 0, Null])
        .unwrap();
    let batch = source
        .read(&batch.cursor, Arc::new(Everything), 1_000)
        .await
        .unwrap();
    assert!(batch.events.is_empty(), "{:?}", batch.events);
}

/// A follower's block, far below the window, is stored again, now with its transactions.
#[tokio::test]
async fn an_old_block_that_is_stored_again_is_seen() {
    let mut stage = Stage::new(Kind::Follower).await;
    for _ in 0..200 {
        stage.append(&[]);
    }
    let mut source = stage.db();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 50).await;
    stage.late(20, Sort::Mine, true, true);
    follower.catch_up(&mut source, 50).await;
    assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
    assert_eq!(follower.log, ["late at 20"]);

    // The same if its new row id belonged to another block just before.
    stage.rewind(1);
    stage.late(30, Sort::Mine, true, true);
    stage.append(&[]);
    follower.catch_up(&mut source, 50).await;
    assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
}

/// The same if a fork moves the window down to that block before the reader looks.
#[tokio::test]
async fn an_old_block_that_is_stored_again_beside_a_fork_is_seen() {
    let mut stage = Stage::new(Kind::Follower).await;
    for _ in 0..100 {
        stage.append(&[]);
    }
    let mut source = stage.db();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 50).await;
    stage.reorganise(27, &[vec![]]);
    stage.late(27, Sort::Mine, false, true);
    follower.catch_up(&mut source, 50).await;
    assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
}

/// A follower whose transactions are partly in rows, partly in metadata: each is delivered once.
#[tokio::test]
async fn table_and_metadata_complete_each_other() {
    let stage = Stage::new(Kind::Follower).await;
    let mut model = stage.model.lock().unwrap().clone();
    model.append(&[Sort::Mine, Sort::Bare, Sort::Mine, Sort::Bad]);
    let block = model.blocks[1].clone();
    let rows: Vec<String> = block.txs.iter().map(|tx| tx.row(1)).collect();
    let metadata = format!(r#"{{"transactions": [{}]}}"#, rows.join(","));
    let sql = "INSERT INTO block (chain_id, height, hash, parent_hash, proposer, timestamp, \
               tx_count, block_metadata) VALUES (?1, 1, ?2, '', '', '', 4, ?3)";
    stage
        .writer()
        .execute(sql, params![CHAIN, block.hash, metadata])
        .unwrap();
    for tx in &block.txs[..2] {
        insert_transaction(stage.writer(), CHAIN, 1, tx);
    }
    let mut source = stage.db();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 50).await;
    assert_eq!(follower.seen, model.wanted(0));
    assert_eq!(follower.bad, model.bad(0));
    assert_eq!(follower.delivered, 3);
}

async fn woken(source: &mut ChainDb, follower: &mut Follower, count: usize) {
    let all = async {
        while follower.seen.len() < count {
            source.changed().await;
            follower.catch_up(source, 50).await;
        }
    };
    tokio::time::timeout(DEADLINE, all)
        .await
        .expect("no change was noticed");
}

/// A commit from another connection wakes the reader by an event: the poll is disabled here.
#[tokio::test]
async fn a_commit_wakes_the_reader() {
    let mut stage = Stage::new(Kind::Leader).await;
    let options = ChainDbOptions {
        poll: Duration::from_secs(3_600),
        ..ChainDbOptions::default()
    };
    let mut source = ChainDb::open(stage.path(), chain_id(), options).unwrap();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    for count in 1..=20 {
        stage.append(&[Sort::Mine]);
        woken(&mut source, &mut follower, count).await;
    }
}

/// Without events, the poll finds the change.
#[tokio::test]
async fn the_poll_finds_changes_without_events() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("later").join("chain.db");
    let options = ChainDbOptions {
        poll: Duration::from_millis(5),
        ..ChainDbOptions::default()
    };
    let mut source = ChainDb::open(&path, chain_id(), options).unwrap();
    assert!(matches!(
        source.head().await,
        Err(SourceError::Missing { .. })
    ));
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let empty = Connection::open(&path).unwrap();
    empty.pragma_update(None, "journal_mode", "WAL").unwrap();
    assert!(source.head().await.unwrap().is_none(), "no tables yet");
    let mut follower = Follower::begin(&mut source, Start::Head).await;
    drop(empty);
    let writer = node_file(&path);
    assert!(source.head().await.unwrap().is_none(), "no block yet");
    follower.catch_up(&mut source, 50).await;
    let mut model = Model::new(0);
    model.append(&[Sort::Mine]);
    for block in &model.blocks {
        let sql = "INSERT INTO block (chain_id, height, hash, parent_hash, proposer, timestamp, \
                   tx_count) VALUES (?1, ?2, ?3, '', '', '', ?4)";
        let (height, count) = (block.height as i64, block.tx_count as i64);
        writer
            .execute(sql, params![CHAIN, height, block.hash, count])
            .unwrap();
        for tx in &block.txs {
            insert_transaction(&writer, CHAIN, block.height, tx);
        }
    }
    woken(&mut source, &mut follower, 1).await;
    assert_eq!(follower.seen, model.wanted(0));
}

/// A cancelled wait loses nothing, and neither does a cancelled read.
#[tokio::test]
async fn a_cancelled_wait_or_read_loses_nothing() {
    let mut stage = Stage::new(Kind::Leader).await;
    let options = ChainDbOptions {
        poll: Duration::from_secs(3_600),
        ..ChainDbOptions::default()
    };
    let mut source = ChainDb::open(stage.path(), chain_id(), options).unwrap();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 50).await;
    for count in 1..=10 {
        stage.append(&[Sort::Mine]);
        for _ in 0..20 {
            // Polled once, then dropped.
            tokio::select! {
                biased;
                () = source.changed() => { follower.catch_up(&mut source, 50).await; }
                () = std::future::ready(()) => {}
            }
            let cursor = follower.cursor();
            tokio::select! {
                biased;
                read = source.read(&cursor, Arc::new(Mine), 50) => drop(read),
                () = tokio::task::yield_now() => {}
            }
        }
        if follower.seen.len() < count {
            follower.catch_up(&mut source, 50).await;
        }
        assert_eq!(follower.seen.len(), count);
    }
}

struct Panicking;

impl Interest for Panicking {
    fn wants(&self, _from: &str, _to: &str) -> bool {
        panic!("an interest that panics")
    }
}

/// An interest that panics ends only its own read.
#[tokio::test]
async fn a_panicking_interest_leaves_the_source_whole() {
    let mut stage = Stage::new(Kind::Leader).await;
    stage.append(&[Sort::Mine]);
    let source = Arc::new(Mutex::new(stage.db()));
    let reading = Arc::clone(&source);
    let read = tokio::spawn(async move {
        let mut source = reading.lock().await;
        let cursor = source.begin(FROM_0).await.unwrap();
        let _ = source.read(&cursor, Arc::new(Panicking), 50).await;
    });
    assert!(read.await.unwrap_err().is_panic());
    let source = &mut *source.lock().await;
    let mut follower = Follower::begin(source, FROM_0).await;
    follower.catch_up(source, 50).await;
    assert_eq!(follower.seen.len(), 1);
}
