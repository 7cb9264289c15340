//! The one place that carries a commit out.

use agentry_protocol::BlockHeight;
use rusqlite::{Connection, OptionalExtension, params};

use super::commit::{
    Arrival, Commit, Observation, Outcome, PostResult, QueueTarget, Receipt, Sent, Step,
};
use super::rows::{AgentId, Draft, InboxId, OutboxId, Prepared};
use super::{StoreError, read};

/// The keys of the table `meta`.
pub(crate) mod meta {
    pub(crate) const CHAIN_ID: &str = "chain_id";
    pub(crate) const GENESIS: &str = "genesis";
    pub(crate) const CURSOR: &str = "cursor";
    pub(crate) const HALTED: &str = "halted";
}

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
        Commit::Observe(observation) => observe(db, observation, &mut receipt)?,
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
                                   digest = NULL, body = NULL, posts = 0
                 WHERE id = ?1 AND state IN ('prepared', 'accepted')",
                )?
                .execute(params![id.0, reason])?;
        }
        Commit::Retry { target } => retry(db, *target, &mut receipt)?,
        Commit::Drop { target, at } => discard(db, *target, *at, &mut receipt)?,
        Commit::Halt { reason } => set_meta(db, meta::HALTED, reason)?,
        Commit::Resume => {
            receipt.changed =
                db.execute("DELETE FROM meta WHERE key = ?1", params![meta::HALTED])?;
        }
        Commit::Forget { before } => forget(db, *before, &mut receipt)?,
    }
    Ok(receipt)
}

fn set_meta(db: &Connection, key: &str, value: &str) -> Result<(), StoreError> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute(params![key, value])?;
    Ok(())
}

fn observe(
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
                digest,
                height: at_height,
                block_hash,
            } => {
                let block_hash = block_hash.map(|hash| hash.to_string());
                // A transaction that was given up can be mined all the same: the chain decides.
                let seen = |key: &str, value: String| -> Result<Vec<OutboxId>, StoreError> {
                    let sql = format!(
                        "UPDATE outbox SET state = CASE state WHEN 'final' THEN state ELSE 'mined' END,
                                height = ?3, block_hash = ?4, reason = NULL, settled_at = NULL,
                                accepted_at = coalesce(accepted_at, ?5), mined_at = coalesce(mined_at, ?5)
                         WHERE {key} = ?1 AND agent = ?2 RETURNING id"
                    );
                    let mut statement = db.prepare_cached(&sql)?;
                    let rows = statement.query_map(
                        params![value, agent.0, height(*at_height), block_hash, time(at)],
                        |row| row.get(0).map(OutboxId),
                    )?;
                    Ok(rows.collect::<Result<_, _>>()?)
                };
                let mut ids = seen("hash", hash.to_string())?;
                if let (true, Some(digest)) = (ids.is_empty(), digest) {
                    ids = seen("digest", digest.to_string())?;
                }
                receipt.mined.extend(ids.into_iter().map(|id| (id, *hash)));
            }
            Step::Withdrawn { above } => withdraw(db, *above, receipt)?,
            Step::Gap {
                height: at_height,
                reason,
            } => {
                db.execute(
                    "INSERT INTO gap (height, reason, since) VALUES (?1, ?2, ?3)
                     ON CONFLICT (height) DO UPDATE SET reason = excluded.reason",
                    params![height(*at_height), reason, time(at)],
                )?;
            }
            Step::GapFilled { height: at_height } => {
                db.execute(
                    "DELETE FROM gap WHERE height = ?1",
                    params![height(*at_height)],
                )?;
            }
        }
    }
    if let Some(through) = observation.final_through {
        db.prepare_cached(
            "UPDATE outbox SET state = 'final', settled_at = ?2
             WHERE state = 'mined' AND height <= ?1",
        )?
        .execute(params![height(through), time(at)])?;
    }
    set_meta(db, meta::CURSOR, &observation.cursor.to_string())
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
    if arrival.authenticity == agentry_sdk::Authenticity::Forged {
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
        return Ok(());
    }
    let known = db
        .prepare_cached("SELECT id, state FROM inbox WHERE agent = ?1 AND digest = ?2")?
        .query_row(
            params![arrival.agent.0, arrival.digest.to_string()],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
        )
        .optional()?;
    match known {
        None => {
            db.prepare_cached(
                "INSERT INTO inbox (agent, digest, hash, sender, height, stored, authenticity,
                                    state, seq, seen_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'waiting',
                         (SELECT coalesce(max(id), 0) + 1 FROM inbox), ?8)",
            )?
            .execute(params![
                arrival.agent.0,
                arrival.digest.to_string(),
                arrival.hash.to_string(),
                arrival.sender.as_str(),
                height(arrival.height),
                arrival.stored,
                arrival.authenticity.as_str(),
                time(at)
            ])?;
            receipt.arrived += 1;
            receipt.due.push(arrival.agent);
        }
        Some((id, state)) => {
            // The same message again: after a reorganisation, respelled, or replayed. Where it
            // stands now matters only if it stands nowhere else.
            db.prepare_cached(
                "UPDATE inbox SET height = ?2, hash = ?3, seq = (SELECT max(id) FROM inbox),
                        state = CASE state WHEN 'withdrawn' THEN 'waiting' ELSE state END
                 WHERE id = ?1 AND height IS NULL",
            )?
            .execute(params![
                id,
                height(arrival.height),
                arrival.hash.to_string()
            ])?;
            receipt.repeated += 1;
            if state == "withdrawn" {
                receipt.due.push(arrival.agent);
            }
        }
    }
    Ok(())
}

fn withdraw(
    db: &Connection,
    above: Option<BlockHeight>,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let above = above.map_or(-1, height);
    db.execute(
        "UPDATE inbox SET height = NULL,
                state = CASE state WHEN 'waiting' THEN 'withdrawn' ELSE state END
         WHERE height > ?1",
        params![above],
    )?;
    db.execute("DELETE FROM gap WHERE height > ?1", params![above])?;
    // What stands in the blocks that follow is new, also to an agent that began above them.
    db.execute(
        "UPDATE agent SET start_height = ?1 + 1 WHERE start_height > ?1 + 1",
        params![above],
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
        receipt
            .reopened
            .extend(read::open_transaction(db, OutboxId(id))?);
    }
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
                               digest = ?4, body = ?5, prepared_at = ?6
             WHERE id = ?1 AND state = 'queued'",
        )?
        .execute(params![
            id.0,
            prepared.nonce,
            prepared.hash.to_string(),
            prepared.digest.to_string(),
            prepared.body,
            time(at)
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
        PostResult::Waiting { reason } => db
            .prepare_cached(
                "UPDATE outbox SET reason = ?2
                 WHERE id = ?1 AND state IN ('prepared', 'accepted')",
            )?
            .execute(params![id.0, reason])?,
    };
    Ok(changed)
}

fn retry(db: &Connection, target: QueueTarget, receipt: &mut Receipt) -> Result<(), StoreError> {
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

fn discard(
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

fn forget(db: &Connection, before: u64, receipt: &mut Receipt) -> Result<(), StoreError> {
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

/// SQLite's integers have 64 bits with a sign. A height, a time or an amount beyond that cannot
/// occur on a chain that exists; it is kept as the largest.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn height(value: BlockHeight) -> i64 {
    integer(value.0)
}

fn time(value: u64) -> i64 {
    integer(value)
}
