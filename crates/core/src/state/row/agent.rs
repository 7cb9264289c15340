//! A hosted wallet, the state of its behaviours, and what it has spent.

use agentry_protocol::{Address, Amount, BlockHeight, Nonce};
use serde_json::Value;

use crate::cause::Cause;
use crate::rows::AgentId;
use crate::state::table::Row;

/// A hosted wallet.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// Its address.
    pub address: Address,
    /// Its name in agents.toml, when it was last hosted.
    pub name: String,
    /// Messages in lower blocks are ignored.
    pub start_height: BlockHeight,
    /// The highest nonce ever assigned to the wallet.
    pub last_nonce: Option<Nonce>,
    /// The day of which operators were told that its budget is low: days since the epoch, UTC.
    pub low_budget_day: Option<u64>,
}

/// How an agent is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Index {
    /// By its address.
    Address(Address),
    /// By the block at which it starts.
    Start(BlockHeight, AgentId),
}

impl Row for Agent {
    type Key = AgentId;
    type Index = Index;

    fn key(&self) -> AgentId {
        self.id
    }

    fn indexes(&self) -> Vec<Index> {
        vec![
            Index::Address(self.address.clone()),
            Index::Start(self.start_height, self.id),
        ]
    }
}

/// One value of a behaviour's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// The agent.
    pub agent: AgentId,
    /// The behaviour, by its name in the agent.
    pub behaviour: String,
    /// The key that the behaviour gave it.
    pub key: String,
    /// The value.
    pub value: Value,
}

impl Row for Memory {
    type Key = (AgentId, String, String);
    type Index = Self::Key;

    fn key(&self) -> Self::Key {
        (self.agent, self.behaviour.clone(), self.key.clone())
    }

    fn indexes(&self) -> Vec<Self::Key> {
        vec![self.key()]
    }

    fn bytes(&self) -> usize {
        self.value.to_string().len()
    }
}

/// What an agent has spent from one day's budgets for one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spending {
    /// The agent.
    pub agent: AgentId,
    /// The day: days since the epoch, UTC.
    pub day: u64,
    /// Who caused it.
    pub cause: Cause,
    /// Amounts and fees.
    pub spent: Amount,
    /// The tokens of models that its tasks have used, and those that running ones have reserved.
    pub tokens: u64,
}

impl Row for Spending {
    type Key = (AgentId, u64, Cause);
    /// The agent, the day, and the words of the cause.
    type Index = (AgentId, u64, &'static str, String);

    fn key(&self) -> Self::Key {
        (self.agent, self.day, self.cause.clone())
    }

    fn indexes(&self) -> Vec<Self::Index> {
        let (standing, sender) = self.cause.words();
        vec![(self.agent, self.day, standing, sender.to_owned())]
    }
}
