//! The results of a replay.

use std::fmt;

use agentry_protocol::{Address, BlockHeight, TransactionHash};
use serde::Serialize;

use super::said::ComparedMessage;

/// An event of an agent, what the agent would send because of it, and what it sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The agent's name.
    pub agent: String,
    /// The event.
    #[serde(flatten)]
    pub cause: Cause,
    /// Remarks, for example that a message had expired.
    pub notes: Vec<String>,
    /// What would be sent, compared with what was sent.
    pub sends: Vec<Compared>,
}

/// The event that something would be sent for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "cause")]
pub enum Cause {
    /// A message.
    Message {
        /// The block that holds it.
        height: BlockHeight,
        /// Its transaction.
        transaction: TransactionHash,
        /// Its sender.
        from: Address,
        /// Its content, as far as it can be read.
        text: Option<String>,
        /// Whether it is sealed.
        sealed: bool,
        /// Whether its sender is verified.
        authenticity: &'static str,
    },
    /// A timer of a behaviour.
    Timer {
        /// The block by whose time it fired.
        height: BlockHeight,
        /// The behaviour.
        behaviour: String,
        /// Its name.
        name: String,
    },
    /// A delivery update of a message that a behaviour sent.
    #[serde(rename = "delivery")]
    DeliveryUpdate {
        /// The block by which it was known.
        height: BlockHeight,
        /// The behaviour that sent the message.
        behaviour: String,
        /// The label of the message.
        label: String,
        /// The name of the update, for example `mined`.
        update: String,
    },
    /// No replayed event: the agent sent it on its own, or an operator did.
    Unasked {
        /// The block that holds what was sent.
        height: BlockHeight,
    },
}

impl Cause {
    /// The block that it belongs to.
    pub const fn height(&self) -> BlockHeight {
        match self {
            Self::Message { height, .. }
            | Self::Timer { height, .. }
            | Self::DeliveryUpdate { height, .. }
            | Self::Unasked { height } => *height,
        }
    }
}

/// A message that would be sent, one that was sent, or both for comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// How they compare.
    pub mark: Mark,
    /// What would be sent.
    pub would: Option<Would>,
    /// What was sent.
    pub did: Option<Did>,
}

/// A message that would be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Would {
    /// The name of the behaviour in its agent.
    pub behaviour: String,
    /// The message.
    #[serde(flatten)]
    pub said: ComparedMessage,
}

/// A message that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Did {
    /// The block that holds it.
    pub height: BlockHeight,
    /// Its transaction.
    pub transaction: TransactionHash,
    /// The message.
    #[serde(flatten)]
    pub said: ComparedMessage,
}

/// How what would be sent compares with what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// The same.
    Same,
    /// A different message was sent in its place.
    Differs,
    /// It would be sent, and was not.
    Missing,
    /// It was sent, and would not be.
    Extra,
    /// What would be sent is unknown: it depends on a task, or on a message that was not opened, or
    /// the message was cut.
    NotCompared,
    /// No replayed event caused it.
    Unasked,
}

impl Mark {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Differs => "differs",
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::NotCompared => "not-compared",
            Self::Unasked => "unasked",
        }
    }

    /// Whether the behaviours would act differently than the agents did.
    pub const fn is_difference(self) -> bool {
        matches!(self, Self::Differs | Self::Missing | Self::Extra)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The totals of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The first block.
    pub from: BlockHeight,
    /// The last block.
    pub to: BlockHeight,
    /// Messages to the agents, each counted once.
    pub messages: u64,
    /// Sent, and the same would be sent.
    pub same: u64,
    /// Sent, and a different message would be sent.
    pub differs: u64,
    /// Would be sent, and was not.
    pub missing: u64,
    /// Sent, and would not be.
    pub extra: u64,
    /// What would be sent is unknown, or the message was cut.
    pub not_compared: u64,
    /// Sent, and no replayed event caused it.
    pub unasked: u64,
    /// Tasks that would be started.
    pub tasks: u64,
    /// Sealed messages that were not opened.
    pub closed: u64,
    /// Messages that had expired.
    pub expired: u64,
    /// Messages that their sender did not sign; no behaviour receives them.
    pub forged: u64,
    /// Repeated messages; no behaviour receives them.
    pub repeated: u64,
    /// Answers to messages from before the first block, or to messages that were cut; they are not
    /// compared.
    pub outside: u64,
    /// Messages that were cut: too many waited for answers at the same time, so the answers to these
    /// were not searched for any longer.
    pub cut: u64,
    /// Blocks that could not be read completely.
    pub gaps: u64,
}

impl Summary {
    /// Whether the behaviours would act differently than the agents did.
    pub const fn differs(&self) -> bool {
        self.differs + self.missing + self.extra > 0
    }

    pub(super) fn count(&mut self, report: &Report) {
        for one in &report.sends {
            *match one.mark {
                Mark::Same => &mut self.same,
                Mark::Differs => &mut self.differs,
                Mark::Missing => &mut self.missing,
                Mark::Extra => &mut self.extra,
                Mark::NotCompared => &mut self.not_compared,
                Mark::Unasked => &mut self.unasked,
            } += 1;
        }
    }
}
