//! The header of a message: what it says of itself, under the reserved key `msg`.
//!
//! Readers who know nothing of it still see `cmd` and its parameters, or the text.

use std::fmt;

use crate::bounded::{BoundError, Word};
use crate::hash::{HashError, TransactionHash};
use crate::json::{Json, JsonRef};
use crate::key::{KeyError, PublicKey};

mod id;

pub use id::{MAX_ID_AGE_MS, MAX_ID_AHEAD_MS, MessageId, MessageIdError};

/// The version of the header that is written, and the only one that is read.
pub const HEADER_VERSION: u64 = 1;

/// The reserved key.
pub const HEADER_KEY: &str = "msg";

/// Longest name of a conversation, in bytes: two UUIDs and as much again. It stands in an index
/// of every store that sees it.
pub const THREAD_MAX: usize = 128;

/// Latest time that a message may state, in milliseconds since the epoch: the end of the year
/// 9999, the last with four digits. So every time fits an `i64` and every calendar.
pub const MAX_TIME_MS: u64 = 253_402_300_799_999;

/// What groups a conversation: 1 to 128 printable ASCII characters.
pub type Thread = Word<THREAD_MAX>;

/// What acknowledgment the sender asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AckRequest {
    /// That the message has arrived.
    Received,
    /// That it has arrived, and what became of it.
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

    /// What a word asks for.
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

/// What a message says of itself. Every field may be missing.
///
/// None of it is proven before the message's signature is: see
/// [`authenticity`](crate::authenticity).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Header {
    /// The message's own id: a receiver acts on it once, in however many transactions it comes.
    pub id: Option<MessageId>,
    /// The transaction that this answers. Any that carried the answered id counts.
    pub re: Option<TransactionHash>,
    /// The conversation that it belongs to; an answer carries it on.
    pub thread: Option<Thread>,
    /// When it stops to count, in milliseconds since the epoch, at most [`MAX_TIME_MS`].
    pub exp: Option<u64>,
    /// What acknowledgment is asked for.
    pub ack: Option<AckRequest>,
    /// The sender's public key. Whether it belongs to `from` is not checked here.
    pub key: Option<PublicKey>,
}

/// Why what stands under `msg` is no header that this version reads.
///
/// Such a message counts as one without a header, so it is identified by its digest. Where the
/// version is unknown ([`HeaderError::is_unknown_version`]) it may be acted on as by any reader
/// who knows nothing of headers. Where a known field is broken, what the sender demands (until
/// when to act, what to do only once) cannot be known: the message is delivered and, like an
/// opaque one, acted on by nothing built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It is no object.
    #[error("the header \"msg\" is not an object")]
    NotAnObject,
    /// `v` is not 1.
    #[error("the header \"msg\" has no version that is known here (\"v\" is not 1)")]
    UnknownVersion {
        /// What it is, if it is an integer from 0 to 2⁶⁴ − 1.
        found: Option<u64>,
    },
    /// The value of a field is of another type.
    #[error("the header's {field:?} is not {expected}")]
    Type {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// `id` is none.
    #[error("the header's \"id\" is none: {0}")]
    Id(MessageIdError),
    /// `re` is no transaction hash.
    #[error("the header's \"re\" names no transaction: {0}")]
    Re(HashError),
    /// `thread` is out of bounds.
    #[error("the header's \"thread\" is none: {0}")]
    Thread(BoundError),
    /// `key` is no public key.
    #[error("the header's \"key\" is none: {0}")]
    Key(KeyError),
}

impl HeaderError {
    /// Whether only the version is unknown, so that the message may mean something to a later
    /// reader and counts here as one without a header.
    pub fn is_unknown_version(&self) -> bool {
        matches!(self, Self::UnknownVersion { .. })
    }
}

impl Header {
    /// Reads the header of a message, given the object that carries it. `None` if it has none:
    /// no `msg`, or `null`. A field that is `null` counts as missing; unknown fields are ignored.
    ///
    /// # Errors
    /// [`HeaderError`], which says what such a message means.
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
            key: parsed(msg, "key", HeaderError::Key)?,
        }))
    }

    /// The value to put under `msg`. Times beyond [`MAX_TIME_MS`] are written as that.
    pub fn to_json(&self) -> Json {
        let text = |field: &'static str, value: Option<String>| Some((field, Json::string(value?)));
        let entries = [
            Some(("v", Json::integer(HEADER_VERSION.into()))),
            text("id", self.id.map(|id| id.to_string())),
            text("re", self.re.map(|hash| hash.to_string())),
            text("thread", self.thread.as_ref().map(ToString::to_string)),
            self.exp
                .map(|time| ("exp", Json::integer(time.min(MAX_TIME_MS).into()))),
            text("ack", self.ack.map(|ack| ack.to_string())),
            text("key", self.key.map(|key| key.to_string())),
        ];
        Json::object(entries.into_iter().flatten())
    }

    /// Whether a receiver whose clock shows `now_ms` is past [`exp`](Self::exp) and does not act.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.exp.is_some_and(|last| now_ms > last)
    }
}

/// The value of a field, unless it is missing or `null`.
fn present<'a>(object: JsonRef<'a>, field: &str) -> Option<JsonRef<'a>> {
    object.get(field).filter(|value| !value.is_null())
}

/// A string field, read as what it should be. Every type that is read so bounds its length
/// before it copies.
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

fn time(msg: JsonRef<'_>, field: &'static str) -> Result<Option<u64>, HeaderError> {
    let Some(value) = present(msg, field) else {
        return Ok(None);
    };
    let expected = "an integer of milliseconds from 1970 to 9999";
    match value.as_u64() {
        Some(time) if time <= MAX_TIME_MS => Ok(Some(time)),
        _ => Err(HeaderError::Type { field, expected }),
    }
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
