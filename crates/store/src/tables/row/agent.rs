//! The hosted wallets, the state of their behaviours, and what they have spent.

use agentry_core::Cause;
use agentry_core::rows::AgentId;
use agentry_core::state::row::agent::{Agent, Index, Memory, Spending};
use agentry_protocol::{Address, Amount, BlockHeight, Nonce};
use rusqlite::Result;

use super::value;
use crate::tables::archive::{Entry, Stored};
use crate::tables::columns::{Cell, Columns};

impl Stored for Agent {
    const TABLE: &'static str = "agent";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "address",
        "name",
        "start_height",
        "last_nonce",
        "low_budget_day",
    ];

    fn read_key(columns: &mut Columns<'_>) -> Result<AgentId> {
        columns.id().map(AgentId)
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            id: AgentId(columns.id()?),
            address: columns.text(Address::from_chain)?,
            name: columns.string()?,
            start_height: BlockHeight(columns.whole()?),
            last_nonce: columns.optional_whole()?.map(Nonce::new),
            low_budget_day: columns.optional_whole()?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            self.id.0.into(),
            self.address.as_str().into(),
            self.name.as_str().into(),
            Cell::whole(self.start_height.0),
            self.last_nonce.into(),
            Cell::some(self.low_budget_day, Cell::whole),
        ]
    }

    fn key_cells(key: &AgentId) -> Vec<Cell<'_>> {
        vec![key.0.into()]
    }

    fn entry(entry: &Index) -> Option<Entry<'_>> {
        let (columns, cells): (&'static [&'static str], _) = match entry {
            Index::Address(address) => (&["address"], vec![address.as_str().into()]),
            Index::Start(height, id) => (
                &["start_height", "id"],
                vec![Cell::whole(height.0), id.0.into()],
            ),
        };
        Some(Entry::new("", columns, cells))
    }
}

impl Stored for Memory {
    const TABLE: &'static str = "state";
    const COLUMNS: &'static [&'static str] = &["agent", "behaviour", "key", "value"];
    const KEYS: usize = 3;

    fn read_key(columns: &mut Columns<'_>) -> Result<Self::Key> {
        Ok((AgentId(columns.id()?), columns.string()?, columns.string()?))
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            agent: AgentId(columns.id()?),
            behaviour: columns.string()?,
            key: columns.string()?,
            value: columns.text(value)?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            self.agent.0.into(),
            self.behaviour.as_str().into(),
            self.key.as_str().into(),
            Cell::text(&self.value),
        ]
    }

    fn key_cells((agent, behaviour, key): &Self::Key) -> Vec<Cell<'_>> {
        vec![
            agent.0.into(),
            behaviour.as_str().into(),
            key.as_str().into(),
        ]
    }

    fn entry(key: &Self::Key) -> Option<Entry<'_>> {
        let columns = &["agent", "behaviour", "key"];
        Some(Entry::new("", columns, Self::key_cells(key)))
    }
}

impl Stored for Spending {
    const TABLE: &'static str = "spending";
    const COLUMNS: &'static [&'static str] =
        &["agent", "day", "standing", "sender", "spent", "tokens"];
    const KEYS: usize = 4;

    fn read_key(columns: &mut Columns<'_>) -> Result<Self::Key> {
        Ok((AgentId(columns.id()?), columns.whole()?, columns.cause()?))
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            agent: AgentId(columns.id()?),
            day: columns.whole()?,
            cause: columns.cause()?,
            spent: Amount(columns.whole()?),
            tokens: columns.whole()?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        let (standing, sender) = self.cause.words();
        vec![
            self.agent.0.into(),
            Cell::whole(self.day),
            standing.into(),
            sender.into(),
            // What was spent is at most as much as a column holds.
            Cell::whole(self.spent.0),
            Cell::whole(self.tokens),
        ]
    }

    fn key_cells((agent, day, cause): &(AgentId, u64, Cause)) -> Vec<Cell<'_>> {
        let (standing, sender) = cause.words();
        vec![
            agent.0.into(),
            Cell::whole(*day),
            standing.into(),
            sender.into(),
        ]
    }

    fn entry((agent, day, standing, sender): &Self::Index) -> Option<Entry<'_>> {
        let columns = &["agent", "day", "standing", "sender"];
        let cells = vec![
            agent.0.into(),
            Cell::whole(*day),
            (*standing).into(),
            sender.as_str().into(),
        ];
        Some(Entry::new("", columns, cells))
    }
}
