//! What operators are told of, and where.

use agentry_protocol::Timestamp;

use crate::rows::{AgentId, NoticeKind};
use crate::state::table::Row;

/// Something that operators are told of. It is kept until it was delivered to every webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its id, which is never assigned twice.
    pub id: i64,
    /// What happened.
    pub kind: NoticeKind,
    /// The agent that it is about, if it is about one.
    pub agent: Option<AgentId>,
    /// What it is about, by the name that operators use, such as `inbox/7`; empty if there is none.
    pub subject: String,
    /// Why it happened.
    pub reason: Option<String>,
    /// When it happened.
    pub at: Timestamp,
}

impl Row for Notice {
    type Key = i64;
    type Index = i64;

    fn key(&self) -> i64 {
        self.id
    }

    fn indexes(&self) -> Vec<i64> {
        vec![self.id]
    }

    fn bytes(&self) -> usize {
        self.reason.as_ref().map_or(0, String::len)
    }
}

/// A webhook, and what was delivered to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its name in agents.toml.
    pub name: String,
    /// Everything up to this notice was delivered, or happened before it was set up.
    pub through: i64,
}

impl Row for Webhook {
    type Key = String;
    type Index = String;

    fn key(&self) -> String {
        self.name.clone()
    }

    fn indexes(&self) -> Vec<String> {
        vec![self.name.clone()]
    }

    /// Each commit asks whether there is one.
    fn is_open(_: &String) -> bool {
        true
    }
}
