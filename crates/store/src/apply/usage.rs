//! Limits on how much of an agent's shared resources each sender may use.
//!
//! The table `usage` holds how much is in use, and by whom; triggers maintain it. [`Standing`]
//! defines the shares.

use std::collections::BTreeSet;

use agentry_core::Standing;
use agentry_core::cause::Cause;
use agentry_core::commit::Outcome;
use agentry_core::rows::{AgentId, Draft};
use rusqlite::{Connection, OptionalExtension, params};

use crate::StoreError;
use crate::cause;
use crate::column::natural;

/// A shared resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Stored messages.
    Message,
    /// Set timers.
    Timer,
    /// Open tasks.
    Task,
    /// Transactions that wait for a nonce or a budget.
    Queued,
    /// Ended tasks, with their results.
    Ended,
    /// Transactions that are final or have failed.
    Settled,
}

/// A number of items, and their size in bytes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    items: u64,
    bytes: u64,
}

const MIB: u64 = 1 << 20;

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Timer => "timer",
            Self::Task => "task",
            Self::Queued => "queued",
            Self::Ended => "ended",
            Self::Settled => "settled",
        }
    }

    const fn plural(self) -> &'static str {
        match self {
            Self::Message => "stored messages",
            Self::Timer => "timers",
            Self::Task => "open tasks",
            Self::Queued => "queued transactions",
            Self::Ended => "results of tasks",
            Self::Settled => "settled transactions",
        }
    }

    /// The capacity of one agent.
    const fn capacity(self) -> Amount {
        match self {
            // The node accepts messages of 1 MB for a fee of 10 AIT. A result has at most 16 MiB.
            Self::Message | Self::Ended | Self::Settled => Amount {
                items: u64::MAX,
                bytes: 1024 * MIB,
            },
            Self::Timer | Self::Task => Amount {
                items: 10_000,
                bytes: 256 * MIB,
            },
            // What accumulates while the node is down for hours.
            Self::Queued => Amount {
                items: 200_000,
                bytes: 1024 * MIB,
            },
        }
    }

    /// The largest share that this cause can have.
    fn part(self, cause: &Cause) -> Amount {
        let capacity = self.capacity();
        match (cause.standing(), cause.sender()) {
            (None, _) => capacity,
            (Some(standing), None) => capacity.part(|whole| standing.of_all(whole)),
            (Some(standing), Some(_)) => capacity.part(|whole| standing.of_one(whole)),
        }
    }
}

impl Amount {
    /// The amount of items with these sizes.
    fn sum(bytes: impl Iterator<Item = usize>) -> Self {
        bytes.fold(Self::default(), |sum, bytes| Self {
            items: sum.items.saturating_add(1),
            bytes: sum.bytes.saturating_add(bytes as u64),
        })
    }

    /// A share of it, of at least one item.
    fn part(self, part: impl Fn(u64) -> u64) -> Self {
        Self {
            items: part(self.items).max(1),
            bytes: part(self.bytes),
        }
    }

    const fn holds(self, used: Self) -> bool {
        used.items <= self.items && used.bytes <= self.bytes
    }
}

/// How much of a kind is in use: by one sender, or by all of a standing if `sender` is empty.
fn used(
    db: &Connection,
    agent: AgentId,
    kind: Kind,
    (standing, sender): (&str, &str),
) -> Result<Amount, StoreError> {
    let found = db
        .prepare_cached(
            "SELECT items, bytes FROM usage
             WHERE agent = ?1 AND kind = ?2 AND standing = ?3 AND sender = ?4",
        )?
        .query_row(params![agent.0, kind.word(), standing, sender], |row| {
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
pub(super) fn excess(
    db: &Connection,
    agent: AgentId,
    kind: Kind,
    cause: &Cause,
    bytes: u64,
) -> Result<Option<String>, StoreError> {
    let capacity = kind.capacity();
    let with = |used: Amount| Amount {
        bytes: used.bytes.saturating_add(bytes),
        ..used
    };
    let too_much = |whose: &str, used: Amount, part: Amount| {
        let what = if used.items > part.items {
            format!("{} of {}", used.items, part.items)
        } else {
            format!("{} of {} bytes", used.bytes, part.bytes)
        };
        Ok(Some(format!(
            "{whose} would exceed the limit on {} ({what}); try again when fewer are in use",
            kind.plural()
        )))
    };
    if let Some(standing) = cause.standing() {
        let word = standing.as_str();
        if let Some(sender) = cause.sender() {
            let one = with(used(db, agent, kind, (word, sender.as_str()))?);
            let part = kind.part(cause);
            if !part.holds(one) {
                return too_much(sender.as_str(), one, part);
            }
        }
        let all = with(used(db, agent, kind, (word, ""))?);
        let part = capacity.part(|whole| standing.of_all(whole));
        if !part.holds(all) {
            return too_much(&format!("{word} senders together"), all, part);
        }
    }
    let mut whole = with(used(db, agent, kind, (cause::standing(&Cause::Own), ""))?);
    for standing in Standing::ALL {
        let used = used(db, agent, kind, (standing.as_str(), ""))?;
        whole.items = whole.items.saturating_add(used.items);
        whole.bytes = whole.bytes.saturating_add(used.bytes);
    }
    if capacity.holds(whole) {
        Ok(None)
    } else {
        too_much("the agent", whole, capacity)
    }
}

/// Refuses an outcome after which a share is exceeded, so that it is rolled back. An outcome that
/// exceeds the whole share by itself is refused permanently.
pub(super) fn check(db: &Connection, agent: AgentId, outcome: &Outcome) -> Result<(), StoreError> {
    let set = outcome.timers.iter().filter_map(|(_, set)| set.as_ref());
    let timers = Amount::sum(set.map(|set| set.data.to_string().len()));
    let tasks = Amount::sum(
        outcome
            .tasks
            .iter()
            .map(|task| task.input.to_string().len()),
    );
    let queued = outcome.sends.iter().filter(|(_, signed)| signed.is_none());
    let payload = |(draft, _): &(Draft, _)| draft.payload.to_compact().len();
    let first = queued.clone().next();
    let kinds = [
        (Kind::Timer, &outcome.cause, timers),
        (Kind::Task, &outcome.cause, tasks),
        (
            Kind::Queued,
            first.map_or(&outcome.cause, |(draft, _)| &draft.cause),
            Amount::sum(queued.map(payload)),
        ),
    ];
    for (kind, cause, more) in kinds {
        if more.items == 0 {
            continue;
        }
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

/// The most forged messages of an agent that are kept, and the most bytes of them.
const FORGED: (u64, u64) = (10_000, 64 * MIB);

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
            .query_row(params![agent.0, kind.word(), standing], |row| row.get(0))
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
        Kind::Timer | Kind::Task | Kind::Queued => Ok(0),
    }
}

/// Deletes the oldest forged messages of an agent beyond the limit.
pub(super) fn bound_forged(db: &Connection, agent: AgentId) -> Result<(), StoreError> {
    loop {
        let used = db
            .prepare_cached(
                "SELECT items, bytes FROM usage
                 WHERE agent = ?1 AND kind = 'forged' AND standing = 'unverified' AND sender = ''",
            )?
            .query_row(params![agent.0], |row| {
                Ok((natural(row, 0)?, natural(row, 1)?))
            })
            .optional()?;
        let (items, bytes) = used.unwrap_or_default();
        if items <= FORGED.0 && bytes <= FORGED.1 {
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
