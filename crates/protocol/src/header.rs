//! The header of a message: its metadata, under the reserved key `msg`.
//!
//! Readers that do not know the header still see `cmd` and its parameters, or the text.

use std::fmt;

use crate::bounded::{BoundError, Word};
use crate::hash::{HashError, TransactionHash};
use crate::json::{Json, JsonRef};
use crate::key::{KeyError, PublicKey};
use crate::timestamp::Timestamp;

mod id;
mod trail;

pub use id::{MAX_ID_AGE_MS, MAX_ID_AHEAD_MS, MessageId, MessageIdError};
pub use trail::{Trace, TraceError, Trail};

/// The version of the header that is written, and the only one that is read.
pub const HEADER_VERSION: u64 = 1;

/// The reserved key.
pub const HEADER_KEY: &str = "msg";

/// Longest name of a conversation, in bytes: two UUIDs and as much again. Every store that receives
/// it keeps it in an index.
pub const THREAD_MAX: usize = 128;

/// The name of a conversation: 1 to 128 printable ASCII characters.
pub type Thread = Word<THREAD_MAX>;

/// The acknowledgment that the sender asks for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum AckRequest {
    /// An acknowledgment that the message has arrived.
    Received,
    /// An acknowledgment that it has arrived, and one of how it was handled.
    Done,
}

impl AckRequest {
    /// The word for it in a header and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Done => "done",
        }
    }

    /// The request for a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Received, Self::Done]
            .into_iter()
            .find(|request| request.as_str() == word)
    }
}

impl fmt::Display for AckRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The metadata of a message. Every field may be missing.
///
/// It is unverified until the message's signature is verified: see
/// [`authenticity`](crate::authenticity).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Header {
    /// The message's own id: a receiver acts on it once, in however many transactions it comes.
    pub id: Option<MessageId>,
    /// The transaction that this message answers. If several carried the answered id, any of them
    /// counts.
    pub re: Option<TransactionHash>,
    /// The conversation that it belongs to; an answer has the same one.
    pub thread: Option<Thread>,
    /// When the message expires, at most [`Timestamp::MAX_STATED`].
    pub exp: Option<Timestamp>,
    /// The acknowledgment that the sender asks for.
    pub ack: Option<AckRequest>,
    /// What the message follows from: the fields `hops` and `trace`.
    pub trail: Trail,
    /// The sender's public key. Whether it belongs to `from` is not checked here.
    pub key: Option<PublicKey>,
}

/// Why the value under `msg` is not a header that this version reads.
///
/// Such a message counts as one without a header, so it is identified by its digest. If the version
/// is unknown ([`HeaderError::is_unknown_version`]), it may be handled as by any reader that does
/// not know headers. If a known field is malformed, the sender's demands (when the message expires,
/// what to do only once) cannot be known: the message is delivered and, like an opaque one, no
/// built-in behaviour acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It is not an object.
    #[error("the header \"msg\" is not an object")]
    NotAnObject,
    /// `v` is not 1.
    #[error("the header \"msg\" has no version that is known here (\"v\" is not 1)")]
    UnknownVersion {
        /// The version, if it is an integer from 0 to 2⁶⁴ − 1.
        found: Option<u64>,
    },
    /// The value of a field has the wrong type.
    #[error("the header's {field:?} is not {expected}")]
    Type {
        /// The field.
        field: &'static str,
        /// The expected type.
        expected: &'static str,
    },
    /// `id` is not a message id.
    #[error("the header's \"id\" is not a message id: {0}")]
    Id(MessageIdError),
    /// `re` is not a transaction hash.
    #[error("the header's \"re\" is not a transaction hash: {0}")]
    Re(HashError),
    /// `thread` is out of bounds.
    #[error("the header's \"thread\" is not valid: {0}")]
    Thread(BoundError),
    /// `key` is not a public key.
    #[error("the header's \"key\" is not a public key: {0}")]
    Key(KeyError),
}

impl HeaderError {
    /// Whether only the version is unknown: a later version may read the header, and this one
    /// treats the message as one without a header.
    pub fn is_unknown_version(&self) -> bool {
        matches!(self, Self::UnknownVersion { .. })
    }
}

impl Header {
    /// Reads the header of a message, given the object that carries it. `None` if it has none:
    /// no `msg`, or `null`. A field that is `null` counts as missing; unknown fields are ignored.
    ///
    /// # Errors
    /// [`HeaderError`], which documents how such a message is treated.
    pub fn read(message: JsonRef<'_>) -> Result<Option<Self>, HeaderError> {
        let Some(msg) = present(message, HEADER_KEY) else {
            return Ok(None);
        };
        if !msg.is_object() {
            return Err(HeaderError::NotAnObject);
        }
        let found = msg.get("v").and_then(JsonRef::as_u64);
        if found != Some(HEADER_VERSION) {
            return Err(HeaderError::UnknownVersion { found });
        }
        Ok(Some(Self {
            id: parsed(msg, "id", HeaderError::Id)?,
            re: parsed(msg, "re", HeaderError::Re)?,
            thread: parsed(msg, "thread", HeaderError::Thread)?,
            exp: time(msg, "exp")?,
            ack: ack(msg)?,
            trail: Trail {
                hops: hops(msg)?,
                trace: Trail::read_trace(present(msg, "trace")),
            },
            key: parsed(msg, "key", HeaderError::Key)?,
        }))
    }

    /// The value to put under `msg`. Times beyond [`Timestamp::MAX_STATED`] are written as
    /// that.
    pub fn to_json(&self) -> Json {
        let text = |field: &'static str, value: Option<String>| Some((field, Json::string(value?)));
        let [hops, trace] = self.trail.fields();
        let entries = [
            Some(("v", Json::integer(HEADER_VERSION.into()))),
            text("id", self.id.map(|id| id.to_string())),
            text("re", self.re.map(|hash| hash.to_string())),
            text("thread", self.thread.as_ref().map(ToString::to_string)),
            self.exp.map(|time| ("exp", time.to_json())),
            text("ack", self.ack.map(|ack| ack.to_string())),
            hops,
            trace,
            text("key", self.key.map(|key| key.to_string())),
        ];
        Json::object(entries.into_iter().flatten())
    }

    /// Whether the message has expired ([`exp`](Self::exp)) for a receiver whose clock shows `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.exp.is_some_and(|last| now > last)
    }
}

/// The value of a field, unless it is missing or `null`.
fn present<'a>(object: JsonRef<'a>, field: &str) -> Option<JsonRef<'a>> {
    object.get(field).filter(|value| !value.is_null())
}

/// A string field, parsed as its type. Every type that is read this way bounds its length before it
/// copies.
fn parsed<T: std::str::FromStr>(
    msg: JsonRef<'_>,
    field: &'static str,
    refused: impl FnOnce(T::Err) -> HeaderError,
) -> Result<Option<T>, HeaderError> {
    let Some(value) = present(msg, field) else {
        return Ok(None);
    };
    let expected = "a string";
    let text = value
        .as_str()
        .ok_or(HeaderError::Type { field, expected })?;
    text.parse().map(Some).map_err(refused)
}

fn time(msg: JsonRef<'_>, field: &'static str) -> Result<Option<Timestamp>, HeaderError> {
    let Some(value) = present(msg, field) else {
        return Ok(None);
    };
    let expected = Timestamp::EXPECTED;
    let time = Timestamp::read(value).ok_or(HeaderError::Type { field, expected })?;
    Ok(Some(time))
}

/// A number beyond 32 bits counts as the highest with 32.
fn hops(msg: JsonRef<'_>) -> Result<u32, HeaderError> {
    let Some(value) = present(msg, "hops") else {
        return Ok(0);
    };
    let count = value.as_u64().ok_or(HeaderError::Type {
        field: "hops",
        expected: "an integer from 0 to 2⁶⁴ − 1",
    })?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

fn ack(msg: JsonRef<'_>) -> Result<Option<AckRequest>, HeaderError> {
    let Some(value) = present(msg, "ack") else {
        return Ok(None);
    };
    match value.as_str().and_then(AckRequest::from_word) {
        Some(request) => Ok(Some(request)),
        None => Err(HeaderError::Type {
            field: "ack",
            expected: "\"received\" or \"done\"",
        }),
    }
}
