//! Limits on how much of an agent's shared resources each sender may use.
//!
//! The table `usage` holds how much is in use, and by whom; triggers maintain it.
//! `agentry_core::state::usage` defines the limits.

use std::collections::BTreeSet;

use agentry_core::Standing;
use agentry_core::cause::Cause;
use agentry_core::commit::Outcome;
use agentry_core::rows::AgentId;
use agentry_core::state::usage::{self, Amount, Kind, Share};
use rusqlite::{Connection, OptionalExtension, params};

use crate::StoreError;
use crate::cause;
use crate::column::natural;

/// The columns `standing` and `sender` of a share.
pub(super) fn columns(share: &Share) -> (&'static str, &str) {
    match share {
        Share::One(cause) => (cause::standing(cause), cause::sender(cause)),
        Share::All(standing) => (
            standing.map_or(cause::standing(&Cause::Own), Standing::as_str),
            "",
        ),
    }
}

/// How much of a kind a share uses.
fn used(db: &Connection, agent: AgentId, kind: Kind, share: &Share) -> Result<Amount, StoreError> {
    let (standing, sender) = columns(share);
    let found = db
        .prepare_cached(
            "SELECT items, bytes FROM usage
             WHERE agent = ?1 AND kind = ?2 AND standing = ?3 AND sender = ?4",
        )?
        .query_row(params![agent.0, kind.as_str(), standing, sender], |row| {
            Ok(Amount {
                items: natural(row, 0)?,
                bytes: natural(row, 1)?,
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Why storing `bytes` more of a kind would exceed the share of this cause; `None` if there is
/// room.
fn excess(
    db: &Connection,
    agent: AgentId,
    kind: Kind,
    cause: &Cause,
    bytes: u64,
) -> Result<Option<String>, StoreError> {
    usage::excess(kind, cause, bytes, |share| used(db, agent, kind, &share))
}

/// Refuses an outcome after which a share is exceeded, so that it is rolled back. An outcome that
/// exceeds the whole share by itself is refused permanently.
pub(super) fn check(db: &Connection, agent: AgentId, outcome: &Outcome) -> Result<(), StoreError> {
    for (kind, cause, more) in usage::added(outcome) {
        if let Some(reason) = excess(db, agent, kind, cause, 0)? {
            return Err(if kind.part(cause).holds(more) {
                StoreError::Full { reason }
            } else {
                StoreError::TooMuch { reason }
            });
        }
    }
    Ok(())
}

/// The most rows that are pruned at a time.
const PRUNED: u32 = 64;

/// Makes room for `bytes` more: prunes settled rows of the sender, or of the sender of its standing
/// that uses most. Returns why there is no room, if there is none.
pub(super) fn make_room(
    db: &Connection,
    agent: AgentId,
    kind: Kind,
    cause: &Cause,
    bytes: u64,
) -> Result<Option<String>, StoreError> {
    // A few at first, so that not much more is pruned than needed.
    let mut count = 1;
    loop {
        let Some(reason) = excess(db, agent, kind, cause, bytes)? else {
            return Ok(None);
        };
        let standing = cause::standing(cause);
        let most: Option<String> = db
            .prepare_cached(
                "SELECT sender FROM usage
                 WHERE agent = ?1 AND kind = ?2 AND standing = ?3 AND sender <> ''
                 ORDER BY bytes DESC LIMIT 1",
            )?
            .query_row(params![agent.0, kind.as_str(), standing], |row| row.get(0))
            .optional()?;
        let mut pruned = prune(db, (agent, kind), (standing, cause::sender(cause)), count)?;
        if let (0, Some(most)) = (pruned, most) {
            pruned = prune(db, (agent, kind), (standing, &most), count)?;
        }
        if pruned == 0 {
            return Ok(Some(reason));
        }
        count = (count * 2).min(PRUNED);
    }
}

/// Prunes what exceeds the limits after transactions of these agents, each caused by somebody, were
/// settled.
pub(super) fn bound_settled(
    db: &Connection,
    settled: &BTreeSet<(AgentId, Cause)>,
) -> Result<(), StoreError> {
    for (agent, cause) in settled {
        make_room(db, *agent, Kind::Settled, cause, 0)?;
    }
    Ok(())
}

/// Prunes settled rows of a sender, or of a standing if `sender` is empty: the oldest first, at
/// most `count`. Returns how many were pruned.
fn prune(
    db: &Connection,
    (agent, kind): (AgentId, Kind),
    (standing, sender): (&str, &str),
    count: u32,
) -> Result<usize, StoreError> {
    let pruned = |sql: &str| -> Result<usize, StoreError> {
        Ok(db
            .prepare_cached(sql)?
            .execute(params![agent.0, standing, sender, count])?)
    };
    match kind {
        // What identifies them stays, so that none is acted on again. Dead letters, and messages
        // with undelivered events, stay complete.
        Kind::Message => {
            let of_sender = if sender.is_empty() {
                "?3 = ''"
            } else {
                "sender = ?3"
            };
            pruned(&format!(
                "UPDATE inbox SET stored = '' WHERE id IN (
                     SELECT id FROM inbox
                     WHERE agent = ?1 AND standing = ?2 AND {of_sender} AND settled_at IS NOT NULL
                       AND stored <> '' AND state <> 'dead'
                       AND NOT EXISTS (SELECT 1 FROM event WHERE event.inbox = inbox.id)
                       AND NOT EXISTS (SELECT 1 FROM task
                                       WHERE task.inbox = inbox.id AND ended_at IS NULL)
                     ORDER BY sender, settled_at LIMIT ?4)"
            ))
        }
        // Tasks with undelivered updates stay.
        Kind::Ended => pruned(
            "DELETE FROM task WHERE id IN (
                 SELECT id FROM task
                 WHERE agent = ?1 AND standing = ?2 AND sender = ?3 AND ended_at IS NOT NULL
                   AND NOT EXISTS (SELECT 1 FROM event
                                   WHERE event.agent = task.agent
                                     AND event.behaviour = task.behaviour
                                     AND event.name = task.key AND event.kind = 'task')
                   AND NOT EXISTS (SELECT 1 FROM event WHERE event.inbox = task.inbox)
                 ORDER BY ended_at, id LIMIT ?4)",
        ),
        // Failed ones may wait for an operator, so they are deleted last.
        Kind::Settled => {
            let of_state = |state: &str| {
                pruned(&format!(
                    "DELETE FROM outbox WHERE id IN (
                         SELECT id FROM outbox
                         WHERE agent = ?1 AND standing = ?2 AND sender = ?3 AND state = '{state}'
                           AND settled_at IS NOT NULL
                           AND NOT EXISTS (SELECT 1 FROM receipt
                                           WHERE receipt.outbox = outbox.id
                                             AND receipt.due_at IS NOT NULL)
                         ORDER BY settled_at, id LIMIT ?4)"
                ))
            };
            match of_state("final")? {
                0 => of_state("failed"),
                some => Ok(some),
            }
        }
        Kind::Forged | Kind::Timer | Kind::Task | Kind::Queued => Ok(0),
    }
}

/// Deletes the oldest forged messages of an agent beyond the limit.
pub(super) fn bound_forged(db: &Connection, agent: AgentId) -> Result<(), StoreError> {
    loop {
        let all = Share::All(Some(Standing::Unverified));
        if Kind::Forged
            .capacity()
            .holds(used(db, agent, Kind::Forged, &all)?)
        {
            return Ok(());
        }
        let deleted = db
            .prepare_cached(
                "DELETE FROM forged WHERE rowid IN (
                     SELECT rowid FROM forged WHERE agent = ?1 ORDER BY seen_at, rowid LIMIT 1)",
            )?
            .execute(params![agent.0])?;
        if deleted == 0 {
            return Ok(());
        }
    }
}
