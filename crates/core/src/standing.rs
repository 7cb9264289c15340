//! How well an agent knows a sender, and the share of limited resources that the sender may use.
//!
//! A verified sender holds a key, and keys cost nothing. Limited resources (an agent's daily
//! budget, its queues, its timers, space in the store, workers for tasks) are therefore divided by
//! what else is known about a sender:
//!
//! | standing | senders | share of one sender | share of all together |
//! |---|---|---|---|
//! | known | wallets of the same runtime, contacts, senders that a behaviour's settings name | half | everything |
//! | listed | verified senders with a card in the directory | a tenth | a quarter |
//! | stranger | all other verified senders | a tenth | a quarter |
//! | unverified | senders whose signature cannot be checked | – | a tenth |
//!
//! Senders with new keys, with or without cards, can use three fifths at most. The rest always
//! remains for senders that the operator has named.

use std::ops::Div;

use serde::{Deserialize, Serialize};

use agentry_protocol::Authenticity;

/// How well an agent knows the sender of a message.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// The signature could not be checked. Anyone can invent such senders, so all of them count as
    /// one.
    #[default]
    Unverified,
    /// Verified; nothing else is known.
    Stranger,
    /// Verified, with a card in the directory. A card costs one transaction.
    Listed,
    /// A wallet of the same runtime, a contact, or a sender that a behaviour's settings name: the
    /// operator has vouched for it.
    Known,
}

impl Standing {
    /// Every standing, from the least known to the best known.
    pub const ALL: [Self; 4] = [Self::Unverified, Self::Stranger, Self::Listed, Self::Known];

    /// The standing of a sender about whom only the authenticity of the message is known.
    pub const fn unknown(authenticity: Authenticity) -> Self {
        match authenticity {
            Authenticity::Verified => Self::Stranger,
            Authenticity::Unverified | Authenticity::Forged => Self::Unverified,
        }
    }

    /// The standing with this name in the store.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == word)
    }

    /// Its name in the store, in tables and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unverified => "unverified",
            Self::Stranger => "stranger",
            Self::Listed => "listed",
            Self::Known => "known",
        }
    }

    /// The part of `whole` that one sender of this standing may use. It can be 0: a caller that
    /// must allow at least one has to ensure it.
    pub fn of_one<T: Div<u64, Output = T>>(self, whole: T) -> T {
        match self {
            Self::Unverified | Self::Stranger | Self::Listed => whole / 10,
            Self::Known => whole / 2,
        }
    }

    /// The part of `whole` that all senders of this standing together may use.
    pub fn of_all<T: Div<u64, Output = T>>(self, whole: T) -> T {
        match self {
            Self::Unverified => whole / 10,
            Self::Stranger | Self::Listed => whole / 4,
            Self::Known => whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_with_new_keys_leave_a_share_for_the_others() {
        for whole in [1, 7, 10, 99, 100_000, u64::MAX] {
            let fresh = [Standing::Unverified, Standing::Stranger, Standing::Listed];
            let filled = fresh
                .iter()
                .map(|one| u128::from(one.of_all(whole)))
                .sum::<u128>();
            assert!(filled * 5 <= u128::from(whole) * 3, "{filled} of {whole}");
            for standing in Standing::ALL {
                assert!(standing.of_one(whole) <= standing.of_all(whole));
                assert!(standing.of_all(whole) <= whole);
            }
        }
    }

    #[test]
    fn names_match_the_json() {
        for standing in Standing::ALL {
            let json = serde_json::to_value(standing).unwrap();
            assert_eq!(json, standing.as_str());
        }
    }
}
