//! A complete message, payload and header, read and written.

use std::fmt;

use crate::authenticity::Authenticity;
use crate::hash::{MessageDigest, TransactionHash};
use crate::header::{AckRequest, HEADER_KEY, Header, HeaderError, MessageId, Trail};
use crate::json::{Json, JsonRef};
use crate::payload::{Command, Payload};

/// The largest payload, in bytes of its compact JSON. A transaction over 1 MB stays pending
/// forever; the rest is room for its other keys, and for the escapes that differ from node to node.
pub const MAX_PAYLOAD_BYTES: usize = 900_000;

/// The `cmd` of an acknowledgment, which is never acknowledged itself.
const ACK: &str = "ACK";

/// A received message: its payload and its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Its payload. A command's body still holds `msg`.
    pub payload: Payload,
    /// Its header, if it has one that can be read. An opaque payload has none.
    pub header: Result<Option<Header>, HeaderError>,
}

impl Envelope {
    /// Reads the payload of a transaction. It never fails: a payload that fits nothing else is
    /// opaque.
    pub fn read(payload: &Json) -> Self {
        let read = Payload::read(payload);
        let header = match &read {
            Payload::Command(command) => Header::read(command.body.root()),
            // None for a string: only a text sent as an object has a header.
            Payload::Text(_) => Header::read(payload.root()),
            Payload::Opaque(_) => Ok(None),
        };
        Self {
            payload: read,
            header,
        }
    }

    /// The header, if there is one that can be read.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref().ok()?.as_ref()
    }

    /// Why the header cannot be read; see [`HeaderError`] for how the message is treated then.
    pub fn header_error(&self) -> Option<&HeaderError> {
        self.header.as_ref().err()
    }

    /// The identity of the message, by which it is acted on once: its id, if its sender is
    /// verified; else its digest. The id of an unverified message is not used: anyone could write
    /// it to make another message look like a repetition.
    pub fn identity(&self, digest: MessageDigest, authenticity: Authenticity) -> Identity {
        match self.header().and_then(|header| header.id) {
            Some(id) if authenticity == Authenticity::Verified => Identity::Id(id),
            _ => Identity::Digest(digest),
        }
    }

    /// The acknowledgment that is due: the requested one, but none for an acknowledgment.
    pub fn ack_due(&self) -> Option<AckRequest> {
        match &self.payload {
            Payload::Command(command) if command.cmd == ACK => None,
            _ => self.header()?.ack,
        }
    }

    /// What the message follows from.
    pub fn trail(&self) -> Trail {
        self.header().map(|header| header.trail).unwrap_or_default()
    }

    /// The header of an answer to this message, which came in `transaction`. None for a text that
    /// answers a text without a header, so that plain clients get plain text back; every other
    /// answer has one, with `re` and the same thread. The caller adds the id, the key and the rest.
    pub fn answer_header(&self, transaction: TransactionHash, answer: &Payload) -> Option<Header> {
        let plain = matches!(self.payload, Payload::Text(_)) && self.header == Ok(None);
        if plain && matches!(answer, Payload::Text(_)) {
            return None;
        }
        Some(Header {
            re: Some(transaction),
            thread: self.header().and_then(|header| header.thread.clone()),
            trail: self.trail().next(),
            ..Header::default()
        })
    }
}

/// The identity of a message of one sender to one recipient.
///
/// Text: a UUID for an id, 64 hexadecimal digits for a digest; the two cannot be confused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// The id given by its sender.
    Id(MessageId),
    /// The SHA-256 of its signing text: it stays the same if the message is respelled or replayed.
    Digest(MessageDigest),
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => fmt::Display::fmt(id, formatter),
            Self::Digest(digest) => fmt::Display::fmt(digest, formatter),
        }
    }
}

/// Why something cannot be sent as a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// It is neither a command nor a text.
    #[error("only a command or a text can be sent with or without a header")]
    NotAMessage,
    /// The body of a command is not an object with that `cmd`, or has a key twice, so that its
    /// receiver would read something else.
    #[error(
        "the body of a command has to be an object whose \"cmd\" is its name, with no key twice"
    )]
    NotACommand,
    /// The payload does not fit in a transaction.
    #[error(
        "the message has {bytes} bytes as json, over the limit of {MAX_PAYLOAD_BYTES}: send less"
    )]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
}

/// Writes a message as the payload of a transaction: a text without a header as a plain string, a
/// text with one as an object, a command as a string that holds JSON. The header replaces any `msg`
/// in a command's body; without a header that `msg` is left out. [`Envelope::read`] reads the same
/// message back.
///
/// # Errors
/// [`ComposeError`].
pub fn compose(payload: &Payload, header: Option<&Header>) -> Result<Json, ComposeError> {
    let written = match payload {
        Payload::Text(text) => write_text(text, header),
        Payload::Command(command) => Json::string(write_command(command, header)?),
        Payload::Opaque(_) => return Err(ComposeError::NotAMessage),
    };
    let bytes = written.to_compact().len();
    if bytes > MAX_PAYLOAD_BYTES {
        return Err(ComposeError::TooLarge { bytes });
    }
    Ok(written)
}

fn write_text(text: &str, header: Option<&Header>) -> Json {
    let string = Json::string(text);
    let Some(header) = header else {
        // A text that a reader would take for a command has to be sent in an object.
        return match Payload::read(&string) {
            Payload::Text(_) => string,
            Payload::Command(_) | Payload::Opaque(_) => Json::object([("text", string)]),
        };
    };
    Json::object([("text", string), (HEADER_KEY, header.to_json())])
}

fn write_command(command: &Command, header: Option<&Header>) -> Result<String, ComposeError> {
    let root = command.body.root();
    let named = root.get("cmd").and_then(JsonRef::as_str);
    if named != Some(command.cmd.as_str()) || command.body.has_duplicate_keys() {
        return Err(ComposeError::NotACommand);
    }
    let parameters = root
        .entries()
        .filter(|(key, _)| *key != HEADER_KEY)
        .map(|(key, value)| (key, value.to_json()));
    let header = header.map(|header| (HEADER_KEY, header.to_json()));
    Ok(Json::object(parameters.chain(header)).to_compact())
}
