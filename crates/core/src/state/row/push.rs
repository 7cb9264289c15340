//! Where clients are told of tasks, and what they were told.

use agentry_protocol::{ContentHash, Timestamp};

use crate::push;
use crate::rows::AgentId;
use crate::state::table::Row;
use crate::token::TokenName;

/// Where a client is told of a task, and what was delivered there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Its number, which is never assigned twice: one that was replaced has another.
    pub number: i64,
    /// Where and what.
    pub push: push::Push,
    /// The digest of what was delivered last.
    pub told: Option<ContentHash>,
    /// How many deliveries have failed since then.
    pub failures: u32,
    /// When the next is tried, if one has failed.
    pub due_at: Option<Timestamp>,
}

/// How a receiver is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Index {
    /// By its token, its task and its id.
    Id(TokenName, String, String),
    /// By its number: all are open, until their tasks have ended.
    Open(AgentId, i64),
}

impl Row for Push {
    type Key = i64;
    type Index = Index;

    fn key(&self) -> i64 {
        self.number
    }

    fn indexes(&self) -> Vec<Index> {
        let push = &self.push;
        vec![
            Index::Id(push.owner.clone(), push.task.clone(), push.id.clone()),
            Index::Open(push.agent, self.number),
        ]
    }

    fn is_open(entry: &Index) -> bool {
        matches!(entry, Index::Open(..))
    }

    fn bytes(&self) -> usize {
        self.push.url.expose().len()
    }
}
