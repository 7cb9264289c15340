//! chain.db and mempool.db: their shape, and what survives a stop or a crash.

use agentry_protocol::Json;
use rusqlite::Connection;

use crate::common::{Node, Wallet};

/// Name, type, NOT NULL, part of the primary key: as `PRAGMA table_info` returns them.
type Column = (String, String, bool, bool);

fn columns(db: &Connection, table: &str) -> Vec<Column> {
    let mut statement = db
        .prepare(&format!("PRAGMA table_info(\"{table}\")"))
        .unwrap();
    statement
        .query_map([], |row| {
            Ok((
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get::<_, i64>(5)? > 0,
            ))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Columns in one line each: `name TYPE`, `?` where NULL is allowed, `*` in the primary key.
fn shape(db: &Connection, table: &str) -> Vec<String> {
    columns(db, table)
        .into_iter()
        .map(|(name, kind, not_null, key)| {
            format!(
                "{name} {kind}{}{}",
                if not_null { "" } else { "?" },
                if key { "*" } else { "" }
            )
        })
        .collect()
}

/// The column lists of a table's unique indexes and of all its indexes.
fn indexes(db: &Connection, table: &str) -> (Vec<String>, Vec<String>) {
    let mut statement = db
        .prepare(&format!("PRAGMA index_list(\"{table}\")"))
        .unwrap();
    let list: Vec<(String, bool)> = statement
        .query_map([], |row| Ok((row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let (mut unique, mut all) = (Vec::new(), Vec::new());
    for (name, is_unique) in list {
        let mut statement = db.prepare(&format!("PRAGMA index_info({name})")).unwrap();
        let columns: Vec<String> = statement
            .query_map([], |row| row.get(2))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let columns = columns.join(",");
        if is_unique {
            unique.push(columns.clone());
        }
        all.push(columns);
    }
    unique.sort();
    all.sort();
    (unique, all)
}

#[tokio::test]
async fn the_tables_are_those_of_aitbcs_node() {
    let node = Node::manual();
    let db = node.db();
    assert_eq!(
        shape(&db, "block"),
        [
            "id INTEGER*",
            "chain_id VARCHAR",
            "height INTEGER",
            "hash VARCHAR",
            "parent_hash VARCHAR",
            "proposer VARCHAR",
            "timestamp DATETIME",
            "tx_count INTEGER",
            "state_root VARCHAR?",
            "block_metadata VARCHAR?",
        ]
    );
    assert_eq!(
        shape(&db, "transaction"),
        [
            "id INTEGER*",
            "chain_id VARCHAR",
            "tx_hash VARCHAR",
            "block_height INTEGER?",
            "sender VARCHAR",
            "recipient VARCHAR",
            "payload JSON",
            "created_at DATETIME",
            "nonce INTEGER",
            "value INTEGER",
            "fee INTEGER",
            "status VARCHAR",
            "timestamp VARCHAR?",
            "tx_metadata VARCHAR?",
        ]
    );
    assert_eq!(
        shape(&db, "account"),
        [
            "chain_id VARCHAR*",
            "address VARCHAR*",
            "balance INTEGER",
            "nonce INTEGER",
            "updated_at DATETIME",
        ]
    );
    for table in ["receipt", "escrow"] {
        assert!(!columns(&db, table).is_empty(), "{table}");
    }
    assert_eq!(indexes(&db, "block").0, ["chain_id,height", "hash"]);
    let (unique, all) = indexes(&db, "transaction");
    assert_eq!(unique, ["chain_id,tx_hash"]);
    assert_eq!(
        all,
        [
            "block_height",
            "chain_id",
            "chain_id,tx_hash",
            "created_at",
            "tx_hash"
        ]
    );
    let journal: String = db
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .unwrap();
    assert_eq!(journal, "wal");

    let pool = Connection::open(node.config.dir.join("mempool.db")).unwrap();
    let names: Vec<String> = columns(&pool, "mempool")
        .into_iter()
        .map(|(name, ..)| name)
        .collect();
    assert_eq!(
        names,
        [
            "chain_id",
            "tx_hash",
            "content",
            "fee",
            "size_bytes",
            "received_at"
        ]
    );
}

#[tokio::test]
async fn rows_are_written_as_sqlalchemy_writes_them() {
    let node = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 100).unwrap();
    let signed = alice.pay(&bob, 1, 10, 1);
    node.submit(&signed).await;
    node.devnet().mine().unwrap();
    let db = node.db();
    let like_datetime = |text: &str| {
        let digits: String = text
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(digits, "0000-00-00 00:00:00.000000", "{text}");
    };
    let (timestamp, created, payload, status): (String, String, String, String) = db
        .query_row(
            "SELECT timestamp, created_at, payload, status FROM \"transaction\"",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .unwrap();
    like_datetime(&timestamp);
    like_datetime(&created);
    assert_eq!(status, "confirmed");
    // SQL also finds the message at payload.payload.
    let message: String = db
        .query_row(
            "SELECT json_extract(payload, '$.payload') FROM \"transaction\"",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(message, "hello");
    let stored = Json::parse(payload.as_bytes(), Default::default()).unwrap();
    assert_eq!(stored, signed.stored().to_json());
    let genesis: String = db
        .query_row("SELECT timestamp FROM block WHERE height = 0", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(genesis, "2025-01-01 00:00:00.000000");
    let (block, updated): (String, String) = db
        .query_row(
            "SELECT b.timestamp, a.updated_at FROM block b, account a WHERE b.height = 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    like_datetime(&block);
    like_datetime(&updated);
}

#[tokio::test]
async fn a_restart_continues_the_chain_and_keeps_what_is_pending() {
    let mut node = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 1_000).unwrap();
    node.submit(&alice.pay(&bob, 1, 10, 1)).await;
    node.devnet().mine().unwrap();
    let pending = node.submit(&alice.pay(&bob, 2, 10, 2)).await;
    let (blocks, accounts) = (node.blocks(), node.accounts());
    node.restart();
    assert_eq!((node.blocks(), node.accounts()), (blocks.clone(), accounts));
    assert_eq!(node.pending().await.len(), 1);
    // Pending transactions still count against the balance and as duplicates.
    assert!(
        node.refuse(alice.pay(&bob, 970, 10, 3).body())
            .await
            .contains("12 are taken by 1 pending")
    );
    assert!(
        node.refuse(alice.pay(&bob, 1, 10, 1).body())
            .await
            .contains("already mined")
    );
    let block = node.devnet().mine().unwrap();
    assert_eq!((block.height.0, block.tx_count), (2, 1));
    assert_eq!(node.mined(&pending), 1);
    let parent: String = node
        .db()
        .query_row(
            "SELECT parent_hash FROM block WHERE height = 2",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(parent, blocks[1].1);
}

#[tokio::test]
async fn a_crash_between_commit_and_mempool_mines_nothing_twice() {
    let mut node = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 1_000).unwrap();
    let hash = node.submit(&alice.pay(&bob, 1, 10, 1)).await;
    let pool = || Connection::open(node.config.dir.join("mempool.db")).unwrap();
    let row: (String, String, i64, i64, f64) = pool()
        .query_row(
            "SELECT tx_hash, content, fee, size_bytes, received_at FROM mempool",
            [],
            |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            },
        )
        .unwrap();
    node.devnet().mine().unwrap();
    node.stop();
    // The state after a crash: the block is committed, the mempool still holds its transaction.
    Connection::open(node.config.dir.join("mempool.db"))
        .unwrap()
        .execute(
            "INSERT INTO mempool VALUES ('ait-devnet', ?1, ?2, ?3, ?4, ?5)",
            row,
        )
        .unwrap();
    node.restart();
    assert_eq!(node.pending().await.len(), 0);
    assert_eq!(node.devnet().mine().unwrap().tx_count, 0);
    assert_eq!(node.mined(&hash), 1);
    assert_eq!(
        (node.balance(&alice).await, node.balance(&bob).await),
        (989, 1)
    );
}

#[tokio::test]
async fn rows_that_another_program_put_into_the_mempool_are_harmless() {
    let mut node = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 1_000).unwrap();
    node.stop();
    Connection::open(node.config.dir.join("mempool.db"))
        .unwrap()
        .execute(
            "INSERT INTO mempool VALUES ('ait-devnet', '0x1', 'half {', 5, 6, 1.0)",
            [],
        )
        .unwrap();
    node.restart();
    let hash = node.submit(&alice.pay(&bob, 1, 10, 1)).await;
    assert_eq!(node.devnet().mine().unwrap().tx_count, 1);
    assert_eq!(node.mined(&hash), 1);
}
