//! Transactions that hosted wallets send.

use agentry_protocol::{Amount, BlockHash, Nonce, Timestamp};
use rusqlite::{Row, params_from_iter};
use serde::Serialize;

use super::{Columns, Filter, conditions};
use crate::column::{
    amount, message_id, natural, optional_bytes, optional_hash, optional_natural, optional_time,
    payload, time,
};
use crate::{Reader, StoreError};

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
    /// The recipient.
    pub to: String,
    /// The amount that it transfers, in AIT.
    pub amount: Amount,
    /// The fee that it pays, in AIT.
    pub fee: Amount,
    /// The message, JSON.
    pub payload: String,
    /// What requested it.
    pub origin: String,
    /// The id in its header.
    pub message_id: Option<String>,
    /// The row whose message it carries again.
    pub resend_of: Option<String>,
    /// Its nonce.
    pub nonce: Option<Nonce>,
    /// Its hash, once it is signed.
    pub transaction: Option<String>,
    /// How many times it was posted.
    pub posts: u64,
    /// Why it waits or failed.
    pub reason: Option<String>,
    /// Whether it is held by a day's budget.
    pub waits_for_budget: bool,
    /// Whether it is held until an operator approves it.
    pub waits_for_approval: bool,
    /// How well the sender that caused it is known: `known`, `listed`, `stranger` or `unverified`;
    /// `own` if no sender caused it.
    pub standing: String,
    /// The verified sender that caused it, if one did.
    pub brought_about_by: Option<String>,
    /// The day whose budget paid for it, in days since the epoch, UTC.
    #[serde(skip)]
    pub budget_day: Option<u64>,
    /// The block.
    pub height: Option<u64>,
    /// The block's hash.
    pub block_hash: Option<String>,
    /// When it expires: it is not signed after that.
    pub expires_at: Option<Timestamp>,
    /// When it was requested.
    pub created_at: Timestamp,
    /// When it was signed.
    pub prepared_at: Option<Timestamp>,
    /// When the node accepted it.
    pub accepted_at: Option<Timestamp>,
    /// When it was seen in a block.
    pub mined_at: Option<Timestamp>,
    /// What is known about its delivery, if delivery updates were requested.
    pub receipt: Option<ReceiptItem>,
}

/// What is known about the delivery of a sent message.
#[derive(Clone, Debug, Serialize)]
pub struct ReceiptItem {
    /// The acknowledgment that it requests: `received` or `done`; `null` if it requests none.
    pub wanted: Option<String>,
    /// `open`, `received`, `accepted`, `done`, `failed`, `rejected`, `expired`, `unacknowledged`
    /// or `unsent`.
    pub state: String,
    /// The recipient's explanation.
    pub detail: Option<String>,
    /// How many more times it can be sent again.
    pub resends_left: u64,
    /// How many times it was sent again.
    pub resends: u64,
    /// When its acknowledgment is overdue; `null` before it is mined, and if none is expected.
    pub due_at: Option<Timestamp>,
    /// The behaviour that is told.
    pub behaviour: Option<String>,
    /// The label under which the behaviour is told.
    pub label: Option<String>,
    /// When the state last changed.
    pub changed_at: Timestamp,
}

const COLUMNS: Columns = Columns {
    id: "q.id",
    other: Some("q.recipient"),
    behaviour: Some("q.origin GLOB '*/' || ? || '/*'"),
    state: Some("q.state"),
    at: "q.created_at",
};

/// The newest transactions, oldest first.
///
/// # Errors
/// Any error of SQLite.
pub fn outbox(db: &Reader, filter: &Filter) -> Result<Vec<OutboxItem>, StoreError> {
    let (conditions, values) = conditions(filter, &COLUMNS);
    let mut items: Vec<OutboxItem> = db.all(
        &format!(
            "SELECT q.id, agent.name, q.state, agent.address, q.recipient, q.amount, q.fee,
                    q.payload, q.body, q.origin, q.nonce, q.hash, q.posts, q.reason, q.height,
                    q.block_hash, q.created_at, q.prepared_at, q.accepted_at, q.mined_at,
                    q.message_id, q.resend_of, q.held, q.standing, q.budget_day,
                    q.expires_at, r.state, r.wanted, r.detail, r.resends_left, r.due_at,
                    r.behaviour, r.label, r.changed_at,
                    (SELECT count(*) FROM outbox o WHERE o.resend_of = q.id),
                    nullif(q.sender, ''), q.unapproved = 1 AND q.state = 'queued'
             FROM outbox q JOIN agent ON agent.id = q.agent
             LEFT JOIN receipt r ON r.outbox = q.id
             WHERE {conditions} ORDER BY q.id DESC LIMIT ?"
        ),
        params_from_iter(values),
        item,
    )?;
    items.reverse();
    Ok(items)
}

fn item(row: &Row<'_>) -> rusqlite::Result<OutboxItem> {
    let receipt = match row.get::<_, Option<String>>(26)? {
        None => None,
        Some(state) => Some(ReceiptItem {
            state,
            wanted: row.get(27)?,
            detail: row.get(28)?,
            resends_left: natural(row, 29)?,
            due_at: optional_time(row, 30)?,
            behaviour: row.get(31)?,
            label: row.get(32)?,
            changed_at: time(row, 33)?,
            resends: natural(row, 34)?,
        }),
    };
    Ok(OutboxItem {
        id: format!("outbox/{}", row.get::<_, i64>(0)?),
        agent: row.get(1)?,
        state: row.get(2)?,
        from: row.get(3)?,
        to: row.get(4)?,
        amount: amount(row, 5)?,
        fee: amount(row, 6)?,
        payload: payload(row, 7)?.to_compact(),
        origin: row.get(9)?,
        nonce: optional_natural(row, 10)?.map(Nonce::new),
        transaction: optional_hash(row, 11)?,
        posts: natural(row, 12)?,
        reason: row.get(13)?,
        height: optional_natural(row, 14)?,
        block_hash: optional_bytes(row, 15, BlockHash::from_bytes)?.map(|hash| hash.to_string()),
        created_at: time(row, 16)?,
        prepared_at: optional_time(row, 17)?,
        accepted_at: optional_time(row, 18)?,
        mined_at: optional_time(row, 19)?,
        message_id: message_id(row, 20)?.map(|id| id.to_string()),
        resend_of: row
            .get::<_, Option<i64>>(21)?
            .map(|row| format!("outbox/{row}")),
        waits_for_budget: row.get(22)?,
        waits_for_approval: row.get(36)?,
        standing: row.get(23)?,
        brought_about_by: row.get(35)?,
        budget_day: optional_natural(row, 24)?,
        expires_at: optional_time(row, 25)?,
        receipt,
    })
}
