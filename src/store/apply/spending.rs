//! What agents spend of a day's budget, and what waits for one.

use rusqlite::{Connection, OptionalExtension, params};

use super::time;
use crate::store::StoreError;
use crate::store::commit::Allowance;
use crate::store::number::{integer, natural};
use crate::store::rows::{AgentId, Charge, OutboxId};

/// Of how many days an agent's spending is remembered: those on which it last spent. A clock that
/// was set wrong and is set back finds what was spent on the days that come again.
const DAYS_KEPT: u32 = 32;

/// The budget of a day pays for a transaction that was signed. Returns what was paid.
pub(super) fn charge(db: &Connection, id: OutboxId, day: u64) -> Result<Charge, StoreError> {
    let charge = db
        .prepare_cached(
            "UPDATE outbox SET budget_day = ?2 WHERE id = ?1
             RETURNING agent, amount, fee, answers_unverified",
        )?
        .query_row(params![id.0, time(day)], |row| {
            Ok(Charge {
                agent: AgentId(row.get(0)?),
                day,
                cost: natural(row.get(1)?).saturating_add(natural(row.get(2)?)),
                unverified: row.get(3)?,
            })
        })?;
    // Sums beyond what a column holds stay at the most that it holds.
    db.prepare_cached(
        "INSERT INTO spending (agent, day, spent, unverified) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (agent, day) DO UPDATE
         SET spent = iif(spent > ?5 - ?3, ?5, spent + ?3),
             unverified = iif(unverified > ?5 - ?4, ?5, unverified + ?4)",
    )?
    .execute(params![
        charge.agent.0,
        time(day),
        integer(charge.cost),
        integer(charge.unverified_cost()),
        i64::MAX
    ])?;
    Ok(charge)
}

/// What was paid for a transaction that is not sent goes back to the day that paid.
pub(super) fn refund(db: &Connection, id: OutboxId) -> Result<(), StoreError> {
    let paid = db
        .prepare_cached(
            "SELECT agent, budget_day, amount, fee, answers_unverified FROM outbox
             WHERE id = ?1 AND budget_day IS NOT NULL",
        )?
        .query_row(params![id.0], |row| {
            Ok(Charge {
                agent: AgentId(row.get(0)?),
                day: natural(row.get(1)?),
                cost: natural(row.get(2)?).saturating_add(natural(row.get(3)?)),
                unverified: row.get(4)?,
            })
        })
        .optional()?;
    let Some(paid) = paid else {
        return Ok(());
    };
    // A day that is forgotten is paid nothing back.
    db.prepare_cached(
        "UPDATE spending SET spent = max(spent - ?3, 0), unverified = max(unverified - ?4, 0)
         WHERE agent = ?1 AND day = ?2",
    )?
    .execute(params![
        paid.agent.0,
        time(paid.day),
        integer(paid.cost),
        integer(paid.unverified_cost())
    ])?;
    db.prepare_cached("UPDATE outbox SET budget_day = NULL WHERE id = ?1")?
        .execute(params![id.0])?;
    Ok(())
}

/// A transaction that was given up, and so paid back, stands in a block all the same.
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

/// Drafts for which the budget does not suffice wait, and say so.
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

/// Those of them that an agent's budget suffices for have their turn again, the oldest first; at
/// most `limit` of the answers to unverified messages, and of the others.
pub(super) fn release(
    db: &Connection,
    allowances: &[Allowance],
    limit: u32,
) -> Result<usize, StoreError> {
    let mut changed = 0;
    for allowance in allowances {
        let mut left = allowance.left;
        for unverified in [false, true] {
            let most = if unverified {
                left.min(allowance.left_unverified)
            } else {
                left
            };
            if most == 0 {
                continue;
            }
            // Sums are fractions here, which do not overflow.
            let mut statement = db.prepare_cached(
                "UPDATE outbox SET held = 0, reason = NULL WHERE id IN (
                     SELECT id FROM (
                         SELECT id, total(cost) OVER (ORDER BY id) AS sum FROM (
                             SELECT id, amount + fee AS cost FROM outbox
                             WHERE agent = ?1 AND answers_unverified = ?2 AND state = 'queued'
                               AND held = 1 AND amount + fee <= ?3
                             ORDER BY id LIMIT ?4))
                     WHERE sum <= ?3)
                 RETURNING amount, fee",
            )?;
            let costs: Vec<u64> = statement
                .query_map(
                    params![allowance.agent.0, unverified, integer(most), limit],
                    |row| Ok(natural(row.get(0)?).saturating_add(natural(row.get(1)?))),
                )?
                .collect::<Result<_, _>>()?;
            changed += costs.len();
            left = costs.into_iter().fold(left, u64::saturating_sub);
        }
    }
    Ok(changed)
}

/// Old days are forgotten.
pub(super) fn forget(db: &Connection) -> Result<usize, StoreError> {
    Ok(db.execute(
        "DELETE FROM spending WHERE day < (
             SELECT day FROM spending newer WHERE newer.agent = spending.agent
             ORDER BY day DESC LIMIT 1 OFFSET ?1)",
        params![DAYS_KEPT - 1],
    )?)
}
