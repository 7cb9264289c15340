//! Tasks as operators see them: those that hosted wallets request, and those that they run.

use agentry_protocol::{MessageId, Timestamp, TransactionHash};
use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};
use serde::Serialize;

use crate::column::{
    hash, message_id, natural, optional_hash, optional_natural, optional_time, payload, time,
};
use crate::number::integer;
use crate::{Reader, StoreError};

/// The prefix of the [origin](super::OutboxItem::origin) of a job that an operator requested. A
/// random word and the job's type follow.
pub const OPERATORS_JOBS: &str = "control/task/";

/// A message that may request a job: its payload tells.
#[derive(Clone, Debug)]
pub struct AskedItem {
    /// Its row in the outbox.
    pub row: i64,
    /// The agent's row.
    pub agent_row: i64,
    /// The agent's name.
    pub agent: String,
    /// The agent's address.
    pub from: String,
    /// The recipient.
    pub to: String,
    /// The message, JSON.
    pub payload: String,
    /// What requested it.
    pub origin: String,
    /// The id in its header.
    pub message_id: Option<String>,
    /// The state of its first transaction.
    pub state: String,
    /// Why its first transaction waits or failed.
    pub reason: Option<String>,
    /// When it was requested.
    pub created_at: Timestamp,
    /// What is known about the message's delivery, if delivery updates were requested.
    pub receipt: Option<String>,
    /// The recipient's explanation.
    pub receipt_detail: Option<String>,
}

/// A transaction that carried a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Carrier {
    /// Its hash.
    pub transaction: String,
    /// Its state.
    pub state: String,
    /// The block.
    pub height: Option<u64>,
    /// When it was seen in a block.
    pub mined_at: Option<Timestamp>,
}

/// A message that names a transaction of a hosted wallet.
#[derive(Clone, Debug)]
pub struct AnswerItem {
    /// Its row in the inbox.
    pub row: i64,
    /// Hash of its transaction.
    pub hash: String,
    /// Who sent it.
    pub from: String,
    /// The block.
    pub height: Option<u64>,
    /// When it was seen.
    pub seen_at: Timestamp,
    /// The transaction as the chain keeps it, JSON.
    pub transaction: String,
}

/// A task that a hosted wallet runs.
#[derive(Clone, Debug, Serialize)]
pub struct ExecutingItem {
    /// `task/` and the row.
    pub id: String,
    /// Its state.
    pub state: String,
    /// The agent's row.
    #[serde(skip)]
    pub agent_row: i64,
    /// Whether it waits for an operator's approval.
    #[serde(skip)]
    pub unapproved: bool,
    /// The agent's name.
    pub agent: String,
    /// The behaviour that started it.
    pub behaviour: String,
    /// The key that the behaviour gave it.
    pub key: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who requested it.
    pub submitter: Option<String>,
    /// Hash of the transaction that requested it.
    pub transaction: Option<String>,
    /// Its input, JSON.
    pub input: String,
    /// How many attempts were started.
    pub attempts: u64,
    /// How many of them ended with the process.
    pub interrupted: u64,
    /// The tokens of models that the attempts have read.
    pub input_tokens: u64,
    /// The tokens of models that the attempts have written.
    pub output_tokens: u64,
    /// Its progress, from 0 to 1.
    pub progress: Option<f64>,
    /// The note of the last progress report.
    pub note: Option<String>,
    /// When it was accepted.
    pub made_at: Timestamp,
    /// When it may start.
    pub due_at: Timestamp,
    /// When its last attempt started.
    pub started_at: Option<Timestamp>,
    /// The time after which its result is of no use.
    #[serde(rename = "deadline_at")]
    pub deadline: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Length of its result, in bytes.
    pub result_bytes: Option<u64>,
    /// The media type of the result.
    pub media_type: Option<String>,
    /// Why it, or its last attempt, failed: a code for programs.
    pub error_code: Option<String>,
    /// Why it, or its last attempt, failed: a message for people.
    pub error: Option<String>,
}

const ASKED: &str = "SELECT q.id, q.agent, agent.name, agent.address, q.recipient, q.payload,
        q.body, q.origin, q.message_id, q.state, q.reason, q.created_at, r.state, r.detail
     FROM outbox q JOIN agent ON agent.id = q.agent LEFT JOIN receipt r ON r.outbox = q.id";

fn asked_item(row: &Row<'_>) -> rusqlite::Result<AskedItem> {
    Ok(AskedItem {
        row: row.get(0)?,
        agent_row: row.get(1)?,
        agent: row.get(2)?,
        from: row.get(3)?,
        to: row.get(4)?,
        payload: payload(row, 5)?.to_compact(),
        origin: row.get(7)?,
        message_id: message_id(row, 8)?.map(|id| id.to_string()),
        state: row.get(9)?,
        reason: row.get(10)?,
        created_at: time(row, 11)?,
        receipt: row.get(12)?,
        receipt_detail: row.get(13)?,
    })
}

/// The messages that request jobs, newest first; those older than the row `before`, at most
/// `limit`. Messages that only mention the command are included.
///
/// # Errors
/// Any error of SQLite.
pub fn asked(db: &Reader, before: i64, limit: u64) -> Result<Vec<AskedItem>, StoreError> {
    db.all(
        &format!(
            "{ASKED} WHERE q.id < ?1 AND q.resend_of IS NULL
           AND (instr(coalesce(q.payload, q.body), 'EXECUTE_AI_JOB') > 0
                OR substr(q.origin, 1, length(?2)) = ?2)
         ORDER BY q.id DESC LIMIT ?3"
        ),
        params![before, OPERATORS_JOBS, integer(limit)],
        asked_item,
    )
}

/// The message of a row of the outbox, whatever its content; for a resend, the first transaction's.
///
/// # Errors
/// Any error of SQLite.
pub fn asked_at(db: &Reader, row: i64) -> Result<Option<AskedItem>, StoreError> {
    db.first(
        &format!("{ASKED} WHERE q.id = (SELECT coalesce(resend_of, id) FROM outbox WHERE id = ?1)"),
        [row],
        asked_item,
    )
}

/// The newest row of the outbox whose transaction has this hash or whose message has this id.
///
/// # Errors
/// Any error of SQLite.
pub fn row_of(db: &Reader, name: &str) -> Result<Option<i64>, StoreError> {
    db.first(
        "SELECT id FROM outbox WHERE hash = ?1 OR message_id = ?2 ORDER BY id DESC LIMIT 1",
        params![hash_of(name), id_of(name)],
        |row| row.get(0),
    )
}

/// The bytes of the hash with this text, as a column holds them; NULL, which equals nothing, if it is
/// none.
fn hash_of(text: &str) -> Value {
    let hash = text.parse::<TransactionHash>();
    hash.map_or(Value::Null, |hash| Value::Blob(hash.as_bytes().to_vec()))
}

/// Like [`hash_of`], for the id of a message.
fn id_of(text: &str) -> Value {
    let id = text.parse::<MessageId>();
    id.map_or(Value::Null, |id| Value::Blob(id.as_bytes().to_vec()))
}

/// The signed transactions that carried the message of a row, oldest first.
///
/// # Errors
/// Any error of SQLite.
pub fn carriers(db: &Reader, row: i64) -> Result<Vec<Carrier>, StoreError> {
    db.all(
        "SELECT hash, state, height, mined_at FROM outbox
         WHERE (id = ?1 OR resend_of = ?1) AND hash IS NOT NULL ORDER BY id",
        [row],
        |row| {
            Ok(Carrier {
                transaction: hash(row, 0)?,
                state: row.get(1)?,
                height: optional_natural(row, 2)?,
                mined_at: optional_time(row, 3)?,
            })
        },
    )
}

/// The verified messages to an agent that name this transaction and are in a block, in the chain's
/// order.
///
/// # Errors
/// Any error of SQLite.
pub fn answers(
    db: &Reader,
    agent_row: i64,
    transaction: &str,
) -> Result<Vec<AnswerItem>, StoreError> {
    db.all(
        "SELECT id, hash, sender, height, seen_at, stored FROM inbox
         WHERE re = ?1 AND agent = ?2 AND authenticity = 'verified' AND state <> 'withdrawn'
         ORDER BY height, seq",
        params![hash_of(transaction), agent_row],
        |row| {
            Ok(AnswerItem {
                row: row.get(0)?,
                hash: hash(row, 1)?,
                from: row.get(2)?,
                height: optional_natural(row, 3)?,
                seen_at: time(row, 4)?,
                transaction: row.get(5)?,
            })
        },
    )
}

/// The tasks to list.
#[derive(Clone, Debug, Default)]
pub struct ExecutingFilter {
    /// Only those of the agent with this name or address.
    pub agent: Option<String>,
    /// Only those in these states; in any state if empty.
    pub states: Vec<String>,
    /// Only this row.
    pub row: Option<i64>,
    /// Only rows before this one.
    pub before: Option<i64>,
    /// Only the one that this transaction, or the message with this id, requested.
    pub asked_by: Option<String>,
    /// At most this many, the newest.
    pub limit: u64,
}

/// The tasks of hosted wallets, newest first.
///
/// # Errors
/// Any error of SQLite.
pub fn executing(db: &Reader, filter: &ExecutingFilter) -> Result<Vec<ExecutingItem>, StoreError> {
    let mut sql = String::from(
        "SELECT task.id, task.state, agent.name, task.behaviour, task.key, task.kind,
                task.submitter, i.hash, task.input, task.attempts, task.interrupted,
                task.progress, task.note, task.made_at, task.due_at, task.started_at,
                task.deadline, task.ended_at, octet_length(task.result), task.media_type,
                task.error_code, task.error, task.input_tokens, task.output_tokens, task.agent,
                task.unapproved
         FROM task JOIN agent ON agent.id = task.agent LEFT JOIN inbox i ON i.id = task.inbox
         WHERE true",
    );
    let mut values = Vec::new();
    if let Some(agent) = &filter.agent {
        sql.push_str(" AND (agent.name = ? OR agent.address = ?)");
        values.extend([Value::Text(agent.clone()), Value::Text(agent.clone())]);
    }
    if !filter.states.is_empty() {
        let marks = vec!["?"; filter.states.len()].join(", ");
        sql.push_str(&format!(" AND task.state IN ({marks})"));
        values.extend(filter.states.iter().cloned().map(Value::Text));
    }
    if let Some(row) = filter.row {
        sql.push_str(" AND task.id = ?");
        values.push(Value::Integer(row));
    }
    if let Some(before) = filter.before {
        sql.push_str(" AND task.id < ?");
        values.push(Value::Integer(before));
    }
    if let Some(name) = &filter.asked_by {
        sql.push_str(" AND (task.key = ? OR i.hash = ? OR i.identity = ?)");
        let text = Value::Text(name.clone());
        values.extend([text.clone(), hash_of(name), text]);
    }
    sql.push_str(" ORDER BY task.id DESC LIMIT ?");
    values.push(Value::Integer(integer(filter.limit)));
    db.all(&sql, params_from_iter(values), |row| {
        Ok(ExecutingItem {
            id: format!("task/{}", row.get::<_, i64>(0)?),
            state: row.get(1)?,
            agent: row.get(2)?,
            behaviour: row.get(3)?,
            key: row.get(4)?,
            kind: row.get(5)?,
            submitter: row.get(6)?,
            transaction: optional_hash(row, 7)?,
            input: row.get(8)?,
            attempts: natural(row, 9)?,
            interrupted: natural(row, 10)?,
            progress: row.get(11)?,
            note: row.get(12)?,
            made_at: time(row, 13)?,
            due_at: time(row, 14)?,
            started_at: optional_time(row, 15)?,
            deadline: optional_time(row, 16)?,
            ended_at: optional_time(row, 17)?,
            result_bytes: optional_natural(row, 18)?,
            media_type: row.get(19)?,
            error_code: row.get(20)?,
            error: row.get(21)?,
            input_tokens: natural(row, 22)?,
            output_tokens: natural(row, 23)?,
            agent_row: row.get(24)?,
            unapproved: row.get(25)?,
        })
    })
}

/// The whole result of a task.
///
/// # Errors
/// Any error of SQLite.
pub fn result(db: &Reader, row: i64) -> Result<Option<String>, StoreError> {
    db.first("SELECT result FROM task WHERE id = ?1", [row], |row| {
        row.get(0)
    })
    .map(Option::flatten)
}
