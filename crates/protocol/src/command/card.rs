//! ANNOUNCE: an agent's card in the directory.

use super::error::{CommandError, CommandFault};
use super::field::{Entries, Fields, Tag, Tags, parsed, tags, time};
use super::job::BoundedObject;
use crate::bounded::{AgentName, Bounded, HttpUrl};
use crate::json::{Json, JsonRef};
use crate::sealing::EncryptionKey;
use crate::timestamp::Timestamp;

/// How far ahead a card may expire, in milliseconds: 30 days. The card of an agent that no longer
/// runs leaves the directory within that time.
pub const CARD_MAX_AHEAD_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Longest description of an agent, in bytes: a paragraph, so that 100,000 cards fit in memory.
pub const DESCRIPTION_MAX: usize = 1024;

/// An agent's description of itself: at most 1024 bytes.
pub type Description = Bounded<DESCRIPTION_MAX>;

/// Most endpoints of a card: with texts of the greatest length 2.5 KiB, so that 100,000 cards fit in
/// memory.
pub const ENDPOINTS_MAX: usize = 8;

/// Longest URL of an endpoint, in bytes.
pub const ENDPOINT_URL_MAX: usize = 256;

/// Longest schemas of a card, in bytes of their compact canonical JSON: so that 100,000 cards fit in
/// memory.
pub const SCHEMAS_MAX: usize = 4 << 10;

/// What the parameters of an agent's commands look like: an object of at most 4 KiB and 64 levels, in
/// which no key occurs twice, from commands to JSON Schemas (draft 2020-12). It is a claim, like the
/// description; an entry that is no schema means nothing.
///
/// It is kept as text, which takes less memory than JSON that a stranger wrote.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Schemas(Box<str>);

impl Schemas {
    /// Checks an object.
    ///
    /// # Errors
    /// [`CommandFault::Type`] and [`CommandFault::TooLarge`].
    pub fn new(object: Json) -> Result<Self, CommandFault> {
        let checked = BoundedObject::<SCHEMAS_MAX>::new(object)?;
        Ok(Self(checked.as_json().to_compact().into()))
    }

    /// The object, as compact canonical JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn read(value: JsonRef<'_>) -> Result<Self, CommandFault> {
        Self::new(value.to_json())
    }

    fn write(&self, entries: &mut Entries) {
        // It was JSON before.
        if let Ok(object) = self.0.parse() {
            entries.json("schemas", object);
        }
    }
}

/// Where an agent can be reached otherwise than over the chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The protocol that is spoken there, such as `a2a` for A2A v1.0, whose URL is that of the agent
    /// card or its base.
    pub protocol: Tag,
    /// The URL.
    pub url: HttpUrl<ENDPOINT_URL_MAX>,
}

/// A list of at most [`ENDPOINTS_MAX`] endpoints, in their owner's order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Endpoints(Vec<Endpoint>);

impl Endpoints {
    /// A list of these endpoints.
    ///
    /// # Errors
    /// [`CommandFault::TooMany`].
    pub fn new(endpoints: Vec<Endpoint>) -> Result<Self, CommandFault> {
        let (found, limit) = (endpoints.len(), ENDPOINTS_MAX);
        if found > limit {
            return Err(CommandFault::TooMany { found, limit });
        }
        Ok(Self(endpoints))
    }

    /// The endpoints, in order.
    pub fn as_slice(&self) -> &[Endpoint] {
        &self.0
    }

    fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        let endpoint = |one: Fields<'_>| {
            Ok(Endpoint {
                protocol: one.required("endpoints.protocol", parsed)?,
                url: one.required("endpoints.url", parsed)?,
            })
        };
        fields
            .objects("endpoints", ENDPOINTS_MAX, endpoint)
            .map(Self)
    }

    fn write(&self, entries: &mut Entries) {
        let endpoints = self.0.iter().map(|endpoint| {
            let mut entries = Entries::default();
            entries.text("protocol", &endpoint.protocol);
            entries.text("url", &endpoint.url);
            entries.finish()
        });
        entries.json("endpoints", Json::array(endpoints));
    }
}

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
    /// What the parameters of these commands look like.
    pub schemas: Option<Schemas>,
    /// The key with which messages to the agent are sealed. None: it accepts no sealed messages.
    pub enc_key: Option<EncryptionKey>,
    /// Where else the agent can be reached. These are claims like the description: whoever connects
    /// there must check whom they reach.
    pub endpoints: Endpoints,
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
            schemas: fields.optional("schemas", Schemas::read)?,
            enc_key: fields.optional("enc_key", parsed)?,
            endpoints: Endpoints::read(fields)?,
            expires: fields.required("expires", time)?,
        })
    }

    pub(super) fn write(&self, entries: &mut Entries) {
        entries.text("name", &self.name);
        entries.optional_text("description", self.description.as_ref());
        entries.tags("capabilities", &self.capabilities);
        entries.tags("commands", &self.commands);
        entries.optional_text("enc_key", self.enc_key.as_ref());
        if !self.endpoints.0.is_empty() {
            self.endpoints.write(entries);
        }
        if let Some(schemas) = &self.schemas {
            schemas.write(entries);
        }
        entries.time("expires", Some(self.expires));
    }
}
