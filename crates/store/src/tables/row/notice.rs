//! What operators are told of, and where.

use agentry_core::rows::{AgentId, NoticeKind};
use agentry_core::state::row::notice::{Notice, Webhook};
use rusqlite::Result;

use crate::tables::archive::{Entry, Stored};
use crate::tables::columns::{Cell, Columns};

impl Stored for Notice {
    const TABLE: &'static str = "notice";
    const COLUMNS: &'static [&'static str] = &["id", "kind", "agent", "subject", "reason", "at"];

    fn read_key(columns: &mut Columns<'_>) -> Result<i64> {
        columns.id()
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            id: columns.id()?,
            kind: columns.word(NoticeKind::parse)?,
            agent: columns.optional_id()?.map(AgentId),
            subject: columns.string()?,
            reason: columns.optional_string()?,
            at: columns.time()?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            self.id.into(),
            self.kind.as_str().into(),
            self.agent.map(|agent| agent.0).into(),
            self.subject.as_str().into(),
            self.reason.as_deref().into(),
            self.at.into(),
        ]
    }

    fn key_cells(id: &i64) -> Vec<Cell<'_>> {
        vec![(*id).into()]
    }

    fn entry(id: &i64) -> Option<Entry<'_>> {
        Some(Entry::new("", &["id"], vec![(*id).into()]))
    }
}

impl Stored for Webhook {
    const TABLE: &'static str = "webhook";
    const OPEN: &'static str = "true";
    const COLUMNS: &'static [&'static str] = &["name", "through"];

    fn read_key(columns: &mut Columns<'_>) -> Result<String> {
        columns.string()
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            name: columns.string()?,
            through: columns.id()?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        vec![self.name.as_str().into(), self.through.into()]
    }

    fn key_cells(name: &String) -> Vec<Cell<'_>> {
        vec![name.as_str().into()]
    }

    fn entry(_: &String) -> Option<Entry<'_>> {
        None
    }
}
