//! The queues as operators see them.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde::Serialize;

use super::number::natural;

/// A row of the inbox.
#[derive(Clone, Debug, Serialize)]
pub struct InboxItem {
    /// `inbox/` and the row.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// `waiting`, `withdrawn`, `handled` or `dead`.
    pub state: String,
    /// Who it says it is from.
    pub from: String,
    /// To whom: the agent's address.
    pub to: String,
    /// `verified` or `unverified`.
    pub authenticity: String,
    /// Hash of the transaction.
    pub hash: String,
    /// The message's identity.
    pub digest: String,
    /// The block; `null` while a reorganisation has withdrawn it.
    pub height: Option<u64>,
    /// How many attempts have failed.
    pub attempts: u64,
    /// Of the last failure.
    pub reason: Option<String>,
    /// When it was first seen (milliseconds since the epoch).
    pub seen_at: u64,
    /// When it is due; 0 at once.
    pub due_at: u64,
    /// When it was settled.
    pub settled_at: Option<u64>,
    /// The transaction as the chain keeps it, JSON.
    pub transaction: String,
}

/// A row of the outbox.
#[derive(Clone, Debug, Serialize)]
pub struct OutboxItem {
    /// `outbox/` and the row.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// `queued`, `prepared`, `accepted`, `mined`, `final` or `failed`.
    pub state: String,
    /// The agent's address.
    pub from: String,
    /// To whom.
    pub to: String,
    /// What it transfers, in AIT.
    pub amount: u64,
    /// What it pays, in AIT.
    pub fee: u64,
    /// What it says, JSON.
    pub payload: String,
    /// What asked for it.
    pub origin: String,
    /// Its nonce.
    pub nonce: Option<i64>,
    /// Its hash.
    pub hash: Option<String>,
    /// How often it was posted.
    pub posts: u64,
    /// Why it waits or failed.
    pub reason: Option<String>,
    /// The block.
    pub height: Option<u64>,
    /// The block's hash.
    pub block_hash: Option<String>,
    /// When it was asked for (milliseconds since the epoch).
    pub created_at: u64,
    /// When it was signed.
    pub prepared_at: Option<u64>,
    /// When the node accepted it.
    pub accepted_at: Option<u64>,
    /// When it was seen in a block.
    pub mined_at: Option<u64>,
}

/// Which rows are listed.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of the agent of this name or address.
    pub agent: Option<String>,
    /// Only from, or to, this address.
    pub other: Option<String>,
    /// Only in these states; in any, where empty.
    pub states: Vec<String>,
    /// Only this row.
    pub row: Option<i64>,
    /// Only rows behind this one.
    pub after: i64,
    /// At most so many, the newest.
    pub limit: u64,
}

/// Builds `WHERE` from a filter; `other` is the column of the other side.
fn conditions(filter: &Filter, other: &str) -> (String, Vec<Value>) {
    let mut sql = String::from("q.id > ?");
    let mut values = vec![Value::Integer(filter.after)];
    if let Some(agent) = &filter.agent {
        sql.push_str(" AND (agent.name = ? OR agent.address = ?)");
        values.extend([Value::Text(agent.clone()), Value::Text(agent.clone())]);
    }
    if let Some(address) = &filter.other {
        sql.push_str(&format!(" AND q.{other} = ?"));
        values.push(Value::Text(address.clone()));
    }
    if !filter.states.is_empty() {
        let marks = vec!["?"; filter.states.len()].join(", ");
        sql.push_str(&format!(" AND q.state IN ({marks})"));
        values.extend(filter.states.iter().cloned().map(Value::Text));
    }
    if let Some(row) = filter.row {
        sql.push_str(" AND q.id = ?");
        values.push(Value::Integer(row));
    }
    values.push(Value::Integer(
        i64::try_from(filter.limit).unwrap_or(i64::MAX),
    ));
    (sql, values)
}

/// Messages, oldest of the newest first.
///
/// # Errors
/// What SQLite says.
pub fn inbox(db: &Connection, filter: &Filter) -> rusqlite::Result<Vec<InboxItem>> {
    let (conditions, values) = conditions(filter, "sender");
    let mut items = db
        .prepare(&format!(
            "SELECT q.id, agent.name, q.state, q.sender, agent.address, q.authenticity, q.hash,
                    q.digest, q.height, q.attempts, q.reason, q.seen_at, q.due_at, q.settled_at,
                    q.stored
             FROM inbox q JOIN agent ON agent.id = q.agent
             WHERE {conditions} ORDER BY q.id DESC LIMIT ?"
        ))?
        .query_map(params_from_iter(values), |row| {
            Ok(InboxItem {
                id: format!("inbox/{}", row.get::<_, i64>(0)?),
                agent: row.get(1)?,
                state: row.get(2)?,
                from: row.get(3)?,
                to: row.get(4)?,
                authenticity: row.get(5)?,
                hash: row.get(6)?,
                digest: row.get(7)?,
                height: optional(row, 8)?,
                attempts: required(row, 9)?,
                reason: row.get(10)?,
                seen_at: required(row, 11)?,
                due_at: required(row, 12)?,
                settled_at: optional(row, 13)?,
                transaction: row.get(14)?,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    items.reverse();
    Ok(items)
}

/// Transactions, oldest of the newest first.
///
/// # Errors
/// What SQLite says.
pub fn outbox(db: &Connection, filter: &Filter) -> rusqlite::Result<Vec<OutboxItem>> {
    let (conditions, values) = conditions(filter, "recipient");
    let mut items = db
        .prepare(&format!(
            "SELECT q.id, agent.name, q.state, agent.address, q.recipient, q.amount, q.fee,
                    q.payload, q.origin, q.nonce, q.hash, q.posts, q.reason, q.height,
                    q.block_hash, q.created_at, q.prepared_at, q.accepted_at, q.mined_at
             FROM outbox q JOIN agent ON agent.id = q.agent
             WHERE {conditions} ORDER BY q.id DESC LIMIT ?"
        ))?
        .query_map(params_from_iter(values), |row| {
            Ok(OutboxItem {
                id: format!("outbox/{}", row.get::<_, i64>(0)?),
                agent: row.get(1)?,
                state: row.get(2)?,
                from: row.get(3)?,
                to: row.get(4)?,
                amount: required(row, 5)?,
                fee: required(row, 6)?,
                payload: row.get(7)?,
                origin: row.get(8)?,
                nonce: row.get(9)?,
                hash: row.get(10)?,
                posts: required(row, 11)?,
                reason: row.get(12)?,
                height: optional(row, 13)?,
                block_hash: row.get(14)?,
                created_at: required(row, 15)?,
                prepared_at: optional(row, 16)?,
                accepted_at: optional(row, 17)?,
                mined_at: optional(row, 18)?,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    items.reverse();
    Ok(items)
}

/// The address of the hosted agent of this name, if the store knows it.
///
/// # Errors
/// What SQLite says.
pub fn address_of(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    db.query_row("SELECT address FROM agent WHERE name = ?1", [name], |row| {
        row.get(0)
    })
    .optional()
}

/// Whether the store knows a hosted agent at this address.
///
/// # Errors
/// What SQLite says.
pub fn is_hosted(db: &Connection, address: &str) -> rusqlite::Result<bool> {
    db.query_row(
        "SELECT count(*) FROM agent WHERE address = ?1",
        [address],
        |row| row.get::<_, i64>(0),
    )
    .map(|count| count > 0)
}

fn required(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(natural)
}

fn optional(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    row.get::<_, Option<i64>>(column)
        .map(|value| value.and_then(|value| u64::try_from(value).ok()))
}
