//! Who caused something: whose share of an agent's resources it uses.
//!
//! Everything that follows from a message, however many steps later (answers, acknowledgments,
//! timers, tasks, and what those send), has the message's sender as its cause.

use std::fmt;

use agentry_protocol::Address;
use serde::{Deserialize, Serialize};

use crate::Standing;

/// The standing of what no sender caused.
pub const OWN: &str = "own";

/// Who caused something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The operator, or the agent on its own: messages sent by hand, cards that are renewed.
    #[default]
    Own,
    /// Senders that could not be verified. Anyone can invent their addresses, so all count as one.
    Unverified,
    /// A verified sender, and how well it was known at the time.
    Sender(Standing, Address),
}

impl Cause {
    /// The cause of what follows from a message of this sender. The sender is verified unless its
    /// standing says otherwise.
    pub fn of(standing: Standing, sender: &Address) -> Self {
        match standing {
            Standing::Unverified => Self::Unverified,
            Standing::Stranger | Standing::Listed | Standing::Known => {
                Self::Sender(standing, sender.clone())
            }
        }
    }

    /// How well the sender is known; `None` if no sender is the cause.
    pub const fn standing(&self) -> Option<Standing> {
        match self {
            Self::Own => None,
            Self::Unverified => Some(Standing::Unverified),
            Self::Sender(standing, _) => Some(*standing),
        }
    }

    /// The one sender whose share it uses; `None` for the agent itself and for unverified senders.
    pub const fn sender(&self) -> Option<&Address> {
        match self {
            Self::Own | Self::Unverified => None,
            Self::Sender(_, sender) => Some(sender),
        }
    }

    /// The words of the standing and of the sender: `own` and nothing for the agent itself, and no
    /// sender for unverified ones. They order causes as a database does.
    pub fn words(&self) -> (&'static str, &str) {
        let standing = self.standing().map_or(OWN, Standing::as_str);
        (standing, self.sender().map_or("", Address::as_str))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("the agent itself"),
            Self::Unverified => f.write_str("unverified senders"),
            Self::Sender(_, sender) => sender.fmt(f),
        }
    }
}
