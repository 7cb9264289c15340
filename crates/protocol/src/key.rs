//! Keys of the two types that wallets have: seeds, signing keys, public keys and signatures.
//!
//! | type | key | signature |
//! |---|---|---|
//! | Ed25519 (RFC 8032) | 32 bytes, 64 digits | 64 bytes, 128 digits; verified strictly |
//! | secp256k1 (SEC 2) | 33 bytes compressed, 66 digits | 65 bytes, 130 digits: ECDSA over Keccak-256, with the key recovered |
//!
//! A text says by its length which type it is.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::text::{HexFault, read_hex, serde_as_text, write_hex};

mod points;
pub(crate) mod secp256k1;

/// A type of keys.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// Ed25519 (RFC 8032).
    #[default]
    Ed25519,
    /// ECDSA on secp256k1 over Keccak-256.
    Secp256k1,
}

impl KeyType {
    /// The word for it, as in `keytype` of AITBC's keystore files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Secp256k1 => "secp256k1",
        }
    }

    /// The type for a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ed25519, Self::Secp256k1]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// Why bytes or a text are not a key, or why no key could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text has the length of no key.
    #[error("a key has 64 hexadecimal digits (ed25519) or 66 (secp256k1), not {found}")]
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
    #[error("the public key is not a point of its curve")]
    NotAPoint,
    /// The point is of small order: signatures would verify under it that no key has made.
    #[error("the public key is of small order, which verifies nothing")]
    Weak,
    /// The secret is zero, or not below the order of the group.
    #[error("the secret is not a key of secp256k1: it is zero or too large")]
    NotAScalar,
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

/// A public key: bytes that were checked to be a point of the curve.
///
/// Text and serde: 64 hexadecimal digits for Ed25519, 66 for secp256k1, written in lower case, read in
/// either. The uncompressed spelling of secp256k1 that AITBC's files have, `0x` and 128 digits, is read,
/// too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(PublicBytes);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum PublicBytes {
    Ed25519([u8; 32]),
    Secp256k1([u8; secp256k1::KEY]),
}

impl PublicKey {
    /// The Ed25519 key with these bytes.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`] and [`KeyError::Weak`].
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        points::of(&bytes).map(|_| Self(PublicBytes::Ed25519(bytes)))
    }

    /// The key with these bytes, as [`as_bytes`](Self::as_bytes) returns them: 32 for Ed25519, 33 for
    /// secp256k1.
    ///
    /// # Errors
    /// [`KeyError::Length`] (in digits), [`KeyError::NotAPoint`] and [`KeyError::Weak`].
    pub fn from_slice(bytes: &[u8]) -> Result<Self, KeyError> {
        if let Ok(bytes) = <[u8; 32]>::try_from(bytes) {
            return Self::from_bytes(bytes);
        }
        if bytes.len() == secp256k1::KEY {
            let bytes = secp256k1::read(bytes)?;
            return Ok(Self(PublicBytes::Secp256k1(bytes)));
        }
        Err(KeyError::Length {
            found: 2 * bytes.len(),
        })
    }

    /// The bytes: 32 for Ed25519, 33 for secp256k1 (compressed, SEC 1).
    pub const fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            PublicBytes::Ed25519(bytes) => bytes,
            PublicBytes::Secp256k1(bytes) => bytes,
        }
    }

    /// Its type.
    pub const fn key_type(&self) -> KeyType {
        match self.0 {
            PublicBytes::Ed25519(_) => KeyType::Ed25519,
            PublicBytes::Secp256k1(_) => KeyType::Secp256k1,
        }
    }

    /// The 64 bytes of the coordinates of a secp256k1 key, of which its address is made; `None` for
    /// another type.
    pub fn coordinates(&self) -> Option<[u8; 64]> {
        match &self.0 {
            PublicBytes::Ed25519(_) => None,
            PublicBytes::Secp256k1(bytes) => secp256k1::coordinates(bytes),
        }
    }

    /// The key as AITBC's files spell it: `0x` and 128 digits (uncompressed, without the 04 before it)
    /// for secp256k1, 64 digits for Ed25519.
    pub fn to_file_text(&self) -> String {
        match self.coordinates() {
            Some(coordinates) => format!("0x{}", hex::encode(coordinates)),
            None => self.to_string(),
        }
    }

    /// Whether the signature over the message was made with this key. Ed25519 is verified strictly
    /// (`verify_strict`): signatures that some implementations accept and others refuse are refused.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        match (&self.0, &signature.0) {
            (PublicBytes::Ed25519(key), SignatureBytes::Ed25519(signature)) => points::of(key)
                .is_ok_and(|key| {
                    let signature = ed25519_dalek::Signature::from_bytes(signature);
                    key.verify_strict(message, &signature).is_ok()
                }),
            (PublicBytes::Secp256k1(_), SignatureBytes::Secp256k1(_)) => {
                signature.recover(message) == Some(*self)
            }
            _ => false,
        }
    }

    /// Whether a signature of a JWS (RFC 7515) was made with this key: EdDSA (RFC 8037) or ES256K
    /// (RFC 8812), as [`SigningKey::sign_jws`] makes it.
    pub fn verify_jws(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        match (&self.0, algorithm) {
            (PublicBytes::Ed25519(_), EDDSA) => signature
                .try_into()
                .is_ok_and(|bytes| self.verify(message, &Signature::from_bytes(bytes))),
            (PublicBytes::Secp256k1(key), ES256K) => {
                secp256k1::verify_es256k(key, message, signature)
            }
            _ => false,
        }
    }
}

/// The algorithms of a JWS.
const EDDSA: &str = "EdDSA";
const ES256K: &str = "ES256K";

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(self.as_bytes(), formatter)
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
        match text.len() {
            66 if !text.starts_with("0x") => Self::from_slice(&read_hex::<33>(text, false)?),
            130 if text.starts_with("0x") => {
                let digits = text.get(2..).unwrap_or_default();
                let mut bytes = [4; 65];
                bytes[1..].copy_from_slice(&read_hex::<64>(digits, false)?);
                Ok(Self(PublicBytes::Secp256k1(secp256k1::read(&bytes)?)))
            }
            _ => Self::from_bytes(read_hex(text, false)?),
        }
    }
}

serde_as_text!(PublicKey, PublicKey::from_str);

/// The secret of a wallet: 32 bytes and the type of key that they are. Wiped when dropped, never shown.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Seed {
    bytes: [u8; 32],
    #[zeroize(skip)]
    key_type: KeyType,
}

impl Seed {
    /// A new seed, from the operating system's random generator.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate(key_type: KeyType) -> Result<Self, KeyError> {
        loop {
            let mut bytes = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *bytes).map_err(|_| KeyError::Random)?;
            // One in 2¹²⁸ is no key of secp256k1.
            if let Ok(seed) = Self::new(*bytes, key_type) {
                return Ok(seed);
            }
        }
    }

    /// The Ed25519 seed with these bytes. The caller has to wipe its own copy.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self {
            bytes,
            key_type: KeyType::Ed25519,
        }
    }

    /// The seed with these bytes, for a type of key. The caller has to wipe its own copy.
    ///
    /// # Errors
    /// [`KeyError::NotAScalar`]. Any bytes are an Ed25519 seed.
    pub fn new(bytes: [u8; 32], key_type: KeyType) -> Result<Self, KeyError> {
        if key_type == KeyType::Secp256k1 {
            secp256k1::signing(&bytes)?;
        }
        Ok(Self { bytes, key_type })
    }

    /// The secret itself, for encrypting or deriving from it.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The type of key.
    pub const fn key_type(&self) -> KeyType {
        self.key_type
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
pub struct SigningKey(Signing);

enum Signing {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    Secp256k1(Box<k256::ecdsa::SigningKey>),
}

impl SigningKey {
    /// The signing key of a seed.
    pub fn from_seed(seed: &Seed) -> Self {
        Self(match seed.key_type {
            KeyType::Ed25519 => {
                Signing::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(&seed.bytes)))
            }
            KeyType::Secp256k1 => {
                #[expect(clippy::expect_used, reason = "a seed was checked when it was made")]
                let key = secp256k1::signing(&seed.bytes).expect("a key of secp256k1");
                Signing::Secp256k1(Box::new(key))
            }
        })
    }

    /// The public key that verifies what this key signs.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(match &self.0 {
            Signing::Ed25519(key) => PublicBytes::Ed25519(key.verifying_key().to_bytes()),
            Signing::Secp256k1(key) => {
                PublicBytes::Secp256k1(secp256k1::compressed(key.verifying_key()))
            }
        })
    }

    /// Signs; the same message always gets the same signature.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(match &self.0 {
            Signing::Ed25519(key) => SignatureBytes::Ed25519(key.sign(message).to_bytes()),
            Signing::Secp256k1(key) => SignatureBytes::Secp256k1(secp256k1::sign(key, message)),
        })
    }

    /// The algorithm in which this key signs a JWS (RFC 7515): EdDSA (RFC 8037) or ES256K (RFC 8812).
    pub const fn jws_algorithm(&self) -> &'static str {
        match self.0 {
            Signing::Ed25519(_) => EDDSA,
            Signing::Secp256k1(_) => ES256K,
        }
    }

    /// The signature of a JWS over its signing input.
    pub fn sign_jws(&self, input: &[u8]) -> [u8; 64] {
        match &self.0 {
            Signing::Ed25519(key) => key.sign(input).to_bytes(),
            Signing::Secp256k1(key) => secp256k1::sign_es256k(key, input),
        }
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
    /// The text has the length of no signature.
    #[error("a signature has 128 hexadecimal digits (ed25519) or 130 (secp256k1), not {found}")]
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
    /// Its last byte is neither 0 nor 1, or its s is the higher one of the two that verify: another
    /// spelling of the same signature.
    #[error("a secp256k1 signature ends with 00 or 01, and has the lower s")]
    Spelling,
}

/// A signature. As text it is exactly 128 (Ed25519) or 130 (secp256k1) lower-case hexadecimal digits: a
/// node hashes the signature's spelling, so any other spelling would make a second transaction of the
/// same message.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(SignatureBytes);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum SignatureBytes {
    Ed25519([u8; 64]),
    Secp256k1([u8; secp256k1::SIGNATURE]),
}

impl Signature {
    /// The Ed25519 signature with these bytes. It is not verified: [`PublicKey::verify`] does that.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(SignatureBytes::Ed25519(bytes))
    }

    /// The secp256k1 signature with these bytes: r, s, and the recovery id. It is not verified.
    ///
    /// # Errors
    /// [`SignatureError::Spelling`].
    pub fn from_recoverable(bytes: [u8; 65]) -> Result<Self, SignatureError> {
        if bytes[64] > 1 || !secp256k1::is_low(&bytes) {
            return Err(SignatureError::Spelling);
        }
        Ok(Self(SignatureBytes::Secp256k1(bytes)))
    }

    /// The bytes: 64 for Ed25519, 65 for secp256k1.
    pub const fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            SignatureBytes::Ed25519(bytes) => bytes,
            SignatureBytes::Secp256k1(bytes) => bytes,
        }
    }

    /// The key that signed a hash as it is, without hashing it again, as proposers of August 2026 sign the
    /// hashes of blocks; in any spelling that [`recover_any`](Self::recover_any) reads.
    pub fn recover_hash(hash: &[u8; 32], spelled: &str) -> Option<PublicKey> {
        let key = secp256k1::recover_hash(hash, &read_lenient(spelled)?)?;
        Some(PublicKey(PublicBytes::Secp256k1(key)))
    }

    /// The type of the key that made it.
    pub const fn key_type(&self) -> KeyType {
        match self.0 {
            SignatureBytes::Ed25519(_) => KeyType::Ed25519,
            SignatureBytes::Secp256k1(_) => KeyType::Secp256k1,
        }
    }

    /// The key that made it over this message, if it is of secp256k1: of the other type, none follows
    /// from a signature.
    pub fn recover(&self, message: &[u8]) -> Option<PublicKey> {
        match &self.0 {
            SignatureBytes::Ed25519(_) => None,
            SignatureBytes::Secp256k1(bytes) => recover(message, bytes),
        }
    }

    /// [`recover`](Self::recover), of a signature in any of the spellings that AITBC's nodes of August
    /// 2026 accept: digits in either case, `0x` before them or not, recovery ids from 0 or from 27, either
    /// s.
    pub fn recover_any(message: &[u8], spelled: &str) -> Option<PublicKey> {
        recover(message, &read_lenient(spelled)?)
    }
}

/// Reads a signature as nodes of August 2026 do.
fn read_lenient(spelled: &str) -> Option<[u8; secp256k1::SIGNATURE]> {
    let digits = spelled.strip_prefix("0x").unwrap_or(spelled);
    let mut bytes = read_hex::<{ secp256k1::SIGNATURE }>(digits, false).ok()?;
    if bytes[64] >= 27 {
        bytes[64] -= 27;
    }
    Some(bytes)
}

fn recover(message: &[u8], bytes: &[u8; secp256k1::SIGNATURE]) -> Option<PublicKey> {
    secp256k1::recover(message, bytes).map(|key| PublicKey(PublicBytes::Secp256k1(key)))
}

impl fmt::Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(self.as_bytes(), formatter)
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
        let refused = |fault| match fault {
            HexFault::Length { found } => SignatureError::Length { found },
            HexFault::Uppercase { position } => SignatureError::Uppercase { position },
            HexFault::Character { found, position } => {
                SignatureError::Character { found, position }
            }
        };
        if text.len() == 2 * secp256k1::SIGNATURE && !text.starts_with("0x") {
            return Self::from_recoverable(read_hex(text, true).map_err(refused)?);
        }
        read_hex(text, true).map(Self::from_bytes).map_err(refused)
    }
}

serde_as_text!(Signature, Signature::from_str);

/// Reads a seed that is written as 64 hexadecimal digits, perhaps behind `0x`, without leaving a copy
/// behind.
pub(crate) fn read_seed_hex(digits: &[u8], key_type: KeyType) -> Option<Seed> {
    let text = std::str::from_utf8(digits).ok()?;
    let text = text.strip_prefix("0x").unwrap_or(text);
    let bytes = Zeroizing::new(read_hex::<32>(text, false).ok()?);
    Seed::new(*bytes, key_type).ok()
}
