//! ANNOUNCE: an agent's card in the directory.

use super::error::CommandError;
use super::field::{Entries, Fields, Tags, parsed, tags, time};
use crate::bounded::{AgentName, Bounded};
use crate::sealing::EncryptionKey;
use crate::timestamp::Timestamp;

/// How far ahead a card may expire, in milliseconds: 30 days. The card of an agent that no longer
/// runs leaves the directory within that time.
pub const CARD_MAX_AHEAD_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Longest description of an agent, in bytes: a paragraph, so that 100,000 cards fit in memory.
pub const DESCRIPTION_MAX: usize = 1024;

/// An agent's description of itself: at most 1024 bytes.
pub type Description = Bounded<DESCRIPTION_MAX>;

/// The parameters of ANNOUNCE. It counts when it is verified, under the key in its header, and
/// sent by an address to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// The agent's name. Names are not unique: two agents can use the same one.
    pub name: AgentName,
    /// The agent's description of itself.
    pub description: Option<Description>,
    /// The agent's capabilities.
    pub capabilities: Tags,
    /// The commands that the agent accepts.
    pub commands: Tags,
    /// The key with which messages to the agent are sealed. None: it accepts no sealed messages.
    pub enc_key: Option<EncryptionKey>,
    /// When the card expires.
    pub expires: Timestamp,
}

/// Why a card is not valid at this time.
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
    /// Checks that the card is valid when the clock shows `now`. It is valid through the
    /// millisecond at which it expires.
    ///
    /// # Errors
    /// [`CardTimeError`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), CardTimeError> {
        let ago_ms = now.ms_since(self.expires);
        if ago_ms > 0 {
            return Err(CardTimeError::Expired { ago_ms });
        }
        let ahead_ms = self.expires.ms_since(now);
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
