//! The queues as operators see them.
//!
//! | part | content |
//! |---|---|
//! | `inbox`, `outbox`, `event`, `forged` | the rows of the queues |
//! | `approval` | effects that wait for an operator's approval |
//! | [`load`] | the load of all agents at once, and why there are dead letters |
//! | [`pick`] | the rows that an operator selects, by number |
//! | [`history`] | what an agent did, in the order of time |
//! | [`stats`] | the number of rows by state, and what was spent |
//! | [`story`] | what belongs to the story of one message |
//! | [`talk`] | the messages to and from hosted wallets |
//! | [`task`] | tasks |

mod approval;
mod event;
mod forged;
pub mod history;
mod inbox;
pub mod load;
mod outbox;
pub mod pick;
pub mod stats;
pub mod story;
pub mod talk;
pub mod task;

use agentry_protocol::Timestamp;
use rusqlite::types::Value;

use super::number::integer;
use super::{Reader, StoreError};

pub use approval::{ApprovalItem, HeldItem, approvals, held_message, held_task, waiting_approvals};
pub use event::{EventItem, events};
pub use forged::{ForgedItem, forged};
pub use inbox::{InboxItem, inbox};
pub use outbox::{OutboxItem, ReceiptItem, outbox};

/// The rows to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those of the agent with this name or address.
    pub agent: Option<String>,
    /// Only those from, or to, this address; events have no other side.
    pub other: Option<String>,
    /// Only those of this behaviour: its events, and what it sent; messages belong to no behaviour.
    pub behaviour: Option<String>,
    /// Only those in these states; in any state if empty.
    pub states: Vec<String>,
    /// Only those that are not older than this.
    pub since: Option<Timestamp>,
    /// Only this row.
    pub row: Option<i64>,
    /// Only rows after this one.
    pub after: i64,
    /// Only rows before this one.
    pub before: Option<i64>,
    /// At most this many, the newest.
    pub limit: u64,
}

/// The columns of a queue's table that a [`Filter`] refers to.
struct Columns {
    /// The row's number.
    id: &'static str,
    /// The address of the other side.
    other: Option<&'static str>,
    /// A condition on a behaviour, with one question mark.
    behaviour: Option<&'static str>,
    /// The column of its state.
    state: Option<&'static str>,
    /// The column of its time.
    at: &'static str,
}

/// Builds `WHERE` from a filter, with the limit bound last. `agent` is the table of agents. A
/// condition on a column that a queue does not have matches none of its rows.
fn conditions(filter: &Filter, columns: &Columns) -> (String, Vec<Value>) {
    let id = columns.id;
    let mut sql = format!("{id} > ?");
    let mut values = vec![Value::Integer(filter.after)];
    let mut and = |condition: &str, more: Vec<Value>| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.extend(more);
    };
    let text = |text: &String| vec![Value::Text(text.clone())];
    if let Some(agent) = &filter.agent {
        and("? IN (agent.name, agent.address)", text(agent));
    }
    if let Some(address) = &filter.other {
        match columns.other {
            Some(other) => and(&format!("{other} = ?"), text(address)),
            None => and("0", Vec::new()),
        }
    }
    if let Some(behaviour) = &filter.behaviour {
        match columns.behaviour {
            Some(condition) => and(condition, text(behaviour)),
            None => and("0", Vec::new()),
        }
    }
    if !filter.states.is_empty() {
        match columns.state {
            Some(state) => {
                let marks = vec!["?"; filter.states.len()].join(", ");
                let states = filter.states.iter().cloned().map(Value::Text);
                and(&format!("{state} IN ({marks})"), states.collect());
            }
            None => and("0", Vec::new()),
        }
    }
    if let Some(since) = filter.since {
        let at = columns.at;
        and(
            &format!("{at} >= ?"),
            vec![Value::Integer(integer(since.get()))],
        );
    }
    if let Some(row) = filter.row {
        and(&format!("{id} = ?"), vec![Value::Integer(row)]);
    }
    if let Some(before) = filter.before {
        and(&format!("{id} < ?"), vec![Value::Integer(before)]);
    }
    values.push(Value::Integer(integer(filter.limit)));
    (sql, values)
}

/// The addresses of the agents that had this name when they were last hosted.
///
/// # Errors
/// Any error of SQLite.
pub fn addresses_of(db: &Reader, name: &str) -> Result<Vec<String>, StoreError> {
    db.all(
        "SELECT address FROM agent WHERE name = ?1 ORDER BY id",
        [name],
        |row| row.get(0),
    )
}

/// Whether the store knows a hosted agent at this address.
///
/// # Errors
/// Any error of SQLite.
pub fn is_hosted(db: &Reader, address: &str) -> Result<bool, StoreError> {
    db.one(
        "SELECT count(*) FROM agent WHERE address = ?1",
        [address],
        |row| row.get::<_, i64>(0),
    )
    .map(|count| count > 0)
}
