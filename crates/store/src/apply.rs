//! Applies a commit to the tables. No other module changes them.

mod backfill;
mod cards;
mod claims;
mod events;
mod observe;
mod operate;
mod outcome;
mod outgoing;
mod receipts;
mod sightings;
mod spending;
mod tasks;
mod usage;

#[cfg(test)]
mod law;

use agentry_core::commit::{Commit, Receipt};
use agentry_core::rows::{AgentId, ReceiptState};
use agentry_protocol::BlockHeight;
use rusqlite::{Connection, params};

use super::number::integer;
use super::{StoreError, meta};

/// Applies a commit. On an error the caller rolls back what was changed so far.
pub(super) fn apply(db: &Connection, commit: &Commit) -> Result<Receipt, StoreError> {
    let mut receipt = Receipt::default();
    if let Some(at) = commit.runtime_time() {
        note_time(db, at)?;
    }
    match commit {
        Commit::Identify { chain_id, genesis } => {
            set_meta(db, meta::CHAIN_ID, chain_id.as_str())?;
            set_meta(db, meta::GENESIS, &genesis.to_string())?;
        }
        Commit::Host { agents } => {
            for agent in agents {
                let id = db
                    .prepare_cached(
                        "INSERT INTO agent (address, name, start_height) VALUES (?1, ?2, ?3)
                     ON CONFLICT (address) DO UPDATE SET name = excluded.name RETURNING id",
                    )?
                    .query_row(
                        params![
                            agent.address.as_str(),
                            agent.name,
                            height(agent.start_height)
                        ],
                        |row| row.get(0),
                    )?;
                receipt.agents.push(AgentId(id));
            }
        }
        Commit::Observe(observation) => observe::observe(db, observation, &mut receipt)?,
        Commit::Backfill(seen) => backfill::backfill(db, seen, &mut receipt)?,
        Commit::Outcome(outcome) => outcome::settle(db, outcome, &mut receipt)?,
        Commit::Failure {
            event,
            attempts,
            reason,
            public,
            retry_at,
            watchers,
            at,
        } => {
            receipt.changed = outcome::fail(
                db,
                *event,
                *attempts,
                (reason, public),
                *retry_at,
                watchers,
                *at,
                &mut receipt,
            )?;
            receipt.stale = receipt.changed == 0;
        }
        Commit::Expire {
            message,
            watchers,
            at,
        } => {
            receipt.changed = outcome::expire(db, *message, watchers, *at, &mut receipt)?;
            receipt.stale = receipt.changed == 0;
        }
        Commit::Postpone {
            event,
            until,
            reason,
        } => receipt.changed = outcome::postpone(db, *event, *until, reason)?,
        Commit::RateLimitTimeout {
            agent,
            sender,
            before,
            reason,
            at,
        } => {
            receipt.changed =
                outcome::rate_limit_timeout(db, *agent, sender.as_ref(), *before, reason, *at)?;
        }
        Commit::Send {
            agent,
            draft,
            prepared,
            at,
        } => {
            let prepared = prepared.as_ref();
            let sent = outgoing::enqueue(db, (*agent, None), draft, prepared, *at, &mut receipt)?;
            receipt.sends.push(sent);
        }
        Commit::Acknowledge {
            outbox,
            state,
            detail,
            at,
        } => receipts::acknowledge(db, *outbox, *state, detail.as_deref(), *at, &mut receipt)?,
        Commit::Resend {
            outbox,
            resends_left,
            draft,
            prepared,
            at,
        } => receipts::resend(
            db,
            *outbox,
            *resends_left,
            draft,
            prepared.as_ref(),
            *at,
            &mut receipt,
        )?,
        Commit::Unacknowledged { outbox, at } => {
            let state = ReceiptState::Unacknowledged;
            receipts::acknowledge(db, *outbox, state, None, *at, &mut receipt)?;
        }
        Commit::TaskBegin { task, attempts, at } => {
            receipt.changed = tasks::begin(db, *task, *attempts, *at)?;
            receipt.stale = receipt.changed == 0;
        }
        Commit::TaskProgress {
            task,
            attempts,
            progress,
            note,
            tell,
            at,
        } => tasks::progress(
            db,
            (*task, *attempts),
            (*progress, note.as_deref()),
            *tell,
            *at,
            &mut receipt,
        )?,
        Commit::TaskRetry {
            task,
            attempts,
            error,
            due_at,
        } => {
            receipt.changed = tasks::retry(db, *task, *attempts, error, *due_at)?;
            receipt.stale = receipt.changed == 0;
        }
        Commit::TaskInterrupt { task, attempts } => {
            receipt.changed = tasks::interrupt(db, *task, *attempts)?;
            receipt.stale = receipt.changed == 0;
        }
        Commit::TaskEnd {
            task,
            attempts,
            end,
            duration_ms,
            at,
        } => tasks::end(db, *task, *attempts, end, *duration_ms, *at, &mut receipt)?,
        Commit::Register {
            agent,
            card,
            due_at,
        } => {
            events::register(db, *agent, card, *due_at)?;
            receipt.due.push(*agent);
        }
        Commit::Unregister { agent } => receipt.changed = events::unregister(db, *agent)?,
        Commit::Prepare { prepared, at } => {
            for (id, prepared) in prepared {
                let sent = outgoing::prepare(db, *id, prepared, *at, &mut receipt)?;
                receipt.changed += usize::from(sent.fresh);
                receipt.sends.push(sent);
            }
        }
        Commit::Hold { held } => receipt.changed = spending::hold(db, held)?,
        Commit::Release { ids } => receipt.changed = spending::release(db, ids)?,
        Commit::ExpireQueued { at } => outgoing::expire_queued(db, *at, &mut receipt)?,
        Commit::Post { id, result, at } => {
            receipt.changed = outgoing::post(db, *id, result, *at, &mut receipt)?;
        }
        Commit::Explain { ids, reason } => receipt.changed = outgoing::explain(db, ids, reason)?,
        Commit::MempoolShown { key } => set_meta(db, meta::MEMPOOL, key)?,
        Commit::Requeue { id, reason } => {
            receipt.changed = outgoing::requeue(db, *id, reason)?;
        }
        Commit::Retry { target, at } => operate::retry(db, target, *at, &mut receipt)?,
        Commit::Reverify { verified, at } => {
            receipt.changed = operate::reverify(db, verified, *at)?;
        }
        Commit::Drop { target, at } => operate::discard(db, target, *at, &mut receipt)?,
        Commit::Halt { reason } => set_meta(db, meta::HALTED, reason)?,
        Commit::Resume => {
            receipt.changed =
                db.execute("DELETE FROM meta WHERE key = ?1", params![meta::HALTED])?;
        }
        Commit::Prune { before, at } => operate::prune(db, *before, *at, &mut receipt)?,
    }
    Ok(receipt)
}

/// How far the stored time may lag, in milliseconds: it is written at most once in this interval.
const NOTE_EVERY_MS: i64 = 1000;

/// Stores how far the runtime's own time has come, in the same transaction as the rows that wait
/// by that time.
fn note_time(db: &Connection, at: u64) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value
         WHERE CAST(value AS INTEGER) + ?3 <= CAST(excluded.value AS INTEGER)",
    )?
    .execute(params![meta::TIME, time(at).to_string(), NOTE_EVERY_MS])?;
    Ok(())
}

fn set_meta(db: &Connection, key: &str, value: &str) -> Result<(), StoreError> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute(params![key, value])?;
    Ok(())
}

fn height(value: BlockHeight) -> i64 {
    integer(value.0)
}

fn time(value: u64) -> i64 {
    integer(value)
}
