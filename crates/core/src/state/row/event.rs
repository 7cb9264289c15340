//! The events other than messages.

use agentry_protocol::{BlockHeight, Timestamp, Trail};
use serde_json::Value;

use crate::cause::Cause;
use crate::origin::Origin;
use crate::rows::{AgentId, EventId, EventKind, EventState, InboxId};
use crate::state::table::Row;
use crate::state::usage::{Kind, Used};

/// An event other than a message. It is deleted when it is handled, except a renewal, which is due
/// again, and a start, which is remembered.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its id, which is never assigned twice.
    pub id: EventId,
    /// What brought it about.
    pub origin: Origin,
    /// The agent.
    pub agent: AgentId,
    /// The behaviour that it is for; empty for the runtime itself.
    pub behaviour: String,
    /// Its kind.
    pub kind: EventKind,
    /// The timer's or schedule's name, the message's label, or the task's key.
    pub name: String,
    /// Data that depends on the kind.
    pub data: Value,
    /// The message that it is about.
    pub inbox: Option<InboxId>,
    /// Its state.
    pub state: EventState,
    /// When it is due.
    pub due_at: Timestamp,
    /// How many attempts have failed.
    pub attempts: u32,
    /// Why the last attempt failed, or why it waits.
    pub reason: Option<String>,
    /// When it was added.
    pub made_at: Timestamp,
    /// Who caused it. The cause of a watched message's outcome is the message's sender.
    pub cause: Cause,
    /// The block of the message that set the timer.
    pub anchor: Option<BlockHeight>,
    /// What the messages that follow from it carry on.
    pub trail: Trail,
}

/// How an event is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Index {
    /// Waiting, by the time at which it is due.
    Waiting(AgentId, Timestamp, EventId),
    /// A timer, by its name.
    Timer(AgentId, String, String),
    /// A start (without a name) or a tick, by the name of its schedule.
    Plan(AgentId, String, String, EventId),
    /// An agent's renewal of its card.
    Renewal(AgentId),
    /// A task update, by the task's key.
    Task(AgentId, String, String, EventId),
    /// By the message that it is about.
    Inbox(InboxId, EventId),
    /// A dead letter.
    Dead(AgentId, EventId),
}

impl Row for Event {
    type Key = EventId;
    type Index = Index;

    fn key(&self) -> EventId {
        self.id
    }

    fn is_open(entry: &Index) -> bool {
        matches!(entry, Index::Waiting(..))
    }

    fn indexes(&self) -> Vec<Index> {
        let mut entries = Vec::with_capacity(3);
        let (agent, behaviour, name) = (self.agent, &self.behaviour, &self.name);
        match self.kind {
            EventKind::Timer => {
                entries.push(Index::Timer(agent, behaviour.clone(), name.clone()));
            }
            EventKind::Start | EventKind::Tick => {
                let (behaviour, name) = (behaviour.clone(), name.clone());
                entries.push(Index::Plan(agent, behaviour, name, self.id));
            }
            EventKind::Renewal => entries.push(Index::Renewal(agent)),
            EventKind::Task => {
                let (behaviour, name) = (behaviour.clone(), name.clone());
                entries.push(Index::Task(agent, behaviour, name, self.id));
            }
            EventKind::Delivery | EventKind::Settled => {}
        }
        if let Some(inbox) = self.inbox {
            entries.push(Index::Inbox(inbox, self.id));
        }
        match self.state {
            EventState::Waiting => entries.push(Index::Waiting(agent, self.due_at, self.id)),
            EventState::Dead => entries.push(Index::Dead(agent, self.id)),
            EventState::Held => {}
        }
        entries
    }

    fn uses(&self) -> Vec<Used> {
        if self.kind != EventKind::Timer {
            return Vec::new();
        }
        vec![Used {
            agent: self.agent,
            kind: Kind::Timer,
            cause: self.cause.clone(),
            bytes: self.data.to_string().len() as u64,
        }]
    }

    fn bytes(&self) -> usize {
        self.data.to_string().len()
    }
}
