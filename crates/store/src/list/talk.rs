//! The messages to and from hosted wallets, and what is known about their delivery.

use agentry_core::rows::{AgentId, OutboxId, ReceiptState};
use agentry_protocol::{
    Address, Envelope, Json, Limits, StoredTransaction, Timestamp, TransactionError,
    TransactionHash,
};
use rusqlite::types::ValueRef;
use rusqlite::{Row, params};

use crate::column::{
    bytes, hash, natural, optional_bytes, optional_hash, optional_natural, payload, text, time,
    word,
};
use crate::number::integer;
use crate::{Reader, StoreError};

/// The row of the store that holds a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageRow {
    /// The message was sent to a hosted wallet.
    Inbox(i64),
    /// The message names a sender that did not sign it.
    Forged(i64),
    /// A hosted wallet sent the message.
    Outbox(i64),
}

/// A message to or from a hosted wallet.
#[derive(Clone, Debug)]
pub struct ListedMessage {
    /// The row that holds it.
    pub place: MessageRow,
    /// The block; `None` while it is in no block.
    pub height: Option<u64>,
    /// Hash of the transaction; `None` before it is signed.
    pub hash: Option<String>,
    /// The sender that it names.
    pub from: String,
    /// The recipient.
    pub to: String,
    /// The amount that it transfers, in AIT, as the transaction spells it.
    pub amount: String,
    /// The message; `None` if the row cannot be read back.
    pub payload: Option<Json>,
    /// Whether the sender is verified; `None` for a hosted wallet.
    pub authenticity: Option<String>,
    /// Its state in the inbox or the outbox.
    pub state: String,
    /// Why it waits, failed or was refused.
    pub reason: Option<String>,
    /// When it was seen in a block or, for a sent message that is in no block, when it was
    /// requested.
    pub seen_at: Timestamp,
    /// The row of the outbox whose message this carries again.
    pub resend_of: Option<i64>,
    /// What is known about its delivery, if delivery updates were requested.
    pub receipt: Option<Delivery>,
}

impl ListedMessage {
    /// The key that orders a conversation as the chain does. Messages in no block come last. Within
    /// a block, received messages come before sent ones.
    pub const fn turn(&self) -> (u64, bool, i64) {
        let height = match self.height {
            Some(height) => height,
            None => u64::MAX,
        };
        match self.place {
            MessageRow::Inbox(row) | MessageRow::Forged(row) => (height, false, row),
            MessageRow::Outbox(row) => (height, true, row),
        }
    }

    fn is_in_thread(&self, thread: &str) -> bool {
        self.payload.as_ref().is_some_and(|payload| {
            let envelope = Envelope::read(payload);
            envelope
                .header()
                .and_then(|header| header.thread.as_ref())
                .is_some_and(|found| found.as_str() == thread)
        })
    }
}

/// What is known about the delivery of a sent message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The requested acknowledgment: `received` or `done`.
    pub wanted: Option<String>,
    /// Its state.
    pub state: ReceiptState,
    /// The recipient's explanation.
    pub detail: Option<String>,
    /// How many more times it may be sent again.
    pub resends_left: u64,
}

/// The messages to list.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only those of the hosted wallet at this address.
    pub agent: String,
    /// Only those from this sender.
    pub from: Option<String>,
    /// Only those of this conversation.
    pub thread: Option<String>,
    /// Only rows after this one.
    pub after: i64,
    /// Only rows before this one.
    pub before: Option<i64>,
    /// Whether the oldest rows come first, in place of the newest.
    pub oldest_first: bool,
    /// At most this many, the first.
    pub limit: usize,
}

impl Selection {
    /// The row before which all selected rows are.
    fn end(&self) -> i64 {
        self.before.unwrap_or(i64::MAX)
    }

    /// The order of the rows.
    const fn order(&self) -> &'static str {
        if self.oldest_first { "ASC" } else { "DESC" }
    }

    /// The rows of a query that belong to the conversation, in its order. Rows of a table without a
    /// column for the conversation are filtered one by one.
    fn pick(
        &self,
        rows: rusqlite::MappedRows<'_, impl FnMut(&Row<'_>) -> rusqlite::Result<ListedMessage>>,
    ) -> Result<Vec<ListedMessage>, StoreError> {
        let belongs = |told: &ListedMessage| match &self.thread {
            Some(thread) => told.is_in_thread(thread),
            None => true,
        };
        let rows = rows.filter(|row| row.as_ref().map_or(true, belongs));
        Ok(rows.take(self.limit).collect::<rusqlite::Result<_>>()?)
    }
}

const RECEIVED: &str = "SELECT q.id, q.height, q.hash, q.sender, agent.address, q.stored, q.state,
        q.seen_at, coalesce(q.reason, q.rejected), q.authenticity
     FROM inbox q JOIN agent ON agent.id = q.agent";

/// The messages to a wallet, newest first unless the oldest are asked for first.
///
/// # Errors
/// Any error of SQLite.
pub fn received(db: &Reader, selection: &Selection) -> Result<Vec<ListedMessage>, StoreError> {
    db.all(
        &format!(
            "{RECEIVED} WHERE agent.address = ?1 AND q.id > ?2 AND q.id < ?3
               AND (?4 IS NULL OR q.sender = ?4) AND (?5 IS NULL OR q.thread = ?5)
             ORDER BY q.id {} LIMIT ?6",
            selection.order()
        ),
        params![
            selection.agent,
            selection.after,
            selection.end(),
            selection.from,
            selection.thread,
            integer(selection.limit as u64)
        ],
        received_row,
    )
}

/// The message in a row of the inbox.
///
/// # Errors
/// Any error of SQLite.
pub fn received_at(db: &Reader, inbox: i64) -> Result<Option<ListedMessage>, StoreError> {
    let sql = format!("{RECEIVED} WHERE q.id = ?1");
    db.first(&sql, params![inbox], received_row)
}

fn received_row(row: &Row<'_>) -> rusqlite::Result<ListedMessage> {
    Ok(ListedMessage {
        state: row.get(6)?,
        reason: row.get(8)?,
        authenticity: row.get(9)?,
        ..heard(row, MessageRow::Inbox(row.get(0)?))?
    })
}

/// The newest messages to a wallet that name a sender that did not sign them, newest first.
///
/// # Errors
/// Any error of SQLite.
pub fn forged(db: &Reader, selection: &Selection) -> Result<Vec<ListedMessage>, StoreError> {
    let mut statement = db.prepare(
        "SELECT q.rowid, q.height, q.hash, q.sender, agent.address, q.stored, 'forged', q.seen_at
         FROM forged q JOIN agent ON agent.id = q.agent
         WHERE agent.address = ?1 AND q.rowid > ?2 AND (?3 IS NULL OR q.sender = ?3)
         ORDER BY q.rowid DESC",
    )?;
    let rows = statement.query_map(
        params![selection.agent, selection.after, selection.from],
        |row| heard(row, MessageRow::Forged(row.get(0)?)),
    )?;
    selection.pick(rows)
}

fn heard(row: &Row<'_>, place: MessageRow) -> rusqlite::Result<ListedMessage> {
    let stored = text(row, 5, stored)?;
    Ok(ListedMessage {
        place,
        height: optional_natural(row, 1)?,
        hash: Some(hash(row, 2)?),
        from: row.get(3)?,
        to: row.get(4)?,
        amount: stored
            .as_ref()
            .map_or_else(String::new, |stored| stored.amount.to_string()),
        payload: stored.map(|stored| stored.message().into_owned()),
        authenticity: Some("forged".to_owned()),
        state: "forged".to_owned(),
        reason: None,
        seen_at: time(row, 7)?,
        resend_of: None,
        receipt: None,
    })
}

/// A stored transaction; `None` if it was pruned, which leaves an empty text.
fn stored(text: &str) -> Result<Option<StoredTransaction>, TransactionError> {
    if text.is_empty() {
        return Ok(None);
    }
    StoredTransaction::parse(text.as_bytes(), Limits::default()).map(Some)
}

const SENT: &str = "SELECT q.id, q.height, q.hash, agent.address, q.recipient, q.amount, q.payload,
        q.body, q.state, q.reason, q.resend_of, r.wanted, r.state, r.detail, r.resends_left,
        coalesce(q.mined_at, q.created_at)
     FROM outbox q JOIN agent ON agent.id = q.agent
     LEFT JOIN receipt r ON r.outbox = coalesce(q.resend_of, q.id)";

/// The messages that a wallet sent, newest first unless the oldest are asked for first.
///
/// # Errors
/// Any error of SQLite.
pub fn sent(db: &Reader, selection: &Selection) -> Result<Vec<ListedMessage>, StoreError> {
    let mut statement = db.prepare(&format!(
        "{SENT} WHERE agent.address = ?1 AND q.id > ?2 AND q.id < ?3 ORDER BY q.id {}",
        selection.order()
    ))?;
    let rows = statement.query_map(
        params![selection.agent, selection.after, selection.end()],
        ours,
    )?;
    selection.pick(rows)
}

/// The message in a row of the outbox.
///
/// # Errors
/// Any error of SQLite.
pub fn sent_at(db: &Reader, outbox: i64) -> Result<Option<ListedMessage>, StoreError> {
    db.first(&format!("{SENT} WHERE q.id = ?1"), params![outbox], ours)
}

fn ours(row: &Row<'_>) -> rusqlite::Result<ListedMessage> {
    let state = match row.get_ref(12)? {
        ValueRef::Null => None,
        _ => Some(word(row, 12, ReceiptState::parse)?),
    };
    let wanted = row.get(11)?;
    let detail = row.get(13)?;
    let resends_left = optional_natural(row, 14)?.unwrap_or(0);
    Ok(ListedMessage {
        place: MessageRow::Outbox(row.get(0)?),
        height: optional_natural(row, 1)?,
        hash: optional_hash(row, 2)?,
        from: row.get(3)?,
        to: row.get(4)?,
        amount: natural(row, 5)?.to_string(),
        payload: Some(payload(row, 6)?),
        authenticity: None,
        state: row.get(8)?,
        reason: row.get(9)?,
        seen_at: time(row, 15)?,
        resend_of: row.get(10)?,
        receipt: state.map(|state| Delivery {
            wanted,
            state,
            detail,
            resends_left,
        }),
    })
}

/// A transaction that carried a message, for the first time or again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carrier {
    /// Its row.
    pub outbox: OutboxId,
    /// Its state: a word of [`OutboxState`](agentry_core::rows::OutboxState).
    pub state: String,
    /// Its hash, once it is signed.
    pub hash: Option<TransactionHash>,
    /// Whether the node has accepted it.
    pub accepted: bool,
    /// The block that holds it.
    pub height: Option<u64>,
    /// Why it waits or failed.
    pub reason: Option<String>,
}

/// A sent message and its delivery so far.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The agent that sent it.
    pub agent: AgentId,
    /// The sender's address.
    pub from: Address,
    /// The recipient.
    pub to: Address,
    /// The first transaction that carries it, then the others.
    pub carriers: Vec<Carrier>,
    /// What is known about its delivery, if delivery updates were requested.
    pub delivery: Option<Delivery>,
}

/// Reads a sent message and its delivery so far.
///
/// # Errors
/// Any error of SQLite.
pub fn progress(db: &Reader, outbox: OutboxId) -> Result<Option<Progress>, StoreError> {
    let Some(first) = sent_at(db, outbox.0)? else {
        return Ok(None);
    };
    let carriers = db.all(
        "SELECT id, state, hash, accepted_at IS NOT NULL, height, reason FROM outbox
             WHERE id = ?1 OR resend_of = ?1 ORDER BY id",
        params![outbox.0],
        |row| {
            Ok(Carrier {
                outbox: OutboxId(row.get(0)?),
                state: row.get(1)?,
                hash: optional_bytes(row, 2, TransactionHash::from_bytes)?,
                accepted: row.get(3)?,
                height: optional_natural(row, 4)?,
                reason: row.get(5)?,
            })
        },
    )?;
    let agent = db.one(
        "SELECT agent FROM outbox WHERE id = ?1",
        params![outbox.0],
        |row| row.get(0).map(AgentId),
    )?;
    let (Ok(from), Ok(to)) = (
        Address::from_chain(&first.from),
        Address::from_chain(&first.to),
    ) else {
        return Ok(None);
    };
    Ok(Some(Progress {
        agent,
        from,
        to,
        carriers,
        delivery: first.receipt,
    }))
}

/// A message to a hosted wallet that may be an answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its row in the inbox.
    pub inbox: i64,
    /// Hash of its transaction.
    pub hash: TransactionHash,
    /// The block that holds it.
    pub height: Option<u64>,
    /// Whether its sender is verified.
    pub authenticity: String,
    /// Its state: a word of
    /// [`InboxState`](agentry_core::rows::InboxState).
    pub state: String,
    /// The transaction.
    pub stored: StoredTransaction,
}

/// The messages to a wallet that name one of these transactions as what they answer, in order of
/// arrival.
///
/// # Errors
/// Any error of SQLite.
pub fn replies(
    db: &Reader,
    agent: AgentId,
    asked: &[TransactionHash],
) -> Result<Vec<Reply>, StoreError> {
    let mut replies = Vec::new();
    for hash in asked {
        let mut statement = db.prepare(
            "SELECT id, hash, height, authenticity, state, stored FROM inbox
             WHERE re = ?1 AND agent = ?2 AND stored <> ''",
        )?;
        for one in statement.query_map(params![hash.as_bytes(), agent.0], reply)? {
            replies.push(one?);
        }
    }
    replies.sort_by_key(|reply| reply.inbox);
    Ok(replies)
}

/// The messages to a wallet from a sender, in blocks from this height on, that do not name what
/// they answer.
///
/// # Errors
/// Any error of SQLite.
pub fn remarks(
    db: &Reader,
    agent: AgentId,
    sender: &Address,
    from: u64,
) -> Result<Vec<Reply>, StoreError> {
    db.all(
        "SELECT id, hash, height, authenticity, state, stored FROM inbox
         WHERE height >= ?3 AND agent = ?1 AND sender = ?2 AND re IS NULL AND stored <> ''
         ORDER BY id",
        params![agent.0, sender.as_str(), integer(from)],
        reply,
    )
}

fn reply(row: &Row<'_>) -> rusqlite::Result<Reply> {
    Ok(Reply {
        inbox: row.get(0)?,
        hash: bytes(row, 1, TransactionHash::from_bytes)?,
        height: optional_natural(row, 2)?,
        authenticity: row.get(3)?,
        state: row.get(4)?,
        stored: text(row, 5, |text| {
            StoredTransaction::parse(text.as_bytes(), Limits::default())
        })?,
    })
}

/// A number that changes whenever another connection changes the store.
///
/// # Errors
/// Any error of SQLite.
pub fn version(db: &Reader) -> Result<i64, StoreError> {
    db.one("PRAGMA data_version", [], |row| row.get(0))
}
