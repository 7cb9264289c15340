//! The rules by which a transaction is accepted, and the messages of a refusal.
//!
//! Two halves: [`read`] needs no state (JSON, fields, signature), so it runs outside the lock;
//! [`admit`] compares with the chain and the mempool.

use agentry_protocol::{
    ChainId, Json, JsonError, JsonRef, Kind, Limits, PublicKey, StoredTransaction,
    TransactionError, Verification,
};

use crate::chain::mempool::{Pending, whole};
use crate::chain::{Chain, ChainError, accounts, blocks, seconds_now};
use crate::config::{DevnetConfig, NoncePolicy};
use crate::fault::Faults;

/// The most bytes of a posted transaction.
pub(crate) const MAX_BODY: usize = 2 * 1024 * 1024;

/// The most bytes of a transaction's stored form, and of all in a block (AITBC's `max_block_size`).
pub(crate) const MAX_BLOCK_BYTES: usize = 1_000_000;

/// The most transactions of a block.
pub(crate) const MAX_BLOCK_TRANSACTIONS: usize = 500;

/// The most bytes that may be pending, so that every client can read the whole mempool: only a
/// whole mempool shows that a transaction is absent from it.
const MAX_PENDING_BYTES: usize = 48 * 1024 * 1024;

/// Why a transaction was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("not JSON: {0}")]
    NotJson(JsonError),
    #[error("the body is JSON, but not an object")]
    NotObject,
    #[error("{0}")]
    Json(JsonError),
    #[error("missing key '{0}'")]
    Missing(&'static str),
    #[error("{0}")]
    Transaction(#[from] TransactionError),
    #[error(
        "{field} is {value}, which is not a whole number that a balance can hold (0 to {})",
        i64::MAX
    )]
    NotWhole { field: &'static str, value: String },
    #[error("{field} is {value}, below 0")]
    Negative { field: &'static str, value: String },
    #[error(
        "amount {amount} and fee {fee} together are more than a balance can hold ({})",
        i64::MAX
    )]
    Cost { amount: i64, fee: i64 },
    #[error("Fee {fee} below minimum {minimum}")]
    Fee { fee: i64, minimum: u64 },
    #[error("chain_id is {found:?}, and this node's chain is {ours}")]
    ChainId { found: String, ours: ChainId },
    #[error("a signed transaction's type is \"transfer\", not {0}")]
    Type(String),
    #[error("public_key: {0}")]
    PublicKey(String),
    #[error("the public key does not belong to {from}")]
    Owner { from: String },
    #[error("a public_key without a signature")]
    NoSignature,
    #[error("the signature must be 128 lower-case hex digits: {0:?} is another spelling")]
    Misspelled(String),
    #[error("the signature is wrong for this content and public key")]
    Signature,
    #[error("the transaction has {size} bytes, and a block holds at most {MAX_BLOCK_BYTES}")]
    Size { size: usize },
    #[error("the sender {sender} has no account on chain {chain}; credit it first")]
    UnknownSender { sender: String, chain: ChainId },
    #[error(
        "the sender {sender} has {balance} AIT, of which {pending} are taken by {count} pending transactions; this one needs {cost}"
    )]
    Balance {
        sender: String,
        balance: i64,
        pending: i128,
        count: usize,
        cost: i128,
    },
    #[error("the nonce is {found}, and the account's next is {expected}")]
    Nonce { found: String, expected: i64 },
    #[error("duplicate: transaction {0} is already pending")]
    Pending(String),
    #[error("duplicate: transaction {0} is already mined")]
    Mined(String),
    #[error("duplicate: the same signed content is already pending as {0}")]
    PendingContent(String),
    #[error("duplicate: the same signed content is already mined as {0}")]
    MinedContent(String),
    #[error("the mempool is full: {0} are pending, with {1} bytes; post again later")]
    Full(usize, usize),
    #[error("{0}")]
    Chain(#[from] ChainError),
    /// In the words of a node of August 2026.
    #[error("{0}")]
    August(String),
    #[error("Internal server error: {0}")]
    Crashed(String),
    #[error("Field required: {}", _0.join(", "))]
    Fields(Vec<&'static str>),
    #[error("{0} is not valid")]
    Field(&'static str),
}

/// A transaction that passes the checks without state.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) stored: StoredTransaction,
    pub(crate) verified: bool,
}

/// Parses a body. The node answers differently to a body that is not JSON and to one that is not
/// valid.
fn parse(body: &[u8]) -> Result<Json, Refusal> {
    let limits = Limits {
        max_bytes: MAX_BODY,
        ..Limits::default()
    };
    let json = Json::parse(body, limits).map_err(|error| match error {
        // JSON as Python reads it, with a content that this node does not accept.
        JsonError::LoneSurrogate { .. }
        | JsonError::NonFiniteWord { .. }
        | JsonError::FloatRange { .. } => Refusal::Json(error),
        error if error.is_limit() => Refusal::Json(error),
        error => Refusal::NotJson(error),
    })?;
    if json.root().kind() == Kind::Object {
        Ok(json)
    } else {
        Err(Refusal::NotObject)
    }
}

/// Reads a posted body and makes all checks that need no state.
pub(crate) fn read(body: &[u8], config: &DevnetConfig, faults: &Faults) -> Result<Posted, Refusal> {
    let json = parse(body)?;
    let root = json.root();
    for key in ["from", "to", "amount"] {
        if root.get(key).is_none() {
            return Err(Refusal::Missing(key));
        }
    }
    let trusting = faults.get("no-signature-check").is_some();
    let mut stored = config.dialect.read_stored(root)?;
    if root.get("chain_id").is_none() && !trusting {
        // A body that names no chain means this one. AITBC's node would write "ait-mainnet" on
        // every chain, and recipients would treat the transaction as one of another chain.
        stored.chain_id = config.chain_id.to_string();
    }
    if trusting {
        return Ok(Posted {
            stored,
            verified: false,
        });
    }
    if stored.chain_id != config.chain_id.as_str() {
        return Err(Refusal::ChainId {
            found: stored.chain_id,
            ours: config.chain_id.clone(),
        });
    }
    check_numbers(&stored, config)?;
    let size = stored.stored_text().len();
    if size > MAX_BLOCK_BYTES {
        return Err(Refusal::Size { size });
    }
    let verified = match root.get("public_key").filter(|key| !key.is_null()) {
        Some(key) => {
            check_signature(&stored, key, root)?;
            true
        }
        // As in AITBC's node: without a public key the signature cannot be checked.
        None => false,
    };
    Ok(Posted { stored, verified })
}

fn check_numbers(stored: &StoredTransaction, config: &DevnetConfig) -> Result<(), Refusal> {
    let mut values = [0; 2];
    for ((field, number), value) in [("amount", &stored.amount), ("fee", &stored.fee)]
        .into_iter()
        .zip(&mut values)
    {
        let text = || {
            let mut text = number.to_string();
            text.truncate(40);
            text
        };
        if number.is_negative() {
            return Err(Refusal::Negative {
                field,
                value: text(),
            });
        }
        *value = whole(number).ok_or_else(|| Refusal::NotWhole {
            field,
            value: text(),
        })?;
    }
    let [amount, fee] = values;
    if amount.checked_add(fee).is_none() {
        return Err(Refusal::Cost { amount, fee });
    }
    if fee.cast_unsigned() < config.min_fee {
        return Err(Refusal::Fee {
            fee,
            minimum: config.min_fee,
        });
    }
    Ok(())
}

fn check_signature(
    stored: &StoredTransaction,
    key: JsonRef<'_>,
    root: JsonRef<'_>,
) -> Result<(), Refusal> {
    if let Some(kind) = root.get("type")
        && kind.as_str() != Some("transfer")
    {
        let mut found = kind.to_json().to_compact();
        found.truncate(40);
        return Err(Refusal::Type(found));
    }
    let text = key
        .as_str()
        .ok_or_else(|| Refusal::PublicKey("not a string".to_owned()))?;
    let key: PublicKey = text
        .parse()
        .map_err(|error: agentry_protocol::KeyError| Refusal::PublicKey(error.to_string()))?;
    if !stored.from.matches(&key) {
        return Err(Refusal::Owner {
            from: stored.from.to_string(),
        });
    }
    match stored.verify(&key) {
        Verification::Valid | Verification::ValidSevenKeys => Ok(()),
        Verification::Missing => Err(Refusal::NoSignature),
        Verification::Misspelled => {
            let found = stored.signature.as_deref().unwrap_or_default();
            Err(Refusal::Misspelled(
                found.chars().take(16).chain("…".chars()).collect(),
            ))
        }
        Verification::Invalid => Err(Refusal::Signature),
    }
}

/// Checks a well-formed transaction against the chain and the mempool, and accepts it. Returns its
/// hash.
pub(crate) fn admit(
    chain: &mut Chain,
    posted: Posted,
    config: &DevnetConfig,
    faults: &Faults,
) -> Result<String, Refusal> {
    let pending = Pending::new(posted.stored, posted.verified, seconds_now());
    let hash = pending.hash.to_string();
    let trusting = faults.get("no-signature-check").is_some();
    if chain.pool.get(&hash).is_some() {
        // AITBC's mempool treats a hash that it already holds as accepted.
        return if trusting {
            Ok(hash)
        } else {
            Err(Refusal::Pending(hash))
        };
    }
    if !trusting && faults.get("replay-destroys-block").is_none() {
        check_duplicate(chain, &pending)?;
    }
    // A real follower has no accounts and keeps every posted transaction.
    let follower_knows_nothing = config.follow.is_some()
        && (faults.get("no-forward").is_some()
            || faults.get("import-loses-transactions").is_some());
    if !trusting && !follower_knows_nothing && faults.get("silent-drop").is_none() {
        check_account(chain, &pending, config.account_nonces)?;
    }
    let full = chain.pool.bytes() + pending.size() > MAX_PENDING_BYTES;
    if full || chain.pool.len() >= config.max_pending {
        let evicts = trusting || faults.get("silent-drop").is_some();
        let Some(lowest) = chain.pool.iter().next_back().filter(|_| evicts) else {
            return Err(Refusal::Full(chain.pool.len(), chain.pool.bytes()));
        };
        let lowest = lowest.hash.clone();
        tracing::warn!(hash = %lowest, "fault: the transaction with the lowest fee was dropped from a full mempool");
        chain.pool.remove(&[lowest])?;
    }
    chain.pool.add(pending)?;
    Ok(hash)
}

fn check_duplicate(chain: &Chain, pending: &Pending) -> Result<(), Refusal> {
    if blocks::is_mined(&chain.db, chain.id.as_str(), &pending.hash)? {
        return Err(Refusal::Mined(pending.hash.to_string()));
    }
    // Anyone may have forged an unverified transaction, so it never blocks the one that the owner
    // signed.
    let bars = |verified: bool| verified || !pending.verified;
    if let Some((other, _)) = chain
        .pool
        .same_digest(&pending.digest)
        .iter()
        .find(|(_, verified)| bars(*verified))
    {
        return Err(Refusal::PendingContent(other.to_string()));
    }
    match accounts::mined_digest(&chain.db, &pending.digest.to_string())? {
        Some(mined) if bars(mined.verified) => Err(Refusal::MinedContent(mined.hash)),
        _ => Ok(()),
    }
}

fn check_account(chain: &Chain, pending: &Pending, nonces: NoncePolicy) -> Result<(), Refusal> {
    let sender = pending.stored.from.as_str();
    let Some(account) = accounts::get(&chain.db, chain.id.as_str(), sender)? else {
        return Err(Refusal::UnknownSender {
            sender: sender.to_owned(),
            chain: chain.id.clone(),
        });
    };
    let (spend, count) = chain.pool.pending_of(sender);
    let cost = pending.spend();
    if i128::from(account.balance) - spend < cost {
        return Err(Refusal::Balance {
            sender: sender.to_owned(),
            balance: account.balance,
            pending: spend,
            count,
            cost,
        });
    }
    if nonces == NoncePolicy::Sequential {
        let expected = chain.pool.next_nonce(sender, account.nonce);
        if pending.nonce() != Some(expected) {
            let mut found = pending.stored.nonce.to_string();
            found.truncate(40);
            return Err(Refusal::Nonce { found, expected });
        }
    }
    Ok(())
}
