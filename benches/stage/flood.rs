//! One sender's flood, and another sender's single message.

use std::time::{Duration, Instant};

use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::{
    Address, Header, Payload, Seed, SigningKey, StoredTransaction, Transaction, compose,
};
use rusqlite::{Connection, OpenFlags};

use super::chain::{Blocks, chain_id};
use super::fleet::{FEW_ROUNDS, Fleet, Place};
use super::pings;

/// The timeout for each part.
const LIMIT: Duration = Duration::from_secs(300);

/// The default limits of agents.toml.
const DEFAULTS: &str = "per_sender_rate = \"60/min\"\ndaily_budget = 100_000";

/// How many messages of a flood an agent answers at once: what the rate allows in a minute. Each
/// further second allows one more.
const BURST: usize = 60;

/// The results.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weathered {
    /// How long it took to read, verify and store the flood.
    pub(crate) stored: Duration,
    /// The time from the block of another sender's message to the block of its answer.
    pub(crate) answered: Duration,
    /// How many messages of the flood were answered by then.
    pub(crate) of_flood: usize,
}

/// Sends an agent this many verified messages of one sender, and then one of another sender.
pub(crate) fn weather(flood: usize) -> anyhow::Result<Weathered> {
    let dir = tempfile::tempdir()?;
    let fleet = Fleet::make(&dir.path().join("fleet"), 1, FEW_ROUNDS)?;
    let agent = fleet
        .addresses()
        .first()
        .ok_or_else(|| anyhow::anyhow!("no agent"))?
        .clone();
    let devnet = Devnet::start(DevnetConfig {
        dir: dir.path().join("node"),
        allocations: fleet.allocations(),
        block_time: Duration::from_millis(100),
        ..DevnetConfig::default()
    })?;
    let place = Place::db(devnet.dir(), &devnet.url());
    let host = fleet.host_with("flood", &place, DEFAULTS)?;
    let (flooder, other) = (wallet(0xf1), wallet(0x0e));
    let messages: Vec<StoredTransaction> = (0..flood as u64)
        .map(|number| verified(&flooder, &agent, number))
        .collect();
    let mut blocks = Blocks::open(devnet.dir())?;
    devnet.pause_mining();
    let began = blocks.add(messages)?;
    devnet.resume_mining();
    until("the flood is stored", || {
        Ok(arrived(&dir.path().join("fleet/flood.db"))? >= flood)
    })?;
    let stored = began.elapsed();

    devnet.pause_mining();
    let asked = blocks.add([verified(&other, &agent, 0)])?;
    devnet.resume_mining();
    let address = |key: &SigningKey| Address::from_public_key(&key.public_key());
    until("the other sender is answered", || {
        Ok(blocks.answers(&address(&other))?.0 > 0)
    })?;
    let answered = asked.elapsed();
    let (of_flood, _) = blocks.answers(&address(&flooder))?;
    let allowed = BURST + usize::try_from(began.elapsed().as_secs())? + 1;
    anyhow::ensure!(
        of_flood <= allowed,
        "{of_flood} messages of the flood were answered, {allowed} are allowed"
    );
    // No message is lost, and the other sender is answered once.
    while blocks.head()? < blocks.height() + 3 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (answers, _) = blocks.answers(&address(&other))?;
    anyhow::ensure!(answers == 1, "{answers} answers to one message");
    let kept = arrived(&dir.path().join("fleet/flood.db"))?;
    anyhow::ensure!(kept == flood + 1, "{kept} messages are stored");
    host.stop()?;
    Ok(Weathered {
        stored,
        answered,
        of_flood,
    })
}

pub(crate) fn wallet(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

/// A ping whose sender states its key.
pub(crate) fn verified(from: &SigningKey, to: &Address, number: u64) -> StoredTransaction {
    let header = Header {
        key: Some(from.public_key()),
        ..Header::default()
    };
    let ping = pings::ping(from, to, number);
    let payload = compose(&Payload::Text("ping".to_owned()), Some(&header));
    Transaction {
        from: Address::from_public_key(&from.public_key()),
        to: to.clone(),
        amount: ping.stored().amount,
        fee: ping.stored().fee,
        nonce: ping.stored().nonce,
        payload: payload.unwrap_or_else(|_| ping.stored().payload),
        chain_id: chain_id(),
    }
    .sign(from)
    .stored()
}

pub(crate) fn arrived(store: &std::path::Path) -> anyhow::Result<usize> {
    let db = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let count: i64 = db.query_row("SELECT count(*) FROM inbox", [], |row| row.get(0))?;
    Ok(usize::try_from(count)?)
}

pub(crate) fn until(
    what: &str,
    mut so: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while !so()? {
        anyhow::ensure!(began.elapsed() < LIMIT, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
