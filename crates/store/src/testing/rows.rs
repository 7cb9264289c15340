//! The rows of the tables and those of a state, in the same form.

use std::collections::BTreeMap;

use agentry_core::state::usage::Usage;
use agentry_core::state::{State, row};
use agentry_protocol::{BlockHash, ContentHash, MessageId, TransactionHash};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Map, Value, json};

use crate::tables::usage::columns;

/// The rows of each table, in the order of their text.
pub(crate) type Rows = BTreeMap<&'static str, Vec<String>>;

const TABLES: [&str; 19] = [
    "agent", "inbox", "progress", "forged", "state", "event", "outbox", "receipt", "task", "card",
    "spending", "sighting", "gap", "token", "notice", "webhook", "push", "usage", "meta",
];

/// Rows as text, in the order of that.
pub(crate) fn sorted(mut rows: Vec<Value>) -> Vec<String> {
    let mut rows: Vec<_> = rows.drain(..).map(|row| row.to_string()).collect();
    rows.sort_unstable();
    rows
}

/// The value of a column.
pub(crate) fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => value.into(),
        ValueRef::Real(value) => value.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => digits(bytes).into(),
    }
}

/// The rows of the tables.
pub(crate) fn of_tables(db: &Connection) -> Rows {
    let table = |table: &'static str| {
        let mut statement = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let rows = statement.query_map([], |row| {
            let mut object = Map::new();
            for (index, name) in names.iter().enumerate() {
                object.insert(name.clone(), value(row.get_ref(index)?));
            }
            Ok(Value::Object(object))
        });
        let rows = rows.unwrap().map(Result::unwrap);
        // No block is final: as if nothing were stored.
        let rows = rows.filter(|row| row["key"] != "cards_final" || row["value"] != "-1");
        // The place in the log is not a part of the state, and the ids are those of the rows.
        let hidden = ["position", "sum", "ids"];
        let is_shown = |row: &Value| hidden.iter().all(|key| row["key"] != *key);
        let rows = rows.filter(|row| table != "meta" || is_shown(row));
        (table, sorted(rows.collect()))
    };
    TABLES.into_iter().map(table).collect()
}

/// The rows that a state stands for.
pub(crate) fn of_state(state: &State) -> Rows {
    let tables = [
        state.agents().iter().map(agent).collect(),
        state.inbox().iter().map(message).collect(),
        state.inbox().iter().flat_map(progress).collect(),
        state.forged().iter().map(forged).collect(),
        state.memory().iter().map(memory).collect(),
        state.events().iter().map(event).collect(),
        state.outbox().iter().map(outgoing).collect(),
        state.receipts().iter().map(tracking).collect(),
        state.tasks().iter().map(task).collect(),
        state.cards().iter().map(card).collect(),
        state.spending().iter().map(spending).collect(),
        state.sightings().iter().map(sighting).collect(),
        state.gaps().iter().map(gap).collect(),
        state.tokens().iter().map(token).collect(),
        state.notices().iter().map(notice).collect(),
        state.webhooks().iter().map(webhook).collect(),
        state.pushes().iter().map(push).collect(),
        usage(state),
        facts(state),
    ];
    TABLES.into_iter().zip(tables.map(sorted)).collect()
}

fn text(value: &impl ToString) -> Value {
    value.to_string().into()
}

/// The bytes of a hash, a key or an id.
fn hex<const N: usize>(bytes: Option<&[u8; N]>) -> Value {
    optional(bytes.map(|bytes| digits(bytes)).as_ref())
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn optional(value: Option<&impl ToString>) -> Value {
    value.map_or(Value::Null, text)
}

fn agent(row: &row::Agent) -> Value {
    json!({
        "id": row.id.0, "address": text(&row.address), "name": row.name,
        "start_height": row.start_height.0, "last_nonce": row.last_nonce,
        "low_budget_day": row.low_budget_day,
    })
}

fn message(row: &row::Message) -> Value {
    json!({
        "id": row.id.0, "agent": row.agent.0, "digest": hex(Some(row.digest.as_bytes())), "hash": hex(Some(row.hash.as_bytes())),
        "sender": text(&row.sender), "height": row.height.map(|height| height.0),
        "stored": text(&row.stored), "authenticity": row.authenticity.as_str(),
        "standing": row.standing.as_str(), "state": row.state.as_str(), "seq": row.seq,
        "attempts": row.attempts, "due_at": row.due_at, "reason": row.reason,
        "seen_at": row.seen_at, "settled_at": row.settled_at, "identity": row.identity,
        "re": hex(row.re.as_ref().map(TransactionHash::as_bytes)), "thread": row.thread, "expires_at": row.expires_at,
        "priority": u8::from(row.urgent), "rejected": row.rejected,
    })
}

fn progress(row: &row::Message) -> Vec<Value> {
    row.done
        .iter()
        .map(|behaviour| json!({ "inbox": row.id.0, "behaviour": behaviour }))
        .collect()
}

fn forged(row: &row::Forged) -> Value {
    json!({
        "agent": row.agent.0, "hash": hex(Some(row.hash.as_bytes())), "sender": text(&row.sender),
        "height": row.height.0, "stored": text(&row.stored), "seen_at": row.seen_at,
    })
}

fn memory(row: &row::Memory) -> Value {
    json!({
        "agent": row.agent.0, "behaviour": row.behaviour, "key": row.key,
        "value": text(&row.value),
    })
}

fn event(row: &row::Event) -> Value {
    json!({
        "id": row.id.0, "agent": row.agent.0, "behaviour": row.behaviour,
        "kind": row.kind.as_str(), "name": row.name, "data": text(&row.data),
        "inbox": row.inbox.map(|inbox| inbox.0), "state": row.state.as_str(),
        "due_at": row.due_at, "attempts": row.attempts, "reason": row.reason,
        "made_at": row.made_at, "standing": row.cause.words().0,
        "sender": row.cause.words().1, "anchor": row.anchor.map(|height| height.0),
        "origin": row.origin.as_str(), "hops": row.trail.hops,
        "trace": optional(row.trail.trace.as_ref()),
    })
}

fn outgoing(row: &row::Outgoing) -> Value {
    let signed = row.signed.as_ref();
    let block_hash = row.block.and_then(|(_, hash)| hash);
    json!({
        "id": row.id.0, "agent": row.agent.0, "origin": row.origin,
        "inbox": row.inbox.map(|inbox| inbox.0), "recipient": text(&row.recipient),
        "amount": row.amount, "fee": row.fee, "payload": signed.is_none().then(|| row.payload.to_compact()),
        "state": row.state.as_str(), "reason": row.reason,
        "nonce": signed.map(|signed| signed.nonce),
        "hash": hex(signed.map(|signed| signed.hash.as_bytes())),
        "digest": hex(signed.map(|signed| signed.digest.as_bytes())),
        "body": optional(signed.map(|signed| &signed.body)),
        "since": row.since.map(|height| height.0), "posts": row.posts,
        "posted_at": row.posted_at,
        "height": row.block.map(|(height, _)| height.0),
        "block_hash": hex(block_hash.as_ref().map(BlockHash::as_bytes)), "created_at": row.created_at,
        "prepared_at": row.prepared_at, "accepted_at": row.accepted_at,
        "mined_at": row.mined_at, "settled_at": row.settled_at,
        "message_id": hex(row.message_id.as_ref().map(MessageId::as_bytes)),
        "resend_of": row.resend_of.map(|id| id.0), "expires_at": row.expires_at,
        "budget_day": row.budget_day, "held": u8::from(row.held),
        "unapproved": u8::from(row.unapproved),
        "standing": row.cause.words().0, "sender": row.cause.words().1,
    })
}

fn tracking(row: &row::Tracking) -> Value {
    json!({
        "outbox": row.outbox.0, "agent": row.agent.0, "behaviour": row.behaviour,
        "label": row.label, "wanted": row.wanted, "state": row.state.as_str(),
        "detail": row.detail, "within_ms": row.within_ms, "resends_left": row.resends_left,
        "mined": u8::from(row.mined), "due_at": row.due_at, "changed_at": row.changed_at,
    })
}

fn task(row: &row::Task) -> Value {
    json!({
        "id": row.id.0, "agent": row.agent.0, "behaviour": row.behaviour, "key": row.key,
        "kind": row.kind, "input": text(&row.input), "inbox": row.inbox.map(|inbox| inbox.0),
        "submitter": optional(row.submitter.as_ref()), "state": row.state.as_str(),
        "attempts": row.attempts, "interrupted": row.interrupted,
        "input_tokens": row.tokens.input, "output_tokens": row.tokens.output,
        "budget_day": row.reserved.map(|reserved| reserved.day),
        "reserved_tokens": row.reserved.map(|reserved| reserved.tokens), "due_at": row.due_at,
        "deadline": row.deadline, "progress": row.progress, "note": row.note,
        "result": row.result, "media_type": row.media_type, "error_code": row.error_code,
        "error": row.error, "made_at": row.made_at, "started_at": row.started_at,
        "ended_at": row.ended_at, "standing": row.cause.words().0,
        "sender": row.cause.words().1, "origin": row.origin.as_str(),
        "hops": row.trail.hops, "trace": optional(row.trail.trace.as_ref()),
        "answers": json!(row.answers).to_string(),
        "unapproved": u8::from(row.unapproved),
        "question": row.question.as_ref().map(|question| json!(question).to_string()),
    })
}

fn card(row: &row::Card) -> Value {
    json!({
        "id": row.id, "address": text(&row.address), "hash": hex(Some(row.hash.as_bytes())),
        "height": row.height.0, "public_key": digits(row.public_key.as_bytes()), "card": row.card,
        "expires_at": row.expires_at, "announced_at": row.announced_at,
    })
}

fn spending(row: &row::Spending) -> Value {
    json!({
        "agent": row.agent.0, "day": row.day, "standing": row.cause.words().0,
        "sender": row.cause.words().1, "spent": row.spent, "tokens": row.tokens,
    })
}

fn sighting(row: &row::Sighting) -> Value {
    json!({
        "id": row.id, "agent": row.agent.0, "digest": hex(Some(row.digest.as_bytes())), "hash": hex(Some(row.hash.as_bytes())),
        "nonce": row.nonce, "recipient": text(&row.recipient), "amount": row.amount,
        "fee": row.fee, "kind": row.kind, "content": hex(Some(row.content.as_bytes())),
        "message_id": hex(row.message_id.as_ref().map(MessageId::as_bytes)), "re": hex(row.re.as_ref().map(TransactionHash::as_bytes)),
        "body": text(&row.body), "height": row.block.map(|height| height.0),
        "block_hash": hex(row.block_hash.as_ref().map(BlockHash::as_bytes)), "mark": row.mark.map(|row| row.0),
        "seen_at": row.seen_at,
    })
}

fn gap(row: &row::Gap) -> Value {
    json!({ "height": row.height.0, "reason": row.reason, "since": row.since })
}

fn token(row: &row::Token) -> Value {
    let token = &row.token;
    let listed = |all: Option<String>| all.map_or(Value::Null, Value::String);
    json!({
        "name": token.name, "secret": hex(Some(token.secret.as_bytes())),
        "agents": listed(token.agents.as_ref().map(|all| json!(all).to_string())),
        "recipients": listed(token.recipients.as_ref().map(|all| json!(all).to_string())),
        "may_read": u8::from(token.rights.read), "may_send": u8::from(token.rights.send),
        "may_operate": u8::from(token.rights.operate), "daily_budget": token.daily_budget,
        "made_at": token.made_at, "expires_at": token.expires_at,
        "day": row.day, "spent": row.spent,
    })
}

fn notice(row: &row::Notice) -> Value {
    json!({
        "id": row.id, "kind": row.kind, "agent": row.agent, "subject": row.subject,
        "reason": row.reason, "at": row.at,
    })
}

fn webhook(row: &row::Webhook) -> Value {
    json!({ "name": row.name, "through": row.through })
}

fn push(row: &row::Push) -> Value {
    let push = &row.push;
    json!({
        "number": row.number, "owner": push.owner, "task": push.task, "id": push.id,
        "agent": push.agent, "target": push.target, "url": push.url, "token": push.token,
        "scheme": push.scheme, "credentials": push.credentials, "made_at": push.made_at,
        "told": hex(row.told.as_ref().map(ContentHash::as_bytes)), "failures": row.failures,
        "due_at": row.due_at,
    })
}

fn usage(state: &State) -> Vec<Value> {
    let tables = [
        state.inbox().usage(),
        state.forged().usage(),
        state.events().usage(),
        state.tasks().usage(),
        state.outbox().usage(),
    ];
    let shares = tables.into_iter().flatten().flat_map(Usage::iter);
    let rows = shares.map(|((agent, kind, share), amount)| {
        let (standing, sender) = columns(share);
        json!({
            "agent": agent.0, "kind": kind.as_str(), "standing": standing, "sender": sender,
            "items": amount.items, "bytes": amount.bytes,
        })
    });
    rows.collect()
}

fn facts(state: &State) -> Vec<Value> {
    let facts = state.facts();
    let chain = facts.chain.as_ref();
    let values = [
        ("chain_id", chain.map(|(id, _)| id.as_str().to_owned())),
        ("genesis", chain.map(|(_, genesis)| genesis.to_string())),
        ("cursor", facts.cursor.as_ref().map(ToString::to_string)),
        ("halted", facts.halted.clone()),
        ("mempool", facts.mempool.clone()),
        (
            "cards_final",
            facts.cards_final.map(|height| height.to_string()),
        ),
        (
            "directory_from",
            facts.directory_from.map(|height| height.to_string()),
        ),
        (
            "directory_progress",
            facts.directory_progress.as_ref().map(ToString::to_string),
        ),
        ("time", facts.time.map(|time| time.to_string())),
        ("ids_from", facts.ids_from.map(|id| id.to_string())),
    ];
    values
        .into_iter()
        .filter_map(|(key, value)| Some(json!({ "key": key, "value": value? })))
        .collect()
}
