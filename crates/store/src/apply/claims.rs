//! Recognises messages that would be sent again and that the chain already shows.
//!
//! After a restore from a backup, or with a new store, behaviours see messages again that they have
//! already acted on. That rebuilds their state, but their replies are already on the chain. So an
//! outcome's draft claims the [sighting](super::sightings) that is the same message: the draft
//! becomes that transaction, already mined, and is neither signed nor posted.
//!
//! | a draft that … | claims … |
//! |---|---|
//! | names what it answers (`re`) | an answer to the same message, to the same recipient, of the same kind |
//! | is a text without a header, and an answer | the first such text to the same recipient, from the question's block on; an identical text is preferred |
//! | answers nothing | a message with the same content, to the same recipient |
//! | has an id that is on the chain | that message: it was sent again |
//!
//! A sighting is claimed only if it was seen before agents acted, only once, and only if it is not
//! older than what the draft follows from: what an agent says later is new, however much it
//! resembles an earlier message. What an operator sends matches a transaction on the chain only by
//! the same id or the same bytes.

use agentry_core::commit::{Receipt, TaskEnd};
use agentry_core::fingerprint::{Fingerprint, JOB_END};
use agentry_core::rows::{AgentId, Draft, EventKind, EventRef, InboxId, OutboxId, Prepared};
use agentry_core::state::reported_end;
use agentry_protocol::{BlockHeight, Json, Limits};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::sightings::{self, COLUMNS, Sighting, sighting};
use super::{height, spending};
use crate::StoreError;
use crate::number::integer;

/// What a draft follows from. Nothing older is the same message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    /// Something in a block at this height.
    Block(BlockHeight),
    /// A timer. A timer that was set before the chain was read up to its head has either fired
    /// before that or has sent nothing yet. A timer that was set later was set again, by a message
    /// in a block, if that block is known.
    Timer {
        /// When it was set, and when it was due, in milliseconds since the epoch.
        times: (i64, i64),
        /// The block of the message that set it, if it is known.
        block: Option<BlockHeight>,
    },
}

impl Anchor {
    /// The block of the message that everything follows from, if it is known.
    pub(super) const fn block(self) -> Option<BlockHeight> {
        match self {
            Self::Block(height) => Some(height),
            // A timer that a timer sets is new. Otherwise timers that set themselves again would
            // stay silent for as long as the store is old.
            Self::Timer { .. } => None,
        }
    }
}

/// What the drafts of an event follow from; `None` if that is not known.
pub(super) fn anchor(db: &Connection, event: EventRef) -> Result<Option<Anchor>, StoreError> {
    let id = match event {
        EventRef::Inbox(id) => return in_block(db, "inbox", id.0),
        EventRef::Event(id) => id,
    };
    let row = db
        .prepare_cached(
            // A failed or postponed run has moved the time.
            "SELECT kind, inbox, json_extract(data, '$.outbox'), made_at,
                    iif(attempts = 0 AND reason IS NULL, due_at, made_at), anchor
             FROM event WHERE id = ?1",
        )?
        .query_row(params![id.0], |row| {
            let kind: String = row.get(0)?;
            let inbox: Option<i64> = row.get(1)?;
            let anchor: Option<i64> = row.get(5)?;
            let timer = Anchor::Timer {
                times: (row.get(3)?, row.get(4)?),
                block: anchor.map(|at| BlockHeight(at.unsigned_abs())),
            };
            Ok((kind, inbox, row.get::<_, Value>(2)?, timer))
        })
        .optional()?;
    let Some((kind, inbox, outbox, timer)) = row else {
        return Ok(None);
    };
    match (EventKind::parse(&kind), inbox, outbox) {
        (Some(EventKind::Renewal) | None, ..) => Ok(None),
        (Some(EventKind::Timer), ..) => Ok(Some(timer)),
        (_, Some(inbox), _) => in_block(db, "inbox", inbox),
        (Some(EventKind::Delivery), None, Value::Integer(outbox)) => in_block(db, "outbox", outbox),
        _ => Ok(None),
    }
}

fn in_block(db: &Connection, table: &str, row: i64) -> Result<Option<Anchor>, StoreError> {
    let at: Option<Option<i64>> = db
        .prepare_cached(&format!("SELECT height FROM {table} WHERE id = ?1"))?
        .query_row(params![row], |row| row.get(0))
        .optional()?;
    let at = at.flatten().map(|at| BlockHeight(at.unsigned_abs()));
    Ok(at.map(Anchor::Block))
}

/// A draft that was just stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    pub(super) id: OutboxId,
    pub(super) draft: &'a Draft,
    pub(super) prepared: Option<&'a Prepared>,
}

/// Claims the drafts of one outcome that are on the chain already. Returns their rows.
pub(super) fn claim(
    db: &Connection,
    agent: AgentId,
    anchor: Option<Anchor>,
    drafts: &[Stored<'_>],
    at: u64,
    receipt: &mut Receipt,
) -> Result<Vec<OutboxId>, StoreError> {
    let mut claimed = Vec::new();
    let Some(anchor) = anchor else {
        return Ok(claimed);
    };
    let mut left: Vec<(Stored<'_>, Fingerprint)> = Vec::new();
    for stored in drafts {
        if may_be_seen(db, agent, stored.draft.recipient.as_str())? {
            left.push((*stored, Fingerprint::of(&stored.draft.payload)));
        }
    }
    // Identical ones first: each of several answers must find its own.
    for exact in [true, false] {
        for (stored, says) in &left {
            if claimed.contains(&stored.id) || !(exact || is_answer(says, anchor)) {
                continue;
            }
            let Some(found) = find(db, agent, stored.draft, says, anchor, exact)? else {
                continue;
            };
            take(db, stored.id, stored.prepared, &found, at, receipt)?;
            claimed.push(stored.id);
        }
    }
    Ok(claimed)
}

/// Whether a draft is an answer: answers to the same question match whatever they say.
fn is_answer(says: &Fingerprint, anchor: Anchor) -> bool {
    says.re.is_some() || (says.is_plain() && matches!(anchor, Anchor::Block(_)))
}

/// Whether there is a sighting that a message to this recipient might claim.
fn may_be_seen(db: &Connection, agent: AgentId, recipient: &str) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT 1 FROM sighting
             WHERE agent = ?1 AND recipient = ?2 AND mark IS NOT NULL LIMIT 1",
        )?
        .exists(params![agent.0, recipient])?)
}

/// How much later than a message was seen the timer that sent it may have been due, in
/// milliseconds: the time of a sighting is that of blocks, and the clock of the node that made them
/// may be behind.
const SKEW_MS: i64 = 10_000;

fn find(
    db: &Connection,
    agent: AgentId,
    draft: &Draft,
    says: &Fingerprint,
    anchor: Anchor,
    exact: bool,
) -> Result<Option<Sighting>, StoreError> {
    let from = "iif(?8 IS NULL OR ?8 >= seen_at, ?6 IS NOT NULL AND (height IS NULL OR height >= ?6), ?9 <= seen_at)";
    let same = if exact { "content = ?7" } else { "?7 IS NULL" };
    let (block, times) = match anchor {
        Anchor::Block(at) => (Some(at), None),
        Anchor::Timer { times, block } => (block, Some(times)),
    };
    let optional = |value: Option<i64>| value.map_or(Value::Null, Value::Integer);
    let re = says.re.map(|hash| Value::Text(hash.to_string()));
    let content = exact.then(|| Value::Text(says.content.to_string()));
    let values = [
        Value::Integer(agent.0),
        Value::Text(draft.recipient.to_string()),
        Value::Text(says.kind.clone()),
        re.unwrap_or(Value::Null),
        Value::Integer(integer(draft.amount)),
        optional(block.map(height)),
        content.unwrap_or(Value::Null),
        optional(times.map(|(made, _)| made)),
        optional(times.map(|(_, due)| due.saturating_sub(SKEW_MS))),
    ];
    Ok(db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM sighting
             WHERE agent = ?1 AND recipient = ?2 AND kind = ?3 AND mark IS NOT NULL
               AND re IS ?4 AND amount = ?5 AND nonce IS NOT NULL AND {from} AND {same}
             ORDER BY height IS NULL, height, id LIMIT 1"
        ))?
        .query_row(params_from_iter(values), sighting)
        .optional()?)
}

/// Looks for an earlier transaction of a row of the outbox that is about to be signed: one with the
/// id in its header or, if it has no id and was queued before this store knew what the chain shows,
/// one with the same content. Returns whether there was one.
pub(super) fn claim_queued(
    db: &Connection,
    id: OutboxId,
    prepared: &Prepared,
    at: u64,
    receipt: &mut Receipt,
) -> Result<bool, StoreError> {
    let row = db
        .prepare_cached(
            "SELECT agent, recipient, amount, message_id FROM outbox
             WHERE id = ?1 AND state = 'queued'",
        )?
        .query_row(params![id.0], |row| {
            let message_id: Option<String> = row.get(3)?;
            Ok((
                AgentId(row.get(0)?),
                row.get::<_, String>(1)?,
                row.get::<_, i64>(2)?,
                message_id,
            ))
        })
        .optional()?;
    let Some((agent, recipient, amount, message_id)) = row else {
        return Ok(false);
    };
    let found = match message_id {
        Some(message_id) => db
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM sighting
                 WHERE agent = ?1 AND message_id = ?2 AND recipient = ?3 AND amount = ?4
                   AND nonce IS NOT NULL
                 ORDER BY height IS NULL, height, id LIMIT 1"
            ))?
            .query_row(params![agent.0, message_id, recipient, amount], sighting)
            .optional()?,
        None if may_be_seen(db, agent, &recipient)? => {
            let payload: String = db
                .prepare_cached("SELECT payload FROM outbox WHERE id = ?1")?
                .query_row(params![id.0], |row| row.get(0))?;
            let Ok(payload) = Json::parse(payload.as_bytes(), Limits::default()) else {
                return Ok(false);
            };
            let says = Fingerprint::of(&payload);
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM sighting
                 WHERE agent = ?1 AND recipient = ?2 AND kind = ?3 AND mark >= ?4
                   AND re IS NULL AND message_id IS NULL AND amount = ?5 AND content = ?6
                   AND nonce IS NOT NULL
                 ORDER BY height IS NULL, height, id LIMIT 1"
            ))?
            .query_row(
                params![
                    agent.0,
                    recipient,
                    says.kind,
                    id.0,
                    amount,
                    says.content.to_string()
                ],
                sighting,
            )
            .optional()?
        }
        None => None,
    };
    let Some(found) = found else {
        return Ok(false);
    };
    take(db, id, Some(prepared), &found, at, receipt)?;
    Ok(true)
}

/// Turns a row of the outbox into a sighting. If something was signed for the row, it was paid for,
/// and what was signed is discarded.
fn take(
    db: &Connection,
    id: OutboxId,
    prepared: Option<&Prepared>,
    found: &Sighting,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    if let Some(prepared) = prepared {
        spending::charge(db, id, prepared.day)?;
    }
    sightings::take_over(db, id, found, at, receipt)
}

/// How a job ended, if the chain shows that it has, and how long it took, in milliseconds. The job
/// is given by the message that asked for it and the key of its task, which is the hash of that
/// message's transaction.
pub(super) fn job_end(
    db: &Connection,
    agent: AgentId,
    inbox: InboxId,
    key: &str,
) -> Result<Option<(TaskEnd, u64)>, StoreError> {
    let body: Option<String> = db
        .prepare_cached(
            "SELECT s.body FROM sighting s JOIN inbox i ON i.id = ?2
             WHERE s.agent = ?1 AND s.re = ?3 AND s.kind = ?4 AND s.mark IS NOT NULL
               AND i.hash = ?3 AND i.sender = s.recipient
             ORDER BY s.height IS NULL, s.height, s.id LIMIT 1",
        )?
        .query_row(params![agent.0, inbox.0, key, JOB_END], |row| row.get(0))
        .optional()?;
    Ok(body.as_deref().and_then(reported_end))
}
