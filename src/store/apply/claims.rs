//! What would be said again, and the chain shows already.
//!
//! A store that was restored from a copy, or begins anew, shows its behaviours again what they have
//! acted on since. That rebuilds what they remember; what they say to it stands on the chain. So an
//! outcome's draft claims the [sighting](super::sightings) that is the same message: it becomes that
//! transaction, mined already, and is neither signed nor posted.
//!
//! | a draft that | claims |
//! |---|---|
//! | names what it answers (`re`) | what answered the same, to the same recipient, and is of the same kind |
//! | is a text without a header, and an answer | the first such text to the same recipient, from the question's block on; one that says the same goes first |
//! | answers nothing | what says the same, to the same recipient |
//! | has an id that stands on the chain | that message: it was sent again |
//!
//! Only what was seen before agents acted is claimed, once, and not what is older than what the
//! draft follows from: what an agent says later is new, however much it resembles what it said before. What
//! an operator sends is never taken for what stands on the chain, but for the same id or bytes.

use agentry_protocol::{BlockHeight, Json, KnownCommand, Limits, Payload, SignedTransaction};
use agentry_sdk::TaskOutput;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::sightings::{self, COLUMNS, Sighting, sighting};
use super::{height, spending};
use crate::store::StoreError;
use crate::store::commit::{Receipt, TaskEnd};
use crate::store::fingerprint::{Fingerprint, JOB_END};
use crate::store::number::integer;
use crate::store::rows::{AgentId, Draft, EventKind, EventRef, InboxId, OutboxId, Prepared};

/// What a draft follows from: nothing older is the same message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    /// Something that stands in a block of this height.
    Block(BlockHeight),
    /// A timer. One that was set before the chain was read up to its head has run out before that,
    /// or has sent nothing yet. One that was set since was set again, by what stands in a block, if
    /// that is known.
    Timer {
        /// When it was set, and when it was due, in milliseconds since the epoch.
        times: (i64, i64),
        /// What set it.
        block: Option<BlockHeight>,
    },
}

impl Anchor {
    /// The block that holds what it all follows from, where one is known.
    pub(super) const fn block(self) -> Option<BlockHeight> {
        match self {
            Self::Block(height) => Some(height),
            // What a timer sets is new, or timers that set themselves would be silent for as long as
            // the store is old.
            Self::Timer { .. } => None,
        }
    }
}

/// What the drafts of an event follow from; nothing that is known, where `None`.
pub(super) fn anchor(db: &Connection, event: EventRef) -> Result<Option<Anchor>, StoreError> {
    let id = match event {
        EventRef::Inbox(id) => return in_block(db, "inbox", id.0),
        EventRef::Event(id) => id,
    };
    let row = db
        .prepare_cached(
            // A run that failed, or has to wait, has moved the time.
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
        (Some(EventKind::Fate), None, Value::Integer(outbox)) => in_block(db, "outbox", outbox),
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

/// Claims what of these drafts of one outcome stands on the chain. Returns their rows.
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
    // Those that say the very same first: of several answers each is to find its own.
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

/// Whether a draft is an answer, which is the same whatever it says.
fn is_answer(says: &Fingerprint, anchor: Anchor) -> bool {
    says.re.is_some() || (says.is_plain() && matches!(anchor, Anchor::Block(_)))
}

/// Whether anything was seen that a message to this recipient might claim.
fn may_be_seen(db: &Connection, agent: AgentId, recipient: &str) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT 1 FROM sighting
             WHERE agent = ?1 AND recipient = ?2 AND mark IS NOT NULL LIMIT 1",
        )?
        .exists(params![agent.0, recipient])?)
}

/// How much later than seen a timer may have been due whose message was seen, in milliseconds: the
/// time of seeing is that of blocks, and the clock of the node that made them may be behind.
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

/// What a row of the outbox that is about to be signed was sent as before: with the id in its
/// header, or, where it has none and was queued already before this store knew what the chain
/// shows, in the same words. Returns whether it was.
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

/// A row of the outbox becomes what was seen. Where something was signed for it, it was paid for,
/// and what was signed is forgotten.
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

/// How a job ended that the chain shows as ended: the message that asked for it, and the key of its
/// task, which is the hash of that message's transaction. And how long it took, in milliseconds.
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
    Ok(body.as_deref().and_then(ended))
}

/// How a job ended, in the words of the transaction that told it.
pub(super) fn ended(body: &str) -> Option<(TaskEnd, u64)> {
    let signed = SignedTransaction::from_body(body.as_bytes(), Limits::default()).ok()?;
    match Payload::read(&signed.transaction().payload).command() {
        Ok(Some(KnownCommand::JobComplete(job))) => {
            let output = TaskOutput {
                text: job.result.text().to_owned(),
                media_type: job.media_type.map(|media_type| media_type.to_string()),
                incomplete: job.incomplete.map(|word| word.to_string()),
            };
            let took = job.duration_ms.unwrap_or(0);
            Some((TaskEnd::Completed(output), took))
        }
        Ok(Some(KnownCommand::JobFailed(job))) if job.error.code.as_str() == "canceled" => {
            Some((TaskEnd::Canceled, 0))
        }
        Ok(Some(KnownCommand::JobFailed(job))) => {
            let message = job.error.message;
            let told = message.map_or_else(String::new, |text| text.as_str().to_owned());
            let end = TaskEnd::Failed {
                code: job.error.code.to_string(),
                message: told.clone(),
                public: told,
            };
            Some((end, 0))
        }
        _ => None,
    }
}
