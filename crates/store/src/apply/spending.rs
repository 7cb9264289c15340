//! What agents spend from a day's budget, and the drafts that wait for one.

use agentry_core::rows::{AgentId, Charge, OutboxId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::time;
use crate::StoreError;
use crate::cause;
use crate::column::natural;
use crate::number::integer;

/// For how many days an agent's spending is kept: the latest days on which it spent. After a wrong
/// clock is set back, the spending of the days that come again is still there.
const DAYS_KEPT: u32 = 32;

/// The columns of a transaction that is paid for or refunded.
const CHARGE: &str = "agent, amount, fee, standing, sender";

fn charge_of(row: &Row<'_>, day: u64) -> rusqlite::Result<Charge> {
    Ok(Charge {
        agent: AgentId(row.get(0)?),
        day,
        cost: natural(row, 1)?.saturating_add(natural(row, 2)?),
        cause: cause::read(row, 3)?,
    })
}

/// Charges a signed transaction to the budget of a day. Returns the charge.
pub(super) fn charge(db: &Connection, id: OutboxId, day: u64) -> Result<Charge, StoreError> {
    let charge = db
        .prepare_cached(&format!(
            "UPDATE outbox SET budget_day = ?2 WHERE id = ?1 RETURNING {CHARGE}"
        ))?
        .query_row(params![id.0, time(day)], |row| charge_of(row, day))?;
    // Sums saturate at the largest value that a column holds.
    db.prepare_cached(
        "INSERT INTO spending (agent, day, standing, sender, spent) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (agent, day, standing, sender) DO UPDATE
         SET spent = iif(spent > ?6 - ?5, ?6, spent + ?5)",
    )?
    .execute(params![
        charge.agent.0,
        time(day),
        cause::standing(&charge.cause),
        cause::sender(&charge.cause),
        integer(charge.cost),
        i64::MAX
    ])?;
    Ok(charge)
}

/// Refunds a transaction that is not sent to the day that paid for it.
pub(super) fn refund(db: &Connection, id: OutboxId) -> Result<(), StoreError> {
    let paid = db
        .prepare_cached(&format!(
            "SELECT {CHARGE}, budget_day FROM outbox WHERE id = ?1 AND budget_day IS NOT NULL"
        ))?
        .query_row(params![id.0], |row| charge_of(row, natural(row, 5)?))
        .optional()?;
    let Some(paid) = paid else {
        return Ok(());
    };
    // A pruned day gets no refund.
    db.prepare_cached(
        "UPDATE spending SET spent = max(spent - ?5, 0)
         WHERE agent = ?1 AND day = ?2 AND standing = ?3 AND sender = ?4",
    )?
    .execute(params![
        paid.agent.0,
        time(paid.day),
        cause::standing(&paid.cause),
        cause::sender(&paid.cause),
        integer(paid.cost)
    ])?;
    db.prepare_cached("UPDATE outbox SET budget_day = NULL WHERE id = ?1")?
        .execute(params![id.0])?;
    Ok(())
}

/// Charges a transaction that failed, and so was refunded, but was mined nevertheless.
pub(super) fn charge_again(
    db: &Connection,
    id: OutboxId,
    day: u64,
) -> Result<Option<Charge>, StoreError> {
    let unpaid = db
        .prepare_cached("SELECT 1 FROM outbox WHERE id = ?1 AND budget_day IS NULL")?
        .exists(params![id.0])?;
    if unpaid {
        charge(db, id, day).map(Some)
    } else {
        Ok(None)
    }
}

/// Holds drafts for which the budget is too small, with the reason.
pub(super) fn hold(db: &Connection, held: &[(OutboxId, String)]) -> Result<usize, StoreError> {
    let mut changed = 0;
    for (id, reason) in held {
        changed += db
            .prepare_cached(
                "UPDATE outbox SET held = 1, reason = ?2 WHERE id = ?1 AND state = 'queued'",
            )?
            .execute(params![id.0, reason])?;
    }
    Ok(changed)
}

/// Releases held drafts for which the budget suffices now.
pub(super) fn release(db: &Connection, ids: &[OutboxId]) -> Result<usize, StoreError> {
    let mut changed = 0;
    for id in ids {
        changed += db
            .prepare_cached(
                "UPDATE outbox SET held = 0, reason = NULL
                 WHERE id = ?1 AND state = 'queued' AND held = 1",
            )?
            .execute(params![id.0])?;
    }
    Ok(changed)
}

/// Prunes old days.
pub(super) fn prune(db: &Connection) -> Result<usize, StoreError> {
    Ok(db.execute(
        "DELETE FROM spending WHERE day < (
             SELECT DISTINCT day FROM spending newer WHERE newer.agent = spending.agent
             ORDER BY day DESC LIMIT 1 OFFSET ?1)",
        params![DAYS_KEPT - 1],
    )?)
}
