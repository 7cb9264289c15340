//! The transactions that hosted wallets send.

use std::collections::BTreeSet;

use agentry_core::cause::Cause;
use agentry_core::commit::{PostResult, Receipt, Sent};
use agentry_core::rows::{AgentId, Draft, InboxId, OutboxId, Prepared, ReceiptState};
use agentry_core::state::EXPIRED;
use rusqlite::{Connection, OptionalExtension, params};

use super::claims::{self, Anchor, Stored};
use super::usage;
use super::{height, receipts, sightings, spending, time};
use crate::StoreError;
use crate::cause;
use crate::number::Exact;

/// Adds a transaction and its signed bytes to the outbox. The same origin is the same request: its
/// first row stays.
pub(super) fn enqueue(
    db: &Connection,
    from: (AgentId, Option<InboxId>),
    draft: &Draft,
    prepared: Option<&Prepared>,
    at: u64,
    receipt: &mut Receipt,
) -> Result<Sent, StoreError> {
    let sent = add(db, from, draft, at)?;
    match prepared {
        Some(prepared) if sent.fresh => prepare(db, sent.id, prepared, at, receipt),
        _ => Ok(sent),
    }
}

/// Adds what an outcome sends. What the chain already shows is not sent again.
pub(super) fn send_all(
    db: &Connection,
    from: (AgentId, Option<InboxId>),
    anchor: Option<Anchor>,
    sends: &[(Draft, Option<Prepared>)],
    at: u64,
    receipt: &mut Receipt,
) -> Result<Vec<Sent>, StoreError> {
    let mut rows = Vec::with_capacity(sends.len());
    let mut fresh = Vec::with_capacity(sends.len());
    for (draft, prepared) in sends {
        let sent = add(db, from, draft, at)?;
        if sent.fresh {
            fresh.push(Stored {
                id: sent.id,
                draft,
                prepared: prepared.as_ref(),
            });
        }
        rows.push(sent);
    }
    let claimed = claims::claim(db, from.0, anchor, &fresh, at, receipt)?;
    for (row, (_, prepared)) in rows.iter_mut().zip(sends) {
        if claimed.contains(&row.id) {
            row.standing = true;
        } else if let Some(prepared) = prepared.as_ref().filter(|_| row.fresh) {
            *row = prepare(db, row.id, prepared, at, receipt)?;
        }
    }
    Ok(rows)
}

fn add(
    db: &Connection,
    (agent, message): (AgentId, Option<InboxId>),
    draft: &Draft,
    at: u64,
) -> Result<Sent, StoreError> {
    // Before the insertion, which would use up an id.
    let known = db
        .prepare_cached("SELECT id FROM outbox WHERE origin = ?1")?
        .query_row(params![draft.origin], |row| row.get(0).map(OutboxId))
        .optional()?;
    if let Some(id) = known {
        return Ok(Sent {
            id,
            fresh: false,
            standing: false,
        });
    }
    let id = db
        .prepare_cached(
            "INSERT INTO outbox (agent, origin, inbox, recipient, amount, fee, payload, state,
                                 created_at, message_id, expires_at, standing, sender)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'queued', ?8, ?9, ?10, ?11, ?12)
             RETURNING id",
        )?
        .query_row(
            params![
                agent.0,
                draft.origin,
                message.map(|message| message.0),
                draft.recipient.as_str(),
                Exact(draft.amount),
                Exact(draft.fee),
                draft.payload.to_compact(),
                time(at),
                draft.message_id.map(|id| id.to_string()),
                draft.expires_at.map(time),
                cause::standing(&draft.cause),
                cause::sender(&draft.cause)
            ],
            |row| row.get(0).map(OutboxId),
        )?;
    if let Some(request) = &draft.receipt {
        receipts::open(db, id, agent, request, at)?;
    }
    Ok(Sent {
        id,
        fresh: true,
        standing: false,
    })
}

/// Stores a draft's nonce and signed bytes; the day's budget pays for it.
pub(super) fn prepare(
    db: &Connection,
    id: OutboxId,
    prepared: &Prepared,
    at: u64,
    receipt: &mut Receipt,
) -> Result<Sent, StoreError> {
    if claims::claim_queued(db, id, prepared, at, receipt)? {
        return Ok(Sent {
            id,
            fresh: true,
            standing: true,
        });
    }
    let digest = prepared.digest.to_string();
    let agent = db
        .prepare_cached(
            "UPDATE outbox SET state = 'prepared', reason = NULL, nonce = ?2, hash = ?3,
                               digest = ?4, body = ?5, prepared_at = ?6, since = ?7
             WHERE id = ?1 AND state = 'queued' RETURNING agent",
        )?
        .query_row(
            params![
                id.0,
                prepared.nonce,
                prepared.hash.to_string(),
                digest,
                prepared.body,
                time(at),
                height(prepared.since)
            ],
            |row| row.get(0).map(AgentId),
        )
        .optional()?;
    let Some(agent) = agent else {
        return Ok(Sent {
            id,
            fresh: false,
            standing: false,
        });
    };
    sightings::spent(db, agent, prepared.nonce)?;
    spending::charge(db, id, prepared.day)?;
    Ok(Sent {
        id,
        fresh: true,
        standing: sightings::same_bytes(db, id, (agent, &digest), at, receipt)?,
    })
}

/// Queued drafts that have expired are no longer sent.
pub(super) fn expire_queued(
    db: &Connection,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(
        "UPDATE outbox SET state = 'failed', reason = ?2, settled_at = ?1, held = 0
         WHERE state = 'queued' AND expires_at < ?1 RETURNING id, agent, standing, sender",
    )?;
    let rows: Vec<(OutboxId, AgentId, Cause)> = statement
        .query_map(params![time(at), EXPIRED], |row| {
            let cause = cause::read(row, 2)?;
            Ok((OutboxId(row.get(0)?), AgentId(row.get(1)?), cause))
        })?
        .collect::<Result<_, _>>()?;
    receipt.changed = rows.len();
    let mut settled = BTreeSet::new();
    for (id, agent, cause) in rows {
        receipts::acknowledge(db, id, ReceiptState::Expired, None, at, receipt)?;
        settled.insert((agent, cause));
    }
    usage::bound_settled(db, &settled)
}

/// Applies the result of a POST.
pub(super) fn post(
    db: &Connection,
    id: OutboxId,
    result: &PostResult,
    at: u64,
    receipt: &mut Receipt,
) -> Result<usize, StoreError> {
    let changed = match result {
        PostResult::Accepted => db
            .prepare_cached(
                // The same POST counts once.
                "UPDATE outbox SET state = 'accepted', reason = NULL,
                                   posts = posts + (posted_at IS NOT ?2), posted_at = ?2,
                                   accepted_at = coalesce(accepted_at, ?2)
                 WHERE id = ?1 AND state IN ('prepared', 'accepted')",
            )?
            .execute(params![id.0, time(at)])?,
        PostResult::Failed { reason } => {
            let failed = db
                .prepare_cached(
                    "UPDATE outbox SET state = 'failed', reason = ?2, settled_at = ?3
                     WHERE id = ?1 AND state IN ('prepared', 'accepted')
                     RETURNING agent, standing, sender",
                )?
                .query_row(params![id.0, reason, time(at)], |row| {
                    Ok((AgentId(row.get(0)?), cause::read(row, 1)?))
                })
                .optional()?;
            let changed = usize::from(failed.is_some());
            if let Some(failed) = failed {
                spending::refund(db, id)?;
                receipts::acknowledge(db, id, ReceiptState::Unsent, Some(reason), at, receipt)?;
                usage::bound_settled(db, &BTreeSet::from([failed]))?;
            }
            changed
        }
        PostResult::Standing {
            height: at_height,
            block_hash,
        } => {
            let changed = db
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
                ])?;
            if changed > 0 {
                receipts::mined(db, id, *at_height, at, receipt)?;
            }
            changed
        }
        PostResult::Waiting { reason } => db
            .prepare_cached(
                "UPDATE outbox SET reason = ?2
                 WHERE id = ?1 AND state IN ('prepared', 'accepted')",
            )?
            .execute(params![id.0, reason])?,
    };
    Ok(changed)
}

/// Stores why transactions wait for a block.
pub(super) fn explain(
    db: &Connection,
    ids: &[OutboxId],
    reason: &str,
) -> Result<usize, StoreError> {
    let mut statement = db.prepare_cached(
        "UPDATE outbox SET reason = ?2 WHERE id = ?1 AND state IN ('prepared', 'accepted')",
    )?;
    let mut changed = 0;
    for id in ids {
        changed += statement.execute(params![id.0, reason])?;
    }
    Ok(changed)
}

/// Another transaction has spent a signed transaction's nonce: it will be re-signed and paid for
/// again.
pub(super) fn requeue(db: &Connection, id: OutboxId, reason: &str) -> Result<usize, StoreError> {
    let changed = db
        .prepare_cached(
            "UPDATE outbox SET state = 'queued', reason = ?2, nonce = NULL, hash = NULL,
                               digest = NULL, body = NULL, since = NULL, posts = 0,
                               posted_at = NULL
             WHERE id = ?1 AND state IN ('prepared', 'accepted')",
        )?
        .execute(params![id.0, reason])?;
    if changed > 0 {
        spending::refund(db, id)?;
    }
    Ok(changed)
}
