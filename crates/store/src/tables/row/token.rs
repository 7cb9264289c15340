//! The tokens of those who may call the runtime from outside.

use agentry_core::state::row::token::{Index, Token};
use agentry_core::{Rights, TokenName, token};
use agentry_protocol::{Amount, ContentHash};
use rusqlite::Result;
use serde_json::json;

use crate::tables::archive::{Entry, Stored};
use crate::tables::columns::{Cell, Columns};

impl Stored for Token {
    const TABLE: &'static str = "token";
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "secret",
        "agents",
        "may_read",
        "may_send",
        "may_operate",
        "recipients",
        "daily_budget",
        "made_at",
        "expires_at",
        "day",
        "spent",
    ];

    fn read_key(columns: &mut Columns<'_>) -> Result<TokenName> {
        columns.text(str::parse)
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            token: token::Token {
                name: columns.text(str::parse)?,
                secret: columns.bytes(ContentHash::from_bytes)?,
                agents: columns.optional_text(|text| serde_json::from_str(text))?,
                rights: Rights {
                    read: columns.flag()?,
                    send: columns.flag()?,
                    operate: columns.flag()?,
                },
                recipients: columns.optional_text(|text| serde_json::from_str(text))?,
                daily_budget: columns.optional_whole()?.map(Amount),
                made_at: columns.time()?,
                expires_at: columns.optional_time()?,
            },
            day: columns.whole()?,
            spent: Amount(columns.whole()?),
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        let token = &self.token;
        let Rights {
            read,
            send,
            operate,
        } = token.rights;
        vec![
            token.name.as_str().into(),
            Cell::Bytes(token.secret.as_bytes()),
            Cell::some(token.agents.as_ref(), |agents| Cell::text(&json!(agents))),
            Cell::flag(read),
            Cell::flag(send),
            Cell::flag(operate),
            Cell::some(token.recipients.as_ref(), |all| Cell::text(&json!(all))),
            Cell::some(token.daily_budget, |budget| Cell::whole(budget.0)),
            token.made_at.into(),
            token.expires_at.into(),
            Cell::whole(self.day),
            Cell::whole(self.spent.0),
        ]
    }

    fn key_cells(name: &TokenName) -> Vec<Cell<'_>> {
        vec![name.as_str().into()]
    }

    fn entry(entry: &Index) -> Option<Entry<'_>> {
        let (columns, cells): (&'static [&'static str], _) = match entry {
            Index::Name(name) => (&["name"], Self::key_cells(name)),
            Index::Secret(secret) => (&["secret"], vec![Cell::Bytes(secret.as_bytes())]),
        };
        Some(Entry::new("", columns, cells))
    }
}
