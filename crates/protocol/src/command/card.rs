//! ANNOUNCE: an agent's card in the directory.

use super::error::CommandError;
use super::field::{Entries, Fields, Tags, parsed, tags, time};
use crate::bounded::{AgentName, Bounded};
use crate::sealing::EncryptionKey;

/// How far ahead a card may expire, in milliseconds: 30 days. An agent that is gone leaves the
/// directory within that.
pub const CARD_MAX_AHEAD_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Longest description of an agent, in bytes: a paragraph, so that 100,000 cards fit in memory.
pub const DESCRIPTION_MAX: usize = 1024;

/// What an agent says of itself: at most 1024 bytes.
pub type Description = Bounded<DESCRIPTION_MAX>;

/// The parameters of ANNOUNCE. It counts when it is verified, under the key in its header, and
/// sent by an address to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// What the agent calls itself. Nothing keeps two from using one name.
    pub name: AgentName,
    /// What it says of itself.
    pub description: Option<Description>,
    /// What it can do.
    pub capabilities: Tags,
    /// The commands that it takes.
    pub commands: Tags,
    /// The key to seal messages to it with; without one it takes none.
    pub enc_key: Option<EncryptionKey>,
    /// Until when the card counts, in milliseconds since the epoch.
    pub expires: u64,
}

/// Why a card does not count at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CardTimeError {
    /// It has expired.
    #[error("the card expired {ago_ms} ms ago")]
    Expired {
        /// How long ago, in milliseconds.
        ago_ms: u64,
    },
    /// It expires more than 30 days from now.
    #[error("the card expires {ahead_ms} ms from now; more than 30 days ahead is refused")]
    TooFarAhead {
        /// How far ahead, in milliseconds.
        ahead_ms: u64,
    },
}

impl Announce {
    /// Whether the card counts when the clock shows `now_ms`. It does up to the millisecond that
    /// it states.
    ///
    /// # Errors
    /// [`CardTimeError`].
    pub fn check_time(&self, now_ms: u64) -> Result<(), CardTimeError> {
        let ago_ms = now_ms.saturating_sub(self.expires);
        if ago_ms > 0 {
            return Err(CardTimeError::Expired { ago_ms });
        }
        let ahead_ms = self.expires.saturating_sub(now_ms);
        if ahead_ms > CARD_MAX_AHEAD_MS {
            return Err(CardTimeError::TooFarAhead { ahead_ms });
        }
        Ok(())
    }

    pub(super) fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        Ok(Self {
            name: fields.required("name", parsed)?,
            description: fields.optional("description", parsed)?,
            capabilities: fields.optional("capabilities", tags)?.unwrap_or_default(),
            commands: fields.optional("commands", tags)?.unwrap_or_default(),
            enc_key: fields.optional("enc_key", parsed)?,
            expires: fields.required("expires", time)?,
        })
    }

    pub(super) fn write(&self, entries: &mut Entries) {
        entries.text("name", &self.name);
        entries.optional_text("description", self.description.as_ref());
        entries.tags("capabilities", &self.capabilities);
        entries.tags("commands", &self.commands);
        entries.optional_text("enc_key", self.enc_key.as_ref());
        entries.time("expires", Some(self.expires));
    }
}
