//! ACK, STATUS_REPORT and STATUS.

use std::fmt;

use super::error::{CommandError, CommandFault};
use super::field::{Entries, Fields, Tag, Tags, count, parsed, string, tags};
use crate::bounded::Bounded;

/// Longest detail of an acknowledgment or an error, in bytes: a paragraph. A longer text belongs in
/// the log of the agent that writes it.
pub const DETAIL_MAX: usize = 1024;

/// A detail for people: at most 1024 bytes.
pub type Detail = Bounded<DETAIL_MAX>;

/// The state of a message that an acknowledgment reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AckStatus {
    /// It has arrived.
    Received,
    /// It was understood and will be handled.
    Accepted,
    /// It was handled.
    Done,
    /// Handling it failed.
    Failed,
    /// It will not be handled.
    Rejected,
    /// It had expired when it arrived, and was not handled.
    Expired,
}

impl AckStatus {
    /// All states.
    pub const ALL: [Self; 6] = [
        Self::Received,
        Self::Accepted,
        Self::Done,
        Self::Failed,
        Self::Rejected,
        Self::Expired,
    ];

    /// The word for it on the chain.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "RECEIVED",
            Self::Accepted => "ACCEPTED",
            Self::Done => "DONE",
            Self::Failed => "FAILED",
            Self::Rejected => "REJECTED",
            Self::Expired => "EXPIRED",
        }
    }

    /// The state for a word. `READY`, which other programs send, is read as `ACCEPTED`.
    pub fn from_word(word: &str) -> Option<Self> {
        if word == "READY" {
            return Some(Self::Accepted);
        }
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether it is final: no other acknowledgment of the same message follows.
    pub const fn is_last(self) -> bool {
        !matches!(self, Self::Received | Self::Accepted)
    }
}

impl fmt::Display for AckStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The parameters of ACK. The header's `re` names the acknowledged message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The state of the message.
    pub status: AckStatus,
    /// More, for a person.
    pub detail: Option<Detail>,
}

impl Ack {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        let status = fields.required("status", |value| {
            AckStatus::from_word(string(value)?).ok_or(CommandFault::Word {
                expected: "RECEIVED, ACCEPTED, DONE, FAILED, REJECTED, EXPIRED, READY",
            })
        })?;
        let detail = fields.optional("detail", parsed)?;
        Ok(Self { status, detail })
    }

    pub(super) fn write(&self, entries: &mut Entries) {
        entries.text("status", &self.status);
        entries.optional_text("detail", self.detail.as_ref());
    }
}

/// The parameters of STATUS_REPORT, which asks for a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatusReport {
    /// How urgent it is, in the sender's own words, such as `high`.
    pub priority: Option<Tag>,
}

impl StatusReport {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        let priority = fields.optional("priority", parsed)?;
        Ok(Self { priority })
    }

    pub(super) fn write(&self, entries: &mut Entries) {
        entries.optional_text("priority", self.priority.as_ref());
    }
}

/// The numbers of waiting messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueCounts {
    /// Received messages that are not handled yet.
    pub inbox: u64,
    /// Transactions that are not mined yet.
    pub outbox: u64,
    /// Dead letters.
    pub dead: u64,
}

/// The numbers of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TaskCounts {
    /// Accepted and not started.
    pub submitted: u64,
    /// Running.
    pub working: u64,
}

/// The parameters of STATUS: the state of an agent. Fields that it does not report are missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The agent's name, or its address.
    pub agent: Option<Tag>,
    /// The version of its program.
    pub version: Option<Tag>,
    /// How long it has been running, in milliseconds.
    pub uptime_ms: Option<u64>,
    /// How many messages wait.
    pub queue: Option<QueueCounts>,
    /// How many tasks there are.
    pub tasks: Option<TaskCounts>,
    /// The agent's capabilities.
    pub capabilities: Tags,
}

impl Status {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        let number = |fields: Fields<'_>, field| Ok(fields.optional(field, count)?.unwrap_or(0));
        let queue = match fields.object("queue")? {
            None => None,
            Some(queue) => Some(QueueCounts {
                inbox: number(queue, "queue.inbox")?,
                outbox: number(queue, "queue.outbox")?,
                dead: number(queue, "queue.dead")?,
            }),
        };
        let tasks = match fields.object("tasks")? {
            None => None,
            Some(tasks) => Some(TaskCounts {
                submitted: number(tasks, "tasks.submitted")?,
                working: number(tasks, "tasks.working")?,
            }),
        };
        Ok(Self {
            agent: fields.optional("agent", parsed)?,
            version: fields.optional("version", parsed)?,
            uptime_ms: fields.optional("uptime_ms", count)?,
            queue,
            tasks,
            capabilities: fields.optional("capabilities", tags)?.unwrap_or_default(),
        })
    }

    pub(super) fn write(&self, entries: &mut Entries) {
        entries.optional_text("agent", self.agent.as_ref());
        entries.optional_text("version", self.version.as_ref());
        entries.count("uptime_ms", self.uptime_ms);
        if let Some(queue) = self.queue {
            let mut counts = Entries::default();
            counts.count("inbox", Some(queue.inbox));
            counts.count("outbox", Some(queue.outbox));
            counts.count("dead", Some(queue.dead));
            entries.json("queue", counts.finish());
        }
        if let Some(tasks) = self.tasks {
            let mut counts = Entries::default();
            counts.count("submitted", Some(tasks.submitted));
            counts.count("working", Some(tasks.working));
            entries.json("tasks", counts.finish());
        }
        entries.tags("capabilities", &self.capabilities);
    }
}
