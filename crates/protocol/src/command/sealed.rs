//! SEALED, in its form on the chain; [`sealing`](crate::sealing) makes and opens it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::{CommandError, CommandFault};
use super::field::{Entries, Fields, string};

/// The one suite that is used: X25519, HKDF-SHA256 and AES-256-GCM.
pub const SUITE: &str = "X25519-SHA256-AES256GCM";

/// Longest message that is sealed, in bytes of its compact JSON. In base64url it is a third longer,
/// and then, with its header, nearly fills a transaction.
pub const PLAINTEXT_MAX: usize = 640 << 10;

/// Length of the tag at the end of a ciphertext (AES-GCM).
const TAG: usize = 16;

/// The parameters of SEALED: a message that only its recipient can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    enc: [u8; 32],
    ct: Box<[u8]>,
}

impl Sealed {
    /// Combines an encapsulated key and a ciphertext with its tag.
    ///
    /// # Errors
    /// [`CommandFault::Length`] if the ciphertext is shorter than a tag, or longer than that of
    /// the longest plaintext.
    pub fn new(enc: [u8; 32], ct: Vec<u8>) -> Result<Self, CommandFault> {
        if !(TAG..=PLAINTEXT_MAX + TAG).contains(&ct.len()) {
            return Err(CommandFault::Length {
                found: ct.len(),
                expected: "16 to 655376",
            });
        }
        Ok(Self { enc, ct: ct.into() })
    }

    /// The encapsulated key: an ephemeral X25519 public key.
    pub const fn encapsulated_key(&self) -> &[u8; 32] {
        &self.enc
    }

    /// The ciphertext and its tag.
    pub const fn ciphertext(&self) -> &[u8] {
        &self.ct
    }

    pub(super) fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        fields.required("suite", |value| match string(value)? {
            SUITE => Ok(()),
            _ => Err(CommandFault::Word { expected: SUITE }),
        })?;
        let enc = fields.required("enc", |value| {
            let bytes = decode(string(value)?, 32)?;
            let found = bytes.len();
            bytes.try_into().map_err(|_| CommandFault::Length {
                found,
                expected: "32",
            })
        })?;
        fields.required("ct", |value| {
            Self::new(enc, decode(string(value)?, PLAINTEXT_MAX + TAG)?)
        })
    }

    pub(super) fn write(&self, entries: &mut Entries) {
        entries.text("suite", &SUITE);
        entries.text("enc", &URL_SAFE_NO_PAD.encode(self.enc));
        entries.text("ct", &URL_SAFE_NO_PAD.encode(&self.ct));
    }
}

/// Decodes base64url (RFC 4648) without padding, and accepts only the canonical spelling. A text
/// for more than `limit` bytes is refused before it is decoded.
fn decode(text: &str, limit: usize) -> Result<Vec<u8>, CommandFault> {
    let longest = limit.div_ceil(3) * 4;
    if text.len() > longest {
        return Err(CommandFault::TooLarge {
            found: text.len(),
            limit: longest,
        });
    }
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| CommandFault::Base64)
}
