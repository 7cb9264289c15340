//! Messages to answer, and waiting for the answers.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agentry::runtime::metrics::Metrics;
use agentry_protocol::{
    Address, Header, Json, MessageId, Number, Payload, Seed, SignedTransaction, SigningKey,
    StoredTransaction, Transaction, compose,
};

use super::chain::chain_id;

/// The interval between two checks for answers.
const POLL: Duration = Duration::from_micros(100);

/// A wallet that is not hosted, which sends pings.
pub(crate) fn stranger() -> SigningKey {
    sender(0)
}

/// One of the wallets that are not hosted.
pub(crate) fn sender(number: usize) -> SigningKey {
    let mut bytes = [0x99; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
    SigningKey::from_seed(&Seed::from_bytes(bytes))
}

/// A signed ping; `number` makes it unique.
pub(crate) fn ping(from: &SigningKey, to: &Address, number: u64) -> SignedTransaction {
    signed(from, to, number, Json::string("ping"))
}

fn signed(from: &SigningKey, to: &Address, number: u64, payload: Json) -> SignedTransaction {
    Transaction {
        from: Address::from_public_key(&from.public_key()),
        to: to.clone(),
        amount: Number::from(0_u64),
        fee: Number::from(10_u64),
        nonce: Number::from(1_763_000_000_000 + number),
        payload,
        chain_id: chain_id(),
    }
    .sign(from)
}

/// The sender and the recipient of a ping: each recipient in turn, then the next sender.
fn turn<'a>(
    number: usize,
    from: &'a [SigningKey],
    to: &'a [Address],
) -> (&'a SigningKey, &'a Address) {
    (
        &from[(number / to.len()) % from.len()],
        &to[number % to.len()],
    )
}

/// `count` pings as a node stores them: to these recipients in turn, from these senders in turn.
pub(crate) fn pings(count: usize, from: &[SigningKey], to: &[Address]) -> Vec<StoredTransaction> {
    (0..count)
        .map(|number| {
            let (sender, recipient) = turn(number, from, to);
            ping(sender, recipient, number as u64).stored()
        })
        .collect()
}

/// As [`pings`], each with an id and its sender's key.
pub(crate) fn with_headers(
    count: usize,
    from: &[SigningKey],
    to: &[Address],
) -> anyhow::Result<Vec<StoredTransaction>> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let now_ms = u64::try_from(now_ms)?;
    (0..count)
        .map(|number| {
            let (sender, recipient) = turn(number, from, to);
            let header = Header {
                id: Some(MessageId::generate(now_ms)?),
                key: Some(sender.public_key()),
                ..Header::default()
            };
            let payload = compose(&Payload::Text("ping".to_owned()), Some(&header))?;
            Ok(signed(sender, recipient, number as u64, payload).stored())
        })
        .collect()
}

/// Waits until the node has accepted `count` answers, and returns the time.
pub(crate) fn wait_accepted(
    metrics: &Metrics,
    count: u64,
    limit: Duration,
) -> anyhow::Result<Instant> {
    let deadline = Instant::now() + limit;
    loop {
        let accepted = metrics.accepted_count();
        let now = Instant::now();
        if accepted >= count {
            return Ok(now);
        }
        anyhow::ensure!(
            now < deadline,
            "{accepted} of {count} answers within {limit:?}"
        );
        std::thread::sleep(POLL);
    }
}
