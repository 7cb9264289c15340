//! Drafts that wait for a nonce.

use std::collections::{HashMap, HashSet};

use agentry_core::rows::{AgentId, OutboxId, QueuedDraft};
use rusqlite::{OptionalExtension, params};

use super::{DRAFT_COLUMNS, draft};
use crate::number::integer;
use crate::{Reader, StoreError};

/// The progress of a walk through the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueTurn {
    /// The agent that had the last turn.
    last: Option<AgentId>,
    /// The last draft of each agent that was read in this walk.
    after: HashMap<AgentId, OutboxId>,
}

impl QueueTurn {
    /// Notes that these drafts were read.
    pub fn read(&mut self, drafts: &[QueuedDraft]) {
        for draft in drafts {
            self.last = Some(draft.agent);
            self.after.insert(draft.agent, draft.id);
        }
    }

    /// Notes that the end of the queue was reached: the next walk starts with the oldest drafts,
    /// and with the agent whose turn it is.
    pub fn ended(&mut self) {
        self.after.clear();
    }

    /// The row of an agent behind which its drafts are still to be read.
    fn after(&self, agent: AgentId) -> i64 {
        self.after.get(&agent).map_or(0, |id| id.0)
    }
}

/// The next drafts that wait for a nonce. The agents take turns, and each agent's oldest drafts
/// come first, so thousands of drafts of one agent do not delay a few of another. Drafts of the
/// agents in `passed_over`, and those that are held by a budget, are left out.
///
/// With `one_each`, returns only the oldest draft of each wallet that has nothing signed and
/// unmined: what a node that requires sequential nonces can accept next.
///
/// # Errors
/// Any error of SQLite.
pub fn queued(
    db: &Reader,
    turn: &QueueTurn,
    one_each: bool,
    passed_over: &[AgentId],
    limit: usize,
) -> Result<Vec<QueuedDraft>, StoreError> {
    let agents = agents(db, turn, passed_over, limit)?;
    let share = if one_each {
        1
    } else {
        (limit / agents.len().max(1)).max(1)
    };
    let condition = if one_each {
        "AND NOT EXISTS (SELECT 1 FROM outbox open WHERE open.agent = outbox.agent
                         AND open.state IN ('prepared', 'accepted'))
         AND NOT EXISTS (SELECT 1 FROM outbox older WHERE older.agent = outbox.agent
                         AND older.state = 'queued' AND older.held = 0 AND older.id < outbox.id)"
    } else {
        ""
    };
    let mut statement = db.prepare(&format!(
        "SELECT id, agent, {DRAFT_COLUMNS} FROM outbox
         WHERE state = 'queued' AND held = 0 AND agent = ?1 AND id > ?2 {condition}
         ORDER BY id LIMIT ?3"
    ))?;
    let mut drafts = Vec::new();
    for agent in agents {
        let rows = statement.query_map(
            params![agent.0, turn.after(agent), integer(share as u64)],
            |row| {
                Ok(QueuedDraft {
                    id: OutboxId(row.get(0)?),
                    agent: AgentId(row.get(1)?),
                    draft: draft(row, 2)?,
                })
            },
        )?;
        for row in rows {
            drafts.push(row?);
        }
    }
    Ok(drafts)
}

/// The agents whose turn is next, of those with drafts that were not read in this walk; at most
/// `limit`. Costs one or two seeks per agent.
fn agents(
    db: &Reader,
    turn: &QueueTurn,
    passed_over: &[AgentId],
    limit: usize,
) -> Result<Vec<AgentId>, StoreError> {
    let mut next = db.prepare(
        "SELECT agent FROM outbox WHERE state = 'queued' AND held = 0 AND agent > ?1
         ORDER BY agent LIMIT 1",
    )?;
    let mut more = db.prepare(
        "SELECT 1 FROM outbox WHERE state = 'queued' AND held = 0 AND agent = ?1 AND id > ?2",
    )?;
    let began = turn.last.map_or(i64::MIN, |agent| agent.0);
    let passed_over: HashSet<AgentId> = passed_over.iter().copied().collect();
    let (mut at, mut wrapped) = (began, began == i64::MIN);
    let mut agents = Vec::new();
    while agents.len() < limit {
        let found = next
            .query_row(params![at], |row| row.get(0).map(AgentId))
            .optional()?;
        match found {
            Some(agent) if !wrapped || began == i64::MIN || agent.0 <= began => {
                at = agent.0;
                if !passed_over.contains(&agent)
                    && more.exists(params![agent.0, turn.after(agent)])?
                {
                    agents.push(agent);
                }
            }
            None if !wrapped => {
                wrapped = true;
                at = i64::MIN;
            }
            _ => break,
        }
    }
    Ok(agents)
}
