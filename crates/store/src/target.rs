//! The rows of the queues that an operator selects, as SQL conditions.

use rusqlite::types::Value;

use agentry_core::commit::{QueueKind, QueueTarget, Selection};

/// A condition on the rows of one queue's table, and the values of its question marks.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

/// The rows of a queue that a target selects; `None` if it selects none of that queue.
pub(super) fn condition(target: &QueueTarget, queue: QueueKind) -> Option<Condition> {
    let row = |id: i64| Condition {
        sql: "id = ?".to_owned(),
        values: vec![Value::Integer(id)],
    };
    match (target, queue) {
        (QueueTarget::Inbox(id), QueueKind::Inbox) => Some(row(id.0)),
        (QueueTarget::Outbox(id), QueueKind::Outbox) => Some(row(id.0)),
        (QueueTarget::Event(id), QueueKind::Events) => Some(row(id.0)),
        (QueueTarget::Inbox(_) | QueueTarget::Outbox(_) | QueueTarget::Event(_), _) => None,
        (QueueTarget::All, _) => selected(&Selection::default(), queue),
        (QueueTarget::Matching(selection), _) => selected(selection, queue),
    }
}

fn selected(selection: &Selection, queue: QueueKind) -> Option<Condition> {
    let Selection {
        queue: only,
        agent,
        sender,
        recipient,
        behaviour,
        since,
        reason,
    } = selection;
    if only.is_some_and(|only| only != queue) {
        return None;
    }
    let mut condition = Condition {
        sql: "1".to_owned(),
        values: Vec::new(),
    };
    let mut and = |sql: &str, value: Value| {
        condition.sql.push_str(" AND ");
        condition.sql.push_str(sql);
        condition.values.push(value);
    };
    if let Some(agent) = agent {
        and(
            "agent IN (SELECT agent.id FROM agent WHERE ? IN (agent.name, agent.address))",
            Value::Text(agent.clone()),
        );
    }
    // A condition on a column that a queue does not have matches none of its rows.
    if let Some(sender) = sender {
        match queue {
            QueueKind::Inbox => and("sender = ?", Value::Text(sender.clone())),
            QueueKind::Outbox | QueueKind::Events => return None,
        }
    }
    if let Some(recipient) = recipient {
        match queue {
            QueueKind::Outbox => and("recipient = ?", Value::Text(recipient.clone())),
            QueueKind::Inbox | QueueKind::Events => return None,
        }
    }
    if let Some(behaviour) = behaviour {
        match queue {
            // The origin of what a behaviour sends holds its name between the event and a number.
            QueueKind::Outbox => and(
                "origin GLOB '*/' || ? || '/*'",
                Value::Text(behaviour.clone()),
            ),
            QueueKind::Events => and("behaviour = ?", Value::Text(behaviour.clone())),
            QueueKind::Inbox => return None,
        }
    }
    if let Some(since) = since {
        let column = match queue {
            QueueKind::Inbox => "seen_at >= ?",
            QueueKind::Outbox => "created_at >= ?",
            QueueKind::Events => "made_at >= ?",
        };
        and(column, Value::Integer(super::number::integer(since.get())));
    }
    if let Some(reason) = reason {
        and("reason = ?", Value::Text(reason.clone()));
    }
    Some(condition)
}
