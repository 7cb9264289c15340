//! The rows that an operator selects, by number.
//!
//! A store may hold a million rows that are done with, and a few that are not. Each query here reads an
//! index that holds only the rows of one state, or only those of one agent, so that a page costs what it
//! shows, or what is open.

use agentry_core::commit::{QueueKind, QueueTarget, Selection};
use agentry_core::state::row::{Outgoing, Task};
use rusqlite::params_from_iter;
use rusqlite::types::Value;

use crate::column::natural;
use crate::number::integer;
use crate::tables::Stored;
use crate::target::condition;
use crate::{Reader, StoreError};

/// Which rows of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Those about which something is still to be done.
    Open,
    /// Dead letters, and transactions that could not be sent.
    Dead,
    /// All.
    All,
}

const fn table(queue: QueueKind) -> &'static str {
    match queue {
        QueueKind::Inbox => "inbox",
        QueueKind::Outbox => "outbox",
        QueueKind::Events => "event",
    }
}

/// The indexes that hold the rows together, each with its own condition. An empty name is the table.
fn sources(queue: QueueKind, part: Part, of_agent: bool) -> Vec<(&'static str, String)> {
    let open = ("outbox_open", Outgoing::OPEN.to_owned());
    let failed = ("outbox_failed", "state = 'failed'".to_owned());
    let waiting = ("event_due", "state = 'waiting'".to_owned());
    let dead = ("event_dead", "state = 'dead'".to_owned());
    match (queue, part) {
        (QueueKind::Inbox, Part::Open) => vec![
            ("inbox_waiting", "state = 'waiting'".to_owned()),
            // What a reorganisation has withdrawn is in no block.
            (
                "inbox_height",
                "height IS NULL AND state = 'withdrawn'".to_owned(),
            ),
        ],
        (QueueKind::Inbox, Part::Dead) => vec![("inbox_dead", "state = 'dead'".to_owned())],
        (QueueKind::Inbox, Part::All) if of_agent => vec![("inbox_identity", "1".to_owned())],
        (QueueKind::Outbox, Part::Open) => {
            vec![open, ("outbox_mined", "state = 'mined'".to_owned())]
        }
        (QueueKind::Outbox, Part::Dead) => vec![failed],
        (QueueKind::Outbox, Part::All) if of_agent => {
            let settled = "state IN ('mined', 'final')".to_owned();
            vec![open, ("outbox_nonce", settled), failed]
        }
        (QueueKind::Events, Part::Open) => vec![waiting],
        (QueueKind::Events, Part::Dead) => vec![dead],
        (QueueKind::Inbox | QueueKind::Outbox, Part::All) => vec![("", "1".to_owned())],
        (QueueKind::Events, Part::All) => vec![waiting, dead],
    }
}

/// The newest rows of a queue that are selected, newest first: those before the row `before`, at most
/// `limit`.
///
/// # Errors
/// Any error of SQLite.
pub fn pick(
    db: &Reader,
    queue: QueueKind,
    part: Part,
    selection: &Selection,
    before: Option<i64>,
    limit: u64,
) -> Result<Vec<i64>, StoreError> {
    let selected = condition(&QueueTarget::Matching(selection.clone()), queue);
    let Some(selected) = selected else {
        return Ok(Vec::new());
    };
    let (table, before) = (table(queue), before.unwrap_or(i64::MAX));
    let (mut parts, mut values) = (Vec::new(), Vec::new());
    for (index, own) in sources(queue, part, selection.agent.is_some()) {
        let by = match index {
            "" => String::new(),
            index => format!("INDEXED BY {index}"),
        };
        let more = &selected.sql;
        parts.push(format!(
            "SELECT id FROM {table} {by} WHERE {own} AND {more} AND id < ?"
        ));
        values.extend(selected.values.iter().cloned());
        values.push(Value::Integer(before));
    }
    values.push(Value::Integer(integer(limit)));
    let all = parts.join(" UNION ALL ");
    db.all(
        &format!("{all} ORDER BY id DESC LIMIT ?"),
        params_from_iter(values),
        |row| row.get(0),
    )
}

/// How many dead letters and failed transactions are selected: as many as a retry would change.
///
/// # Errors
/// Any error of SQLite.
pub fn count_dead(db: &Reader, selection: &Selection) -> Result<u64, StoreError> {
    let mut count: u64 = 0;
    for queue in [QueueKind::Inbox, QueueKind::Outbox, QueueKind::Events] {
        let target = QueueTarget::Matching(selection.clone());
        let Some(selected) = condition(&target, queue) else {
            continue;
        };
        for (index, own) in sources(queue, Part::Dead, false) {
            let (table, more) = (table(queue), &selected.sql);
            let sql =
                format!("SELECT count(*) FROM {table} INDEXED BY {index} WHERE {own} AND {more}");
            let values = params_from_iter(selected.values.clone());
            count = count.saturating_add(db.one(&sql, values, |row| natural(row, 0))?);
        }
    }
    Ok(count)
}

/// The newest rows of a queue in which an agent and another address have written to each other, newest
/// first: those before the row `before`, at most `limit`; without another address, with anybody.
///
/// # Errors
/// Any error of SQLite.
pub fn with_peer(
    db: &Reader,
    queue: QueueKind,
    (agent, peer): (&str, Option<&str>),
    before: Option<i64>,
    limit: u64,
) -> Result<Vec<i64>, StoreError> {
    let peer = peer.map(ToOwned::to_owned);
    let (sender, recipient) = match queue {
        QueueKind::Inbox => (peer, None),
        QueueKind::Outbox | QueueKind::Events => (None, peer),
    };
    let selection = Selection {
        agent: Some(agent.to_owned()),
        sender,
        recipient,
        ..Selection::default()
    };
    pick(db, queue, Part::All, &selection, before, limit)
}

/// The newest tasks that are open, newest first: those before the row `before`, at most `limit`; of the
/// agent with this name or address, or of all.
///
/// # Errors
/// Any error of SQLite.
pub fn open_tasks(
    db: &Reader,
    agent: Option<&str>,
    before: Option<i64>,
    limit: u64,
) -> Result<Vec<i64>, StoreError> {
    let open = Task::OPEN;
    db.all(
        &format!(
            "SELECT id FROM task INDEXED BY task_open WHERE {open} AND id < ?1 AND (?2 IS NULL OR
                agent IN (SELECT agent.id FROM agent WHERE ?2 IN (agent.name, agent.address)))
             ORDER BY id DESC LIMIT ?3"
        ),
        rusqlite::params![before.unwrap_or(i64::MAX), agent, integer(limit)],
        |row| row.get(0),
    )
}
