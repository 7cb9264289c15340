//! What a hosted agent announces, and when again.

use agentry_protocol::command::{Announce, CARD_MAX_AHEAD_MS, Description, Tag, Tags};
use agentry_protocol::header::MAX_ID_AHEAD_MS;
use agentry_protocol::{AgentName, EncryptionKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The shortest life of a card, in milliseconds: a minute. Each announcement costs a fee, and it
/// must be mined before it is over.
pub const MIN_TTL_MS: u64 = 60 * 1000;

/// The longest life of a card, in milliseconds. It leaves room for readers whose clocks are behind:
/// they would refuse a card that is 30 days ahead of ours.
const MAX_TTL_MS: u64 = CARD_MAX_AHEAD_MS - MAX_ID_AHEAD_MS;

/// What a hosted agent says of itself, again and again, before its last card expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Registration {
    /// What it calls itself.
    pub name: AgentName,
    /// What it says of itself.
    pub description: Option<Description>,
    /// What it can do.
    pub capabilities: Tags,
    /// The commands that it takes.
    pub commands: Tags,
    /// How long a card counts, in milliseconds.
    pub ttl_ms: u64,
}

/// Why something cannot be announced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The name is none.
    #[error("{name:?} cannot be announced as a name: {reason}; choose another with --name")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The description is too long.
    #[error("the description cannot be announced: {0}")]
    Description(String),
    /// A capability or command is no tag.
    #[error("{word:?} cannot be announced as a {what}: {reason}")]
    Tag {
        /// `capability` or `command`.
        what: &'static str,
        /// What was given.
        word: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There are too many capabilities or commands.
    #[error("the list of what is announced as a {what} is too long: {reason}")]
    TooMany {
        /// `capability` or `command`.
        what: &'static str,
        /// How many there are.
        reason: String,
    },
    /// The card's life is too short.
    #[error(
        "a card that expires after {ttl_ms} ms would be over before anyone reads it; let it live for a minute at least"
    )]
    TooShort {
        /// What was given.
        ttl_ms: u64,
    },
    /// It would live too long.
    #[error(
        "a card expires within 30 days, and {ttl_ms} ms are more; it is renewed by itself, so 7d does as well"
    )]
    TooLong {
        /// What was given.
        ttl_ms: u64,
    },
}

impl Registration {
    /// A registration of these words. A capability or command that is named twice counts once.
    ///
    /// # Errors
    /// [`RegistrationError`] says which word cannot be announced.
    pub fn new(
        name: &str,
        description: Option<&str>,
        capabilities: &[String],
        commands: &[String],
        ttl_ms: u64,
    ) -> Result<Self, RegistrationError> {
        if ttl_ms < MIN_TTL_MS {
            return Err(RegistrationError::TooShort { ttl_ms });
        }
        if ttl_ms > CARD_MAX_AHEAD_MS {
            return Err(RegistrationError::TooLong { ttl_ms });
        }
        Ok(Self {
            name: name
                .parse()
                .map_err(|error: agentry_protocol::bounded::BoundError| {
                    RegistrationError::Name {
                        name: name.to_owned(),
                        reason: error.to_string(),
                    }
                })?,
            description: description.map(str::parse).transpose().map_err(
                |error: agentry_protocol::bounded::BoundError| {
                    RegistrationError::Description(error.to_string())
                },
            )?,
            capabilities: tags("capability", capabilities)?,
            commands: tags("command", commands)?,
            ttl_ms,
        })
    }

    /// Reads what the event of a renewal carries.
    ///
    /// # Errors
    /// It is none; what the store holds of it is damaged.
    pub fn read(data: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(data)
    }

    /// What the event of a renewal carries.
    pub fn to_value(&self) -> Value {
        serde_json::json!(self)
    }

    /// The card to announce when the clock shows `now_ms`.
    pub fn announce(&self, now_ms: u64, enc_key: impl Into<Option<EncryptionKey>>) -> Announce {
        Announce {
            name: self.name.clone(),
            description: self.description.clone(),
            capabilities: self.capabilities.clone(),
            commands: self.commands.clone(),
            enc_key: enc_key.into(),
            expires: now_ms.saturating_add(self.life_ms()),
        }
    }

    /// When the card that is announced at `now_ms` is announced again: after two thirds of its
    /// life, so that a third is left for a node that is away.
    pub fn next_renewal(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add(self.life_ms() / 3 * 2)
    }

    /// How long a card counts.
    fn life_ms(&self) -> u64 {
        self.ttl_ms.clamp(MIN_TTL_MS, MAX_TTL_MS)
    }
}

fn tags(what: &'static str, words: &[String]) -> Result<Tags, RegistrationError> {
    let mut tags: Vec<Tag> = Vec::with_capacity(words.len());
    for word in words {
        let tag: Tag = word
            .parse()
            .map_err(
                |error: agentry_protocol::bounded::BoundError| RegistrationError::Tag {
                    what,
                    word: word.clone(),
                    reason: error.to_string(),
                },
            )?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Tags::new(tags).map_err(|error| RegistrationError::TooMany {
        what,
        reason: error.to_string(),
    })
}

/// How a registration is written.
#[derive(Serialize, Deserialize)]
struct Written {
    name: String,
    description: Option<String>,
    capabilities: Vec<String>,
    commands: Vec<String>,
    ttl_ms: u64,
}

impl TryFrom<Written> for Registration {
    type Error = RegistrationError;

    fn try_from(written: Written) -> Result<Self, RegistrationError> {
        Self::new(
            &written.name,
            written.description.as_deref(),
            &written.capabilities,
            &written.commands,
            written.ttl_ms,
        )
    }
}

impl From<Registration> for Written {
    fn from(registration: Registration) -> Self {
        let words = |tags: &Tags| tags.as_slice().iter().map(ToString::to_string).collect();
        Self {
            name: registration.name.to_string(),
            description: registration.description.as_ref().map(ToString::to_string),
            capabilities: words(&registration.capabilities),
            commands: words(&registration.commands),
            ttl_ms: registration.ttl_ms,
        }
    }
}
