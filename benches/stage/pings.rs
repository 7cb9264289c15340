//! Messages to answer, and waiting for the answers.

use std::time::{Duration, Instant};

use agentry::runtime::metrics::Metrics;
use agentry_protocol::{
    Address, Json, Number, Seed, SignedTransaction, SigningKey, StoredTransaction, Transaction,
};

use super::chain::chain_id;

/// The interval between two checks for answers.
const POLL: Duration = Duration::from_micros(100);

/// A wallet that is not hosted, which sends pings.
pub(crate) fn stranger() -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([0x99; 32]))
}

/// A signed ping; `number` makes it unique.
pub(crate) fn ping(from: &SigningKey, to: &Address, number: u64) -> SignedTransaction {
    Transaction {
        from: Address::from_public_key(&from.public_key()),
        to: to.clone(),
        amount: Number::from(0_u64),
        fee: Number::from(10_u64),
        nonce: Number::from(1_763_000_000_000 + number),
        payload: Json::string("ping"),
        chain_id: chain_id(),
    }
    .sign(from)
}

/// `count` pings as a node stores them: to these recipients in turn, from these senders in turn.
pub(crate) fn pings(count: usize, from: &[SigningKey], to: &[Address]) -> Vec<StoredTransaction> {
    (0..count)
        .map(|number| {
            let sender = &from[(number / to.len()) % from.len()];
            ping(sender, &to[number % to.len()], number as u64).stored()
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
