//! A hosted agent's announcement, and its renewal.

use agentry_protocol::command::{
    Announce, CARD_MAX_AHEAD_MS, Description, Endpoint, Endpoints, Schemas, Tag, Tags,
};
use agentry_protocol::header::MAX_ID_AHEAD_MS;
use agentry_protocol::{AgentName, EncryptionKey, Json, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The shortest life of a card, in milliseconds: a minute. Each announcement costs a fee, and it
/// must be mined before the card expires.
pub const MIN_TTL_MS: u64 = 60 * 1000;

/// The longest life of a card, in milliseconds. It leaves a margin for readers whose clocks are
/// behind: they would refuse a card that expires more than 30 days ahead of their clock.
const MAX_TTL_MS: u64 = CARD_MAX_AHEAD_MS - MAX_ID_AHEAD_MS;

/// The announcement of a hosted agent, renewed before its last card expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Registration {
    /// The agent's announced name.
    pub name: AgentName,
    /// The agent's description.
    pub description: Option<Description>,
    /// The agent's capabilities.
    pub capabilities: Tags,
    /// The commands that the agent takes.
    pub commands: Tags,
    /// What the parameters of these commands look like.
    pub schemas: Option<Schemas>,
    /// Where else the agent can be reached.
    pub endpoints: Endpoints,
    /// How long a card is valid, in milliseconds.
    pub ttl_ms: u64,
}

/// Where else an agent can be reached, as an operator or the store has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EndpointWanted {
    /// The protocol that is spoken there.
    pub protocol: String,
    /// The URL.
    pub url: String,
}

impl EndpointWanted {
    /// The endpoints of a card.
    pub fn all(endpoints: &Endpoints) -> Vec<Self> {
        let endpoints = endpoints.as_slice().iter();
        endpoints
            .map(|endpoint| Self {
                protocol: endpoint.protocol.to_string(),
                url: endpoint.url.to_string(),
            })
            .collect()
    }
}

/// Why a card cannot be announced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The name is not valid.
    #[error("{name:?} cannot be announced as a name: {reason}; choose another with --name")]
    Name {
        /// The name as given.
        name: String,
        /// The problem with it.
        reason: String,
    },
    /// The description is too long.
    #[error("the description cannot be announced: {0}")]
    Description(String),
    /// A capability or command is not a valid tag.
    #[error("{word:?} cannot be announced as a {what}: {reason}")]
    Tag {
        /// `capability` or `command`.
        what: &'static str,
        /// The word as given.
        word: String,
        /// The problem with it.
        reason: String,
    },
    /// There are too many capabilities, commands or endpoints.
    #[error("the card lists too many {what} entries: {reason}")]
    TooMany {
        /// `capability`, `command` or `endpoint`.
        what: &'static str,
        /// The problem with the list.
        reason: String,
    },
    /// An endpoint is not valid.
    #[error("the endpoint {url:?} cannot be announced: {reason}")]
    Endpoint {
        /// The URL as given.
        url: String,
        /// The problem with it, or with its protocol.
        reason: String,
    },
    /// The card's life is too short.
    #[error(
        "a card that expires after {ttl_ms} ms would expire before anyone reads it; the shortest life is one minute"
    )]
    TooShort {
        /// The life as given, in milliseconds.
        ttl_ms: u64,
    },
    /// The card's life is too long.
    #[error(
        "a card must expire within 30 days, and {ttl_ms} ms is longer; the card is renewed automatically, so 7d is enough"
    )]
    TooLong {
        /// The life as given, in milliseconds.
        ttl_ms: u64,
    },
}

impl Registration {
    /// A registration with these texts. A capability or command that is given twice counts once.
    ///
    /// # Errors
    /// [`RegistrationError`] names the text that cannot be announced.
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
            schemas: None,
            endpoints: Endpoints::default(),
            ttl_ms,
        })
    }

    /// The same registration, with the schemas of its commands. They are left out as far as they do
    /// not fit into a card, the longest first: a card without a schema is better than none.
    #[must_use]
    pub fn with_schemas(mut self, declared: Vec<(String, Value)>) -> Self {
        let mut fitting: Vec<(String, Value)> = declared
            .into_iter()
            .filter(|(cmd, schema)| schema.is_object() && self.commands.contains(cmd))
            .collect();
        fitting.sort_by_key(|(cmd, schema)| cmd.len() + schema.to_string().len());
        self.schemas = None;
        while !fitting.is_empty() && self.schemas.is_none() {
            let object: Value = fitting.iter().cloned().collect::<Map<_, _>>().into();
            let object = object.to_string().parse::<Json>();
            self.schemas = object.ok().and_then(|object| Schemas::new(object).ok());
            if self.schemas.is_none() {
                fitting.pop();
            }
        }
        self
    }

    /// The same registration, with these endpoints.
    ///
    /// # Errors
    /// [`RegistrationError`] names the endpoint that cannot be announced.
    pub fn with_endpoints(mut self, wanted: &[EndpointWanted]) -> Result<Self, RegistrationError> {
        self.endpoints = read_endpoints(wanted)?;
        Ok(self)
    }

    /// Reads the data of a renewal event.
    ///
    /// # Errors
    /// The data is not a registration, or is damaged in the store.
    pub fn read(data: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(data)
    }

    /// The data for a renewal event.
    pub fn to_value(&self) -> Value {
        serde_json::json!(self)
    }

    /// The card to announce when the clock shows `now`.
    pub fn announce(&self, now: Timestamp, enc_key: impl Into<Option<EncryptionKey>>) -> Announce {
        Announce {
            name: self.name.clone(),
            description: self.description.clone(),
            capabilities: self.capabilities.clone(),
            commands: self.commands.clone(),
            schemas: self.schemas.clone(),
            enc_key: enc_key.into(),
            endpoints: self.endpoints.clone(),
            expires: now.plus_ms(self.life_ms()),
        }
    }

    /// When the card that is announced at `now` is renewed: after two thirds of its life, so
    /// that a third remains as a margin for a node that is down.
    pub fn next_renewal(&self, now: Timestamp) -> Timestamp {
        now.plus_ms(self.life_ms() / 3 * 2)
    }

    /// How long a card is valid.
    fn life_ms(&self) -> u64 {
        self.ttl_ms.clamp(MIN_TTL_MS, MAX_TTL_MS)
    }
}

/// The schemas of a card, by command. What cannot be a schema is left out.
pub fn shown_schemas(schemas: Option<&Schemas>) -> Map<String, Value> {
    let object = schemas.map(|schemas| serde_json::from_str(schemas.as_str()));
    let mut object: Map<String, Value> = object.and_then(Result::ok).unwrap_or_default();
    object.retain(|_, schema| schema.is_object());
    object
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

fn read_endpoints(wanted: &[EndpointWanted]) -> Result<Endpoints, RegistrationError> {
    let read = |wanted: &EndpointWanted| {
        let refused = |error: agentry_protocol::bounded::BoundError| RegistrationError::Endpoint {
            url: wanted.url.clone(),
            reason: error.to_string(),
        };
        Ok(Endpoint {
            protocol: wanted.protocol.parse().map_err(refused)?,
            url: wanted.url.parse().map_err(refused)?,
        })
    };
    let endpoints = wanted.iter().map(read).collect::<Result<_, _>>()?;
    Endpoints::new(endpoints).map_err(|error| RegistrationError::TooMany {
        what: "endpoint",
        reason: error.to_string(),
    })
}

/// The form of a registration in the store.
#[derive(Serialize, Deserialize)]
struct Written {
    name: String,
    description: Option<String>,
    capabilities: Vec<String>,
    commands: Vec<String>,
    /// Missing in a store of a version that did not know it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    schemas: Map<String, Value>,
    /// Missing in a store of a version that did not know it.
    #[serde(default)]
    endpoints: Vec<EndpointWanted>,
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
        )?
        .with_schemas(written.schemas.into_iter().collect())
        .with_endpoints(&written.endpoints)
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
            schemas: shown_schemas(registration.schemas.as_ref()),
            endpoints: EndpointWanted::all(&registration.endpoints),
            ttl_ms: registration.ttl_ms,
        }
    }
}
