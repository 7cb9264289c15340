//! What an operator, or time, does to the queues.

use rusqlite::{Connection, params};

use super::time;
use crate::store::commit::{QueueTarget, Receipt};
use crate::store::rows::{AgentId, OutboxId};
use crate::store::{StoreError, read};

pub(super) fn retry(
    db: &Connection,
    target: QueueTarget,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let (inbox, outbox) = match target {
        QueueTarget::Inbox(id) => (Some(Some(id.0)), None),
        QueueTarget::Outbox(id) => (None, Some(Some(id.0))),
        QueueTarget::All => (Some(None), Some(None)),
    };
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
            receipt
                .reopened
                .extend(read::open_transaction(db, OutboxId(id))?);
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
    let (inbox, outbox) = match target {
        QueueTarget::Inbox(id) => (Some(Some(id.0)), None),
        QueueTarget::Outbox(id) => (None, Some(Some(id.0))),
        QueueTarget::All => (Some(None), Some(None)),
    };
    if let Some(id) = inbox {
        // Named, it may still wait; all of them are the dead letters.
        receipt.changed += db.execute(
            "UPDATE inbox SET state = 'handled', reason = ?3, settled_at = ?2
             WHERE (?1 IS NULL AND state = 'dead')
                OR (id = ?1 AND state IN ('waiting', 'withdrawn', 'dead'))",
            params![id, time(at), REASON],
        )?;
    }
    if let Some(id) = outbox {
        // What was signed may be with the node: only what was not can be taken back.
        receipt.changed += match id {
            Some(id) => db.execute(
                "UPDATE outbox SET state = 'failed', reason = ?3, settled_at = ?2
                 WHERE id = ?1 AND state = 'queued'",
                params![id, time(at), REASON],
            )?,
            None => 0,
        };
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
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let before = time(before);
    receipt.changed += db.execute(
        "DELETE FROM inbox WHERE settled_at < ?1
           AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.inbox = inbox.id
                           AND outbox.state NOT IN ('final', 'failed'))",
        params![before],
    )?;
    receipt.changed += db.execute("DELETE FROM outbox WHERE settled_at < ?1", params![before])?;
    receipt.changed += db.execute("DELETE FROM forged WHERE seen_at < ?1", params![before])?;
    Ok(())
}
