//! The two keys of sealing: a public one to seal with, and a private one to open with.

use std::fmt;
use std::str::FromStr;

use hkdf::Hkdf;
use hpke::{Deserializable as _, Kem as _, Serializable as _};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::suite::Kem;
use crate::key::{KeyError, Seed};
use crate::text::{read_hex, serde_as_text, write_hex};

/// The HKDF info that separates the X25519 key from everything else that may be derived from a
/// seed.
const DERIVATION_INFO: &[u8] = b"agentry/1 x25519";

/// The X25519 public key (RFC 7748) that messages to an agent are sealed with: `enc_key` of its
/// card.
///
/// Any 32 bytes are a key. The few that give no secret are refused when something is sealed with
/// them. Text and serde: 64 hexadecimal digits, written in lower case, read in either.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncryptionKey([u8; 32]);

impl EncryptionKey {
    /// The key with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for EncryptionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, formatter)
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EncryptionKey({self})")
    }
}

impl FromStr for EncryptionKey {
    type Err = KeyError;

    /// # Errors
    /// [`KeyError::Length`] and [`KeyError::Character`].
    fn from_str(text: &str) -> Result<Self, KeyError> {
        Ok(Self(read_hex(text, false)?))
    }
}

serde_as_text!(EncryptionKey, Self::from_str);

/// The X25519 private key that opens messages sealed to an agent. Wiped when dropped, never shown.
///
/// It is derived from the agent's seed, so one keystore file serves for both keys. It differs from
/// the signing key, so a flaw in one use cannot affect the other.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DecryptionKey([u8; 32]);

impl DecryptionKey {
    /// The key of an agent: 32 bytes of HKDF-SHA256 (RFC 5869) over its seed, with an empty salt
    /// and the info `agentry/1 x25519`.
    pub fn from_seed(seed: &Seed) -> Self {
        let mut key = Self([0; 32]);
        #[expect(
            clippy::expect_used,
            reason = "32 bytes are far below the 8160 of HKDF-SHA256"
        )]
        Hkdf::<Sha256>::new(None, seed.expose())
            .expand(DERIVATION_INFO, &mut key.0)
            .expect("HKDF gives 32 bytes");
        key
    }

    /// The key with these bytes. The caller has to wipe its own copy.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public key that belongs to it.
    pub fn encryption_key(&self) -> EncryptionKey {
        EncryptionKey(Kem::sk_to_pk(&self.to_hpke()).to_bytes().into())
    }

    pub(super) fn to_hpke(&self) -> <Kem as hpke::Kem>::PrivateKey {
        let bytes = Zeroizing::new(self.0);
        #[expect(clippy::expect_used, reason = "any 32 bytes are an X25519 private key")]
        <Kem as hpke::Kem>::PrivateKey::from_bytes(&*bytes).expect("a private key has 32 bytes")
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DecryptionKey(..)")
    }
}
