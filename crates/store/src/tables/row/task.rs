//! The tasks of behaviours.

use agentry_core::rows::{AgentId, InboxId, TaskId, TaskState};
use agentry_core::state::row::task::{Index, Task};
use agentry_core::{Origin, TokenCharge, Tokens};
use agentry_protocol::Address;
use rusqlite::Result;
use serde_json::json;

use super::value;
use crate::tables::archive::{Entry, Stored};
use crate::tables::columns::{Cell, Columns};
use crate::watch::RowChange;

/// Two columns: the day and the tokens.
fn reserved(columns: &mut Columns<'_>) -> Result<Option<TokenCharge>> {
    match (columns.optional_whole()?, columns.optional_whole()?) {
        (Some(day), Some(tokens)) => Ok(Some(TokenCharge { day, tokens })),
        (None, None) => Ok(None),
        _ => Err(columns.wrong("is set without the other of day and tokens")),
    }
}

impl Stored for Task {
    const TABLE: &'static str = "task";
    const OPEN: &'static str = "state IN ('submitted', 'working', 'input-required')";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "agent",
        "behaviour",
        "key",
        "kind",
        "input",
        "inbox",
        "submitter",
        "state",
        "attempts",
        "interrupted",
        "input_tokens",
        "output_tokens",
        "budget_day",
        "reserved_tokens",
        "due_at",
        "deadline",
        "progress",
        "note",
        "result",
        "media_type",
        "error_code",
        "error",
        "made_at",
        "started_at",
        "ended_at",
        "standing",
        "sender",
        "origin",
        "hops",
        "trace",
        "answers",
        "question",
        "unapproved",
    ];

    fn told(before: Option<&Self>, after: Option<&Self>) -> Option<RowChange> {
        let after = after?;
        let is_same = before
            .is_some_and(|before| before.state == after.state && before.progress == after.progress);
        (!is_same).then(|| RowChange::Task {
            id: after.id,
            agent: after.agent,
            kind: after.kind.clone(),
            submitter: after.submitter.clone(),
            state: after.state,
            progress: after.progress,
            error: after.error_code.clone(),
        })
    }

    fn read_key(columns: &mut Columns<'_>) -> Result<TaskId> {
        columns.id().map(TaskId)
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            id: TaskId(columns.id()?),
            agent: AgentId(columns.id()?),
            behaviour: columns.string()?,
            key: columns.string()?,
            kind: columns.string()?,
            input: columns.text(value)?,
            inbox: columns.optional_id()?.map(InboxId),
            submitter: columns.optional_text(Address::from_chain)?,
            state: columns.word(TaskState::parse)?,
            attempts: columns.count()?,
            interrupted: columns.count()?,
            tokens: Tokens {
                input: columns.whole()?,
                output: columns.whole()?,
            },
            reserved: reserved(columns)?,
            due_at: columns.time()?,
            deadline: columns.optional_time()?,
            progress: columns.optional_real()?,
            note: columns.optional_string()?,
            result: columns.optional_string()?,
            media_type: columns.optional_string()?,
            error_code: columns.optional_string()?,
            error: columns.optional_string()?,
            made_at: columns.time()?,
            started_at: columns.optional_time()?,
            ended_at: columns.optional_time()?,
            cause: columns.cause()?,
            origin: Origin::stored(columns.string()?),
            trail: columns.trail()?,
            answers: columns.text(|text| serde_json::from_str(text))?,
            question: columns.optional_text(|text| serde_json::from_str(text))?,
            unapproved: columns.flag()?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        let (standing, sender) = self.cause.words();
        vec![
            self.id.0.into(),
            self.agent.0.into(),
            self.behaviour.as_str().into(),
            self.key.as_str().into(),
            self.kind.as_str().into(),
            Cell::text(&self.input),
            self.inbox.map(|inbox| inbox.0).into(),
            self.submitter.as_ref().map(Address::as_str).into(),
            self.state.as_str().into(),
            self.attempts.into(),
            self.interrupted.into(),
            Cell::whole(self.tokens.input),
            Cell::whole(self.tokens.output),
            Cell::some(self.reserved, |reserved| Cell::whole(reserved.day)),
            Cell::some(self.reserved, |reserved| Cell::whole(reserved.tokens)),
            self.due_at.into(),
            self.deadline.into(),
            Cell::some(self.progress, Cell::Real),
            self.note.as_deref().into(),
            self.result.as_deref().into(),
            self.media_type.as_deref().into(),
            self.error_code.as_deref().into(),
            self.error.as_deref().into(),
            self.made_at.into(),
            self.started_at.into(),
            self.ended_at.into(),
            standing.into(),
            sender.into(),
            self.origin.as_str().into(),
            self.trail.hops.into(),
            Cell::some(self.trail.trace.as_ref(), Cell::text),
            Cell::text(&json!(self.answers)),
            Cell::some(self.question.as_ref(), |question| {
                Cell::text(&json!(question))
            }),
            Cell::flag(self.unapproved),
        ]
    }

    fn key_cells(key: &TaskId) -> Vec<Cell<'_>> {
        vec![key.0.into()]
    }

    fn entry(entry: &Index) -> Option<Entry<'_>> {
        let (condition, columns, cells): (_, &'static [&'static str], _) = match entry {
            Index::Waiting(..) | Index::Deadline(..) | Index::Working(..) | Index::Open(..) => {
                return None;
            }
            Index::Key(agent, behaviour, key) => (
                "",
                &["agent", "behaviour", "key"],
                vec![
                    agent.0.into(),
                    behaviour.as_str().into(),
                    key.as_str().into(),
                ],
            ),
            Index::Inbox(inbox, id) => (
                "inbox IS NOT NULL",
                &["inbox", "id"],
                vec![inbox.0.into(), id.0.into()],
            ),
            Index::Ended(at, id) => (
                "ended_at IS NOT NULL",
                &["ended_at", "id"],
                vec![(*at).into(), id.0.into()],
            ),
            Index::Prunable(agent, standing, sender, at, id) => (
                "ended_at IS NOT NULL",
                &["agent", "standing", "sender", "ended_at", "id"],
                vec![
                    agent.0.into(),
                    (*standing).into(),
                    sender.as_str().into(),
                    (*at).into(),
                    id.0.into(),
                ],
            ),
        };
        Some(Entry::new(condition, columns, cells))
    }
}
