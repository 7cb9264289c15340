//! What an operator, or time, does to the queues.

use agentry_protocol::header::{MAX_ID_AGE_MS, MAX_ID_AHEAD_MS};
use rusqlite::{Connection, params};

use super::{cards, receipts, spending, time};
use crate::store::commit::{QueueTarget, Receipt};
use crate::store::rows::{AgentId, OutboxId, ReceiptState, day_of};
use crate::store::{StoreError, read};

/// The rows of inbox, outbox and events that a target names: one, all (`None` within), or none.
type Parts = (
    Option<Option<i64>>,
    Option<Option<i64>>,
    Option<Option<i64>>,
);

const fn parts(target: QueueTarget) -> Parts {
    match target {
        QueueTarget::Inbox(id) => (Some(Some(id.0)), None, None),
        QueueTarget::Outbox(id) => (None, Some(Some(id.0)), None),
        QueueTarget::Event(id) => (None, None, Some(Some(id.0))),
        QueueTarget::All => (Some(None), Some(None), Some(None)),
    }
}

pub(super) fn retry(
    db: &Connection,
    target: QueueTarget,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let (inbox, outbox, event) = parts(target);
    if let Some(id) = inbox {
        // The attempts are counted on, so that no outcome of an older attempt passes for a new one.
        let mut statement = db.prepare(
            "UPDATE inbox SET state = CASE WHEN height IS NULL THEN 'withdrawn' ELSE 'waiting' END,
                    due_at = 0, settled_at = NULL, attempts = attempts + 1
             WHERE state = 'dead' AND (?1 IS NULL OR id = ?1) RETURNING agent",
        )?;
        let agents = statement.query_map(params![id], |row| row.get(0).map(AgentId))?;
        receipt.due = agents.collect::<Result<_, _>>()?;
        receipt.changed += receipt.due.len();
    }
    if let Some(id) = event {
        let mut statement = db.prepare(
            "UPDATE event SET state = 'waiting', due_at = 0, attempts = attempts + 1
             WHERE state = 'dead' AND (?1 IS NULL OR id = ?1) RETURNING agent",
        )?;
        let agents: Vec<AgentId> = statement
            .query_map(params![id], |row| row.get(0).map(AgentId))?
            .collect::<Result<_, _>>()?;
        receipt.changed += agents.len();
        receipt.due.extend(agents);
    }
    if let Some(id) = outbox {
        let mut statement = db.prepare(
            "UPDATE outbox SET state = CASE WHEN body IS NULL THEN 'queued' ELSE 'accepted' END,
                    settled_at = NULL
             WHERE state = 'failed' AND (?1 IS NULL OR id = ?1) RETURNING id",
        )?;
        let ids: Vec<i64> = statement
            .query_map(params![id], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        receipt.changed += ids.len();
        for id in ids {
            receipts::reopen(db, OutboxId(id))?;
            let signed = read::open_transaction(db, OutboxId(id))?;
            if signed.is_some() {
                spending::charge(db, OutboxId(id), day_of(at))?;
            }
            receipt.reopened.extend(signed);
        }
    }
    Ok(())
}

pub(super) fn discard(
    db: &Connection,
    target: QueueTarget,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    const REASON: &str = "dropped by the operator";
    let (inbox, outbox, event) = parts(target);
    if let Some(id) = inbox {
        // Named, it may still wait; all of them are the dead letters.
        receipt.changed += db.execute(
            "UPDATE inbox SET state = 'handled', reason = ?3, settled_at = ?2
             WHERE (?1 IS NULL AND state = 'dead')
                OR (id = ?1 AND state IN ('waiting', 'withdrawn', 'dead'))",
            params![id, time(at), REASON],
        )?;
    }
    if let Some(id) = event {
        // A renewal is taken back by `agent withdraw`.
        receipt.changed += db.execute(
            "DELETE FROM event WHERE kind <> 'renewal'
               AND ((?1 IS NULL AND state = 'dead') OR id = ?1)",
            params![id],
        )?;
    }
    if let Some(id) = outbox {
        // What was signed may be with the node: only what was not can be taken back.
        if let Some(id) = id {
            let dropped = db.execute(
                "UPDATE outbox SET state = 'failed', reason = ?3, settled_at = ?2, held = 0
                 WHERE id = ?1 AND state = 'queued'",
                params![id, time(at), REASON],
            )?;
            receipt.changed += dropped;
            if dropped > 0 {
                let (id, unsent) = (OutboxId(id), ReceiptState::Unsent);
                receipts::acknowledge(db, id, unsent, Some(REASON), at, receipt)?;
            }
        }
        receipt.changed += db.execute(
            "DELETE FROM outbox WHERE state = 'failed' AND (?1 IS NULL OR id = ?1) AND reason <> ?2",
            params![id, REASON],
        )?;
    }
    Ok(())
}

pub(super) fn forget(
    db: &Connection,
    before: u64,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    // An id is remembered for as long as it is taken, whatever the retention.
    let ids_before = at.saturating_sub(MAX_ID_AGE_MS + MAX_ID_AHEAD_MS);
    let before = time(before);
    receipt.changed += db.execute(
        "DELETE FROM inbox WHERE settled_at < ?1 AND (identity = digest OR seen_at < ?2)
           AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.inbox = inbox.id
                           AND outbox.state NOT IN ('final', 'failed'))
           AND NOT EXISTS (SELECT 1 FROM task WHERE task.inbox = inbox.id AND ended_at IS NULL)
           AND NOT EXISTS (SELECT 1 FROM event WHERE event.inbox = inbox.id)",
        params![before, time(ids_before)],
    )?;
    receipt.changed += db.execute("DELETE FROM task WHERE ended_at < ?1", params![before])?;
    receipt.changed += spending::forget(db)?;
    receipt.changed += db.execute("DELETE FROM outbox WHERE settled_at < ?1", params![before])?;
    receipt.changed += db.execute("DELETE FROM forged WHERE seen_at < ?1", params![before])?;
    cards::forget(db, at, receipt)
}
