//! Messages to answer, and waiting for the answers.

use std::time::{Duration, Instant, SystemTime};

use agentry_devnet::DevnetConfig;
use agentry_protocol::{
    Address, Dialect, Header, Json, MessageId, Number, Payload, SignedTransaction, SigningKey,
    StoredTransaction, Timestamp, Transaction, compose,
};

use super::fleet::seed;

/// How long a count may stand still before waiting for it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keys of wallets that are not hosted.
pub fn senders(count: usize) -> Vec<SigningKey> {
    senders_of(Dialect::default(), count)
}

fn senders_of(dialect: Dialect, count: usize) -> Vec<SigningKey> {
    (0..count)
        .map(|number| SigningKey::from_seed(&seed(0x99, number, dialect.key_type())))
        .collect()
}

/// The current time.
pub(super) fn now() -> Timestamp {
    SystemTime::now().into()
}

fn transaction(
    dialect: Dialect,
    from: Address,
    to: &Address,
    number: usize,
    payload: Json,
) -> Transaction {
    Transaction {
        dialect,
        from,
        to: to.clone(),
        amount: Number::from(0_u64),
        fee: dialect.default_fee().into(),
        nonce: Number::from(1_763_000_000_000 + number as u64),
        payload,
        chain_id: DevnetConfig::default().chain_id,
    }
}

/// `ping`s with a header that has an id and the sender's key: to these recipients in turn, from
/// these senders in turn, so that each recipient hears from all of them.
///
/// # Errors
/// There are no random numbers.
pub fn pings(
    count: usize,
    from: &[SigningKey],
    to: &[Address],
) -> anyhow::Result<Vec<SignedTransaction>> {
    let keys: Vec<_> = from.iter().map(SigningKey::public_key).collect();
    let ping = |number: usize| {
        let from_number = (number + number / to.len()) % from.len();
        let key = keys[from_number];
        let header = Header {
            id: Some(MessageId::generate(now())?),
            key: Some(key),
            ..Header::default()
        };
        let payload = compose(&Payload::Text("ping".to_owned()), Some(&header))?;
        let (from_address, to) = (Address::from_public_key(&key), &to[number % to.len()]);
        let dialect = Dialect::default();
        Ok(transaction(dialect, from_address, to, number, payload).sign(&from[from_number]))
    };
    (0..count).map(ping).collect()
}

/// One plain `ping` to each of these recipients, each from another sender, as a chain of this dialect
/// keeps it.
pub(super) fn plain(dialect: Dialect, to: &[Address]) -> impl Iterator<Item = StoredTransaction> {
    let senders = senders_of(dialect, to.len());
    senders.into_iter().zip(to).map(move |(key, to)| {
        let from = Address::from_public_key(&key.public_key());
        transaction(dialect, from, to, 0, Json::string("ping"))
            .sign(&key)
            .stored()
    })
}

/// Transactions in the form in which a node stores them, from strangers, each with its own hash and
/// a signature that nobody verifies.
pub(super) fn unsigned<'a>(
    count: usize,
    to: impl Fn(usize) -> &'a Address,
) -> impl Iterator<Item = StoredTransaction> {
    let strangers = addresses(64);
    (0..count).map(move |number| {
        let from = strangers[number % strangers.len()].clone();
        let payload = Json::string("what strangers say to one another");
        let transaction = transaction(Dialect::default(), from, to(number), number, payload);
        let digest = transaction.digest().to_string();
        let digits = digest.trim_start_matches("0x");
        StoredTransaction {
            dialect: transaction.dialect,
            kind: "transfer".into(),
            chain_id: transaction.chain_id.to_string(),
            from: transaction.from,
            to: transaction.to,
            amount: transaction.amount,
            fee: transaction.fee,
            nonce: transaction.nonce,
            payload: transaction.payload,
            signature: Some(format!("{digits}{digits}")),
        }
    })
}

/// Addresses of wallets that are not hosted.
pub fn addresses(count: usize) -> Vec<Address> {
    let address = |key: &SigningKey| Address::from_public_key(&key.public_key());
    senders(count).iter().map(address).collect()
}

/// Waits until a count is reached, and returns the time. However busy the machine is, the count may
/// take as long as it needs, if it rises once a minute.
///
/// # Errors
/// It does not rise any more, or cannot be read.
pub fn wait(
    what: &str,
    wanted: usize,
    mut count: impl FnMut() -> anyhow::Result<u64>,
) -> anyhow::Result<Instant> {
    let (mut last, mut risen) = (0, Instant::now());
    loop {
        let found = count()?;
        let now = Instant::now();
        if found >= wanted as u64 {
            return Ok(now);
        }
        if found > last {
            (last, risen) = (found, now);
        }
        anyhow::ensure!(
            now - risen < PATIENCE,
            "{what}: {found} of {wanted}, and no more in {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}
