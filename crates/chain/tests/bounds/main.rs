//! However long a node's answers are, and whatever its database holds, memory stays bounded and the
//! good rows are read. Peaks are those of this process's allocator, so the tests run one at a time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_chain::{
    ChainDb, ChainDbOptions, ChainEvent, ChainSource, Interest, NodeClient, NodeError, NodeOptions,
    RpcOptions, RpcSource, Start,
};
use agentry_protocol::{Address, BlockHeight, Limits, StoredTransaction, TransactionHash};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The memory that one answer may take beside its wanted parts: its longest item, and the
/// connection.
const MOST: usize = 64 << 20;

/// The timeout of one read of everything, on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Held by the running test.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A part of an answer: a text, and how often it is repeated, separated by commas.
type Part = (String, usize);

type Script = dyn Fn(&str) -> Vec<Part> + Send + Sync;

/// A node that generates its answers while it sends them. It ends with the test's process.
fn node(script: impl Fn(&str) -> Vec<Part> + Send + Sync + 'static) -> NodeClient {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let script: Arc<Script> = Arc::new(script);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let script = Arc::clone(&script);
            std::thread::spawn(move || drop(serve(stream, &*script)));
        }
    });
    NodeClient::new(&url, NodeOptions::default()).unwrap()
}

fn serve(stream: TcpStream, script: &Script) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let mut out = std::io::BufWriter::new(stream);
    out.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
    for (text, times) in script(&path) {
        for time in 0..times {
            if time > 0 {
                out.write_all(b",")?;
            }
            out.write_all(text.as_bytes())?;
        }
    }
    out.flush()
}

fn stored(to: &str, payload: &str) -> String {
    format!(
        r#"{{"amount":1,"chain_id":"ait-test","fee":10,"from":"a","nonce":1,"payload":"{payload}","signature":null,"to":"{to}"}}"#
    )
}

fn hash_of(text: &str) -> TransactionHash {
    StoredTransaction::parse(text.as_bytes(), Limits::default())
        .unwrap()
        .hash()
}

fn row(to: &str, payload: &str) -> String {
    let stored = stored(to, payload);
    let hash = hash_of(&stored);
    format!(r#"{{"tx_hash":"{hash}","sender":"a","recipient":"{to}","payload":{stored}}}"#)
}

/// A chain of two blocks. The second one has these rows and one to `me`.
fn chain_with(rows: Part) -> NodeClient {
    let count = rows.1 + 1;
    node(move |path| {
        let block = |height: u8, count: usize| {
            let hash = format!("0x{}", format!("{height:02x}").repeat(32));
            format!(r#""height":{height},"hash":"{hash}","timestamp":"t","tx_count":{count}"#)
        };
        let one = |text: String| (text, 1);
        let first = format!(r#"{{{},"transactions":[]}}"#, block(0, 0));
        let second = || {
            vec![
                one(format!(r#"{{{},"transactions":["#, block(1, count))),
                rows.clone(),
                one(format!(",{}]}}", row("me", "hello"))),
            ]
        };
        let mut parts = Vec::new();
        if path == "/rpc/head" {
            parts.push(one(format!("{{{}}}", block(1, count))));
        } else if path == "/rpc/blocks/1" {
            parts.extend(second());
        } else {
            parts.push(one(r#"{"success":true,"blocks":["#.to_owned()));
            if path.contains("start=0") {
                parts.push(one(first));
            }
            if path.contains("start=0") && path.contains("end=1") {
                parts.push(one(",".to_owned()));
            }
            if path.contains("end=1") {
                parts.extend(second());
            }
            parts.push(one(r#"],"count":1}"#.to_owned()));
        }
        parts
    })
}

struct ToMe;

impl Interest for ToMe {
    fn wants(&self, _: &str, to: &str) -> bool {
        to == "me"
    }
}

/// Reads everything. Returns the events, and the peak of memory.
fn read(source: &mut dyn ChainSource) -> (Vec<ChainEvent>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut cursor = source.begin(Start::Height(BlockHeight(0))).await.unwrap();
        let mut events = Vec::new();
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < LIMIT, "read up to {:?}", cursor.height());
            match source.read(&cursor, Arc::new(ToMe), 500).await {
                Ok(batch) => {
                    events.extend(batch.events);
                    cursor = batch.cursor;
                    if cursor.height() == Some(BlockHeight(1)) && !batch.more {
                        break;
                    }
                }
                // An answer of this size takes longer than the first wait.
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            // A source that leaves the node alone for a while says so at once.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (events, MEMORY.peak_usage().saturating_sub(before))
    })
}

fn rpc(node: NodeClient) -> RpcSource {
    RpcSource::new(node, "ait-test".parse().unwrap(), RpcOptions::default())
}

/// How many transactions were delivered, how many cannot be decoded, and how many events report
/// those.
fn counts(events: &[ChainEvent]) -> (usize, u64, usize) {
    let mut counts = (0, 0, 0);
    for event in events {
        match event {
            ChainEvent::Transaction(_) => counts.0 += 1,
            ChainEvent::Undecodable { count, first, .. } => {
                assert!(!first.is_empty() && first.len() <= 500);
                counts.1 += count;
                counts.2 += 1;
            }
            _ => {}
        }
    }
    counts
}

#[test]
fn a_block_of_a_million_rows_that_are_none() {
    let _alone = ALONE.blocking_lock();
    let (events, peak) = read(&mut rpc(chain_with(("1".to_owned(), 1_000_000))));
    assert_eq!(counts(&events), (1, 1_000_000, 1));
    assert!(peak < MOST, "{peak} bytes");
}

#[test]
fn a_block_of_sixty_megabytes() {
    let _alone = ALONE.blocking_lock();
    let foreign = row("other", &"x".repeat(1_000_000));
    let (events, peak) = read(&mut rpc(chain_with((foreign, 60))));
    assert_eq!(counts(&events), (1, 0, 0));
    assert!(peak < MOST, "{peak} bytes");
    // Wanted transactions are kept up to a bound; above it the block is a gap.
    let mine = row("me", &"x".repeat(1_000_000));
    let (events, peak) = read(&mut rpc(chain_with((mine, 60))));
    assert_eq!(counts(&events).0, 17, "16 of them, and the short one");
    let is_gap = |event: &ChainEvent| matches!(event, ChainEvent::Gap { .. });
    assert!(events.iter().any(is_gap));
    assert!(peak < 2 * MOST, "{peak} bytes");
}

#[tokio::test]
async fn a_mempool_of_any_length() {
    let _alone = ALONE.lock().await;
    for (item, count) in [
        ("1".to_owned(), 1_000_000),
        (stored("b", &"x".repeat(900_000)), 100),
    ] {
        let wanted = stored("b", "wanted");
        let last = wanted.clone();
        let node = node(move |_| {
            let all = count + 1;
            vec![
                (r#"{"success":true,"transactions":["#.to_owned(), 1),
                (item.clone(), count),
                (format!(r#",{last}],"count":{all}}}"#), 1),
            ]
        });
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let found = node.find_pending(&hash_of(&wanted), 10_000_000).await;
        assert!(found.unwrap().is_some());
        let hashes = node.mempool_hashes().await;
        match hashes {
            Ok(hashes) => assert!(hashes.contains(&hash_of(&wanted))),
            // The node lists more than the limit.
            Err(error) => panic!("{error}"),
        }
        let peak = MEMORY.peak_usage().saturating_sub(before);
        assert!(peak < MOST, "{peak} bytes");
    }
}

#[tokio::test]
async fn small_answers_that_are_large_are_refused() {
    let _alone = ALONE.lock().await;
    let node = node(|_| {
        vec![
            (r#"{"height":1,"hash":""#.to_owned(), 1),
            ("x".repeat(1_000_000), 5),
            (r#""}"#.to_owned(), 1),
        ]
    });
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let head = node.head().await.unwrap_err();
    assert!(matches!(head, NodeError::TooLarge { .. }), "{head}");
    let account = node.account(&Address::from_chain("ait1a").unwrap()).await;
    assert!(matches!(account, Err(NodeError::TooLarge { .. })));
    let block = node.block(BlockHeight(1)).await.unwrap_err();
    assert!(matches!(block, NodeError::Unreadable { .. }), "{block}");
    let peak = MEMORY.peak_usage().saturating_sub(before);
    assert!(peak < MOST, "{peak} bytes");
}

/// Rows of 100 MB, in any column: SQLite itself may use 40 MB in total.
#[test]
fn rows_of_a_database_of_any_size() {
    let _alone = ALONE.blocking_lock();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chain.db");
    let writer = rusqlite::Connection::open(&path).unwrap();
    writer
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
             CREATE TABLE block (id INTEGER PRIMARY KEY, chain_id, height, hash, parent_hash,
                 proposer, timestamp, tx_count, state_root, block_metadata,
                 UNIQUE (chain_id, height));
             CREATE TABLE \"transaction\" (id INTEGER PRIMARY KEY, chain_id, tx_hash, block_height,
                 sender, recipient, payload, created_at, nonce, value, fee, status, timestamp,
                 tx_metadata);
             CREATE INDEX ix_transaction_block_height ON \"transaction\" (block_height);
             INSERT INTO block (chain_id, height, hash, tx_count) VALUES ('ait-test', 0, '0x00', 0);
             INSERT INTO block (chain_id, height, hash, timestamp, tx_count, block_metadata)
                 VALUES ('ait-test', 1, '0x01', zeroblob(100000000), 9, zeroblob(100000000));",
        )
        .unwrap();
    let insert = |columns: &str, values: &str| {
        let sql = format!(
            "INSERT INTO \"transaction\" (chain_id, block_height, {columns})
             VALUES ('ait-test', 1, {values})"
        );
        writer.execute(&sql, []).unwrap();
    };
    let good = stored("me", "hello");
    let large = "CAST(zeroblob(100000000) AS TEXT)";
    insert("payload, sender, recipient", &format!("{large}, 'a', 'me'"));
    insert(
        "payload, sender, recipient",
        &format!("'{good}', {large}, 'me'"),
    );
    insert(
        "payload, tx_hash, recipient",
        &format!("'{good}', {large}, 'me'"),
    );
    insert(
        "payload, tx_metadata, sender, recipient",
        &format!("'{good}', {large}, 'a', 'me'"),
    );
    writer
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA shrink_memory; PRAGMA hard_heap_limit = 40000000;")
        .unwrap();
    let options = ChainDbOptions::default();
    let mut source = ChainDb::open(&path, "ait-test".parse().unwrap(), options).unwrap();
    let (events, peak) = read(&mut source);
    assert_eq!(counts(&events), (3, 2, 1), "the payload, and the metadata");
    assert!(peak < MOST, "{peak} bytes");
}
