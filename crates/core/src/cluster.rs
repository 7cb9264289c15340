//! The rules of several hosts that share one chain's agents. Pure: no I/O, no clock.
//!
//! | module | contents |
//! |---|---|
//! | this one | the names of things: [`ShardId`], [`Epoch`], [`Incarnation`] |
//! | [`placement`] | which shard an address belongs to, and which host is best for a shard |
//! | [`view`] | what a beat shows of the cluster: [`View`] |
//! | [`beats`] | who is alive, by one host's own time |
//! | [`member`] | what one host decides after each beat: [`Member`] |
//!
//! A cluster divides its agents into *shards*. Each shard has one log, in a database that all hosts
//! reach, and at most one *owner*, the host that appends to it. A *claim* makes a host the owner and
//! raises the shard's *epoch*; an append names the epoch of its claim and is refused under any other.
//! So safety is the epoch alone: two hosts that take themselves for the owner of a shard cannot both
//! append. The time that an owner may be silent, its [lease](LEASE), decides only when others claim,
//! and until when the owner may post what it has appended.
//!
//! Each host *beats*: it writes a counter to the database, and reads those of all hosts and the owners
//! of all shards in the same round trip. [`Member::saw`] turns what a beat has shown, and what the host
//! does, into what it should do. It depends on the present only: an action that was lost, or failed, is
//! decided again at the next beat.

pub mod beats;
pub mod member;
pub mod placement;
pub mod view;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use member::{Action, Duty, Member};
pub use placement::{ranks, shard_of};
pub use view::{HostSeen, ShardSeen, View};

/// How often a host beats. Five beats fit into a [`LEASE`], so that one or two may be slow; and an
/// agent is silent for at most one beat longer because a newcomer claims at its next beat.
pub const BEAT: Duration = Duration::from_millis(500);

/// How long the beat of an owner may stand still until others claim its shards. Long enough for four
/// lost beats, short enough that agents answer again within 3.5 s after their host was killed.
pub const LEASE: Duration = Duration::from_millis(2_500);

/// After a longer time without an acknowledged beat of its own, a host observes the others from the
/// beginning: their beats may have stood still for the same reason as its own. A pause of the database
/// that is shorter cannot end a lease by itself, even with a beat lost before it and one after.
pub const GAP: Duration = Duration::from_secs(1);

/// How long each host in turn has to claim a shard, before the next one does. Three beats: the first
/// may see a lease end one beat later, and claims at the beat after that.
pub const TURN: Duration = Duration::from_millis(1_500);

/// A follower is level with a shard's log if it lacks at most so many records. What a beat says is up
/// to a beat old, and a busy shard appends about a hundred records in that; to read and apply as many
/// takes a new owner less than 0.1 s.
pub const LEVEL: u64 = 256;

/// A part of a cluster's agents, which has one log. See [`shard_of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How often a shard was claimed. Only the last claim's owner can append.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch that the next claim begins.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A process that is a host of a cluster: 16 random bytes that it makes at its start, written as
/// hexadecimal digits. A host that is started again is another incarnation, and owns nothing of what
/// the former one has owned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub [u8; 16]);

/// Why a text is not an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an incarnation has 32 lower-case hexadecimal digits")]
pub struct IncarnationError;

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

impl FromStr for Incarnation {
    type Err = IncarnationError;

    fn from_str(text: &str) -> Result<Self, IncarnationError> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(IncarnationError);
        }
        u128::from_str_radix(text, 16)
            .map(|number| Self(number.to_be_bytes()))
            .map_err(|_| IncarnationError)
    }
}

impl Serialize for Incarnation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_is_read_as_it_is_written() {
        let bytes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255];
        let one = Incarnation(bytes);
        assert_eq!(one.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(one.to_string().parse(), Ok(one));
        for wrong in [
            "",
            "00",
            "+00102030405060708090a0b0c0d0eff",
            "000102030405060708090A0B0C0D0EFF",
        ] {
            assert_eq!(
                wrong.parse::<Incarnation>(),
                Err(IncarnationError),
                "{wrong}"
            );
        }
    }
}
