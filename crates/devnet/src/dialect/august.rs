//! What nodes of August 2026 check, and what they make of what they get.
//!
//! A transaction is checked twice: when it is posted, and again at the block. What fails there is dropped
//! without a word. The texts of the refusals are the node's own.

use std::collections::HashMap;

use agentry_protocol::{
    Json, JsonError, JsonRef, KeyType, Limits, Number, Seed, SigningKey, StoredTransaction,
};
use rusqlite::Connection;

use crate::chain::accounts::{self, Transfer};
use crate::chain::blocks::TransactionRow;
use crate::chain::mempool::Pending;
use crate::chain::{Chain, ChainError, seconds_now};
use crate::config::DevnetConfig;
use crate::fault::{Fault, Faults};
use crate::rules::{MAX_BODY, Refusal};

/// The fee that the node fills in.
const DEFAULT_FEE: i32 = 36;
const MESSAGE: &str = "MESSAGE";
const TRANSFER: &str = "TRANSFER";

/// The keys that a body must have.
const REQUIRED: [&str; 4] = ["from", "to", "amount", "signature"];

/// Reads a posted body, fills in what is missing, and checks the signature.
pub(crate) fn read(body: &[u8], config: &DevnetConfig) -> Result<StoredTransaction, Refusal> {
    let limits = Limits {
        max_bytes: MAX_BODY,
        ..Limits::default()
    };
    let json = Json::parse(body, limits).map_err(|error| match error {
        JsonError::LoneSurrogate { .. } => Refusal::Crashed(error.to_string()),
        error => Refusal::NotJson(error),
    })?;
    let root = json.root();
    if !root.is_object() {
        return Err(Refusal::Crashed("the body is not an object".to_owned()));
    }
    let missing: Vec<_> = REQUIRED
        .into_iter()
        .filter(|key| root.get(key).is_none())
        .collect();
    if !missing.is_empty() {
        return Err(Refusal::Fields(missing));
    }
    let whole = |key: &'static str, default: i32| match root.get(key) {
        None => Ok(Number::from(default)),
        Some(value) => whole(value).ok_or(Refusal::Field(key)),
    };
    let text = |key: &'static str| match root.get(key) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(Refusal::Field(key)),
    };
    let amount = whole("amount", 0)?;
    let kind = text("type")?.unwrap_or(TRANSFER);
    let chain_id = text("chain_id")?.unwrap_or(config.chain_id.as_str());
    let object = Json::object([
        ("amount", Json::number(&amount)),
        ("chain_id", Json::string(chain_id)),
        ("fee", Json::number(&whole("fee", DEFAULT_FEE)?)),
        ("from", Json::string(text("from")?.unwrap_or_default())),
        ("nonce", Json::number(&whole("nonce", 0)?)),
        ("payload", payload(root, &amount)),
        (
            "signature",
            Json::string(text("signature")?.unwrap_or_default()),
        ),
        ("to", Json::string(text("to")?.unwrap_or_default())),
        ("type", Json::string(kind)),
    ]);
    let mut stored = config.dialect.read_stored(object.root())?;
    if !is_signed(&stored) {
        return Err(Refusal::August(
            "403: Invalid transaction signature".to_owned(),
        ));
    }
    for (field, number) in [
        ("amount", &stored.amount),
        ("fee", &stored.fee),
        ("nonce", &stored.nonce),
    ] {
        if number.is_negative() {
            let words = format!("transaction.{field} must be non-negative");
            return Err(Refusal::August(words));
        }
    }
    if stored.chain_id != config.chain_id.as_str() {
        return Err(Refusal::August(format!(
            "unsupported chain_id '{}'. Supported chains: ['{}']",
            stored.chain_id, config.chain_id
        )));
    }
    // From here on it is what the node keeps.
    stored.kind = stored.kind.to_uppercase().into();
    if stored.kind.is_empty() {
        stored.kind = TRANSFER.into();
    }
    Ok(stored)
}

/// A number as the node's framework takes it: whole, or a text of one.
fn whole(value: JsonRef<'_>) -> Option<Number> {
    let number = match value.as_str() {
        Some(text) => text.trim().parse().ok()?,
        None => value.as_number()?,
    };
    if number.is_integer() {
        return Some(number);
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
    format!("{float:.0}").parse().ok()
}

/// The payload as the node rewrites it before it verifies.
fn payload(root: JsonRef<'_>, amount: &Number) -> Json {
    let given = root.get("payload").filter(|payload| payload.is_object());
    let mut entries: Vec<(String, Json)> = given
        .into_iter()
        .flat_map(JsonRef::entries)
        .map(|(key, value)| (key.to_owned(), value.to_json()))
        .collect();
    let has = |entries: &[(String, Json)], key: &str| entries.iter().any(|(name, _)| name == key);
    if !has(&entries, "amount") {
        entries.push(("amount".to_owned(), Json::number(amount)));
    }
    if let Some(recipient) = root.get("recipient")
        && !has(&entries, "to")
    {
        entries.push(("to".to_owned(), recipient.to_json()));
    }
    Json::object(entries)
}

/// Whether the sender has signed it, in whatever spelling.
fn is_signed(stored: &StoredTransaction) -> bool {
    let key = stored.recovered();
    key.is_some_and(|key| stored.from.matches(&key))
}

/// Compares a transaction with the chain, and takes it into the mempool. Returns its hash.
pub(crate) fn admit(
    chain: &mut Chain,
    stored: StoredTransaction,
    config: &DevnetConfig,
    faults: &Faults,
) -> Result<String, Refusal> {
    let (sender, on) = (
        stored.from.spelled().to_owned(),
        chain.id.as_str().to_owned(),
    );
    let pending = Pending::new(stored, true, seconds_now());
    let hash = pending.hash.to_string();
    if chain.pool.get(&hash).is_some() {
        return Ok(hash);
    }
    let account = accounts::get(&chain.db, &on, pending.stored.from.as_str())?;
    let Some(account) = account else {
        return Err(Refusal::August(format!(
            "sender account not found on chain '{on}'"
        )));
    };
    let cost = pending.spend();
    if i128::from(account.balance) < cost {
        return Err(Refusal::August(format!(
            "insufficient balance for sender '{sender}' on chain '{on}': has {}, needs {cost}",
            account.balance
        )));
    }
    if pending.nonce() != Some(account.nonce) {
        return Err(Refusal::August(format!(
            "invalid nonce for sender '{sender}' on chain '{on}': expected {}, got {}",
            account.nonce, pending.stored.nonce
        )));
    }
    if chain.pool.len() >= config.max_pending {
        let lowest = chain
            .pool
            .iter()
            .next_back()
            .map(|lowest| lowest.hash.clone());
        chain.pool.remove(&lowest.into_iter().collect::<Vec<_>>())?;
    }
    if let Some(Fault::Respell(copies)) = faults.get("respell") {
        for copy in respelled(&pending.stored, copies) {
            chain.pool.add(Pending::new(copy, true, seconds_now()))?;
        }
    }
    chain.pool.add(pending)?;
    Ok(hash)
}

/// Copies of a transaction whose signatures are the same in other spellings, as anybody can make them.
fn respelled(stored: &StoredTransaction, copies: u8) -> impl Iterator<Item = StoredTransaction> {
    let signature = stored.signature.clone().unwrap_or_default();
    let upper = signature.to_uppercase();
    let spellings = [
        format!("0x{signature}"),
        upper.clone(),
        format!("0x{upper}"),
        match signature.strip_suffix("00") {
            Some(numbers) => format!("{numbers}1b"),
            None => format!("{}1c", signature.get(..128).unwrap_or_default()),
        },
    ];
    let stored = stored.clone();
    spellings
        .into_iter()
        .take(copies.into())
        .map(move |spelling| StoredTransaction {
            signature: Some(spelling),
            ..stored.clone()
        })
}

/// A transaction that makes the node's block fail as a whole: one whose type in the payload is no text.
pub(crate) fn breaks_blocks(stored: &StoredTransaction) -> bool {
    let kind = stored.payload.root().get("type");
    stored.kind == TRANSFER && kind.is_some_and(|kind| kind.as_str().is_none())
}

/// The checks at the block. `counters` are those of the accounts when the block began: several
/// transactions with the same nonce pass, and are all mined. Returns the row; `Err` says why it is dropped.
pub(crate) fn mine(
    (db, chain): (&Connection, &str),
    pending: &Pending,
    counters: &mut HashMap<String, i64>,
    now: &str,
) -> Result<Result<TransactionRow, &'static str>, ChainError> {
    let stored = &pending.stored;
    let Some(account) = accounts::get(db, chain, stored.from.as_str())? else {
        return Ok(Err("unknown sender"));
    };
    let counter = *counters
        .entry(stored.from.as_str().to_owned())
        .or_insert(account.nonce);
    // The node verifies the form that it keeps, with the counter as its nonce.
    let judged = StoredTransaction {
        nonce: Number::from(counter),
        ..stored.clone()
    };
    if !is_signed(&judged) {
        return Ok(Err(
            "its nonce has passed, or the form that the node keeps is not what was signed",
        ));
    }
    let moves = stored.amount.as_i64() != Some(0);
    let inner = stored.payload.root().get("type").and_then(JsonRef::as_str);
    if moves && (stored.kind == MESSAGE || stored.kind == TRANSFER && inner == Some(MESSAGE)) {
        return Ok(Err("a message transfers nothing"));
    }
    let Some((value, fee)) = pending.cost else {
        return Ok(Err(
            "its amount or fee is not a number that a balance can hold",
        ));
    };
    if i128::from(account.balance) < pending.spend() {
        return Ok(Err("the sender cannot pay"));
    }
    let transfer = Transfer {
        sender: stored.from.as_str(),
        recipient: stored.to.as_str(),
        value,
        fee,
    };
    if accounts::apply(db, chain, transfer, now)?.is_none() {
        return Ok(Err("a balance exceeds its range"));
    }
    Ok(Ok(super::row(stored, pending.hash.to_string(), now)))
}

/// The signature of a block by its proposer: over the 32 bytes of its hash.
pub(crate) fn sign_block(hash: &[u8; 32]) -> String {
    // The embedded node's own key: nobody verifies it.
    let seed = Seed::new([7; 32], KeyType::Secp256k1);
    let signature = seed.map(|seed| SigningKey::from_seed(&seed).sign(hash));
    signature.map_or_else(|_| String::new(), |signature| format!("0x{signature}"))
}
