//! Ed25519 (RFC 8032): seeds, signing keys, public keys and signatures.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::text::{HexFault, read_hex, serde_as_text, write_hex};

/// Why bytes or a text are not a key, or why no key could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text does not have 64 digits.
    #[error("a key has 64 hexadecimal digits, not {found}")]
    Length {
        /// How many characters it has.
        found: usize,
    },
    /// A character is not a hexadecimal digit.
    #[error("digit {position} of a key is {found:?}, which is not a hexadecimal digit")]
    Character {
        /// The character.
        found: char,
        /// Its position, from 1.
        position: usize,
    },
    /// The bytes do not encode a point of the curve, or not in the one way that RFC 8032 allows.
    #[error("the public key is not a point of the ed25519 curve")]
    NotAPoint,
    /// The point is of small order: signatures would verify under it that no key has made.
    #[error("the public key is of small order, which verifies nothing")]
    Weak,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes for a key")]
    Random,
}

impl From<HexFault> for KeyError {
    fn from(fault: HexFault) -> Self {
        match fault {
            HexFault::Length { found } => Self::Length { found },
            HexFault::Character { found, position } => Self::Character { found, position },
            // Keys are accepted in either case.
            HexFault::Uppercase { position } => Self::Character {
                found: '?',
                position,
            },
        }
    }
}

/// An Ed25519 public key: 32 bytes that were checked to be a point of the curve.
///
/// Text and serde: 64 hexadecimal digits, written in lower case, read in either.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key with these bytes.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`] and [`KeyError::Weak`].
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        points::of(&bytes).map(|_| Self(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the signature over the message was made with this key, verified strictly
    /// (`verify_strict`): signatures that some implementations accept and others refuse are
    /// refused.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        points::of(&self.0).is_ok_and(|key| {
            let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
            key.verify_strict(message, &signature).is_ok()
        })
    }
}

/// The points of the keys that were used last. To find the point of a key costs a fifth of a
/// verification, and the key of a message is read several times before the message is answered.
mod points {
    use std::sync::{Mutex, PoisonError};

    use ed25519_dalek::VerifyingKey;

    use super::KeyError;

    /// How many locks share the points, so that threads seldom wait for each other.
    const LOCKS: usize = 16;

    /// How many points are kept under each lock, of about 200 bytes each.
    const KEPT: usize = 256;

    /// The points, each at the place that its key determines.
    static KNOWN: [Mutex<Vec<Option<VerifyingKey>>>; LOCKS] =
        [const { Mutex::new(Vec::new()) }; LOCKS];

    /// The point of a key, checked.
    pub(super) fn of(bytes: &[u8; 32]) -> Result<VerifyingKey, KeyError> {
        let [first, second, ..] = *bytes;
        let known = KNOWN.get(usize::from(first) % LOCKS);
        let place = usize::from(second) % KEPT;
        let lock = || known.map(|known| known.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(known) = lock()
            && let Some(Some(point)) = known.get(place)
            && point.as_bytes() == bytes
        {
            return Ok(*point);
        }
        let point = checked(bytes)?;
        if let Some(mut known) = lock() {
            known.resize(KEPT, None);
            if let Some(kept) = known.get_mut(place) {
                *kept = Some(point);
            }
        }
        Ok(point)
    }

    fn checked(bytes: &[u8; 32]) -> Result<VerifyingKey, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        // dalek also decodes a y beyond the field's prime; no key is written that way.
        if key.to_edwards().compress().to_bytes() != *bytes {
            return Err(KeyError::NotAPoint);
        }
        Ok(key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, formatter)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(read_hex(text, false)?)
    }
}

serde_as_text!(PublicKey, PublicKey::from_str);

/// The secret of a wallet: 32 bytes, wiped when dropped, never shown.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl Seed {
    /// A new seed, from the operating system's random generator.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Self([0; 32]);
        getrandom::fill(&mut seed.0).map_err(|_| KeyError::Random)?;
        Ok(seed)
    }

    /// The seed with these bytes. The caller has to wipe its own copy.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret itself, for encrypting or deriving from it.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public key that belongs to it.
    pub fn public_key(&self) -> PublicKey {
        SigningKey::from_seed(self).public_key()
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Seed(..)")
    }
}

/// A key that signs. Wiped when dropped, never shown.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The signing key of a seed.
    pub fn from_seed(seed: &Seed) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&seed.0))
    }

    /// The public key that verifies what this key signs.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs; the same message always gets the same signature.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey(.., {})", self.public_key())
    }
}

/// Why a text is not an accepted signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The text does not have 128 digits.
    #[error("a signature has 128 hexadecimal digits, not {found}")]
    Length {
        /// How many characters it has.
        found: usize,
    },
    /// A digit is in upper case: in that spelling the same signature would make another
    /// transaction.
    #[error("digit {position} of a signature is in upper case; only lower case is accepted")]
    Uppercase {
        /// Its position, from 1.
        position: usize,
    },
    /// A character is not a hexadecimal digit.
    #[error("digit {position} of a signature is {found:?}, which is not a hexadecimal digit")]
    Character {
        /// The character.
        found: char,
        /// Its position, from 1.
        position: usize,
    },
}

/// An Ed25519 signature. As text it is exactly 128 lower-case hexadecimal digits: a node hashes the
/// signature's spelling, so any other spelling would make a second transaction of the same message.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; 64]);

impl Signature {
    /// The signature with these bytes. It is not verified: [`PublicKey::verify`] does that.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, formatter)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signature({self})")
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        read_hex(text, true).map(Self).map_err(|fault| match fault {
            HexFault::Length { found } => SignatureError::Length { found },
            HexFault::Uppercase { position } => SignatureError::Uppercase { position },
            HexFault::Character { found, position } => {
                SignatureError::Character { found, position }
            }
        })
    }
}

serde_as_text!(Signature, Signature::from_str);

/// Reads a seed that is written as 64 hexadecimal digits, without leaving a copy behind.
pub(crate) fn read_seed_hex(digits: &[u8]) -> Option<Seed> {
    let text = std::str::from_utf8(digits).ok()?;
    let bytes = Zeroizing::new(read_hex::<32>(text, false).ok()?);
    Some(Seed::from_bytes(*bytes))
}
