//! The events other than messages.

use agentry_core::Origin;
use agentry_core::rows::{AgentId, EventId, EventKind, EventState, InboxId};
use agentry_core::state::row::event::{Event, Index};
use agentry_protocol::BlockHeight;
use rusqlite::Result;

use super::value;
use crate::tables::archive::{Entry, Stored};
use crate::tables::columns::{Cell, Columns};
use crate::watch::RowChange;

impl Stored for Event {
    const TABLE: &'static str = "event";
    const OPEN: &'static str = "state = 'waiting'";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "agent",
        "behaviour",
        "kind",
        "name",
        "data",
        "inbox",
        "state",
        "due_at",
        "attempts",
        "reason",
        "made_at",
        "standing",
        "sender",
        "anchor",
        "origin",
        "hops",
        "trace",
    ];

    fn told(before: Option<&Self>, after: Option<&Self>) -> Option<RowChange> {
        let after = after.filter(|after| after.state == EventState::Dead)?;
        let was_dead = before.is_some_and(|before| before.state == EventState::Dead);
        (!was_dead).then(|| RowChange::DeadEvent {
            id: after.id,
            agent: after.agent,
            kind: after.kind,
            behaviour: after.behaviour.clone(),
            reason: after.reason.clone(),
        })
    }

    fn read_key(columns: &mut Columns<'_>) -> Result<EventId> {
        columns.id().map(EventId)
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            id: EventId(columns.id()?),
            agent: AgentId(columns.id()?),
            behaviour: columns.string()?,
            kind: columns.word(EventKind::parse)?,
            name: columns.string()?,
            data: columns.text(value)?,
            inbox: columns.optional_id()?.map(InboxId),
            state: columns.word(EventState::parse)?,
            due_at: columns.time()?,
            attempts: columns.count()?,
            reason: columns.optional_string()?,
            made_at: columns.time()?,
            cause: columns.cause()?,
            anchor: columns.optional_whole()?.map(BlockHeight),
            origin: Origin::stored(columns.string()?),
            trail: columns.trail()?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        let (standing, sender) = self.cause.words();
        vec![
            self.id.0.into(),
            self.agent.0.into(),
            self.behaviour.as_str().into(),
            self.kind.as_str().into(),
            self.name.as_str().into(),
            Cell::text(&self.data),
            self.inbox.map(|inbox| inbox.0).into(),
            self.state.as_str().into(),
            self.due_at.into(),
            self.attempts.into(),
            self.reason.as_deref().into(),
            self.made_at.into(),
            standing.into(),
            sender.into(),
            Cell::some(self.anchor, |height| Cell::whole(height.0)),
            self.origin.as_str().into(),
            self.trail.hops.into(),
            Cell::some(self.trail.trace.as_ref(), Cell::text),
        ]
    }

    fn key_cells(key: &EventId) -> Vec<Cell<'_>> {
        vec![key.0.into()]
    }

    fn entry(entry: &Index) -> Option<Entry<'_>> {
        let (condition, columns, cells): (_, &'static [&'static str], _) = match entry {
            Index::Waiting(..) => return None,
            Index::Timer(agent, behaviour, name) => (
                "kind = 'timer'",
                &["agent", "behaviour", "name"],
                vec![
                    agent.0.into(),
                    behaviour.as_str().into(),
                    name.as_str().into(),
                ],
            ),
            Index::Renewal(agent) => ("kind = 'renewal'", &["agent"], vec![agent.0.into()]),
            Index::Plan(agent, behaviour, name, id) | Index::Task(agent, behaviour, name, id) => (
                match entry {
                    Index::Plan(..) => "(kind = 'start' OR kind = 'tick')",
                    _ => "kind = 'task'",
                },
                &["agent", "behaviour", "name", "id"],
                vec![
                    agent.0.into(),
                    behaviour.as_str().into(),
                    name.as_str().into(),
                    id.0.into(),
                ],
            ),
            Index::Inbox(inbox, id) => (
                "inbox IS NOT NULL",
                &["inbox", "id"],
                vec![inbox.0.into(), id.0.into()],
            ),
            Index::Dead(agent, id) => (
                "state = 'dead'",
                &["agent", "id"],
                vec![agent.0.into(), id.0.into()],
            ),
        };
        Some(Entry::new(condition, columns, cells))
    }
}
