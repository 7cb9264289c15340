//! The cost of the parts of an answer on this machine, measured in the same run: the runtime's
//! numbers are compared with it.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use agentry_protocol::{Address, Json, Number, Seed, SigningKey, Transaction};
use rusqlite::Connection;

use super::chain::chain_id;

/// How often each is repeated.
const TIMES: u32 = 2_000;

/// The costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    /// One Ed25519 signature over the signing text of a transaction.
    pub(crate) signature: Duration,
    /// One strict verification of it, under a key that was not used before.
    pub(crate) verification: Duration,
}

/// Measures them on one core.
pub(crate) fn costs() -> Costs {
    let key = SigningKey::from_seed(&Seed::from_bytes([7; 32]));
    let public_key = key.public_key();
    let address = Address::from_public_key(&public_key);
    let text = Transaction {
        from: address.clone(),
        to: address,
        amount: Number::from(0_u64),
        fee: Number::from(10_u64),
        nonce: Number::from(1_763_800_000_000_u64),
        payload: Json::string("pong"),
        chain_id: chain_id(),
    }
    .signing_text();
    // The points of known keys are kept.
    static KEYS: AtomicU32 = AtomicU32::new(0);
    let first = KEYS.fetch_add(TIMES, Ordering::Relaxed);
    let signed: Vec<_> = (first..first + TIMES)
        .map(|number| {
            let mut seed = [9; 32];
            seed[..4].copy_from_slice(&number.to_le_bytes());
            let key = SigningKey::from_seed(&Seed::from_bytes(seed));
            (key.public_key(), key.sign(text.as_bytes()))
        })
        .collect();
    let mut signed = signed.iter();
    Costs {
        signature: each(|| {
            black_box(key.sign(black_box(text.as_bytes())));
        }),
        verification: each(|| {
            let next = signed.next();
            let verify = next.map(|(key, signature)| key.verify(text.as_bytes(), signature));
            black_box(verify);
        }),
    }
}

fn each(mut once: impl FnMut()) -> Duration {
    let began = Instant::now();
    (0..TIMES).for_each(|_| once());
    began.elapsed() / TIMES
}

/// The times of durable commits of one small row each, by SQLite as the store sets it up (WAL,
/// `synchronous=FULL`): one fsync each. No durable answer can be faster than this.
pub(crate) fn durable_commits(dir: &Path, count: usize) -> anyhow::Result<Vec<Duration>> {
    let db = Connection::open(dir.join("durable.db"))?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "full")?;
    db.execute_batch("CREATE TABLE row (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        db.execute("INSERT INTO row (text) VALUES (hex(randomblob(200)))", [])?;
        times.push(began.elapsed());
    }
    Ok(times)
}
