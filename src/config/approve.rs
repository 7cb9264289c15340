//! `approve`: the effects of behaviours that wait for an operator's approval.

use std::fmt;
use std::str::FromStr;

use agentry_protocol::Amount;
use agentry_sdk::durable::Sending;
use serde_json::{Value, json};

use super::document::{Given, Raw};
use super::keys::Holds;
use super::values::{Kind, Reader, Unchecked};

/// An effect that may wait for an operator's approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Approved {
    /// An answer to a message.
    Reply = 1,
    /// A message that answers none.
    Send = 2,
    /// A message, answer or not, that transfers an amount.
    Payment = 4,
    /// A task.
    StartTask = 8,
}

impl Approved {
    const ALL: [Self; 4] = [Self::Reply, Self::Send, Self::Payment, Self::StartTask];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Send => "send",
            Self::Payment => "payment",
            Self::StartTask => "start_task",
        }
    }
}

impl fmt::Display for Approved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Approved {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|one| one.as_str() == text);
        known.ok_or_else(|| {
            let words = Self::ALL.map(|one| format!("\"{one}\"")).join(", ");
            format!("an effect that can be approved is one of {words}")
        })
    }
}

/// The effects of a behaviour that wait for an operator's approval.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Approvals(u8);

impl Approvals {
    /// No effect waits.
    pub const NONE: Self = Self(0);

    /// Whether this effect waits.
    pub const fn has(self, effect: Approved) -> bool {
        self.0 & effect as u8 != 0
    }

    /// Those of either.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a message waits.
    pub fn holds(self, sending: &Sending) -> bool {
        let kind = match sending.to {
            None => Approved::Reply,
            Some(_) => Approved::Send,
        };
        let pays = sending.outgoing.amount > Amount::ZERO;
        self.has(kind) || (pays && self.has(Approved::Payment))
    }

    fn effects(self) -> impl Iterator<Item = Approved> {
        let all = Approved::ALL.into_iter();
        all.filter(move |effect| self.has(*effect))
    }

    /// The `approve` of a behaviour, of those at this place.
    pub(super) fn read(place: &str, given: &Given, reader: &mut Reader) -> Self {
        let Raw::List(_) = &given.raw else {
            let what = given.raw.what();
            let text = format!(
                "`approve` of {place} must be a list, for example [\"payment\"], not {what}"
            );
            reader.report(&given.origin, text);
            return Self::NONE;
        };
        let name = format!("approve` of `{place}");
        reader.read(&name, given).unwrap_or_default()
    }
}

impl fmt::Debug for Approvals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.effects()).finish()
    }
}

impl Kind for Approvals {
    const HOLDS: Holds = Holds::List;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        let effects = Vec::<Approved>::read(value)?;
        let sum = effects.iter().fold(0, |sum, effect| sum | *effect as u8);
        Some(Self(sum))
    }

    fn show(&self) -> Value {
        json!(self.effects().map(Approved::as_str).collect::<Vec<_>>())
    }

    fn absent() -> Option<Self> {
        Some(Self::NONE)
    }
}
