//! `cargo bench -p agentry-store --bench commits`: what it costs to make a message and its answer
//! durable, beside the same bytes in two plain tables of SQLite.
//!
//! `AGENTRY_BENCH_MESSAGES` sets the number of messages, 20,000 by default.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::path::Path;
use std::time::{Duration, Instant};

use agentry_core::commit::{Arrival, Handled, HostedAgent, Observation, Outcome, PostResult, Step};
use agentry_core::rows::{Draft, EventRef, Prepared};
use agentry_core::{AgentId, Authenticity, Commit, InboxId, OutboxId};
use agentry_protocol::{
    Address, Amount, BlockHeight, ChainId, Dialect, Json, Nonce, Number, Seed, SigningKey,
    Timestamp, Transaction,
};
use agentry_store::Store;

/// How many messages one observation holds.
const BLOCK: usize = 100;

/// How many commits are under way at the same time.
const WINDOW: usize = 512;

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

fn address(byte: u8) -> Address {
    Address::from_public_key(&key(byte).public_key())
}

fn transaction(from: u8, to: u8, nonce: u64, text: &str) -> agentry_protocol::SignedTransaction {
    Transaction {
        dialect: Dialect::April2026,
        from: address(from),
        to: address(to),
        amount: Number::from(0_u64),
        fee: Number::from(10_u64),
        nonce: Number::from(nonce),
        payload: Json::string(text),
        chain_id: "ait-devnet".parse::<ChainId>().unwrap(),
    }
    .sign(&key(from))
}

/// The commits of one message and its answer.
struct Exchange {
    arrival: Arrival,
    answer: Outcome,
    posted: Commit,
    mined: Step,
    /// What the two transactions take as bytes.
    bytes: [String; 2],
}

fn exchange(agent: AgentId, number: i64) -> Exchange {
    let nonce = number.unsigned_abs();
    let height = BlockHeight(10 + nonce / BLOCK as u64);
    let asked = transaction(2, 1, nonce, &format!("message {number}"));
    let stored = asked.stored();
    let arrival = Arrival::new(
        agent,
        asked.hash(),
        &stored,
        height,
        Authenticity::Verified,
        Timestamp::new(1_000),
    );
    let text = format!("answer {number}");
    let signed = transaction(1, 2, nonce, &text);
    let origin = format!("message/{number}/pong/0");
    let draft = Draft::new(origin, address(2), Amount(10), Json::string(&text));
    let prepared = Prepared {
        nonce: Nonce::new(nonce),
        hash: signed.hash(),
        digest: signed.digest(),
        body: signed.body(),
        since: height,
        day: 20_000,
    };
    let bytes = [arrival.stored.clone(), prepared.body.clone()];
    Exchange {
        mined: Step::Sighting {
            agent,
            hash: prepared.hash,
            own: None,
            height: BlockHeight(height.0 + 1),
            block_hash: None,
        },
        answer: Outcome {
            behaviour: Some("pong".to_owned()),
            sends: vec![(draft, Some(prepared))],
            handled: Some(Handled::default()),
            ..Outcome::nothing(EventRef::Inbox(InboxId(number)), 0, Timestamp::new(2_000))
        },
        posted: Commit::Post {
            id: OutboxId(number),
            result: PostResult::Accepted,
            at: Timestamp::new(3_000),
        },
        arrival,
        bytes,
    }
}

fn observe(steps: Vec<Step>, height: u64) -> Commit {
    Commit::Observe(Observation {
        steps,
        cursor: serde_json::json!({ "height": height }),
        final_through: height.checked_sub(12).map(BlockHeight),
        catching_up: None,
        at: Timestamp::new(1_000 + height),
    })
}

/// Commits all, as many at the same time as the runtime would, and returns how long it took.
async fn commit(store: &Store, commits: Vec<Commit>) -> Duration {
    let began = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for commit in commits {
        if running.len() == WINDOW {
            running.join_next().await.unwrap().unwrap();
        }
        let store = store.clone();
        running.spawn(async move {
            store.commit(commit).await.unwrap();
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    began.elapsed()
}

/// The same bytes in two tables, in transactions as large as the store's.
fn plain(path: &Path, exchanges: &[[String; 2]]) -> Duration {
    let mut db = rusqlite::Connection::open(path).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.pragma_update(None, "synchronous", "full").unwrap();
    db.execute_batch(
        "CREATE TABLE asked (id INTEGER PRIMARY KEY, bytes TEXT);
         CREATE TABLE answered (id INTEGER PRIMARY KEY, bytes TEXT)",
    )
    .unwrap();
    let began = Instant::now();
    for (table, part) in [("asked", 0), ("answered", 1)] {
        for group in exchanges.chunks(WINDOW) {
            let transaction = db.transaction().unwrap();
            for bytes in group {
                let sql = format!("INSERT INTO {table} (bytes) VALUES (?1)");
                let mut insert = transaction.prepare_cached(&sql).unwrap();
                insert.execute([&bytes[part]]).unwrap();
            }
            transaction.commit().unwrap();
        }
    }
    began.elapsed()
}

fn main() {
    // `cargo test --all-targets` starts it too, and must not wait for it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let count = std::env::var("AGENTRY_BENCH_MESSAGES");
    let count: i64 = count.map_or(20_000, |count| count.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).build().unwrap();
    runtime.block_on(run(count));
}

async fn run(count: i64) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(&dir.path().join("agentry.db")).unwrap();
    let agents = vec![HostedAgent {
        address: address(1),
        name: "agent".to_owned(),
        start_height: BlockHeight(0),
    }];
    let hosted = store.commit(Commit::Host { agents }).await.unwrap();
    let agent = *hosted.agents.first().unwrap();
    let mut exchanges: Vec<_> = (1..=count).map(|number| exchange(agent, number)).collect();
    let bytes: Vec<_> = exchanges
        .iter_mut()
        .map(|one| std::mem::take(&mut one.bytes))
        .collect();
    let (mut arrivals, mut answers, mut posts, mut mined) = (vec![], vec![], vec![], vec![]);
    let mut height = 10;
    while !exchanges.is_empty() {
        let (mut arrived, mut sighted) = (Vec::new(), Vec::new());
        for one in exchanges.drain(..BLOCK.min(exchanges.len())) {
            arrived.push(Step::Arrival(one.arrival));
            answers.push(Commit::Outcome(one.answer));
            posts.push(one.posted);
            sighted.push(one.mined);
        }
        arrivals.push(observe(arrived, height));
        mined.push(observe(sighted, height + 1));
        height += 1;
    }
    let parts = [
        ("messages arrive, 100 in a commit", arrivals),
        ("they are answered", answers),
        ("the answers are accepted", posts),
        ("they are mined, 100 in a commit", mined),
    ];
    println!("| {count} messages | in a second | each, µs |");
    println!("|---|---|---|");
    let line = |what: &str, took: Duration| {
        let each = took.as_secs_f64() / count as f64;
        println!("| {what} | {:.0} | {:.1} |", 1.0 / each, each * 1e6);
    };
    let mut all = Duration::ZERO;
    for (what, commits) in parts {
        let took = commit(&store, commits).await;
        all += took;
        line(what, took);
    }
    line("all of it", all);
    line(
        "*for comparison:* the same bytes in two plain tables",
        plain(&dir.path().join("plain.db"), &bytes),
    );
}
