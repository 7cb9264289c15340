//! The receipts of sent messages: what is known about their delivery, and who is told.

use agentry_core::DeliveryUpdate;
use agentry_core::cause::Cause;
use agentry_core::commit::Receipt;
use agentry_core::rows::{
    AgentId, Draft, EventKind, OutboxId, Prepared, ReceiptRequest, ReceiptState,
};
use agentry_protocol::BlockHeight;
use rusqlite::{Connection, OptionalExtension, params};

use super::{events, outgoing, time};
use crate::StoreError;
use crate::cause;
use crate::column::word;
use crate::number::integer;

/// Adds the receipt of a message, if delivery updates were requested.
pub(super) fn open(
    db: &Connection,
    outbox: OutboxId,
    agent: AgentId,
    request: &ReceiptRequest,
    at: u64,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO receipt (outbox, agent, behaviour, label, wanted, state, within_ms,
                              resends_left, changed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 'open', ?6, ?7, ?8)",
    )?
    .execute(params![
        outbox.0,
        agent.0,
        request.behaviour,
        request.label,
        request.wanted,
        time(request.within_ms),
        request.resends,
        time(at)
    ])?;
    Ok(())
}

struct Row {
    outbox: OutboxId,
    agent: AgentId,
    behaviour: Option<String>,
    label: Option<String>,
    wanted: Option<String>,
    state: ReceiptState,
    within_ms: i64,
    mined: bool,
    /// Who caused the message.
    cause: Cause,
}

/// The receipt of the message that this transaction carried, if there is one.
fn find(db: &Connection, outbox: OutboxId) -> Result<Option<Row>, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT r.outbox, r.agent, r.behaviour, r.label, r.wanted, r.state, r.within_ms,
                    r.mined, o.standing, o.sender
             FROM outbox o JOIN receipt r ON r.outbox = coalesce(o.resend_of, o.id)
             WHERE o.id = ?1",
        )?
        .query_row(params![outbox.0], |row| {
            Ok(Row {
                outbox: OutboxId(row.get(0)?),
                agent: AgentId(row.get(1)?),
                behaviour: row.get(2)?,
                label: row.get(3)?,
                wanted: row.get(4)?,
                state: word(row, 5, ReceiptState::parse)?,
                within_ms: row.get(6)?,
                mined: row.get(7)?,
                cause: cause::read(row, 8)?,
            })
        })
        .optional()?)
}

/// Sends a delivery update to the behaviour that sent a message under a label.
fn tell(
    db: &Connection,
    row: &Row,
    update: &DeliveryUpdate,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let (Some(behaviour), Some(label)) = (&row.behaviour, &row.label) else {
        return Ok(());
    };
    let data = serde_json::json!({ "outbox": row.outbox, "update": update });
    events::add(
        db,
        events::New {
            agent: row.agent,
            behaviour,
            kind: EventKind::Delivery,
            name: label,
            data: &data,
            inbox: None,
            due_at: at.saturating_add(update.pause_ms(row.mined)),
            cause: &row.cause,
        },
        at,
    )?;
    receipt.due.push(row.agent);
    Ok(())
}

/// A transaction is mined: the time limit for an acknowledgment starts.
pub(super) fn mined(
    db: &Connection,
    outbox: OutboxId,
    height: BlockHeight,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let Some(row) = find(db, outbox)? else {
        return Ok(());
    };
    if row.state.awaits(row.wanted.as_deref()) {
        let due_at = time(at).saturating_add(row.within_ms);
        db.prepare_cached("UPDATE receipt SET due_at = ?2 WHERE outbox = ?1")?
            .execute(params![row.outbox.0, due_at])?;
        // The agent reads the due time.
        receipt.due.push(row.agent);
    }
    if !row.mined {
        db.prepare_cached("UPDATE receipt SET mined = 1 WHERE outbox = ?1")?
            .execute(params![row.outbox.0])?;
        tell(db, &row, &DeliveryUpdate::Mined { height }, at, receipt)?;
    }
    Ok(())
}

/// Advances the state of a receipt. It never moves to a lower rank.
pub(super) fn acknowledge(
    db: &Connection,
    outbox: OutboxId,
    state: ReceiptState,
    detail: Option<&str>,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let Some(row) = find(db, outbox)? else {
        return Ok(());
    };
    if state.rank() <= row.state.rank() {
        return Ok(());
    }
    // Other transactions may still carry the message: one that is not sent says nothing about them.
    if state == ReceiptState::Unsent && row.outbox != outbox {
        return Ok(());
    }
    let over = state.rank() >= ReceiptState::Unacknowledged.rank()
        || row.wanted.as_deref() == Some("received");
    db.prepare_cached(
        "UPDATE receipt SET state = ?2, detail = ?3, changed_at = ?4,
                            due_at = iif(?5, NULL, due_at)
         WHERE outbox = ?1",
    )?
    .execute(params![
        row.outbox.0,
        state.as_str(),
        detail,
        time(at),
        over
    ])?;
    receipt.changed += 1;
    match state.update(detail.map(ToOwned::to_owned)) {
        Some(update) => tell(db, &row, &update, at, receipt),
        None => Ok(()),
    }
}

/// Sends a message again because it was not acknowledged in time.
pub(super) fn resend(
    db: &Connection,
    outbox: OutboxId,
    resends_left: u32,
    draft: &Draft,
    prepared: Option<&Prepared>,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let agent: Option<i64> = db
        .prepare_cached(
            "UPDATE receipt SET resends_left = resends_left - 1, due_at = NULL, changed_at = ?3
             WHERE outbox = ?1 AND resends_left = ?2 AND resends_left > 0 AND due_at IS NOT NULL
             RETURNING agent",
        )?
        .query_row(params![outbox.0, resends_left, time(at)], |row| row.get(0))
        .optional()?;
    let Some(agent) = agent.map(AgentId) else {
        receipt.stale = true;
        return Ok(());
    };
    let sent = outgoing::enqueue(db, (agent, None), draft, prepared, at, receipt)?;
    db.prepare_cached("UPDATE outbox SET resend_of = ?2 WHERE id = ?1")?
        .execute(params![sent.id.0, integer(outbox.0.unsigned_abs())])?;
    receipt.sends.push(sent);
    receipt.changed = 1;
    Ok(())
}

/// Blocks were withdrawn: the receipts of messages in them wait for the messages to be mined again.
pub(super) fn withdrawn(db: &Connection, outbox: OutboxId) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE receipt SET due_at = NULL
         WHERE outbox = (SELECT coalesce(resend_of, id) FROM outbox WHERE id = ?1)",
    )?
    .execute(params![outbox.0])?;
    Ok(())
}

/// An operator retries a message that was not sent.
pub(super) fn reopen(db: &Connection, outbox: OutboxId) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE receipt SET state = 'open', detail = NULL
         WHERE outbox = ?1 AND state IN ('unsent', 'expired')",
    )?
    .execute(params![outbox.0])?;
    Ok(())
}
