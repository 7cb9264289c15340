//! Damaged stores: the damage is found on opening and named, and never read as something else.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentry_core::commit::{CardSeen, Handled, Observation, Outcome, Step, TimerSetting};
use agentry_core::rows::{EventRef, ReceiptRequest};
use agentry_core::state::drafts::QueueTurn;
use agentry_core::state::due::Turn;
use agentry_core::{AgentId, Commit, InboxId, State, TaskStart, record};
use agentry_protocol::{BlockHash, BlockHeight, Timestamp, TransactionHash};
use agentry_store::check::{Depth, Seen, at_rest, check};
use agentry_store::read;
use agentry_store::{Condition, Store, StoreError, open_for_a_look, open_for_reading};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use super::{address, arrival, draft, key, prepared};

/// The size of a page of the store.
const PAGE: usize = 4_096;

/// How long checking one of these stores may take: far longer than it does.
const LIMIT: Duration = Duration::from_secs(60);

const AGENT: AgentId = AgentId(1);

/// A closed store in which every table has rows.
async fn rich() -> (tempfile::TempDir, PathBuf) {
    let (dir, store, agents) = super::store(3).await;
    let path = store.path().to_owned();
    fill(&store, &agents).await;
    drop(store);
    (dir, path)
}

async fn fill(store: &Store, agents: &[AgentId]) {
    let commit = |commit| async { store.commit(commit).await.unwrap() };
    commit(Commit::Identify {
        chain_id: "ait-devnet".parse().unwrap(),
        genesis: BlockHash::of(b"genesis"),
    })
    .await;
    let mut steps = Vec::new();
    for (index, agent) in agents.iter().enumerate() {
        let to = u8::try_from(index + 1).unwrap();
        for message in 0..40_u8 {
            let text = format!("message {message} to {to}, {}", "and so on ".repeat(9));
            let height = u64::from(message) + 1;
            steps.push(Step::Arrival(arrival(
                *agent,
                to,
                20 + message % 7,
                &text,
                height,
            )));
        }
        let (public_key, hash) = (key(to).public_key(), TransactionHash::of(&[to]));
        steps.push(Step::Card(CardSeen {
            address: address(to),
            hash,
            height: BlockHeight(3),
            public_key,
            card: None,
            expires_at: Timestamp::EPOCH,
            announced_at: Timestamp::new(5),
        }));
        steps.push(Step::Gap {
            height: BlockHeight(100 + u64::from(to)),
            reason: "it cannot be served".to_owned(),
        });
    }
    let mut forged = arrival(agents[0], 1, 30, "not from me", 9);
    forged.authenticity = agentry_core::Authenticity::Forged;
    steps.push(Step::Arrival(forged));
    commit(Commit::Observe(Observation {
        steps,
        cursor: cursor(),
        final_through: None,
        catching_up: None,
        at: Timestamp::new(1_000),
    }))
    .await;
    for row in 1..=30_i64 {
        let reply = draft(&format!("inbox/{row}/pong/0"), 9, &format!("reply {row}"));
        let mut reply = reply;
        reply.receipt = (row % 4 == 0).then(|| ReceiptRequest {
            behaviour: Some("pong".to_owned()),
            label: Some(format!("label {row}")),
            wanted: Some("done".to_owned()),
            within_ms: 60_000,
            resends: 2,
        });
        let signed = (row % 3 != 0).then(|| prepared(1, &reply, row.unsigned_abs()));
        commit(Commit::Outcome(Outcome {
            behaviour: Some("pong".to_owned()),
            sends: vec![(reply, signed)],
            state: vec![(
                format!("key {row}"),
                Some(json!({ "count": row, "said": "hello" })),
            )],
            timers: vec![(
                format!("timer {row}"),
                Some(TimerSetting {
                    due_at: Timestamp::new(5_000),
                    data: json!({ "round": row }),
                }),
            )],
            tasks: vec![TaskStart {
                key: format!("task {row}"),
                kind: "chat".to_owned(),
                input: json!({ "prompt": format!("what is {row}?") }),
                deadline: Some(Timestamp::new(9_000)),
            }],
            handled: (row % 2 == 0).then(Handled::default),
            ..Outcome::nothing(EventRef::Inbox(InboxId(row)), 0, Timestamp::new(2_000))
        }))
        .await;
    }
}

/// A position in the form in which the watcher stores it.
fn cursor() -> serde_json::Value {
    json!({
        "version": 1, "kind": "rpc", "genesis": null, "tip": null, "trail": "", "gaps": [],
        "origin": { "height": 0, "lowers": false },
        "transactions": { "id": 0, "print": 0 },
        "blocks": { "id": 0, "print": 0 },
    })
}

/// The whole content of a store, table by table.
fn dump(path: &Path) -> rusqlite::Result<String> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut text = String::new();
    let mut tables =
        db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for table in tables {
        let mut statement = db.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2"))?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            text.push_str(&table);
            for column in 0..columns {
                text.push_str(&format!("|{:?}", row.get_ref(column)?));
            }
            text.push('\n');
        }
    }
    Ok(text)
}

/// The result of opening a store, as a start and as `doctor` open it.
fn opened(path: &Path) -> Result<(), StoreError> {
    let doctor = at_rest(path).and_then(|()| {
        let db = open_for_a_look(path)?;
        assert_eq!(check(&db, path, Depth::All, LIMIT)?, Seen::Whole);
        Ok(())
    });
    let before = files(path);
    let start = Store::open_checked(path, LIMIT);
    match (start, doctor) {
        (Ok(_), Ok(())) => Ok(()),
        (Err(start), doctor) => {
            // `doctor` finds every damage that a start finds.
            let damaged = matches!(start, StoreError::Broken { .. } | StoreError::Value(_));
            assert!(doctor.is_err() || !damaged, "doctor finds nothing: {start}");
            assert!(
                start.to_string().contains("agentry.db"),
                "it is named: {start}"
            );
            assert_eq!(
                files(path),
                before,
                "a store that is refused is not touched"
            );
            Err(start)
        }
        (Ok(_), Err(found)) => Err(found),
    }
}

/// The store and its log, byte for byte.
fn files(path: &Path) -> [Option<Vec<u8>>; 2] {
    let log = path.with_file_name("agentry.db-wal");
    [fs::read(path).ok(), fs::read(log).ok()]
}

fn broken(path: &Path, part: &str) {
    let error = opened(path).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(part), "{part:?} is not in {text:?}");
}

#[tokio::test]
async fn an_undamaged_store_passes_the_check() {
    let (_dir, path) = rich().await;
    opened(&path).unwrap();
    // Opened and closed several times, and read in between.
    let db = open_for_reading(&path).unwrap();
    opened(&path).unwrap();
    drop(db);
    opened(&path).unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_a_store_is_refused_and_named() {
    let (dir, path) = rich().await;
    let whole = fs::read(&path).unwrap();
    let sums = dir.path().join("agentry.db.sums");
    let write = |bytes: &[u8]| fs::write(&path, bytes).unwrap();

    write(b"");
    broken(&path, "its file is empty");
    write(
        b"this is not a database, and long enough to be looked at. "
            .repeat(20)
            .as_slice(),
    );
    broken(&path, "not a database");
    for length in [
        1,
        99,
        100,
        4_096,
        5_000,
        whole.len() / 2,
        whole.len() - 4_096,
        whole.len() - 1,
    ] {
        write(&whole[..length]);
        assert!(opened(&path).is_err(), "cut to {length} bytes");
    }
    // The same without the checksums of its pages.
    let kept = fs::read(&sums).unwrap();
    fs::remove_file(&sums).unwrap();
    for length in [
        1,
        99,
        100,
        4_096,
        5_000,
        whole.len() / 2,
        whole.len() - 4_096,
    ] {
        write(&whole[..length]);
        assert!(opened(&path).is_err(), "cut to {length} bytes");
    }
    fs::write(&sums, kept).unwrap();
    for (at, byte) in [(0, b'X'), (16, 3), (18, 9), (28, 1), (47, 9), (100, 7)] {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        write(&bytes);
        assert!(opened(&path).is_err(), "byte {at} of the header");
    }
    fs::remove_file(&path).unwrap();
    fs::write(dir.path().join("agentry.db-wal"), [1; 99]).unwrap();
    broken(&path, "its file is gone");
    fs::remove_file(dir.path().join("agentry.db-wal")).unwrap();
    fs::create_dir(&path).unwrap();
    broken(&path, "directory");
}

#[tokio::test]
async fn an_impossible_value_is_named_by_table_row_and_column() {
    for (change, named) in [
        (
            "UPDATE inbox SET state = 'waitinh' WHERE id = 3",
            "inbox 3: column \"state\"",
        ),
        (
            "UPDATE inbox SET authenticity = 'proven' WHERE id = 35",
            "inbox 35: column \"authenticity\"",
        ),
        (
            "UPDATE inbox SET stored = replace(stored, 'message', 'massage') WHERE id = 31",
            "inbox 31: column \"stored\" has the digest",
        ),
        (
            "UPDATE inbox SET stored = '{' WHERE id = 31",
            "inbox 31: column \"stored\"",
        ),
        (
            "UPDATE inbox SET sender = 'nobody' WHERE id = 31",
            "inbox 31: column \"stored\" is from",
        ),
        (
            "UPDATE inbox SET due_at = -1 WHERE id = 31",
            "inbox 31: column \"due_at\" holds -1",
        ),
        (
            "UPDATE inbox SET re = x'07' WHERE id = 31",
            "inbox 31: column \"re\" holds 1 bytes, not 32",
        ),
        (
            "UPDATE outbox SET state = 'gone' WHERE id = 4",
            "outbox 4: column \"state\"",
        ),
        (
            "UPDATE outbox SET recipient = 'x' WHERE id = 4",
            "outbox 4: column \"body\" differs from column \"recipient\"",
        ),
        (
            "UPDATE outbox SET amount = -5 WHERE id = 4",
            "outbox 4: column \"amount\"",
        ),
        (
            "UPDATE outbox SET amount = 7 WHERE id = 4",
            "outbox 4: column \"body\" differs from column \"amount\"",
        ),
        (
            "UPDATE outbox SET hash = x'00' WHERE id = 4",
            "outbox 4: column \"hash\" holds 1 bytes, not 32",
        ),
        (
            "UPDATE outbox SET body = replace(body, 'reply 4', 'reply 5') WHERE id = 4",
            "outbox 4: column \"body\"",
        ),
        (
            "UPDATE outbox SET payload = '{' WHERE id = 3",
            "outbox 3: column \"payload\"",
        ),
        (
            "UPDATE outbox SET held = 2 WHERE id = 3",
            "outbox 3: column \"held\"",
        ),
        (
            "UPDATE outbox SET message_id = x'07' WHERE id = 3",
            "outbox 3: column \"message_id\"",
        ),
        (
            "UPDATE event SET kind = 'timber' WHERE id = 2",
            "event 2: column \"kind\"",
        ),
        (
            "UPDATE event SET state = 'x' WHERE id = 2",
            "event 2: column \"state\"",
        ),
        (
            "UPDATE event SET data = 'x' WHERE id = 2",
            "event 2: column \"data\"",
        ),
        (
            "UPDATE task SET state = 'done' WHERE id = 2",
            "task 2: column \"state\"",
        ),
        (
            "UPDATE task SET input = '' WHERE id = 2",
            "task 2: column \"input\"",
        ),
        (
            "UPDATE task SET submitter = '' WHERE id = 2",
            "task 2: column \"submitter\"",
        ),
        ("UPDATE receipt SET state = 'maybe'", "column \"state\""),
        ("UPDATE receipt SET wanted = 'read'", "column \"wanted\""),
        (
            "UPDATE state SET value = 'x' WHERE key = 'key 9'",
            "state 1/pong/key 9: column \"value\"",
        ),
        (
            "UPDATE agent SET address = '' WHERE id = 2",
            "agent 2: column \"address\"",
        ),
        (
            "UPDATE card SET public_key = zeroblob(32) WHERE id = 2",
            "card 2: column \"public_key\"",
        ),
        (
            "UPDATE card SET card = '{}' WHERE id = 2",
            "card 2: column \"card\"",
        ),
        ("UPDATE forged SET stored = 'x'", "column \"stored\""),
        (
            "UPDATE meta SET value = '{' WHERE key = 'cursor'",
            "meta cursor: column \"value\"",
        ),
        (
            "UPDATE meta SET value = 'x' WHERE key = 'genesis'",
            "meta genesis: column \"value\"",
        ),
        (
            "UPDATE meta SET value = '' WHERE key = 'chain_id'",
            "meta chain_id: column \"value\"",
        ),
        (
            "DROP INDEX inbox_waiting",
            "index inbox_waiting differs from its definition",
        ),
        (
            "PRAGMA foreign_keys = OFF; DELETE FROM agent WHERE id = 3",
            "refers to a missing row of agent",
        ),
        (
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, '''waiting''', '''waitinh''') WHERE name = 'inbox_waiting'",
            "index inbox_waiting differs from its definition",
        ),
    ] {
        let (_dir, path) = rich().await;
        let db = unchecked(&path);
        db.execute_batch(change).unwrap();
        drop(db);
        let error = opened(&path).expect_err(change);
        let text = error.to_string();
        assert!(
            text.contains(named),
            "{change}: {named:?} is not in {text:?}"
        );
    }
}

/// A connection to a store that lets impossible values in.
fn unchecked(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.pragma_update(None, "ignore_check_constraints", true)
        .unwrap();
    db
}

/// A program that changes a store by hand cannot leave words in it that agentry does not know.
#[tokio::test]
async fn an_impossible_word_is_refused() {
    let (_dir, path) = rich().await;
    let db = Connection::open(&path).unwrap();
    for change in [
        "UPDATE inbox SET state = 'wating'",
        "UPDATE inbox SET priority = 2",
        "UPDATE inbox SET authenticity = 'verified', standing = 'unverified'",
        "UPDATE outbox SET state = 'sent'",
        "UPDATE outbox SET fee = -1",
        "UPDATE event SET kind = 'timber'",
        "UPDATE task SET state = 'done'",
        "UPDATE spending SET standing = 'friend'",
        "UPDATE usage SET kind = 'messages'",
    ] {
        let refused = db.execute(change, []).expect_err(change);
        assert!(
            refused.to_string().contains("CHECK constraint"),
            "{change}: {refused}"
        );
    }
}

/// SQLite's own check does not report entries of an index that belong to no row.
#[tokio::test]
async fn entries_of_an_index_without_a_row_are_found() {
    let (_dir, path) = rich().await;
    let at = |name: &str| -> usize {
        let db = Connection::open(&path).unwrap();
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        let page: u32 = db.query_row(sql, [name], |row| row.get(0)).unwrap();
        (page as usize - 1) * PAGE
    };
    let (one, other) = (at("receipt_due"), at("progress"));
    let mut bytes = fs::read(&path).unwrap();
    let page = bytes[other..other + PAGE].to_vec();
    bytes[one..one + PAGE].copy_from_slice(&page);
    fs::write(&path, &bytes).unwrap();
    let db = open_for_a_look(&path).unwrap();
    check(&db, &path, Depth::All, LIMIT).unwrap_err();
}

/// A runtime that reads an impossible value gets an error instead of another value.
#[tokio::test]
async fn an_impossible_value_is_an_error_wherever_it_is_read() {
    let (_dir, path) = rich().await;
    let db = unchecked(&path);
    db.execute_batch(
        "UPDATE inbox SET stored = '{' WHERE agent = 1;
         UPDATE inbox SET standing = 'friend' WHERE agent = 2;
         UPDATE task SET state = 'done';
         UPDATE outbox SET message_id = x'07' WHERE state = 'queued'",
    )
    .unwrap();
    drop(db);
    let store = Store::open(&path).unwrap();
    let condition = store.condition();
    // Open rows are read at once, and left out.
    let reason = condition.borrow().clone();
    assert!(
        matches!(&reason, Condition::Spoiled(what) if what.contains("message_id")),
        "{reason:?}"
    );
    let due = async |agent| {
        let due = store.query(move |state| {
            let (turn, far) = (&mut Turn::default(), BlockHeight(1_000));
            state.due(AgentId(agent), Timestamp::new(10_000), far, turn, 8)
        });
        let messages = due.await?.messages.into_iter();
        let read = messages.map(|message| store.report(read::due_message(&message)));
        read.collect::<Result<Vec<_>, _>>()
    };
    let value = |error: Option<StoreError>, part: &str| {
        let error = error.expect("it is refused");
        assert!(matches!(error, StoreError::Value(_)), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    value(due(1).await.err(), "inbox 1");
    value(
        store
            .read(|db| read::task(db, agentry_core::TaskId(1)))
            .await
            .err(),
        "state",
    );
    assert!(due(2).await.unwrap().is_empty());
    let queued = |state: &State| state.queued(&QueueTurn::default(), false, &HashSet::new(), 9);
    assert!(store.query(queued).await.unwrap().is_empty());
    // What does not need the value continues.
    store.commit(Commit::Resume).await.unwrap();
    store.read(read::agents).await.unwrap();
    assert!(matches!(&*condition.borrow(), Condition::Spoiled(_)));
}

/// Bytes are flipped, zeroed, swapped and cut off at random places. Damage that is not found has
/// not changed the content of the store.
#[tokio::test]
async fn damage_is_found_or_changes_nothing() {
    let seed = std::env::var("AGENTRY_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| rand::rng().next_u64());
    println!("AGENTRY_TEST_SEED={seed}");
    let mut dice = SmallRng::seed_from_u64(seed);
    let (dir, path) = rich().await;
    let whole = fs::read(&path).unwrap();
    let sums = fs::read(dir.path().join("agentry.db.sums")).unwrap();
    let before = dump(&path).unwrap();
    let (mut found, mut harmless) = (0, 0);
    for round in 0..150 {
        let mut bytes = whole.clone();
        let what = harm(&mut bytes, &mut dice);
        fs::write(&path, &bytes).unwrap();
        fs::write(dir.path().join("agentry.db.sums"), &sums).unwrap();
        match opened(&path) {
            Err(_) => found += 1,
            Ok(()) => {
                harmless += 1;
                let after = dump(&path).unwrap();
                assert_eq!(after, before, "round {round}: {what}");
            }
        }
        for name in ["agentry.db-wal", "agentry.db-shm", "agentry.db-journal"] {
            drop(fs::remove_file(dir.path().join(name)));
        }
    }
    println!("{found} were found, {harmless} changed nothing");
    assert!(found > 100, "{found} of 150 were found");
}

/// The same without the checksums of the pages, as after a killed process: opening returns, and
/// every value of a store that is found undamaged can be read as its type.
#[tokio::test]
async fn a_damaged_store_without_sums_is_named_or_can_be_read() {
    let seed = rand::rng().next_u64();
    println!("seed {seed}");
    let mut dice = SmallRng::seed_from_u64(seed);
    let (dir, path) = rich().await;
    let whole = fs::read(&path).unwrap();
    let (mut found, mut left) = (0, 0);
    for _ in 0..150 {
        let mut bytes = whole.clone();
        let what = harm(&mut bytes, &mut dice);
        fs::write(&path, &bytes).unwrap();
        for name in ["sums", "db-wal", "db-shm", "db-journal"] {
            drop(fs::remove_file(dir.path().join(format!("agentry.{name}"))));
        }
        drop(fs::remove_file(dir.path().join("agentry.db.sums")));
        match opened(&path) {
            Err(_) => found += 1,
            Ok(()) => {
                left += 1;
                let store = Store::open(&path).unwrap();
                let due = store.query(|state| {
                    let (turn, far) = (&mut Turn::default(), BlockHeight(1_000));
                    state.due(AGENT, Timestamp::new(10_000), far, turn, 8)
                });
                let due = due.await.unwrap_or_else(|error| panic!("{what}: {error}"));
                for message in due.messages {
                    read::due_message(&message).unwrap_or_else(|error| panic!("{what}: {error}"));
                }
            }
        }
    }
    println!("{found} were found, {left} can be read");
}

/// Damages the bytes of a file, and returns a description of the damage.
fn harm(bytes: &mut Vec<u8>, dice: &mut SmallRng) -> String {
    let at = dice.random_range(0..bytes.len());
    match dice.random_range(0..10) {
        0 => {
            let page = at / 4_096 * 4_096;
            bytes[page..page + 4_096].fill(0);
            format!("the page at {page} is zeroed")
        }
        1 => {
            let (one, other) = (
                at / 4_096 * 4_096,
                dice.random_range(0..bytes.len()) / 4_096 * 4_096,
            );
            for offset in 0..4_096 {
                bytes.swap(one + offset, other + offset);
            }
            format!("the pages at {one} and {other} changed places")
        }
        2 => {
            bytes.truncate(at);
            format!("it is cut off at {at}")
        }
        3 => {
            let end = (at + dice.random_range(2..64)).min(bytes.len());
            dice.fill_bytes(&mut bytes[at..end]);
            format!("bytes {at} to {end} are random")
        }
        _ => {
            let bit = 1 << dice.random_range(0..8);
            bytes[at] ^= bit;
            format!("bit {bit:#x} of byte {at} is flipped")
        }
    }
}

/// The pages of a store whose process was killed have no checksums, but the records of its log do.
#[tokio::test]
async fn a_flipped_bit_in_a_record_of_the_log_is_named() {
    let (_dir, path) = rich().await;
    let position = "SELECT value FROM meta WHERE key = 'position'";
    let last = unchecked(&path).query_row(position, [], |row| row.get::<_, String>(0));
    let place = last.unwrap().parse::<u64>().unwrap() + 1;
    let lay = |record: &str| {
        let lay = "INSERT OR REPLACE INTO log (position, record) VALUES (?1, ?2)";
        let place = i64::try_from(place).unwrap();
        unchecked(&path).execute(lay, (place, record)).unwrap();
    };
    let reason = "posting stops here".to_owned();
    let record = record::encode(place, &[&Commit::Halt { reason }]).unwrap();
    for at in [0, 63, 64, record.len() - 20, record.len() - 1] {
        let mut flipped = record.clone().into_bytes();
        flipped[at] ^= 1;
        lay(&String::from_utf8(flipped).unwrap());
        let error = opened(&path).expect_err("the log is damaged").to_string();
        for part in [&format!("log {place}"), "checksum", "Restore a backup"] {
            assert!(error.contains(part), "{at}: {error}");
        }
    }
    lay(&record);
    opened(&path).unwrap();
}

/// A log that is cut off in the middle would undo stored changes.
#[tokio::test]
async fn a_damaged_log_is_found_and_a_torn_one_is_not() {
    let (dir, store, agents) = super::store(3).await;
    let path = store.path().to_owned();
    fill(&store, &agents).await;
    // The files as a killed process leaves them.
    let (main, log) = (
        fs::read(&path).unwrap(),
        fs::read(path.with_extension("db-wal")).unwrap(),
    );
    drop(store);
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("agentry.db");
    let wal = copy.path().join("agentry.db-wal");
    let lay = |log: &[u8]| {
        for file in fs::read_dir(copy.path()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        fs::write(&path, &main).unwrap();
        fs::write(&wal, log).unwrap();
    };
    lay(&log);
    opened(&path).unwrap();
    // A last transaction that did not reach the disk completely.
    lay(&log[..log.len() - 1_000]);
    opened(&path).unwrap();
    for at in [3, 20, 40, 5_000, log.len() / 2] {
        lay(&log);
        let file = fs::OpenOptions::new().write(true).open(&wal).unwrap();
        file.write_all_at(&[log[at] ^ 0x10], at as u64).unwrap();
        drop(file);
        let error = opened(&path).expect_err("the log is damaged");
        assert!(
            error.to_string().contains("agentry.db-wal"),
            "{at}: {error}"
        );
    }
    drop(dir);
}

/// The log of one store beside the file of another: SQLite would mix them.
#[tokio::test]
async fn a_log_of_another_store_is_refused() {
    let laid = async |messages: u8| {
        let (dir, store, agents) = super::store(3).await;
        fill(&store, &agents).await;
        let path = store.path().to_owned();
        drop(store);
        let closed = fs::read(&path).unwrap();
        let store = Store::open(&path).unwrap();
        for message in 0..messages {
            let arrival = arrival(agents[0], 1, 50, &format!("later {message}"), 90);
            let steps = vec![Step::Arrival(arrival)];
            let seen = Commit::Observe(Observation {
                steps,
                cursor: cursor(),
                final_through: None,
                catching_up: None,
                at: Timestamp::new(1_000),
            });
            store.commit(seen).await.unwrap();
        }
        let (main, log) = (
            fs::read(&path).unwrap(),
            fs::read(path.with_extension("db-wal")).unwrap(),
        );
        drop(store);
        drop(dir);
        (closed, main, log)
    };
    let (one, other) = (laid(3).await, laid(5).await);
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("agentry.db");
    let lay = |main: &[u8], log: &[u8]| {
        for file in fs::read_dir(copy.path()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        fs::write(&path, main).unwrap();
        fs::write(path.with_extension("db-wal"), log).unwrap();
    };
    // The files as after a killed process.
    lay(&one.1, &one.2);
    opened(&path).unwrap();
    for main in [&other.1, &other.0] {
        lay(main, &one.2);
        broken(&path, "agentry.db-wal belongs to another store");
    }
}

/// A restored backup, and a store that was changed with SQLite, are not damaged.
#[tokio::test]
async fn intended_changes_are_not_damage() {
    let (dir, path) = rich().await;
    let copy = fs::read(&path).unwrap();
    let store = Store::open(&path).unwrap();
    store
        .commit(Commit::Halt {
            reason: "x".to_owned(),
        })
        .await
        .unwrap();
    drop(store);
    fs::write(&path, copy).unwrap();
    opened(&path).unwrap();
    assert!(dir.path().join("agentry.db.sums").exists());
    for change in [
        "VACUUM",
        "UPDATE agent SET name = 'other' WHERE id = 1",
        "ANALYZE",
    ] {
        let db = Connection::open(&path).unwrap();
        db.execute_batch(change).unwrap();
        drop(db);
        opened(&path).unwrap_or_else(|error| panic!("{change}: {error}"));
    }
}
