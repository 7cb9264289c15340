//! Tasks as operators see them: those that were asked for from here, and those that are done here.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serde::Serialize;

use crate::store::column::{natural, optional_natural};
use crate::store::number::integer;

/// What the [origin](super::OutboxItem::origin) of a job begins with that an operator asked for.
/// A random word follows, and the job's type.
pub const OPERATORS_JOBS: &str = "control/task/";

/// A message that asks for a job, or may: its payload says.
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
    /// To whom.
    pub to: String,
    /// What it says, JSON.
    pub payload: String,
    /// What asked for it.
    pub origin: String,
    /// The id in its header.
    pub message_id: Option<String>,
    /// Where its first transaction stands.
    pub state: String,
    /// Why that waits or failed.
    pub reason: Option<String>,
    /// When it was asked for (milliseconds since the epoch).
    pub created_at: u64,
    /// What is known of the message's fate, where somebody wants to know.
    pub receipt: Option<String>,
    /// In its recipient's words.
    pub receipt_detail: Option<String>,
}

/// A transaction that carried a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Carrier {
    /// Its hash.
    pub transaction: String,
    /// Where it stands.
    pub state: String,
    /// The block.
    pub height: Option<u64>,
    /// When it was seen in a block (milliseconds since the epoch).
    pub mined_at: Option<u64>,
}

/// A message that names one of our transactions.
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
    /// When it was seen (milliseconds since the epoch).
    pub seen_at: u64,
    /// The transaction as the chain keeps it, JSON.
    pub transaction: String,
}

/// A task that is done here.
#[derive(Clone, Debug, Serialize)]
pub struct ExecutingItem {
    /// `task/` and the row.
    pub id: String,
    /// Where it stands.
    pub state: String,
    /// The agent's name.
    pub agent: String,
    /// Whose it is.
    pub behaviour: String,
    /// What the behaviour calls it.
    pub key: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who asked for it.
    pub submitter: Option<String>,
    /// Hash of the transaction that asked for it.
    pub transaction: Option<String>,
    /// What is to be done, JSON.
    pub input: String,
    /// How many attempts were begun.
    pub attempts: u64,
    /// How many of them ended with the process.
    pub interrupted: u64,
    /// How far it is, from 0 to 1.
    pub progress: Option<f64>,
    /// In words.
    pub note: Option<String>,
    /// When it was accepted (milliseconds since the epoch).
    pub made_at: u64,
    /// When it may begin.
    pub due_at: u64,
    /// When its last attempt began.
    pub started_at: Option<u64>,
    /// Until when its result is of use.
    #[serde(rename = "deadline_at")]
    pub deadline: Option<u64>,
    /// When it ended.
    pub ended_at: Option<u64>,
    /// Length of its result, in bytes.
    pub result_bytes: Option<u64>,
    /// What the result is.
    pub media_type: Option<String>,
    /// Why it, or its last attempt, failed: a word for programs.
    pub error_code: Option<String>,
    /// A sentence.
    pub error: Option<String>,
}

const ASKED: &str = "SELECT q.id, q.agent, agent.name, agent.address, q.recipient, q.payload,
        q.origin, q.message_id, q.state, q.reason, q.created_at, r.state, r.detail
     FROM outbox q JOIN agent ON agent.id = q.agent LEFT JOIN receipt r ON r.outbox = q.id";

fn asked_item(row: &Row<'_>) -> rusqlite::Result<AskedItem> {
    Ok(AskedItem {
        row: row.get(0)?,
        agent_row: row.get(1)?,
        agent: row.get(2)?,
        from: row.get(3)?,
        to: row.get(4)?,
        payload: row.get(5)?,
        origin: row.get(6)?,
        message_id: row.get(7)?,
        state: row.get(8)?,
        reason: row.get(9)?,
        created_at: natural(row, 10)?,
        receipt: row.get(11)?,
        receipt_detail: row.get(12)?,
    })
}

/// The messages that ask for jobs, newest first; those behind the row `before`, at most `limit`.
/// A message that only mentions the command is among them.
///
/// # Errors
/// What SQLite says.
pub fn asked(db: &Connection, before: i64, limit: u64) -> rusqlite::Result<Vec<AskedItem>> {
    db.prepare(&format!(
        "{ASKED} WHERE q.id < ?1 AND q.resend_of IS NULL
           AND (instr(q.payload, 'EXECUTE_AI_JOB') > 0
                OR substr(q.origin, 1, length(?2)) = ?2)
         ORDER BY q.id DESC LIMIT ?3"
    ))?
    .query_map(params![before, OPERATORS_JOBS, integer(limit)], asked_item)?
    .collect()
}

/// The message of a row of the outbox, whatever it says; of a repetition the first.
///
/// # Errors
/// What SQLite says.
pub fn asked_at(db: &Connection, row: i64) -> rusqlite::Result<Option<AskedItem>> {
    db.prepare(&format!(
        "{ASKED} WHERE q.id = (SELECT coalesce(resend_of, id) FROM outbox WHERE id = ?1)"
    ))?
    .query_row([row], asked_item)
    .optional()
}

/// The row of the outbox whose transaction has this hash, or whose message this id; the newest.
///
/// # Errors
/// What SQLite says.
pub fn row_of(db: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    db.query_row(
        "SELECT max(id) FROM outbox WHERE hash = ?1 OR message_id = ?1",
        [name],
        |row| row.get(0),
    )
}

/// The signed transactions that carried the message of a row, oldest first.
///
/// # Errors
/// What SQLite says.
pub fn carriers(db: &Connection, row: i64) -> rusqlite::Result<Vec<Carrier>> {
    db.prepare(
        "SELECT hash, state, height, mined_at FROM outbox
         WHERE (id = ?1 OR resend_of = ?1) AND hash IS NOT NULL ORDER BY id",
    )?
    .query_map([row], |row| {
        Ok(Carrier {
            transaction: row.get(0)?,
            state: row.get(1)?,
            height: optional_natural(row, 2)?,
            mined_at: optional_natural(row, 3)?,
        })
    })?
    .collect()
}

/// The proven messages to an agent that name this transaction and stand in a block, in the chain's
/// order.
///
/// # Errors
/// What SQLite says.
pub fn answers(
    db: &Connection,
    agent_row: i64,
    transaction: &str,
) -> rusqlite::Result<Vec<AnswerItem>> {
    db.prepare_cached(
        "SELECT id, hash, sender, height, seen_at, stored FROM inbox
         WHERE re = ?1 AND agent = ?2 AND authenticity = 'verified' AND state <> 'withdrawn'
         ORDER BY height, seq",
    )?
    .query_map(params![transaction, agent_row], |row| {
        Ok(AnswerItem {
            row: row.get(0)?,
            hash: row.get(1)?,
            from: row.get(2)?,
            height: optional_natural(row, 3)?,
            seen_at: natural(row, 4)?,
            transaction: row.get(5)?,
        })
    })?
    .collect()
}

/// Which tasks are listed.
#[derive(Clone, Debug, Default)]
pub struct ExecutingFilter {
    /// Only of the agent of this name or address.
    pub agent: Option<String>,
    /// Only in these states; in any, where empty.
    pub states: Vec<String>,
    /// Only this row.
    pub row: Option<i64>,
    /// Only the one that this transaction, or the message of this id, asked for.
    pub asked_by: Option<String>,
    /// At most so many, the newest.
    pub limit: u64,
}

/// The tasks that are done here, newest first.
///
/// # Errors
/// What SQLite says.
pub fn executing(
    db: &Connection,
    filter: &ExecutingFilter,
) -> rusqlite::Result<Vec<ExecutingItem>> {
    let mut sql = String::from(
        "SELECT task.id, task.state, agent.name, task.behaviour, task.key, task.kind,
                task.submitter, i.hash, task.input, task.attempts, task.interrupted,
                task.progress, task.note, task.made_at, task.due_at, task.started_at,
                task.deadline, task.ended_at, octet_length(task.result), task.media_type,
                task.error_code, task.error
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
    if let Some(name) = &filter.asked_by {
        sql.push_str(" AND (task.key = ? OR i.hash = ? OR i.identity = ?)");
        values.extend(vec![Value::Text(name.clone()); 3]);
    }
    sql.push_str(" ORDER BY task.id DESC LIMIT ?");
    values.push(Value::Integer(integer(filter.limit)));
    db.prepare(&sql)?
        .query_map(params_from_iter(values), |row| {
            Ok(ExecutingItem {
                id: format!("task/{}", row.get::<_, i64>(0)?),
                state: row.get(1)?,
                agent: row.get(2)?,
                behaviour: row.get(3)?,
                key: row.get(4)?,
                kind: row.get(5)?,
                submitter: row.get(6)?,
                transaction: row.get(7)?,
                input: row.get(8)?,
                attempts: natural(row, 9)?,
                interrupted: natural(row, 10)?,
                progress: row.get(11)?,
                note: row.get(12)?,
                made_at: natural(row, 13)?,
                due_at: natural(row, 14)?,
                started_at: optional_natural(row, 15)?,
                deadline: optional_natural(row, 16)?,
                ended_at: optional_natural(row, 17)?,
                result_bytes: optional_natural(row, 18)?,
                media_type: row.get(19)?,
                error_code: row.get(20)?,
                error: row.get(21)?,
            })
        })?
        .collect()
}

/// The whole result of a task that is done here.
///
/// # Errors
/// What SQLite says.
pub fn result(db: &Connection, row: i64) -> rusqlite::Result<Option<String>> {
    db.query_row("SELECT result FROM task WHERE id = ?1", [row], |row| {
        row.get(0)
    })
    .optional()
    .map(Option::flatten)
}
