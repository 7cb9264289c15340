//! Transactions of hosted wallets on the chain that the outbox does not know.
//!
//! A store that was restored from a backup does not know what was signed after the backup, and a
//! new store never knew it. So a hosted wallet's transaction that matches no row of the outbox is
//! kept: its nonce counts as spent, and the same bytes count as mined when they are signed again,
//! whichever of the two happens first. What agents would send again [claims](super::claims) it.

use agentry_core::commit::{OwnTransaction, Receipt};
use agentry_core::fingerprint::JOB_END;
use agentry_core::rows::{AgentId, OutboxId, TaskId, day_of};
use agentry_core::state::reported_end;
use agentry_protocol::{BlockHash, BlockHeight, Limits, SignedTransaction, TransactionHash};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{height, receipts, spending, tasks, time};
use crate::column::optional_natural;
use crate::number::integer;
use crate::{StoreError, read};

/// When and how a transaction was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The block that holds it; `None` while it is pending.
    pub(super) block: Option<(BlockHeight, Option<BlockHash>)>,
    /// The last row of the outbox at the start, while agents do not act yet.
    pub(super) mark: Option<OutboxId>,
    pub(super) at: u64,
    /// No timer that was due later than this has sent it.
    pub(super) latest: u64,
}

/// Keeps a transaction that matches no row of the outbox.
pub(super) fn keep(
    db: &Connection,
    agent: AgentId,
    hash: TransactionHash,
    own: &OwnTransaction,
    seen: Seen,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let digest = own.digest.to_string();
    let at_height = seen.block.map(|(at, _)| height(at));
    let block_hash = seen.block.and_then(|(_, hash)| hash);
    let block_hash = block_hash.map(|hash| hash.to_string());
    let mark = seen.mark.map(|row| row.0);
    // Before the insertion, which would use up an id.
    let known = db
        .prepare_cached(
            "UPDATE sighting SET hash = ?3, height = coalesce(?4, height),
                    block_hash = iif(?4 IS NULL OR (?4 = height AND ?5 IS NULL), block_hash, ?5),
                    mark = coalesce(mark, ?6)
             WHERE agent = ?1 AND digest = ?2",
        )?
        .execute(params![
            agent.0,
            digest,
            hash.to_string(),
            at_height,
            block_hash,
            mark
        ])?;
    if known == 0 {
        db.prepare_cached(
            "INSERT INTO sighting (agent, digest, hash, nonce, recipient, amount, fee, kind,
                                   content, message_id, re, body, height, block_hash, mark,
                                   seen_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?
        .execute(params![
            agent.0,
            digest,
            hash.to_string(),
            own.nonce,
            own.recipient.as_str(),
            own.amount.and_then(column),
            own.fee.and_then(column),
            own.says.kind,
            own.says.content.to_string(),
            own.says.id.map(|id| id.to_string()),
            own.says.re.map(|hash| hash.to_string()),
            own.body,
            at_height,
            block_hash,
            mark,
            time(seen.latest)
        ])?;
    }
    if let Some(nonce) = own.nonce {
        spent(db, agent, nonce)?;
        receipt.nonces.push((agent, nonce));
    }
    if let (Some(_), Some(re), JOB_END) = (seen.mark, own.says.re, own.says.kind.as_str()) {
        end_job(db, agent, re, own, seen.at, receipt)?;
    }
    Ok(())
}

/// Ends an open job whose end this transaction reports: the work is not done again.
fn end_job(
    db: &Connection,
    agent: AgentId,
    job: TransactionHash,
    own: &OwnTransaction,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let Some((end, duration_ms)) = reported_end(&own.body) else {
        return Ok(());
    };
    let open: Vec<(TaskId, u32)> = db
        .prepare_cached(
            "SELECT task.id, task.attempts FROM task JOIN inbox ON inbox.id = task.inbox
             WHERE task.agent = ?1 AND task.key = ?2 AND task.state IN ('submitted', 'working')
               AND inbox.hash = ?2 AND inbox.sender = ?3",
        )?
        .query_map(
            params![agent.0, job.to_string(), own.recipient.as_str()],
            |row| Ok((TaskId(row.get(0)?), row.get(1)?)),
        )?
        .collect::<Result<_, _>>()?;
    for (task, attempts) in open {
        tasks::end(db, task, attempts, &end, duration_ms, at, receipt)?;
    }
    Ok(())
}

/// Marks a nonce of a wallet as spent: it is assigned to no other transaction.
pub(super) fn spent(db: &Connection, agent: AgentId, nonce: i64) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE agent SET last_nonce = max(coalesce(last_nonce, ?2), ?2) WHERE id = ?1",
    )?
    .execute(params![agent.0, nonce])?;
    Ok(())
}

fn column(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}

/// A sighting that a row of the outbox takes over.
#[derive(Debug)]
pub(super) struct Sighting {
    id: i64,
    nonce: i64,
    hash: String,
    digest: String,
    message_id: Option<String>,
    fee: Option<i64>,
    body: String,
    height: Option<u64>,
    block_hash: Option<String>,
}

pub(super) const COLUMNS: &str =
    "id, nonce, hash, digest, message_id, fee, body, height, block_hash";

pub(super) fn sighting(row: &Row<'_>) -> rusqlite::Result<Sighting> {
    Ok(Sighting {
        id: row.get(0)?,
        nonce: row.get(1)?,
        hash: row.get(2)?,
        digest: row.get(3)?,
        message_id: row.get(4)?,
        fee: row.get(5)?,
        body: row.get(6)?,
        height: optional_natural(row, 7)?,
        block_hash: row.get(8)?,
    })
}

/// Looks for a sighting of the bytes that were just signed for a row of the outbox. Returns whether
/// there is one.
pub(super) fn same_bytes(
    db: &Connection,
    outbox: OutboxId,
    (agent, digest): (AgentId, &str),
    at: u64,
    receipt: &mut Receipt,
) -> Result<bool, StoreError> {
    let found = db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM sighting
             WHERE agent = ?1 AND digest = ?2 AND nonce IS NOT NULL"
        ))?
        .query_row(params![agent.0, digest], sighting)
        .optional()?;
    match found {
        Some(found) => take_over(db, outbox, &found, at, receipt).map(|()| true),
        None => Ok(false),
    }
}

/// Turns a row of the outbox into this transaction, which is mined or pending.
pub(super) fn take_over(
    db: &Connection,
    outbox: OutboxId,
    sighting: &Sighting,
    at: u64,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    let signed = SignedTransaction::from_body(sighting.body.as_bytes(), Limits::default());
    let payload = signed
        .ok()
        .map(|signed| signed.transaction().payload.to_compact());
    db.prepare_cached(
        "UPDATE outbox SET state = iif(?8 IS NULL, 'accepted', 'mined'), reason = NULL, held = 0,
                nonce = ?2, hash = ?3, digest = ?4, message_id = ?5, fee = coalesce(?6, fee),
                body = ?7, height = ?8, block_hash = ?9, payload = coalesce(?10, payload),
                since = 0, prepared_at = coalesce(prepared_at, ?11),
                accepted_at = coalesce(accepted_at, ?11), mined_at = iif(?8 IS NULL, NULL, ?11)
         WHERE id = ?1",
    )?
    .execute(params![
        outbox.0,
        sighting.nonce,
        sighting.hash,
        sighting.digest,
        sighting.message_id,
        sighting.fee,
        sighting.body,
        sighting.height.map(integer),
        sighting.block_hash,
        payload,
        time(at)
    ])?;
    db.prepare_cached("DELETE FROM sighting WHERE id = ?1")?
        .execute(params![sighting.id])?;
    // The money was spent, whatever the budget says.
    let paid = spending::charge_again(db, outbox, day_of(at))?;
    receipt.recharged.extend(paid);
    match sighting.height {
        Some(at_height) => receipts::mined(db, outbox, BlockHeight(at_height), at, receipt),
        None => {
            receipt.reopened.extend(read::open_transaction(db, outbox)?);
            Ok(())
        }
    }
}

/// Blocks were withdrawn: the transactions in them are pending or lost.
pub(super) fn withdraw(db: &Connection, above: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE sighting SET height = NULL, block_hash = NULL WHERE height > ?1")?
        .execute(params![above])?;
    Ok(())
}

/// Deletes what was seen before this time.
pub(super) fn prune(db: &Connection, before: i64) -> Result<usize, StoreError> {
    Ok(db.execute("DELETE FROM sighting WHERE seen_at < ?1", params![before])?)
}
