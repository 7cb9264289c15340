//! Where clients are told of tasks, and what they were told.

use agentry_core::AgentId;
use agentry_core::push::{self, Hidden};
use agentry_core::state::row::push::{Index, Push};
use agentry_protocol::ContentHash;
use rusqlite::Result;

use crate::tables::archive::{Entry, Stored};
use crate::tables::columns::{Cell, Columns};

impl Stored for Push {
    const TABLE: &'static str = "push";
    const OPEN: &'static str = "true";
    const COLUMNS: &'static [&'static str] = &[
        "number",
        "owner",
        "task",
        "id",
        "agent",
        "target",
        "url",
        "token",
        "scheme",
        "credentials",
        "made_at",
        "told",
        "failures",
        "due_at",
    ];

    fn read_key(columns: &mut Columns<'_>) -> Result<i64> {
        columns.id()
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            number: columns.id()?,
            push: push::Push {
                owner: columns.text(str::parse)?,
                task: columns.string()?,
                id: columns.string()?,
                agent: AgentId(columns.id()?),
                target: columns.string()?,
                url: Hidden::new(columns.string()?),
                token: columns.optional_string()?.map(Hidden::new),
                scheme: columns.optional_string()?,
                credentials: columns.optional_string()?.map(Hidden::new),
                made_at: columns.time()?,
            },
            told: columns.optional_bytes(ContentHash::from_bytes)?,
            failures: columns.count()?,
            due_at: columns.optional_time()?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        let push = &self.push;
        vec![
            self.number.into(),
            push.owner.as_str().into(),
            push.task.as_str().into(),
            push.id.as_str().into(),
            push.agent.0.into(),
            push.target.as_str().into(),
            push.url.expose().into(),
            push.token.as_ref().map(Hidden::expose).into(),
            push.scheme.as_deref().into(),
            push.credentials.as_ref().map(Hidden::expose).into(),
            push.made_at.into(),
            Cell::some(self.told.as_ref(), |told| Cell::Bytes(told.as_bytes())),
            self.failures.into(),
            self.due_at.into(),
        ]
    }

    fn key_cells(number: &i64) -> Vec<Cell<'_>> {
        vec![(*number).into()]
    }

    fn entry(entry: &Index) -> Option<Entry<'_>> {
        match entry {
            Index::Id(owner, task, id) => Some(Entry::new(
                "",
                &["owner", "task", "id"],
                vec![
                    owner.as_str().into(),
                    task.as_str().into(),
                    id.as_str().into(),
                ],
            )),
            Index::Open(..) => None,
        }
    }
}
