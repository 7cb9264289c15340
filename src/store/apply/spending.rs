//! What agents spend of a day's budget.

use rusqlite::{Connection, params};

use super::time;
use crate::store::StoreError;
use crate::store::rows::OutboxId;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The day of a time, in days since the epoch, UTC.
pub(in crate::store) const fn day_of(at: u64) -> u64 {
    at / DAY_MS
}

/// The budget of the day of `at` pays for a transaction that was signed.
pub(super) fn charge(db: &Connection, id: OutboxId, at: u64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE outbox SET budget_day = ?2 WHERE id = ?1")?
        .execute(params![id.0, time(day_of(at))])?;
    add(db, id, 1)
}

/// What was paid for a transaction that is not sent goes back to the day that paid.
pub(super) fn refund(db: &Connection, id: OutboxId) -> Result<(), StoreError> {
    add(db, id, -1)?;
    db.prepare_cached("UPDATE outbox SET budget_day = NULL WHERE id = ?1")?
        .execute(params![id.0])?;
    Ok(())
}

fn add(db: &Connection, id: OutboxId, sign: i64) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO spending (agent, day, spent, unverified)
         SELECT agent, budget_day, ?2 * (amount + fee),
                ?2 * iif(answers_unverified = 1, amount + fee, 0)
         FROM outbox WHERE id = ?1 AND budget_day IS NOT NULL
         ON CONFLICT (agent, day) DO UPDATE SET spent = spent + excluded.spent,
                                                unverified = unverified + excluded.unverified",
    )?
    .execute(params![id.0, sign])?;
    Ok(())
}
