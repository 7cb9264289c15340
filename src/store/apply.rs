//! The one place that carries a commit out.

mod observe;
mod operate;

use agentry_protocol::BlockHeight;
use rusqlite::{Connection, OptionalExtension, params};

use super::commit::{Commit, Outcome, PostResult, Receipt, Sent};
use super::number::integer;
use super::rows::{AgentId, Draft, InboxId, OutboxId, Prepared};
use super::{StoreError, meta};

/// Carries out a commit. On an error the caller undoes what was begun.
pub(super) fn apply(db: &Connection, commit: &Commit) -> Result<Receipt, StoreError> {
    let mut receipt = Receipt::default();
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
        Commit::Outcome(outcome) => settle(db, outcome, &mut receipt)?,
        Commit::Failure {
            message,
            attempts,
            reason,
            retry_at,
            at,
        } => {
            let (state, due_at, settled_at) = match retry_at {
                Some(due_at) => ("waiting", *due_at, None),
                None => ("dead", 0, Some(time(*at))),
            };
            receipt.changed = db.prepare_cached(
                "UPDATE inbox SET attempts = attempts + 1, reason = ?3, state = ?4, due_at = ?5,
                                  settled_at = ?6
                 WHERE id = ?1 AND attempts = ?2 AND state = 'waiting'",
            )?
            .execute(params![message.0, attempts, reason, state, time(due_at), settled_at])?;
            receipt.stale = receipt.changed == 0;
        }
        Commit::Send {
            agent,
            draft,
            prepared,
            at,
        } => {
            receipt
                .sends
                .push(enqueue(db, *agent, None, draft, prepared.as_ref(), *at)?);
        }
        Commit::Prepare { prepared, at } => {
            for (id, prepared) in prepared {
                receipt.changed += prepare(db, *id, prepared, *at)?;
            }
        }
        Commit::Post { id, result, at } => receipt.changed = post(db, *id, result, *at)?,
        Commit::Renounce { id, reason } => {
            receipt.changed = db
                .prepare_cached(
                    "UPDATE outbox SET state = 'queued', reason = ?2, nonce = NULL, hash = NULL,
                                   digest = NULL, body = NULL, since = NULL, posts = 0
                 WHERE id = ?1 AND state IN ('prepared', 'accepted')",
                )?
                .execute(params![id.0, reason])?;
        }
        Commit::Retry { target } => operate::retry(db, *target, &mut receipt)?,
        Commit::Drop { target, at } => operate::discard(db, *target, *at, &mut receipt)?,
        Commit::Halt { reason } => set_meta(db, meta::HALTED, reason)?,
        Commit::Resume => {
            receipt.changed =
                db.execute("DELETE FROM meta WHERE key = ?1", params![meta::HALTED])?;
        }
        Commit::Forget { before } => operate::forget(db, *before, &mut receipt)?,
    }
    Ok(receipt)
}

fn set_meta(db: &Connection, key: &str, value: &str) -> Result<(), StoreError> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute(params![key, value])?;
    Ok(())
}

fn settle(db: &Connection, outcome: &Outcome, receipt: &mut Receipt) -> Result<(), StoreError> {
    let agent: Option<i64> = db
        .prepare_cached(
            "SELECT agent FROM inbox WHERE id = ?1 AND attempts = ?2 AND state = 'waiting'",
        )?
        .query_row(params![outcome.message.0, outcome.attempts], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(agent) = agent.map(AgentId) else {
        receipt.stale = true;
        return Ok(());
    };
    if let Some(behaviour) = &outcome.behaviour {
        let recorded = db
            .prepare_cached("INSERT OR IGNORE INTO progress (inbox, behaviour) VALUES (?1, ?2)")?
            .execute(params![outcome.message.0, behaviour])?;
        if recorded == 0 {
            receipt.stale = true;
            return Ok(());
        }
        for (key, value) in &outcome.state {
            match value {
                Some(value) => db
                    .prepare_cached(
                        "INSERT OR REPLACE INTO state (agent, behaviour, key, value)
                         VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![agent.0, behaviour, key, value.to_string()])?,
                None => db
                    .prepare_cached(
                        "DELETE FROM state WHERE agent = ?1 AND behaviour = ?2 AND key = ?3",
                    )?
                    .execute(params![agent.0, behaviour, key])?,
            };
        }
    }
    for (draft, prepared) in &outcome.sends {
        let message = Some(outcome.message);
        receipt.sends.push(enqueue(
            db,
            agent,
            message,
            draft,
            prepared.as_ref(),
            outcome.at,
        )?);
    }
    if outcome.handled {
        db.prepare_cached(
            "UPDATE inbox SET state = 'handled', reason = NULL, settled_at = ?2 WHERE id = ?1",
        )?
        .execute(params![outcome.message.0, time(outcome.at)])?;
        db.prepare_cached("DELETE FROM progress WHERE inbox = ?1")?
            .execute(params![outcome.message.0])?;
    }
    receipt.changed = 1;
    Ok(())
}

/// Adds a transaction to the outbox. The same origin is the same request: its first row stays.
fn enqueue(
    db: &Connection,
    agent: AgentId,
    message: Option<InboxId>,
    draft: &Draft,
    prepared: Option<&Prepared>,
    at: u64,
) -> Result<Sent, StoreError> {
    let inserted = db
        .prepare_cached(
            "INSERT INTO outbox (agent, origin, inbox, recipient, amount, fee, payload, state,
                                 created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'queued', ?8)
             ON CONFLICT (origin) DO NOTHING RETURNING id",
        )?
        .query_row(
            params![
                agent.0,
                draft.origin,
                message.map(|message| message.0),
                draft.recipient.as_str(),
                integer(draft.amount),
                integer(draft.fee),
                draft.payload.to_compact(),
                time(at)
            ],
            |row| row.get(0),
        )
        .optional()?;
    match inserted {
        Some(id) => {
            if let Some(prepared) = prepared {
                prepare(db, OutboxId(id), prepared, at)?;
            }
            Ok(Sent {
                id: OutboxId(id),
                fresh: true,
            })
        }
        None => {
            let id = db.query_row(
                "SELECT id FROM outbox WHERE origin = ?1",
                params![draft.origin],
                |row| row.get(0),
            )?;
            Ok(Sent {
                id: OutboxId(id),
                fresh: false,
            })
        }
    }
}

fn prepare(
    db: &Connection,
    id: OutboxId,
    prepared: &Prepared,
    at: u64,
) -> Result<usize, StoreError> {
    let changed = db
        .prepare_cached(
            "UPDATE outbox SET state = 'prepared', reason = NULL, nonce = ?2, hash = ?3,
                               digest = ?4, body = ?5, prepared_at = ?6, since = ?7
             WHERE id = ?1 AND state = 'queued'",
        )?
        .execute(params![
            id.0,
            prepared.nonce,
            prepared.hash.to_string(),
            prepared.digest.to_string(),
            prepared.body,
            time(at),
            height(prepared.since)
        ])?;
    if changed > 0 {
        db.prepare_cached(
            "UPDATE agent SET last_nonce = max(coalesce(last_nonce, ?2), ?2)
             WHERE id = (SELECT agent FROM outbox WHERE id = ?1)",
        )?
        .execute(params![id.0, prepared.nonce])?;
    }
    Ok(changed)
}

fn post(db: &Connection, id: OutboxId, result: &PostResult, at: u64) -> Result<usize, StoreError> {
    let changed = match result {
        PostResult::Accepted => db
            .prepare_cached(
                "UPDATE outbox SET state = 'accepted', reason = NULL, posts = posts + 1,
                                   accepted_at = coalesce(accepted_at, ?2)
                 WHERE id = ?1 AND state IN ('prepared', 'accepted')",
            )?
            .execute(params![id.0, time(at)])?,
        PostResult::Failed { reason } => db
            .prepare_cached(
                "UPDATE outbox SET state = 'failed', reason = ?2, settled_at = ?3
                 WHERE id = ?1 AND state IN ('prepared', 'accepted')",
            )?
            .execute(params![id.0, reason, time(at)])?,
        PostResult::Standing {
            height: at_height,
            block_hash,
        } => db
            .prepare_cached(
                "UPDATE outbox SET state = 'mined', reason = NULL, height = ?2, block_hash = ?3,
                                   accepted_at = coalesce(accepted_at, ?4), mined_at = ?4
                 WHERE id = ?1 AND state IN ('prepared', 'accepted')",
            )?
            .execute(params![
                id.0,
                height(*at_height),
                block_hash.to_string(),
                time(at)
            ])?,
        PostResult::Waiting { reason } => db
            .prepare_cached(
                "UPDATE outbox SET reason = ?2
                 WHERE id = ?1 AND state IN ('prepared', 'accepted')",
            )?
            .execute(params![id.0, reason])?,
    };
    Ok(changed)
}

fn height(value: BlockHeight) -> i64 {
    integer(value.0)
}

fn time(value: u64) -> i64 {
    integer(value)
}
