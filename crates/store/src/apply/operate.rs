//! Changes to the queues by operators and by the passing of time: retry, drop, prune.

use agentry_core::commit::{QueueKind, QueueTarget, Receipt, Reverified};
use agentry_core::rows::{AgentId, OutboxId, ReceiptState, day_of};
use agentry_core::state::DROPPED;
use agentry_core::{Authenticity, Standing};
use agentry_protocol::MessageId;
use agentry_protocol::header::MAX_ID_AGE_MS;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::{cards, receipts, sightings, spending, time};
use crate::target::condition;
use crate::{StoreError, meta, read};

/// Runs a statement on the rows of a queue that the target selects. `sql` ends before the condition
/// on the rows, which comes before `returning`; its own question marks are bound to `values`.
fn on_rows<T>(
    db: &Connection,
    (target, queue): (&QueueTarget, QueueKind),
    (sql, values): (&str, &[Value]),
    returning: &str,
    read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let Some(condition) = condition(target, queue) else {
        return Ok(Vec::new());
    };
    let values = values.iter().chain(&condition.values);
    let mut statement = db.prepare(&format!(
        "{sql} AND {} RETURNING {returning}",
        condition.sql
    ))?;
    let rows = statement.query_map(params_from_iter(values), |row| read(row))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn retry(
    db: &Connection,
    target: &QueueTarget,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let agent = |row: &rusqlite::Row<'_>| row.get(0).map(AgentId);
    // The attempts are not reset, so that no outcome of an older attempt counts for a new one.
    let messages = on_rows(
        db,
        (target, QueueKind::Inbox),
        (
            "UPDATE inbox SET due_at = 0, settled_at = NULL, attempts = attempts + 1,
                    state = CASE WHEN height IS NULL THEN 'withdrawn' ELSE 'waiting' END
             WHERE state = 'dead' AND stored <> ''",
            &[],
        ),
        "agent",
        agent,
    )?;
    let events = on_rows(
        db,
        (target, QueueKind::Events),
        (
            "UPDATE event SET state = 'waiting', due_at = 0, attempts = attempts + 1
             WHERE state = 'dead'",
            &[],
        ),
        "agent",
        agent,
    )?;
    receipt.changed += messages.len() + events.len();
    receipt.due.extend(messages.into_iter().chain(events));
    receipt.due.sort_unstable();
    receipt.due.dedup();
    let transactions = on_rows(
        db,
        (target, QueueKind::Outbox),
        (
            "UPDATE outbox SET settled_at = NULL,
                    state = CASE WHEN body IS NULL THEN 'queued' ELSE 'accepted' END
             WHERE state = 'failed'",
            &[],
        ),
        "id, body IS NOT NULL",
        |row| Ok((OutboxId(row.get(0)?), row.get::<_, bool>(1)?)),
    )?;
    receipt.changed += transactions.len();
    for (id, signed) in transactions {
        receipts::reopen(db, id)?;
        if signed {
            // The operator decides to send it: today's budget pays, whatever is left of it.
            spending::charge(db, id, day_of(at))?;
            receipt.reopened.extend(read::open_transaction(db, id)?);
        }
    }
    Ok(())
}

/// Applies the results of verifying dead letters again. One that turns out to be forged moves to
/// the forged messages. One whose new identity is already known stays unchanged.
pub(super) fn reverify(
    db: &Connection,
    verified: &[Reverified],
    at: u64,
) -> Result<usize, StoreError> {
    let mut changed = 0;
    for one in verified {
        if one.authenticity == Authenticity::Forged {
            db.prepare_cached(
                "INSERT OR IGNORE INTO forged (agent, hash, sender, height, stored, seen_at)
                 SELECT agent, hash, sender, coalesce(height, 0), stored, ?2 FROM inbox
                 WHERE id = ?1 AND state = 'dead'",
            )?
            .execute(params![one.id.0, time(at)])?;
            changed += db
                .prepare_cached("DELETE FROM inbox WHERE id = ?1 AND state = 'dead'")?
                .execute(params![one.id.0])?;
        } else {
            changed += db
                .prepare_cached(
                    "UPDATE OR IGNORE inbox SET authenticity = ?2, identity = ?3, priority = ?4,
                            standing = ?5
                     WHERE id = ?1 AND state = 'dead'",
                )?
                .execute(params![
                    one.id.0,
                    one.authenticity.as_str(),
                    one.identity,
                    one.urgent,
                    Standing::unknown(one.authenticity).as_str()
                ])?;
        }
    }
    Ok(changed)
}

pub(super) fn discard(
    db: &Connection,
    target: &QueueTarget,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let reason = Value::Text(DROPPED.to_owned());
    let id = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    // A row that is named may still be waiting; a selection means dead letters and failed rows
    // only.
    let named = !matches!(target, QueueTarget::All | QueueTarget::Matching(_));
    let states = if named {
        "('waiting', 'withdrawn', 'dead')"
    } else {
        "('dead')"
    };
    let sql = format!(
        "UPDATE inbox SET state = 'handled', reason = ?, settled_at = ? WHERE state IN {states}"
    );
    let values = [reason.clone(), Value::Integer(time(at))];
    let messages = on_rows(db, (target, QueueKind::Inbox), (&sql, &values), "id", id)?;
    // `agent withdraw` is what ends a renewal.
    let sql = format!("DELETE FROM event WHERE kind <> 'renewal' AND state IN {states}");
    let events = on_rows(db, (target, QueueKind::Events), (&sql, &[]), "id", id)?;
    receipt.changed += messages.len() + events.len();
    // The node may have what was signed: only what was not signed can be dropped.
    if named {
        let sql = "UPDATE outbox SET state = 'failed', reason = ?, settled_at = ?, held = 0
                   WHERE state = 'queued'";
        let queue = (target, QueueKind::Outbox);
        let dropped = on_rows(db, queue, (sql, &values), "id", id)?;
        receipt.changed += dropped.len();
        for id in dropped {
            let (id, unsent) = (OutboxId(id), ReceiptState::Unsent);
            // The receipt does not count as another changed row.
            let changed = receipt.changed;
            receipts::acknowledge(db, id, unsent, Some(DROPPED), at, receipt)?;
            receipt.changed = changed;
        }
    }
    let sql = "DELETE FROM outbox WHERE state = 'failed' AND reason IS NOT ?";
    let queue = (target, QueueKind::Outbox);
    let deleted = on_rows(db, queue, (sql, &[reason]), "id", id)?;
    receipt.changed += deleted.len();
    Ok(())
}

/// Sets a value that never decreases. Returns the current value.
fn raise(db: &Connection, key: &str, value: &str) -> Result<String, StoreError> {
    Ok(db
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)
             RETURNING value",
        )?
        .query_row(params![key, value], |row| row.get(0))?)
}

/// Prunes what was settled before `before`, and ids that are certainly refused at `at`.
pub(super) fn prune(
    db: &Connection,
    before: u64,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    // An id is kept for as long as it would be accepted, whatever the retention. Ids begin with the
    // time at which they were made, so they sort by time, also as texts.
    let ids_from = MessageId::new(at.saturating_sub(MAX_ID_AGE_MS), [0; 10]).to_string();
    let ids_from = raise(db, meta::IDS_FROM, &ids_from)?;
    let before = time(before);
    receipt.changed += db.execute(
        "DELETE FROM inbox WHERE settled_at < ?1 AND (identity = digest OR identity < ?2)
           AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.inbox = inbox.id
                           AND outbox.state NOT IN ('final', 'failed'))
           AND NOT EXISTS (SELECT 1 FROM task WHERE task.inbox = inbox.id AND ended_at IS NULL)
           AND NOT EXISTS (SELECT 1 FROM event WHERE event.inbox = inbox.id)",
        params![before, ids_from],
    )?;
    // A result is kept until its behaviour was told, even if that behaviour is not configured now.
    receipt.changed += db.execute(
        "DELETE FROM task WHERE ended_at < ?1
           AND NOT EXISTS (SELECT 1 FROM event WHERE event.agent = task.agent
                           AND event.behaviour = task.behaviour AND event.name = task.key
                           AND event.kind = 'task')",
        params![before],
    )?;
    receipt.changed += spending::prune(db)?;
    receipt.changed += db.execute("DELETE FROM outbox WHERE settled_at < ?1", params![before])?;
    receipt.changed += db.execute("DELETE FROM forged WHERE seen_at < ?1", params![before])?;
    receipt.changed += sightings::prune(db, before)?;
    cards::prune(db, at, receipt)
}
