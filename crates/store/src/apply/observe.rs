//! Applies what was seen on the chain: messages, transactions of hosted wallets, withdrawn blocks.

use std::collections::BTreeSet;

use agentry_core::cause::Cause;
use agentry_core::commit::{Arrival, Observation, OwnTransaction, Receipt, Step};
use agentry_core::rows::{AgentId, OutboxId, day_of};
use agentry_core::state::usage::Kind;
use agentry_protocol::{BlockHash, BlockHeight, MessageDigest, TransactionHash};
use rusqlite::{Connection, OptionalExtension, params};

use super::sightings::{self, Seen};
use super::{cards, height, receipts, set_meta, spending, time, usage};
use crate::cause;
use crate::{StoreError, meta, read};

pub(super) fn observe(
    db: &Connection,
    observation: &Observation,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let at = observation.at;
    for step in &observation.steps {
        match step {
            Step::Arrival(arrival) => arrive(db, arrival, at, receipt)?,
            Step::Sighting {
                agent,
                hash,
                own,
                height,
                block_hash,
            } => {
                let seen = Seen {
                    block: Some((*height, *block_hash)),
                    mark: observation.catching_up,
                    at,
                    latest: at,
                };
                sighted(db, (*agent, *hash), own.as_deref(), seen, receipt)?;
            }
            Step::Pending {
                agent,
                hash,
                own,
                latest,
            } => {
                let seen = Seen {
                    block: None,
                    mark: observation.catching_up,
                    at,
                    latest: *latest,
                };
                pending(db, (*agent, *hash), own.as_deref(), seen, receipt)?;
            }
            Step::Card(card) => cards::seen(db, card, receipt)?,
            Step::Withdrawn { above } => withdraw(db, *above, receipt)?,
            Step::Gap { height, reason } => gap(db, *height, reason, at)?,
            Step::GapFilled { height } => gap_filled(db, *height)?,
        }
    }
    cards::tidy(db, observation.final_through, receipt)?;
    if let Some(through) = observation.final_through {
        let settled: BTreeSet<(AgentId, Cause)> = db
            .prepare_cached(
                "UPDATE outbox SET state = 'final', settled_at = ?2
                 WHERE state = 'mined' AND height <= ?1 RETURNING agent, standing, sender",
            )?
            .query_map(params![height(through), time(at)], |row| {
                Ok((AgentId(row.get(0)?), cause::read(row, 1)?))
            })?
            .collect::<Result<_, _>>()?;
        usage::bound_settled(db, &settled)?;
    }
    set_meta(db, meta::CURSOR, &observation.cursor.to_string())
}

/// A hosted wallet's transaction is included in a block.
fn sighted(
    db: &Connection,
    (agent, hash): (AgentId, TransactionHash),
    own: Option<&OwnTransaction>,
    seen: Seen,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let at = seen.at;
    let Some((at_height, block_hash)) = seen.block else {
        return Ok(());
    };
    let digest = own.map(|own| own.digest);
    let failed_rows = failed_rows(db, agent, hash, digest)?;
    let mut ids = mined(
        db,
        agent,
        ("hash", hash.to_string()),
        (at_height, block_hash),
        at,
    )?;
    if let (true, Some(digest)) = (ids.is_empty(), digest) {
        let key = ("digest", digest.to_string());
        ids = mined(db, agent, key, (at_height, block_hash), at)?;
    }
    if let (true, Some(own)) = (ids.is_empty(), own) {
        return sightings::keep(db, agent, hash, own, seen, receipt);
    }
    for id in ids {
        if failed_rows.contains(&id) {
            let paid = spending::charge_again(db, id, day_of(at))?;
            receipt.recharged.extend(paid);
        }
        receipts::mined(db, id, at_height, at, receipt)?;
        receipt.mined.push((id, hash));
    }
    Ok(())
}

/// The node has a hosted wallet's transaction pending. If the transaction is not known to have been
/// posted, it is no longer posted.
fn pending(
    db: &Connection,
    (agent, hash): (AgentId, TransactionHash),
    own: Option<&OwnTransaction>,
    seen: Seen,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let digest = own.map(|own| own.digest.to_string());
    db.prepare_cached(
        "UPDATE outbox SET state = 'accepted', accepted_at = coalesce(accepted_at, ?4)
         WHERE (hash = ?2 OR digest = ?3) AND +agent = ?1 AND +state = 'prepared'",
    )?
    .execute(params![agent.0, hash.to_string(), digest, time(seen.at)])?;
    let is_known = db
        .prepare_cached("SELECT 1 FROM outbox WHERE (hash = ?2 OR digest = ?3) AND +agent = ?1")?
        .exists(params![agent.0, hash.to_string(), digest])?;
    match own {
        Some(own) if !is_known => sightings::keep(db, agent, hash, own, seen, receipt),
        _ => Ok(()),
    }
}

/// Marks the rows of the outbox with this hash or digest as mined. A failed transaction can be
/// mined nevertheless: the chain decides.
fn mined(
    db: &Connection,
    agent: AgentId,
    (key, value): (&str, String),
    (at_height, block_hash): (BlockHeight, Option<BlockHash>),
    at: u64,
) -> Result<Vec<OutboxId>, StoreError> {
    // A final one stays in its block, whatever another block shows.
    let sql = format!(
        "UPDATE outbox SET state = iif(state = 'final', state, 'mined'),
                height = iif(state = 'final', height, ?3),
                block_hash = iif(state = 'final', block_hash, ?4),
                reason = iif(state = 'final', reason, NULL),
                settled_at = iif(state = 'final', settled_at, NULL),
                accepted_at = coalesce(accepted_at, ?5),
                mined_at = iif(state = 'final' OR height = ?3, mined_at, ?5)
         WHERE {key} = ?1 AND agent = ?2 RETURNING id"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let block_hash = block_hash.map(|hash| hash.to_string());
    let rows = statement.query_map(
        params![value, agent.0, height(at_height), block_hash, time(at)],
        |row| row.get(0).map(OutboxId),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The rows of a transaction that failed and was refunded.
fn failed_rows(
    db: &Connection,
    agent: AgentId,
    hash: TransactionHash,
    digest: Option<MessageDigest>,
) -> Result<Vec<OutboxId>, StoreError> {
    let digest = digest.map(|digest| digest.to_string());
    Ok(db
        .prepare_cached(
            "SELECT id FROM outbox
             WHERE (hash = ?2 OR digest = ?3) AND +agent = ?1 AND +state = 'failed'",
        )?
        .query_map(params![agent.0, hash.to_string(), digest], |row| {
            row.get(0).map(OutboxId)
        })?
        .collect::<Result<_, _>>()?)
}

/// A height could not be read completely.
pub(super) fn gap(
    db: &Connection,
    at_height: BlockHeight,
    reason: &str,
    at: u64,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO gap (height, reason, since) VALUES (?1, ?2, ?3)
         ON CONFLICT (height) DO UPDATE SET reason = excluded.reason",
    )?
    .execute(params![height(at_height), reason, time(at)])?;
    Ok(())
}

/// A height that was a gap was read completely.
pub(super) fn gap_filled(db: &Connection, at_height: BlockHeight) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM gap WHERE height = ?1")?
        .execute(params![height(at_height)])?;
    Ok(())
}

fn arrive(
    db: &Connection,
    arrival: &Arrival,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let start: i64 = db
        .prepare_cached("SELECT start_height FROM agent WHERE id = ?1")?
        .query_row(params![arrival.agent.0], |row| row.get(0))?;
    if height(arrival.height) < start {
        return Ok(());
    }
    if arrival.authenticity == agentry_core::Authenticity::Forged {
        receipt.arrived += db
            .prepare_cached(
                "INSERT OR IGNORE INTO forged (agent, hash, sender, height, stored, seen_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                arrival.agent.0,
                arrival.hash.to_string(),
                arrival.sender.as_str(),
                height(arrival.height),
                arrival.stored,
                time(at)
            ])?;
        return usage::bound_forged(db, arrival.agent);
    }
    // Also by its digest: it identifies a message whose sender was verified only later.
    let known = db
        .prepare_cached(
            "SELECT id, state FROM inbox WHERE agent = ?1 AND sender = ?2 AND identity = ?3
             UNION ALL SELECT id, state FROM inbox WHERE agent = ?1 AND digest = ?4 LIMIT 1",
        )?
        .query_row(
            params![
                arrival.agent.0,
                arrival.sender.as_str(),
                arrival.identity,
                arrival.digest.to_string()
            ],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
        )
        .optional()?;
    match known {
        None => {
            let cause = Cause::of(arrival.standing, &arrival.sender);
            let bytes = arrival.stored.len() as u64;
            let full = usage::make_room(db, arrival.agent, Kind::Message, &cause, bytes)?
                .map(|reason| format!("refused, and its content was not stored: {reason}"));
            let stored = if full.is_some() { "" } else { &arrival.stored };
            receipt.refused += usize::from(full.is_some());
            let refused = match full.or_else(|| arrival.refused.clone()) {
                None => pruned_id_refusal(db, arrival)?,
                refused => refused,
            };
            db.prepare_cached(
                "INSERT INTO inbox (agent, digest, hash, sender, height, stored, authenticity,
                                    state, seq, seen_at, identity, re, thread, expires_at,
                                    priority, reason, settled_at, standing)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, iif(?14 IS NULL, 'waiting', 'dead'),
                         (1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'inbox'), 0))
                             * 1048576, ?8, ?9, ?10, ?11, ?12, ?13,
                         ?14, iif(?14 IS NULL, NULL, ?8), ?15)",
            )?
            .execute(params![
                arrival.agent.0,
                arrival.digest.to_string(),
                arrival.hash.to_string(),
                arrival.sender.as_str(),
                height(arrival.height),
                stored,
                arrival.authenticity.as_str(),
                time(at),
                arrival.identity,
                arrival.re.map(|hash| hash.to_string()),
                arrival.thread,
                arrival.expires_at.map(time),
                arrival.urgent,
                refused,
                arrival.standing.as_str()
            ])?;
            receipt.arrived += 1;
            if refused.is_none() {
                receipt.due.push(arrival.agent);
            }
        }
        Some((id, state)) => {
            // The same message again: after a reorganisation, respelled, or replayed. Its new place
            // matters only if it is in no other block.
            db.prepare_cached(
                "UPDATE inbox SET height = ?2, hash = ?3, seq = 1 + coalesce(
                            (SELECT max(seq) FROM inbox
                             WHERE height IS NOT NULL AND seq % 1048576 <> 0
                               AND seq > (SELECT seq FROM sqlite_sequence WHERE name = 'inbox')
                                   * 1048576),
                            (SELECT seq FROM sqlite_sequence WHERE name = 'inbox') * 1048576),
                        state = CASE state WHEN 'withdrawn' THEN 'waiting' ELSE state END
                 WHERE id = ?1 AND height IS NULL",
            )?
            .execute(params![
                id,
                height(arrival.height),
                arrival.hash.to_string()
            ])?;
            receipt.repeated += 1;
            // A waiting one counts, too: when the chain is read again, no agent may have been woken
            // for it.
            if state == "withdrawn" || state == "waiting" {
                receipt.due.push(arrival.agent);
            }
        }
    }
    Ok(())
}

/// Why a message is refused whose id may have been known before: the id is as old as ids that were
/// pruned, whatever the clock says now.
fn pruned_id_refusal(db: &Connection, arrival: &Arrival) -> Result<Option<String>, StoreError> {
    if arrival.identity == arrival.digest.to_string() {
        return Ok(None);
    }
    let pruned = db
        .prepare_cached("SELECT 1 FROM meta WHERE key = ?1 AND value > ?2")?
        .exists(params![meta::IDS_FROM, arrival.identity])?;
    Ok(pruned
        .then(|| "its id is so old that the message may have been handled and pruned".to_owned()))
}

fn withdraw(
    db: &Connection,
    above: Option<BlockHeight>,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let from = above;
    let above = above.map_or(-1, height);
    db.execute(
        "UPDATE inbox SET height = NULL,
                state = CASE state WHEN 'waiting' THEN 'withdrawn' ELSE state END
         WHERE height > ?1",
        params![above],
    )?;
    cards::withdraw(db, from, receipt)?;
    sightings::withdraw(db, above)?;
    db.execute("DELETE FROM gap WHERE height > ?1", params![above])?;
    // What the following blocks hold is new, also for an agent that started above them.
    db.execute(
        "UPDATE agent SET start_height = ?1 + 1 WHERE start_height > ?1 + 1",
        params![above],
    )?;
    db.execute(
        // Also of failed ones: an operator may retry them.
        "UPDATE outbox SET since = ?1 WHERE since > ?1",
        params![above.max(0)],
    )?;
    let mut statement = db.prepare(
        "UPDATE outbox SET state = 'accepted', height = NULL, block_hash = NULL, mined_at = NULL,
                settled_at = NULL, reason = 'withdrawn by a reorganisation'
         WHERE state IN ('mined', 'final') AND height > ?1 RETURNING id",
    )?;
    let ids: Vec<i64> = statement
        .query_map(params![above], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in ids {
        receipts::withdrawn(db, OutboxId(id))?;
        receipt
            .reopened
            .extend(read::open_transaction(db, OutboxId(id))?);
    }
    Ok(())
}
