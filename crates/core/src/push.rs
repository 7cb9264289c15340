//! Where clients are told of tasks that they have requested through a door.

use std::fmt;

use agentry_protocol::Timestamp;
use serde::{Deserialize, Serialize};

use crate::rows::AgentId;
use crate::token::TokenName;

/// The most receivers of one task and token.
pub const MOST_OF_TASK: usize = 4;

/// The most receivers of one token.
pub const MOST_OF_TOKEN: usize = 64;

/// The most receivers in all: they are in memory.
pub const MOST: usize = 1_024;

/// A text that may be secret: it is in the store and in requests to the receiver, and nowhere else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hidden(String);

impl Hidden {
    /// A text that may be secret.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(***)")
    }
}

/// Where a client is told of a task. Its token, the task and its id identify it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The token of the client: who may no longer see the task is no longer told.
    pub owner: TokenName,
    /// The task, as the client names it.
    pub task: String,
    /// Its id, which the client may choose.
    pub id: String,
    /// The hosted agent that has requested the task.
    pub agent: AgentId,
    /// The agent that does the task, as the door names it.
    pub target: String,
    /// The receiver's URL.
    pub url: Hidden,
    /// What the receiver recognises the calls by.
    pub token: Option<Hidden>,
    /// The scheme of the authorization at the receiver.
    pub scheme: Option<String>,
    /// The credentials of this scheme.
    pub credentials: Option<Hidden>,
    /// When it was requested.
    pub made_at: Timestamp,
}

impl Push {
    /// Whether another one tells the same of the same task in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        let made_at = self.made_at;
        *self
            == Self {
                made_at,
                ..other.clone()
            }
    }
}
