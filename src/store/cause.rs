//! Who caused something: whose share of an agent's resources it uses.
//!
//! Everything that follows from a message, however many steps later (answers, acknowledgments,
//! timers, tasks, and what those send), has the message's sender as its cause. Rows hold the cause
//! in two columns: `standing`, and `sender`, which is empty for the agent itself and for unverified
//! senders.

use std::fmt;

use agentry_protocol::Address;
use agentry_sdk::Standing;
use rusqlite::Row;
use rusqlite::types::Type;
use serde::{Deserialize, Serialize};

/// The `standing` of what no sender caused.
const OWN: &str = "own";

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

    /// The value of the column `standing`.
    pub(super) fn standing_column(&self) -> &'static str {
        self.standing().map_or(OWN, Standing::as_str)
    }

    /// The value of the column `sender`.
    pub(super) fn sender_column(&self) -> &str {
        self.sender().map_or("", Address::as_str)
    }

    /// Reads the two columns: `standing` at index `at`, and `sender` after it.
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let standing = row.get_ref(at)?.as_str()?;
        let sender = row.get_ref(at + 1)?.as_str()?;
        let known = Standing::ALL
            .into_iter()
            .find(|known| known.as_str() == standing);
        let read = match (known, sender) {
            (None, "") if standing == OWN => Ok(Self::Own),
            (Some(Standing::Unverified), "") => Ok(Self::Unverified),
            (Some(Standing::Unverified) | None, _) => Err(UnknownCause(standing.to_owned())),
            (Some(standing), sender) => Address::from_chain(sender)
                .map(|sender| Self::Sender(standing, sender))
                .map_err(|_| UnknownCause(sender.to_owned())),
        };
        read.map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error))
        })
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

/// A row holds an impossible cause.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a standing, or not a sender of that standing")]
struct UnknownCause(String);

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    fn read(standing: &str, sender: &str) -> rusqlite::Result<Cause> {
        let db = Connection::open_in_memory().unwrap();
        db.query_row("SELECT ?1, ?2", [standing, sender], |row| {
            Cause::read(row, 0)
        })
    }

    #[test]
    fn columns_are_read_as_they_were_written() {
        let sender = Address::from_chain("ait1sender").unwrap();
        let mut causes = vec![Cause::Own];
        causes.extend(Standing::ALL.map(|standing| Cause::of(standing, &sender)));
        for cause in causes {
            let found = read(cause.standing_column(), cause.sender_column()).unwrap();
            assert_eq!(found, cause);
        }
    }

    #[test]
    fn an_impossible_cause_is_an_error() {
        for (standing, sender) in [
            ("", ""),
            ("Own", ""),
            ("own", "ait1sender"),
            ("unverified", "ait1sender"),
            ("stranger", ""),
            ("stranger", "ait1 sender"),
            ("friend", "ait1sender"),
        ] {
            assert!(read(standing, sender).is_err(), "{standing:?} {sender:?}");
        }
    }
}
