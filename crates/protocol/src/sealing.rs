//! Sealing: messages that only their recipient can read.
//!
//! HPKE (RFC 9180) in base mode, with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM.
//! The library's own tests pass the RFC's vectors for this suite; the one of `test-vectors.json`
//! for its base mode is in this crate's tests too.
//!
//! A command or a text can be sealed. Its header stays outside, readable by all: sender, recipient,
//! thread, size and time are public. The transaction that carries it is bound to it as associated
//! data, so the same ciphertext posted again by another sender, to another recipient, or on another
//! chain does not open.
//!
//! **Limits.** HPKE's base mode proves no sender: the transaction's signature does, so [`open`]
//! refuses a message that is not verified. The recipient's key is static, so there is no forward
//! secrecy: anyone who obtains an agent's seed can read everything that was ever sealed to it, and
//! the chain keeps it forever. The length of a message is visible.
//!
//! ```
//! use agentry_protocol::{Authenticity, Address, KeyType, Payload, Seed};
//! use agentry_protocol::sealing::{Binding, DecryptionKey, open, seal};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (alice, bob) = (Seed::generate(KeyType::Ed25519)?, Seed::generate(KeyType::Ed25519)?);
//! let from = Address::from_public_key(&alice.public_key());
//! let to = Address::from_public_key(&bob.public_key());
//! let key = DecryptionKey::from_seed(&bob);
//! let binding = Binding { chain_id: "ait-devnet", from: &from, to: &to };
//!
//! let secret = Payload::Text("meet me at block 4711".into());
//! let sealed = seal(&secret, &key.encryption_key(), binding)?;
//! assert_eq!(open(&sealed, &key, binding, Authenticity::Verified)?, secret);
//! # Ok(())
//! # }
//! ```

use zeroize::Zeroizing;

use crate::address::Address;
use crate::authenticity::Authenticity;
use crate::command::Sealed;
use crate::crypto;
use crate::header::HEADER_KEY;
use crate::json::{Field, Json, Limits, Style, write_object};
use crate::payload::Payload;
use crate::transaction::StoredTransaction;

mod key;
mod suite;
#[cfg(test)]
mod tests;

pub use crate::command::{PLAINTEXT_MAX, SUITE};
pub use key::{DecryptionKey, EncryptionKey};

/// HPKE's `info`, which separates agentry's use of HPKE from every other.
const INFO: &[u8] = b"agentry/1 sealed";

/// The `cmd` of a sealed message, which is not sealed again.
const SEALED: &str = "SEALED";

/// The transaction that a sealed message is bound to: its `chain_id`, `from` and `to`, as they are
/// spelled in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The chain.
    pub chain_id: &'a str,
    /// The sender.
    pub from: &'a Address,
    /// The recipient. Of the two forms of an address, the one that the transaction uses.
    pub to: &'a Address,
}

impl<'a> From<&'a StoredTransaction> for Binding<'a> {
    fn from(transaction: &'a StoredTransaction) -> Self {
        Self {
            chain_id: &transaction.chain_id,
            from: &transaction.from,
            to: &transaction.to,
        }
    }
}

impl Binding<'_> {
    /// The associated data: the compact canonical JSON of the three.
    fn to_text(self) -> String {
        write_object(
            Style::Compact,
            &[
                ("chain_id", Field::Text(self.chain_id)),
                ("from", Field::Text(self.from.as_str())),
                ("to", Field::Text(self.to.as_str())),
            ],
        )
    }
}

/// Why a content cannot be in a sealed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentFault {
    /// It is neither a command nor a text in an object.
    #[error("it is neither a command nor a text")]
    NotAMessage,
    /// It has a header, which belongs outside.
    #[error("it holds a header (\"msg\"), which belongs outside")]
    HasHeader,
    /// It is sealed itself.
    #[error("it is a SEALED message itself")]
    Nested,
}

/// Why a message cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It is of a kind that is not sealed.
    #[error("this message cannot be sealed: {0}")]
    Content(#[from] ContentFault),
    /// It is too long.
    #[error("a message of {bytes} bytes cannot be sealed; the limit is {PLAINTEXT_MAX}: send less")]
    TooLarge {
        /// Its length, in bytes of its compact JSON.
        bytes: usize,
    },
    /// The recipient's key is of small order: anyone could read a message sealed with it.
    #[error("the recipient's encryption key is of small order, which keeps no secret")]
    WeakKey,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes to seal a message with")]
    Random,
}

/// Why a sealed message is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its sender is not verified, so nothing about it is.
    #[error("a sealed message is opened only if it is verified, and this one is {}", .0.as_str())]
    NotVerified(Authenticity),
    /// The ciphertext does not open: it was sealed with another key, or for a transaction from or
    /// to another address or on another chain, or something in it was changed. These cases cannot
    /// be distinguished.
    #[error(
        "the sealed message does not open: it was sealed to another key, bound to another \
         sender, recipient or chain, or changed"
    )]
    DoesNotOpen,
    /// It opens, but its content cannot be in a sealed message.
    #[error("the sealed message opens, but {0}")]
    Content(#[from] ContentFault),
}

/// Seals a command or a text, without header, to a key, for a transaction.
///
/// # Errors
/// [`SealError`].
pub fn seal(
    message: &Payload,
    recipient: &EncryptionKey,
    binding: Binding<'_>,
) -> Result<Sealed, SealError> {
    let random = crypto::random().map_err(|_| SealError::Random)?;
    seal_with(message, recipient, binding, &Zeroizing::new(random))
}

/// [`seal`] with the ephemeral key from these bytes, which must be new and random each time.
fn seal_with(
    message: &Payload,
    recipient: &EncryptionKey,
    binding: Binding<'_>,
    ephemeral: &suite::Ephemeral,
) -> Result<Sealed, SealError> {
    let plaintext = match message {
        Payload::Text(text) => Json::object([("text", Json::string(text.as_str()))]),
        Payload::Command(command) => command.body.clone(),
        Payload::Opaque(_) => return Err(ContentFault::NotAMessage.into()),
    };
    check_content(&plaintext, &Payload::read(&plaintext))?;
    let plaintext = Zeroizing::new(plaintext.to_compact());
    let bytes = plaintext.len();
    if bytes > PLAINTEXT_MAX {
        return Err(SealError::TooLarge { bytes });
    }
    let associated = binding.to_text();
    let (enc, ct) = suite::seal(
        recipient,
        INFO,
        associated.as_bytes(),
        plaintext.as_bytes(),
        ephemeral,
    )
    .map_err(|_| SealError::WeakKey)?;
    Sealed::new(enc, ct).map_err(|_| SealError::TooLarge { bytes })
}

/// Opens a sealed message that came in a transaction with the given `authenticity`. Its content is
/// a command or a text; its header is that of the SEALED message.
///
/// # Errors
/// [`OpenError`].
pub fn open(
    sealed: &Sealed,
    key: &DecryptionKey,
    binding: Binding<'_>,
    authenticity: Authenticity,
) -> Result<Payload, OpenError> {
    if authenticity != Authenticity::Verified {
        return Err(OpenError::NotVerified(authenticity));
    }
    let associated = binding.to_text();
    let plaintext = suite::open(
        key,
        INFO,
        associated.as_bytes(),
        sealed.encapsulated_key(),
        sealed.ciphertext(),
    )
    .map_err(|_| OpenError::DoesNotOpen)?;
    let limits = Limits {
        max_bytes: PLAINTEXT_MAX,
        // Bounded by the bytes; nothing here recurses.
        max_depth: usize::MAX,
    };
    let plaintext =
        Json::parse(&plaintext, limits).map_err(|_| OpenError::from(ContentFault::NotAMessage))?;
    let message = Payload::read(&plaintext);
    check_content(&plaintext, &message)?;
    Ok(message)
}

/// Checks that an object is a command or a text, without header, and not sealed itself.
fn check_content(plaintext: &Json, message: &Payload) -> Result<(), ContentFault> {
    let sealed = match message {
        _ if !plaintext.root().is_object() => return Err(ContentFault::NotAMessage),
        Payload::Opaque(_) => return Err(ContentFault::NotAMessage),
        Payload::Command(command) => command.cmd == SEALED,
        Payload::Text(_) => false,
    };
    if sealed {
        return Err(ContentFault::Nested);
    }
    if plaintext.root().get(HEADER_KEY).is_some() {
        return Err(ContentFault::HasHeader);
    }
    Ok(())
}
