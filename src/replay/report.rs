//! What a replay tells.

use std::fmt;

use agentry_protocol::{Address, BlockHeight, TransactionHash};
use serde::Serialize;

use super::said::Said;

/// What an agent is shown, what it would send because of it, and what it did send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The agent's name.
    pub agent: String,
    /// What it is shown.
    #[serde(flatten)]
    pub cause: Cause,
    /// What else is to be said of it, such as that it had expired.
    pub notes: Vec<String>,
    /// What would be sent beside what was.
    pub sends: Vec<Compared>,
}

/// Why something would be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "cause")]
pub enum Cause {
    /// A message.
    Message {
        /// The block that holds it.
        height: BlockHeight,
        /// Its transaction.
        transaction: TransactionHash,
        /// Who sent it.
        from: Address,
        /// What it says, as far as it can be read.
        text: Option<String>,
        /// Whether it is sealed.
        sealed: bool,
        /// What is known of its sender.
        authenticity: &'static str,
    },
    /// A timer of a behaviour's.
    Timer {
        /// The block before which it ran out.
        height: BlockHeight,
        /// Whose it is.
        behaviour: String,
        /// What it is called.
        name: String,
    },
    /// The fate of a message that a behaviour sent.
    Fate {
        /// The block in which that was known.
        height: BlockHeight,
        /// Whose message it was.
        behaviour: String,
        /// What it is called.
        label: String,
        /// In a word, as `mined`.
        fate: String,
    },
    /// Nothing that was replayed: the agent did send it of its own accord, or an operator did.
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
            | Self::Fate { height, .. }
            | Self::Unasked { height } => *height,
        }
    }
}

/// Something that would be sent, something that was, or both side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// How they compare.
    pub mark: Mark,
    /// What would be sent.
    pub would: Option<Would>,
    /// What was.
    pub did: Option<Did>,
}

/// A message that would be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Would {
    /// The behaviour, by its name in the agent.
    pub behaviour: String,
    /// The message.
    #[serde(flatten)]
    pub said: Said,
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
    pub said: Said,
}

/// How what would be sent compares with what was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// The same.
    Same,
    /// Something else.
    Differs,
    /// It was not sent.
    Missing,
    /// It would not be sent.
    Extra,
    /// What would be sent is not known: it comes of a task, or answers a message that was not
    /// opened.
    NotCompared,
    /// Nothing that was replayed asked for it.
    Unasked,
}

impl Mark {
    /// The word for it.
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

    /// Whether the behaviours would act otherwise than was acted.
    pub const fn is_difference(self) -> bool {
        matches!(self, Self::Differs | Self::Missing | Self::Extra)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a replay comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The first block.
    pub from: BlockHeight,
    /// The last block.
    pub to: BlockHeight,
    /// Messages that came to the agents, each counted once.
    pub messages: u64,
    /// Sent and would be sent again, the same.
    pub same: u64,
    /// Sent, and something else would be sent.
    pub differs: u64,
    /// Would be sent, and was not.
    pub missing: u64,
    /// Sent, and would not be.
    pub extra: u64,
    /// Sent, and what would be sent is not known.
    pub not_compared: u64,
    /// Sent, and nothing that was replayed asked for it.
    pub unasked: u64,
    /// Tasks that would be started.
    pub tasks: u64,
    /// Sealed messages that were not opened.
    pub closed: u64,
    /// Messages whose time was over.
    pub expired: u64,
    /// Messages whose sender did not sign them: nobody is shown these.
    pub forged: u64,
    /// Messages that came again: nobody is shown these.
    pub repeated: u64,
    /// Answers to messages from before the first block, or to messages that were cut: nothing to
    /// compare them with.
    pub outside: u64,
    /// Messages that were cut: so many waited for their answers at the same time that what answers
    /// these was not looked for any more.
    pub cut: u64,
    /// Blocks that could not be read whole.
    pub gaps: u64,
}

impl Summary {
    /// Whether the behaviours would act otherwise than was acted.
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
