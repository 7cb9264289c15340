//! HPKE (RFC 9180) in base mode, in the one suite that is used.

use std::convert::Infallible;

use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable as _, HpkeError, OpModeR, OpModeS, Serializable as _};
use zeroize::Zeroizing;

use super::key::{DecryptionKey, EncryptionKey};

/// DHKEM(X25519, HKDF-SHA256), 0x0020.
pub(super) type Kem = hpke::kem::X25519HkdfSha256;
/// HKDF-SHA256, 0x0001.
type Kdf = hpke::kdf::HkdfSha256;
/// AES-256-GCM, 0x0002.
type Aead = hpke::aead::AesGcm256;

/// The random bytes of one sealing: the input keying material of the ephemeral key (`ikmE`).
pub(super) type Ephemeral = Zeroizing<[u8; 32]>;

/// Encrypts one text to a key. `ephemeral` must be new and random each time.
///
/// # Errors
/// The key gives no secret (it is of small order).
pub(super) fn seal(
    recipient: &EncryptionKey,
    info: &[u8],
    associated: &[u8],
    plaintext: &[u8],
    ephemeral: &Ephemeral,
) -> Result<([u8; 32], Vec<u8>), HpkeError> {
    let recipient = <Kem as hpke::Kem>::PublicKey::from_bytes(recipient.as_bytes())?;
    let mut source = Once {
        bytes: Some(ephemeral),
        misused: false,
    };
    let (encapsulated, mut context) = hpke::setup_sender_with_rng::<Aead, Kdf, Kem>(
        &OpModeS::Base,
        &recipient,
        info,
        &mut source,
    )?;
    if source.misused || source.bytes.is_some() {
        return Err(HpkeError::EncapError);
    }
    let ciphertext = context.seal(plaintext, associated)?;
    Ok((encapsulated.to_bytes().into(), ciphertext))
}

/// Decrypts what [`seal`] made.
///
/// # Errors
/// The key, the associated data or the ciphertext differs from that of [`seal`].
pub(super) fn open(
    key: &DecryptionKey,
    info: &[u8],
    associated: &[u8],
    encapsulated: &[u8; 32],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
    let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated)?;
    let mut context = hpke::setup_receiver::<Aead, Kdf, Kem>(
        &OpModeR::Base,
        &key.to_hpke(),
        &encapsulated,
        info,
    )?;
    context.open(ciphertext, associated).map(Zeroizing::new)
}

/// A random source that gives its 32 bytes once, to a request for exactly 32, as DHKEM's key
/// generation makes it. It records any other request, and then nothing is sealed. The random bytes
/// are drawn beforehand, so that a system without any causes an error and not a panic, and a test
/// can use those of a test vector.
struct Once<'a> {
    bytes: Option<&'a Ephemeral>,
    misused: bool,
}

impl TryRng for Once<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.misused = true;
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.misused = true;
        Ok(0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        match self.bytes.take() {
            Some(ephemeral) if bytes.len() == 32 => bytes.copy_from_slice(&**ephemeral),
            _ => self.misused = true,
        }
        Ok(())
    }
}

impl TryCryptoRng for Once<'_> {}
